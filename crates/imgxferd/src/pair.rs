//! Pairing from the admin side: one pairing at a time, from the code to the decision of a person.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use imgxfer_core::transport::pairing::{self, Invitation, Paired, PairingCode, PairingError, PairingOffer};
use imgxfer_core::transport::{Dial, Endpoint, PairingWindow};
use imgxfer_core::work::blocking;
use serde::Serialize;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::audit::{Actor, Audit, Entry, Event, PeerRow};
use crate::config::{PeerConfig, PeerRights, Sees};
use crate::peers::{AddPeerError, Peers};

/// Where a pairing stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub(crate) enum PairState {
    /// None under way.
    Idle,
    /// The other side has not come, or not answered.
    Waiting,
    /// A person here has to compare the fingerprint and decide.
    Asking {
        /// What the other site calls itself; not to be trusted.
        name: String,
        /// Its fingerprint.
        fingerprint: String,
    },
    /// Paired: the peer is known under this name.
    Paired {
        /// Its name here.
        name: String,
        /// Its fingerprint.
        fingerprint: String,
    },
    /// It did not come to be.
    Failed {
        /// Why, and what to do.
        problem: String,
    },
}

/// What a person decided.
#[derive(Debug, Clone)]
pub(crate) struct Decision {
    pub(crate) accept: bool,
    pub(crate) name: Option<String>,
    pub(crate) rights: Option<PeerRights>,
    pub(crate) sees: Sees,
    pub(crate) address: Option<String>,
}

#[derive(Debug, Default)]
struct Current {
    task: Option<JoinHandle<()>>,
    decide: Option<oneshot::Sender<Decision>>,
}

/// The one pairing that may be under way. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Pairings {
    endpoint: Arc<Endpoint>,
    peers: Arc<Peers>,
    site_name: String,
    audit: Audit,
    state: watch::Sender<PairState>,
    current: Arc<Mutex<Current>>,
    /// Told the name of each new peer.
    added: tokio::sync::mpsc::UnboundedSender<String>,
}

/// Which side of a pairing this one is.
enum Side {
    Invite(Invitation, PairingWindow),
    Join { address: String, code: PairingCode },
}

