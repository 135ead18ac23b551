#![no_main]
//! See `tickd_fuzz::decode`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tickd_fuzz::decode(bytes));
