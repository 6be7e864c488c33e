//! What no transfer can beat.

use std::hint::black_box;

use crate::cost::{Meter, Sample};
use crate::incompressible;

/// More than a cache holds, as what is transferred is.
const BUFFER_BYTES: usize = 64 << 20;
/// As chunks are hashed.
const CHUNK_BYTES: usize = 1 << 20;

pub(super) fn memcpy(bytes: u64) -> Sample {
    let from = incompressible(BUFFER_BYTES);
    let mut to = vec![0; BUFFER_BYTES];
    to.copy_from_slice(&from);
    repeated(bytes, || black_box(&mut to).copy_from_slice(black_box(&from)))
}

pub(super) fn blake3(bytes: u64) -> Sample {
    let from = incompressible(BUFFER_BYTES);
    repeated(bytes, || {
        for chunk in from.chunks(CHUNK_BYTES) {
            black_box(blake3::hash(black_box(chunk)));
        }
    })
}

fn repeated(bytes: u64, mut work: impl FnMut()) -> Sample {
    let times = bytes.div_ceil(BUFFER_BYTES as u64);
    let meter = Meter::start();
    for _ in 0..times {
        work();
    }
    meter.stop(times * BUFFER_BYTES as u64)
}
