//! The last word of a transfer.

use std::time::Duration;

use crate::error::TransferError;
use crate::transport::ControlSender;
use crate::wire::message::{Body, Refused};

/// How long an ending transfer waits for the other side to take notice.
pub(crate) const FAREWELL: Duration = Duration::from_secs(5);

/// Tells the peer why a transfer ends, if the line still stands and the peer can do something about it. `to_come` original
/// bytes of it were not here yet.
pub(crate) async fn refuse(control: &mut ControlSender, error: &TransferError, to_come: u64) {
    let Some((code, remedy)) = error.refusal_with(to_come) else { return };
    let body = Body::Refused(Refused { code: code.number(), remedy });
    let said = async {
        if control.send(&body.into_bytes()).await.is_ok() && control.finish().is_ok() {
            // Gone from here before the stream is dropped, or not at all.
            drop(control.received().await);
        }
    };
    drop(tokio::time::timeout(FAREWELL, said).await);
}
