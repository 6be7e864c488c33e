//! Whole pushes: two sites in this process.
//!
//! Over loopback, into a store in memory: what the machine can do without line and disk, per original
//! byte. Over simulated lines in virtual time: what a study gets out of each line, as goodput; that is a
//! property of the protocol and the line, so it is computed once and not timed.
#![allow(missing_docs, reason = "a bench has no readers but its own")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that cannot go on stops, and reports to whoever started it"
)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use imgxfer_benches::{ct, incompressible, small};
use imgxfer_core::ALPN;
use imgxfer_core::client::{Client, PushOptions, PushReport, RetryPolicy};
use imgxfer_core::codec::Registry;
use imgxfer_core::depot::Depot;
use imgxfer_core::send::{FileSource, OtherFiles};
use imgxfer_core::server::{Host, Rights, Server, ServerLimits};
use imgxfer_core::sim::line::{LineProfile, VirtualNet};
use imgxfer_core::store::{MemIndex, MemRecords};
use imgxfer_core::transport::{Dial, Endpoint, EndpointConfig, Identity, Session, Trust};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

struct Everybody;

impl Host for Everybody {
    fn rights(&self, _: &Session) -> Rights {
        Rights::all()
    }
}

fn depot() -> Depot {
    Depot::new(Arc::new(MemRecords::default()), Arc::new(MemIndex::default()), Registry::default())
}

fn trusting(peer: &Identity) -> Trust {
    let trust = Trust::new();
    trust.pin(peer.peer_id());
    trust
}

fn serve(endpoint: Endpoint) {
    let server = Server::new(endpoint, depot(), Arc::new(Everybody), ServerLimits::default());
    drop(tokio::spawn(async move { server.serve(std::future::pending()).await }));
}

/// A new server with an empty store on loopback, and a client for it.
fn loopback() -> (Client, Dial) {
    let (here, there) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let any = "127.0.0.1:0".parse().unwrap();
    let endpoint = Endpoint::bind(EndpointConfig::new(any, there.clone(), trusting(&here), ALPN)).unwrap();
    let dial = Dial::from(endpoint.local_address().unwrap()).with_peer(there.peer_id());
    serve(endpoint);
    (Client::new(Endpoint::bind(EndpointConfig::new(any, here, trusting(&there), ALPN)).unwrap()), dial)
}

async fn push(client: &Client, dial: &Dial, folder: &TempDir) -> PushReport {
    let paths = [PathBuf::from(folder.path())];
    let source = || Box::new(FileSource::new(&paths, OtherFiles::Send)) as _;
    let options = PushOptions::default().with_retry(RetryPolicy::once());
    let report = client.push(dial, source, &options, &|_: &_| {}).await.unwrap();
    assert!(report.receipt.complete, "everything arrived");
    report
}

fn over_loopback(c: &mut Criterion, name: &str, folder: &TempDir, bytes: u64) {
    let runtime: Runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    let mut group = c.benchmark_group("push over loopback into memory");
    group.sample_size(10).throughput(Throughput::Bytes(bytes));
    group.bench_function(name, |b| {
        b.iter_custom(|iterations| {
            let one = async || {
                let (client, dial) = loopback();
                let begun = Instant::now();
                push(&client, &dial, folder).await.complete().unwrap();
                begun.elapsed()
            };
            (0..iterations).map(|_| runtime.block_on(one())).sum()
        });
    });
    group.finish();
}

/// What is in the folder, in bytes.
fn bytes_in(folder: &TempDir) -> u64 {
    let entries = std::fs::read_dir(folder.path()).unwrap();
    entries.map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

fn real_time(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("noise.bin"), incompressible(64 << 20)).unwrap();
    over_loopback(c, "64MiB incompressible", &folder, bytes_in(&folder));

    let folder = tempfile::tempdir().unwrap();
    ct(80).write_to(folder.path()).unwrap();
    over_loopback(c, "80 synthetic ct slices", &folder, bytes_in(&folder));

    let folder = tempfile::tempdir().unwrap();
    small(10_000).write_to(folder.path()).unwrap();
    over_loopback(c, "10,000 small instances", &folder, bytes_in(&folder));
}

/// Pushes a folder from the hospital to the cloud in virtual time. Nothing is computed in this time, so that
/// what comes out is of the line and the protocol alone. Returns the bytes that came out of the line, too.
async fn push_over(profile: LineProfile, folder: &TempDir) -> (Duration, PushReport, u64) {
    let net = VirtualNet::new(profile, 1);
    let (hospital, cloud) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let config = EndpointConfig::new(VirtualNet::CLOUD, cloud.clone(), trusting(&hospital), ALPN);
    serve(Endpoint::with_socket(config, net.cloud()).unwrap());
    let config = EndpointConfig::new(VirtualNet::HOSPITAL, hospital, trusting(&cloud), ALPN);
    let client = Client::new(Endpoint::with_socket(config, net.hospital()).unwrap());
    let dial = Dial::from(VirtualNet::CLOUD).with_peer(cloud.peer_id());
    let begun = Instant::now();
    let report = push(&client, &dial, folder).await;
    (begun.elapsed(), report, net.up().counters().delivered_bytes)
}

/// Slices that take a line some seconds, and this machine not many.
fn slices(up_bps: Option<u64>) -> u32 {
    match up_bps {
        Some(..=1_000_000) => 4,
        Some(..=20_000_000) => 12,
        Some(..=200_000_000) => 40,
        Some(_) | None => 80,
    }
}

/// Not timed by criterion: the result is a line of text for each profile.
fn virtual_time(_: &mut Criterion) {
    println!("push of synthetic ct over simulated lines, virtual time:");
    println!(
        "{:<12} {:>9} {:>9} {:>14} {:>14} {:>10}",
        "line", "MB", "seconds", "goodput Mbit/s", "line Mbit/s", "of line"
    );
    for name in LineProfile::NAMES {
        let profile: LineProfile = name.parse().unwrap();
        let rate = profile.up.rate_bps;
        let folder = tempfile::tempdir().unwrap();
        ct(slices(rate)).write_to(folder.path()).unwrap();
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let (took, report, delivered) = runtime.block_on(push_over(profile, &folder));
        let megabits = |bytes: u64| f64::from(u32::try_from(bytes * 8 / 1_000).unwrap_or(u32::MAX)) / 1_000.0;
        let (original, sent) = (megabits(report.receipt.bytes), megabits(delivered));
        let seconds = took.as_secs_f64();
        let share = rate.map_or_else(
            || "-".to_owned(),
            |rate| format!("{:.0} %", 100.0 * sent / seconds / megabits(rate.div_ceil(8))),
        );
        println!(
            "{name:<12} {:>9.1} {seconds:>9.2} {:>14.2} {:>14.2} {share:>10}",
            original / 8.0,
            original / seconds,
            sent / seconds,
        );
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(2));
    targets = real_time, virtual_time
}
criterion_main!(benches);
