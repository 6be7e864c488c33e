//! What a DICOMDIR refers to (PS3.3 annex F), found on the medium as people's systems write and copy it.
//!
//! Media get their names changed on the way: other letters' case, `.dcm` behind them, `/` between them, a drive in front.
//! References are followed through all of that, and never out of the folder that the DICOMDIR stands in. One that leads
//! nowhere is told by name.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use super::files::printable;
use crate::dicom::{self, ReadAt};
use crate::limits::DICOMDIR_BYTES_MAX;
use crate::store::FileBytes;
use crate::units::to_usize;

/// A file that a DICOMDIR refers to, or what it says and why that is no file here.
pub(super) type Reference = Result<PathBuf, (String, &'static str)>;

/// Files that a DICOMDIR refers to, or `None` when `path` is no DICOMDIR; an error is the reason why one cannot be
/// followed. Images beside them that it does not refer to are told of as well.
pub(super) fn references(path: &Path) -> Option<Result<Vec<Reference>, &'static str>> {
    let file = FileBytes::open(path).ok()?;
    if !dicom::scan(&file).ok()?.is_dicomdir() {
        return None;
    }
    let texts = vetted_bytes(&file).and_then(|bytes| file_ids(&bytes));
    Some(texts.and_then(|texts| {
        let medium = Medium::of(path).map_err(|_| "the folder of the DICOMDIR cannot be read")?;
        Ok(medium.resolve_all(path, &texts))
    }))
}

/// The bytes of a DICOMDIR, for a parser that believes what they say of lengths. They are scanned as they were read:
/// the file may be another one by now.
fn vetted_bytes(file: &FileBytes) -> Result<Vec<u8>, &'static str> {
    if file.len() > DICOMDIR_BYTES_MAX {
        return Err("the DICOMDIR is too long: name the folder instead");
    }
    let mut bytes = vec![0; to_usize(file.len())];
    file.read_exact_at(0, &mut bytes).map_err(|_| "the DICOMDIR cannot be read")?;
    match dicom::scan(&bytes) {
        Ok(scan) if scan.is_dicomdir() && scan.vetted => Ok(bytes),
        _ => Err("the DICOMDIR is damaged: name the folder instead"),
    }
}

/// Referenced File IDs (0004,1500) of the records that are in use.
fn file_ids(bytes: &[u8]) -> Result<Vec<String>, &'static str> {
    let damaged = "the DICOMDIR has no directory that can be read: name the folder instead";
    let object = dicom_object::from_reader(bytes).map_err(|_| damaged)?;
    let records = object.element_by_name("DirectoryRecordSequence").map_err(|_| damaged)?;
    let mut texts = Vec::new();
    for record in records.items().unwrap_or_default() {
        let Ok(id) = record.element_by_name("ReferencedFileID") else { continue };
        let in_use = record.element_by_name("RecordInUseFlag").ok().and_then(|flag| flag.to_int::<u16>().ok());
        if in_use == Some(0) {
            continue;
        }
        texts.push(id.to_multi_str().map_or_else(|_| String::new(), |parts| parts.join("\\")));
    }
    Ok(texts)
}

/// The parts of a reference, in order: without drive, leading separators and what stands for the folder itself. `None`
/// where it is empty or leads upwards.
fn parts(text: &str) -> Option<Vec<&str>> {
    let text = text.trim_matches([' ', '\0']);
    let without_drive = match text.as_bytes() {
        [letter, b':', ..] if letter.is_ascii_alphabetic() => &text[2..],
        _ => text,
    };
    let parts = without_drive.split(['/', '\\']).map(|part| part.trim_matches([' ', '\0']));
    let parts: Vec<&str> = parts.filter(|part| !part.is_empty() && *part != ".").collect();
    let leads_out = parts.iter().any(|part| *part == ".." || part.contains('\0'));
    (!leads_out && !parts.is_empty()).then_some(parts)
}

/// A name as it is compared: without regard to case, to a version, and to spaces and dots at its end.
fn folded(name: &str) -> String {
    let name = name.trim_end_matches([' ', '\0']);
    let name = name.strip_suffix(";1").unwrap_or(name).trim_end_matches([' ', '.']);
    name.to_lowercase()
}

/// The same without the ending that many systems put behind it.
fn stem(folded: &str) -> &str {
    folded.strip_suffix(".dcm").unwrap_or(folded).trim_end_matches('.')
}

/// What a folder holds: each name, and whether it is a folder.
type Listing = Vec<(OsString, bool)>;

/// The folder that a DICOMDIR stands in, and what was read of it.
struct Medium {
    folder: PathBuf,
    root: PathBuf,
    listings: BTreeMap<PathBuf, Listing>,
}

impl Medium {
    fn of(dicomdir: &Path) -> io::Result<Self> {
        let folder =
            dicomdir.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        Ok(Self { folder: folder.to_owned(), root: folder.canonicalize()?, listings: BTreeMap::new() })
    }

    fn resolve_all(mut self, dicomdir: &Path, texts: &[String]) -> Vec<Reference> {
        let label = |text: &str| format!("{}: {}", printable(dicomdir), printable(Path::new(text)));
        let resolve = |text: &String| self.resolve(text).map_err(|reason| (label(text), reason));
        let mut all: Vec<Reference> = texts.iter().map(resolve).collect();
        let named: BTreeSet<PathBuf> = all.iter().flatten().cloned().collect();
        let beside = named.iter().filter_map(|file| file.parent()).collect::<BTreeSet<_>>();
        for folder in beside {
            let files = self.listings.get(folder).into_iter().flatten().filter(|(_, is_folder)| !is_folder);
            let others =
                files.map(|(name, _)| folder.join(name)).filter(|file| !named.contains(file) && is_image(file));
            let reason = "an image beside others that the DICOMDIR does not refer to: name the folder to send it";
            all.extend(others.map(|file| Err((printable(&file), reason))));
        }
        all
    }

