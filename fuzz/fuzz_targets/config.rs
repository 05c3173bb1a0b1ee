//! Any bytes as a configuration: a plan or errors with places, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    if let Err(errors) = ringlane::config::check_text("fuzz", text) {
        assert!(!errors.to_string().is_empty());
    }
});
