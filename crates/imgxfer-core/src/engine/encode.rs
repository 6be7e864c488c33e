//! Making records: reads chunks, proves that they still are what was offered, encodes them.

use std::io;

use super::plan::{Plan, Position, room};
use crate::codec::{CodecId, Level, PixelShape, Registry};
use crate::ids::ChunkId;
use crate::manifest::{ChunkClass, InstanceAt};
use crate::proto::InstanceFailure;
use crate::units::to_usize;
use crate::wire::record::{Record, RecordChunk};

/// What became of a plan.
#[derive(Debug)]
pub(super) struct Encoded {
    /// The records to send: mostly one.
    pub(super) records: Vec<Record>,
    /// Instances that cannot be sent as offered.
    pub(super) withdrawn: Vec<(InstanceAt, InstanceFailure)>,
}

/// How to encode.
#[derive(Debug, Clone)]
pub(super) struct Coding {
    pub(super) registry: Registry,
    /// Codecs that the receiver decodes.
    pub(super) accepted: Vec<CodecId>,
    /// How hard to compress.
    pub(super) level: Level,
}

/// Carries a plan out. Blocks.
pub(super) fn encode(plan: &Plan, coding: &Coding) -> Encoded {
    let mut out = Encoded { records: Vec::new(), withdrawn: Vec::new() };
    if let Some(record) = stored_record(plan, coding) {
        out.records.push(record);
        return out;
    }
    let mut raw = Vec::with_capacity(room(plan));
    let mut kept: Vec<Position> = Vec::new();
    for at in &plan.chunks {
        let start = raw.len();
        let overflow = start > 0
            && start + to_usize(u64::from(plan.entry(*at).len))
                > to_usize(u64::from(crate::limits::RECORD_RAW_BYTES_MAX));
        if overflow || kept.len() >= crate::limits::CHUNKS_PER_RECORD_MAX {
            out.records.push(record_of(plan, coding, &kept, &raw));
            raw.clear();
            kept.clear();
        }
        let start = raw.len();
        if let Err(why) = read_checked(plan, *at, &mut raw) {
            raw.truncate(start);
            out.withdrawn.push((plan.instance_at(*at), why));
        } else {
            kept.push(*at);
        }
    }
    if !kept.is_empty() {
        out.records.push(record_of(plan, coding, &kept, &raw));
    }
    out
}

/// A record as it stands in the store, when all it holds is needed and the receiver can decode it.
/// Sending one that holds more would show chunks that the receiver did not ask for and may not see.
/// One that was stored without compression, because it came over a fast line, is encoded for a slow one.
fn stored_record(plan: &Plan, coding: &Coding) -> Option<Record> {
    let at = plan.stored.as_ref()?;
    let content = &plan.page.instances[plan.chunks.first()?.place].content;
    let record = content.read_record(at).ok()?;
    let header = record.header();
    let needed = |id: &ChunkId| plan.chunks.iter().any(|at| plan.entry(*at).id == *id);
    if header.codec == CodecId::STORE && coding.level > Level::STORE {
        return None;
    }
    let fits = coding.accepted.contains(&header.codec) && header.chunks.iter().all(|chunk| needed(&chunk.id));
    let whole = header.chunks.len() >= plan.chunks.len();
    (fits && whole).then_some(record)
}

fn read_checked(plan: &Plan, at: Position, raw: &mut Vec<u8>) -> Result<(), InstanceFailure> {
    let start = raw.len();
    let content = &plan.page.instances[at.place].content;
    content.read_chunk(at.chunk, raw).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => InstanceFailure::Changed,
        _ => InstanceFailure::Unreadable(error.to_string()),
    })?;
    if ChunkId::of(&raw[start..]) == plan.entry(at).id { Ok(()) } else { Err(InstanceFailure::Changed) }
}

fn record_of(plan: &Plan, coding: &Coding, chunks: &[Position], raw: &[u8]) -> Record {
    let class = plan.entry(chunks[0]).class;
    let list: Vec<RecordChunk> =
        chunks.iter().map(|at| plan.entry(*at)).map(|e| RecordChunk { id: e.id, len: e.len }).collect();
    let shape = shared_shape(plan, chunks);
    // Headers are nearly alike, and one setting is best for all of them at any line rate.
    let level = if class == ChunkClass::Header { Level::STRONG } else { coding.level };
    if level > Level::STORE && !plan.plain {
        let mut payload = Vec::new();
        for id in coding.accepted.iter().rev().filter(|id| **id != CodecId::STORE) {
            let Ok(codec) = coding.registry.get(*id) else { continue };
            if codec.encode(raw, shape.as_ref(), level, &mut payload) {
                return Record::encode(*id, class, &list, &payload);
            }
        }
    }
    Record::encode(CodecId::STORE, class, &list, raw)
}

/// The shape of the pixels, when all of the record's chunks have the same.
fn shared_shape(plan: &Plan, chunks: &[Position]) -> Option<PixelShape> {
    let shape_of = |at: &Position| plan.page.instances[at.place].shape;
    let first = chunks.first().and_then(shape_of)?;
    (plan.entry(chunks[0]).class == ChunkClass::Pixels && chunks.iter().all(|at| shape_of(at) == Some(first)))
        .then_some(first)
}
