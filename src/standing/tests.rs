//! Everything that can be said about an endpoint, and what comes of it; who is picked then.
#![forbid(unsafe_code)]

use super::*;

#[test]
fn precedence_is_as_committed() {
    let mut table = String::from("operator, weight | breaker (tried by) | probes -> standing\n");
    let healths = [HealthState::Unknown, HealthState::Up, HealthState::Down];
    for admin in AdminState::ALL {
        for weight in [1, 0] {
            for breaker in BreakerState::ALL {
                for trial_by in [TrialBy::Session, TrialBy::Probe] {
                    for health in healths {
                        let said = Said {
                            admin,
                            weight,
                            breaker,
                            health,
                            trial_by,
                        };
                        let (admin, breaker) = (admin.word(), breaker.word());
                        let standing = said.standing();
                        table += &format!(
                            "{admin}, {weight} | {breaker} ({trial_by:?}) | {health:?} -> {standing:?}\n"
                        );
                    }
                }
            }
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/standing/precedence.txt");
    if std::env::var_os("RINGLANE_SNAPSHOT").is_some() {
        std::fs::write(path, &table).expect("the table can be written");
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(table, committed, "RINGLANE_SNAPSHOT=write accepts it");
}

const UP: Standing = Standing::Eligible;
const DOWN: Standing = Standing::Out(Reason::Unhealthy);
const EJECTED: Standing = Standing::Out(Reason::Ejected);
const DISABLED: Standing = Standing::Out(Reason::Disabled);

/// Elects among endpoints with a tier and a number of failures each.
fn check(
    endpoints: &[(Standing, u32, u64)],
    threshold: u8,
    when_none_healthy: WhenNoneHealthy,
    expected: (Mode, &[Role]),
) {
    let candidates: Vec<Candidate> = endpoints
        .iter()
        .map(|&(standing, tier, failures)| Candidate {
            standing,
            tier,
            failures,
        })
        .collect();
    let rules = Rules {
        panic_threshold_percent: threshold,
        when_none_healthy,
    };
    let (mode, roles) = elect(&candidates, rules);
    assert_eq!((mode, roles.as_slice()), expected, "{endpoints:?}");
}

use Role::{Active, LastResort, Out};
use WhenNoneHealthy::{Refuse, TryLeastFailed};

#[test]
fn the_first_tier_that_can_serve_does() {
    let normal = |endpoints: &[_], roles: &[_]| {
        check(endpoints, 0, Refuse, (Mode::Normal, roles));
    };
    normal(
        &[(UP, 0, 0), (UP, 0, 0), (UP, 1, 0)],
        &[Active, Active, Out],
    );
    normal(&[(DOWN, 0, 0), (UP, 0, 0), (UP, 1, 0)], &[Out, Active, Out]);
    normal(
        &[(DOWN, 0, 0), (EJECTED, 0, 0), (UP, 1, 0)],
        &[Out, Out, Active],
    );
    normal(
        &[(DISABLED, 0, 0), (DOWN, 1, 0), (UP, 2, 0)],
        &[Out, Out, Active],
    );
}

#[test]
fn a_trial_is_held_where_no_better_tier_serves() {
    let trial = Standing::Trial;
    let normal = |endpoints: &[_], roles: &[_]| {
        check(endpoints, 0, Refuse, (Mode::Normal, roles));
    };
    normal(&[(UP, 0, 0), (trial, 0, 0)], &[Active, Role::Trial]);
    normal(&[(trial, 0, 0), (UP, 1, 0)], &[Role::Trial, Active]);
    normal(&[(UP, 0, 0), (trial, 1, 0)], &[Active, Out]);
    check(&[(trial, 1, 0)], 0, Refuse, (Mode::None, &[Role::Trial]));
}

#[test]
fn when_none_is_left_the_rules_decide() {
    let endpoints = [
        (DOWN, 0, 7),
        (EJECTED, 0, 5),
        (DISABLED, 0, 0),
        (DOWN, 1, 5),
    ];
    check(&endpoints, 0, Refuse, (Mode::None, &[Out; 4]));
    let least = [Out, LastResort, Out, LastResort];
    check(&endpoints, 0, TryLeastFailed, (Mode::LastResort, &least));
    check(&[(DISABLED, 0, 0)], 0, TryLeastFailed, (Mode::None, &[Out]));
    check(&[], 50, TryLeastFailed, (Mode::None, &[]));
}

#[test]
fn below_the_threshold_health_is_not_looked_at() {
    let third = [(UP, 0, 0), (DOWN, 0, 0), (EJECTED, 0, 0)];
    check(&third, 33, Refuse, (Mode::Normal, &[Active, Out, Out]));
    check(
        &third,
        34,
        Refuse,
        (Mode::Panic, &[Active, Active, LastResort]),
    );
    // Who is disabled neither counts nor is picked.
    let half = [(UP, 0, 0), (DOWN, 0, 0), (DISABLED, 0, 0)];
    check(&half, 50, Refuse, (Mode::Normal, &[Active, Out, Out]));
    check(&half, 51, Refuse, (Mode::Panic, &[Active, Active, Out]));
    check(&[(DOWN, 0, 0)], 1, Refuse, (Mode::Panic, &[Active]));
    // A tier that can serve goes before panic in one that cannot.
    let backup = [(DOWN, 0, 0), (DOWN, 0, 0), (UP, 1, 0)];
    check(&backup, 50, Refuse, (Mode::Normal, &[Out, Out, Active]));
}
