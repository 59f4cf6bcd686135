//! Fuzz target: any bytes as a command line.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cli::fuzz_flags(bytes));
