//! What stands in a store, proven: read back, hashed as a whole, and scanned.

use std::io;

use crate::dicom::{self, Attributes, FrameTable};
use crate::ids::opaque_uids;
use crate::manifest::InstanceEntry;
use crate::proto::Unproven;
use crate::scratch;
use crate::store::{InstanceError, StoreError, StoredReader};
use crate::units::to_usize;
use crate::wire::message::FailCode;

/// An instance up to this length is read back into memory as a whole.
const SMALL_INSTANCE_BYTES: u64 = 128 << 10;

/// What an instance says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// What people search for.
    pub attributes: Attributes,
    /// Where its frames are, where that is known.
    pub frames: Option<FrameTable>,
    /// Whether it ends before its data set does.
    pub cut: bool,
    /// Whether it stands in records that take long to decode. Only reading it back shows that.
    pub slow: bool,
}

/// Proves that an instance stands in the store as it was sent. Returns what it says of itself, or `None` when it is
/// not the one that its entry names.
///
/// # Errors
/// [`InstanceError`]; [`unproven`] says what follows.
pub fn read_back(reader: &StoredReader) -> Result<Option<Seen>, InstanceError> {
    let entry = reader.entry();
    if entry.len > SMALL_INSTANCE_BYTES {
        reader.verify_whole()?;
        let seen = identify(reader, entry)?;
        return Ok(seen.map(|seen| Seen { slow: reader.met_slow(), ..seen }));
    }
    let mut buffer = scratch::take_len(to_usize(entry.len));
    let bytes = &mut buffer[..to_usize(entry.len)];
    let seen = reader.read_verified(bytes).and_then(|()| identify(&&*bytes, entry));
    scratch::keep(buffer);
    Ok(seen?.map(|seen| Seen { slow: reader.met_slow(), ..seen }))
}

/// Why a reader did not give what it should: chunks that are damaged where they stand, or else a whole that is not what
/// the manifest says.
///
/// # Errors
/// The store's own, where all of it can be read after all: the medium failed for a moment, and the sender is to try again.
pub fn unproven(reader: &StoredReader, error: InstanceError) -> Result<Unproven, StoreError> {
    let damaged = reader.damaged();
    if !damaged.is_empty() {
        return Ok(Unproven::Damaged(damaged));
    }
    match error {
        InstanceError::Store(error) if error.is_transient() => Err(error),
        InstanceError::Store(error) => {
            Err(StoreError::Io { what: "read an instance back", source: io::Error::other(error) })
        }
        _ => Ok(Unproven::Failed(FailCode::Integrity)),
    }
}

/// Scans an instance and compares what it says of itself with what the manifest says of it.
/// Returns what it says, or `None` when the two disagree.
///
/// # Errors
/// Those of a [`StoredReader`] that is scanned.
pub fn identify(reader: &dyn dicom::ReadAt, entry: &InstanceEntry) -> Result<Option<Seen>, InstanceError> {
    let scan = match dicom::scan(reader) {
        Ok(scan) => Some(scan),
        Err(dicom::NotDicom::Read(error)) => match error.downcast() {
            Ok(error) => return Err(error),
            // The file ends before it should.
            Err(_) => None,
        },
        Err(_) => None,
    };
    Ok(agree(scan, entry))
}

fn agree(scan: Option<dicom::Scan>, entry: &InstanceEntry) -> Option<Seen> {
    let identity = scan.as_ref().and_then(|scan| scan.identify(&entry.hash));
    let (Some(scan), Some(identity)) = (scan.filter(|_| entry.name.is_empty()), identity) else {
        // Carried as opaque bytes: under the UIDs made from its content, and no others.
        let made = opaque_uids(&entry.hash);
        let entry_uids = (entry.study.clone(), entry.series.clone(), entry.sop_instance.clone());
        return (made == entry_uids).then(Seen::default);
    };
    let same = identity.study == entry.study
        && identity.series == entry.series
        && identity.sop_instance == entry.sop_instance
        && scan.sop_class == entry.sop_class
        && scan.transfer_syntax == entry.transfer_syntax
        // What is not file meta group makes the content's id.
        && scan.data_set_offset == entry.meta_len();
    let frames = scan.frame_table();
    same.then_some(Seen { attributes: scan.attributes, frames, cut: scan.truncated, slow: false })
}
