//! The scanner's result, and the order of its steps: beginning of the file, walk, pixel data.

use std::io;

use super::element::HEADER_BYTES_MAX;
use super::identity::Naming;
use super::inflate::{INFLATED_BYTES_MAX, Inflated};
use super::part10::{self, Start, Syntax};
use super::walk::{Found, RawPixels, walk};
use super::window::{Input as _, Window};
use super::{Attributes, Identity, Level, ReadAt, fragments, layout, tags};
use crate::codec::PixelShape;
use crate::ids::{InstanceHash, StandardUid, StudyUid};

/// Where pixel data stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PixelData {
    /// (7FE0,0010), (7FE0,0008) or (7FE0,0009) with a defined length: frames one behind the other.
    Native {
        /// Offset of the first byte of the value.
        offset: u64,
        /// Length of the value in bytes, as far as the file holds it.
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
        /// Offset behind the last fragment, where the sequence delimiter stands.
        fragments_end: u64,
        /// Offset behind the sequence delimiter; `fragments_end` where a damaged file has none.
        end: u64,
    },
}

/// What the scanner found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[expect(clippy::struct_excessive_bools, reason = "findings that are independent of each other")]
pub struct Scan {
    /// Study, series and SOP Instance UID, by its own UIDs; `None` when one is missing or malformed: [`Scan::identify`]
    /// derives it then.
    pub identity: Option<Identity>,
    /// SOP Class UID (0008,0016), or where the data set has none, (0002,0002).
    pub sop_class: Option<StandardUid>,
    /// Transfer Syntax UID (0002,0010).
    pub transfer_syntax: Option<StandardUid>,
    /// Attributes for queries.
    pub attributes: Attributes,
    /// Where the data set begins: behind the file meta information (PS3.10 section 7.1), at 0 where there is none. In a
    /// deflated file that is where the deflated bytes begin.
    pub data_set_offset: u64,
    /// Pixel data, when there is some at the top level. `None` in a deflated data set, where it has no
    /// place of its own in the file.
    pub pixels: Option<PixelData>,
    /// Number of Frames (0028,0008), where it is given.
    pub number_of_frames: Option<u32>,
    /// Stands for Image Position (Patient) (0020,0032): equal for equal ones, `None` where there is none.
    pub image_position: Option<u64>,
    /// The file ends before its data set does: a value runs past the end, or a delimiter is missing.
    /// What stands here was found before that.
    pub truncated: bool,
    /// The file may be the beginning of a longer one, or have room for what is not written yet: it is
    /// [`Scan::truncated`], its elements stop before the file does (zeros stand behind them, or encapsulated
    /// pixel data without its end) or before they name study, series and instance, or it gives rows of an image and
    /// holds none.
    pub unfinished: bool,
    /// The preamble looks like a program or another kind of file (see [`super::preamble_is_suspicious`]).
    pub suspicious_preamble: bool,
    /// Every element was walked over, all lengths agree and no nesting is deep. Only such a file is
    /// fit for parsers that trust what they read. A file that is not is carried all the same.
    pub vetted: bool,
    /// Who it is, whether its UIDs can be used or not.
    naming: Naming,
    /// Bits of a frame and number of frames of native pixel data, where that is certain.
    pub(super) native_frames: Option<(u64, u32)>,
}

impl Scan {
    /// Whether this is a DICOMDIR, the directory of a medium: it describes other files and belongs to
    /// no study (PS3.3 annex F).
    #[must_use]
    pub fn is_dicomdir(&self) -> bool {
        self.sop_class.as_ref().is_some_and(|uid| uid.as_str() == "1.2.840.10008.1.3.10")
    }

    /// Who the instance is: by its own UIDs, and by derived ones where these cannot be used (too long, with letters,
    /// or missing). `hash` is of the whole file. The same bytes have the same identity at every site; instances of one
    /// patient with the same unusable Study Instance UID have one study. `None` for a DICOMDIR.
    #[must_use]
    pub fn identify(&self, hash: &InstanceHash) -> Option<Identity> {
        (!self.is_dicomdir()).then(|| self.naming.identify(hash))
    }

    /// The study that [`Scan::identify`] gives, as far as that is known without the file's hash.
    #[must_use]
    pub fn study(&self) -> Option<StudyUid> {
        if self.is_dicomdir() { None } else { self.naming.study() }
    }

    /// Of what the UID cannot be used, so that [`Scan::identify`] derives one: `Study`, `Series` or `Instance`. The
    /// attribute [`tags::DERIVED_UIDS`] says the same.
    pub fn derived(&self) -> impl Iterator<Item = Level> {
        self.naming.derived().filter(|_| !self.is_dicomdir())
    }
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
    /// Neither the marker `DICM` nor a data set with its UIDs at the beginning.
    #[error("the file has no DICOM marker and does not begin with a data set")]
    NoMarker,
    /// Sequences nest deeper than any real file's: an attack on whoever reads it.
    #[error("sequences nest too deep at offset {offset}")]
    TooDeep {
        /// Where the first sequence too many begins; in a deflated data set, counted after inflating.
        offset: u64,
    },
    /// More fragments than the scanner lists.
    #[error("too many fragments of pixel data at offset {offset}")]
    TooManyFragments {
        /// Where the first one too many begins.
        offset: u64,
    },
}

impl NotDicom {
    /// Whether it is DICOM after all, but so that it cannot be taken: whoever leaves such a file out has failed to send
    /// it. Of other files only [`NotDicom::Read`] does not tell.
    #[must_use]
    pub const fn is_dicom(&self) -> bool {
        matches!(self, Self::TooDeep { .. } | Self::TooManyFragments { .. })
    }
}

