//! Whose studies are in the store: how an owner is called here, and what holds for what it sends.

use std::time::Duration;

use imgxfer_core::ids::PeerId;

use crate::app::Shared;
use crate::config::SELF;
use crate::peers::UNKNOWN;

/// How an owner is called: a peer's name, its fingerprint where it has none any more, `self` for the site itself.
pub(crate) fn name(shared: &Shared, owner: PeerId) -> String {
    if owner == PeerId::SELF {
        return SELF.to_owned();
    }
    match shared.peers.name_of(owner) {
        name if name == UNKNOWN => owner.fingerprint(),
        name => name,
    }
}

/// How long what it sends is kept after its last change; `None` for ever.
pub(crate) fn keep(shared: &Shared, owner: PeerId) -> Option<Duration> {
    let own = shared.peers.named(&name(shared, owner)).and_then(|peer| peer.keep);
    own.or(shared.config.retention.keep)
}
