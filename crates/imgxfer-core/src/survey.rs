//! What pixel data some files hold, and in which records it would travel: for measuring codecs on it.
//!
//! A [`Survey`] scans and cuts files as a push does and groups the pieces as a push does, but hashes nothing
//! and keeps no pixels: a record is read when it is asked for. So any number of files can be measured in the
//! memory of one record.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::chunk;
use crate::chunk::ChunkClass;
use crate::codec::PixelShape;
use crate::dicom::{self, NotDicom, PixelData, ReadAt as _, Scan, tags};
use crate::ids::SeriesUid;
use crate::limits::{
    CHUNKS_PER_RECORD_MAX, RECORD_RAW_BYTES_MAX, SHARED_BYTES_MAX, SHARED_FRAME_BYTES_MAX, SMALL_CHUNK_BYTES,
};
use crate::store::FileBytes;
use crate::units::{to_u64, to_usize};

/// Pixel data of one modality, and native or compressed in one way.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PixelKind {
    /// Modality, and how the pixel data is compressed already if it is: `CT`, `XA (JPEG)`.
    pub name: String,
    /// Whether it is not compressed.
    pub native: bool,
    /// How many frames.
    pub frames: u64,
    /// Bytes of pixel data, as they stand in the files.
    pub bytes: u64,
}

/// Pixel data that would travel in one record: at most 1 MiB, of one series and shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PixelRecord {
    kind: usize,
    shape: Option<PixelShape>,
    parts: Vec<Part>,
}

impl PixelRecord {
    /// Index into [`Survey::kinds`].
    #[must_use]
    pub const fn kind(&self) -> usize {
        self.kind
    }

    /// The shape to hand to a codec.
    #[must_use]
    pub const fn shape(&self) -> Option<&PixelShape> {
        self.shape.as_ref()
    }

    /// Its original bytes.
    #[must_use]
    pub fn raw_len(&self) -> u64 {
        self.parts.iter().map(|part| u64::from(part.len)).sum()
    }
}

/// A range of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    file: usize,
    offset: u64,
    len: u32,
}

/// What a file is to a survey.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Surveyed {
    /// It has pixel data.
    Pixels,
    /// DICOM without pixel data, or with a deflated data set.
    NoPixels,
    /// Something else.
    NotDicom,
}

/// A file that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct Unreadable {
    /// Which.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// What shares records: pixel data of one series, shape and kind.
#[derive(Debug)]
struct Group {
    kind: usize,
    shape: Option<PixelShape>,
    images: Vec<Image>,
}

/// The pixel data of one file.
#[derive(Debug)]
struct Image {
    number: Option<i64>,
    position: Option<u64>,
    parts: Vec<Part>,
}

/// Pixel data of files, found file by file.
#[derive(Default)]
pub struct Survey {
    files: Vec<PathBuf>,
    kinds: Vec<PixelKind>,
    groups: Vec<Group>,
    // Of the groups, by what they have in common; few shapes to a series.
    by_series: HashMap<Option<SeriesUid>, Vec<usize>>,
}

impl fmt::Debug for Survey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Survey").field("files", &self.files.len()).field("kinds", &self.kinds).finish_non_exhaustive()
    }
}

impl Survey {
    /// Takes a file in. Reads its headers; blocks.
    ///
    /// # Errors
    /// When the file cannot be read, or cannot be cut.
    pub fn add(&mut self, path: &Path) -> Result<Surveyed, Unreadable> {
        let unreadable = |source| Unreadable { path: path.to_owned(), source };
        let file = FileBytes::open(path).map_err(|error| unreadable(error.into()))?;
        let scan = match dicom::scan(&file) {
            Ok(scan) => scan,
            Err(NotDicom::Read(error)) => return Err(unreadable(error)),
            Err(_) => return Ok(Surveyed::NotDicom),
        };
        let cuts = chunk::cut(&file, Some(&scan)).map_err(unreadable)?;
        let index = self.files.len();
        let pixels = cuts.iter().filter(|cut| cut.class == ChunkClass::Pixels);
        let parts: Vec<_> = pixels.map(|cut| Part { file: index, offset: cut.offset, len: cut.len }).collect();
        if parts.is_empty() {
            return Ok(Surveyed::NoPixels);
        }
        let bytes = parts.iter().map(|part| u64::from(part.len)).sum();
        let kind = self.kind_of(&scan, bytes);
        let image = Image {
            number: scan.attributes.get(tags::INSTANCE_NUMBER).trim().parse().ok(),
            position: scan.image_position,
            parts,
        };
        self.group_of(&scan, kind).images.push(image);
        self.files.push(path.to_owned());
        Ok(Surveyed::Pixels)
    }

    /// What has been found, in the order in which it was.
    #[must_use]
    pub fn kinds(&self) -> &[PixelKind] {
        &self.kinds
    }

    /// All pixel data in records, series by series: within one, images of one place in the patient stand
    /// together, and otherwise they go by their numbers.
    #[must_use]
    pub fn records(&self) -> Vec<PixelRecord> {
        let mut records = Vec::new();
        for group in &self.groups {
            let mut images: Vec<&Image> = group.images.iter().collect();
            images.sort_by_key(|image| image.number);
            let mut places = HashMap::new();
            for image in &images {
                let next = places.len();
                places.entry(image.position).or_insert(next);
            }
            images.sort_by_key(|image| places.get(&image.position).copied());
            group.fill(images.iter().flat_map(|image| &image.parts), &mut records);
        }
        records
    }

