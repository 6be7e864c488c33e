//! The scanner on any bytes, as a whole file and behind a DICOM preamble.

use imgxfer_core::dicom::{PixelData, scan};

fn check_one(bytes: &[u8]) {
    let Ok(scan) = scan(&bytes) else { return };
    let len = bytes.len() as u64;
    match scan.pixels {
        Some(PixelData::Native { offset, len: pixels, .. }) => assert!(offset + pixels <= len),
        Some(PixelData::Encapsulated { offset, fragments, frames, fragments_end, end }) => {
            assert!(offset <= fragments_end && fragments_end <= end && end <= len);
            assert!(fragments.is_sorted() && fragments.iter().all(|at| (offset..end).contains(at)));
            assert!(frames.is_sorted() && frames.iter().all(|&i| (i as usize) < fragments.len()));
        }
        _ => {}
    }
}

/// See the module.
pub fn check(data: &[u8]) {
    check_one(data);
    let mut file = vec![0; 128];
    file.extend_from_slice(b"DICM");
    file.extend_from_slice(data);
    check_one(&file);
}
