//! How large packets may get. QUIC finds out by probes what a way carries; here is up to where it tries.
//!
//! Packets of a jumbo frame carry three times as much for the same work, but every probe that is too large is lost,
//! and is tried three times. So the search to each peer ends at what the system knows of the way there: on an
//! Ethernet of 1,500 bytes nothing is tried that cannot pass, and a network of jumbo frames is used without a setting.

use crate::transport::udp::route;
use std::net::SocketAddr;

/// What fits an Ethernet frame with room for IPv6 and a tunnel.
pub(in crate::transport) const MTU_DEFAULT: u16 = 1452;
/// What fits a jumbo frame of 9,000 bytes. Larger ones gain little, and few devices pass them.
pub(in crate::transport) const MTU_JUMBO: u16 = 8952;
/// Headers of IPv6 and UDP. IPv4 has 20 bytes less, which stay free: the way may change to IPv6, in part or as a whole.
const HEADERS_BYTES: u32 = 40 + 8;
/// Largest payload of UDP that is always taken in, as QUIC's default.
const TAKEN_IN_LEAST: u16 = 1472;

/// The largest UDP payload that is tried, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::transport) enum PacketSize {
    /// The same to every peer.
    UpTo(u16),
    /// To each peer what the system knows of the way there.
    ByRoute,
}

impl PacketSize {
    /// On a way to `peer`. Later changes of the way do not raise it; QUIC notices when less passes.
    pub(in crate::transport) fn upper(self, peer: SocketAddr) -> u16 {
        match self {
            Self::UpTo(bytes) => bytes,
            Self::ByRoute => route::mtu(peer).map_or(MTU_DEFAULT, payload),
        }
    }

    /// The largest that peers may send here.
    pub(in crate::transport) fn taken_in(self) -> u16 {
        match self {
            Self::UpTo(bytes) => bytes.max(TAKEN_IN_LEAST),
            Self::ByRoute => MTU_JUMBO,
        }
    }
}

/// The UDP payload of IP packets of `mtu` bytes, within bounds. What is less than the lower one is left to the probes:
/// a router's word for it may be forged.
fn payload(mtu: u32) -> u16 {
    let bytes = mtu.saturating_sub(HEADERS_BYTES);
    u16::try_from(bytes).unwrap_or(u16::MAX).clamp(MTU_DEFAULT, MTU_JUMBO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_what_the_way_carries_within_bounds() {
        for (mtu, bytes) in [
            (0, 1452),
            (68, 1452),
            (1280, 1452),
            (1500, 1452),
            (1501, 1453),
            (4000, 3952),
            (9000, 8952),
            (9001, 8952),
            (65_536, 8952),
            (u32::MAX, 8952),
        ] {
            assert_eq!(payload(mtu), bytes, "{mtu}");
        }
    }

    #[test]
    fn a_number_holds_whatever_the_way() {
        let loopback = ([127, 0, 0, 1], 9).into();
        assert_eq!((PacketSize::UpTo(1452).upper(loopback), PacketSize::UpTo(1452).taken_in()), (1452, 1472));
        assert_eq!((PacketSize::UpTo(8952).upper(loopback), PacketSize::UpTo(8952).taken_in()), (8952, 8952));
        let by_route = PacketSize::ByRoute.upper(loopback);
        assert!((MTU_DEFAULT..=MTU_JUMBO).contains(&by_route), "{by_route}");
        assert_eq!(PacketSize::ByRoute.taken_in(), 8952);
    }
}
