//! Serves frames of one instance, without a transfer.

use std::collections::VecDeque;
use std::time::Duration;

use super::told::{Answered, Asked, AskedFrames};
use super::{BUSY, Direction, Rights, Server, not_allowed, say_refused};
use crate::client::Control;
use crate::depot::{FrameParts, FramesError};
use crate::limits::HANDSHAKE_DEADLINE;
use crate::priority::Priority;
use crate::progress::Progress;
use crate::proto::FrameRequest;
use crate::store::InstanceError;
use crate::transport::{ControlSender, Session, TransportError};
use crate::wire::message::{Body, FetchFrames, FramesRecord, RefuseCode};
use crate::wire::record::Record;
use crate::work::blocking;

/// Bytes of records that are read ahead of the line.
const AHEAD_BYTES: usize = 2 << 20;
/// How often it is looked whether anything moves.
const TICK: Duration = Duration::from_secs(2);
/// A request for frames is data like other data: control messages go before it.
const STREAM_PRIORITY: i32 = 0;

impl Server {
    pub(super) async fn give_frames(&self, session: &Session, control: Control, fetch: &FetchFrames, rights: Rights) {
        let (mut control, _) = control;
        let Ok((request, accepted)) = FrameRequest::from_wire(fetch) else {
            self.host.on_asked(session, &Asked::Other, Answered::Refused(RefuseCode::Protocol));
            return say_refused(control, RefuseCode::Protocol, "a request for frames that makes no sense").await;
        };
        let asked = Asked::Frames(Box::new(AskedFrames::of(&request)));
        let no = |code| self.host.on_asked(session, &asked, Answered::Refused(code));
        if !rights.pull {
            no(RefuseCode::NotAllowed);
            return say_refused(control, RefuseCode::NotAllowed, not_allowed("pull")).await;
        }
        let priority = request.priority;
        let Some(slot) = self.transfers.take(session.peer(), priority).await else {
            no(RefuseCode::Busy);
            return say_refused(control, RefuseCode::Busy, BUSY).await;
        };
        let depot = self.depot.clone();
        let parts = blocking("look up frames", move || depot.frames(&rights.scope, &request, accepted)).await;
        let parts = match parts {
            Ok(Ok(parts)) => parts,
            Ok(Err(error)) => {
                let (code, remedy) = refusal(&error);
                no(code);
                return say_refused(control, code, &remedy).await;
            }
            Err(_) => {
                no(RefuseCode::Internal);
                return say_refused(control, RefuseCode::Internal, UNREADABLE).await;
            }
        };
        let bytes = parts.start().frames.iter().map(|frame| frame.len).sum();
        self.host.on_asked(session, &asked, Answered::Frames { given: parts.given().len(), bytes });
        control.set_priority(STREAM_PRIORITY);
        let sent = {
            let mut sending = Box::pin(self.send_frames(session, &mut control, parts, priority));
            let (mut notice, mut tick) = (slot.notice(), tokio::time::interval(TICK));
            loop {
                tokio::select! {
                    sent = &mut sending => break sent,
                    () = notice.given() => break Ok(Some((RefuseCode::Busy, BUSY.to_owned()))),
                    _ = tick.tick() => {
                        slot.saw(&Progress { line_bytes: session.stats().line_bytes(), ..Progress::default() });
                    }
                }
            }
        };
        match sent {
            Ok(None) => drop(tokio::time::timeout(HANDSHAKE_DEADLINE, control.received()).await),
            Ok(Some((code, remedy))) => say_refused(control, code, &remedy).await,
            // Whoever asked is gone, or gave it up.
            Err(_) => {}
        }
    }

    /// Sends the beginning and all records; returns what is to be refused in the midst of it.
    async fn send_frames(
        &self,
        session: &Session,
        control: &mut ControlSender,
        mut parts: FrameParts,
        priority: Priority,
    ) -> Result<Option<(RefuseCode, String)>, TransportError> {
        let _rank = session.rank(priority);
        let pace = self.host.pace(session, Direction::Out, priority);
        let _shares = pace.join();
        control.send(&Body::FramesStart(parts.start().clone()).into_bytes()).await?;
        loop {
            let read = blocking("read frames", move || read_ahead(&mut parts).map(|records| (parts, records))).await;
            let records;
            (parts, records) = match read {
                Ok(Ok(read)) => read,
                Ok(Err(error)) => return Ok(Some(refusal(&error.into()))),
                Err(_) => return Ok(Some((RefuseCode::Internal, UNREADABLE.to_owned()))),
            };
            if records.is_empty() {
                control.finish()?;
                return Ok(None);
            }
            for record in records {
                session.adapt_windows();
                let message = Body::FramesRecord(FramesRecord { record: record.bytes().clone() }).into_bytes();
                control.send_at(&message, &pace).await?;
            }
        }
    }
}

/// The next records; none when all have been read.
fn read_ahead(parts: &mut FrameParts) -> Result<VecDeque<Record>, InstanceError> {
    let (mut records, mut bytes) = (VecDeque::new(), 0);
    while bytes < AHEAD_BYTES {
        let Some(record) = parts.next_record().transpose()? else { break };
        bytes += record.bytes().len();
        records.push_back(record);
    }
    Ok(records)
}

const UNREADABLE: &str = "the frames cannot be read at the site: ask its operator to check its store";

/// What to tell who asked.
fn refusal(error: &FramesError) -> (RefuseCode, String) {
    match error {
        // The same words whether there is none or none that the peer may see.
        FramesError::NoInstance => (
            RefuseCode::NotFound,
            "no such instance here, or none that this site may see: check the identifiers, and its rights there"
                .to_owned(),
        ),
        FramesError::NotKnown | FramesError::OutOfRange { .. } => (RefuseCode::NotFound, error.to_string()),
        FramesError::TooLong => (RefuseCode::Other, error.to_string()),
        FramesError::Read(InstanceError::Store(error)) if error.is_transient() => {
            (RefuseCode::Busy, "the site's store cannot be used at present: try again later".to_owned())
        }
        FramesError::Read(_) => (RefuseCode::Internal, UNREADABLE.to_owned()),
    }
}
