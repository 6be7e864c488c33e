//! Reading what stands in a site's store.

use std::cell::Cell;
use std::sync::Arc;

use super::Depot;
use crate::dicom::{ReadAt as _, join_fragments};
use crate::store::search::{Answer, Search};
use crate::store::{InstanceError, InstancesOf, Scope, StoreError, StoredInstance, StoredReader, VERSIONS_MAX};
use crate::units::to_usize;

/// Why a frame cannot be given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The instance has no frame of that number, or it is not known where its frames are.
    #[error("the instance has no such frame, or its frames could not be told apart")]
    NoSuchFrame,
    /// What stands there cannot be read.
    #[error("the frame cannot be read")]
    Read(#[source] InstanceError),
}

impl Depot {
    /// Looks for what matches within `scope`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn find(&self, scope: &Scope, search: &Search) -> Result<Answer, StoreError> {
        self.index.find(scope, search)
    }

    /// Random access to the bytes of an instance, as they were when it came: only the records are read that hold what
    /// is asked for. Nothing is hashed. What it reads stays where it is while the reader lives.
    ///
    /// # Errors
    /// [`InstanceError`] when its places make no sense, or it has been removed.
    pub fn reader(&self, instance: StoredInstance) -> Result<StoredReader, InstanceError> {
        let entry = &instance.entry;
        let of = InstancesOf::contents(entry);
        let (mine, hash) = (Scope::owner(instance.owner), entry.hash);
        let first = Cell::new(Some(instance));
        let (found, held) = self.held(&|| match first.take() {
            Some(instance) => Ok(vec![instance]),
            None => {
                let mut found = self.index.instances(&mine, &of, None, VERSIONS_MAX)?;
                found.retain(|instance| instance.entry.hash == hash);
                Ok(found)
            }
        })?;
        let instance = found.into_iter().next().ok_or(InstanceError::Incomplete)?;
        let reader = StoredReader::of(Arc::clone(&self.records), self.registry.clone(), instance)?;
        Ok(reader.keeping(Box::new(held)))
    }

    /// The bytes of a frame, counted from 0: as they stand in native pixel data, the fragments joined in encapsulated
    /// pixel data (PS3.5 section A.4). A frame of bits that does not begin on a whole byte comes with the byte that it
    /// begins in ([`FrameTable::bit_offset`](crate::dicom::FrameTable::bit_offset)). Reads the records that hold it, and no others.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn frame(&self, instance: StoredInstance, frame: u32) -> Result<Vec<u8>, FrameError> {
        let table = instance.frames.clone().ok_or(FrameError::NoSuchFrame)?;
        let range = table.range(frame).ok_or(FrameError::NoSuchFrame)?;
        let reader = self.reader(instance).map_err(FrameError::Read)?;
        let mut bytes = vec![0; to_usize(range.end.saturating_sub(range.start).min(reader.len()))];
        reader
            .read_exact_at(range.start, &mut bytes)
            .map_err(|error| FrameError::Read(error.downcast().unwrap_or(InstanceError::Incomplete)))?;
        match table.is_encapsulated() {
            true => join_fragments(&bytes).ok_or(FrameError::NoSuchFrame),
            false => Ok(bytes),
        }
    }
}
