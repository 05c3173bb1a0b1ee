//! `accept_proxy_protocol` of listeners and `send_proxy_protocol` of clusters.
#![forbid(unsafe_code)]

use crate::config::errors::Found;
use crate::config::fields::Fields;
use crate::config::tree::{Node, Value};
use crate::config::values::{
    choice, duration, flag, hexadecimal, list, number, one_or_list, parsed, text, wrong,
};
use crate::plan::proxy::{AcceptProxy, ProxyVersion, SendProxy};

/// Reads what a listener expects.
pub(super) fn accept_proxy(node: &Node, found: &mut Found) -> Option<AcceptProxy> {
    if let Value::Flag(_) = node.value {
        let message = "say who may send the header: { \"from\": [\"10.0.0.0/8\"] }";
        found.add(node.mark, message);
        return None;
    }
    let mut fields = Fields::of(node, "listeners[].accept_proxy_protocol", found)?;
    let from = fields.require("from", found, |node, found| {
        let networks = one_or_list(node, NETWORKS_MAX, found).iter();
        let expected = "a network in quotes, such as \"10.0.0.0/8\"";
        let networks: Vec<_> = networks.map(|node| parsed(node, expected, found)).collect();
        networks.into_iter().collect()
    });
    let timeout = fields.read("timeout", found, duration);
    fields.finish(found);
    let mut accept = AcceptProxy::from(from?);
    accept.timeout = timeout.unwrap_or(accept.timeout);
    Some(accept)
}

/// Reads what a cluster sends: a version alone, or an object.
pub(super) fn send_proxy(node: &Node, found: &mut Found) -> Option<SendProxy> {
    match node.value {
        Value::Text(_) => version(node, found).map(SendProxy::new),
        Value::Object(_) => {
            let mut fields = Fields::of(node, "clusters[].send_proxy_protocol", found)?;
            let mut send = SendProxy::new(ProxyVersion::V2);
            fields.set("version", &mut send.version, found, version);
            fields.set("checksum", &mut send.checksum, found, flag);
            send.authority = fields.read("authority", found, |node, found| {
                text(node, "a host name in quotes", found).map(str::to_string)
            });
            fields.set("unique_id", &mut send.unique_id, found, flag);
            fields.set("custom", &mut send.custom, found, customs);
            fields.set("pass_on", &mut send.pass_on, found, flag);
            fields.finish(found);
            Some(send)
        }
        _ => {
            wrong(node, "\"v1\", \"v2\" or an object, `{ ... }`", found);
            None
        }
    }
}

fn version(node: &Node, found: &mut Found) -> Option<ProxyVersion> {
    let versions = [("v1", ProxyVersion::V1), ("v2", ProxyVersion::V2)];
    choice(node, &versions, found)
}

fn customs(node: &Node, found: &mut Found) -> Option<Vec<(u8, Vec<u8>)>> {
    let nodes = list(node, "a list of fields, `[ { ... } ]`", TYPES_MAX, found)?;
    let customs: Vec<_> = nodes.iter().map(|node| custom(node, found)).collect();
    customs.into_iter().collect()
}

/// A field: its type, and its value as text or as hexadecimal digits.
fn custom(node: &Node, found: &mut Found) -> Option<(u8, Vec<u8>)> {
    let mut fields = Fields::of(node, "clusters[].send_proxy_protocol.custom[]", found)?;
    let kind = fields.require("type", found, kind);
    let text_node = fields.take("value", found);
    let hex_node = fields.take("hex", found);
    fields.finish(found);
    let value = match (text_node, hex_node) {
        (Some(node), None) => text(node, "a text in quotes", found).map(|text| text.into()),
        (None, Some(node)) => hexadecimal(node, found),
        (None, None) | (Some(_), Some(_)) => {
            found.add(node.mark, "expected either `value` or `hex` beside `type`");
            None
        }
    };
    Some((kind?, value?))
}

fn kind(node: &Node, found: &mut Found) -> Option<u8> {
    match &node.value {
        Value::Number(_) => number(node, TYPE_FIRST..=TYPE_LAST, found),
        Value::Text(text) => {
            let digits = text.strip_prefix("0x").filter(|digits| digits.len() == 2);
            let kind = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
            let kind = kind.filter(|kind| (TYPE_FIRST..=TYPE_LAST).contains(kind));
            if kind.is_none() {
                wrong(node, TYPE, found);
            }
            kind
        }
        _ => {
            wrong(node, TYPE, found);
            None
        }
    }
}

const TYPE: &str = "a type from 224 to 239, or \"0xE0\" to \"0xEF\"";

/// The types that are applications' own.
///
/// Source: The PROXY protocol, versions 1 and 2, section 2.2: PP2_TYPE_MIN_CUSTOM.
const TYPE_FIRST: u8 = 0xE0;
/// The same, PP2_TYPE_MAX_CUSTOM.
const TYPE_LAST: u8 = 0xEF;

/// Each type at most once; a few more, so that the plan can say which one is given twice.
const TYPES_MAX: usize = 64;

/// More networks than a listener's clients come from.
const NETWORKS_MAX: usize = 1024;
