//! What can be wrong with how endpoints are probed.
//!
//! What a check sends is looked at byte by byte: a line end in a path or a host would be a second
//! request.
#![forbid(unsafe_code)]

use std::ops::RangeInclusive;

use super::Problems;
use crate::bounds::{PROBE_STATUSES_MAX, PROBE_TEXT_BYTES_MAX, REPEAT_MIN, THRESHOLD_MAX};
use crate::plan::health::{Check, HealthPlan, HttpCheck, SendExpect};
use crate::plan::place::Place;
use crate::plan::{ClusterPlan, EndpointPlan};

/// Looks at the check of the cluster at `path`, and at what its endpoints say about it.
pub(super) fn check(path: &str, cluster: &ClusterPlan, found: &mut Problems) {
    if let Some(health) = &cluster.health {
        let path = format!("{path}.health");
        check_times(&path, health, found);
        match &health.check {
            Check::Tcp => {}
            Check::Http(check) => check_http(&path, check, found),
            Check::SendExpect(check) => check_bytes(&path, check, found),
        }
        check_port(&path, health, cluster, found);
    }
    for (position, endpoint) in cluster.endpoints.iter().enumerate() {
        let path = format!("{path}.endpoints[{position}].health");
        check_place(&path, endpoint, cluster.health.as_ref(), found);
    }
}

fn check_times(path: &str, health: &HealthPlan, found: &mut Problems) {
    found.check_repeat(format!("{path}.interval"), health.interval);
    found.check_repeat(format!("{path}.fast_interval"), health.fast_interval);
    found.check_time(format!("{path}.timeout"), health.timeout);
    // Compared with an interval that is wrong itself it would be told for nothing.
    if health.interval >= REPEAT_MIN {
        if health.fast_interval > health.interval {
            let message = "it must be at most the interval";
            found.add(format!("{path}.fast_interval"), message);
        }
        if health.timeout > health.interval {
            let message = "it must be at most the interval: probes do not overlap";
            found.add(format!("{path}.timeout"), message);
        }
    }
    for (key, count) in [("rise", health.rise), ("fall", health.fall)] {
        if count == 0 || count > THRESHOLD_MAX {
            let message = format!("it must be from 1 to {THRESHOLD_MAX}");
            found.add(format!("{path}.{key}"), message);
        }
    }
    found.check_percent(format!("{path}.jitter"), health.jitter_percent);
    if health.port == Some(0) {
        found.add(format!("{path}.port"), NO_PORT);
    }
}

fn check_http(path: &str, check: &HttpCheck, found: &mut Problems) {
    if check.method.is_empty() || !check.method.bytes().all(is_token) {
        let message = "it must be the name of a method, such as GET";
        found.add(format!("{path}.method"), message);
    }
    let path_key = format!("{path}.path");
    if !check.path.starts_with('/') {
        found.add(&path_key, "it must begin with `/`");
    } else if !check.path.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message = "it must have no spaces, control characters or letters beyond ASCII; write \
                       such bytes as %20";
        found.add(&path_key, message);
    }
    found.check_text(&path_key, check.path.as_bytes());
    if let Some(host) = &check.host {
        let is_host = |byte: u8| byte.is_ascii_graphic() && !b"/@?#".contains(&byte);
        if host.is_empty() || host.len() > 255 || !host.bytes().all(is_host) {
            let message = "it must be a name or an address, maybe with a port";
            found.add(format!("{path}.host"), message);
        }
    }
    check_status(&format!("{path}.status"), &check.status, found);
    if let Some(body) = &check.body {
        let path = format!("{path}.body");
        if body.is_empty() {
            found.add(&path, "every body has that; leave the key out");
        } else if check.method == "HEAD" {
            found.add(&path, "an answer to HEAD has no body");
        }
        found.check_text(&path, body.as_bytes());
    }
}

fn check_status(path: &str, status: &[RangeInclusive<u16>], found: &mut Problems) {
    if status.is_empty() {
        found.add(path, "there must be at least one status");
    }
    if status.len() > PROBE_STATUSES_MAX {
        found.add(path, format!("at most {PROBE_STATUSES_MAX} are possible"));
    }
    for (position, range) in status.iter().enumerate() {
        let path = format!("{path}[{position}]");
        let (first, last) = (*range.start(), *range.end());
        if first < 100 || last > 599 {
            found.add(path, "a status is from 100 to 599");
        } else if first > last {
            let message = format!("`{first}-{last}` is a range that ends before it starts");
            found.add(path, message);
        }
    }
}

fn check_bytes(path: &str, check: &SendExpect, found: &mut Problems) {
    let expect = format!("{path}.expect");
    if check.expect.is_empty() {
        let message = "it must have at least one byte; the type \"tcp\" expects none";
        found.add(&expect, message);
    }
    found.check_text(&expect, &check.expect);
    found.check_text(&format!("{path}.send"), &check.send);
}

