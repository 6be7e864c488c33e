//! Just enough DICOM: who an instance is, and where its pixel data stands.
//!
//! The scanner reads a Part 10 file (DICOM PS3.10) element by element, without recursion and without
//! loading values that it does not need. It decides nothing about pixels and changes nothing: a file
//! that it cannot read is still carried, as opaque bytes.

mod attributes;
mod catalogue;
mod charset;
mod element;
mod fold;
mod fragments;
mod frame_numbers;
mod frame_table;
mod identity;
mod image;
mod inflate;
pub(crate) mod layout;
mod matching;
mod part10;
mod scan;
mod tag;
pub mod tags;
#[cfg(test)]
mod tests;
mod text;
mod values;
mod walk;
mod window;

use std::io;

pub use attributes::Attributes;
pub use catalogue::{Attribute, CATALOGUE, CATALOGUE_VERSION, Level, ValueKind};
pub use fold::{fold, fold_name};
pub use frame_numbers::{BadFrameNumbers, FrameNumbers};
pub use frame_table::{BadFrameTable, FrameTable, join_fragments};
pub use identity::Identity;
pub use image::{ImageShape, image_shape};
pub use matching::{Match, MatchError, Pattern, search_key};
pub use part10::preamble_is_suspicious;
pub use scan::{NotDicom, PixelData, Scan, scan};
pub use tag::Tag;

/// Random access to the bytes of an instance: a file, a buffer, or what a store holds of it.
#[expect(clippy::len_without_is_empty, reason = "a length in a file, not a collection")]
pub trait ReadAt {
    /// Length in bytes.
    fn len(&self) -> u64;

    /// Fills `buf` from `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` when the bytes end before `buf` is full; any error of the medium.
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;
}

impl ReadAt for [u8] {
    fn len(&self) -> u64 {
        crate::units::to_u64(Self::len(self))
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let start = crate::units::to_usize(offset);
        let from = start.checked_add(buf.len()).and_then(|end| self.get(start..end));
        buf.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn len(&self) -> u64 {
        T::len(self)
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        T::read_exact_at(self, offset, buf)
    }
}

impl ReadAt for Vec<u8> {
    fn len(&self) -> u64 {
        crate::units::to_u64(Self::len(self))
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.as_slice().read_exact_at(offset, buf)
    }
}
