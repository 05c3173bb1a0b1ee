//! What a name server's bytes mean: a question becomes bytes, bytes become an answer to it, or
//! something else. Pure, and never a panic, whatever the bytes are.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr};

use hickory_proto::op::{Edns, Header, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

use crate::bounds::{ADDRESSES_MAX, ALIASES_MAX, DNS_PAYLOAD_BYTES, SERVICE_TARGETS_MAX};

/// A question as it was sent.
#[derive(Clone, Debug)]
pub struct Question {
    /// What the answer has to have too.
    pub id: u16,
    /// The name, with all its labels.
    pub name: Name,
    /// What of it is wanted.
    pub wanted: Wanted,
    /// Whether the question says that it understands EDNS.
    pub edns: Extension,
}

/// What is wanted of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// IPv4 addresses.
    V4,
    /// IPv6 addresses.
    V6,
    /// The places of a service.
    Service,
}

/// Whether a question has EDNS's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// It has.
    Offered,
    /// It has not, for servers that do not understand it.
    Absent,
}

/// What bytes are in the light of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Not the answer to this question; that may still come.
    Stray,
    /// The answer did not fit; a stream may bring it.
    Truncated,
    /// The server does not understand EDNS; without it it may answer.
    PlainWanted,
    /// The answer.
    Answer(Result<Answer, Fault>),
}

/// What was wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Addresses that an endpoint can have: sorted, each once, at most [`ADDRESSES_MAX`].
    pub addrs: Vec<IpAddr>,
    /// The places of a service: sorted, at most [`SERVICE_TARGETS_MAX`].
    pub targets: Vec<Target>,
    /// How many addresses or targets there were beyond that.
    pub left_out: usize,
    /// Units: seconds, the smallest of all records that were used.
    pub ttl: u32,
}

/// One place of a service.
///
/// Source: RFC 2782.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Those with the lowest come first.
    pub priority: u16,
    /// The host.
    pub name: Name,
    /// Its port, not 0.
    pub port: u16,
    /// Its share among those of its priority.
    pub weight: u16,
    /// The host's addresses as far as the same message says them; else it is to be looked up.
    pub addrs: Vec<IpAddr>,
}

