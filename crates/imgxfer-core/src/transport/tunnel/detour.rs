//! Remembers where UDP was silent and TCP was answered.

use crate::sync::lock;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// Long enough for the connections of one piece of work, short enough to notice a firewall that was mended.
const REMEMBERED_FOR: Duration = Duration::from_secs(600);
/// Addresses remembered; a site has few peers. The oldest makes room.
const ADDRESSES_MAX: usize = 256;

/// Addresses where TCP was answered and UDP was not, lately.
#[derive(Debug, Default)]
pub(in crate::transport) struct Detours(Mutex<HashMap<SocketAddr, Instant>>);

impl Detours {
    fn with<T>(&self, f: impl FnOnce(&mut HashMap<SocketAddr, Instant>) -> T) -> T {
        f(&mut lock(&self.0))
    }

    /// TCP was answered here first.
    pub(in crate::transport) fn remember(&self, address: SocketAddr) {
        self.with(|known| {
            if known.len() >= ADDRESSES_MAX
                && !known.contains_key(&address)
                && let Some(oldest) = known.iter().min_by_key(|(_, since)| **since).map(|(address, _)| *address)
            {
                known.remove(&oldest);
            }
            known.insert(address, Instant::now());
        });
    }

    /// UDP was answered here.
    pub(in crate::transport) fn forget(&self, address: SocketAddr) {
        self.with(|known| known.remove(&address));
    }

    /// Whether TCP is likely to be needed.
    pub(in crate::transport) fn is_known(&self, address: SocketAddr) -> bool {
        self.with(|known| known.get(&address).is_some_and(|since| since.elapsed() < REMEMBERED_FOR))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn addresses_are_remembered_for_a_while_and_never_too_many() {
        let detours = Detours::default();
        let address = |n: usize| SocketAddr::from(([127, 0, 0, 1], u16::try_from(n).unwrap()));
        for n in 0..=ADDRESSES_MAX {
            detours.remember(address(n));
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert!(!detours.is_known(address(0)) && detours.is_known(address(1)));
        detours.forget(address(1));
        assert!(!detours.is_known(address(1)) && detours.is_known(address(2)));
        tokio::time::advance(REMEMBERED_FOR).await;
        assert!(!detours.is_known(address(ADDRESSES_MAX)));
    }
}