impl Pairings {
    pub(crate) fn new(
        endpoint: Arc<Endpoint>,
        peers: Arc<Peers>,
        (site_name, audit): (String, Audit),
        added: tokio::sync::mpsc::UnboundedSender<String>,
    ) -> Self {
        Self {
            endpoint,
            peers,
            site_name,
            audit,
            state: watch::Sender::new(PairState::Idle),
            current: Arc::default(),
            added,
        }
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn state(&self) -> PairState {
        self.state.borrow().clone()
    }

    /// Opens the door for one stranger, in place of an earlier invitation. Returns the code to tell.
    pub(crate) fn invite(&self, rights: PeerRights, valid_for: Duration) -> Result<String, PairingError> {
        let code = PairingCode::generate()?;
        let text = code.to_string();
        // Open before the code is told: whoever has it may come at once.
        let window = self.endpoint.open_pairing();
        self.start(Side::Invite(Invitation::new(code, valid_for), window), rights);
        Ok(text)
    }

    /// Dials a site that has made a code.
    pub(crate) fn join(&self, address: String, code: PairingCode, rights: PeerRights) {
        self.start(Side::Join { address, code }, rights);
    }

    fn start(&self, side: Side, rights: PeerRights) {
        self.stop();
        self.state.send_replace(PairState::Waiting);
        let pairings = self.clone();
        let task = tokio::spawn(async move {
            let result = match side {
                Side::Invite(invitation, window) => pairings.run_invite(&invitation, window, rights).await,
                Side::Join { address, code } => pairings.run_join(&address, &code, rights).await,
            };
            let state = match result {
                Ok(state) => state,
                Err(problem) => {
                    tracing::warn!(%problem, "pairing failed");
                    pairings.audit.tell(&Entry::new(Actor::Daemon, Event::Pairing).failed(problem.clone()));
                    PairState::Failed { problem }
                }
            };
            pairings.state.send_replace(state);
        });
        self.current().task = Some(task);
    }

    /// Ends what is under way.
    pub(crate) fn stop(&self) {
        let mut current = self.current();
        current.decide = None;
        if let Some(task) = current.task.take() {
            task.abort();
        }
    }

    /// Gives a person's decision. Returns false when none is asked for.
    pub(crate) fn decide(&self, decision: Decision) -> bool {
        let decide = self.current().decide.take();
        decide.is_some_and(|decide| decide.send(decision).is_ok())
    }

    async fn run_invite(
        &self,
        invitation: &Invitation,
        mut window: PairingWindow,
        rights: PeerRights,
    ) -> Result<PairState, String> {
        let me = self.endpoint.identity().clone();
        loop {
            let session = tokio::time::timeout_at(invitation.expires(), window.accept()).await;
            let Ok(session) = session else { return Err(PairingError::Expired.to_string()) };
            let Some(session) = session else { return Err("another invitation took its place".to_owned()) };
            let (answer, mut decision) = oneshot::channel();
            let confirm = |offer| self.ask(offer, answer);
            match pairing::invite(&session, &me, invitation, &self.site_name, confirm).await {
                Ok(paired) => return self.add(&paired, decision.try_recv().ok(), rights, None).await,
                // Somebody mistyped, or came by: the code is good for as many tries as it has.
                Err(error) if invitation.tries_left() > 0 => {
                    tracing::warn!(problem = %error, "an attempt to pair failed; the code is still good");
                    let stranger = Actor::Stranger { key: Some(session.peer()) };
                    self.audit.tell(&Entry::new(stranger, Event::Pairing).refused(error.to_string()));
                }
                Err(error) => return Err(error.to_string()),
            }
            self.state.send_replace(PairState::Waiting);
        }
    }

    async fn run_join(&self, address: &str, code: &PairingCode, rights: PeerRights) -> Result<PairState, String> {
        let me = self.endpoint.identity().clone();
        let session = self.endpoint.connect_to_pair(&Dial::new(address)).await.map_err(|error| error.to_string())?;
        let (answer, mut decision) = oneshot::channel();
        let confirm = |offer| self.ask(offer, answer);
        let paired = pairing::join(&session, &me, code, &self.site_name, confirm).await.map_err(|e| e.to_string())?;
        self.add(&paired, decision.try_recv().ok(), rights, Some(address.to_owned())).await
    }

    /// Shows the other side to a person, and waits for the answer.
    async fn ask(&self, offer: PairingOffer, answer: oneshot::Sender<Decision>) -> bool {
        let (decide, decision) = oneshot::channel();
        self.current().decide = Some(decide);
        let fingerprint = offer.peer.fingerprint();
        let used = Event::PairingCodeUsed { calls_itself: offer.name.clone(), peer_key: fingerprint.clone() };
        self.audit.tell(&Entry::new(Actor::Stranger { key: Some(offer.peer) }, used));
        self.state.send_replace(PairState::Asking { name: offer.name, fingerprint });
        let Ok(decision) = decision.await else { return false };
        decision.accept && answer.send(decision).is_ok()
    }

    async fn add(
        &self,
        paired: &Paired,
        decision: Option<Decision>,
        rights: PeerRights,
        address: Option<String>,
    ) -> Result<PairState, String> {
        let Some(decision) = decision else { return Err("nobody decided".to_owned()) };
        let name = decision.name.unwrap_or_else(|| plain_name(&paired.name));
        let mut peer =
            PeerConfig::pinned(&name, paired.peer).with_rights(decision.rights.unwrap_or(rights), decision.sees);
        peer.address = decision.address.or(address);
        let peers = Arc::clone(&self.peers);
        let (audit, told) = (self.audit.clone(), Event::PeerAdded { peer: PeerRow::of(&peer) });
        let add = move || {
            peers.add_paired(peer)?;
            audit.tell_and_wait(&Entry::new(Actor::Admin, told));
            Ok(())
        };
        let added = blocking("write the peers down", add).await;
        match added {
            Ok(Ok(())) => {}
            Ok(Err(AddPeerError::Duplicate(problem))) => return Err(problem),
            Ok(Err(error)) => return Err(error.to_string()),
            Err(error) => return Err(error.to_string()),
        }
        let fingerprint = paired.peer.fingerprint();
        tracing::info!(peer = %name, %fingerprint, "paired");
        // Nobody listens any more only when the daemon stops.
        drop(self.added.send(name.clone()));
        Ok(PairState::Paired { name, fingerprint })
    }
}

/// What a site calls itself, as a name in the configuration.
fn plain_name(name: &str) -> String {
    let plain: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let parts: Vec<&str> = plain.split('-').filter(|part| !part.is_empty()).collect();
    let name: String = parts.join("-").chars().take(64).collect();
    if name.is_empty() { "peer".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_plain() {
        for (name, plain) in
            [("St Elsewhere, Radiology", "st-elsewhere-radiology"), ("..", "peer"), ("Ω", "peer"), ("a1", "a1")]
        {
            assert_eq!(plain_name(name), plain);
        }
    }
}
