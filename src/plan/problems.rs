//! Everything that can be wrong with a plan by itself.
//!
//! A configuration's reader refuses what is no value of its kind; here is what relates values to
//! each other and to what is possible. One code for configurations and for the command line.
#![forbid(unsafe_code)]

mod failure;
mod health;
mod whole;

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::bounds::{
    CLUSTERS_MAX, ENDPOINTS_MAX, LISTENERS_MAX, NAME_BYTES_MAX, PIPES_MAX, PROXY_CUSTOM_BYTES_MAX,
    REPEAT_MIN, SESSIONS_MAX, TRIES_MAX, WORKERS_MAX,
};
use crate::plan::options::SocketOptions;
use crate::plan::place::{Bind, Place, is_possible};
use crate::plan::proxy::{ProxyVersion, SendProxy};
use crate::plan::{ClusterPlan, ListenerPlan, Plan, SessionTimeouts};

/// What is wrong and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The place in the configuration, as in `listeners[0].bind[1]`.
    pub path: String,
    /// What is wrong and what was expected.
    pub message: String,
    /// The place of the other one, if two things collide.
    pub first: Option<String>,
}

impl Problem {
    /// A problem that is about one place alone.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
            first: None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.path, self.message)
    }
}

impl Plan {
    /// Everything that is wrong with the plan by itself, in the order of the plan.
    pub fn problems(&self) -> Vec<Problem> {
        let mut found = Problems(Vec::new());
        if let Some(count) = self.workers.count
            && (count == 0 || count > WORKERS_MAX)
        {
            let message = format!("{count} is not from 1 to {WORKERS_MAX}");
            found.add("workers.count", message);
        }
        if self.workers.pipes > PIPES_MAX {
            let message = format!("{} is more than {PIPES_MAX}", self.workers.pipes);
            found.add("workers.pipes", message);
        }
        if let Some(max) = self.max_sessions {
            found.check_sessions("limits.max_sessions", max);
        }
        if self.process.drain_timeout > TIMEOUT_MAX {
            found.add("process.drain_timeout", "it must be at most 45 days");
        }
        if self.process.group.is_some() && self.process.user.is_none() {
            found.add("process.group", "a group needs a user beside it");
        }
        self.check_listeners(&mut found);
        self.check_clusters(&mut found);
        if let Some(access) = &self.log.access
            && let Some(interval) = access.interval
        {
            found.check_time("log.access.interval", interval);
        }
        if let Some(admin) = &self.admin {
            whole::check_admin(admin, &mut found);
        }
        whole::check_dns(&self.dns, &mut found);
        found.0
    }

    fn check_listeners(&self, found: &mut Problems) {
        if self.listeners.is_empty() {
            found.add("listeners", "there must be at least one listener");
        }
        let binds = self.listeners.iter().map(|listener| listener.binds.len());
        let too_many_binds = binds.sum::<usize>() > LISTENERS_MAX;
        if too_many_binds {
            let message = format!("at most {LISTENERS_MAX} binds are possible in all");
            found.add("listeners", message);
        } else {
            check_binds(self, found);
        }
        let mut names = HashMap::new();
        for (position, listener) in self.listeners.iter().enumerate() {
            let path = format!("listeners[{position}]");
            found.check_name(&path, &listener.name);
            found.check_unique(&path, "listeners", &listener.name, &mut names);
            if self.cluster_of(listener).is_none() && !self.clusters.is_empty() {
                let message = unknown_cluster(&listener.cluster, &self.clusters);
                found.add(format!("{path}.cluster"), message);
            }
            if listener.binds.is_empty() {
                found.add(format!("{path}.bind"), "there must be at least one address");
            }
            if let Some(max) = listener.max_sessions {
                found.check_sessions(format!("{path}.max_sessions"), max);
            }
            if let Some(proxy) = &listener.accept_proxy {
                let path = format!("{path}.accept_proxy_protocol");
                if proxy.from.is_empty() {
                    let message = "name at least one network that may send it";
                    found.add(format!("{path}.from"), message);
                }
                found.check_time(format!("{path}.timeout"), proxy.timeout);
            }
            found.check_timeouts(&path, &listener.timeouts);
            found.check_socket(&path, &listener.options.socket);
            if let Some(time) = listener.options.defer_accept {
                found.check_seconds(format!("{path}.defer_accept"), time, 1..=127);
            }
            for (key, number) in [
                ("backlog", listener.options.backlog),
                ("fast_open", listener.options.fast_open),
            ] {
                if number.is_some_and(|number| number == 0 || number > 65_535) {
                    found.add(format!("{path}.{key}"), "it must be from 1 to 65535");
                }
            }
            check_without_effect(&path, listener, found);
        }
    }

