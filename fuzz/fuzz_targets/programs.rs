//! What comes out of ring buffers, and what stands in tables.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| probes::fuzz::programs(bytes));
