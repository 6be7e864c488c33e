//! What a codec makes of pixels at each level: ratio once, speed both ways. Beside it `store`, which copies.
//! By modality on real files where there are some, and on synthetic ones. Other programs are in `rivals`.
#![allow(missing_docs, reason = "a bench has no readers but its own")]
#![allow(clippy::print_stdout, reason = "a bench reports to whoever started it")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use imgxfer_benches::{PixelChunks, ct, mr, real_pixels};
use imgxfer_core::codec::{Codec, CodecId, Level, Registry};
use imgxfer_core::sim::studies::StudySpec;

fn synthetic() -> Vec<PixelChunks> {
    let cine = StudySpec::new(4).with_modality("US").with_size(480, 640).with_samples(3).with_bits(8, 8);
    let cr = StudySpec::new(5).with_modality("CR").with_size(2000, 1600).with_instances(1, 1);
    let cine = cine.with_frames(4).with_instances(1, 1);
    [("CT-synthetic", ct(8)), ("MR-synthetic", mr(16)), ("US-synthetic", cine), ("CR-synthetic", cr)]
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
    let real = real_pixels();
    let real_names: Vec<_> = real.iter().map(|pixels| pixels.name.replace("-real", "-synthetic")).collect();
    let synthetic = synthetic().into_iter().filter(|pixels| !real_names.contains(&pixels.name));
    for pixels in synthetic.chain(real.iter().cloned()) {
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
