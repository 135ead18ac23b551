#![no_main]
//! See `tickd_fuzz::checkpoint`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tickd_fuzz::checkpoint(bytes));
