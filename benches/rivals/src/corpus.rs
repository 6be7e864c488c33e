//! The pixels to compare on: native ones as they are, and losslessly compressed ones decoded.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use dicom_pixeldata::Transcode as _;
use dicom_transfer_syntax_registry::entries::EXPLICIT_VR_LITTLE_ENDIAN;
use imgxfer_core::chunk::pixel_shape;
use imgxfer_core::codec::PixelShape;
use imgxfer_core::dicom::{PixelData, ReadAt as _, scan, tags};
use imgxfer_core::store::FileBytes;
use imgxfer_core::survey::{Survey, Surveyed};

use crate::rivals::Frame;

/// A record of ours.
pub(crate) struct Record {
    pub(crate) raw: Vec<u8>,
    pub(crate) shape: PixelShape,
}

/// The same pixels in both forms.
pub(crate) struct Modality {
    pub(crate) frames: Vec<Frame>,
    pub(crate) records: Vec<Record>,
}

/// Where native pixel data stands.
struct Native {
    path: PathBuf,
    modality: String,
    shape: PixelShape,
    offset: u64,
    len: u64,
}

/// What was found.
#[derive(Default)]
pub(crate) struct Corpus {
    images: Vec<Native>,
    seen: HashSet<blake3::Hash>,
    left_out: Vec<String>,
    bytes_max: u64,
    decoded: usize,
}

/// Transfer syntaxes that keep every pixel. Pixels that went through a lossy one are no fair test: what is
/// left in them is the other coder's own rounding.
const LOSSLESS: [&str; 7] = ["5", "4.57", "4.70", "4.80", "4.90", "4.201", "1.98"];

impl Corpus {
    pub(crate) fn gather(paths: &[PathBuf], scratch: &Path, bytes_max: u64) -> anyhow::Result<Self> {
        let mut corpus = Self { bytes_max, ..Self::default() };
        let mut files = Vec::new();
        for path in paths {
            list(path, &mut files).with_context(|| path.display().to_string())?;
        }
        for file in files {
            if let Err(why) = corpus.take(&file, scratch) {
                corpus.left_out.push(format!("{}: {why:#}", file.display()));
            }
        }
        Ok(corpus)
    }

    fn take(&mut self, path: &Path, scratch: &Path) -> anyhow::Result<()> {
        let file = FileBytes::open(path)?;
        let Ok(found) = scan(&file) else { return Ok(()) };
        match &found.pixels {
            None => Ok(()),
            Some(PixelData::Native { offset, len, .. }) => {
                let shape = pixel_shape(&found).context("no shape")?;
                if !matches!(shape.bits_allocated, 8 | 16) || !matches!(shape.samples, 1 | 3) {
                    anyhow::bail!("{} bits of {} samples", shape.bits_allocated, shape.samples);
                }
                let mut pixels = vec![0; usize::try_from(*len)?];
                file.read_exact_at(*offset, &mut pixels)?;
                if self.seen.insert(blake3::hash(&pixels)) {
                    let modality = match found.attributes.get(tags::MODALITY) {
                        "" => "?".to_owned(),
                        known => known.to_owned(),
                    };
                    let (offset, len) = (*offset, *len);
                    self.images.push(Native { path: path.to_owned(), modality, shape, offset, len });
                }
                Ok(())
            }
            Some(_) => {
                let syntax = found.transfer_syntax.as_ref().map_or("", |uid| uid.as_str());
                let short = syntax.strip_prefix("1.2.840.10008.1.2.").unwrap_or(syntax);
                if !LOSSLESS.contains(&short) {
                    anyhow::bail!("compressed with loss, or unknown: {short}");
                }
                let native = scratch.join(format!("{}.dcm", self.decoded));
                decode(path, &native)?;
                self.decoded += 1;
                self.take(&native, scratch)
            }
        }
    }

    /// Says on standard error what is not in the comparison.
    pub(crate) fn tell(&self) {
        for line in &self.left_out {
            eprintln!("left out: {line}");
        }
        eprintln!(
            "{} images, of which {} files were compressed and have been decoded",
            self.images.len(),
            self.decoded
        );
    }

    pub(crate) fn modalities(&self) -> Vec<String> {
        let names: BTreeSet<&str> = self.images.iter().map(|image| image.modality.as_str()).collect();
        names.into_iter().map(str::to_owned).collect()
    }

    /// Reads what is to be compared of one modality.
    pub(crate) fn read(&self, modality: &str) -> anyhow::Result<Modality> {
        let images: Vec<&Native> = self.images.iter().filter(|image| image.modality == modality).collect();
        let mut survey = Survey::default();
        let mut frames = Vec::new();
        for image in spread(&images, self.bytes_max) {
            let file = FileBytes::open(&image.path)?;
            let mut pixels = vec![0; usize::try_from(image.len)?];
            file.read_exact_at(image.offset, &mut pixels)?;
            frames.extend(Frame::all(&pixels, &image.shape));
            anyhow::ensure!(survey.add(&image.path)? == Surveyed::Pixels, "it had pixels before");
        }
        let mut records = Vec::new();
        for record in survey.records() {
            let mut raw = Vec::new();
            survey.read(&record, &mut raw)?;
            records.push(Record { raw, shape: *record.shape().context("no shape")? });
        }
        Ok(Modality { frames, records })
    }
}

/// Runs of eight neighbours, at even distances, up to so many bytes: neighbours share records.
fn spread<'a>(images: &[&'a Native], bytes_max: u64) -> Vec<&'a Native> {
    let runs: Vec<&[&Native]> = images.chunks(8).collect();
    let total: u64 = images.iter().map(|image| image.len).sum();
    let every = usize::try_from(total.div_ceil(bytes_max.max(1)).max(1)).unwrap_or(usize::MAX);
    runs.into_iter().step_by(every).flatten().copied().collect()
}

fn decode(from: &Path, to: &Path) -> anyhow::Result<()> {
    let mut object = dicom_object::open_file(from)?;
    object.transcode(&EXPLICIT_VR_LITTLE_ENDIAN.erased())?;
    object.write_to_file(to)?;
    Ok(())
}

/// All files below a path, sorted.
fn list(path: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if path.is_dir() {
        let mut inside =
            std::fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
        inside.sort();
        return inside.iter().try_for_each(|path| list(path, files));
    }
    files.push(path.to_owned());
    Ok(())
}
