//! Whatever decodes as a manifest page encodes to the same bytes.
#![no_main]

use imgxfer_core::manifest::Page;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(page) = Page::decode(data) {
        assert_eq!(page.encode(), data);
    }
});
