//! The scanner (being written).

use super::{Attributes, ReadAt};
use crate::codec::PixelShape;
use crate::ids::{SeriesUid, SopInstanceUid, StandardUid, StudyUid};
use std::io;

/// Who an instance is, by its data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Study Instance UID (0020,000D).
    pub study: StudyUid,
    /// Series Instance UID (0020,000E).
    pub series: SeriesUid,
    /// SOP Instance UID (0008,0018).
    pub sop_instance: SopInstanceUid,
}

/// Where pixel data stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PixelData {
    /// (7FE0,0010), (7FE0,0008) or (7FE0,0009) with a defined length: frames one behind the other.
    Native {
        /// Offset of the first byte of the value.
        offset: u64,
        /// Length of the value in bytes.
        len: u64,
        /// Shape of the frames, where the attributes that give it are there and make sense.
        shape: Option<PixelShape>,
    },
    /// (7FE0,0010) with undefined length: a sequence of fragments (PS3.5 section A.4).
    Encapsulated {
        /// Offset of the first fragment's item tag, behind the offset table's item.
        offset: u64,
        /// Where each fragment begins (at its item tag), ascending, starting with `offset`.
        fragments: Vec<u64>,
        /// Index into `fragments` of the first fragment of each frame, where it is known.
        frames: Vec<u32>,
        /// Offset behind the sequence delimiter.
        end: u64,
    },
}

/// What the scanner found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// Study, series and SOP Instance UID; `None` when one is missing or malformed.
    pub identity: Option<Identity>,
    /// SOP Class UID (0008,0016).
    pub sop_class: Option<StandardUid>,
    /// Transfer Syntax UID (0002,0010).
    pub transfer_syntax: Option<StandardUid>,
    /// Attributes for queries.
    pub attributes: Attributes,
    /// Pixel data, when there is some at the top level.
    pub pixels: Option<PixelData>,
}

/// Why a file is not DICOM that can be scanned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotDicom {
    /// Reading failed.
    #[error("cannot read it")]
    Read(#[from] io::Error),
    /// Empty.
    #[error("the file is empty")]
    Empty,
}

/// Scans a file.
///
/// # Errors
/// [`NotDicom`].
pub fn scan(source: &dyn ReadAt) -> Result<Scan, NotDicom> {
    let _ = source;
    Err(NotDicom::Empty)
}
