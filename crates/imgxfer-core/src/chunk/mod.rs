//! Where an instance is cut into chunks.

use std::io;

use crate::codec::PixelShape;
use crate::dicom::{ReadAt, Scan};
use crate::manifest::ChunkClass;

/// One chunk-to-be: a range of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Offset in the file.
    pub offset: u64,
    /// Length in bytes, 1 to [`crate::limits::CHUNK_BYTES_MAX`].
    pub len: u32,
    /// What it holds.
    pub class: ChunkClass,
}

/// Cuts an instance (being written). The cuts cover the file without gaps, in order.
///
/// # Errors
/// When reading fails, or the file would need more chunks than an instance may have.
pub fn cut(source: &dyn ReadAt, scan: Option<&Scan>) -> io::Result<Vec<Cut>> {
    let (_, _) = (source, scan);
    Ok(Vec::new())
}

/// The shape to hand to a codec for chunks of class `Pixels` of this instance.
#[must_use]
pub fn pixel_shape(scan: &Scan) -> Option<PixelShape> {
    match scan.pixels.as_ref()? {
        crate::dicom::PixelData::Native { shape, .. } => *shape,
        crate::dicom::PixelData::Encapsulated { .. } => None,
    }
}
