#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imgxfer_fuzz::wire_message::check(data));
