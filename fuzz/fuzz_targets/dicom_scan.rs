//! The scanner on any bytes, as a whole file and behind a DICOM preamble.
#![no_main]

use imgxfer_core::dicom::{PixelData, scan};
use libfuzzer_sys::fuzz_target;

fn check(bytes: &[u8]) {
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

fuzz_target!(|data: &[u8]| {
    check(data);
    let mut file = vec![0; 128];
    file.extend_from_slice(b"DICM");
    file.extend_from_slice(data);
    check(&file);
});
