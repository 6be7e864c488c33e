//! The UDP socket, with buffers large enough for a burst.

use crate::transport::{Dscp, SystemError, TransportError};
use quinn::{AsyncUdpSocket, Runtime as _, TokioRuntime};
use socket2::{Domain, Protocol, Socket, Type};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// Buffers of a socket in the kernel, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::transport) struct BufferSizes {
    pub(in crate::transport) receive: usize,
    pub(in crate::transport) send: usize,
}

/// Which of a socket's two buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BufferKind {
    /// What arrived and was not read yet.
    Receive,
    /// What was sent and did not leave yet.
    Send,
}

/// Something that works less well than it should, with what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// The kernel gave a smaller socket buffer: packets will be lost in bursts at high rates.
    BufferClamped {
        /// Which buffer.
        buffer: BufferKind,
        /// Bytes asked for.
        wanted: usize,
        /// Bytes given.
        given: usize,
    },
    /// The TCP port beside the UDP port could not be opened: sites whose network passes no UDP cannot connect.
    NoTcpPort {
        /// Where it should have listened.
        address: SocketAddr,
        /// What the system said.
        cause: SystemError,
    },
    /// Packets over UDP carry no mark (DSCP), because that is known for Linux alone.
    NoDscp,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BufferClamped { buffer, wanted, given } => {
                let (name, sysctl) = match buffer {
                    BufferKind::Receive => ("receive", "net.core.rmem_max"),
                    BufferKind::Send => ("send", "net.core.wmem_max"),
                };
                write!(
                    f,
                    "the UDP {name} buffer is {given} bytes, not {wanted}; for full speed run: sysctl -w {sysctl}={wanted}"
                )
            }
            Self::NoTcpPort { address, cause } => write!(
                f,
                "cannot listen on TCP {address} ({cause}): sites whose network passes no UDP cannot connect; free the port, choose another, or turn the fallback to TCP off"
            ),
            Self::NoDscp => f.write_str(
                "UDP packets are not marked on this system: have the firewall set the DSCP, or drop the setting",
            ),
        }
    }
}

/// What Linux reports for a buffer is twice what was asked for: half is its own bookkeeping (socket(7)).
fn usable(reported: usize) -> usize {
    if cfg!(target_os = "linux") { reported / 2 } else { reported }
}

/// Opens a UDP socket on `address`. An IPv6 address takes IPv4 as well where the system can.
pub(in crate::transport) fn bind(
    address: SocketAddr,
    buffers: BufferSizes,
) -> Result<(std::net::UdpSocket, Vec<Warning>), TransportError> {
    let open = || -> io::Result<(Socket, Vec<Warning>)> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6()
            && let Err(error) = socket.set_only_v6(false)
        {
            tracing::debug!(%error, "the IPv6 socket does not take IPv4");
        }
        socket.set_nonblocking(true)?;
        let warnings = size_buffers(&socket, buffers)?;
        socket.bind(&address.into())?;
        Ok((socket, warnings))
    };
    let (socket, warnings) = open().map_err(|e| TransportError::Bind { address, cause: e.into() })?;
    Ok((socket.into(), warnings))
}

fn size_buffers(socket: &Socket, buffers: BufferSizes) -> io::Result<Vec<Warning>> {
    socket.set_recv_buffer_size(buffers.receive)?;
    socket.set_send_buffer_size(buffers.send)?;
    let given = [
        (BufferKind::Receive, buffers.receive, usable(socket.recv_buffer_size()?)),
        (BufferKind::Send, buffers.send, usable(socket.send_buffer_size()?)),
    ];
    let short = given.into_iter().filter(|(_, wanted, given)| given < wanted);
    Ok(short.map(|(buffer, wanted, given)| Warning::BufferClamped { buffer, wanted, given }).collect())
}

/// Hands a socket to the runtime, whose packets then carry `dscp` if there is one.
pub(in crate::transport) fn wrap(
    socket: std::net::UdpSocket,
    dscp: Option<Dscp>,
) -> io::Result<Arc<dyn AsyncUdpSocket>> {
    #[cfg(target_os = "linux")]
    if let Some(dscp) = dscp {
        return Ok(Arc::new(super::marked::MarkedSocket::new(socket, dscp)?));
    }
    #[cfg(not(target_os = "linux"))]
    let _ = dscp;
    TokioRuntime.wrap_udp_socket(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clamped_buffers_are_reported_with_the_remedy() {
        let huge = BufferSizes { receive: 1 << 30, send: 64 << 10 };
        let (_socket, warnings) = bind(([127, 0, 0, 1], 0).into(), huge).unwrap();
        // A machine that really grants 1 GiB has nothing to warn of.
        for warning in warnings {
            assert!(warning.to_string().contains("net.core.rmem_max=1073741824"), "{warning}");
        }
    }

    #[test]
    fn a_taken_port_is_a_typed_error() {
        let small = BufferSizes { receive: 64 << 10, send: 64 << 10 };
        let (first, _) = bind(([127, 0, 0, 1], 0).into(), small).unwrap();
        let address = first.local_addr().unwrap();
        let error = bind(address, small).unwrap_err();
        assert!(
            matches!(&error, TransportError::Bind { address: at, cause } if *at == address && cause.kind() == io::ErrorKind::AddrInUse)
        );
    }
}
