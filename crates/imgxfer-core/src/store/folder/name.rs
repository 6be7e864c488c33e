//! Where an instance goes, from checked parts alone.

use crate::ids::SeriesUid;
use crate::manifest::InstanceEntry;

/// Longest name of a file that is not DICOM, before its hash is added.
const NAME_CHARS_MAX: usize = 100;

/// The folders below OUT, and the names that the file may have in the last of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) folders: Vec<String>,
    stem: String,
    ending: String,
    hash: String,
}

impl Target {
    pub(super) fn of(entry: &InstanceEntry) -> Self {
        let study = entry.study.as_str().to_owned();
        let hash = entry.hash.to_string();
        if entry.name.is_empty() {
            let folders = vec![study, entry.series.as_str().to_owned()];
            return Self { folders, stem: entry.sop_instance.as_str().to_owned(), ending: ".dcm".to_owned(), hash };
        }
        let name = sanitise(&entry.name);
        let (stem, ending) = match name.rfind('.') {
            Some(dot) if dot > 0 => name.split_at(dot),
            _ => (name.as_str(), ""),
        };
        Self { folders: vec![study], stem: stem.to_owned(), ending: ending.to_owned(), hash }
    }

    /// The names to try, in order: the plain one, and two for when it is taken by something else.
    pub(super) fn files(&self) -> [String; 3] {
        let Self { stem, ending, hash, .. } = self;
        [format!("{stem}{ending}"), format!("{stem}.{}{ending}", &hash[..8]), format!("{stem}.{hash}{ending}")]
    }
}

/// The letters, digits, dots, underscores and hyphens of a name that someone else chose; others become
/// underscores. Never hidden, never empty, and never like a UID, since series have folders there.
fn sanitise(name: &[u8]) -> String {
    let harmless = |b: &u8| match b {
        b'.' | b'_' | b'-' => char::from(*b),
        b if b.is_ascii_alphanumeric() => char::from(*b),
        _ => '_',
    };
    // The end of a name says what kind of file it is: keep that.
    let skip = name.len().saturating_sub(NAME_CHARS_MAX);
    let text: String = name[skip..].iter().map(harmless).collect();
    if text.is_empty() || text.starts_with(['.', '-']) || SeriesUid::new(&text).is_ok() {
        format!("_{text}")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_harmless() {
        for (name, expected) in [
            ("report.pdf", "report.pdf"),
            ("../../etc/passwd", "_.._.._etc_passwd"),
            (".hidden", "_.hidden"),
            ("..", "_.."),
            ("-rf", "_-rf"),
            ("a b\0c\n", "a_b_c_"),
            ("1.2.840", "_1.2.840"),
            ("Befund\u{e4}.txt", "Befund__.txt"),
        ] {
            assert_eq!(sanitise(name.as_bytes()), expected, "{name:?}");
        }
        assert_eq!(sanitise(&[b'x'; 255]).len(), NAME_CHARS_MAX);
        assert_eq!(sanitise(b""), "_");
    }
}
