//! What stands in a store, proven: read back, hashed as a whole, and scanned.

use std::io;

use crate::dicom::{self, Attributes};
use crate::ids::opaque_uids;
use crate::manifest::InstanceEntry;
use crate::proto::Unproven;
use crate::scratch;
use crate::store::{InstanceError, StoreError, StoredReader};
use crate::units::to_usize;
use crate::wire::message::FailCode;

/// An instance up to this length is read back into memory as a whole.
const SMALL_INSTANCE_BYTES: u64 = 128 << 10;

/// Proves that an instance stands in the store as it was sent. Returns its attributes, or `None` when it is not
/// the one that its entry names.
///
/// # Errors
/// [`InstanceError`]; [`unproven`] says what follows.
pub fn read_back(reader: &StoredReader) -> Result<Option<Attributes>, InstanceError> {
    let entry = reader.entry();
    if entry.len > SMALL_INSTANCE_BYTES {
        reader.verify_whole()?;
        return identify(reader, entry);
    }
    let mut buffer = scratch::take_len(to_usize(entry.len));
    let bytes = &mut buffer[..to_usize(entry.len)];
    let attributes = reader.read_verified(bytes).and_then(|()| identify(&&*bytes, entry));
    scratch::keep(buffer);
    attributes
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
/// Returns its attributes, or `None` when the two disagree.
///
/// # Errors
/// Those of a [`StoredReader`] that is scanned.
pub fn identify(reader: &dyn dicom::ReadAt, entry: &InstanceEntry) -> Result<Option<Attributes>, InstanceError> {
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

fn agree(scan: Option<dicom::Scan>, entry: &InstanceEntry) -> Option<Attributes> {
    match scan.as_ref().and_then(|scan| scan.identity.as_ref()) {
        Some(identity) if entry.name.is_empty() => {
            let same = identity.study == entry.study
                && identity.series == entry.series
                && identity.sop_instance == entry.sop_instance;
            same.then(|| scan.map(|scan| scan.attributes).unwrap_or_default())
        }
        // Carried as opaque bytes: under the UIDs made from its content, and no others.
        _ => {
            let made = opaque_uids(&entry.hash);
            let entry_uids = (entry.study.clone(), entry.series.clone(), entry.sop_instance.clone());
            (made == entry_uids).then(Attributes::default)
        }
    }
}