    fn check_clusters(&self, found: &mut Problems) {
        if self.clusters.is_empty() {
            found.add("clusters", "there must be at least one cluster");
        }
        if self.clusters.len() > CLUSTERS_MAX {
            let message = format!("at most {CLUSTERS_MAX} clusters are possible");
            found.add("clusters", message);
        }
        let mut names = HashMap::new();
        for (position, cluster) in self.clusters.iter().enumerate() {
            let path = format!("clusters[{position}]");
            found.check_name(&path, &cluster.name);
            found.check_unique(&path, "clusters", &cluster.name, &mut names);
            check_endpoints(&path, cluster, found);
            health::check(&path, cluster, found);
            failure::check(&path, cluster, found);
            check_sources(&path, cluster, found);
            found.check_time(format!("{path}.timeouts.connect"), cluster.connect_timeout);
            found.check_time(format!("{path}.retry.within"), cluster.retry_within);
            if cluster.tries == 0 || usize::from(cluster.tries) > TRIES_MAX {
                let message = format!("{} is not from 1 to {TRIES_MAX}", cluster.tries);
                found.add(format!("{path}.retry.tries"), message);
            }
            found.check_timeouts(&path, &cluster.timeouts);
            found.check_socket(&path, &cluster.options.socket);
            if let Some(proxy) = &cluster.send_proxy {
                check_send_proxy(&format!("{path}.send_proxy_protocol"), proxy, found);
            }
        }
    }
}

/// Tells each bind that would get another one's connections, once.
fn check_binds(plan: &Plan, found: &mut Problems) {
    let listeners = plan.listeners.iter().enumerate();
    let binds = listeners.flat_map(|(position, listener)| {
        let binds = listener.binds.iter().enumerate();
        binds.map(move |(index, bind)| (format!("listeners[{position}].bind[{index}]"), bind))
    });
    let admin = plan.admin.as_ref();
    let admin = admin.map(|admin| ("admin.bind".to_string(), &admin.bind));
    let mut earlier: Vec<(String, &Bind)> = Vec::new();
    for (path, bind) in binds.chain(admin) {
        let other = earlier.iter().find(|(_, other)| bind.overlaps(other));
        if let Some((first, other)) = other {
            let message = match bind {
                Bind::Tcp(addr) => {
                    let port = addr.port();
                    format!("{bind} and {other} are both port {port}: bind it once")
                }
                Bind::Unix(_) => format!("{bind} is bound twice"),
            };
            found.add_second(&path, message, first);
        }
        earlier.push((path, bind));
    }
}

fn check_endpoints(path: &str, cluster: &ClusterPlan, found: &mut Problems) {
    if cluster.endpoints.is_empty() {
        let message = "there must be at least one endpoint";
        found.add(format!("{path}.endpoints"), message);
    }
    if cluster.endpoints.len() > ENDPOINTS_MAX {
        let message = format!("at most {ENDPOINTS_MAX} endpoints are possible");
        found.add(format!("{path}.endpoints"), message);
    }
    let mut names = HashMap::new();
    for (position, endpoint) in cluster.endpoints.iter().enumerate() {
        if let Place::Address(addr) = &endpoint.place
            && !is_possible(addr.ip())
        {
            let message = format!("no endpoint can have the address {}", addr.ip());
            found.add(format!("{path}.endpoints[{position}].address"), message);
        }
        let Some(name) = &endpoint.name else { continue };
        let path = format!("{path}.endpoints[{position}]");
        found.check_name(&path, name);
        found.check_unique(&path, "endpoints", name, &mut names);
    }
}

/// Options that nothing of this listener could have.
fn check_without_effect(path: &str, listener: &ListenerPlan, found: &mut Problems) {
    let is_unix = |bind: &Bind| matches!(bind, Bind::Unix(_));
    let is_any_unix = listener.binds.iter().any(is_unix);
    let is_all_unix = !listener.binds.is_empty() && listener.binds.iter().all(is_unix);
    let options = &listener.options;
    if options.unix_mode.is_some() && !is_any_unix {
        let message = "none of its addresses is a Unix socket";
        found.add(format!("{path}.unix_mode"), message);
    }
    for (key, is_given) in [
        ("defer_accept", options.defer_accept.is_some()),
        ("fast_open", options.fast_open.is_some()),
    ] {
        if is_given && is_all_unix {
            let message = "all of its addresses are Unix sockets";
            found.add(format!("{path}.{key}"), message);
        }
    }
}

