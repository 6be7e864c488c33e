//! What one frame of a long instance costs a store: bytes of records read, and time.
//!
//! ```text
//! frame STORE [FRAMES [TIMES]]
//! ```
//!
//! makes instances of FRAMES (1,000) frames of 512 x 512 pixels of 16 bits, native (524 MB) and encapsulated, keeps each
//! in a new store below the folder STORE as it comes when it is put, and as a push brings it at each level of compression,
//! and reads TIMES (200) frames at random: looked up in the index, with nothing kept in memory, and the packs dropped
//! from the system's memory before; by `Depot::frame`, and as the records that answer a request for frames. Where that
//! takes long, the same once the packs are coded anew. Prints median, 95th percentile and most, and compares each frame with
//! the file.
#![allow(clippy::print_stdout, reason = "a tool of the benches, which reports to whoever started it")]

use std::env;
use std::error::Error;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use imgxfer_core::ALPN;
use imgxfer_core::client::{Client, FrameRequest, PushOptions, RetryPolicy};
use imgxfer_core::clock::{Stopwatch, UnixSeconds};
use imgxfer_core::codec::{Level, LevelChoice, Registry};
use imgxfer_core::depot::{Depot, PutOptions};
use imgxfer_core::dicom::{FrameNumbers, join_fragments, scan};
use imgxfer_core::ids::{PackId, PeerId, SopInstanceUid, StoreId, StudyUid};
use imgxfer_core::send::{FileSource, OtherFiles};
use imgxfer_core::server::{Host, Rights, Server, ServerLimits};
use imgxfer_core::sim::studies::{StudySpec, Syntax};
use imgxfer_core::store::{
    FsOptions, InstancesOf, PackInfo, PackWriter, Provenance, RecordAt, RecordStore, Scope, StoreError, VisitNote,
};
use imgxfer_core::transport::{Dial, Endpoint, EndpointConfig, Identity, Session, Trust};
use imgxfer_core::wire::record::{Record, RecordHeader};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Counts bytes of the records that are read.
#[derive(Debug)]
struct Counting {
    inner: Arc<dyn RecordStore>,
    bytes: AtomicU64,
}

impl Counting {
    fn note(&self, at: RecordAt) {
        self.bytes.fetch_add(u64::from(at.len), Ordering::Relaxed);
    }
}

impl RecordStore for Counting {
    fn create_pack(&self, owner: PeerId) -> Result<Box<dyn PackWriter>, StoreError> {
        self.inner.create_pack(owner)
    }

    fn create_pack_to_make_room(
        &self,
        owner: PeerId,
        stands_for: Option<PackId>,
    ) -> Result<Box<dyn PackWriter>, StoreError> {
        self.inner.create_pack_to_make_room(owner, stands_for)
    }

    fn create_pack_in_place_of(&self, owner: PeerId, pack: PackId) -> Result<Box<dyn PackWriter>, StoreError> {
        self.inner.create_pack_in_place_of(owner, pack)
    }

    fn read(&self, at: RecordAt) -> Result<Record, StoreError> {
        self.note(at);
        self.inner.read(at)
    }

    fn read_to_prove(&self, at: RecordAt) -> Result<Record, StoreError> {
        self.note(at);
        self.inner.read_to_prove(at)
    }

    fn make_durable(&self, ends: &[(PackId, u64)]) -> Result<(), StoreError> {
        self.inner.make_durable(ends)
    }

    fn adopt(&self, pack: PackId) -> Result<u64, StoreError> {
        self.inner.adopt(pack)
    }

    fn park(&self, pack: PackId) -> Result<(), StoreError> {
        self.inner.park(pack)
    }

    fn packs(&self) -> Result<Vec<PackInfo>, StoreError> {
        self.inner.packs()
    }

    fn scan(
        &self,
        pack: PackId,
        check: bool,
        visit: &mut dyn FnMut(RecordAt, &RecordHeader),
    ) -> Result<u64, StoreError> {
        self.inner.scan(pack, check, visit)
    }

    fn notes(&self, pack: PackId, from: u64, visit: &mut VisitNote<'_>) -> Result<u64, StoreError> {
        self.inner.notes(pack, from, visit)
    }

    fn list_notes(&self, pack: PackId, from: u64, visit: &mut VisitNote<'_>) -> Result<u64, StoreError> {
        self.inner.list_notes(pack, from, visit)
    }

