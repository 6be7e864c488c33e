//! `imgxfer pull --frames`: frames of one instance, each into a file of its own.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use imgxfer_core::client::{Client, Frame, FrameRequest, Frames};
use imgxfer_core::dicom::FrameNumbers;
use imgxfer_core::ids::{SopInstanceUid, StandardUid, StudyUid};
use imgxfer_core::priority::Priority;
use imgxfer_core::transport::Dial;
use imgxfer_core::units::{human_bytes, to_u64};
use serde_json::json;

use crate::exit::{Exit, problem};
use crate::output::Output;

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) study: StudyUid,
    pub(crate) instance: SopInstanceUid,
    pub(crate) frames: FrameNumbers,
    pub(crate) priority: Priority,
}

/// What came.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// What is said of the instance, without its frames.
    about: Frames,
    written: Vec<Written>,
}

/// A frame in a file.
#[derive(Debug)]
struct Written {
    number: u32,
    bytes: u64,
    bit_offset: u8,
    path: PathBuf,
}

impl Fetched {
    /// Says what came, and where it is.
    pub(crate) fn conclude(&self, output: &Output) -> anyhow::Result<Exit> {
        let Frames { count, transfer_syntax, sop_class, shape, .. } = &self.about;
        let bytes: u64 = self.written.iter().map(|written| written.bytes).sum();
        let syntax = transfer_syntax.as_ref().map_or("", StandardUid::as_str);
        output.line(&format!("frames        {} of {count}, {}", self.written.len(), human_bytes(bytes)))?;
        output.line(&format!("syntax        {syntax}, {}", kind(syntax, self.about.encapsulated).1))?;
        if let Some(shape) = shape {
            let planar = if shape.planar { ", by planes" } else { "" };
            let signed = if shape.signed { ", signed" } else { "" };
            output.line(&format!(
                "image         {} rows, {} columns, {} samples{planar}, {} of {} bits, high bit {}{signed}, {}",
                shape.rows,
                shape.columns,
                shape.samples,
                shape.bits_stored,
                shape.bits_allocated,
                shape.high_bit,
                shape.photometric
            ))?;
        }
        let folder = self.written.first().and_then(|written| written.path.parent()).unwrap_or_else(|| Path::new(""));
        output.line(&format!("written       {} files to {}", self.written.len(), folder.display()))?;
        output.objects(self.written.iter().map(|written| {
            json!({
                "event": "frame",
                "number": written.number,
                "file": written.path.display().to_string(),
                "bytes": written.bytes,
                "bit_offset": written.bit_offset,
            })
        }))?;
        let mut done = json!({
            "event": "done",
            "study": self.about.study.as_str(),
            "series": self.about.series.as_str(),
            "instance": self.about.sop_instance.as_str(),
            "sop_class": sop_class.as_ref().map(StandardUid::as_str),
            "transfer_syntax": transfer_syntax.as_ref().map(StandardUid::as_str),
            "hash": self.about.hash.to_string(),
            "encapsulated": self.about.encapsulated,
            "frames": self.written.len(),
            "of": count,
            "bytes": bytes,
        });
        if let Some(shape) = shape {
            done["rows"] = json!(shape.rows);
            done["columns"] = json!(shape.columns);
            done["samples"] = json!(shape.samples);
            done["photometric"] = json!(shape.photometric);
            done["planar"] = json!(shape.planar);
            done["bits_allocated"] = json!(shape.bits_allocated);
            done["bits_stored"] = json!(shape.bits_stored);
            done["high_bit"] = json!(shape.high_bit);
            done["signed"] = json!(shape.signed);
        }
        output.object(&done)?;
        Ok(Exit::Done)
    }
}

/// Fetches frames into `OUT/INSTANCE/frame-NNNN.EXT`, as often as it takes to ask, over one session.
pub(crate) async fn fetch(client: &Client, dial: &Dial, wanted: Wanted, out: &Path) -> anyhow::Result<Fetched> {
    let session = client.connect(dial).await?;
    let mut request = FrameRequest::new(wanted.study, wanted.instance, wanted.frames).with_priority(wanted.priority);
    let mut written = Vec::new();
    loop {
        let mut frames = client.frames_over(&session, &request).await?;
        let folder = out.join(frames.sop_instance.as_str());
        std::fs::create_dir_all(&folder).with_context(|| format!("make the folder {}", folder.display()))?;
        let syntax = frames.transfer_syntax.as_ref().map_or("", StandardUid::as_str);
        let (ending, _) = kind(syntax, frames.encapsulated);
        for frame in std::mem::take(&mut frames.frames) {
            let path = folder.join(format!("frame-{:04}.{ending}", frame.number));
            write(&path, &frame.bytes)?;
            let Frame { number, bit_offset, .. } = frame;
            written.push(Written { number, bytes: to_u64(frame.bytes.len()), bit_offset, path });
        }
        let Some(rest) = frames.rest.take() else { return Ok(Fetched { about: frames, written }) };
        // What comes next is of the same content, whatever arrives there meanwhile.
        request = request.with_frames(rest).with_hash(frames.hash);
    }
}

/// Writes a file in whole; one that is there with the same bytes stays, and no other is replaced.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if path.exists() {
        let there = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
        if there == bytes {
            return Ok(());
        }
        let said = format!("{} is there with other bytes: move it away, or name another folder", path.display());
        return Err(problem(Exit::Failed, said));
    }
    let part = path.with_extension("part");
    let written = std::fs::File::create(&part).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&part, path)
    });
    written.with_context(|| format!("write {}", path.display()))
}

/// The ending of a file that holds one frame, and in words what is in it.
fn kind(syntax: &str, encapsulated: bool) -> (&'static str, &'static str) {
    if !encapsulated {
        return ("raw", "pixels as they stand in the file");
    }
    let Some(number) = syntax.strip_prefix("1.2.840.10008.1.2.") else { return ("bin", "one stream a file") };
    match number {
        "1.98" => ("raw", "pixels, encapsulated uncompressed"),
        "5" => ("rle", "RLE of DICOM"),
        "4.50" | "4.51" | "4.57" | "4.70" => ("jpg", "JPEG"),
        "4.80" | "4.81" => ("jls", "JPEG-LS"),
        "4.90" | "4.91" | "4.92" | "4.93" => ("j2k", "JPEG 2000 codestreams"),
        "4.201" | "4.202" | "4.203" => ("j2c", "HTJ2K codestreams"),
        "4.110" | "4.111" | "4.112" => ("jxl", "JPEG XL"),
        _ => ("bin", "one stream a file"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_end_as_what_is_in_them_does() {
        for (syntax, encapsulated, ending) in [
            ("1.2.840.10008.1.2.1", false, "raw"),
            ("1.2.840.10008.1.2.4.50", true, "jpg"),
            ("1.2.840.10008.1.2.4.80", true, "jls"),
            ("1.2.840.10008.1.2.4.90", true, "j2k"),
            ("1.2.840.10008.1.2.5", true, "rle"),
            ("1.2.3", true, "bin"),
            ("", false, "raw"),
        ] {
            assert_eq!(kind(syntax, encapsulated).0, ending, "{syntax}");
        }
    }

    #[test]
    fn a_file_that_is_there_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("frame-0001.raw");
        write(&path, b"one").unwrap();
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap_err();
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