/// An endpoint that no source address fits would be connected to from any address.
fn check_sources(path: &str, cluster: &ClusterPlan, found: &mut Problems) {
    let sources = &cluster.options.source;
    let is_left_out = |addr: &SocketAddr| {
        let mut sources = sources.iter();
        !sources.any(|source| source.is_ipv4() == addr.is_ipv4())
    };
    let left_out = cluster
        .endpoints
        .iter()
        .find_map(|endpoint| match endpoint.place {
            Place::Address(addr) => Some(addr).filter(is_left_out),
            Place::Unix(_) | Place::Host(..) | Place::Service(_) => None,
        });
    if let Some(addr) = left_out
        && !sources.is_empty()
    {
        let message = format!("none of them can connect to {addr}: it is of the other family");
        found.add(format!("{path}.source"), message);
    }
}

fn check_send_proxy(path: &str, proxy: &SendProxy, found: &mut Problems) {
    let has_fields = proxy.checksum
        || proxy.authority.is_some()
        || proxy.unique_id
        || !proxy.custom.is_empty()
        || proxy.pass_on;
    if proxy.version == ProxyVersion::V1 && has_fields {
        found.add(path, "version 1 has no further fields; use \"v2\"");
    }
    if let Some(authority) = &proxy.authority
        && (authority.is_empty() || authority.len() > 255)
    {
        found.add(format!("{path}.authority"), "it must have 1 to 255 bytes");
    }
    let list = format!("{path}.custom");
    for (position, (kind, _)) in proxy.custom.iter().enumerate() {
        let path = format!("{list}[{position}]");
        if !(0xE0..=0xEF).contains(kind) {
            found.add(&path, "the type must be from 0xE0 to 0xEF");
        }
        let mut earlier = proxy.custom[..position].iter();
        if let Some(first) = earlier.position(|(other, _)| other == kind) {
            let first = format!("{list}[{first}]");
            found.add_second(&path, "the type is given twice".to_string(), &first);
        }
    }
    let bytes: usize = proxy.custom.iter().map(|(_, value)| value.len() + 3).sum();
    if bytes > PROXY_CUSTOM_BYTES_MAX {
        let message = format!("all together must have at most {PROXY_CUSTOM_BYTES_MAX} bytes");
        found.add(list, message);
    }
}

fn unknown_cluster(name: &str, clusters: &[ClusterPlan]) -> String {
    let some = clusters.iter().take(NAMES_SHOWN);
    let names: Vec<String> = some.map(|known| format!("`{}`", known.name)).collect();
    let more = if clusters.len() > NAMES_SHOWN {
        ", ..."
    } else {
        ""
    };
    let names = names.join(", ");
    format!("there is no cluster `{name}`; there is {names}{more}")
}

