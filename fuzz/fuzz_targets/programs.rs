//! Fuzz target: any bytes as records of a ring buffer and as tables of the kernel side.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| probes::fuzz::programs(bytes));
