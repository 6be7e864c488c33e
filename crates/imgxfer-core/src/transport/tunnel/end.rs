//! When a tunnel's TCP connection ends, the QUIC connection in it ends at once, without waiting for silence.

use crate::transport::TransportError;
use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::sleep;

/// Between a tunnel's end and that of its endpoint. What came last, such as why the peer closed, is with the
/// connection's task by then, which must see it before it sees that the endpoint is gone.
const LAST_WORDS: Duration = Duration::from_millis(20);

/// Why a tunnel ended, once it has.
#[derive(Debug, Default)]
pub(super) struct End(watch::Sender<Option<TransportError>>);

impl End {
    /// The first cause stays.
    pub(super) fn set(&self, cause: TransportError) {
        self.0.send_if_modified(|end| {
            let first = end.is_none();
            end.get_or_insert(cause);
            first
        });
    }

    pub(super) fn cause(&self) -> Option<TransportError> {
        self.0.borrow().clone()
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.borrow().is_some()
    }

    pub(super) async fn wait(&self) {
        // The sender is a part of this, so that it cannot be gone.
        drop(self.0.subscribe().wait_for(Option::is_some).await);
    }
}

/// Tokio for one quinn endpoint, whose driver ends with the tunnel.
///
/// quinn has no other way to be told that a socket is gone: an error of the socket does the same, but is logged
/// as a fault of this machine. Its connections then end with what becomes [`TransportError::Cut`].
#[derive(Debug)]
pub(super) struct TunnelRuntime {
    end: Arc<End>,
    /// An endpoint's first task is its driver; the others are those of connections, which must live to tell.
    has_driver: AtomicBool,
}

impl TunnelRuntime {
    pub(super) fn new(end: Arc<End>) -> Self {
        Self { end, has_driver: AtomicBool::new(false) }
    }
}

impl Runtime for TunnelRuntime {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        if self.has_driver.swap(true, Ordering::Relaxed) {
            return TokioRuntime.spawn(future);
        }
        let end = Arc::clone(&self.end);
        tokio::spawn(async move {
            let ended = async {
                end.wait().await;
                sleep(LAST_WORDS).await;
            };
            tokio::select! {
                () = future => {}
                () = ended => {}
            }
        });
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        TokioRuntime.wrap_udp_socket(socket)
    }

    fn now(&self) -> Instant {
        TokioRuntime.now()
    }
}
