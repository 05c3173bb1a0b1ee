//! The corpus of the fuzz target for PROXY protocol headers, replayed.
#![forbid(unsafe_code)]

mod round_trip;

use std::fs;
use std::path::Path;

use ringlane::session::proxy_protocol::{Parse, parse};

#[test]
fn the_corpus_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/proxy_protocol");
    let mut complete = 0;
    let mut other = 0;
    for entry in fs::read_dir(folder).expect("a corpus").flatten() {
        let bytes = fs::read(entry.path()).expect("a file");
        round_trip::check(&bytes);
        match parse(&bytes) {
            Parse::Complete { .. } => complete += 1,
            Parse::Incomplete | Parse::Invalid(_) => other += 1,
        }
    }
    assert!(complete >= 10 && other >= 10, "{complete} and {other}");
}
