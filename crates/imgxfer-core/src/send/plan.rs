//! Which chunks share a record.

use std::collections::HashMap;
use std::sync::Arc;

use super::source::SourceInstance;
use crate::chunk::ChunkClass;
use crate::codec::PixelShape;
use crate::ids::{SeriesUid, StudyUid};
use crate::limits::{
    CHUNKS_PER_RECORD_MAX, RECORD_RAW_BYTES_MAX, SHARED_BYTES_MAX, SHARED_FRAME_BYTES_MAX, SMALL_CHUNK_BYTES,
};
use crate::manifest::{ChunkEntry, InstanceAt, Page};
use crate::proto::Bitmap;
use crate::store::{ChunkAt, RecordAt};
use crate::units::to_u32;

/// A page that has been offered, with what is needed to send it.
#[derive(Debug)]
pub(super) struct OfferedPage {
    /// The page.
    pub(super) page: Page,
    /// Per instance: where its bytes come from.
    pub(super) instances: Vec<SourceInstance>,
}

/// A chunk entry of a page: instance on the page, chunk of the instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) place: usize,
    pub(super) chunk: usize,
}

/// One record to be made and sent.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// Number of the page.
    pub(super) index: u32,
    /// The page.
    pub(super) page: Arc<OfferedPage>,
    /// What goes into it; all of one class, at most 1 MiB together.
    pub(super) chunks: Vec<Position>,
    /// An encoded record that holds these chunks already.
    pub(super) stored: Option<ChunkAt>,
    /// Whether to leave compression out.
    pub(super) plain: bool,
}

impl Plan {
    pub(super) fn entry(&self, at: Position) -> &ChunkEntry {
        &self.page.page.instances[at.place].chunks[at.chunk]
    }

    /// Class of the record that holds the chunk.
    pub(super) fn class(&self, at: Position) -> ChunkClass {
        self.entry(at).class.in_record()
    }

    pub(super) fn instance_at(&self, at: Position) -> InstanceAt {
        InstanceAt { page: self.index, place: to_u32(at.place) }
    }

    /// Leaves out the chunks of an instance that was withdrawn.
    pub(super) fn drop_instance(&mut self, gone: InstanceAt) {
        if gone.page == self.index {
            self.chunks.retain(|at| to_u32(at.place) != gone.place);
        }
    }

    pub(super) fn raw_len(&self) -> u64 {
        self.chunks.iter().map(|at| u64::from(self.entry(*at).len)).sum()
    }
}

/// Headers share one up to 1 MiB. Some scanners write 100 KB of protocol into each, all but the same.
const SHARED_HEADER_BYTES_MAX: u32 = 256 << 10;

/// What may share a record: chunks of one class and one study. Pixels must be of one series and shape, too,
/// since a codec that predicts frames from frames needs them alike.
#[derive(Debug, PartialEq)]
struct Group<'a> {
    class: ChunkClass,
    pixels_of: Option<(&'a SeriesUid, Option<PixelShape>)>,
}

impl Group<'_> {
    fn is_native(&self) -> bool {
        self.pixels_of.is_some_and(|(_, shape)| shape.is_some())
    }

    /// Whether a chunk of this length shares at all.
    fn shares(&self, len: u32) -> bool {
        match self.class {
            ChunkClass::Header => len <= SHARED_HEADER_BYTES_MAX,
            _ if self.is_native() => len <= SHARED_FRAME_BYTES_MAX,
            _ => len < SMALL_CHUNK_BYTES,
        }
    }

    fn room(&self) -> u32 {
        if self.is_native() || self.class == ChunkClass::Header { RECORD_RAW_BYTES_MAX } else { SHARED_BYTES_MAX }
    }
}

/// Records of one study that are being filled. Few: they are looked through one by one.
#[derive(Debug, Default)]
struct Filling<'a> {
    groups: Vec<(Group<'a>, Vec<Position>, u32)>,
}

impl<'a> Filling<'a> {
    /// Adds a chunk; what it does not fit behind is complete.
    fn push(&mut self, group: Group<'a>, at: Position, len: u32) -> Option<Vec<Position>> {
        let Some((group, chunks, bytes)) = self.groups.iter_mut().find(|(known, ..)| *known == group) else {
            self.groups.push((group, vec![at], len));
            return None;
        };
        if *bytes + len > group.room() || chunks.len() >= CHUNKS_PER_RECORD_MAX {
            *bytes = len;
            return Some(std::mem::replace(chunks, vec![at]));
        }
        *bytes += len;
        chunks.push(at);
        None
    }

    /// Takes what there is, in the order in which it began.
    fn take(&mut self) -> impl Iterator<Item = Vec<Position>> {
        std::mem::take(&mut self.groups).into_iter().map(|(_, chunks, _)| chunks)
    }
}

