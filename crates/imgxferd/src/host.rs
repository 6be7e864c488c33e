//! Answers what the server asks, and notes what it tells.

use std::sync::Arc;

use imgxfer_core::error::TransferError;
use imgxfer_core::ids::{ManifestRoot, PeerId, StudyUid};
use imgxfer_core::pace::Pace;
use imgxfer_core::priority::Priority;
use imgxfer_core::progress::{Progress, TransferEvent};
use imgxfer_core::receipt::SignedReceipt;
use imgxfer_core::server::{Direction, Host, Rights};
use imgxfer_core::transport::Session;

use crate::live::Live;
use crate::metrics::Metrics;
use crate::peers::{Peers, UNKNOWN};
use crate::queue::{Queue, cause_of, code_of, fault};
use crate::rates::Rates;

/// The daemon behind its server.
#[derive(Debug)]
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

    fn pace(&self, session: &Session, direction: Direction, priority: Priority) -> Pace {
        let peer = self.peers.of_session(session).map_or_else(|| UNKNOWN.to_owned(), |peer| peer.name);
        if let Some(ticket) = self.live.of_this_task(|| peer.clone(), direction) {
            self.live.rank(ticket, priority);
        }
        self.rates.pace(&peer, direction, priority)
    }

    fn on_event(&self, peer: PeerId, direction: Direction, event: &TransferEvent) {
        let Some(ticket) = self.live.of_this_task(|| self.peers.name_of(peer), direction) else { return };
        match event {
            TransferEvent::Started { transfer } => {
                tracing::debug!(peer = %self.peers.name_of(peer), ?direction, ?transfer, "a transfer began");
                self.live.update(ticket, Some(*transfer), None);
            }
            TransferEvent::Progress(progress) => self.live.update(ticket, None, Some(*progress)),
            _ => {}
        }
    }

    fn on_end(&self, peer: PeerId, direction: Direction, result: Result<&Progress, &TransferError>) {
        let name = self.peers.name_of(peer);
        let ended = self.live.of_this_task(|| name.clone(), direction).and_then(|ticket| self.live.end(ticket));
        let seconds = ended.map_or(0.0, |running| running.since.elapsed().as_secs_f64());
        match result {
            Ok(progress) => {
                self.metrics.transfer_done(direction, progress, seconds);
                tracing::info!(
                    peer = %name,
                    ?direction,
                    instances = progress.instances_committed,
                    bytes = progress.bytes_committed,
                    line_bytes = progress.line_bytes,
                    seconds,
                    "a transfer is complete"
                );
            }
            Err(error) => {
                self.metrics.transfer_failed(direction, fault(error));
                tracing::warn!(peer = %name, ?direction, problem = code_of(error), cause = cause_of(error), "a transfer ended early; it can be resumed");
            }
        }
    }

    fn on_committed(&self, peer: PeerId, studies: &[StudyUid], root: ManifestRoot) {
        tracing::debug!(peer = %self.peers.name_of(peer), studies = studies.len(), ?root, "committed");
    }

    fn on_receipt(&self, peer: PeerId, receipt: &SignedReceipt) {
        let (queue, receipt) = (Arc::clone(&self.queue), receipt.clone());
        // Short and bounded: one row. The runtime waits for it when it goes down.
        drop(tokio::task::spawn_blocking(move || {
            if let Err(error) = queue.keep_receipt(peer, &receipt) {
                tracing::error!(%error, "a receipt could not be kept");
            }
        }));
    }
}