/// Scans a file.
///
/// Reads the headers of its elements and the few values it needs through a window of at most 64 KiB;
/// pixel data is passed over. Memory is bounded by that and 12 bytes per fragment, time by the number of
/// elements. Of a deflated data set at most 64 MiB are inflated. Damage does not make it fail: see
/// [`Scan::truncated`] and [`Scan::vetted`].
///
/// # Errors
/// [`NotDicom`] when the file is something else, is hostile, or cannot be read.
pub fn scan(source: &dyn ReadAt) -> Result<Scan, NotDicom> {
    let mut window = Window::new(source);
    let start = part10::start(&mut window)?;
    let mut syntax = Syntax::of(start.transfer_syntax.as_ref());
    // Some writers only say that they deflate.
    syntax.deflated = syntax.deflated && !part10::is_plain(&mut window, start.data_set)?;
    if syntax.deflated {
        let mut inflated = Inflated::new(&mut window, start.data_set)?;
        syntax.encoding = part10::detect_first(inflated.peek(0, HEADER_BYTES_MAX)?, syntax.encoding);
        let mut found = walk(&mut inflated, 0, syntax.encoding)?;
        let patience_ended = !inflated.complete && inflated.end() >= INFLATED_BYTES_MAX;
        let cut = found.truncated || !inflated.complete && !patience_ended;
        found.truncated |= !inflated.complete;
        let lacks_pixels = !patience_ended && lacks_pixels(&found);
        let unfinished = cut || found.gave_up && !patience_ended || lacks_pixels;
        found.pixels = None;
        return summarise(&mut window, start, syntax, found, unfinished);
    }
    let detected = part10::detect(&mut window, start.data_set, syntax.encoding)?;
    let encoding = match detected {
        Some(encoding) => encoding,
        None if start.has_marker => syntax.encoding,
        None => part10::guess(window.peek(start.data_set, HEADER_BYTES_MAX)?, syntax.encoding),
    };
    let other_than_declared = encoding != syntax.encoding;
    syntax.encoding = encoding;
    syntax.big_endian_pixels |= encoding.big_endian;
    let walked = walk(&mut window, start.data_set, encoding);
    if !start.has_marker {
        // Only who says who it is can be believed: other files may look like elements for a while.
        let is_dicom = |found: &Found| match detected {
            Some(_) => found.values.identifies_something(),
            None => found.values.names_an_instance(),
        };
        match &walked {
            Ok(found) if is_dicom(found) => {}
            Err(NotDicom::Read(_)) => {}
            Err(_) if detected.is_some() && part10::begins_as_dicom(window.peek(0, HEADER_BYTES_MAX)?) => {}
            _ => return Err(NotDicom::NoMarker),
        }
    }
    let mut found = walked?;
    found.irregular |= other_than_declared;
    let unfinished = found.truncated || found.gave_up || lacks_pixels(&found);
    summarise(&mut window, start, syntax, found, unfinished)
}

/// Whether the attributes are those of an image, and the image is not there.
fn lacks_pixels(found: &Found) -> bool {
    found.pixels.is_none() && found.values.number(tags::ROWS).is_some_and(|rows| rows > 0)
}

fn summarise(
    window: &mut Window<'_>,
    start: Start,
    syntax: Syntax,
    found: Found,
    unfinished: bool,
) -> Result<Scan, NotDicom> {
    let Found { values, pixels, extended_offset_table, truncated, irregular, gave_up: _, highest } = found;
    let naming = Naming::of(&values, &start.media_storage_sop_instance);
    // Elements come in ascending order: without its UIDs there is no more than a beginning.
    let ends_before_uids = !values.has_uids() && highest <= tags::SERIES_INSTANCE_UID;
    let truncated = truncated || start.truncated;
    let number_of_frames = values.integer_text(tags::NUMBER_OF_FRAMES);
    let native_frames = match pixels {
        Some(RawPixels::Native { declared_len, element, .. }) => {
            layout::frames(&values, element, declared_len, syntax.big_endian_pixels)
        }
        _ => None,
    };
    let pixels = match pixels {
        Some(RawPixels::Native { offset, len, declared_len, element }) => {
            let shape = layout::shape(&values, element, declared_len, syntax.big_endian_pixels);
            Some(PixelData::Native { offset, len, shape })
        }
        Some(RawPixels::Encapsulated(found)) => {
            let frames = fragments::frames(window, &found, extended_offset_table, number_of_frames, syntax.encoding)?;
            Some(PixelData::Encapsulated {
                offset: found.base,
                fragments: found.offsets,
                frames,
                fragments_end: found.fragments_end,
                end: found.end,
            })
        }
        None => None,
    };
    let sop_class = values.sop_class().or(start.media_storage_sop_class);
    let mut scan = Scan {
        identity: naming.own(),
        sop_class,
        transfer_syntax: start.transfer_syntax,
        attributes: values.attributes(),
        data_set_offset: start.data_set,
        pixels,
        number_of_frames,
        image_position: values.fingerprint(tags::IMAGE_POSITION),
        truncated,
        unfinished: unfinished || start.truncated || ends_before_uids,
        suspicious_preamble: start.suspicious_preamble,
        vetted: !truncated && !irregular && !start.irregular,
        naming,
        native_frames,
    };
    let derived: Vec<&str> = scan.derived().filter_map(mark).collect();
    scan.attributes.set(tags::DERIVED_UIDS, derived.join("\\"));
    Ok(scan)
}

/// How an index marks what has a derived UID.
const fn mark(level: Level) -> Option<&'static str> {
    match level {
        Level::Patient => None,
        Level::Study => Some("STUDY"),
        Level::Series => Some("SERIES"),
        Level::Instance => Some("INSTANCE"),
    }
}
