//! Making records: reads chunks, proves that they still are what was offered, encodes them.

use std::io;

use super::dispatch::HEADER_LEVEL;
use super::plan::{Plan, Position};
use crate::chunk::ChunkClass;
use crate::codec::{CodecId, Level, PixelShape, Registry};
use crate::ids::ChunkId;
use crate::limits::{CHUNKS_PER_RECORD_MAX, FRAMES_TOGETHER_BYTES_MAX, RECORD_RAW_BYTES_MAX};
use crate::manifest::InstanceAt;
use crate::proto::InstanceFailure;
use crate::transfer::instance_span;
use crate::units::{to_f64, to_u64, to_usize};
use crate::wire::buffers::{Buffer, Buffers};
use crate::wire::record::{Record, RecordChunk};

/// What became of a plan.
#[derive(Debug, Default)]
pub(super) struct Encoded {
    /// The records to send: mostly one.
    pub(super) records: Vec<Record>,
    /// Instances that cannot be sent as offered.
    pub(super) withdrawn: Vec<(InstanceAt, InstanceFailure)>,
    /// Whether they were made, rather than taken from a store.
    pub(super) coded: bool,
}

/// How to encode.
#[derive(Debug, Clone)]
pub(super) struct Coding {
    pub(super) registry: Registry,
    /// Codecs that the receiver decodes.
    pub(super) accepted: Vec<CodecId>,
    /// How hard to compress.
    pub(super) level: Level,
    /// A stored record is made anew if its ratio is less.
    pub(super) recode_below: f64,
    /// What records are made in.
    pub(super) buffers: Buffers,
}

/// Buffers kept for the next records: most of what a fast line holds.
const BUFFERS_KEPT_MAX: usize = 16;

impl Coding {
    /// As a transfer begins: nothing has been accepted.
    pub(super) fn new(registry: Registry) -> Self {
        let buffers = Buffers::new(BUFFERS_KEPT_MAX);
        Self { registry, accepted: vec![CodecId::STORE], level: Level::STORE, recode_below: f64::INFINITY, buffers }
    }
}

/// Carries a plan out. Blocks.
pub(super) fn encode(plan: &Plan, coding: &Coding) -> Encoded {
    let Some(record) = stored_record(plan, coding) else { return make(plan, coding) };
    let header = record.header();
    let ratio = to_f64(u64::from(header.raw_len())) / to_f64(to_u64(record.payload().len()).max(1));
    if coding.level == Level::STORE || ratio >= coding.recode_below {
        return Encoded { records: vec![record], ..Encoded::default() };
    }
    let made = make(plan, coding);
    let len = made.records.iter().map(|record| record.bytes().len()).sum::<usize>();
    if made.withdrawn.is_empty() && len >= record.bytes().len() {
        return Encoded { records: vec![record], ..made };
    }
    made
}

fn make(plan: &Plan, coding: &Coding) -> Encoded {
    let mut out = Encoded { coded: true, ..Encoded::default() };
    let mut rest = plan.chunks.as_slice();
    while !rest.is_empty() {
        let count = fitting(plan, rest, coding.level);
        let (chunks, behind) = rest.split_at(count);
        out.records.extend(make_one(plan, coding, chunks, &mut out.withdrawn));
        rest = behind;
    }
    out
}

/// How many of the chunks go into one record: all, but for what stood in a store that is read anew, and for long frames at
/// levels that predict nothing from the frame before. Those are read back one by one in half the time so, and take
/// less than 1 % more.
fn fitting(plan: &Plan, chunks: &[Position], level: Level) -> usize {
    let apart = (Level::FAST..Level::SERIES).contains(&level) && !plan.plain;
    if apart && plan.class(chunks[0]) == ChunkClass::Pixels && plan.entry(chunks[0]).len > FRAMES_TOGETHER_BYTES_MAX {
        return 1;
    }
    let mut bytes = 0;
    let fits = |at: &&Position| {
        bytes += u64::from(plan.entry(**at).len);
        bytes <= u64::from(RECORD_RAW_BYTES_MAX)
    };
    chunks.iter().take(CHUNKS_PER_RECORD_MAX).take_while(fits).count().max(1)
}

