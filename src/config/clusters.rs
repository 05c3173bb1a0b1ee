//! `clusters`: where sessions go.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use crate::bounds::{CLUSTERS_MAX, ENDPOINTS_MAX, PRIORITY_MAX, TRIES_MAX, WEIGHT_MAX};
use crate::config::errors::Found;
use crate::config::fields::Fields;
use crate::config::sockets::{session_timeouts, socket_options};
use crate::config::tree::{Node, Value, cut};
use crate::config::values::{duration, flag, list, name, number, one_or_list, parsed, text, wrong};
use crate::config::{failure, health, proxy};
use crate::plan::health::{Check, HealthPlan};
use crate::plan::options::ConnectOptions;
use crate::plan::place::Place;
use crate::plan::{ClusterPlan, EndpointPlan};

/// Reads `clusters`. What cannot be read leaves a cluster without it, so that positions stay.
pub(super) fn clusters(node: &Node, found: &mut Found) -> Option<Vec<ClusterPlan>> {
    let nodes = list(
        node,
        "a list of clusters, `[ { ... } ]`",
        CLUSTERS_MAX,
        found,
    )?;
    let clusters = nodes.iter().enumerate();
    let read = clusters.map(|(position, node)| cluster(node, position, found));
    Some(read.collect())
}

fn cluster(node: &Node, position: usize, found: &mut Found) -> ClusterPlan {
    let mut cluster = ClusterPlan::named(&format!("clusters[{position}]"));
    let Some(mut fields) = Fields::of(node, "clusters[]", found) else {
        return cluster;
    };
    if let Some(name) = fields.require("name", found, name) {
        cluster.name = name;
    }
    fields.set("balance", &mut cluster.policy, found, |node, found| {
        parsed(node, "the name of a policy in quotes", found)
    });
    if let Some(endpoints) = fields.require("endpoints", found, endpoints) {
        cluster.endpoints = endpoints;
    }
    if let Some(node) = fields.take("timeouts", found) {
        timeouts(node, &mut cluster, found);
    }
    if let Some(node) = fields.take("retry", found) {
        retry(node, &mut cluster, found);
    }
    cluster.send_proxy = fields.read("send_proxy_protocol", found, proxy::send_proxy);
    cluster.options = ConnectOptions {
        source: fields.read("source", found, sources).unwrap_or_default(),
        fast_open: fields.read("fast_open", found, flag).unwrap_or_default(),
        socket: socket_options(&mut fields, found),
    };
    if let Some(node) = fields.take("health", found) {
        // One that cannot be read is one all the same for what endpoints say about it.
        let health = health::health(node, found);
        cluster.health = Some(health.unwrap_or_else(|| HealthPlan::of(Check::Tcp)));
    }
    failure::failure(&mut fields, &mut cluster, found);
    fields.finish(found);
    cluster
}

fn timeouts(node: &Node, cluster: &mut ClusterPlan, found: &mut Found) {
    let Some(mut fields) = Fields::of(node, "clusters[].timeouts", found) else {
        return;
    };
    fields.set("connect", &mut cluster.connect_timeout, found, duration);
    cluster.timeouts = session_timeouts(&mut fields, found);
    fields.finish(found);
}

fn retry(node: &Node, cluster: &mut ClusterPlan, found: &mut Found) {
    let Some(mut fields) = Fields::of(node, "clusters[].retry", found) else {
        return;
    };
    fields.set("tries", &mut cluster.tries, found, |node, found| {
        number(node, 1..=TRIES_MAX as u8, found)
    });
    fields.set("within", &mut cluster.retry_within, found, duration);
    fields.finish(found);
}

fn endpoints(node: &Node, found: &mut Found) -> Option<Vec<EndpointPlan>> {
    let nodes = list(node, "a list of endpoints, `[ ... ]`", ENDPOINTS_MAX, found)?;
    let endpoints: Vec<_> = nodes.iter().map(|node| endpoint(node, found)).collect();
    // All or none, so that positions stay.
    endpoints.into_iter().collect()
}

/// An address alone, or an object.
fn endpoint(node: &Node, found: &mut Found) -> Option<EndpointPlan> {
    match &node.value {
        Value::Text(_) => place(node, found).map(EndpointPlan::at),
        Value::Object(_) => {
            let mut fields = Fields::of(node, "clusters[].endpoints[]", found)?;
            let name = fields.read("name", found, name);
            let place = fields.require("address", found, place);
            let weight = fields.read("weight", found, |node, found| {
                number(node, 0..=WEIGHT_MAX, found)
            });
            let enabled = fields.read("enabled", found, flag);
            let max_connections = fields.read("max_connections", found, |node, found| {
                number(node, 1..=u32::MAX, found)
            });
            let priority = fields.read("priority", found, |node, found| {
                number(node, 0..=PRIORITY_MAX, found)
            });
            let backup = fields.read("backup", found, flag);
            let probe = fields.read("health", found, health::probe_place);
            fields.finish(found);
            let default = EndpointPlan::at(place?);
            Some(EndpointPlan {
                weight: weight.unwrap_or(default.weight),
                enabled: enabled.unwrap_or(default.enabled),
                name,
                max_connections,
                priority: priority.unwrap_or(default.priority),
                backup: backup.unwrap_or(default.backup),
                probe: probe.unwrap_or(default.probe),
                place: default.place,
            })
        }
        _ => {
            wrong(node, "an address in quotes or an object, `{ ... }`", found);
            None
        }
    }
}

/// Reads where an endpoint is. The words of the command line (`,weight=3`) have keys here.
fn place(node: &Node, found: &mut Found) -> Option<Place> {
    let address = text(node, "HOST:PORT or unix:/PATH in quotes", found)?;
    if let Some((address, _)) = address.split_once(',')
        && !address.starts_with("unix:")
    {
        let address = cut(address);
        let message = format!(
            "only the address stands here; write {{ \"address\": \"{address}\", ... }} with the \
             rest as keys"
        );
        found.add(node.mark, message);
        return None;
    }
    parsed(node, "", found)
}

/// One address or a list of them.
fn sources(node: &Node, found: &mut Found) -> Option<Vec<IpAddr>> {
    let nodes = one_or_list(node, SOURCES_MAX, found);
    let sources: Vec<_> = nodes.iter().map(|node| source(node, found)).collect();
    sources.into_iter().collect()
}

fn source(node: &Node, found: &mut Found) -> Option<IpAddr> {
    let expected = "an address of this host without a port, such as \"10.0.0.5\"";
    let address = text(node, expected, found)?.parse().ok();
    if address.is_none() {
        wrong(node, expected, found);
    }
    address
}

/// More local addresses than one cluster needs.
const SOURCES_MAX: usize = 256;
