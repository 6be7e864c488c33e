//! Checking a folder by itself.

use std::path::Path;

use imgxfer_core::send::printable;
use imgxfer_core::units::human_bytes;
use serde_json::json;

use super::nothing_in;
use super::tree::{Content, Seen, What, walk};
use crate::exit::Exit;
use crate::output::Output;

/// What was found, counted.
#[derive(Debug, Default)]
struct Count {
    files: u64,
    bytes: u64,
    instances: u64,
    other: u64,
    leftovers: u64,
    damaged: u64,
}

/// Reads every file and says what is wrong with it.
pub(crate) fn run(dir: &Path, output: &Output) -> anyhow::Result<Exit> {
    let mut count = Count::default();
    for seen in walk(dir)? {
        one(&seen, &mut count, output)?;
    }
    if count.files + count.leftovers + count.damaged == 0 {
        return Err(nothing_in(dir, false));
    }
    conclude(&count, output)
}

fn one(seen: &Seen, count: &mut Count, output: &Output) -> anyhow::Result<()> {
    let file = printable(&seen.path);
    let finding = |kind: &str, reason: &str| {
        output.line(&format!("{kind}: {file}: {reason}"))?;
        output.object(&json!({ "event": "finding", "kind": kind, "file": file, "reason": reason }))
    };
    let content = match &seen.what {
        What::File(content) => content,
        What::Leftover => {
            count.leftovers += 1;
            return finding("unfinished", "left by a pull that was interrupted: the same pull goes on from it");
        }
        What::Unreadable(reason) => {
            count.damaged += 1;
            return finding("unreadable", reason);
        }
    };
    count.files += 1;
    count.bytes += content.bytes;
    let mut ok = true;
    match &content.dicom {
        Err(reason) => {
            count.other += 1;
            finding("not DICOM", reason)?;
        }
        Ok(dicom) => {
            count.instances += 1;
            if dicom.truncated {
                ok = false;
                finding("damaged", "it ends before its elements do")?;
            }
            if let Some(reason) = misnamed(&seen.path, content) {
                ok = false;
                finding("misnamed", &reason)?;
            }
        }
    }
    count.damaged += u64::from(!ok);
    let sop = content.dicom.as_ref().ok().and_then(|dicom| dicom.identity.as_ref());
    output.object(&json!({
        "event": "file",
        "file": file,
        "bytes": content.bytes,
        "blake3": content.hash.to_string(),
        "sop_instance": sop.map(|identity| identity.sop_instance.as_str()),
        "ok": ok,
    }))
}

/// In a folder that a pull has written, a file's name is its SOP Instance UID, and part of its hash
/// where two share one.
fn misnamed(path: &Path, content: &Content) -> Option<String> {
    let identity = content.dicom.as_ref().ok()?.identity.as_ref()?;
    let series = path.parent()?;
    let named = |folder: &Path, uid: &str| folder.file_name().is_some_and(|name| name == uid);
    let laid_out = named(series, identity.series.as_str())
        && series.parent().is_some_and(|study| named(study, identity.study.as_str()));
    let stem = path.file_stem().and_then(|stem| stem.to_str())?;
    let uid = identity.sop_instance.as_str();
    if !laid_out || stem == uid {
        return None;
    }
    let hash = content.hash.to_hex();
    let mark = stem.strip_prefix(uid).and_then(|rest| rest.strip_prefix('.'));
    match mark {
        Some(mark) if mark.len() >= 8 && hash.starts_with(mark) => None,
        Some(_) => Some("its name carries the hash of other contents".to_owned()),
        None => Some("its name is the SOP Instance UID of another".to_owned()),
    }
}

fn conclude(count: &Count, output: &Output) -> anyhow::Result<Exit> {
    output.line(&format!(
        "{} files read to the end, {}: {} DICOM instances, {} other files, {} damaged, {} unfinished",
        count.files,
        human_bytes(count.bytes),
        count.instances,
        count.other,
        count.damaged,
        count.leftovers
    ))?;
    output.object(&json!({
        "event": "done",
        "files": count.files,
        "bytes": count.bytes,
        "instances": count.instances,
        "other": count.other,
        "damaged": count.damaged,
        "unfinished": count.leftovers,
    }))?;
    Ok(match (count.damaged, count.leftovers) {
        (0, 0) => Exit::Done,
        (0, _) => Exit::Partial,
        _ => Exit::Integrity,
    })
}
