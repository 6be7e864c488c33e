//! What the system knows of the way to a peer. Asking sends nothing.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// The address that the system sends from to reach `peer`; `None` while it knows no way there.
pub(in crate::transport) fn source(peer: SocketAddr) -> Option<IpAddr> {
    Some(towards(peer).ok()?.local_addr().ok()?.ip())
}

/// The largest IP packet that the system would send to `peer`: what the interface carries, or less if a router on the
/// way has said so. `None` where the system does not tell.
pub(in crate::transport) fn mtu(peer: SocketAddr) -> Option<u32> {
    #[cfg(target_os = "linux")]
    {
        use rustix::net::sockopt;
        let socket = towards(peer).ok()?;
        let ipv4 = socket.local_addr().ok()?.is_ipv4();
        if ipv4 { sockopt::ip_mtu(&socket).ok() } else { sockopt::ipv6_mtu(&socket).ok() }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = peer;
        None
    }
}

/// The address as people write it: an IPv6 socket shows IPv4 addresses as IPv6 ones.
pub(in crate::transport) fn canonical(peer: SocketAddr) -> SocketAddr {
    match peer.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, peer.port()),
        IpAddr::V6(_) => peer,
    }
}

/// Connecting a UDP socket looks up the way and sends nothing.
fn towards(peer: SocketAddr) -> io::Result<UdpSocket> {
    let peer = canonical(peer);
    let any: IpAddr = if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(peer)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_this_machine_begins_here() {
        for peer in ["127.0.0.1:9", "[::ffff:127.0.0.1]:9"] {
            assert_eq!(source(peer.parse().unwrap()), Some(Ipv4Addr::LOCALHOST.into()), "{peer}");
        }
    }

    #[test]
    fn addresses_are_shown_as_people_write_them() {
        for (seen, shown) in [
            ("[::ffff:192.0.2.7]:5", "192.0.2.7:5"),
            ("192.0.2.7:5", "192.0.2.7:5"),
            ("[fe80::1%3]:5", "[fe80::1%3]:5"),
        ] {
            assert_eq!(canonical(seen.parse().unwrap()), shown.parse().unwrap());
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn loopback_says_how_much_it_carries() {
        for peer in ["127.0.0.1:9", "[::ffff:127.0.0.1]:9", "[::1]:9"] {
            let peer: SocketAddr = peer.parse().unwrap();
            // Some machines have no IPv6.
            if source(peer).is_some() {
                assert!(mtu(peer).unwrap() >= 1_280, "{peer}");
            }
        }
    }
}
