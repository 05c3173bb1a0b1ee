//! What a cluster does about endpoints that fail, recover or leave: `breaker`, `sessions` and more.
#![forbid(unsafe_code)]

use crate::bounds::THRESHOLD_MAX;
use crate::config::errors::Found;
use crate::config::fields::Fields;
use crate::config::tree::{Node, Value};
use crate::config::values::{choice, duration, number, percent, wrong};
use crate::plan::ClusterPlan;
use crate::plan::failure::{BreakerPlan, SessionPolicies, SessionPolicy, WhenNoneHealthy};

/// Reads those keys of a cluster.
pub(super) fn failure(fields: &mut Fields<'_>, cluster: &mut ClusterPlan, found: &mut Found) {
    fields.set("breaker", &mut cluster.breaker, found, breaker);
    cluster.when_none_healthy = fields.read("when_none_healthy", found, |node, found| {
        choice(node, &NONE_HEALTHY, found)
    });
    fields.set(
        "panic_threshold",
        &mut cluster.panic_threshold_percent,
        found,
        percent,
    );
    fields.set("sessions", &mut cluster.sessions, found, sessions);
    cluster.slow_start = fields.read("slow_start", found, duration);
}

/// `false` or `"off"`, which are `Some(None)`, or an object.
fn breaker(node: &Node, found: &mut Found) -> Option<Option<BreakerPlan>> {
    match &node.value {
        Value::Flag(false) => return Some(None),
        Value::Text(text) if text == "off" => return Some(None),
        Value::Object(_) => {}
        _ => {
            wrong(node, "\"off\", false or an object, `{ ... }`", found);
            return None;
        }
    }
    let mut fields = Fields::of(node, "clusters[].breaker", found)?;
    let mut breaker = BreakerPlan::default();
    let threshold = |node: &Node, found: &mut Found| number(node, 1..=THRESHOLD_MAX, found);
    fields.set(
        "failure_threshold",
        &mut breaker.failure_threshold,
        found,
        threshold,
    );
    fields.set("open", &mut breaker.open, found, duration);
    // What is not given fits what is.
    breaker.open_max = breaker.open_max.max(breaker.open);
    fields.set("open_max", &mut breaker.open_max, found, duration);
    fields.set(
        "max_ejected",
        &mut breaker.max_ejected_percent,
        found,
        percent,
    );
    fields.finish(found);
    Some(Some(breaker))
}

fn sessions(node: &Node, found: &mut Found) -> Option<SessionPolicies> {
    let mut fields = Fields::of(node, "clusters[].sessions", found)?;
    let mut policies = SessionPolicies::default();
    for (key, value) in [
        ("removed", &mut policies.removed),
        ("unhealthy", &mut policies.unhealthy),
        ("disabled", &mut policies.disabled),
    ] {
        let path = fields.path_of(key);
        fields.set(key, value, found, |node, found| policy(node, &path, found));
    }
    fields.finish(found);
    Some(policies)
}

fn policy(node: &Node, path: &str, found: &mut Found) -> Option<SessionPolicy> {
    match &node.value {
        Value::Text(text) if text == "keep" => Some(SessionPolicy::Keep),
        Value::Text(text) if text == "reset" => Some(SessionPolicy::Reset),
        Value::Text(text) if text == "drain" => {
            found.add(node.mark, "say for how long: { \"drain\": \"30s\" }");
            None
        }
        Value::Object(_) => {
            let mut fields = Fields::of(node, path, found)?;
            let time = fields.require("drain", found, duration);
            fields.finish(found);
            time.map(SessionPolicy::Drain)
        }
        _ => {
            let expected = "\"keep\", \"reset\" or { \"drain\": \"30s\" }";
            wrong(node, expected, found);
            None
        }
    }
}

const NONE_HEALTHY: [(&str, WhenNoneHealthy); 2] = [
    ("refuse", WhenNoneHealthy::Refuse),
    ("try_least_failed", WhenNoneHealthy::TryLeastFailed),
];
