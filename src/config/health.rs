//! `health`: of clusters how endpoints are probed, of endpoints where.
#![forbid(unsafe_code)]

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::bounds::{PROBE_STATUSES_MAX, REPEAT_MIN, THRESHOLD_MAX};
use crate::config::errors::Found;
use crate::config::fields::Fields;
use crate::config::tree::{Node, Value};
use crate::config::values::{
    choice, duration, hexadecimal, number, one_or_list, percent, string, text, wrong,
};
use crate::plan::health::{Check, HealthPlan, HttpCheck, ProbePlace, SendExpect};

/// Reads how a cluster's endpoints are probed: a type alone, or an object.
pub(super) fn health(node: &Node, found: &mut Found) -> Option<HealthPlan> {
    match node.value {
        Value::Text(_) => short(node, found),
        Value::Object(_) => long(node, found),
        _ => {
            wrong(node, "\"tcp\", \"http\" or an object, `{ ... }`", found);
            None
        }
    }
}

/// Reads where an endpoint is probed.
pub(super) fn probe_place(node: &Node, found: &mut Found) -> Option<ProbePlace> {
    let mut fields = Fields::of(node, "clusters[].endpoints[].health", found)?;
    let address = fields.read("address", found, |node, found| {
        let expected = "an address without a port, such as \"10.0.0.1\"";
        let address = text(node, expected, found)?.parse().ok();
        if address.is_none() {
            wrong(node, expected, found);
        }
        address
    });
    let port = fields.read("port", found, port);
    fields.finish(found);
    Some(ProbePlace { address, port })
}

fn short(node: &Node, found: &mut Found) -> Option<HealthPlan> {
    match choice(node, &TYPES, found)? {
        Type::Tcp => Some(HealthPlan::of(Check::Tcp)),
        Type::Http => Some(HealthPlan::of(Check::Http(HttpCheck::default()))),
        Type::SendExpect => {
            let message =
                "say what is expected: { \"type\": \"send_expect\", \"expect\": \"...\" }";
            found.add(node.mark, message);
            None
        }
    }
}

fn long(node: &Node, found: &mut Found) -> Option<HealthPlan> {
    let mut fields = Fields::of(node, PATH, found)?;
    let given = fields.require("type", found, |node, found| choice(node, &TYPES, found));
    let interval = fields.read("interval", found, duration);
    let timeout = fields.read("timeout", found, duration);
    let fast_interval = fields.read("fast_interval", found, duration);
    let rise = fields.read("rise", found, threshold);
    let fall = fields.read("fall", found, threshold);
    let jitter_percent = fields.read("jitter", found, percent);
    let port = fields.read("port", found, port);
    let check = check(given, node, &mut fields, found);
    fields.finish(found);
    let default = with_interval(HealthPlan::of(check?), interval);
    Some(HealthPlan {
        fast_interval: fast_interval.unwrap_or(default.fast_interval),
        timeout: timeout.unwrap_or(default.timeout),
        rise: rise.unwrap_or(default.rise),
        fall: fall.unwrap_or(default.fall),
        jitter_percent: jitter_percent.unwrap_or(default.jitter_percent),
        port,
        ..default
    })
}

/// What is not given fits an interval that is, unless that is impossible itself.
fn with_interval(default: HealthPlan, interval: Option<Duration>) -> HealthPlan {
    match interval {
        Some(interval) if interval >= REPEAT_MIN => HealthPlan {
            interval,
            fast_interval: (interval / 2).max(REPEAT_MIN),
            timeout: default.timeout.min(interval),
            ..default
        },
        Some(interval) => HealthPlan {
            interval,
            ..default
        },
        None => default,
    }
}

