//! Coding anew what takes long to read: what came over a slow line was made as small as could be.

use std::collections::HashMap;

use super::backfill::Header;
use super::moving::is_slow;
use super::{Compacted, Depot};
use crate::chunk::{ChunkClass, pixel_shape};
use crate::clock::UnixSeconds;
use crate::codec::PixelShape;
use crate::dicom;
use crate::ids::PackId;
use crate::store::{PackInfo, RecordAt, RecordCache, StoreError};
use crate::units::to_u64;
use crate::wire::record::{RECORD_CHUNK_BYTES, RECORD_FIXED_BYTES};

/// Packs looked at in one go.
const SLOW_MAX: usize = 1000;

/// Whether a pack is to be coded anew.
pub(super) enum Worth {
    /// It is not, or not now.
    No(Compacted),
    /// It is.
    Yes(Fast),
}

/// What coding a pack anew takes.
pub(super) struct Fast {
    /// Shapes of the pixels in its records, where they are known.
    pub(super) shapes: HashMap<RecordAt, PixelShape>,
    /// Most bytes that it can become.
    pub(super) bytes_max: u64,
}

impl Depot {
    /// Packs in which instances stand that take long to read, and how many, most first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn slow(&self) -> Result<Vec<(PackInfo, u64)>, StoreError> {
        let slow = self.index.slow(SLOW_MAX)?;
        if slow.is_empty() {
            return Ok(Vec::new());
        }
        let mut packs: HashMap<PackId, PackInfo> = self.records.packs()?.into_iter().map(|p| (p.id, p)).collect();
        Ok(slow.into_iter().filter_map(|(id, count)| Some((packs.remove(&id)?, count))).collect())
    }

    /// Codes what takes long to read in a pack anew, at a level that decodes fast, as part of rewriting the pack in the way
    /// of [`Depot::compact`], and as safely. Every instance is read back from what was made, chunk by chunk and as a whole,
    /// before anything says that it stands there. The pack may grow, to what its instances were originally at most; what is
    /// kept back of the medium is not touched.
    ///
    /// A pack with records of an interrupted transfer that may be resumed, one that was begun at `left_before` or later, is
    /// left for another time. `copied` is called as there. Blocks, at about 1.5 MB of original bytes a second for what
    /// was coded at [`Level::COPPER`](crate::codec::Level::COPPER).
    ///
    /// # Errors
    /// As [`Depot::compact`].
    pub fn recode(
        &self,
        pack: PackId,
        left_before: UnixSeconds,
        copied: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Compacted, StoreError> {
        let done = self.rewrite(pack, Some(left_before), copied)?;
        if done == Compacted::Fast {
            self.index.set_slow(pack, 0)?;
        }
        Ok(done)
    }

    pub(super) fn is_worth(&self, pack: &PackInfo, left_before: UnixSeconds) -> Result<Worth, StoreError> {
        let (needed, studies) = self.needed(&[pack.id].into(), &|_| true)?;
        let mut fast = Fast { shapes: HashMap::new(), bytes_max: 0 };
        let mut is_left = false;
        self.records.scan(pack.id, false, &mut |at, header| {
            let head = RECORD_FIXED_BYTES + header.chunks.len() * (RECORD_FIXED_BYTES + RECORD_CHUNK_BYTES);
            if needed.contains_key(&at) {
                fast.bytes_max += u64::from(header.raw_len()) + to_u64(head);
            } else {
                is_left = true;
            }
        })?;
        if is_left && pack.created >= left_before {
            return Ok(Worth::No(Compacted::InUse));
        }
        let (mut is_any, mut damaged) = (false, None);
        let cache = RecordCache::new(RecordCache::BYTES_SHARED);
        for study in &studies {
            self.each_of(study, &mut |instance| {
                let here = |at: RecordAt| at.pack == pack.id;
                if !instance.slow || !instance.chunks.iter().any(|chunk| here(chunk.record)) {
                    return Ok(());
                }
                let pixels = instance.entry.chunks.iter().zip(&instance.chunks);
                let pixels = pixels.filter(|(entry, at)| entry.class == ChunkClass::Pixels && here(at.record));
                let records: Vec<RecordAt> = pixels.map(|(_, at)| at.record).collect();
                let mut unseen = records.iter();
                while let (false, Some(at)) = (is_any, unseen.next()) {
                    match self.records.read(*at) {
                        Ok(record) => is_any = is_slow(&self.registry, &record),
                        Err(StoreError::Damaged { .. }) => damaged = Some(*at),
                        Err(error) => return Err(error),
                    }
                }
                // Without a shape its pixels are coded as any bytes are.
                let Ok(reader) = self.reader(instance.clone()) else { return Ok(()) };
                let reader = reader.with_cache(cache.clone());
                if let Some(shape) = dicom::scan(&Header::of(&reader)).ok().as_ref().and_then(pixel_shape) {
                    fast.shapes.extend(records.into_iter().map(|at| (at, shape)));
                }
                Ok(())
            })?;
        }
        if let Some(at) = damaged {
            self.note_damaged(at)?;
            return Ok(Worth::No(Compacted::Damaged));
        }
        Ok(if is_any { Worth::Yes(fast) } else { Worth::No(Compacted::Fast) })
    }
}
