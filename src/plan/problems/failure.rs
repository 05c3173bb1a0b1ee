//! What can be wrong with what a cluster does about endpoints that fail, recover or leave.
#![forbid(unsafe_code)]

use super::Problems;
use crate::bounds::{SLOW_START_MAX, THRESHOLD_MAX};
use crate::plan::ClusterPlan;
use crate::plan::failure::{BreakerPlan, SessionPolicy};

/// Looks at the cluster at `path`.
pub(super) fn check(path: &str, cluster: &ClusterPlan, found: &mut Problems) {
    if let Some(breaker) = &cluster.breaker {
        check_breaker(&format!("{path}.breaker"), breaker, found);
    }
    found.check_percent(
        format!("{path}.panic_threshold"),
        cluster.panic_threshold_percent,
    );
    for (key, policy) in [
        ("removed", cluster.sessions.removed),
        ("unhealthy", cluster.sessions.unhealthy),
        ("disabled", cluster.sessions.disabled),
    ] {
        if let SessionPolicy::Drain(time) = policy {
            found.check_time(format!("{path}.sessions.{key}.drain"), time);
        }
    }
    if let Some(time) = cluster.slow_start
        && (time.is_zero() || time > SLOW_START_MAX)
    {
        let message = "it must be more than 0 and at most 1 day";
        found.add(format!("{path}.slow_start"), message);
    }
}

fn check_breaker(path: &str, breaker: &BreakerPlan, found: &mut Problems) {
    if breaker.failure_threshold == 0 || breaker.failure_threshold > THRESHOLD_MAX {
        let message = format!("it must be from 1 to {THRESHOLD_MAX}");
        found.add(format!("{path}.failure_threshold"), message);
    }
    found.check_time(format!("{path}.open"), breaker.open);
    found.check_time(format!("{path}.open_max"), breaker.open_max);
    if breaker.open_max < breaker.open && !breaker.open_max.is_zero() {
        found.add(format!("{path}.open_max"), "it must be at least `open`");
    }
    found.check_percent(format!("{path}.max_ejected"), breaker.max_ejected_percent);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::failure::SessionPolicies;
    use std::time::Duration;

    #[test]
    fn what_is_impossible_is_told_by_key() {
        let mut cluster = ClusterPlan::named("c");
        let mut found = Problems(Vec::new());
        check("c", &cluster, &mut found);
        assert_eq!(found.0, []);
        cluster.breaker = Some(BreakerPlan {
            failure_threshold: 0,
            open: Duration::from_secs(2),
            open_max: Duration::from_secs(1),
            max_ejected_percent: 101,
        });
        cluster.panic_threshold_percent = 255;
        cluster.sessions = SessionPolicies {
            removed: SessionPolicy::Drain(Duration::ZERO),
            unhealthy: SessionPolicy::Reset,
            disabled: SessionPolicy::Drain(Duration::MAX),
        };
        cluster.slow_start = Some(Duration::MAX);
        check("c", &cluster, &mut found);
        let said: Vec<String> = found.0.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "c.breaker.failure_threshold: it must be from 1 to 1000",
                "c.breaker.open_max: it must be at least `open`",
                "c.breaker.max_ejected: 101 is not from 0 to 100",
                "c.panic_threshold: 255 is not from 0 to 100",
                "c.sessions.removed.drain: it must be more than 0 and at most 45 days",
                "c.sessions.disabled.drain: it must be more than 0 and at most 45 days",
                "c.slow_start: it must be more than 0 and at most 1 day",
            ]
        );
    }
}
