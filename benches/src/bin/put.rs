//! How many instances a second a store takes that no transfer brings, each durable when it returns.
//!
//! ```text
//! put STORE FILES
//! ```
//!
//! puts every file below FILES into a new store below the folder STORE, by one caller and by four, and prints instances
//! a second beside what `fdatasync` of one small write takes there in the same run.
#![allow(clippy::print_stdout, reason = "a tool of the benches, which reports to whoever started it")]

use std::env;
use std::error::Error;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use imgxfer_core::clock::Stopwatch;
use imgxfer_core::codec::Registry;
use imgxfer_core::depot::{Depot, PutOptions, PutOutcome};
use imgxfer_core::store::{FsOptions, Provenance};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn files(folder: &Path, found: &mut Vec<PathBuf>) -> Outcome<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { files(&path, found)? } else { found.push(path) }
    }
    found.sort();
    Ok(())
}

/// Milliseconds that a small write and `fdatasync` take: the median of many.
fn sync_alone(folder: &Path) -> Outcome<f64> {
    let path = folder.join("sync");
    let mut file = File::create(&path)?;
    let mut took = Vec::new();
    for _ in 0..200 {
        let started = Stopwatch::start();
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        took.push(started.elapsed().as_secs_f64() * 1e3);
    }
    fs::remove_file(path)?;
    took.sort_by(f64::total_cmp);
    Ok(took[took.len() / 2])
}

/// Instances a second by so many callers.
fn put(store: &Path, instances: &[Vec<u8>], callers: usize) -> Outcome<f64> {
    let folder = store.join(format!("by-{callers}"));
    let (depot, _) = Depot::open(&folder, FsOptions::default(), Registry::default())?;
    let options = PutOptions::of(Provenance::of("inbox:/bench"));
    let (next, stored) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let started = Stopwatch::start();
    std::thread::scope(|threads| {
        for _ in 0..callers {
            threads.spawn(|| {
                while let Some(bytes) = instances.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if depot.put(bytes, &options).is_ok_and(|put| put.outcome == PutOutcome::Stored) {
                        stored.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let seconds = started.elapsed().as_secs_f64();
    drop(depot);
    fs::remove_dir_all(folder)?;
    let stored = u32::try_from(stored.into_inner())?;
    println!("by {callers}: {stored} of {} stored in {seconds:.2} s", instances.len());
    Ok(f64::from(stored) / seconds)
}

fn main() -> Outcome<()> {
    let mut args = env::args().skip(1).map(PathBuf::from);
    let (Some(store), Some(folder)) = (args.next(), args.next()) else {
        return Err("usage: put STORE FILES".into());
    };
    fs::create_dir_all(&store)?;
    let mut paths = Vec::new();
    files(&folder, &mut paths)?;
    let instances = paths.iter().map(fs::read).collect::<Result<Vec<_>, _>>()?;
    println!("fdatasync alone: {:.2} ms", sync_alone(&store)?);
    for callers in [1, 4, 1, 4] {
        println!("{callers} callers: {:.0} instances a second", put(&store, &instances, callers)?);
    }
    Ok(())
}
