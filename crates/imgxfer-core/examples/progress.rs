//! Watches a push: what a program shows its user while studies travel.
//!
//! Needs no peer: both ends run here, in one process, with a store in memory.

#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::sync::Arc;
use std::time::Duration;

use imgxfer_core::ALPN;
use imgxfer_core::client::{Client, PushOptions};
use imgxfer_core::codec::Registry;
use imgxfer_core::depot::Depot;
use imgxfer_core::progress::TransferEvent;
use imgxfer_core::send::{FileSource, OtherFiles};
use imgxfer_core::server::{Host, Rights, Server, ServerLimits};
use imgxfer_core::sim::studies::StudySpec;
use imgxfer_core::store::{MemIndex, MemRecords};
use imgxfer_core::transport::{Dial, Endpoint, EndpointConfig, Identity, Session, Trust};
use imgxfer_core::units::human_bytes;

struct Everything;

impl Host for Everything {
    fn rights(&self, _: &Session) -> Rights {
        Rights::all()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::temp_dir().join(format!("imgxfer-progress-{}", std::process::id()));
    let files = StudySpec::new(7).write_to(&folder)?;

    let (here, there) = (Identity::generate()?, Identity::generate()?);
    let trust = Trust::new();
    trust.pin(here.peer_id());
    let peer = there.peer_id();
    let server_end = Endpoint::bind(EndpointConfig::new("127.0.0.1:0".parse()?, there, trust, ALPN))?;
    let dial = Dial::from(server_end.local_address()?).with_peer(peer);
    let depot = Depot::new(Arc::new(MemRecords::default()), Arc::new(MemIndex::default()), Registry::default());
    let server = Server::new(server_end, depot, Arc::new(Everything), ServerLimits::default());
    let serving = tokio::spawn(async move { server.serve(std::future::pending()).await });

    let last = std::sync::Mutex::new(Duration::ZERO);
    let clock = imgxfer_core::clock::Stopwatch::start();
    let print = |event: &TransferEvent| match event {
        TransferEvent::Progress(progress) => {
            let mut last = last.lock().expect("one caller at a time");
            if clock.elapsed() - *last > Duration::from_millis(500) || progress.bytes_committed > 0 {
                *last = clock.elapsed();
                let (done, all) = (progress.instances_committed, progress.instances_expected);
                println!("{done}/{all} instances committed, {} on the line", human_bytes(progress.line_bytes));
            }
        }
        other => println!("{other:?}"),
    };
    let client = Client::new(Endpoint::bind(EndpointConfig::new("127.0.0.1:0".parse()?, here, Trust::new(), ALPN))?);
    let source = || Box::new(FileSource::new(&files, OtherFiles::Skip)) as _;
    let report = client.push(&dial, source, &PushOptions::default(), &print).await?;
    println!("receipt for {}", report.receipt.root);
    serving.abort();
    std::fs::remove_dir_all(folder)?;
    Ok(())
}