/// Reads the keys of the type that is given; those of another type are errors.
fn check(
    given: Option<Type>,
    node: &Node,
    fields: &mut Fields<'_>,
    found: &mut Found,
) -> Option<Check> {
    let mut refuse = |keys: &[&'static str], of: &str, fields: &mut Fields<'_>| {
        for key in keys {
            let is_there = fields.take(key, found).is_some();
            let entry = node.entry(key).filter(|_| is_there);
            if let (Some(entry), Some(given)) = (entry, given) {
                let given = given.name();
                let message =
                    format!("`{key}` belongs to the type \"{of}\", and this is \"{given}\"");
                found.add(entry.mark, message);
            }
        }
    };
    let http = Type::Http.name();
    let send_expect = Type::SendExpect.name();
    match given {
        Some(Type::Http) => {
            refuse(&SEND_EXPECT_KEYS, send_expect, fields);
            Some(Check::Http(http_check(fields, found)))
        }
        Some(Type::SendExpect) => {
            refuse(&HTTP_KEYS, http, fields);
            bytes_check(fields, found).map(Check::SendExpect)
        }
        Some(Type::Tcp) | None => {
            refuse(&HTTP_KEYS, http, fields);
            refuse(&SEND_EXPECT_KEYS, send_expect, fields);
            given.map(|_| Check::Tcp)
        }
    }
}

fn http_check(fields: &mut Fields<'_>, found: &mut Found) -> HttpCheck {
    let mut check = HttpCheck::default();
    fields.set("method", &mut check.method, found, string);
    fields.set("path", &mut check.path, found, string);
    check.host = fields.read("host", found, string);
    fields.set("status", &mut check.status, found, |node, found| {
        let nodes = one_or_list(node, PROBE_STATUSES_MAX, found);
        let statuses: Vec<_> = nodes.iter().map(|node| status(node, found)).collect();
        // All or none, so that positions stay.
        statuses.into_iter().collect()
    });
    check.body = fields.read("body", found, string);
    check
}

fn bytes_check(fields: &mut Fields<'_>, found: &mut Found) -> Option<SendExpect> {
    let send_path = fields.path_of("send");
    let expect_path = fields.path_of("expect");
    let send = fields.read("send", found, |node, found| bytes(node, &send_path, found));
    let expect = fields.require("expect", found, |node, found| {
        bytes(node, &expect_path, found)
    });
    Some(SendExpect {
        send: send.unwrap_or_default(),
        expect: expect?,
    })
}

/// A text, or an object with hexadecimal digits.
fn bytes(node: &Node, path: &str, found: &mut Found) -> Option<Vec<u8>> {
    match &node.value {
        Value::Text(text) => Some(text.as_bytes().to_vec()),
        Value::Object(_) => {
            let mut fields = Fields::of(node, path, found)?;
            let bytes = fields.require("hex", found, hexadecimal);
            fields.finish(found);
            bytes
        }
        _ => {
            wrong(node, "a text in quotes or { \"hex\": \"00ff\" }", found);
            None
        }
    }
}

/// A status, or a range of them.
fn status(node: &Node, found: &mut Found) -> Option<RangeInclusive<u16>> {
    let code = |digits: &str| {
        let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse::<u16>().ok().filter(|_| is_number)
    };
    let status = match &node.value {
        Value::Number(text) => code(text).map(|code| code..=code),
        Value::Text(text) => {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            code(first)
                .zip(code(last))
                .map(|(first, last)| first..=last)
        }
        _ => None,
    };
    if status.is_none() {
        let expected = "a status such as 200, or a range in quotes, such as \"200-399\"";
        wrong(node, expected, found);
    }
    status
}

fn threshold(node: &Node, found: &mut Found) -> Option<u32> {
    number(node, 1..=THRESHOLD_MAX, found)
}

fn port(node: &Node, found: &mut Found) -> Option<u16> {
    number(node, 1..=u16::MAX, found)
}

/// What a check may be.
#[derive(Clone, Copy)]
enum Type {
    Tcp,
    Http,
    SendExpect,
}

impl Type {
    fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Http => "http",
            Self::SendExpect => "send_expect",
        }
    }
}

const TYPES: [(&str, Type); 3] = [
    ("tcp", Type::Tcp),
    ("http", Type::Http),
    ("send_expect", Type::SendExpect),
];

const PATH: &str = "clusters[].health";

/// What only an HTTP check has.
const HTTP_KEYS: [&str; 5] = ["method", "path", "host", "status", "body"];

/// What only a check of bytes has.
const SEND_EXPECT_KEYS: [&str; 2] = ["send", "expect"];
