//! How fast this machine hashes, cuts and compresses files: each part of the work alone.

use std::path::PathBuf;
use std::time::Duration;

use imgxfer_core::chunk;
use imgxfer_core::chunk::ChunkClass;
use imgxfer_core::clock::Stopwatch;
use imgxfer_core::codec::{CodecId, Level, PixelShape, Registry};
use imgxfer_core::dicom;
use imgxfer_core::send::{FileSource, OtherFiles, printable};
use imgxfer_core::units::{human_bytes, to_f64, to_u64, to_usize};
use serde_json::json;

use crate::exit::{Exit, problem};
use crate::output::Output;
use crate::table::{Column, lines};

/// Most bytes to read, unless told otherwise.
const BYTES_MAX: u64 = 128_000_000;

/// One line of the result.
#[derive(Debug)]
struct Measure {
    what: String,
    bytes_in: u64,
    bytes_out: Option<u64>,
    time: Duration,
    back: Option<Duration>,
}

/// A file in memory, cut.
struct Sample {
    bytes: Vec<u8>,
    shape: Option<PixelShape>,
    cuts: Vec<chunk::Cut>,
}

/// Measures, on one core.
pub(crate) fn run(paths: &[PathBuf], limit: Option<u64>, output: &Output) -> anyhow::Result<Exit> {
    let files = read(paths, limit.unwrap_or(BYTES_MAX), output);
    let total: u64 = files.iter().map(|bytes| to_u64(bytes.len())).sum();
    if total == 0 {
        return Err(problem(Exit::NotFound, "there is nothing to read"));
    }
    output.say(&format!("{} in {} files, one core", human_bytes(total), files.len()));
    let mut measures = vec![hash(&files, total)];
    let clock = Stopwatch::start();
    let samples = files.into_iter().map(sample).collect::<std::io::Result<Vec<_>>>()?;
    measures.push(Measure {
        what: "scan and cut".to_owned(),
        bytes_in: total,
        bytes_out: None,
        time: clock.elapsed(),
        back: None,
    });
    let registry = Registry::default();
    for id in registry.ids().into_iter().filter(|id| *id != CodecId::STORE) {
        for level in Level::all().skip(1) {
            measures.push(code(&registry, id, level, &samples)?);
        }
    }
    print(&measures, output)
}

fn read(paths: &[PathBuf], limit: u64, output: &Output) -> Vec<Vec<u8>> {
    let mut left = limit;
    let mut files = Vec::new();
    for path in FileSource::new(paths, OtherFiles::Send).files() {
        let len = std::fs::metadata(path).map_or(0, |metadata| if metadata.is_file() { metadata.len() } else { 0 });
        if len == 0 || len > left {
            continue;
        }
        match std::fs::read(path) {
            Ok(bytes) => {
                left -= len;
                files.push(bytes);
            }
            Err(error) => output.warn(&format!("{}: {error}", printable(path))),
        }
    }
    files
}

fn hash(files: &[Vec<u8>], total: u64) -> Measure {
    let clock = Stopwatch::start();
    for bytes in files {
        std::hint::black_box(blake3::hash(bytes));
    }
    Measure { what: "BLAKE3".to_owned(), bytes_in: total, bytes_out: None, time: clock.elapsed(), back: None }
}

fn sample(bytes: Vec<u8>) -> std::io::Result<Sample> {
    let scan = dicom::scan(&bytes).ok();
    let cuts = chunk::cut(&bytes, scan.as_ref())?;
    Ok(Sample { shape: scan.as_ref().and_then(chunk::pixel_shape), cuts, bytes })
}

fn code(registry: &Registry, id: CodecId, level: Level, samples: &[Sample]) -> anyhow::Result<Measure> {
    let codec = registry.get(id)?;
    let (mut bytes_in, mut bytes_out) = (0, 0);
    let (mut time, mut back) = (Duration::ZERO, Duration::ZERO);
    let (mut payload, mut decoded) = (Vec::new(), Vec::new());
    for sample in samples {
        for cut in &sample.cuts {
            let start = to_usize(cut.offset);
            let raw = &sample.bytes[start..start + to_usize(u64::from(cut.len))];
            let shape = sample.shape.as_ref().filter(|_| cut.class == ChunkClass::Pixels);
            payload.clear();
            decoded.clear();
            let clock = Stopwatch::start();
            let smaller = codec.encode(raw, shape, level, &mut payload);
            time += clock.elapsed();
            bytes_in += u64::from(cut.len);
            bytes_out += if smaller { to_u64(payload.len()) } else { u64::from(cut.len) };
            if smaller {
                let clock = Stopwatch::start();
                codec.decode(&payload, cut.len, &mut decoded)?;
                back += clock.elapsed();
                if decoded != raw {
                    return Err(problem(Exit::Integrity, format!("codec {} did not give the same bytes back", id.0)));
                }
            }
        }
    }
    let name = if id == CodecId::ZSTD { "zstd".to_owned() } else { format!("codec {}", id.0) };
    Ok(Measure {
        what: format!("{name}, level {}", level.get()),
        bytes_in,
        bytes_out: Some(bytes_out),
        time,
        back: Some(back),
    })
}

fn print(measures: &[Measure], output: &Output) -> anyhow::Result<Exit> {
    let speed = |bytes: u64, time: Duration| to_f64(bytes) / 1e6 / time.as_secs_f64().max(1e-9);
    let ratio = |m: &Measure| m.bytes_out.map(|out| to_f64(m.bytes_in) / to_f64(out.max(1)));
    let mut rows = Vec::new();
    for m in measures {
        let forward = speed(m.bytes_in, m.time);
        let back = m.back.filter(|back| !back.is_zero()).map(|back| speed(m.bytes_in, back));
        output.object(&json!({
            "what": m.what,
            "bytes": m.bytes_in,
            "mb_per_s": forward,
            "decode_mb_per_s": back,
            "ratio": ratio(m),
        }))?;
        let number = |n: Option<f64>, decimals: usize| n.map_or_else(String::new, |n| format!("{n:.decimals$}"));
        rows.push(vec![m.what.clone(), number(Some(forward), 0), number(back, 0), number(ratio(m), 2)]);
    }
    let columns = [Column::left("WHAT"), Column::right("MB/s"), Column::right("MB/s BACK"), Column::right("RATIO")];
    for line in lines(&columns, &rows, None) {
        output.line(&line)?;
    }
    Ok(Exit::Done)
}