    fn resolve(&mut self, text: &str) -> Result<PathBuf, &'static str> {
        let parts = parts(text).ok_or("the reference names no file on the medium")?;
        let mut path = self.folder.clone();
        for (at, part) in parts.iter().enumerate() {
            let is_folder = at + 1 < parts.len();
            let name = find(self.list(&path), part, is_folder)?.to_owned();
            path.push(name);
        }
        // Links within the medium are fine.
        let real = path.canonicalize().map_err(|_| "there is no such file")?;
        if real.starts_with(&self.root) { Ok(path) } else { Err("the reference leads out of the medium") }
    }

    fn list(&mut self, folder: &Path) -> &Listing {
        self.listings.entry(folder.to_owned()).or_insert_with(|| {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            let of = |entry: std::fs::DirEntry| (entry.file_name(), entry.path().is_dir());
            let mut listing: Listing = entries.map(of).collect();
            listing.sort();
            listing
        })
    }
}

/// The one name that a part of a reference means: the same, or else one that differs in case and its end alone, or else
/// a file with an ending more or less.
fn find<'a>(listing: &'a Listing, part: &str, is_folder: bool) -> Result<&'a OsStr, &'static str> {
    let alike = || listing.iter().filter(|(_, folder)| *folder == is_folder).map(|(name, _)| name.as_os_str());
    if let Some(name) = alike().find(|name| *name == part) {
        return Ok(name);
    }
    let wanted = folded(part);
    let by_fold = |name: &&OsStr| folded(&name.to_string_lossy()) == wanted;
    let by_stem = |name: &&OsStr| !is_folder && stem(&folded(&name.to_string_lossy())) == stem(&wanted);
    let candidates: Vec<&OsStr> = alike().filter(by_fold).collect();
    let candidates = if candidates.is_empty() { alike().filter(by_stem).collect() } else { candidates };
    match candidates.as_slice() {
        [one] => Ok(one),
        [] => Err("there is no such file"),
        _ => Err("several files could be meant: name the folder instead"),
    }
}

/// Whether a file has the marker of DICOM, and is no DICOMDIR.
fn is_image(file: &Path) -> bool {
    let Ok(bytes) = FileBytes::open(file) else { return false };
    let mut head = [0; 132];
    let has_marker = bytes.read_exact_at(0, &mut head).is_ok() && head.ends_with(b"DICM");
    has_marker && dicom::scan(&bytes).is_ok_and(|scan| !scan.is_dicomdir())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn medium(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        folder
    }

    fn check(files: &[&str], reference: &str, expected: Result<&str, &str>) {
        let folder = medium(files);
        let mut medium = Medium::of(&folder.path().join("DICOMDIR")).unwrap();
        let found = medium.resolve(reference);
        let found = found.as_ref().map(|path| path.strip_prefix(folder.path()).unwrap().to_str().unwrap());
        match expected {
            Ok(file) => assert_eq!(found, Ok(file), "{reference}"),
            Err(words) => assert!(found.is_err_and(|reason| reason.contains(words)), "{reference}: {found:?}"),
        }
    }

    #[test]
    fn references_are_followed_however_they_and_the_files_are_written() {
        for (file, reference) in [
            ("IMAGES/IM1", "IMAGES\\IM1"),
            ("images/im1", "IMAGES\\IM1"),
            ("IMAGES/IM1.dcm", "IMAGES\\IM1"),
            ("images/im1.DCM", "IMAGES\\IM1"),
            ("IMAGES/IM1", "IMAGES/IM1"),
            ("IMAGES/IM1", "D:\\IMAGES\\IM1"),
            ("IMAGES/IM1", "\\IMAGES\\IM1 "),
            ("IMAGES/IM1", ".\\IMAGES\\.\\IM1;1"),
            ("IMAGES/IM1.", "IMAGES\\IM1"),
            ("IMAGES/im1.;1", "IMAGES\\IM1"),
            ("IMAGES/IM1", "IMAGES\\IM1.DCM"),
            ("IMAGES/IM1", "IMAGES\\IM1."),
        ] {
            check(&[file, "IMAGES2/IM2"], reference, Ok(file));
        }
    }

    #[test]
    fn the_exact_name_wins_and_two_others_are_one_too_many() {
        check(&["A/IM1", "A/im1", "A/IM1.dcm"], "A\\IM1", Ok("A/IM1"));
        check(&["A/im1", "A/Im1"], "A\\IM1", Err("several"));
        check(&["A/im1", "A/IM1.dcm"], "A\\IM1", Ok("A/im1"));
        check(&["A/IM1.dcm", "A/IM1.DCM"], "A\\IM1", Err("several"));
    }

    #[test]
    fn nothing_leads_out_of_the_medium() {
        for reference in ["..\\IM1", "A\\..\\..\\IM1", "A/../IM1", "", "\\", ".", "A\\B\\..\0"] {
            check(&["A/IM1", "IM1"], reference, Err("names no file"));
        }
        check(&["A/IM1"], "etc\\passwd", Err("no such file"));
        check(&["A/IM1"], "A", Err("no such file"));
        let outside = medium(&["IM1"]);
        let folder = medium(&["A/IM1"]);
        std::os::unix::fs::symlink(outside.path(), folder.path().join("B")).unwrap();
        std::os::unix::fs::symlink("A", folder.path().join("C")).unwrap();
        let mut medium = Medium::of(&folder.path().join("DICOMDIR")).unwrap();
        assert_eq!(medium.resolve("B\\IM1"), Err("the reference leads out of the medium"));
        assert_eq!(medium.resolve("C\\IM1"), Ok(folder.path().join("C/IM1")));
    }
}