/// Cuts the needed chunks of a page into plans, in page order.
///
/// Chunks that stand in a stored record go together as that record. Others share a record while they
/// are small and of one [`Group`], in page order: neighbours stand together. They belong to one study: a
/// record is at rest what it is on the wire, and must not mix what different people may see.
pub(super) fn plans(index: u32, page: &Arc<OfferedPage>, needed: &Bitmap, plain: bool) -> Vec<Plan> {
    let mut plans = Vec::new();
    let mut stored: HashMap<RecordAt, usize> = HashMap::new();
    let mut filling = Filling::default();
    let mut study: Option<&StudyUid> = None;
    let plan = |chunks, stored| Plan { index, page: Arc::clone(page), chunks, stored, plain };
    let mut at = 0;
    for (place, instance) in page.page.instances.iter().enumerate() {
        if study.is_some_and(|study| *study != instance.study) {
            plans.extend(filling.take().map(|chunks| plan(chunks, None)));
        }
        study = Some(&instance.study);
        for (chunk, entry) in instance.chunks.iter().enumerate() {
            let position = Position { place, chunk };
            at += 1;
            if !needed.get(at - 1) {
                continue;
            }
            let place_in_store = if plain { None } else { page.instances[place].content.stored(chunk) };
            if let Some(place_in_store) = place_in_store {
                let next = plans.len();
                let known = *stored.entry(place_in_store.record).or_insert(next);
                if known == next {
                    plans.push(plan(Vec::new(), Some(place_in_store)));
                }
                plans[known].chunks.push(position);
                continue;
            }
            let pixels = entry.class == ChunkClass::Pixels;
            let pixels_of = pixels.then(|| (&instance.series, page.instances[place].shape));
            let group = Group { class: entry.class.in_record(), pixels_of };
            if group.shares(entry.len) {
                plans.extend(filling.push(group, position, entry.len).map(|chunks| plan(chunks, None)));
            } else {
                plans.push(plan(vec![position], None));
            }
        }
    }
    plans.extend(filling.take().map(|chunks| plan(chunks, None)));
    // Headers first within the page: an instance is of use only with its header.
    plans.sort_by_key(|plan| plan.chunks.first().map(|at| plan.class(*at)));
    debug_assert!(plans.iter().all(|p| p.raw_len() <= u64::from(RECORD_RAW_BYTES_MAX) || p.stored.is_some()));
    plans
}

/// Original bytes of the chunk entries in `set`.
pub(super) fn bytes_in(page: &Page, set: &Bitmap) -> u64 {
    let lens = page.instances.iter().flat_map(|i| &i.chunks).map(|c| u64::from(c.len));
    lens.enumerate().filter(|(at, _)| set.get(*at)).map(|(_, len)| len).sum()
}

