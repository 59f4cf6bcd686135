//! What stands in tables: statistics and histograms.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| probes::fuzz::tables(bytes));
