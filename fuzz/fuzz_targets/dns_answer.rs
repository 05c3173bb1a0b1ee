//! Any bytes as a name server's answer.
#![no_main]

#[path = "../../tests/it/dns_corpus/invariants.rs"]
mod invariants;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    invariants::check(bytes);
});
