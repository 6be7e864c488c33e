//! Answers what the server asks, and notes what it tells.

use std::sync::Arc;

use imgxfer_core::error::TransferError;
use imgxfer_core::ids::{ManifestRoot, PeerId, StudyUid};
use imgxfer_core::pace::Pace;
use imgxfer_core::priority::Priority;
use imgxfer_core::progress::{Progress, TransferEvent};
use imgxfer_core::receipt::SignedReceipt;
use imgxfer_core::server::{Direction, Host, Rights, TransferWatch};
use imgxfer_core::transport::Session;

use crate::live::{Live, Ticket};
use crate::metrics::Metrics;
use crate::peers::{Peers, UNKNOWN};
use crate::queue::{Queue, cause_of, code_of, fault};
use crate::rates::Rates;

/// The daemon behind its server.
#[derive(Debug, Clone)]
pub(crate) struct DaemonHost {
    pub(crate) peers: Arc<Peers>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) live: Live,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) rates: Arc<Rates>,
}

impl Host for DaemonHost {
    fn rights(&self, session: &Session) -> Rights {
        let metrics = Arc::clone(&self.metrics);
        self.live.remember(session, move |session| metrics.connection_ended(session.stats().lost_packets));
        self.peers.rights(session)
    }

    fn begin(&self, session: &Session, direction: Direction, priority: Priority) -> Box<dyn TransferWatch> {
        let name = self.peers.of_session(session).map_or_else(|| UNKNOWN.to_owned(), |peer| peer.name);
        let ticket = self.live.begin(name.clone(), direction, None, priority);
        Box::new(Watch { host: self.clone(), peer: session.peer(), name, direction, priority, ticket })
    }
}

/// One transfer that the server runs.
struct Watch {
    host: DaemonHost,
    peer: PeerId,
    /// What the peer was called when it began.
    name: String,
    direction: Direction,
    priority: Priority,
    ticket: Ticket,
}

impl TransferWatch for Watch {
    fn pace(&self) -> Pace {
        self.host.rates.pace(&self.name, self.direction, self.priority)
    }

    fn on_event(&self, event: &TransferEvent) {
        match event {
            TransferEvent::Started { transfer } => {
                tracing::debug!(peer = %self.name, direction = ?self.direction, ?transfer, "a transfer began");
                self.host.live.update(self.ticket, Some(*transfer), None);
            }
            TransferEvent::Progress(progress) => self.host.live.update(self.ticket, None, Some(*progress)),
            _ => {}
        }
    }

    fn on_committed(&self, studies: &[StudyUid], root: ManifestRoot) {
        tracing::debug!(peer = %self.name, studies = studies.len(), ?root, "committed");
    }

    fn on_receipt(&self, receipt: &SignedReceipt) {
        let (queue, peer, receipt) = (Arc::clone(&self.host.queue), self.peer, receipt.clone());
        // Short and bounded: one row. The runtime waits for it when it goes down.
        drop(tokio::task::spawn_blocking(move || {
            if let Err(error) = queue.keep_receipt(peer, &receipt) {
                tracing::error!(%error, "a receipt could not be kept");
            }
        }));
    }

    fn on_end(&self, result: Result<&Progress, &TransferError>) {
        let (metrics, direction) = (&self.host.metrics, self.direction);
        let ended = self.host.live.end(self.ticket);
        let seconds = ended.map_or(0.0, |running| running.since.elapsed().as_secs_f64());
        match result {
            Ok(progress) => {
                metrics.transfer_done(direction, progress, seconds);
                tracing::info!(
                    peer = %self.name,
                    ?direction,
                    instances = progress.instances_committed,
                    bytes = progress.bytes_committed,
                    line_bytes = progress.line_bytes,
                    seconds,
                    "a transfer is complete"
                );
            }
            Err(error) => {
                metrics.transfer_failed(direction, fault(error));
                tracing::warn!(peer = %self.name, ?direction, problem = code_of(error), cause = cause_of(error), "a transfer ended early; it can be resumed");
            }
        }
    }
}
