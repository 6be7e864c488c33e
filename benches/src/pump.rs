//! Moves bytes without meaning, as fast as they go: packs on streams of their own, several at once, so that no
//! stream's limit binds. The same for every carrier that is compared.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use imgxfer_core::transport::Session;
use tokio::task::JoinSet;

/// One end of what carries bytes.
pub trait Link: Clone + Send + Sync + 'static {
    /// Packs that go at once, and that are taken in at once.
    const LANES: (usize, usize);

    /// Sends one pack; it may still be under way afterwards.
    fn put(&self, pack: Bytes) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Takes in one pack, counting as it comes.
    fn take(&self, taken: &AtomicU64) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Called some times a second at the sending end.
    fn tend(&self) {}
}

/// Bytes that [`Link::take`] asks for at once at most; it gets them packet by packet.
const READ_BYTES: usize = 64 << 10;
/// As `send` does it.
const TEND_EVERY: Duration = Duration::from_millis(200);

impl Link for Session {
    const LANES: (usize, usize) = (8, 64);

    async fn put(&self, pack: Bytes) -> anyhow::Result<()> {
        let mut stream = self.open_data().await?;
        stream.send(pack).await?;
        Ok(stream.finish()?)
    }

    async fn take(&self, taken: &AtomicU64) -> anyhow::Result<()> {
        let mut stream = self.accept_data().await?;
        while let Some(bytes) = stream.read_some(READ_BYTES).await? {
            count(taken, bytes.len());
        }
        Ok(())
    }

    fn tend(&self) {
        self.adapt_windows();
    }
}

impl Link for quinn::Connection {
    const LANES: (usize, usize) = (8, 64);

    async fn put(&self, pack: Bytes) -> anyhow::Result<()> {
        let mut stream = self.open_uni().await?;
        stream.write_chunk(pack).await?;
        Ok(stream.finish()?)
    }

    async fn take(&self, taken: &AtomicU64) -> anyhow::Result<()> {
        let mut stream = self.accept_uni().await?;
        while let Some(chunk) = stream.read_chunk(usize::MAX, true).await? {
            count(taken, chunk.bytes.len());
        }
        Ok(())
    }
}

/// Adds to what was taken in.
pub fn count(taken: &AtomicU64, bytes: usize) {
    taken.fetch_add(bytes as u64, Ordering::Relaxed);
}

/// Sends packs until `bytes` are on their way, or for ever.
///
/// # Errors
/// Why the link ended.
pub async fn send<L: Link>(link: L, pack: Bytes, bytes: Option<u64>) -> anyhow::Result<()> {
    let left = Arc::new(AtomicU64::new(bytes.map_or(u64::MAX, |bytes| bytes.div_ceil(pack.len() as u64))));
    let mut lanes = JoinSet::new();
    for _ in 0..L::LANES.0 {
        let (link, pack, left) = (link.clone(), pack.clone(), Arc::clone(&left));
        lanes.spawn(async move {
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                link.put(pack.clone()).await?;
            }
            anyhow::Ok(())
        });
    }
    let tend = async {
        loop {
            link.tend();
            tokio::time::sleep(TEND_EVERY).await;
        }
    };
    tokio::select! {
        result = all(&mut lanes) => result,
        () = tend => Ok(()),
    }
}

async fn all(lanes: &mut JoinSet<anyhow::Result<()>>) -> anyhow::Result<()> {
    while let Some(lane) = lanes.join_next().await {
        lane.context("a lane")??;
    }
    Ok(())
}

/// Takes packs in until the link ends, or `bytes` have come.
///
/// # Errors
/// Why the link ended, when it did.
pub async fn receive<L: Link>(link: L, taken: Arc<AtomicU64>, bytes: Option<u64>) -> anyhow::Result<()> {
    let mut lanes = JoinSet::new();
    for _ in 0..L::LANES.1 {
        let (link, taken) = (link.clone(), Arc::clone(&taken));
        lanes.spawn(async move {
            loop {
                link.take(&taken).await?;
                if bytes.is_some_and(|bytes| taken.load(Ordering::Relaxed) >= bytes) {
                    return anyhow::Ok(());
                }
            }
        });
    }
    match bytes {
        // The others wait for packs that never come.
        Some(_) => lanes.join_next().await.context("no lane")?.context("a lane")?,
        None => all(&mut lanes).await,
    }
}
