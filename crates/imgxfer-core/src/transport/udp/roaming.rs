//! Follows a machine whose address changes: from Wi-Fi to a cable, by a new lease, into a VPN.
//!
//! The end that was dialled follows by itself: it answers where packets come from (RFC 9000, 9). The end that dialled
//! has to move. A socket bound to no address would even go on by itself, but with what it learnt of the old line:
//! the packet size, the round trip and the rate. So it looks every few seconds from which address the system would
//! now send to each peer, and when that has changed all its connections move to a new socket and learn anew.

use crate::sync::lock;
use crate::transport::session::{Session, WeakSession};
use crate::transport::udp::route;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::time::Duration;

/// How often to look. A look asks the system twice for each peer and sends nothing; a line that is gone is noticed
/// long before [`IDLE_TIMEOUT`](crate::limits::IDLE_TIMEOUT).
pub(in crate::transport) const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The sessions that an endpoint has dialled, and the ways to their peers.
#[derive(Debug, Default)]
pub(in crate::transport) struct Roaming(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    sessions: Vec<WeakSession>,
    routes: HashMap<SocketAddr, IpAddr>,
}

impl Roaming {
    /// A session that was dialled just now. Ended ones are forgotten, so that no more are known than stand.
    pub(in crate::transport) fn note(&self, session: &Session) {
        let peer = session.peer_address();
        let mut known = lock(&self.0);
        known.sessions.retain(WeakSession::is_alive);
        known.sessions.push(session.downgrade());
        if let Some(from) = route::source(peer) {
            known.routes.entry(peer).or_insert(from);
        }
    }

    /// All sessions have moved to a new socket: what they learnt of the line no longer holds.
    pub(in crate::transport) fn moved(&self) {
        let known = lock(&self.0);
        known.sessions.iter().for_each(WeakSession::line_changed);
    }

    /// Whether the way to any peer begins elsewhere than at the last look.
    pub(in crate::transport) fn has_moved(&self, route: impl Fn(SocketAddr) -> Option<IpAddr>) -> bool {
        let mut known = lock(&self.0);
        known.sessions.retain(WeakSession::is_alive);
        let peers: Vec<_> = known.sessions.iter().filter_map(WeakSession::peer_address).collect();
        moved(&mut known.routes, &peers, route)
    }
}

/// Without a way there is nowhere to move to, so that the old one stands until there is another.
fn moved(
    routes: &mut HashMap<SocketAddr, IpAddr>,
    peers: &[SocketAddr],
    route: impl Fn(SocketAddr) -> Option<IpAddr>,
) -> bool {
    routes.retain(|peer, _| peers.contains(peer));
    let mut moved = false;
    for peer in peers {
        if let Some(now) = route(*peer) {
            moved |= routes.insert(*peer, now).is_some_and(|before| before != now);
        }
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_way_to_a_peer_is_a_move() {
        let peer = |port| SocketAddr::from(([192, 0, 2, 1], port));
        let ip = |last| Some(IpAddr::from([10, 0, 0, last]));
        let mut routes = HashMap::new();
        let both = [peer(1), peer(2)];
        assert!(!moved(&mut routes, &both, |_| ip(1)), "the first look");
        assert!(!moved(&mut routes, &both, |_| ip(1)));
        assert!(!moved(&mut routes, &both, |_| None), "no network");
        assert!(moved(&mut routes, &both, |peer| if peer.port() == 1 { ip(1) } else { ip(2) }));
        assert!(!moved(&mut routes, &both, |peer| if peer.port() == 1 { ip(1) } else { ip(2) }));
        assert!(!moved(&mut routes, &[peer(1)], |_| ip(1)));
        assert_eq!(routes.len(), 1, "peers without a session are forgotten");
    }
}
