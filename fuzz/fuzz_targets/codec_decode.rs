#![no_main]

// The codec for JPEG catches panics of the library that it stands on. The fuzzer would end at them
// even so, but for a hook that does nothing; a panic that nobody catches it finds all the same.
libfuzzer_sys::fuzz_target!(
    init: std::panic::set_hook(Box::new(|_| {})),
    |data: &[u8]| imgxfer_fuzz::codec_decode::check(data)
);