/// A Unix socket has no port that could be another one.
fn check_port(path: &str, health: &HealthPlan, cluster: &ClusterPlan, found: &mut Problems) {
    let without_port = cluster.endpoints.iter().find_map(|endpoint| {
        let is_elsewhere = endpoint.probe.address.is_some();
        match &endpoint.place {
            Place::Unix(_) if !is_elsewhere => Some(&endpoint.place),
            _ => None,
        }
    });
    if let (Some(_), Some(place)) = (health.port, without_port) {
        let message = format!("{place} has no ports; give it a `health` with an `address`");
        found.add(format!("{path}.port"), message);
    }
}

fn check_place(
    path: &str,
    endpoint: &EndpointPlan,
    health: Option<&HealthPlan>,
    found: &mut Problems,
) {
    let probe = &endpoint.probe;
    if probe.address.is_none() && probe.port.is_none() {
        return;
    }
    let Some(health) = health else {
        let message = "without effect: its cluster has no `health`";
        found.add(path, message);
        return;
    };
    if probe.port == Some(0) {
        found.add(format!("{path}.port"), NO_PORT);
    }
    if let Place::Unix(_) = endpoint.place {
        let place = &endpoint.place;
        if probe.address.is_none() {
            let message = format!("{place} has no ports; give an `address` beside it");
            found.add(format!("{path}.port"), message);
        } else if probe.port.or(health.port).is_none() {
            let message = format!("{place} has no port to be probed at; give a `port` beside it");
            found.add(format!("{path}.address"), message);
        }
    }
}

impl Problems {
    /// What a probe sends or looks for.
    fn check_text(&mut self, path: &str, text: &[u8]) {
        if text.len() > PROBE_TEXT_BYTES_MAX {
            let message = format!("it must have at most {PROBE_TEXT_BYTES_MAX} bytes");
            self.add(path, message);
        }
    }
}

/// Source: RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

const NO_PORT: &str = "it must be from 1 to 65535";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;
    use std::time::Duration;

    /// What is said about a check, and about the endpoints `10.0.0.1:80` and `unix:/a`.
    fn check(health: HealthPlan, expected: &[&str]) {
        let endpoints = ["10.0.0.1:80", "unix:/a"].map(|text| text.parse().expect("an endpoint"));
        let mut plan = Plan::simple(&[([127, 0, 0, 1], 80).into()], endpoints.to_vec());
        plan.clusters[0].health = Some(health);
        let problems = plan.problems();
        let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(said, expected);
    }

    fn http(change: impl FnOnce(&mut HttpCheck)) -> HealthPlan {
        let mut http = HttpCheck::default();
        change(&mut http);
        HealthPlan::of(Check::Http(http))
    }

    #[test]
    fn the_defaults_are_possible() {
        check(HealthPlan::of(Check::Tcp), &[]);
        check(http(|_| {}), &[]);
    }

    #[test]
    fn numbers_and_times_have_their_ranges() {
        let mut health = HealthPlan::of(Check::Tcp);
        health.interval = Duration::from_millis(500);
        health.fast_interval = Duration::from_secs(1);
        health.rise = 0;
        health.fall = 1001;
        health.jitter_percent = 101;
        health.port = Some(0);
        check(
            health,
            &[
                "clusters[0].health.fast_interval: it must be at most the interval",
                "clusters[0].health.timeout: it must be at most the interval: probes do not overlap",
                "clusters[0].health.rise: it must be from 1 to 1000",
                "clusters[0].health.fall: it must be from 1 to 1000",
                "clusters[0].health.jitter: 101 is not from 0 to 100",
                "clusters[0].health.port: it must be from 1 to 65535",
                "clusters[0].health.port: unix:/a has no ports; give it a `health` with an `address`",
            ],
        );
    }

    #[test]
    fn nothing_gets_into_a_request_that_would_be_another_line() {
        let path = "clusters[0].health.path: it must have no spaces, control characters or letters \
                    beyond ASCII; write such bytes as %20";
        for text in ["/a b", "/a\r\nX: 1", "/\0", "/ä"] {
            check(http(|http| http.path = text.into()), &[path]);
        }
        let host = "clusters[0].health.host: it must be a name or an address, maybe with a port";
        for text in ["", "a\r\nX: 1", "a b", "http://a", "\u{7f}", "ä"] {
            check(http(|http| http.host = Some(text.into())), &[host]);
        }
        let method = "clusters[0].health.method: it must be the name of a method, such as GET";
        for text in ["", "GET /", "GET\r\n", "(", "É"] {
            check(http(|http| http.method = text.into()), &[method]);
        }
        check(http(|http| http.host = Some("[::1]:80".into())), &[]);
        check(http(|http| http.method = "M-SEARCH".into()), &[]);
    }

    #[test]
    fn statuses_are_those_that_there_are() {
        check(
            // A range that ends before it starts is what is looked for.
            http(|http| {
                http.status = vec![
                    99..=200,
                    RangeInclusive::new(299, 200),
                    500..=600,
                    100..=599,
                ];
            }),
            &[
                "clusters[0].health.status[0]: a status is from 100 to 599",
                "clusters[0].health.status[1]: `299-200` is a range that ends before it starts",
                "clusters[0].health.status[2]: a status is from 100 to 599",
            ],
        );
        let none = "clusters[0].health.status: there must be at least one status";
        check(http(|http| http.status.clear()), &[none]);
    }
}
