//! What a sender sends: instances from files or from a store, one after the other.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::codec::PixelShape;
use crate::manifest::InstanceEntry;
pub use crate::proto::{Shortfall, Totals};
use crate::store::ChunkAt;
use crate::wire::record::Record;

/// The bytes of one instance.
///
/// Calls may come from several threads, and block.
pub trait Content: Send + Sync + fmt::Debug {
    /// Reads the original bytes of the chunk at `index` of the entry into `out`, which is as long as the entry
    /// says. They may have changed since the entry was made; the caller hashes them.
    ///
    /// # Errors
    /// Any error of reading; `InvalidData` when they are known to have changed.
    fn read_chunk(&self, index: usize, out: &mut [u8]) -> io::Result<()>;

    /// Does the same when the bytes from which the entry was made are still at hand, and what they were read from
    /// has not changed: these need no hash. Returns whether it did.
    fn read_held(&self, index: usize, out: &mut [u8]) -> bool {
        let _ = (index, out);
        false
    }

    /// Where the chunk stands in an encoded form that could be sent as it is.
    fn stored(&self, index: usize) -> Option<ChunkAt> {
        let _ = index;
        None
    }

    /// Shape of its pixels, for content that is asked for it only when it is coded anew. Blocks.
    fn shape(&self) -> Option<PixelShape> {
        None
    }

    /// Reads such an encoded form.
    ///
    /// # Errors
    /// Any error of reading.
    fn read_record(&self, at: &ChunkAt) -> io::Result<Record> {
        let _ = at;
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// An instance to send.
#[derive(Debug, Clone)]
pub struct SourceInstance {
    /// Its manifest entry.
    pub entry: InstanceEntry,
    /// What to call it when something goes wrong with it: the path as the user named it.
    pub label: String,
    /// Shape of its pixels, for the codec; where it is known already.
    pub shape: Option<PixelShape>,
    /// Stands for the place in the patient that it shows: equal for equal places, `None` where it is not known.
    pub position: Option<u64>,
    /// Whether it is known to end before its elements do.
    pub truncated: bool,
    /// Its bytes.
    pub content: Arc<dyn Content>,
}

/// Content that is never read.
#[cfg(test)]
#[derive(Debug)]
pub(super) struct NoContent;

#[cfg(test)]
impl Content for NoContent {
    fn read_chunk(&self, _: usize, _: &mut [u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// What a source gives.
#[derive(Debug)]
#[non_exhaustive]
pub enum SourceItem {
    /// An instance.
    Instance(Box<SourceInstance>),
    /// Nothing yet: it waits for what arrives elsewhere.
    Nothing,
    /// Something that is not sent on purpose.
    Skipped {
        /// The file.
        label: String,
        /// Why.
        reason: String,
    },
    /// DICOM that is byte for byte an instance that came before.
    Copy {
        /// The file.
        label: String,
        /// Its length in bytes.
        len: u64,
    },
    /// Something that should have been sent but cannot be.
    Failed {
        /// The file.
        label: String,
        /// Why, and what to do.
        reason: String,
    },
}

/// Gives instances, in an order that is the same each time: manifest pages of an unchanged study are
/// then the same, and need not be sent twice.
pub trait Source: Send {
    /// How much there is.
    fn totals(&self) -> Totals;

    /// How many instances are left out, since they are of other patients than those asked for.
    fn others(&self) -> u64 {
        0
    }

    /// Whether it goes on while more arrives.
    fn follows(&self) -> bool {
        false
    }

    /// Why it has not given all that it was asked for. At its end.
    fn shortfall(&self) -> Shortfall {
        Shortfall::default()
    }

    /// The next item, or `None` at the end. Blocks: it reads and hashes a whole instance.
    ///
    /// # Errors
    /// Only what ends everything, such as a store that fails; a file that fails is an item.
    fn next_item(&mut self) -> io::Result<Option<SourceItem>>;
}
