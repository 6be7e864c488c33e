//! Writing instances out as files.

use std::io;
use std::os::unix::fs::symlink;

use imgxfer_core::dicom::ReadAt;
use imgxfer_core::store::{FolderError, FolderOptions, FolderSink};
use imgxfer_core::testing::{Sample, peer};

/// A file in memory.
struct Buffer(Vec<u8>);

impl ReadAt for Buffer {
    fn len(&self) -> u64 {
        ReadAt::len(self.0.as_slice())
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.0.as_slice().read_exact_at(offset, buf)
    }
}

fn sample(content: u8, len: usize) -> Sample {
    let mut sample = Sample::new(peer(1), 1, 2, 3, len);
    if let Some(first) = sample.bytes.first_mut() {
        *first = content;
    }
    sample
}

fn files_below(folder: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut todo = vec![folder.to_owned()];
    while let Some(next) = todo.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                todo.push(entry.path());
            } else {
                found.push(entry.path().strip_prefix(folder).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn instances_are_laid_out_and_never_overwritten() {
    for batch_dir_syncs in [false, true] {
        let out = tempfile::tempdir().unwrap();
        let sink = FolderSink::open(&out.path().join("new/out"), FolderOptions { batch_dir_syncs }).unwrap();
        let (first, second) = (sample(1, 2_500_000), sample(2, 2_500_000));
        assert!(!sink.existing(&first.entry()).unwrap());
        let path = sink.write(&first.entry(), &Buffer(first.bytes.clone())).unwrap();
        assert_eq!(path, out.path().join("new/out/1.2.3.1/1.2.3.1.2/1.2.3.1.2.3.dcm"));
        assert_eq!(std::fs::read(&path).unwrap(), first.bytes);
        assert!(sink.existing(&first.entry()).unwrap());
        assert!(!sink.existing(&second.entry()).unwrap());
        let beside = sink.write(&second.entry(), &Buffer(second.bytes.clone())).unwrap();
        let hash8 = second.entry().hash.to_string()[..8].to_owned();
        assert!(beside.ends_with(format!("1.2.3.1.2.3.{hash8}.dcm")), "{beside:?}");
        assert_eq!(std::fs::read(&path).unwrap(), first.bytes, "untouched");
        assert_eq!(std::fs::read(&beside).unwrap(), second.bytes);
        assert!(sink.existing(&second.entry()).unwrap());
        for (again, place) in [(&first, &path), (&second, &beside)] {
            assert_eq!(sink.write(&again.entry(), &Buffer(again.bytes.clone())).unwrap(), *place, "once is enough");
        }
        sink.finish().unwrap();
        assert_eq!(files_below(out.path()).len(), 2, "and nothing else");
    }
}

#[test]
fn empty_files_and_foreign_names_work() {
    let out = tempfile::tempdir().unwrap();
    let sink = FolderSink::open(out.path(), FolderOptions::default()).unwrap();
    let empty = sample(0, 0);
    sink.write(&empty.entry(), &Buffer(Vec::new())).unwrap();
    for (content, name) in [(1, &b"../../../etc/passwd"[..]), (2, b"report.pdf"), (3, b"report.pdf"), (4, b"1.2.3.1.2")]
    {
        let sample = sample(content, 50);
        let mut entry = sample.entry();
        entry.name = name.to_vec();
        sink.write(&entry, &Buffer(sample.bytes)).unwrap();
        assert!(sink.existing(&entry).unwrap());
    }
    let hash8 = sample(3, 50).entry().hash.to_string()[..8].to_owned();
    let mut expected = vec![
        "1.2.3.1/1.2.3.1.2/1.2.3.1.2.3.dcm".to_owned(),
        "1.2.3.1/_.._.._.._etc_passwd".to_owned(),
        "1.2.3.1/_1.2.3.1.2".to_owned(),
        "1.2.3.1/report.pdf".to_owned(),
        format!("1.2.3.1/report.{hash8}.pdf"),
    ];
    expected.sort();
    assert_eq!(files_below(out.path()), expected);
}

#[test]
fn wrong_content_leaves_nothing() {
    let out = tempfile::tempdir().unwrap();
    let sink = FolderSink::open(out.path(), FolderOptions::default()).unwrap();
    let entry = sample(1, 3000).entry();
    for wrong in [sample(2, 3000), sample(1, 2999), sample(1, 3001)] {
        assert!(matches!(sink.write(&entry, &Buffer(wrong.bytes)), Err(FolderError::Content)));
    }
    assert!(files_below(out.path()).is_empty());
}

#[test]
fn symbolic_links_below_the_folder_are_not_followed() {
    let (out, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    symlink(elsewhere.path(), out.path().join("1.2.3.1")).unwrap();
    let sink = FolderSink::open(out.path(), FolderOptions::default()).unwrap();
    let sample = sample(1, 300);
    assert!(matches!(sink.write(&sample.entry(), &Buffer(sample.bytes.clone())), Err(FolderError::Io { .. })));
    assert!(!sink.existing(&sample.entry()).unwrap());
    assert!(files_below(elsewhere.path()).is_empty());
}

#[test]
fn a_link_or_damaged_file_in_the_way_stays() {
    let (out, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let series = out.path().join("1.2.3.1/1.2.3.1.2");
    std::fs::create_dir_all(&series).unwrap();
    symlink(elsewhere.path().join("target"), series.join("1.2.3.1.2.3.dcm")).unwrap();
    let sink = FolderSink::open(out.path(), FolderOptions::default()).unwrap();
    let sample = sample(1, 300);
    let hash = sample.entry().hash.to_string();
    std::fs::write(series.join(format!("1.2.3.1.2.3.{}.dcm", &hash[..8])), b"half").unwrap();
    let path = sink.write(&sample.entry(), &Buffer(sample.bytes)).unwrap();
    assert!(path.ends_with(format!("1.2.3.1.2.3.{hash}.dcm")));
    assert!(files_below(elsewhere.path()).is_empty());
}

#[test]
fn leftovers_of_killed_processes_go() {
    let out = tempfile::tempdir().unwrap();
    let series = out.path().join("1.2.3.1/1.2.3.1.2");
    std::fs::create_dir_all(&series).unwrap();
    std::fs::write(series.join(".imgxfer-1-0.part"), b"half").unwrap();
    std::fs::write(series.join("notes.part"), b"not ours").unwrap();
    let sink = FolderSink::open(out.path(), FolderOptions::default()).unwrap();
    let sample = sample(1, 300);
    sink.write(&sample.entry(), &Buffer(sample.bytes)).unwrap();
    let names = files_below(out.path());
    assert_eq!(names, ["1.2.3.1/1.2.3.1.2/1.2.3.1.2.3.dcm", "1.2.3.1/1.2.3.1.2/notes.part"]);
}
