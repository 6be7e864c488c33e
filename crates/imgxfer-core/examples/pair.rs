//! Pairs with a site whose operator has told a code: `pair KEY_FOLDER HOST:PORT CODE FINGERPRINT`

#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::path::Path;

use imgxfer_core::blocking::Client;
use imgxfer_core::ids::PeerId;
use imgxfer_core::transport::Identity;
use imgxfer_core::transport::pairing::PairingOffer;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    pair(&args)
}

/// What the program does.
pub(crate) fn pair(args: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let [keys, address, code, fingerprint] = args else {
        return Err("usage: pair KEY_FOLDER HOST:PORT CODE FINGERPRINT".into());
    };
    let client = Client::new(Identity::load_or_create(Path::new(keys))?)?;
    // What the other operator reads out. A program with a window shows `offer` to a person instead.
    let expected: PeerId = PeerId::parse(fingerprint)?;
    let right = move |offer: &PairingOffer| offer.peer == expected;
    let paired = client.pair(address, &code.parse()?, "An example", right)?;
    println!("paired with {}: keep {}", paired.name, paired.peer.fingerprint());
    Ok(())
}
