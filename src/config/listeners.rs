//! `listeners`: what is accepted where, and what becomes of it.
#![forbid(unsafe_code)]

use crate::bounds::LISTENERS_MAX;
use crate::config::errors::Found;
use crate::config::fields::Fields;
use crate::config::sockets::{session_timeouts, socket_options};
use crate::config::tree::{Node, Value, cut};
use crate::config::values::{
    choice, duration, file_mode, flag, list, name, number, one_or_list, parsed, text, wrong,
};
use crate::config::{proxy, whole};
use crate::plan::options::ListenOptions;
use crate::plan::place::Bind;
use crate::plan::{ClusterPlan, ListenerPlan, SessionTimeouts};

/// Reads `listeners`. What cannot be read leaves a listener without it, so that positions stay.
pub(super) fn listeners(
    node: &Node,
    clusters: &[ClusterPlan],
    found: &mut Found,
) -> Vec<ListenerPlan> {
    let expected = "a list of listeners, `[ { ... } ]`";
    let nodes = list(node, expected, LISTENERS_MAX, found).unwrap_or_default();
    let listeners = nodes.iter().enumerate();
    listeners
        .map(|(position, node)| listener(node, position, clusters, found))
        .collect()
}

fn listener(
    node: &Node,
    position: usize,
    clusters: &[ClusterPlan],
    found: &mut Found,
) -> ListenerPlan {
    let mut listener = ListenerPlan {
        name: format!("listeners[{position}]"),
        binds: Vec::new(),
        cluster: String::new(),
        max_sessions: None,
        accept_proxy: None,
        timeouts: SessionTimeouts::default(),
        options: ListenOptions::default(),
    };
    let Some(mut fields) = Fields::of(node, "listeners[]", found) else {
        return listener;
    };
    let own_name = fields.read("name", found, name);
    if let Some(binds) = fields.require("bind", found, binds) {
        listener.binds = binds;
    }
    let first = listener.binds.first().map(Bind::to_string);
    if let Some(name) = own_name.or(first) {
        listener.name = name;
    }
    fields.read("mode", found, mode);
    let cluster = fields.take("cluster", found);
    listener.cluster = target(node, cluster, clusters, found).unwrap_or_default();
    listener.max_sessions = fields.read("max_sessions", found, whole::max_sessions);
    listener.accept_proxy = fields.read("accept_proxy_protocol", found, proxy::accept_proxy);
    if let Some(timeouts) = fields.read("timeouts", found, timeouts) {
        listener.timeouts = timeouts;
    }
    listener.options = options(&mut fields, found);
    fields.finish(found);
    listener
}

fn options(fields: &mut Fields<'_>, found: &mut Found) -> ListenOptions {
    let mut options = ListenOptions {
        socket: socket_options(fields, found),
        ..ListenOptions::default()
    };
    options.backlog = fields.read("backlog", found, waiting);
    fields.set("ipv6_only", &mut options.ipv6_only, found, flag);
    options.defer_accept = fields.read("defer_accept", found, duration);
    options.fast_open = fields.read("fast_open", found, waiting);
    options.unix_mode = fields.read("unix_mode", found, file_mode);
    options
}

fn timeouts(node: &Node, found: &mut Found) -> Option<SessionTimeouts> {
    let mut fields = Fields::of(node, "listeners[].timeouts", found)?;
    let timeouts = session_timeouts(&mut fields, found);
    fields.finish(found);
    Some(timeouts)
}

/// How many connections may wait.
fn waiting(node: &Node, found: &mut Found) -> Option<u32> {
    number(node, 1..=65_535, found)
}

/// One place or a list of them.
fn binds(node: &Node, found: &mut Found) -> Option<Vec<Bind>> {
    if !matches!(node.value, Value::Text(_) | Value::List(_)) {
        wrong(node, BIND, found);
        return None;
    }
    let nodes = one_or_list(node, LISTENERS_MAX, found);
    let binds: Vec<_> = nodes.iter().map(|node| parsed(node, BIND, found)).collect();
    // All or none, so that positions stay.
    binds.into_iter().collect()
}

const BIND: &str = "ADDRESS:PORT in quotes, such as \"0.0.0.0:8080\", or a list of them";

/// The modes that there are, and those that there will be.
fn mode(node: &Node, found: &mut Found) -> Option<()> {
    let mode = text(node, "\"tcp\"", found);
    if let Some(mode @ ("http" | "forward" | "udp")) = mode {
        let message = format!("the mode \"{mode}\" is not available in this version, only \"tcp\"");
        found.add(node.mark, message);
        return None;
    }
    mode.and_then(|_| choice(node, &[("tcp", ())], found))
}

/// The name of the cluster that is given, or of the only one that there is.
fn target(
    listener: &Node,
    given: Option<&Node>,
    clusters: &[ClusterPlan],
    found: &mut Found,
) -> Option<String> {
    if let Some(node) = given {
        return text(node, "the name of a cluster", found).map(str::to_string);
    }
    match clusters {
        [] => None,
        [only] => Some(only.name.clone()),
        several => {
            let some = several.iter().take(NAMES_SHOWN);
            let names: Vec<String> = some
                .map(|known| format!("`{}`", cut(&known.name)))
                .collect();
            let more = if several.len() > NAMES_SHOWN {
                ", ..."
            } else {
                ""
            };
            let message = format!(
                "the key `cluster` is missing, and there are several: {}{more}",
                names.join(", ")
            );
            found.add(listener.mark, message);
            None
        }
    }
}

/// How many names an error lists.
const NAMES_SHOWN: usize = 8;