    fn doubt(&self, pack: PackId) -> Result<Option<&'static str>, StoreError> {
        self.inner.doubt(pack)
    }

    fn store_id(&self) -> StoreId {
        self.inner.store_id()
    }

    fn delete(&self, pack: PackId) -> Result<(), StoreError> {
        self.inner.delete(pack)
    }

    fn space_left(&self) -> Option<u64> {
        self.inner.space_left()
    }
}

/// Numbers that depend on the seed alone (`SplitMix64`).
fn mixed(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Every pack below a folder, open.
fn packs(folder: &Path) -> Outcome<Vec<File>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => found.append(&mut packs(&path)?),
            false => found.push(File::open(path)?),
        }
    }
    Ok(found)
}

/// Drops what the system holds of the packs.
fn forget(packs: &[File]) {
    for pack in packs {
        // Where it cannot, figures are of packs that are held.
        let _ = rustix::fs::fadvise(pack, 0, None, rustix::fs::Advice::DontNeed);
    }
}

struct Everything;

impl Host for Everything {
    fn rights(&self, _: &Session) -> Rights {
        Rights::all()
    }
}

/// Pushes a file over loopback.
fn push(depot: &Depot, file: &Path, level: Level) -> Outcome<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let (here, there) = (Identity::generate()?, Identity::generate()?);
        let bind = |identity: Identity, peer| {
            let trust = Trust::new();
            trust.pin(peer);
            Endpoint::bind(EndpointConfig::new(([127, 0, 0, 1], 0).into(), identity, trust, ALPN))
        };
        let (sender, receiver) = (here.peer_id(), there.peer_id());
        let endpoint = bind(there, sender)?;
        let dial = Dial::from(endpoint.local_address()?).with_peer(receiver);
        let server = Server::new(endpoint, depot.clone(), Arc::new(Everything), ServerLimits::default());
        let serving = tokio::spawn(async move { server.serve(std::future::pending()).await });
        let paths = [file.to_owned()];
        let source = || Box::new(FileSource::new(&paths, OtherFiles::Skip)) as _;
        let options = PushOptions::default().with_retry(RetryPolicy::once()).with_level(LevelChoice::Fixed(level));
        Client::new(bind(here, receiver)?).push(&dial, source, &options, &|_: &_| {}).await?.complete()?;
        serving.abort();
        drop(serving.await);
        Ok(())
    })
}

/// Milliseconds of the processor that this thread has had.
fn processor_ms() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}

/// What one frame took.
struct Took {
    ms: f64,
    processor_ms: f64,
    bytes: u64,
}

impl Took {
    /// Runs `work`, and counts what it takes.
    fn by<T>(counting: &Counting, work: impl FnOnce() -> Outcome<T>) -> Outcome<(Self, T)> {
        counting.bytes.store(0, Ordering::Relaxed);
        let (started, processor) = (Stopwatch::start(), processor_ms());
        let done = work()?;
        let (ms, processor_ms) = (started.elapsed().as_secs_f64() * 1e3, processor_ms() - processor);
        Ok((Self { ms, processor_ms, bytes: counting.bytes.load(Ordering::Relaxed) }, done))
    }
}

fn print(name: &str, all: &[Took]) {
    let column = |of: &dyn Fn(&Took) -> f64| {
        let mut values: Vec<f64> = all.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        let at = |part: usize| values[(values.len() * part / 100).min(values.len() - 1)];
        (at(50), at(95), at(100))
    };
    let (median, p95, most) = column(&|took| took.ms);
    let (processor, ..) = column(&|took| took.processor_ms);
    let (usual, _, longest) = column(&|took| took.bytes as f64 / f64::from(1 << 20));
    println!(
        "  {name:<13} median {median:>7.2} ms   p95 {p95:>7.2} ms   most {most:>7.2} ms   of the processor {processor:>7.2} ms   \
         read {usual:>5.3} MiB, most {longest:>5.3} MiB"
    );
}

