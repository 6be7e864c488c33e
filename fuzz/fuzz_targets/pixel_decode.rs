#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imgxfer_fuzz::pixel_decode::check(data));
