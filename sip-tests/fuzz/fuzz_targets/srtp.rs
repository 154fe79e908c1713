#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| leasebridge_fuzz::srtp::run(input));
