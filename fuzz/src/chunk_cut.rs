//! Cuts cover any file exactly, by its own scan and by that of a cut-off copy.

use imgxfer_core::chunk::cut;
use imgxfer_core::dicom::{Scan, scan};
use imgxfer_core::limits::CHUNK_BYTES_MAX;

fn check_one(bytes: &[u8], scan: Option<&Scan>) {
    let mut at = 0;
    for cut in cut(&bytes, scan).expect("a small file can always be cut") {
        assert_eq!(cut.offset, at);
        assert!((1..=CHUNK_BYTES_MAX).contains(&cut.len));
        at += u64::from(cut.len);
    }
    assert_eq!(at, bytes.len() as u64);
}

/// See the module.
pub fn check(data: &[u8]) {
    let found = scan(&data).ok();
    check_one(data, found.as_ref());
    check_one(data, None);
    check_one(&data[..data.len() / 2], found.as_ref());
}