/// Sum of the original bytes on a page that are not in `set`.
pub(super) fn bytes_outside(page: &Page, set: &Bitmap) -> u64 {
    page.bytes() - bytes_in(page, set).min(page.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ChunkId, InstanceHash};
    use crate::manifest::InstanceEntry;
    use crate::send::source::NoContent;
    use crate::testing::{Sample, peer};

    /// Instances of these studies, each with a header of `header` bytes and pixel chunks of `pixels`.
    fn page(studies: &[u64], header: u32, pixels: &[u32]) -> Arc<OfferedPage> {
        let entry = |(place, study): (u64, &u64)| {
            let mut entry: InstanceEntry = Sample::new(peer(1), *study, 1, place, 0).entry();
            let chunk = |n: u64, len, class| ChunkEntry {
                id: ChunkId::of(&[place, n].map(u64::to_le_bytes).concat()),
                len,
                class,
            };
            entry.chunks = vec![chunk(0, header, ChunkClass::Header)];
            entry.chunks.extend((1..).zip(pixels).map(|(n, len)| chunk(n, *len, ChunkClass::Pixels)));
            entry.len = entry.chunks.iter().map(|c| u64::from(c.len)).sum();
            entry.hash = InstanceHash::from_bytes(*entry.chunks[0].id.as_bytes());
            entry
        };
        let page = Page { instances: (0..).zip(studies).map(entry).collect() };
        let source = |entry: &InstanceEntry| SourceInstance {
            entry: entry.clone(),
            label: String::new(),
            shape: None,
            position: None,
            truncated: false,
            content: Arc::new(NoContent),
        };
        let instances = page.instances.iter().map(source).collect();
        Arc::new(OfferedPage { page, instances })
    }

    /// Plans for the chunks that `needed` says; checks what holds of all plans.
    fn check(page: &Arc<OfferedPage>, needed: impl Fn(usize) -> bool) -> Vec<Plan> {
        let count = page.page.chunk_count();
        let mut set = Bitmap::empty(count);
        (0..count).filter(|at| needed(*at)).for_each(|at| set.set(at));
        let made = plans(3, page, &set, false);
        let mut planned = Vec::new();
        for plan in &made {
            let class = plan.class(plan.chunks[0]);
            let study = &page.page.instances[plan.chunks[0].place].study;
            assert!(plan.raw_len() <= u64::from(RECORD_RAW_BYTES_MAX) && plan.chunks.len() <= CHUNKS_PER_RECORD_MAX);
            assert!(plan.chunks.iter().all(|at| plan.class(*at) == class), "one class in a record");
            assert!(
                plan.chunks.iter().all(|at| page.page.instances[at.place].study == *study),
                "one study in a record"
            );
            planned.extend(plan.chunks.iter().map(|at| plan.entry(*at).id));
        }
        assert!(made.is_sorted_by_key(|plan| plan.class(plan.chunks[0])), "headers first");
        let entries = page.page.instances.iter().flat_map(|i| &i.chunks).enumerate();
        let mut wanted: Vec<ChunkId> = entries.filter(|(at, _)| set.get(*at)).map(|(_, chunk)| chunk.id).collect();
        planned.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(planned, wanted, "each needed chunk once, and no other");
        made
    }

    #[test]
    fn small_chunks_share_records_within_a_study() {
        let made = check(&page(&[1; 200], 3000, &[512 << 10]), |_| true);
        assert_eq!(made.len(), 1 + 200, "one record of headers, one for each frame");
        let made = check(&page(&[1, 1, 2, 2], 3000, &[1000, 1000]), |_| true);
        assert_eq!(made.len(), 4, "headers and pixels of two studies");
        assert_eq!(check(&page(&[1; 300], 10, &[]), |_| true).len(), 2, "a record holds 256 chunks");
        assert_eq!(check(&page(&[1; 40], 60 << 10, &[]), |_| true).len(), 3, "a record holds 1 MiB");
        assert_eq!(check(&page(&[1; 40], 100_000, &[]), |_| true).len(), 4, "long headers, too");
        assert_eq!(check(&page(&[1; 8], 10, &[60 << 10; 2]), |_| true).len(), 1 + 4, "256 KiB of pixels");
    }

    #[test]
    fn frames_share_records_with_their_like() {
        let shape = |rows| PixelShape {
            rows,
            columns: 80,
            samples: 1,
            bits_allocated: 16,
            bits_stored: 12,
            high_bit: 11,
            signed: false,
            planar: false,
            big_endian: false,
        };
        let shaped = |len: u32, shape_at: &dyn Fn(usize) -> Option<PixelShape>| {
            let mut page = page(&[1; 200], 3000, &[len]);
            let instances = &mut Arc::get_mut(&mut page).unwrap().instances;
            (0..).zip(instances).for_each(|(at, instance)| instance.shape = shape_at(at));
            check(&page, |_| true).split_off(1)
        };
        let made = shaped(12_800, &|_| Some(shape(80)));
        assert_eq!(made.iter().map(|plan| plan.chunks.len()).collect::<Vec<_>>(), [81, 81, 38]);
        let places: Vec<_> = made.iter().flat_map(|plan| &plan.chunks).map(|at| at.place).collect();
        assert!(places.is_sorted(), "neighbours stand together");
        let made = shaped(12_800, &|at| Some(shape(if at % 2 == 0 { 80 } else { 40 })));
        assert_eq!(made.len(), 4);
        for plan in &made {
            let shapes = plan.chunks.iter().map(|at| plan.page.instances[at.place].shape);
            assert!(shapes.clone().all(|shape| Some(shape) == shapes.clone().next()), "one shape in a record");
        }
        assert_eq!(shaped(128 << 10, &|_| Some(shape(819))).len(), 25, "eight to a record");
        assert_eq!(shaped(512 << 10, &|_| Some(shape(3276))).len(), 100, "two to a record");
        assert_eq!(shaped((512 << 10) + 1, &|_| Some(shape(3276))).len(), 200, "long frames stand alone");
        assert_eq!(shaped(12_800, &|_| None).len(), 10, "pixels without a shape: 256 KiB");
    }

    #[test]
    fn only_what_is_needed_is_planned() {
        let page = page(&[1, 2, 2, 3], 100, &[70_000, 500, 500]);
        assert!(check(&page, |_| false).is_empty());
        for step in 2..7 {
            check(&page, |at| at % step == 0);
        }
    }

    #[test]
    fn a_withdrawn_instance_is_left_out() {
        let mut made = check(&page(&[1, 1], 100, &[]), |_| true);
        made[0].drop_instance(InstanceAt { page: 4, place: 0 });
        assert_eq!(made[0].chunks.len(), 2, "another page");
        made[0].drop_instance(InstanceAt { page: 3, place: 0 });
        assert_eq!(made[0].chunks, [Position { place: 1, chunk: 0 }]);
    }
}
