//! The client for programs without an async runtime: each call returns when its work is done.
//!
//! It has two threads of its own for the network, and none of the caller's is needed. For progress while a call runs,
//! give it an observer; to stop one, give its options a [`RetryPolicy`](crate::client::RetryPolicy), or use the
//! async [`client`], whose futures can be dropped.
//!
//! It refuses to work within an async runtime, whose thread it would hold up.

use std::future::Future;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

use crate::ALPN;
use crate::client::{self, PullOptions, PullReport, PullTarget, PushOptions, PushReport};
use crate::error::TransferError;
use crate::ids::PeerId;
use crate::progress::Observer;
use crate::receive::Intake;
use crate::send::Source;
use crate::store::StoreError;
use crate::store::search::{Answer, Search};
use crate::transport::pairing::{self, Paired, PairingCode, PairingError, PairingOffer};
use crate::transport::{CloseCode, Dial, Endpoint, EndpointConfig, Identity, TransportError, Trust};

/// How long the end of a client waits for its threads.
const END: Duration = Duration::from_secs(1);

/// Dials peers and moves studies, each call to its end. One serves any number of threads.
#[derive(Debug)]
pub struct Client {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    client: client::Client,
    endpoint: Arc<Endpoint>,
}

impl Client {
    /// A client with this identity, on any free UDP port. It talks to the peers that each [`Dial`] names by its key.
    ///
    /// # Errors
    /// [`TransportError::InsideRuntime`]; [`TransportError::Bind`] when there is no port.
    pub fn new(identity: Identity) -> Result<Self, TransferError> {
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        Self::with(EndpointConfig::new(any, identity, Trust::new(), ALPN).dial_only())
    }

    /// The same with settings of the caller's.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn with(config: EndpointConfig) -> Result<Self, TransferError> {
        outside()?;
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|error| TransportError::Local { reason: error.to_string() })?;
        let endpoint = Arc::new(runtime.block_on(async { Endpoint::bind(config) })?);
        let client = client::Client::new(Arc::clone(&endpoint));
        Ok(Self { runtime: Some(runtime), client, endpoint })
    }

    /// See [`client::Client::push`].
    ///
    /// # Errors
    /// As there; [`TransportError::InsideRuntime`].
    pub fn push(
        &self,
        dial: &Dial,
        source: impl Fn() -> Box<dyn Source> + Send + Sync,
        options: &PushOptions,
        observer: &dyn Observer,
    ) -> Result<PushReport, TransferError> {
        self.wait(self.client.push(dial, source, options, observer))?
    }

    /// See [`client::Client::pull`].
    ///
    /// # Errors
    /// As there; [`TransportError::InsideRuntime`].
    pub fn pull(
        &self,
        dial: &Dial,
        target: &PullTarget,
        intake: impl Fn(PeerId) -> Result<Arc<dyn Intake>, StoreError> + Send + Sync + Clone + 'static,
        options: &PullOptions,
        observer: &dyn Observer,
    ) -> Result<PullReport, TransferError> {
        self.wait(self.client.pull(dial, target, intake, options, observer))?
    }

    /// Asks what is there: see [`client::Client::find`].
    ///
    /// # Errors
    /// As there; [`TransportError::InsideRuntime`].
    pub fn query(&self, dial: &Dial, search: &Search) -> Result<Answer, TransferError> {
        self.wait(self.client.find(dial, search))?
    }

    /// Pairs with the site at `address` (`HOST:PORT`), whose operator has told `code`. `my_name` is what this site calls itself;
    /// `confirm` shows a person the other site's name and fingerprint, and says whether it is the right one. Keep
    /// [`Paired::peer`]: it is what [`Dial::with_peer`] takes.
    ///
    /// # Errors
    /// [`PairingError`]; inside, [`TransportError::InsideRuntime`].
    pub fn pair(
        &self,
        address: &str,
        code: &PairingCode,
        my_name: &str,
        confirm: impl FnOnce(&PairingOffer) -> bool + Send + 'static,
    ) -> Result<Paired, PairingError> {
        let paired = self.wait(async {
            let session = self.endpoint.connect_to_pair(&Dial::new(address)).await?;
            let confirm = async |offer: PairingOffer| {
                let asked = crate::work::blocking("ask whether to pair", move || confirm(&offer));
                asked.await.unwrap_or(false)
            };
            let paired = pairing::join(&session, self.endpoint.identity(), code, my_name, confirm).await;
            session.end(CloseCode::Done).await;
            paired
        });
        paired.map_err(PairingError::from)?
    }

    fn wait<T>(&self, work: impl Future<Output = T>) -> Result<T, TransportError> {
        outside()?;
        // There is one as long as there is `self`.
        let gone = || TransportError::Local { reason: "the client is being dropped".to_owned() };
        Ok(self.runtime.as_ref().ok_or_else(gone)?.block_on(work))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.endpoint.close(CloseCode::Done, "");
        let Some(runtime) = self.runtime.take() else { return };
        match outside() {
            Ok(()) => runtime.shutdown_timeout(END),
            Err(_) => runtime.shutdown_background(),
        }
    }
}

/// Refuses the thread of an async runtime.
fn outside() -> Result<(), TransportError> {
    if Handle::try_current().is_ok() { Err(TransportError::InsideRuntime) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inside_a_runtime_it_refuses_and_says_what_to_use() {
        let outside = Client::new(Identity::generate().unwrap()).unwrap();
        let runtime = Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let error = Client::new(Identity::generate().unwrap()).unwrap_err();
            assert!(matches!(error, TransferError::Transport(TransportError::InsideRuntime)), "{error:?}");
            assert!(error.to_string().contains("imgxfer_core::client"), "{error}");
            let error = outside.query(&Dial::new("localhost:1"), &Search::default()).unwrap_err();
            assert!(matches!(error, TransferError::Transport(TransportError::InsideRuntime)), "{error:?}");
            drop(outside);
        });
    }
}
