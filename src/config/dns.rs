//! `dns`: how names are looked up.
#![forbid(unsafe_code)]

use std::net::{IpAddr, SocketAddr};

use crate::bounds::{DNS_ATTEMPTS_MAX, DNS_SERVERS_MAX};
use crate::config::errors::Found;
use crate::config::fields::Fields;
use crate::config::tree::Node;
use crate::config::values::{duration, number, one_or_list, path, text, wrong};
use crate::plan::dns::DnsPlan;

/// Reads `dns`.
pub(super) fn dns(node: &Node, found: &mut Found) -> Option<DnsPlan> {
    let mut fields = Fields::of(node, "dns", found)?;
    let mut dns = DnsPlan::default();
    fields.set("servers", &mut dns.servers, found, |node, found| {
        let nodes = one_or_list(node, DNS_SERVERS_MAX, found);
        let servers: Vec<_> = nodes.iter().map(|node| server(node, found)).collect();
        // All or none, so that positions stay.
        servers.into_iter().collect()
    });
    fields.set("resolv_conf", &mut dns.resolv_conf, found, path);
    fields.set("hosts", &mut dns.hosts, found, path);
    dns.timeout = fields.read("timeout", found, duration);
    dns.attempts = fields.read("attempts", found, |node, found| {
        number(node, 1..=DNS_ATTEMPTS_MAX, found)
    });
    let min_ttl = fields.read("min_ttl", found, duration);
    let max_ttl = fields.read("max_ttl", found, duration);
    fields.finish(found);
    // What is not given fits what is.
    let (min, max) = (dns.min_ttl, dns.max_ttl);
    dns.min_ttl = min_ttl.unwrap_or(max_ttl.map_or(min, |max| max.min(min)));
    dns.max_ttl = max_ttl.unwrap_or(max.max(dns.min_ttl));
    Some(dns)
}

/// An address, maybe with a port.
fn server(node: &Node, found: &mut Found) -> Option<SocketAddr> {
    let expected = "the address of a name server in quotes, such as \"10.0.0.1\" or \"[::1]:53\"";
    let text = text(node, expected, found)?;
    let without_port = || text.parse::<IpAddr>().ok();
    let server = text.parse().ok();
    let server = server.or_else(|| Some(SocketAddr::new(without_port()?, PORT)));
    if server.is_none() {
        wrong(node, expected, found);
    }
    server
}

/// Source: RFC 1035, section 4.2.
const PORT: u16 = 53;
