//! Gives each data stream of a session to the transfer that it belongs to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tracing::Instrument as _;

use crate::ids::TransferId;
use crate::sync::lock;
use crate::transport::{DataReceiver, Session};
use crate::wire::stream::{STREAM_HEAD_BYTES, read_stream_head};

/// Streams whose head is being read at once.
const HEADS_AT_ONCE: usize = 64;
/// Streams that wait for a transfer to take them up.
const STREAMS_WAITING: usize = 16;

type Routes = Arc<Mutex<HashMap<TransferId, mpsc::Sender<DataReceiver>>>>;

/// Accepts the data streams of one session for as long as it lives.
#[derive(Debug, Clone)]
pub(crate) struct Router {
    routes: Routes,
    _task: Arc<Task>,
}

#[derive(Debug)]
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A transfer's place at the router; given up when dropped.
#[derive(Debug)]
pub(crate) struct Route {
    routes: Routes,
    transfer: TransferId,
    streams: mpsc::Receiver<DataReceiver>,
}

impl Router {
    /// Starts accepting.
    pub(crate) fn start(session: Session) -> Self {
        let routes: Routes = Arc::default();
        let task = tokio::spawn(accept(session, Arc::clone(&routes)).in_current_span());
        Self { routes, _task: Arc::new(Task(task.abort_handle())) }
    }

    /// Takes the streams of a transfer. `None` when another has that id.
    pub(crate) fn take(&self, transfer: TransferId) -> Option<Route> {
        let (send, streams) = mpsc::channel(STREAMS_WAITING);
        let mut routes = lock(&self.routes);
        if routes.contains_key(&transfer) {
            return None;
        }
        routes.insert(transfer, send);
        Some(Route { routes: Arc::clone(&self.routes), transfer, streams })
    }
}

impl Route {
    /// The next stream; `None` when the session is gone. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<DataReceiver> {
        self.streams.recv().await
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        lock(&self.routes).remove(&self.transfer);
    }
}

async fn accept(session: Session, routes: Routes) {
    let mut heads = JoinSet::new();
    while let Ok(mut stream) = session.accept_data().await {
        while heads.try_join_next().is_some() {}
        if heads.len() >= HEADS_AT_ONCE {
            drop(heads.join_next().await);
        }
        let routes = Arc::clone(&routes);
        heads.spawn(async move {
            let mut head = [0; STREAM_HEAD_BYTES];
            if !matches!(stream.read_exact(&mut head).await, Ok(true)) {
                return;
            }
            let route = read_stream_head(&head).and_then(|t| lock(&routes).get(&t).cloned());
            // A stream of no transfer is dropped, which tells the sender to stop.
            if let Some(route) = route {
                drop(route.send(stream).await);
            }
        });
    }
    lock(&routes).clear();
}
