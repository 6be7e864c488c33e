//! What listing packs costs with their trailers, and without.
//!
//! ```text
//! packs STORE [PACKS [RECORDS]]
//! ```
//!
//! makes a store in the folder STORE with PACKS (200) packs of RECORDS (2,000) records of 4 KiB, each an instance that a note
//! tells of, and measures with nothing of the packs in the system's memory: opening, making an index anew, and a check
//! without data. Then the trailers are cut off, and the same is measured again.
#![allow(clippy::print_stdout, reason = "a tool of the benches, which reports to whoever started it")]

use std::env;
use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imgxfer_core::clock::{Stopwatch, UnixSeconds};
use imgxfer_core::store::{
    CheckOptions, FsOptions, FsRecords, MemIndex, Order, RecordStore, StoredInstance, check, note, recover,
};
use imgxfer_core::testing::{Sample, peer};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Packs, by name.
fn files(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder.join("packs"))? {
        for pack in fs::read_dir(entry?.path())? {
            found.push(pack?.path());
        }
    }
    Ok(found)
}

fn forget(folder: &Path) -> Outcome<()> {
    for path in files(folder)? {
        let file = File::open(path)?;
        file.sync_all()?;
        // Where it cannot, figures are of packs that are held.
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    }
    Ok(())
}

fn measure(name: &str, folder: &Path) -> Outcome<()> {
    let timed = |work: &mut dyn FnMut() -> Outcome<()>| -> Outcome<f64> {
        forget(folder)?;
        let started = Stopwatch::start();
        work()?;
        Ok(started.elapsed().as_secs_f64())
    };
    let open = || FsRecords::open(folder, FsOptions::default());
    let opened = timed(&mut || open().map(drop).map_err(Into::into))?;
    let index = MemIndex::default();
    let store: Arc<dyn RecordStore> = Arc::new(open()?);
    let recovered = timed(&mut || {
        let _ = recover(store.as_ref(), &index)?;
        Ok(())
    })?;
    let mut records = 0;
    let listed = timed(&mut || {
        for pack in store.packs()? {
            store.scan(pack.id, false, &mut |_, _| records += 1)?;
        }
        Ok(())
    })?;
    let checked = timed(&mut || {
        let report = check(&store, &index, &CheckOptions::default(), &mut |_| true)?;
        if report.is_clean() { Ok(()) } else { Err("the check finds something".into()) }
    })?;
    println!(
        "{name:<16} {records} records: open {opened:.2} s, list {listed:.2} s, make the index anew {recovered:.2} s, check {checked:.2} s"
    );
    Ok(())
}

fn main() -> Outcome<()> {
    let mut args = env::args().skip(1);
    let folder = PathBuf::from(args.next().ok_or("usage: packs STORE [PACKS [RECORDS]]")?);
    let packs: u64 = args.next().map_or(Ok(200), |n| n.parse())?;
    let records: u64 = args.next().map_or(Ok(2_000), |n| n.parse())?;
    let mut order = 0;
    {
        let store = FsRecords::open(&folder, FsOptions::default())?;
        for study in 0..packs {
            let mut pack = store.create_pack(peer(1))?;
            let mut instances: Vec<StoredInstance> = Vec::new();
            for sop in 0..records {
                order += 1;
                let instance = Sample::new(peer(1), study, 1, sop, 4096).append_to(&mut *pack)?;
                instances.push(StoredInstance { order: Order(order), ..instance });
            }
            for told in note::committed(peer(1), UnixSeconds(1), None, &instances) {
                pack.note(&told)?;
            }
            pack.finish()?;
        }
    }
    measure("with trailers", &folder)?;
    let lens: Vec<_> = FsRecords::open(&folder, FsOptions::default())?.packs()?;
    for pack in lens {
        let id = pack.id.to_string();
        let path = folder.join("packs").join(&id[..2]).join(format!("{id}.pack"));
        OpenOptions::new().write(true).open(path)?.set_len(pack.len)?;
    }
    measure("without trailers", &folder)?;
    fs::remove_dir_all(folder)?;
    Ok(())
}