/// Reads frames at random, each with nothing kept in memory.
fn measure(folder: &Path, depot: &Depot, file: &[u8], times: u64) -> Outcome<()> {
    let scanned = scan(&file)?;
    let table = scanned.frame_table().ok_or("the frames of the file are not known")?;
    let identity = scanned.identity.ok_or("the file has no UIDs")?;
    let (study, instance): (StudyUid, SopInstanceUid) = (identity.study, identity.sop_instance);
    let counting = Arc::new(Counting { inner: Arc::clone(&depot.records), bytes: AtomicU64::new(0) });
    let records: Arc<dyn RecordStore> = Arc::<Counting>::clone(&counting);
    let depot = Depot::new(records, Arc::clone(&depot.index), depot.registry.clone());
    let packs = packs(&folder.join("packs"))?;
    let of = InstancesOf { sop_instance: Some(instance.clone()), ..InstancesOf::study(study.clone()) };
    let (mut read, mut given) = (Vec::new(), Vec::new());
    for time in 0..times {
        let frame = u32::try_from(mixed(time) % u64::from(table.len()))?;
        let range = table.range(frame).ok_or("a frame")?;
        let range = usize::try_from(range.start)?..usize::try_from(range.end)?;
        let expected = match table.is_encapsulated() {
            true => join_fragments(&file[range]).ok_or("fragments")?,
            false => file[range].to_vec(),
        };
        forget(&packs);
        let (took, bytes) = Took::by(&counting, || {
            let found = depot.index.instances(&Scope::All, &of, None, 1)?.pop().ok_or("the instance is not there")?;
            Ok(depot.frame(found, frame)?)
        })?;
        if bytes != expected {
            return Err("a frame is not what it was".into());
        }
        read.push(took);
        forget(&packs);
        let request = FrameRequest::new(study.clone(), instance.clone(), FrameNumbers::one(frame + 1)?);
        let (took, ()) = Took::by(&counting, || {
            let mut parts = depot.frames(&Scope::All, &request, depot.registry.ids())?;
            while let Some(record) = parts.next_record() {
                record?;
            }
            Ok(())
        })?;
        given.push(took);
    }
    print("Depot::frame", &read);
    print("as an answer", &given);
    Ok(())
}

/// Keeps a file in a new store and measures.
fn kept(store: &Path, name: &str, path: &Path, file: &[u8], times: u64, push_at: Option<Level>) -> Outcome<()> {
    let folder = store.join("frames");
    let (depot, _) = Depot::open(&folder, FsOptions::default(), Registry::default())?;
    let started = Stopwatch::start();
    match push_at {
        Some(level) => push(&depot, path, level)?,
        None => drop(depot.put(&file, &PutOptions::of(Provenance::of("inbox:/bench")))?),
    }
    let seconds = started.elapsed().as_secs_f64();
    let stored: u64 = depot.records.packs()?.iter().map(|pack| pack.len).sum();
    let mb = |bytes: u64| bytes as f64 / 1e6;
    println!("{name}: {:.0} MB, in {:.0} MB of packs, kept in {seconds:.1} s", mb(file.len() as u64), mb(stored));
    measure(&folder, &depot, file, times)?;
    let slow = depot.slow()?;
    if !slow.is_empty() {
        let started = Stopwatch::start();
        for (pack, _) in slow {
            depot.recode(pack.id, UnixSeconds(i64::MAX), &mut |_| true)?;
        }
        let seconds = started.elapsed().as_secs_f64();
        let stored: u64 = depot.records.packs()?.iter().map(|pack| pack.len).sum();
        println!("  coded anew in {seconds:.1} s, in {:.0} MB of packs", mb(stored));
        measure(&folder, &depot, file, times)?;
    }
    drop(depot);
    fs::remove_dir_all(folder)?;
    Ok(())
}

fn main() -> Outcome<()> {
    let mut args = env::args().skip(1);
    let store = PathBuf::from(args.next().ok_or("usage: frame STORE [FRAMES [TIMES]]")?);
    let frames: u32 = args.next().map_or(Ok(1_000), |n| n.parse())?;
    let times: u64 = args.next().map_or(Ok(200), |n| n.parse())?;
    fs::create_dir_all(&store)?;
    let path = store.join("instance.dcm");
    let spec = |frames, syntax| {
        StudySpec::new(1).with_instances(1, 1).with_size(512, 512).with_frames(frames).with_syntax(syntax)
    };
    for (name, frames, syntax, levels) in [
        ("native", frames, Syntax::Explicit, &[Level::FAST][..]),
        // As noise, which no codec makes smaller; the frames are as long as those of JPEG-LS.
        ("encapsulated", frames * 3, Syntax::EncapsulatedBasicTable, &[Level::FAST]),
        // What takes long to encode: a part of it will do.
        ("native", frames / 20, Syntax::Explicit, &[Level::STRONG, Level::SERIES, Level::COPPER]),
    ] {
        let file = spec(frames.max(1), syntax).instance(1, 1).bytes;
        fs::write(&path, &file)?;
        if levels == [Level::FAST] {
            kept(&store, &format!("{name}, put"), &path, &file, times, None)?;
        }
        for level in levels {
            kept(
                &store,
                &format!("{name}, pushed at {}", LevelChoice::Fixed(*level)),
                &path,
                &file,
                times,
                Some(*level),
            )?;
        }
    }
    fs::remove_file(path)?;
    Ok(())
}
