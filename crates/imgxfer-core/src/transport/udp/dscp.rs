//! Marks of packets, for networks that sort them by it (DSCP, RFC 2474).

use socket2::SockRef;
use std::io;
use std::net::SocketAddr;

/// A DSCP: six bits in the header of every packet, by which a network that is set up for it sorts packets into
/// classes. Others pass it on, or clear it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dscp(u8);

impl Dscp {
    /// Largest value of six bits.
    pub const MAX: u8 = 63;

    /// `None` for more than [`Dscp::MAX`].
    #[must_use]
    pub const fn new(value: u8) -> Option<Self> {
        if value <= Self::MAX { Some(Self(value)) } else { None }
    }

    /// The six bits.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// The byte of the header with the bits of congestion notification beside it (RFC 3168).
    pub(in crate::transport) const fn byte(self, ecn: u8) -> u8 {
        self.0 << 2 | ecn & 0b11
    }

    /// Marks what a TCP connection sends. The kernel keeps its own bits of congestion notification.
    pub(in crate::transport) fn mark(self, socket: &SockRef<'_>, local: SocketAddr) -> io::Result<()> {
        let byte = u32::from(self.byte(0));
        if local.is_ipv4() {
            return socket.set_tos_v4(byte);
        }
        #[cfg(target_os = "linux")]
        socket.set_tclass_v6(byte)?;
        // Of use only where the IPv6 socket talks to an IPv4 address.
        drop(socket.set_tos_v4(byte));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_bits_beside_the_two_of_congestion() {
        assert_eq!(Dscp::new(46).map(|dscp| dscp.byte(0b10)), Some(0b1011_1010));
        assert_eq!(Dscp::new(63).map(|dscp| dscp.byte(0)), Some(0xfc));
        assert_eq!(Dscp::new(64), None);
    }
}
