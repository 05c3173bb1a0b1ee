//! What holds of any bytes that are taken for a name server's answer. The fuzz target asserts it
//! too.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr};

use hickory_proto::rr::Name;
use ringlane::bounds::{ADDRESSES_MAX, SERVICE_TARGETS_MAX};
use ringlane::control::discovery::answer::{Answer, Extension, Question, Reading, Wanted};

/// Reads bytes as the answer to three questions, all with the id that the bytes have.
///
/// Panics: if an answer has what it must not have, or is taken for that of another question.
pub(crate) fn check(bytes: &[u8]) -> [Reading; 3] {
    let id = match bytes {
        [high, low, ..] => u16::from_be_bytes([*high, *low]),
        _ => 0,
    };
    [Wanted::V4, Wanted::V6, Wanted::Service].map(|wanted| {
        let mut question = Question {
            id,
            name: name(),
            wanted,
            edns: Extension::Absent,
        };
        let reading = question.read(bytes);
        assert_ne!(reading, Reading::PlainWanted, "the question was plain");
        if let Reading::Answer(Ok(answer)) = &reading {
            check_answer(answer, wanted);
        }
        question.id = !id;
        assert_eq!(question.read(bytes), Reading::Stray, "another id");
        question.id = id;
        question.edns = Extension::Offered;
        let offered = question.read(bytes);
        assert!(offered == reading || offered == Reading::PlainWanted);
        offered
    })
}

fn name() -> Name {
    let labels: [&[u8]; 2] = [b"web", b"example"];
    Name::from_labels(labels).unwrap_or_default()
}

fn check_answer(answer: &Answer, wanted: Wanted) {
    assert!(answer.ttl <= i32::MAX.unsigned_abs());
    check_addrs(&answer.addrs);
    if wanted == Wanted::Service {
        assert!(answer.addrs.is_empty() && !answer.targets.is_empty());
    } else {
        assert!(!answer.addrs.is_empty() && answer.targets.is_empty());
    }
    if wanted == Wanted::V4 {
        assert!(answer.addrs.iter().all(IpAddr::is_ipv4));
    }
    assert!(answer.targets.len() <= SERVICE_TARGETS_MAX);
    assert!(answer.targets.is_sorted());
    for target in &answer.targets {
        assert!(target.port != 0 && !target.name.is_root());
        check_addrs(&target.addrs);
    }
}

fn check_addrs(addrs: &[IpAddr]) {
    assert!(addrs.len() <= ADDRESSES_MAX);
    assert!(addrs.windows(2).all(|pair| pair[0] < pair[1]));
    for addr in addrs {
        assert_eq!(addr.to_canonical(), *addr);
        assert!(!addr.is_unspecified() && !addr.is_multicast());
        assert_ne!(*addr, IpAddr::V4(Ipv4Addr::BROADCAST));
    }
}
