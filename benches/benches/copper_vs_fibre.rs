//! Copper against fibre. On copper the line counts: raw bytes over each named line in virtual time, ours beside Cubic,
//! computed once and printed. On fibre the processor counts: races over loopback in real time, beside their bounds.
//! The program `report` measures the same at length, with more beside it, and makes pictures of it.
#![allow(missing_docs, reason = "a bench has no readers but its own")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that cannot go on stops, and reports to whoever started it"
)]

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use imgxfer_benches::figure::table;
use imgxfer_benches::lines::{Scale, profiles};
use imgxfer_benches::loopback::{Files, LoopbackRow, Way};

const BYTES: u64 = 128 << 20;

fn fibre(c: &mut Criterion) {
    let files = Files::write(BYTES).unwrap();
    let mut group = c.benchmark_group("fibre: over loopback");
    group.sample_size(10).throughput(Throughput::Bytes(BYTES));
    for way in Way::ALL {
        let mut row = LoopbackRow { way, name: way.name(), samples: Vec::new() };
        group.bench_function(way.name(), |b| {
            b.iter_custom(|times| {
                let samples: Vec<_> = (0..times).map(|_| way.run(BYTES, &files).unwrap()).collect();
                let took = samples.iter().map(|sample| sample.seconds).sum();
                row.samples.extend(samples);
                Duration::from_secs_f64(took)
            });
        });
        // Empty where a filter left it out.
        if !row.samples.is_empty() {
            let cpu = row.median(imgxfer_benches::cost::Sample::cpu_seconds_a_gb);
            let peak = row.samples.iter().map(|sample| sample.peak_bytes).max().unwrap_or(0) >> 20;
            println!("{}: {cpu:.2} CPU s a GB of both ends, {peak} MiB at most in this process", row.name);
        }
    }
    group.finish();
}

/// Not timed: the same on every machine.
fn copper(_: &mut Criterion) {
    println!("raw bytes over the named lines, virtual time, one seed:");
    println!("{}", table(&profiles(Scale { seeds: 1, quick: true }, &|_| {}).unwrap()));
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(3));
    targets = fibre, copper
}
criterion_main!(benches);
