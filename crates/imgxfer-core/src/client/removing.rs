//! Asking a peer to remove what this site has sent it.

use super::{Client, Visit, answer_within};
use crate::depot::Unwanted;
use crate::error::TransferError;
use crate::limits::{MESSAGE_BYTES_MAX, PROGRESS_DEADLINE};
use crate::proto::ProtocolError;
use crate::transport::{Dial, Session};
use crate::wire::message::{Body, Remove};

/// What a peer has removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemoveReport {
    /// Number of contents: an instance may have several.
    pub contents: u64,
    /// Their original bytes.
    pub bytes: u64,
    /// Contents of what was named that this site may see and that stay there, since others have sent them as well.
    pub left: u64,
}

impl Client {
    /// Has a peer remove what this site has sent it. When this returns, that is durable there.
    ///
    /// # Errors
    /// [`TransferError`]: [`RefuseCode::NotFound`](crate::wire::message::RefuseCode::NotFound) inside when there is
    /// nothing like that. After a broken line it may be removed or not; asking again tells.
    pub async fn remove(&self, dial: &Dial, unwanted: &Unwanted) -> Result<RemoveReport, TransferError> {
        let visit = Visit::pay(&self.endpoint, dial).await?;
        let removed = Self::remove_over(&visit.0, unwanted).await;
        visit.end(removed).await
    }

    async fn remove_over(session: &Session, unwanted: &Unwanted) -> Result<RemoveReport, TransferError> {
        let (mut control_out, mut control_in) = session.open_control().await?.into_split();
        let Unwanted { study, series, instances } = unwanted;
        let asked = Remove {
            study: study.to_string(),
            series: series.iter().map(ToString::to_string).collect(),
            instances: instances.iter().map(ToString::to_string).collect(),
        };
        control_out.send(&Body::Remove(asked).into_bytes()).await?;
        control_out.finish()?;
        let report = match answer_within(PROGRESS_DEADLINE, &mut control_in, MESSAGE_BYTES_MAX).await?.0 {
            Body::Removed(removed) => {
                RemoveReport { contents: removed.contents, bytes: removed.bytes, left: removed.left }
            }
            Body::Refused(refused) => return Err(ProtocolError::refused(&refused).into()),
            _ => return Err(ProtocolError::Unexpected("something other than an answer to a removal").into()),
        };
        Ok(report)
    }
}