/// What was found so far.
struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem::new(path, message));
    }

    /// Adds a problem with what stands at the path `first`.
    fn add_second(&mut self, path: &str, message: String, first: &str) {
        self.0.push(Problem {
            first: Some(first.to_string()),
            ..Problem::new(path, message)
        });
    }

    fn check_unique<'a>(
        &mut self,
        path: &str,
        things: &str,
        name: &'a str,
        names: &mut HashMap<&'a str, String>,
    ) {
        let path = format!("{path}.name");
        if let Some(first) = names.get(name) {
            self.add_second(&path, format!("two {things} are named `{name}`"), first);
        } else {
            names.insert(name, path);
        }
    }

    fn check_name(&mut self, path: &str, name: &str) {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            let message = format!("it must have 1 to {NAME_BYTES_MAX} bytes");
            self.add(format!("{path}.name"), message);
        } else if name.chars().any(char::is_control) {
            self.add(format!("{path}.name"), "it must have no control characters");
        }
    }

    fn check_sessions(&mut self, path: impl Into<String>, max: usize) {
        if max == 0 || max > SESSIONS_MAX {
            self.add(path, format!("{max} is not from 1 to {SESSIONS_MAX}"));
        }
    }

    fn check_time(&mut self, path: impl Into<String>, time: Duration) {
        if time.is_zero() || time > TIMEOUT_MAX {
            self.add(path, "it must be more than 0 and at most 45 days");
        }
    }

    /// The interval of something that is done again and again.
    fn check_repeat(&mut self, path: impl Into<String>, time: Duration) {
        if !(REPEAT_MIN..=TIMEOUT_MAX).contains(&time) {
            self.add(path, "it must be from 10ms to 45 days");
        }
    }

    fn check_percent(&mut self, path: impl Into<String>, percent: u8) {
        if percent > 100 {
            self.add(path, format!("{percent} is not from 0 to 100"));
        }
    }

    fn check_seconds(
        &mut self,
        path: impl Into<String>,
        time: Duration,
        range: std::ops::RangeInclusive<u64>,
    ) {
        if time.subsec_nanos() != 0 || !range.contains(&time.as_secs()) {
            let (first, last) = (range.start(), range.end());
            self.add(
                path,
                format!("it must be whole seconds, from {first}s to {last}s"),
            );
        }
    }

    fn check_timeouts(&mut self, path: &str, timeouts: &SessionTimeouts) {
        for (key, time) in [
            ("idle", timeouts.idle),
            ("half_close", timeouts.half_close),
            ("max_age", timeouts.max_age),
        ] {
            if let Some(time) = time {
                self.check_time(format!("{path}.timeouts.{key}"), time);
            }
        }
        if let Some(jitter) = timeouts.max_age_jitter {
            let path = format!("{path}.timeouts.max_age_jitter");
            match timeouts.max_age {
                None => self.add(path, "there is no max_age beside it"),
                Some(age) if jitter > age => self.add(path, "it must be at most max_age"),
                Some(_) => {}
            }
        }
    }

    fn check_socket(&mut self, path: &str, socket: &SocketOptions) {
        if let Some(keepalive) = socket.keepalive {
            let path = format!("{path}.keepalive");
            self.check_seconds(format!("{path}.idle"), keepalive.idle, 1..=32_767);
            self.check_seconds(format!("{path}.interval"), keepalive.interval, 1..=32_767);
            if keepalive.probes == 0 || keepalive.probes > 127 {
                self.add(format!("{path}.probes"), "it must be from 1 to 127");
            }
        }
        if let Some(time) = socket.user_timeout
            && (time < Duration::from_millis(1) || time > USER_TIMEOUT_MAX)
        {
            let message = "it must be from 1ms to 24 days";
            self.add(format!("{path}.user_timeout"), message);
        }
        if socket.dscp.is_some_and(|dscp| dscp > 63) {
            self.add(format!("{path}.dscp"), "it must be from 0 to 63");
        }
        for (key, name) in [
            ("interface", &socket.interface),
            ("congestion", &socket.congestion),
        ] {
            if name
                .as_ref()
                .is_some_and(|name| name.is_empty() || name.len() > 15)
            {
                self.add(format!("{path}.{key}"), "a name has 1 to 15 bytes");
            }
        }
    }
}

/// How many names a problem lists.
const NAMES_SHOWN: usize = 8;

/// The longest timeout: a session keeps its times as milliseconds in 32 bits.
const TIMEOUT_MAX: Duration = Duration::from_secs(45 * 24 * 3600);

/// The kernel keeps it as milliseconds in 31 bits.
const USER_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::EndpointPlan;
    use crate::plan::place::Place;

    #[test]
    fn a_simple_plan_has_none() {
        let endpoint = EndpointPlan::at(Place::Host("a".into(), 1));
        let plan = Plan::simple(&[([127, 0, 0, 1], 80).into()], vec![endpoint]);
        assert_eq!(plan.problems(), []);
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let mut plan = Plan::simple(&[], Vec::new());
        plan.clusters[0].tries = 0;
        plan.clusters[0].timeouts.idle = Some(Duration::ZERO);
        plan.max_sessions = Some(0);
        plan.workers.count = Some(0);
        let paths: Vec<String> = plan
            .problems()
            .into_iter()
            .map(|found| found.path)
            .collect();
        let expected = [
            "workers.count",
            "limits.max_sessions",
            "listeners",
            "clusters[0].endpoints",
            "clusters[0].retry.tries",
            "clusters[0].timeouts.idle",
        ];
        assert_eq!(paths, expected);
    }
}
