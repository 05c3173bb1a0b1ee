//! Plans for a roster, drawn at random: clusters over endpoints of the simulated network.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::time::Duration;

use ringlane::balance::Policy;
use ringlane::balance::endpoint::Address;
use ringlane::plan::failure::{BreakerPlan, SessionPolicies, SessionPolicy, WhenNoneHealthy};
use ringlane::plan::health::{Check, HealthPlan};
use ringlane::plan::place::{Bind, Place};
use ringlane::plan::proxy::AcceptProxy;
use ringlane::plan::{ClusterPlan, EndpointPlan, ListenerPlan, Plan, SessionTimeouts};
use ringlane::session::Settings;

use super::network::{Answer, Manner, Remote};

/// A plan whose sessions have these settings: a cluster for each listener, each with endpoints of
/// its own.
pub(super) fn random(
    rng: &mut fastrand::Rng,
    settings: &Settings,
    listeners: usize,
) -> (Plan, Vec<Remote>) {
    let mut remotes = Vec::new();
    let mut plan = Plan::default();
    for place in 0..listeners {
        let name = format!("cluster {place}");
        let bind = Bind::Tcp(([10, 0, 0, 9], 80 + place as u16).into());
        let from = "0.0.0.0/0".parse();
        plan.listeners.push(ListenerPlan {
            accept_proxy: settings.header_timeout.map(|timeout| AcceptProxy {
                timeout,
                ..AcceptProxy::from(from.into_iter().collect())
            }),
            ..ListenerPlan::on(bind, &name)
        });
        let mut cluster = random_cluster(rng, settings, &name);
        for _ in 0..rng.u8(1..=4) {
            let remote = new_remote(rng, remotes.len());
            cluster.endpoints.push(endpoint(rng, &remote.address));
            remotes.push(remote);
        }
        plan.clusters.push(cluster);
    }
    (plan, remotes)
}

fn random_cluster(rng: &mut fastrand::Rng, settings: &Settings, name: &str) -> ClusterPlan {
    let policy = |rng: &mut fastrand::Rng| match rng.u8(..3) {
        0 => SessionPolicy::Keep,
        1 => SessionPolicy::Drain(Duration::from_millis(rng.u64(100..4_000))),
        _ => SessionPolicy::Reset,
    };
    let open = Duration::from_millis(rng.u64(100..2_000));
    let when_none_healthy = [
        None,
        Some(WhenNoneHealthy::Refuse),
        Some(WhenNoneHealthy::TryLeastFailed),
    ];
    ClusterPlan {
        policy: rng.choice(Policy::ALL).unwrap_or_default(),
        connect_timeout: settings.connect_timeout,
        tries: settings.tries,
        retry_within: settings.retry_within,
        timeouts: SessionTimeouts {
            idle: Some(settings.idle_timeout),
            half_close: Some(settings.half_close_timeout),
            max_age: settings.max_age.map(|(age, _)| age),
            max_age_jitter: settings.max_age.map(|(_, jitter)| jitter),
        },
        health: (rng.u8(..4) == 0).then(|| HealthPlan {
            interval: Duration::from_millis(500),
            rise: rng.u32(1..=2),
            fall: rng.u32(1..=3),
            ..HealthPlan::of(Check::Tcp)
        }),
        breaker: (rng.u8(..8) > 0).then(|| BreakerPlan {
            failure_threshold: rng.choice([1, 1, 2, 3]).unwrap_or(1),
            open,
            open_max: open * rng.u32(1..=6),
            max_ejected_percent: rng.choice([50, 50, 80, 100]).unwrap_or(50),
        }),
        when_none_healthy: rng.choice(when_none_healthy).flatten(),
        panic_threshold_percent: rng.choice([0, 0, 0, 40, 70]).unwrap_or(0),
        sessions: SessionPolicies {
            removed: policy(rng),
            unhealthy: policy(rng),
            disabled: policy(rng),
        },
        slow_start: (rng.u8(..4) == 0).then(|| Duration::from_millis(rng.u64(100..3_000))),
        ..ClusterPlan::named(name)
    }
}

/// An endpoint at an address, with a share, a limit and a priority of its own.
pub(super) fn endpoint(rng: &mut fastrand::Rng, address: &Address) -> EndpointPlan {
    let place = match address {
        Address::Tcp(addr) => Place::Address(*addr),
        Address::Unix(path) => Place::Unix(path.clone()),
    };
    EndpointPlan {
        weight: rng.u32(1..4),
        max_connections: (rng.u8(..5) == 0).then(|| rng.u32(1..4)),
        priority: u16::from(rng.u8(..8) == 0),
        backup: rng.u8(..10) == 0,
        ..EndpointPlan::at(place)
    }
}

/// The `number`th address, with a good endpoint.
pub(super) fn new_remote(rng: &mut fastrand::Rng, number: usize) -> Remote {
    let address = match rng.u8(..4) {
        0 => Address::Unix(PathBuf::from(format!("/endpoint/{number}"))),
        _ => Address::Tcp(([10, 0, 0, 1], 1000 + number as u16).into()),
    };
    Remote {
        address,
        answer: Answer::Accept,
        manner: Manner::Serve,
        accepted: Default::default(),
        room: rng.choice([4_000, 12_000, 200_000]).unwrap_or(4_000),
    }
}

/// What becomes of an endpoint for a while.
pub(super) fn fate(rng: &mut fastrand::Rng) -> (Answer, Manner) {
    match rng.u8(..16) {
        0..4 => (Answer::Accept, Manner::Serve),
        4..6 => (Answer::Refuse, Manner::Serve),
        6 => (Answer::Unreachable, Manner::Serve),
        7..9 => (Answer::Silence, Manner::Serve),
        9 => (Answer::Late, Manner::Serve),
        10..12 => (Answer::Accept, Manner::Reset),
        _ => (Answer::Accept, Manner::Mute),
    }
}
