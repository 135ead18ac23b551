#![no_main]
//! See `tickd_fuzz::records`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tickd_fuzz::records(bytes));
