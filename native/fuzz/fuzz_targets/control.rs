#![no_main]
//! See `tickd_fuzz::control`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tickd_fuzz::control(bytes));
