//! Any bytes as a PROXY protocol header.
#![no_main]

#[path = "../../tests/it/proxy_corpus/round_trip.rs"]
mod round_trip;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    round_trip::check(bytes);
});
