//! What a person types.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cli::fuzz_flags(bytes));