    /// Reads a record's bytes behind what `out` holds. Blocks.
    ///
    /// # Errors
    /// When one of its files cannot be read any more.
    pub fn read(&self, record: &PixelRecord, out: &mut Vec<u8>) -> Result<(), Unreadable> {
        let mut open: Option<(usize, FileBytes)> = None;
        for part in &record.parts {
            let path = &self.files[part.file];
            let unreadable = |source| Unreadable { path: path.clone(), source };
            let file = match open.take() {
                Some((index, file)) if index == part.file => file,
                _ => FileBytes::open(path).map_err(|error| unreadable(error.into()))?,
            };
            let start = out.len();
            out.resize(start + to_usize(u64::from(part.len)), 0);
            file.read_exact_at(part.offset, &mut out[start..]).map_err(unreadable)?;
            open = Some((part.file, file));
        }
        Ok(())
    }

    /// The files that a record is from.
    pub fn paths<'a>(&'a self, record: &'a PixelRecord) -> impl Iterator<Item = &'a Path> {
        let mut last = None;
        let news = move |part: &&Part| last.replace(part.file) != Some(part.file);
        record.parts.iter().filter(news).map(|part| self.files[part.file].as_path())
    }

    fn kind_of(&mut self, scan: &Scan, bytes: u64) -> usize {
        let (name, frames) = (kind_name(scan), frames(scan));
        let known = self.kinds.iter().position(|kind| kind.name == name);
        let index = known.unwrap_or_else(|| {
            let native = matches!(scan.pixels, Some(PixelData::Native { .. }));
            self.kinds.push(PixelKind { name, native, frames: 0, bytes: 0 });
            self.kinds.len() - 1
        });
        let kind = &mut self.kinds[index];
        (kind.frames, kind.bytes) = (kind.frames.saturating_add(frames), kind.bytes.saturating_add(bytes));
        index
    }

    fn group_of(&mut self, scan: &Scan, kind: usize) -> &mut Group {
        let shape = chunk::pixel_shape(scan);
        let series = scan.identity.as_ref().map(|identity| identity.series.clone());
        let of_series = self.by_series.entry(series).or_default();
        let alike = |index: &&usize| self.groups[**index].kind == kind && self.groups[**index].shape == shape;
        let index = of_series.iter().find(alike).copied().unwrap_or_else(|| {
            of_series.push(self.groups.len());
            self.groups.push(Group { kind, shape, images: Vec::new() });
            self.groups.len() - 1
        });
        &mut self.groups[index]
    }
}

impl Group {
    /// Puts pieces into records, as many as go into one.
    fn fill<'a>(&self, parts: impl Iterator<Item = &'a Part>, records: &mut Vec<PixelRecord>) {
        let native = self.shape.is_some();
        let room = if native { RECORD_RAW_BYTES_MAX } else { SHARED_BYTES_MAX };
        let shares = |len: u32| if native { len <= SHARED_FRAME_BYTES_MAX } else { len < SMALL_CHUNK_BYTES };
        let mut filling: Vec<Part> = Vec::new();
        let mut bytes = 0;
        let mut take = |parts| records.push(PixelRecord { kind: self.kind, shape: self.shape, parts });
        for part in parts {
            if !shares(part.len) {
                take(vec![*part]);
                continue;
            }
            if bytes + part.len > room || filling.len() >= CHUNKS_PER_RECORD_MAX {
                take(std::mem::take(&mut filling));
                bytes = 0;
            }
            bytes += part.len;
            filling.push(*part);
        }
        if !filling.is_empty() {
            take(filling);
        }
    }
}

fn frames(scan: &Scan) -> u64 {
    let stated = u64::from(scan.number_of_frames.unwrap_or(1).max(1));
    match &scan.pixels {
        Some(PixelData::Native { len, shape: Some(shape), .. }) => {
            dicom::layout::frame_bytes(shape).map_or(stated, |frame| len / frame)
        }
        Some(PixelData::Encapsulated { frames, .. }) if !frames.is_empty() => to_u64(frames.len()),
        _ => stated,
    }
}

fn kind_name(scan: &Scan) -> String {
    let modality =
        if scan.attributes.get(tags::MODALITY).is_empty() { "?" } else { scan.attributes.get(tags::MODALITY) };
    let compressed = matches!(scan.pixels, Some(PixelData::Encapsulated { .. }));
    let syntax = scan.transfer_syntax.as_ref().map_or("", |uid| uid.as_str());
    if compressed { format!("{modality} ({})", compression(syntax)) } else { modality.to_owned() }
}

/// What a transfer syntax of encapsulated pixel data is called (PS3.6 table A-1).
fn compression(transfer_syntax: &str) -> &'static str {
    match transfer_syntax.strip_prefix("1.2.840.10008.1.2.").unwrap_or_default() {
        "5" => "RLE",
        "1.98" => "uncompressed fragments",
        "4.50" => "JPEG",
        "4.51" | "4.52" | "4.53" | "4.55" => "JPEG, other processes",
        "4.57" | "4.70" => "JPEG lossless",
        "4.80" => "JPEG-LS",
        "4.81" => "JPEG-LS near-lossless",
        "4.90" => "JPEG 2000 lossless",
        "4.91" => "JPEG 2000",
        "4.110" | "4.111" | "4.112" => "JPEG XL",
        "4.201" | "4.202" => "HTJ2K lossless",
        "4.203" => "HTJ2K",
        other if other.starts_with("4.10") => "video",
        _ => "compressed",
    }
}

#[cfg(test)]
mod tests;
