//! Asking for frames of one instance.

use crate::error::TransferError;
use crate::limits::{MESSAGE_BYTES_MAX, PROGRESS_DEADLINE};
use crate::proto::{FrameRequest, Frames, FramesReceiver, ProtocolError};
use crate::transfer::session_span;
use crate::transport::{Dial, Session};
use crate::wire::message::{Body, RefuseCode};
use crate::wire::record::RECORD_BYTES_MAX;
use crate::work::blocking;

use tracing::Instrument as _;

use super::{Client, Visit, answer_within};

/// Longest message that brings a record.
const RECORD_MESSAGE_BYTES_MAX: usize = RECORD_BYTES_MAX + 64;

impl Client {
    /// Connects to a peer, for requests that follow one another on one session ([`Client::frames_over`]). Whoever has
    /// asked the last of them calls [`Session::end`].
    ///
    /// # Errors
    /// [`TransferError`].
    pub async fn connect(&self, dial: &Dial) -> Result<Session, TransferError> {
        Ok(self.endpoint.connect(dial).await?)
    }

    /// Fetches frames of one instance over a session of their own. See [`Client::frames_over`].
    ///
    /// # Errors
    /// As there.
    pub async fn frames(&self, dial: &Dial, request: &FrameRequest) -> Result<Frames, TransferError> {
        let visit = Visit::pay(&self.endpoint, dial).await?;
        let frames = self.frames_over(&visit.0, request).await;
        visit.end(frames).await
    }

    /// Fetches frames of one instance, without the rest of it: one round trip. Every chunk of it is proven by its
    /// hash before any of it is returned. Of more than one answer brings only the first frames
    /// come ([`FRAMES_BYTES_MAX`](crate::limits::FRAMES_BYTES_MAX), 64 MiB, and
    /// [`FRAMES_PER_REQUEST_MAX`](crate::limits::FRAMES_PER_REQUEST_MAX)): [`Frames::rest`] says which are to be asked for
    /// next. Memory: up to twice that. Dropping the future gives the request up.
    ///
    /// # Errors
    /// [`TransferError`]: [`RefuseCode::NotFound`] inside where there is no such instance or frame, none that this site
    /// may see, or it is not known where its frames are; [`ProtocolError::Lacks`] from a peer of a version
    /// that gives no frames.
    pub async fn frames_over(&self, session: &Session, request: &FrameRequest) -> Result<Frames, TransferError> {
        Box::pin(self.ask_for_frames(session, request)).instrument(session_span(session)).await
    }

    async fn ask_for_frames(&self, session: &Session, request: &FrameRequest) -> Result<Frames, TransferError> {
        let (mut control_out, mut control_in) = session.open_control().await?.into_split();
        control_out.send(&Body::FetchFrames(request.to_wire(&self.registry.ids())).into_bytes()).await?;
        control_out.finish()?;
        let mut taking = FramesReceiver::new(request.clone(), self.registry.clone());
        match answer_within(PROGRESS_DEADLINE, &mut control_in, MESSAGE_BYTES_MAX).await?.0 {
            Body::FramesStart(start) => taking.handle_start(&start)?,
            // What is asked for here is well-formed: who does not understand it does not know it.
            Body::Refused(refused) if RefuseCode::from_number(refused.code) == RefuseCode::Protocol => {
                return Err(ProtocolError::Lacks("give frames without the rest of their instance").into());
            }
            Body::Refused(refused) => return Err(ProtocolError::refused(&refused).into()),
            _ => return Err(ProtocolError::Unexpected("something other than frames").into()),
        }
        loop {
            let record = match answer_within(PROGRESS_DEADLINE, &mut control_in, RECORD_MESSAGE_BYTES_MAX).await?.0 {
                Body::FramesRecord(record) => record,
                Body::Refused(refused) => return Err(ProtocolError::refused(&refused).into()),
                _ => return Err(ProtocolError::Unexpected("something other than a record").into()),
            };
            let taken = blocking("take in frames", move || taking.handle_record(record).map(|done| (taking, done)));
            let done;
            (taking, done) = taken.await??;
            if done {
                return Ok(blocking("put frames together", move || taking.finish()).await??);
            }
        }
    }
}
