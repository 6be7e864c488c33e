//! TCP sockets: listening on the number of a UDP port, and what a tunnel wants of a connection.

use crate::transport::udp::socket::Warning;
use crate::transport::{Dscp, TransportError};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Bytes that the kernel takes over before it can send them: what a fast line needs between two looks of the
/// writing task (1 ms at 1 Gbit/s is 125 KB), and on a slow one the queue that urgent data waits in.
#[cfg(target_os = "linux")]
const NOT_SENT_BYTES: u32 = 64 << 10;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 256;

/// Opens a TCP socket that listens. An IPv6 address takes IPv4 as well where the system can.
pub(in crate::transport) fn listen(address: SocketAddr) -> Result<TcpListener, Warning> {
    let open = || -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6()
            && let Err(error) = socket.set_only_v6(false)
        {
            tracing::debug!(%error, "the IPv6 socket does not take IPv4");
        }
        // Connections of a process before this one may still be winding down.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    open().map_err(|e| Warning::NoTcpPort { address, cause: e.into() })
}

/// Makes datagrams leave at once and with their mark, and the kernel hold few that cannot.
pub(super) fn tune(stream: &TcpStream, dscp: Option<Dscp>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    if let Some(dscp) = dscp {
        dscp.mark(&SockRef::from(stream), stream.local_addr()?)?;
    }
    #[cfg(target_os = "linux")]
    SockRef::from(stream).set_tcp_notsent_lowat(NOT_SENT_BYTES)?;
    Ok(())
}

/// Connects, from `source` if it can reach such an address.
pub(super) async fn connect(
    to: SocketAddr,
    source: Option<IpAddr>,
    dscp: Option<Dscp>,
) -> Result<TcpStream, TransportError> {
    let connecting = async {
        let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if let Some(source) = source.filter(|source| source.is_ipv4() == to.is_ipv4()) {
            socket.bind((source, 0).into())?;
        }
        let stream = socket.connect(to).await?;
        tune(&stream, dscp)?;
        Ok(stream)
    };
    connecting.await.map_err(|_: io::Error| TransportError::Unreachable { address: to.to_string(), tcp: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_mark_is_set_at_both_ends() {
        let dscp = Dscp::new(10);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dialled = connect(listener.local_addr().unwrap(), None, dscp).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        tune(&accepted, dscp).unwrap();
        for stream in [dialled, accepted] {
            assert_eq!(SockRef::from(&stream).tos_v4().unwrap() & 0xfc, 40);
        }
    }
}
