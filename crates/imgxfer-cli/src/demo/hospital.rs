//! The site that sends: a client behind a simulated line.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, anyhow};
use imgxfer_core::client::{Client, PushOptions, PushReport};
use imgxfer_core::progress::{Observer, TransferEvent};
use imgxfer_core::send::{KnownFiles, OtherFiles};
use imgxfer_core::sim::line::{LineControl, LineParams, ShapedSocket};
use imgxfer_core::transport::{CloseCode, Endpoint, EndpointConfig, Identity, Profile, Trust};
use tokio::sync::Notify;

use super::cloud::Cloud;
use super::samples::Samples;
use crate::files::{LazyFiles, Studies};
use crate::output::Output;
use crate::progress::Reporter;
use crate::site;

/// A program at the hospital that sends and fetches.
#[derive(Debug)]
pub(super) struct Hospital {
    /// Dials through the line.
    pub(super) client: Client,
    endpoint: Arc<Endpoint>,
    line: LineControl,
}

/// Tells when so much has arrived.
struct Threshold<'a> {
    reporter: &'a Reporter,
    bytes: u64,
    arrived: AtomicU64,
    reached: Notify,
}

impl Observer for Threshold<'_> {
    fn on_event(&self, event: &TransferEvent) {
        self.reporter.on_event(event);
        if let TransferEvent::Progress(progress) = event {
            self.arrived.store(progress.bytes_arrived, Ordering::Relaxed);
            if progress.bytes_arrived >= self.bytes {
                self.reached.notify_one();
            }
        }
    }
}

impl Hospital {
    /// Opens a socket behind `line`.
    pub(super) fn open(identity: Identity, line: LineParams, kind: Profile) -> anyhow::Result<Self> {
        let address = (Ipv4Addr::LOCALHOST, 0).into();
        let socket = ShapedSocket::bind(address, line, 1).context("open the hospital's socket")?;
        let line = socket.line().clone();
        let config = EndpointConfig::new(address, identity, Trust::new(), imgxfer_core::ALPN).with_profile(kind);
        let endpoint = Arc::new(Endpoint::with_socket(config, Arc::new(socket))?);
        Ok(Self { client: Client::new(Arc::clone(&endpoint)), endpoint, line })
    }

    /// Sends everything.
    pub(super) async fn push(
        &self,
        cloud: &Cloud,
        samples: &Samples,
        options: &PushOptions,
        output: &Output,
    ) -> anyhow::Result<PushReport> {
        let reporter = Reporter::new(&output.aside());
        let report = self.client.push(&cloud.dial, || samples.source(), options, &reporter).await;
        let _findings = reporter.finish();
        report.context("push to the cloud")
    }

    /// Sends until `bytes` have arrived, and drops everything then. Returns what had arrived.
    pub(super) async fn push_until(
        &self,
        cloud: &Cloud,
        samples: &Samples,
        bytes: u64,
        output: &Output,
    ) -> anyhow::Result<u64> {
        let reporter = Reporter::new(output);
        let threshold = Threshold { reporter: &reporter, bytes, arrived: AtomicU64::new(0), reached: Notify::new() };
        let options = PushOptions::default();
        let push = self.client.push(&cloud.dial, || samples.source(), &options, &threshold);
        let result = tokio::select! {
            report = Box::pin(push) => Err(report.map_or_else(Into::into, |_| anyhow!("it was done before the cut"))),
            () = threshold.reached.notified() => {
                // Before the future is dropped, so that nothing of its end gets through.
                self.cut();
                cloud.line.cut();
                Ok(threshold.arrived.load(Ordering::Relaxed))
            }
        };
        let _findings = reporter.finish();
        result
    }

    /// Cuts the line for good.
    pub(super) fn cut(&self) {
        self.line.cut();
    }

    /// Bytes of packets put on the line so far.
    pub(super) fn line_bytes(&self) -> u64 {
        self.line.counters().offered_bytes
    }

    /// Says goodbye.
    pub(super) async fn close(&self) {
        site::close(&self.endpoint, CloseCode::Done).await;
    }
}

impl Samples {
    fn source(&self) -> Box<dyn imgxfer_core::send::Source> {
        let (known, studies) = (KnownFiles::default(), Studies::default());
        Box::new(LazyFiles::new(Arc::clone(&self.paths), OtherFiles::Skip, self.totals(), known, studies))
    }
}
