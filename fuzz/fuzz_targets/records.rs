//! What comes out of ring buffers.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| probes::fuzz::records(bytes));