/// Reads the chunks behind room for a record's head, so that what does not shrink is a record as it stands.
fn make_one(
    plan: &Plan,
    coding: &Coding,
    chunks: &[Position],
    withdrawn: &mut Vec<(InstanceAt, InstanceFailure)>,
) -> Option<Record> {
    let room = Record::room(chunks.len());
    let raw_len: u64 = chunks.iter().map(|at| u64::from(plan.entry(*at).len)).sum();
    let mut buffer = coding.buffers.take(room + to_usize(raw_len));
    let mut kept: Vec<Position> = Vec::with_capacity(chunks.len());
    let mut end = room;
    for at in chunks {
        let next = end + to_usize(u64::from(plan.entry(*at).len));
        let entry = &plan.page.instances[at.place].entry;
        match instance_span(entry).in_scope(|| read_checked(plan, *at, &mut buffer[end..next])) {
            Ok(()) => {
                kept.push(*at);
                end = next;
            }
            Err(why) => withdrawn.push((plan.instance_at(*at), why)),
        }
    }
    if kept.is_empty() {
        return None;
    }
    // What was withdrawn needs no place in the head.
    let start = room - Record::room(kept.len());
    Some(record_of(plan, coding, &kept, buffer, start..end))
}

/// A record as it stands in the store, when all it holds is needed and the receiver can decode it.
/// Sending one that holds more would show chunks that the receiver did not ask for and may not see.
fn stored_record(plan: &Plan, coding: &Coding) -> Option<Record> {
    let at = plan.stored.as_ref()?;
    let content = &plan.page.instances[plan.chunks.first()?.place].content;
    let entry = &plan.page.instances[plan.chunks.first()?.place].entry;
    let record = instance_span(entry).in_scope(|| content.read_record(at)).ok()?;
    let header = record.header();
    let needed = |id: &ChunkId| plan.chunks.iter().any(|at| plan.entry(*at).id == *id);
    let fits = coding.accepted.contains(&header.codec) && header.chunks.iter().all(|chunk| needed(&chunk.id));
    let whole = header.chunks.len() >= plan.chunks.len();
    (fits && whole).then_some(record)
}

fn read_checked(plan: &Plan, at: Position, raw: &mut [u8]) -> Result<(), InstanceFailure> {
    let content = &plan.page.instances[at.place].content;
    if content.read_held(at.chunk, raw) {
        return Ok(());
    }
    content.read_chunk(at.chunk, raw).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => InstanceFailure::Changed,
        _ => InstanceFailure::Unreadable(error.to_string()),
    })?;
    if ChunkId::of(raw) == plan.entry(at).id { Ok(()) } else { Err(InstanceFailure::Changed) }
}

/// Makes a record of the part `head_on` of a buffer: room for the head, and the original bytes.
fn record_of(
    plan: &Plan,
    coding: &Coding,
    chunks: &[Position],
    mut buffer: Buffer,
    head_on: std::ops::Range<usize>,
) -> Record {
    let class = plan.class(chunks[0]);
    let list: Vec<RecordChunk> =
        chunks.iter().map(|at| plan.entry(*at)).map(|e| RecordChunk { id: e.id, len: e.len }).collect();
    let shape = shared_shape(plan, chunks);
    let level = if class == ChunkClass::Header { HEADER_LEVEL } else { coding.level };
    let level = if plan.plain { Level::STORE } else { level };
    let raw = &buffer[head_on.start + Record::room(chunks.len())..head_on.end];
    if let Some((codec, payload)) = coding.registry.smallest(raw, shape.as_ref(), level, &coding.accepted) {
        return Record::encode(codec, class, &list, &payload);
    }
    // The record lives until the line has carried it, and must hold no more memory than it needs.
    if head_on.start > 0 || buffer.capacity() > 2 * head_on.end {
        return Record::encode(CodecId::STORE, class, &list, raw);
    }
    buffer.truncate(head_on.end);
    Record::seal_in(CodecId::STORE, class, &list, buffer)
}

