//! Takes tunnels in, under the limits of the endpoint's door.

use super::open::Tunnel;
use super::{TUNNEL_ALPN, Tunnels, peer_error, tcp};
use crate::sync::lock;
use crate::transport::door::{Acceptor, HalfOpen};
use crate::transport::verifier::{Expectation, PeerVerifier};
use crate::transport::{PeerRefusal, Session, TransportError, tls};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

/// Handshakes over TCP are given this part of the places for handshakes, so that strangers who hold them by
/// silence leave the others to UDP.
const SHARE_OF_HALF_OPEN: usize = 4;
/// Of which one network address may hold so many: a hospital behind one address has room, one stranger cannot
/// keep everybody out.
const PER_ADDRESS_MAX: usize = 16;
/// A refused peer is given so long to hear that it is, and so many bytes are read from it meanwhile: what it
/// may have sent when its own handshake was done.
const LINGER: Duration = Duration::from_secs(1);
const HEARD_BYTES_MAX: usize = 128 << 10;
/// Before the next try when the system cannot accept, for example for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Handshakes over TCP under way, by where they come from.
#[derive(Debug, Default)]
pub(in crate::transport) struct Places(Mutex<HashMap<IpAddr, usize>>);

/// One such handshake; its place is given back when dropped.
#[derive(Debug)]
struct Place {
    places: Arc<Places>,
    from: IpAddr,
}

/// What counts as one origin: an IPv4 address, or the network of 64 bits that one IPv6 host is given.
fn origin(address: SocketAddr) -> IpAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

impl Places {
    fn take(self: &Arc<Self>, address: SocketAddr, most: usize) -> Option<Place> {
        let mut places = lock(&self.0);
        let from = origin(address);
        let held = places.get(&from).copied().unwrap_or(0);
        if held >= PER_ADDRESS_MAX || places.values().sum::<usize>() >= most {
            return None;
        }
        places.insert(from, held + 1);
        Some(Place { places: Arc::clone(self), from })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = lock(&self.places.0);
        match places.get_mut(&self.from) {
            Some(held) if *held > 1 => *held -= 1,
            Some(_) | None => drop(places.remove(&self.from)),
        }
    }
}

/// Everything that the task which accepts TCP connections needs.
pub(in crate::transport) struct Listener {
    pub(in crate::transport) tcp: TcpListener,
    pub(in crate::transport) acceptor: Arc<Acceptor>,
    pub(in crate::transport) tunnels: Arc<Tunnels>,
    pub(in crate::transport) places: Arc<Places>,
}

impl Listener {
    /// Accepts until the endpoint is closed. Dropping the future ends all handshakes under way.
    pub(in crate::transport) async fn run(self) {
        let Self { tcp, acceptor, tunnels, places } = self;
        let mut handshakes = JoinSet::new();
        let half_open_max = (acceptor.local.limits.half_open_max / SHARE_OF_HALF_OPEN).max(1);
        loop {
            let accepted = tokio::select! {
                () = tunnels.closed() => return,
                accepted = tcp.accept() => accepted,
                Some(_) = handshakes.join_next() => continue,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept TCP connections for now");
                    sleep(PAUSE).await;
                    continue;
                }
            };
            let place = places.take(address, half_open_max);
            let Some((place, half_open)) = place.zip(acceptor.half_open()) else {
                acceptor.turn_away();
                continue;
            };
            let (acceptor, tunnels) = (Arc::clone(&acceptor), Arc::clone(&tunnels));
            handshakes.spawn(async move { accept(stream, address, &acceptor, &tunnels, (place, half_open)).await });
        }
    }
}

/// Shakes hands twice within the deadline, and passes the session on.
async fn accept(
    stream: TcpStream,
    address: SocketAddr,
    acceptor: &Acceptor,
    tunnels: &Tunnels,
    places: (Place, HalfOpen),
) {
    let deadline = acceptor.local.limits.handshake_deadline;
    let done = timeout(deadline, Box::pin(authenticate(stream, acceptor, tunnels))).await;
    drop(places);
    acceptor.conclude(address, done.unwrap_or(Err(TransportError::TimedOut))).await;
}

async fn authenticate(
    stream: TcpStream,
    acceptor: &Acceptor,
    tunnels: &Tunnels,
) -> Result<(Session, mpsc::Sender<Session>), TransportError> {
    tcp::tune(&stream, tunnels.dscp).map_err(|_| TransportError::Cut)?;
    let local = &acceptor.local;
    let admission = acceptor.admission();
    let verifier = Arc::new(PeerVerifier::new(local.trust.clone(), admission, Expectation::default())?);
    let verdict = verifier.verdict();
    let config = tls::server(&local.identity, verifier, vec![TUNNEL_ALPN.to_vec()])?;
    let tls = match TlsAcceptor::from(Arc::new(config)).accept(stream).into_fallible().await {
        Ok(tls) => tls,
        Err((error, stream)) => {
            drop(timeout(LINGER, hear_out(stream)).await);
            return Err(match verdict.get() {
                Some(Err(refusal)) => refusal.into(),
                Some(Ok(_)) | None => peer_error(&error).unwrap_or(TransportError::Cut),
            });
        }
    };
    let outer = verdict.get().ok_or(PeerRefusal::Malformed)??.info.peer;

    let verifier = PeerVerifier::new(local.trust.clone(), admission, Expectation::default())?;
    let server = local.server_config(Arc::new(verifier), admission, tunnels.transport(&Arc::default()))?;
    let tunnel = Tunnel::open(tls.into(), &local.identity, Some(server), tunnels)?;
    let ended = || tunnel.cause().unwrap_or(TransportError::Cut);
    let incoming = tunnel.endpoint.accept().await.ok_or_else(ended)?;
    // One tunnel, one connection: whatever else comes through it is ignored.
    tunnel.endpoint.set_server_config(None);
    let incoming = acceptor.admit_tunnelled(incoming).ok_or(TransportError::Busy)?;
    let session = acceptor.authenticate(incoming, Some((outer, tunnels))).await;
    // Also after a refusal, which has still to be said.
    tunnel.keep();
    session
}

/// Reads what a refused peer has sent already. Closing over it would reset the connection, and the peer would
/// not hear that it is refused.
async fn hear_out(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    let (mut bytes, mut heard) = ([0; 4096], 0);
    while heard < HEARD_BYTES_MAX {
        match stream.read(&mut bytes).await? {
            0 => break,
            read => heard += read,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_by_origin_and_in_all_and_given_back() {
        let places = Arc::new(Places::default());
        let from = |text: &str| SocketAddr::new(text.parse().unwrap(), 1);
        let one: Vec<_> = (0..PER_ADDRESS_MAX).map(|_| places.take(from("10.0.0.1"), 20).unwrap()).collect();
        assert!(places.take(from("::ffff:10.0.0.1"), 20).is_none(), "the same host");
        let _other: Vec<_> = (0..4).map(|n| places.take(from(&format!("fd00::{n}")), 20).unwrap()).collect();
        assert!(places.take(from("10.0.0.2"), 20).is_none(), "20 in all");
        drop(one);
        assert!(places.take(from("10.0.0.2"), 20).is_some());
        assert_eq!(places.0.lock().unwrap().len(), 1, "one IPv6 network holds what is left");
    }
}
