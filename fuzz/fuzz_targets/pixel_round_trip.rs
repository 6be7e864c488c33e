#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imgxfer_fuzz::pixel_round_trip::check(data));