/// Why there is no answer in a message that is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is no such name.
    NoSuchName,
    /// The name has none of what was wanted.
    Nothing,
    /// The server does not want to or cannot: its code's name.
    Code(&'static str),
    /// What it says cannot be.
    Nonsense(&'static str),
}

impl Question {
    /// Makes a question with a random id.
    pub fn new(name: Name, wanted: Wanted) -> Self {
        Self {
            id: fastrand::u16(..),
            name,
            wanted,
            edns: Extension::Offered,
        }
    }

    /// The question as bytes.
    ///
    /// Errors: what cannot be encoded, which is nothing that a name can be.
    pub fn encode(&self) -> Result<Vec<u8>, String> {
        let mut message = Message::new(self.id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(self.name.clone(), self.wanted.record_type()));
        if self.edns == Extension::Offered {
            let mut edns = Edns::new();
            edns.set_max_payload(DNS_PAYLOAD_BYTES);
            message.set_edns(edns);
        }
        message.to_vec().map_err(|error| error.to_string())
    }

    /// Reads bytes that came from the server that was asked.
    ///
    /// Cost: of the order of the bytes, for each alias.
    pub fn read(&self, bytes: &[u8]) -> Reading {
        let mut decoder = BinDecoder::new(bytes);
        let Ok(header) = Header::read(&mut decoder) else {
            return Reading::Stray;
        };
        let is_response = header.metadata.message_type == MessageType::Response
            && header.metadata.op_code == OpCode::Query;
        if header.metadata.id != self.id || !is_response {
            return Reading::Stray;
        }
        let code = header.metadata.response_code;
        match header.counts.queries {
            1 if Query::read(&mut decoder).is_ok_and(|query| self.is(&query)) => {}
            // A server that did not understand the question, or did not look at it, need not
            // repeat it.
            0 if is_refusal(code) => {}
            _ => return Reading::Stray,
        }
        let is_misunderstood = [ResponseCode::FormErr, ResponseCode::NotImp].contains(&code);
        if is_misunderstood && self.edns == Extension::Offered {
            return Reading::PlainWanted;
        }
        if is_refusal(code) {
            return Reading::Answer(Err(Fault::Code(code.to_str())));
        }
        if header.metadata.truncation {
            return Reading::Truncated;
        }
        let Ok(message) = Message::from_vec(bytes) else {
            return Reading::Answer(Err(Fault::Nonsense("it cannot be decoded")));
        };
        // With EDNS the code has more bits.
        match message.metadata.response_code {
            ResponseCode::NoError => Reading::Answer(self.gather(&message)),
            ResponseCode::NXDomain => Reading::Answer(Err(Fault::NoSuchName)),
            ResponseCode::BADVERS | ResponseCode::BADSIG if self.edns == Extension::Offered => {
                Reading::PlainWanted
            }
            code => Reading::Answer(Err(Fault::Code(code.to_str()))),
        }
    }

    fn is(&self, query: &Query) -> bool {
        query.query_class() == DNSClass::IN
            && query.query_type() == self.wanted.record_type()
            && *query.name() == self.name
    }

    fn gather(&self, message: &Message) -> Result<Answer, Fault> {
        match self.wanted {
            Wanted::V4 => addresses(follow(message, &self.name, |rdata| match rdata {
                RData::A(addr) => Some(IpAddr::V4(addr.0)),
                _ => None,
            })?),
            Wanted::V6 => addresses(follow(message, &self.name, |rdata| match rdata {
                RData::AAAA(addr) => Some(IpAddr::V6(addr.0)),
                _ => None,
            })?),
            Wanted::Service => {
                let found = follow(message, &self.name, |rdata| match rdata {
                    RData::SRV(target) => Some(Target {
                        priority: target.priority,
                        name: target.target.clone(),
                        port: target.port,
                        weight: target.weight,
                        addrs: Vec::new(),
                    }),
                    _ => None,
                })?;
                targets(found, &message.additionals)
            }
        }
    }
}

impl Wanted {
    fn record_type(self) -> RecordType {
        match self {
            Self::V4 => RecordType::A,
            Self::V6 => RecordType::AAAA,
            Self::Service => RecordType::SRV,
        }
    }
}

/// Whether the code alone says that there will be no answer.
fn is_refusal(code: ResponseCode) -> bool {
    !matches!(code, ResponseCode::NoError | ResponseCode::NXDomain)
}

/// What was found, and the smallest time to live on the way to it.
struct Found<T> {
    values: Vec<T>,
    ttl: u32,
}

/// Goes from a name over its aliases to the records that are picked. Records of other names do not
/// count, wherever they come from.
fn follow<T>(
    message: &Message,
    name: &Name,
    pick: impl Fn(&RData) -> Option<T>,
) -> Result<Found<T>, Fault> {
    let mut name = name;
    let mut ttl = u32::MAX;
    for _ in 0..=ALIASES_MAX {
        let mut values = Vec::new();
        let mut alias = None;
        let own = |record: &&Record| record.dns_class == DNSClass::IN && record.name == *name;
        for record in message.answers.iter().filter(own) {
            if let Some(value) = pick(&record.data) {
                values.push(value);
                ttl = ttl.min(seconds(record));
            } else if let RData::CNAME(target) = &record.data {
                alias = Some((&target.0, seconds(record)));
            }
        }
        if !values.is_empty() {
            return Ok(Found { values, ttl });
        }
        let Some((target, seconds)) = alias else {
            return Err(Fault::Nothing);
        };
        name = target;
        ttl = ttl.min(seconds);
    }
    Err(Fault::Nonsense(
        "its aliases go in a circle, or are too many",
    ))
}

fn addresses(found: Found<IpAddr>) -> Result<Answer, Fault> {
    let (addrs, left_out) = usable(found.values);
    if addrs.is_empty() {
        return Err(Fault::Nonsense(
            "it has only addresses that no endpoint can have",
        ));
    }
    Ok(Answer {
        addrs,
        left_out,
        ttl: found.ttl,
        ..Answer::default()
    })
}

fn targets(found: Found<Target>, additionals: &[Record]) -> Result<Answer, Fault> {
    let mut targets = found.values;
    // A root for a host says that there is no such service here.
    targets.retain(|target| !target.name.is_root());
    if targets.is_empty() {
        return Err(Fault::Nothing);
    }
    targets.retain(|target| target.port != 0);
    if targets.is_empty() {
        return Err(Fault::Nonsense("it has only port 0"));
    }
    targets.sort_unstable();
    targets.dedup();
    let left_out = targets.len().saturating_sub(SERVICE_TARGETS_MAX);
    targets.truncate(SERVICE_TARGETS_MAX);
    let mut ttl = found.ttl;
    for target in &mut targets {
        let mut addrs = Vec::new();
        for record in additionals {
            if record.dns_class != DNSClass::IN || record.name != target.name {
                continue;
            }
            match &record.data {
                RData::A(addr) => addrs.push(IpAddr::V4(addr.0)),
                RData::AAAA(addr) => addrs.push(IpAddr::V6(addr.0)),
                _ => continue,
            }
            ttl = ttl.min(seconds(record));
        }
        target.addrs = usable(addrs).0;
    }
    Ok(Answer {
        targets,
        left_out,
        ttl,
        ..Answer::default()
    })
}

/// Those addresses that an endpoint can have, sorted, each once, and how many there were beyond the
/// bound. An IPv4 address in an IPv6 one's clothes is the IPv4 address.
pub(super) fn usable(addrs: impl IntoIterator<Item = IpAddr>) -> (Vec<IpAddr>, usize) {
    let mut addrs: Vec<IpAddr> = addrs
        .into_iter()
        .map(|addr| addr.to_canonical())
        .filter(|addr| {
            let is_broadcast = *addr == IpAddr::V4(Ipv4Addr::BROADCAST);
            !addr.is_unspecified() && !addr.is_multicast() && !is_broadcast
        })
        .collect();
    addrs.sort_unstable();
    addrs.dedup();
    let left_out = addrs.len().saturating_sub(ADDRESSES_MAX);
    addrs.truncate(ADDRESSES_MAX);
    (addrs, left_out)
}

/// A record's time to live. One with the highest bit is none.
///
/// Source: RFC 2181, section 8.
fn seconds(record: &Record) -> u32 {
    if record.ttl > i32::MAX.unsigned_abs() {
        0
    } else {
        record.ttl
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(edns: Extension) -> Question {
        let name = Name::from_ascii("Web.example.").expect("a name");
        Question {
            id: 0x1234,
            edns,
            ..Question::new(name, Wanted::V6)
        }
    }

    #[test]
    fn a_question_is_these_bytes() {
        let check = |edns, expected: &[u8]| {
            assert_eq!(question(edns).encode().as_deref(), Ok(expected));
        };
        check(
            Extension::Absent,
            b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0\x03Web\x07example\0\0\x1c\0\x01",
        );
        check(
            Extension::Offered,
            b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\x01\x03Web\x07example\0\0\x1c\0\x01\
              \0\0\x29\x04\xd0\0\0\0\0\0\0",
        );
    }

    #[test]
    fn a_question_is_no_answer_to_itself() {
        let question = question(Extension::Offered);
        let bytes = question.encode().expect("bytes");
        assert_eq!(question.read(&bytes), Reading::Stray);
    }

    #[test]
    fn ids_differ() {
        let name = Name::from_ascii("web.example.").expect("a name");
        let ids = [(); 8].map(|()| Question::new(name.clone(), Wanted::V4).id);
        assert!(ids.iter().any(|id| *id != ids[0]));
    }
}
