//! What listeners and clusters may both set: options of sockets, timeouts of sessions.
#![forbid(unsafe_code)]

use crate::config::errors::Found;
use crate::config::fields::Fields;
use crate::config::tree::{Node, Value};
use crate::config::values::{duration, name, number, off_or, wrong};
use crate::plan::SessionTimeouts;
use crate::plan::options::{Keepalive, SocketOptions};

/// Reads the options of sockets among an object's keys.
pub(super) fn socket_options(fields: &mut Fields<'_>, found: &mut Found) -> SocketOptions {
    let mut options = SocketOptions::default();
    let path = fields.path_of("keepalive");
    fields.set("keepalive", &mut options.keepalive, found, |node, found| {
        keepalive(node, &path, found)
    });
    let off_or_duration = |node, found: &mut Found| off_or(node, found, duration);
    fields.set(
        "user_timeout",
        &mut options.user_timeout,
        found,
        off_or_duration,
    );
    options.interface = fields.read("interface", found, name);
    options.mark = fields.read("mark", found, |node, found| {
        number(node, 0..=u32::MAX, found)
    });
    options.dscp = fields.read("dscp", found, dscp);
    options.congestion = fields.read("congestion", found, name);
    options
}

/// Reads the timeouts that listeners and clusters share, among an object's keys.
pub(super) fn session_timeouts(fields: &mut Fields<'_>, found: &mut Found) -> SessionTimeouts {
    SessionTimeouts {
        idle: fields.read("idle", found, duration),
        half_close: fields.read("half_close", found, duration),
        max_age: fields.read("max_age", found, duration),
        max_age_jitter: fields.read("max_age_jitter", found, duration),
    }
}

/// `false`, which is `Some(None)`, or an object.
fn keepalive(node: &Node, path: &str, found: &mut Found) -> Option<Option<Keepalive>> {
    if let Value::Flag(true) | Value::Text(_) | Value::Number(_) | Value::List(_) = node.value {
        wrong(node, "false or an object, `{ ... }`", found);
        return None;
    }
    off_or(node, found, |node, found| {
        let mut fields = Fields::of(node, path, found)?;
        let mut keepalive = Keepalive::default();
        fields.set("idle", &mut keepalive.idle, found, duration);
        fields.set("interval", &mut keepalive.interval, found, duration);
        fields.set("probes", &mut keepalive.probes, found, |node, found| {
            number(node, 1..=PROBES_MAX, found)
        });
        fields.finish(found);
        Some(keepalive)
    })
}

/// Reads a differentiated services code point: a number or one of its names.
///
/// Source: RFC 2474, RFC 2597, RFC 3246, RFC 5865, RFC 8622.
fn dscp(node: &Node, found: &mut Found) -> Option<u8> {
    match &node.value {
        Value::Text(text) => {
            let code = code_point(text);
            if code.is_none() {
                wrong(node, DSCP, found);
            }
            code
        }
        Value::Number(_) => number(node, 0..=63, found),
        _ => {
            wrong(node, DSCP, found);
            None
        }
    }
}

fn code_point(name: &str) -> Option<u8> {
    let digit = |position: usize| {
        let byte = name.as_bytes().get(position)?;
        byte.is_ascii_digit().then(|| byte - b'0')
    };
    match (name, name.len()) {
        ("ef", _) => Some(46),
        ("va", _) => Some(44),
        ("le", _) => Some(1),
        (_, 3) if name.starts_with("cs") => digit(2).filter(|class| *class <= 7).map(|c| c * 8),
        (_, 4) if name.starts_with("af") => {
            let (class, drop) = (digit(2)?, digit(3)?);
            let is_known = (1..=4).contains(&class) && (1..=3).contains(&drop);
            is_known.then_some(class * 8 + drop * 2)
        }
        _ => None,
    }
}

const DSCP: &str = "a number from 0 to 63 or a name: cs0 to cs7, af11 to af43, ef, va, le";

/// The kernel takes no more (TCP_KEEPCNT).
const PROBES_MAX: u8 = 127;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_points_have_names() {
        for (name, code) in [
            ("cs0", Some(0)),
            ("cs7", Some(56)),
            ("af11", Some(10)),
            ("af43", Some(38)),
            ("ef", Some(46)),
            ("va", Some(44)),
            ("le", Some(1)),
            ("cs8", None),
            ("af44", None),
            ("af51", None),
            ("af1é", None),
            ("", None),
        ] {
            assert_eq!(code_point(name), code, "{name}");
        }
    }
}
