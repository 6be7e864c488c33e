//! One transfer between two threads.

use std::any::Any;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::sync::{Arc, atomic::AtomicU64};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::cost::{Meter, Sample};
use crate::incompressible;
use crate::pump::{Link, receive, send};

/// Longer than any run takes.
const PATIENCE: Duration = Duration::from_secs(120);
const PACK_BYTES: usize = 1 << 20;

/// An end of a connection, with what must live as long.
pub(super) type End<L> = (L, Box<dyn Any + Send>);

/// Something that can carry bytes from one thread to another.
pub(super) trait Contender: Sync {
    type Link: Link;
    /// What was opened to listen.
    type Listener: Send;

    /// Opens a port on loopback.
    fn listen(&self) -> anyhow::Result<(Self::Listener, SocketAddr)>;

    /// Waits for the one who dials.
    fn accept(&self, listener: Self::Listener) -> impl Future<Output = anyhow::Result<End<Self::Link>>>;

    /// Dials.
    fn dial(&self, to: SocketAddr) -> impl Future<Output = anyhow::Result<End<Self::Link>>>;
}

/// Moves `bytes`, in packs of 1 MiB. Measured is from the first pack, the handshake being done, until all have come.
pub(super) fn run<C: Contender>(contender: &C, bytes: u64) -> anyhow::Result<Sample> {
    let bytes = bytes.next_multiple_of(PACK_BYTES as u64);
    let pack = Bytes::from(incompressible(PACK_BYTES));
    let (address, dialled) = mpsc::channel();
    let (all_here, all_there) = oneshot::channel();
    std::thread::scope(|threads| {
        let receiver = threads.spawn(move || {
            in_time(async {
                let (listener, port) = contender.listen()?;
                address.send(port)?;
                let (link, _kept) = contender.accept(listener).await?;
                receive(link.clone(), Arc::new(AtomicU64::new(0)), Some(bytes)).await?;
                // If nobody waits any more, the other side says why.
                let _told = all_here.send(());
                anyhow::Ok(())
            })
        });
        let sample = in_time(async {
            let (link, _kept) = contender.dial(dialled.recv().context("the receiver is gone")?).await?;
            let meter = Meter::start();
            send(link.clone(), pack, Some(bytes)).await?;
            all_there.await.context("the receiver is gone")?;
            Ok(meter.stop(bytes))
        });
        let received = receiver.join().map_err(|_| anyhow::anyhow!("the receiver panicked"))?;
        received.and(sample)
    })
}

fn in_time<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime: Runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { timeout(PATIENCE, work).await.context("it took too long")? })
}
