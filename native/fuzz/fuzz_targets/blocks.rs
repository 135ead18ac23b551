#![no_main]
//! See `tickd_fuzz::blocks`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tickd_fuzz::blocks(bytes));