/// The shape of the pixels, when all of the record's chunks have the same.
fn shared_shape(plan: &Plan, chunks: &[Position]) -> Option<PixelShape> {
    let first = chunks.first()?;
    if plan.class(*first) != ChunkClass::Pixels {
        return None;
    }
    let mut known = None;
    for at in chunks {
        let instance = &plan.page.instances[at.place];
        let shape = instance.shape.or_else(|| instance.content.shape())?;
        if *known.get_or_insert(shape) != shape {
            return None;
        }
    }
    known
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ids::{InstanceHash, PackId};
    use crate::manifest::{ChunkEntry, Page};
    use crate::proto::Bitmap;
    use crate::send::plan::{OfferedPage, plans};
    use crate::send::source::{Content, SourceInstance};
    use crate::store::{ChunkAt, RecordAt};
    use crate::testing::{Sample, peer};
    use crate::units::to_u32;

    /// A chunk that stands in a store, encoded.
    #[derive(Debug)]
    struct Kept {
        raw: Vec<u8>,
        record: Record,
    }

    impl Content for Kept {
        fn read_chunk(&self, _: usize, out: &mut [u8]) -> io::Result<()> {
            out.copy_from_slice(&self.raw);
            Ok(())
        }

        fn stored(&self, _: usize) -> Option<ChunkAt> {
            let record =
                RecordAt { pack: PackId::from_bytes([1; 16]), offset: 0, len: to_u32(self.record.bytes().len()) };
            Some(ChunkAt { record, slot: 0 })
        }

        fn read_record(&self, _: &ChunkAt) -> io::Result<Record> {
            Ok(self.record.clone())
        }
    }

    /// A plan for one chunk of `raw`, which is stored at a level.
    fn stored(raw: Vec<u8>, level: Level) -> Plan {
        let registry = Registry::default();
        let id = ChunkId::of(&raw);
        let len = to_u32(raw.len());
        let mut payload = Vec::new();
        let zstd = level > Level::STORE && registry.get(CodecId::ZSTD).unwrap().encode(&raw, None, level, &mut payload);
        let (codec, payload) = if zstd { (CodecId::ZSTD, &payload) } else { (CodecId::STORE, &raw) };
        let record = Record::encode(codec, ChunkClass::Pixels, &[RecordChunk { id, len }], payload);
        let mut entry = Sample::new(peer(1), 1, 1, 1, 0).entry();
        entry.chunks = vec![ChunkEntry { id, len, class: ChunkClass::Pixels }];
        entry.len = u64::from(len);
        entry.hash = InstanceHash::from_bytes(*id.as_bytes());
        let content = Arc::new(Kept { raw, record });
        let instance = SourceInstance {
            entry: entry.clone(),
            label: String::new(),
            shape: None,
            position: None,
            truncated: false,
            content,
        };
        let page = Arc::new(OfferedPage { page: Page { instances: vec![entry] }, instances: vec![instance] });
        let mut all = Bitmap::empty(1);
        all.set(0);
        plans(0, &page, &all, false).remove(0)
    }

    fn coding(level: Level, recode_below: f64) -> Coding {
        let registry = Registry::default();
        Coding { accepted: registry.ids(), level, recode_below, ..Coding::new(registry) }
    }

    /// Bytes that zstd makes a little smaller at any level, and more so at a higher one.
    fn text() -> Vec<u8> {
        let noise = crate::testing::noise(1, 30_000);
        noise.iter().flat_map(|byte| [byte & 3, byte >> 7, byte % 5, 0]).collect()
    }

    #[test]
    fn what_a_store_holds_is_coded_anew_only_where_that_pays() {
        let check = |plan: &Plan, coding: &Coding| {
            let made = encode(plan, coding);
            assert!(made.withdrawn.is_empty() && made.records.len() == 1);
            (made.records[0].header().codec, made.coded, made.records[0].bytes().len())
        };
        let plain = stored(text(), Level::STORE);
        assert_eq!(check(&plain, &coding(Level::FAST, 1.05)).0, CodecId::ZSTD, "what was not compressed is");
        assert!(!check(&plain, &coding(Level::STORE, f64::INFINITY)).1, "level 0 compresses nothing");
        let fast = stored(text(), Level::FAST);
        let (codec, coded, before) = check(&fast, &coding(Level::COPPER, 1.05));
        assert_eq!((codec, coded), (CodecId::ZSTD, false), "it is good enough");
        let (_, coded, after) = check(&fast, &coding(Level::COPPER, f64::INFINITY));
        assert!(coded && after < before, "{after} of {before}");
        let small = stored(text(), Level::COPPER);
        let (_, coded, len) = check(&small, &coding(Level::FAST, f64::INFINITY));
        assert!(coded && len == after, "what came out larger is not sent");
        let noise = stored(crate::testing::noise(2, 50_000), Level::STORE);
        assert_eq!(check(&noise, &coding(Level::FAST, f64::INFINITY)).0, CodecId::STORE);
    }

    #[test]
    fn only_codecs_that_were_accepted_are_used() {
        let plan = stored(text(), Level::FAST);
        let coding = Coding { accepted: vec![CodecId::STORE], ..coding(Level::COPPER, 1.0) };
        let made = encode(&plan, &coding);
        assert_eq!(made.records[0].header().codec, CodecId::STORE);
        assert_eq!(made.records[0].payload(), text());
    }
}
