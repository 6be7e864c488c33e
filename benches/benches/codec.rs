//! What a codec makes of pixels at each level: ratio once, speed both ways. Beside it `store`, which copies.
#![allow(missing_docs, reason = "a bench has no readers but its own")]
#![allow(clippy::print_stdout, reason = "a bench reports to whoever started it")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use imgxfer_benches::{PixelChunks, ct, mr, real_pixels};
use imgxfer_core::codec::{Codec, CodecId, Level, Registry};

fn synthetic() -> Vec<PixelChunks> {
    [("ct-synthetic", ct(8)), ("mr-synthetic", mr(16))]
        .map(|(name, spec)| {
            let files: Vec<_> = spec.instances().map(|instance| instance.bytes).collect();
            PixelChunks::of(name, files.iter().map(Vec::as_slice))
        })
        .to_vec()
}

/// Payloads of all chunks; a chunk that the codec declines stays as it is.
fn encode(codec: &dyn Codec, pixels: &PixelChunks, level: Level) -> Vec<Vec<u8>> {
    let one = |(raw, shape): &(Vec<u8>, _)| {
        let mut payload = Vec::with_capacity(raw.len());
        if codec.encode(raw, Option::as_ref(shape), level, &mut payload) { payload } else { Vec::new() }
    };
    pixels.chunks.iter().map(one).collect()
}

fn codecs(c: &mut Criterion) {
    let registry = Registry::default();
    for pixels in synthetic().into_iter().chain(real_pixels()) {
        let mut group = c.benchmark_group(format!("codec/{}", pixels.name));
        group.sample_size(10).throughput(Throughput::Bytes(pixels.bytes()));
        for id in registry.ids() {
            let Ok(codec) = registry.get(id) else { continue };
            for level in Level::all().filter(|level| (*level == Level::STORE) == (id == CodecId::STORE)) {
                let payloads = encode(codec, &pixels, level);
                let declined = payloads.iter().filter(|payload| payload.is_empty()).count();
                let lens = payloads.iter().zip(&pixels.chunks);
                let packed: usize = lens.map(|(p, (raw, _))| if p.is_empty() { raw.len() } else { p.len() }).sum();
                let name = format!("codec{}-level{}", id.0, level.get());
                #[expect(clippy::cast_precision_loss, reason = "for reading")]
                let ratio = pixels.bytes() as f64 / packed as f64;
                println!("{}/{name}: ratio {ratio:.3}, {} chunks, {declined} declined", pixels.name, payloads.len());
                group.bench_function(BenchmarkId::new("encode", &name), |b| {
                    b.iter(|| encode(codec, black_box(&pixels), level));
                });
                group.bench_function(BenchmarkId::new("decode", &name), |b| {
                    let mut out = Vec::with_capacity(1 << 20);
                    b.iter(|| {
                        for (payload, (raw, _)) in payloads.iter().zip(&pixels.chunks).filter(|(p, _)| !p.is_empty()) {
                            out.clear();
                            let len = u32::try_from(raw.len()).unwrap_or(u32::MAX);
                            assert!(codec.decode(black_box(payload), len, &mut out).is_ok(), "it was just encoded");
                        }
                    });
                });
            }
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default();
    targets = codecs
}
criterion_main!(benches);
