//! Whatever decodes as a manifest page encodes to the same bytes.

use imgxfer_core::manifest::Page;

/// See the module.
pub fn check(data: &[u8]) {
    if let Ok(page) = Page::decode(data) {
        assert_eq!(page.encode(), data);
    }
}
