//! `imgxfer id`: who this user is.

use imgxfer_core::clock::UnixSeconds;
use serde_json::json;

use crate::dates::expiry;
use crate::exit::Exit;
use crate::output::Output;
use crate::places::Places;
use crate::site::Site;

/// A certificate that runs out sooner is worth a word.
const WARN_BEFORE_SECONDS: i64 = 30 * 86_400;

/// Prints fingerprint and expiry.
pub(crate) fn run(places: &Places, output: &Output) -> anyhow::Result<Exit> {
    let identity = Site::open(places)?.identity;
    let (fingerprint, expires) = (identity.peer_id().fingerprint(), identity.expires());
    output.line(&fingerprint)?;
    output.object(&json!({ "fingerprint": fingerprint, "expires": expiry(expires.0) }))?;
    output.say(&format!("the certificate runs out: {}", expiry(expires.0)));
    if expires.0 - UnixSeconds::now().0 < WARN_BEFORE_SECONDS {
        output.warn("the certificate runs out soon: remove node.crt and run `imgxfer init`; the key stays the same");
    }
    Ok(Exit::Done)
}
