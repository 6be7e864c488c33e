//! Removing what a peer has sent, when it asks for that.

use super::{Answered, Asked, Rights, Server, say_refused};
use crate::depot::{RemoveError, Unwanted};
use crate::ids::{SeriesUid, SopInstanceUid, StudyUid, UidError};
use crate::limits::HANDSHAKE_DEADLINE;
use crate::server::told::AskedBy;
use crate::transport::{ControlSender, Session};
use crate::wire::message::{Body, RefuseCode, Remove, RemovedPart};
use crate::work::blocking;

/// What a peer names.
pub(super) fn unwanted(asked: &Remove) -> Result<Unwanted, UidError> {
    Ok(Unwanted {
        study: StudyUid::new(&asked.study)?,
        series: asked.series.iter().map(|uid| SeriesUid::new(uid)).collect::<Result<_, _>>()?,
        instances: asked.instances.iter().map(|uid| SopInstanceUid::new(uid)).collect::<Result<_, _>>()?,
    })
}

/// The same for the audit.
pub(super) fn asked_by(asked: &Remove) -> AskedBy {
    let Ok(Unwanted { study, series, instances }) = unwanted(asked) else { return AskedBy::default() };
    AskedBy { attributes: Vec::new(), studies: vec![study], series, instances }
}

impl Server {
    /// Removes what the peer itself has sent, and nothing else.
    pub(super) async fn remove(&self, session: &Session, mut control: ControlSender, asked: &Remove, rights: Rights) {
        let told = |answer| self.host.on_asked(session, &Asked::Remove(asked_by(asked)), answer);
        let Ok(unwanted) = unwanted(asked) else {
            told(Answered::Refused(RefuseCode::Protocol));
            return say_refused(control, RefuseCode::Protocol, "a UID that is none").await;
        };
        let (depot, owner) = (self.depot.clone(), session.peer());
        let removed = blocking("remove from the store", move || {
            let removed = depot.remove_unwanted(owner, &unwanted)?;
            let left = if rights.query { depot.count_unwanted(&rights.scope, &unwanted)?.0 } else { 0 };
            Ok((removed, left))
        });
        let (code, remedy) = match removed.await {
            Ok(Ok((removed, left))) if removed.instances > 0 => {
                let (contents, bytes) = (removed.instances, removed.bytes);
                told(Answered::Removed { contents, bytes });
                let answer = Body::Removed(RemovedPart { contents, bytes, left }).into_bytes();
                if control.send(&answer).await.is_ok() && control.finish().is_ok() {
                    drop(tokio::time::timeout(HANDSHAKE_DEADLINE, control.received()).await);
                }
                return;
            }
            // By the owner alone, so never by its source.
            Ok(Ok(_) | Err(RemoveError::BySource)) => (
                RefuseCode::NotFound,
                "nothing like that which this site has sent: check the identifiers with `imgxfer ls`",
            ),
            Ok(Err(RemoveError::Arriving)) => {
                (RefuseCode::Busy, "a transfer of this study is running: remove it when that has ended")
            }
            Ok(Err(RemoveError::Store(_))) | Err(_) => {
                (RefuseCode::Internal, "the site's store failed: ask its operator")
            }
        };
        told(Answered::Refused(code));
        say_refused(control, code, remedy).await;
    }
}
