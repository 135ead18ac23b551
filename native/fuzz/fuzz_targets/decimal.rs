#![no_main]
//! See `tickd_fuzz::decimals`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tickd_fuzz::decimals(bytes));
