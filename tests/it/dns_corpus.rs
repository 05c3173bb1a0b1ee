//! The corpus of the fuzz target for name servers' answers, replayed, whole, cut and damaged.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on fails with the reason"
)]

mod invariants;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ringlane::control::discovery::answer::{Fault, Reading};

fn corpus() -> BTreeMap<String, Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/dns_answer");
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("a corpus").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        files.insert(name, fs::read(entry.path()).expect("a file"));
    }
    assert!(files.len() > 50);
    files
}

/// What a message is to the three questions: for IPv4, for IPv6, for a service.
fn kinds(bytes: &[u8]) -> [&'static str; 3] {
    invariants::check(bytes).map(|reading| match reading {
        Reading::Stray => "stray",
        Reading::Truncated => "truncated",
        Reading::PlainWanted => "plain",
        Reading::Answer(Ok(_)) => "answer",
        Reading::Answer(Err(Fault::NoSuchName)) => "no name",
        Reading::Answer(Err(Fault::Nothing)) => "nothing",
        Reading::Answer(Err(Fault::Code(_))) => "code",
        Reading::Answer(Err(Fault::Nonsense(_))) => "nonsense",
    })
}

#[test]
fn every_message_of_the_corpus_is_what_it_is() {
    let v4 = |kind| [kind, "stray", "stray"];
    let v6 = |kind| ["stray", kind, "stray"];
    let service = |kind| ["stray", "stray", kind];
    for (name, bytes) in corpus() {
        let expected = match name.as_str() {
            "v4" | "v4-many" | "other-case" | "alias" | "alias-backwards" | "lie-and-truth"
            | "ttl-negative" | "text" | "unknown-type" => v4("answer"),
            "v6" => v6("answer"),
            "service" | "service-lies" | "service-many" | "service-twice" => service("answer"),
            "alias-nowhere" | "nothing" | "other-name" | "other-class" => v4("nothing"),
            "service-none" => service("nothing"),
            "no-such-name" => v4("no name"),
            "refused" => v4("code"),
            "failure" => ["code"; 3],
            "bad-version" => v4("plain"),
            "not-understood" => ["plain"; 3],
            "cut" | "cut-record" => v4("truncated"),
            "lies-v6" => v6("nonsense"),
            "service-port" | "service-short" => service("nonsense"),
            "empty" | "head" | "head-cut" | "question" | "no-question" | "two-questions"
            | "questions-missing" => ["stray"; 3],
            _ => v4("nonsense"),
        };
        assert_eq!(kinds(&bytes), expected, "{name}");
    }
}

#[test]
fn cut_and_damaged_messages_hold_too() {
    for bytes in corpus().values().filter(|bytes| bytes.len() < 1024) {
        for length in 0..bytes.len() {
            invariants::check(&bytes[..length]);
        }
        for position in 2..bytes.len() {
            for change in [0x01, 0x40, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[position] ^= change;
                invariants::check(&damaged);
            }
        }
    }
}
