//! Gives what stands in a site's store to a sender.

use std::io;
use std::sync::Arc;

use super::source::{Content, Source, SourceInstance, SourceItem, Totals};
use crate::chunk;
use crate::codec::PixelShape;
use crate::depot::Depot;
use crate::dicom;
use crate::ids::StudyUid;
use crate::store::{ChunkAt, RecordAt, RecordCache, Scope, StoreError, StoredInstance, StoredReader, StudyQuery};
use crate::wire::record::Record;

/// Instances read from the index at once.
const INSTANCES_AT_ONCE: usize = 256;

/// Gives stored studies to a sender.
#[derive(Debug)]
pub struct DepotSource {
    depot: Depot,
    scope: Scope,
    studies: std::vec::IntoIter<StudyUid>,
    /// The study being read, and the last instance of it that was read.
    current: Option<(StudyUid, Option<StoredInstance>)>,
    ready: std::vec::IntoIter<StoredInstance>,
    totals: Totals,
    cache: RecordCache,
}

impl Source for DepotSource {
    fn totals(&self) -> Totals {
        self.totals
    }

    fn next_item(&mut self) -> io::Result<Option<SourceItem>> {
        loop {
            if let Some(instance) = self.ready.next() {
                return self.item(instance).map(Some);
            }
            let (study, after) = match self.current.take() {
                Some(current) => current,
                None => match self.studies.next() {
                    Some(study) => (study, None),
                    None => return Ok(None),
                },
            };
            let read = self.depot.index.instances(&self.scope, &study, after.as_ref(), INSTANCES_AT_ONCE);
            let read = read.map_err(io::Error::other)?;
            let Some(last) = read.last() else { continue };
            // Several owners may hold the same content; it is given once.
            let same = |a: &StoredInstance, b: &StoredInstance| {
                a.entry.hash == b.entry.hash && a.entry.sop_instance == b.entry.sop_instance
            };
            self.current = Some((study, Some(last.clone())));
            let mut given = after;
            let mut read = read;
            read.retain(|next| {
                let new = !given.as_ref().is_some_and(|before| same(before, next));
                given = Some(next.clone());
                new
            });
            self.ready = read.into_iter();
        }
    }
}

impl DepotSource {
    /// Gives the instances of `studies` within `scope`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn new(depot: &Depot, scope: Scope, studies: Vec<StudyUid>) -> Result<Self, StoreError> {
        let mut totals = Totals::default();
        for study in &studies {
            let answer = depot.index.find(&scope, &Search::study(study.clone()))?;
            for row in answer.rows {
                totals.instances += row.study.instances;
                totals.bytes += row.study.bytes;
            }
        }
        Ok(Self {
            depot: depot.clone(),
            scope,
            studies: studies.into_iter(),
            current: None,
            ready: Vec::new().into_iter(),
            totals,
            cache: RecordCache::new(RecordCache::BYTES_SHARED),
        })
    }

    fn item(&self, instance: StoredInstance) -> io::Result<SourceItem> {
        let entry = instance.entry.clone();
        let chunks = instance.chunks.clone();
        let records = Arc::clone(&self.depot.records);
        let reader = StoredReader::of(records, self.depot.registry.clone(), instance);
        let reader = reader.map_err(io::Error::other)?.with_cache(self.cache.clone());
        Ok(SourceItem::Instance(Box::new(SourceInstance {
            label: format!("{:?}", entry.sop_instance),
            entry,
            shape: None,
            position: None,
            content: Arc::new(StoredContent { reader, chunks, depot: self.depot.clone() }),
        })))
    }
}

#[derive(Debug)]
struct StoredContent {
    reader: StoredReader,
    chunks: Vec<ChunkAt>,
    depot: Depot,
}

impl StoredContent {
    /// Remembers that a record could not be read, so that look-ups take what stands in it as missing and it is
    /// healed by whoever sends it again.
    fn note_damage(&self, at: RecordAt) {
        let study = &self.reader.entry().study;
        match self.depot.index.note_damage(study, &[at]) {
            Ok(instances) => {
                tracing::error!(study = ?study, pack = %at.pack, offset = at.offset, instances, "a record is damaged: send the study again, and it is healed");
            }
            Err(error) => {
                tracing::error!(pack = %at.pack, offset = at.offset, %error, "a record is damaged, and that could not be noted")
            }
        }
    }
}

impl Content for StoredContent {
    fn read_chunk(&self, index: usize, out: &mut [u8]) -> io::Result<()> {
        let chunk = self.reader.chunk(index).map_err(|error| {
            if let Some(at) = self.chunks.get(index) {
                self.note_damage(at.record);
            }
            io::Error::other(error)
        })?;
        if chunk.len() != out.len() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        out.copy_from_slice(&chunk);
        Ok(())
    }

    fn stored(&self, index: usize) -> Option<ChunkAt> {
        self.chunks.get(index).copied()
    }

    fn shape(&self) -> Option<PixelShape> {
        dicom::scan(&self.reader).ok().as_ref().and_then(chunk::pixel_shape)
    }

    fn read_record(&self, at: &ChunkAt) -> io::Result<Record> {
        self.depot.records.read(at.record).map_err(|error| {
            self.note_damage(at.record);
            io::Error::other(error)
        })
    }
}
