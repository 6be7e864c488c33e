//! A network between two sites that passes TCP, and UDP only until it is blocked: then nothing tells that it is.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};

/// Stands before a site as a firewall does.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    cut: Arc<Notify>,
    udp: watch::Sender<bool>,
    tasks: [JoinHandle<()>; 2],
}

impl Relay {
    /// Passes TCP on to `site`, and UDP if `udp`.
    pub(crate) async fn before(site: SocketAddr, udp: bool) -> Self {
        let (tcp, socket) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
            // Another program may have the number for UDP.
            if let Ok(socket) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
                break (tcp, socket);
            }
        };
        let (address, cut, udp) = (tcp.local_addr().unwrap(), Arc::new(Notify::new()), watch::Sender::new(udp));
        let tasks = [
            tokio::spawn(pass_streams(tcp, site, Arc::clone(&cut))),
            tokio::spawn(pass_datagrams(socket, site, udp.subscribe())),
        ];
        Self { address, cut, udp, tasks }
    }

    /// Cuts all TCP connections; new ones are passed on.
    pub(crate) fn cut(&self) {
        self.cut.notify_one();
    }

    /// Passes no UDP from now on.
    #[allow(dead_code, reason = "not every test blocks it midway")]
    pub(crate) fn block_udp(&self) {
        self.udp.send_replace(false);
    }
}

async fn pass_streams(tcp: TcpListener, site: SocketAddr, cut: Arc<Notify>) {
    let mut lines = JoinSet::new();
    loop {
        tokio::select! {
            () = cut.notified() => lines.abort_all(),
            Ok((mut outer, _)) = tcp.accept() => {
                lines.spawn(async move {
                    let mut inner = TcpStream::connect(site).await.unwrap();
                    drop(tokio::io::copy_bidirectional(&mut outer, &mut inner).await);
                });
            }
        }
    }
}

async fn pass_datagrams(outer: UdpSocket, site: SocketAddr, passes: watch::Receiver<bool>) {
    let outer = Arc::new(outer);
    let mut lines: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut answers = JoinSet::new();
    let mut datagram = vec![0; 65_535];
    loop {
        let Ok((length, from)) = outer.recv_from(&mut datagram).await else { continue };
        if !*passes.borrow() {
            continue;
        }
        if let Entry::Vacant(place) = lines.entry(from) {
            let line = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
            line.connect(site).await.unwrap();
            place.insert(Arc::clone(&line));
            let (outer, passes) = (Arc::clone(&outer), passes.clone());
            answers.spawn(async move {
                let mut datagram = vec![0; 65_535];
                while let Ok(length) = line.recv(&mut datagram).await {
                    if *passes.borrow() {
                        drop(outer.send_to(&datagram[..length], from).await);
                    }
                }
            });
        }
        drop(lines[&from].send(&datagram[..length]).await);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
