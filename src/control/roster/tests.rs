//! What happens to endpoints, and what workers and people are told of it.
#![forbid(unsafe_code)]

use super::*;
use crate::balance::Role;
use std::time::Duration;

use crate::control::discovery::{Found, Located};
use crate::control::prober::{Outcome, ProbeReport};
use crate::control::request::{Change, EndpointKey, Refusal};
use crate::error::CloseReason;
use crate::health::HealthState;
use crate::plan::failure::{SessionPolicy, WhenNoneHealthy};
use crate::plan::health::{Check, HealthPlan};
use crate::plan::place::Place;
use crate::plan::{ClusterPlan, EndpointPlan};
use crate::standing::AdminState;

const CLUSTER: &str = "default";

fn at(seconds: u64) -> Instant {
    Instant::default() + Duration::from_secs(1_000 + seconds)
}

fn key(name: &str) -> EndpointKey {
    EndpointKey::Name(name.to_string())
}

/// A roster of one cluster, settled at second 0.
struct Scene {
    roster: Roster,
    view: View,
}

impl Scene {
    fn new(endpoints: &[&str], change: impl FnOnce(&mut ClusterPlan)) -> Self {
        let endpoints = endpoints
            .iter()
            .map(|text| text.parse().expect("an endpoint"));
        let mut plan = Plan::simple(&[([127, 0, 0, 1], 1).into()], endpoints.collect());
        change(&mut plan.clusters[0]);
        let mut roster = Roster::new(&plan, 1);
        roster.settle(at(0));
        let view = roster.publish(Epoch(1));
        let _of_the_start = roster.take_notes();
        Self { roster, view }
    }

    /// Three endpoints a, b and c that are probed.
    fn probed() -> Self {
        Self::new(&ABC, |cluster| {
            cluster.health = Some(HealthPlan::of(Check::Tcp))
        })
    }

    /// Settles; whether workers have to be told, and what people are.
    fn settle(&mut self, seconds: u64) -> (bool, Vec<String>) {
        self.roster.settle(at(seconds));
        let is_unpublished = self.roster.is_unpublished();
        if is_unpublished {
            self.view = self.roster.publish(Epoch(self.view.epoch.0 + 1));
        }
        let notes = self.roster.take_notes().into_iter().map(|note| {
            let subject = note.subject.unwrap_or_default();
            let (eligible, of) = (note.eligible, note.endpoints);
            format!("{subject} {} ({eligible} of {of} left)", note.happening)
        });
        (is_unpublished, notes.collect())
    }

    fn roles(&self) -> Vec<Role> {
        let members = self.view.clusters[0].candidates.members().iter();
        members.map(|member| member.role).collect()
    }

    fn weights(&self) -> Vec<u32> {
        let members = self.view.clusters[0].candidates.members().iter();
        members.map(|member| member.weight).collect()
    }

    fn endpoint(&self, name: &str) -> Arc<Endpoint> {
        let mut endpoints = self.roster.endpoints();
        let found = endpoints.find(|endpoint| endpoint.name == name);
        Arc::clone(found.expect("it is in the roster"))
    }

    fn probe(&mut self, name: &str, state: HealthState, seconds: u64) {
        let detail = "so".into();
        self.roster.handle_probe(ProbeReport {
            endpoint: self.endpoint(name).id,
            outcome: match state {
                HealthState::Up => Outcome::Success(detail),
                HealthState::Down => Outcome::Failure(detail),
                HealthState::Unknown => Outcome::Late(detail),
            },
            state,
            changed: false,
            failures: u32::from(state == HealthState::Down),
            took: Duration::from_millis(1),
            ended: at(seconds),
            is_first: false,
        });
    }

    /// So many sessions fail on an endpoint, and control looks.
    fn fail(&mut self, name: &str, times: u32, seconds: u64) {
        let endpoint = self.endpoint(name);
        for _ in 0..times {
            endpoint.count_failure();
        }
        self.roster.look_at(endpoint.id, at(seconds));
    }
}

fn found(targets: &[Located]) -> Found {
    Found {
        targets: targets.to_vec(),
        ttl: Duration::from_secs(5),
        incomplete: None,
        left_out: 0,
    }
}

const ABC: [&str; 3] = [
    "10.0.0.1:1,name=a",
    "10.0.0.2:1,name=b",
    "10.0.0.3:1,name=c",
];

use Role::{Active, LastResort, Out, Trial};

#[test]
fn who_is_down_is_not_picked_and_that_is_told_once() {
    let mut scene = Scene::probed();
    scene.probe("a", HealthState::Down, 1);
    let told = vec!["a down: so (2 of 3 left)".to_string()];
    assert_eq!(scene.settle(1), (true, told));
    assert_eq!(scene.roles(), [Out, Active, Active]);
    scene.probe("a", HealthState::Down, 2);
    assert_eq!(scene.settle(2), (false, vec![]));
    scene.probe("a", HealthState::Up, 3);
    let told = vec!["a up: so (2 times in a row) (3 of 3 left)".to_string()];
    assert_eq!(scene.settle(3), (true, told));
    assert_eq!(scene.roles(), [Active; 3]);
}

#[test]
fn when_all_are_down_that_is_an_outage() {
    let mut scene = Scene::probed();
    for name in ["a", "b", "c"] {
        scene.probe(name, HealthState::Down, 1);
    }
    let (_, told) = scene.settle(1);
    let outage = " outage: no endpoint may be picked; clients are refused (0 of 3 left)";
    assert!(told.iter().any(|line| line == outage), "{told:?}");
    assert_eq!(scene.roles(), [Out; 3]);
    assert!(scene.roster.outage().is_some());
    scene.probe("b", HealthState::Up, 2);
    let (_, told) = scene.settle(2);
    assert!(
        told.iter().any(|line| line.starts_with(" normal")),
        "{told:?}"
    );
    assert!(scene.roster.outage().is_none());
}

#[test]
fn who_fails_too_often_is_ejected_tried_and_readmitted() {
    let mut scene = Scene::new(&ABC, |_| ());
    scene.fail("a", 4, 1);
    assert_eq!(scene.settle(1), (false, vec![]));
    scene.fail("a", 1, 1);
    let told = vec![
        "a ejected: sessions in a row that failed on it: 5; for 30s (2 of 3 left)".to_string(),
    ];
    assert_eq!(scene.settle(1), (true, told));
    assert_eq!(scene.roles(), [Out, Active, Active]);
    assert_eq!(scene.roster.deadline(), at(31));
    assert_eq!(scene.settle(30), (false, vec![]));
    scene.settle(31);
    assert_eq!(scene.roles(), [Trial, Active, Active]);
    let endpoint = scene.endpoint("a");
    let take = || endpoint.try_take_trial(crate::id::WorkerIndex(0), at(31), at(40));
    let permit = take().expect("the trial is granted");
    assert!(endpoint.end_trial(permit, crate::balance::endpoint::TrialEnd::Failed));
    scene.roster.look_at(endpoint.id, at(32));
    let (_, told) = scene.settle(32);
    assert_eq!(told, ["a ejected: the trial failed; for 60s (2 of 3 left)"]);
    scene.settle(92);
    let permit = take().expect("the trial is granted");
    assert!(endpoint.end_trial(permit, crate::balance::endpoint::TrialEnd::Succeeded));
    scene.roster.look_at(endpoint.id, at(93));
    let (_, told) = scene.settle(93);
    assert_eq!(told, ["a readmitted: a session was served (3 of 3 left)"]);
    assert_eq!(scene.roles(), [Active; 3]);
    assert_eq!(endpoint.failures(), 0);
}

#[test]
fn a_probe_is_the_trial_where_there_are_probes() {
    let mut scene = Scene::probed();
    scene.fail("a", 5, 1);
    scene.settle(1);
    scene.probe("a", HealthState::Up, 2);
    scene.settle(31);
    assert_eq!(scene.roles(), [Out, Active, Active]);
    scene.probe("a", HealthState::Up, 32);
    scene.settle(32);
    assert_eq!(scene.roles(), [Active; 3]);
}

#[test]
fn a_cluster_is_never_emptied_by_its_breaker() {
    let mut scene = Scene::new(&ABC, |_| ());
    for name in ["a", "b", "c"] {
        scene.fail(name, 5, 1);
        scene.settle(1);
    }
    assert_eq!(scene.roles(), [Out, Active, Active]);
    let mut alone = Scene::new(&ABC[..1], |cluster| {
        if let Some(breaker) = &mut cluster.breaker {
            breaker.max_ejected_percent = 100;
        }
    });
    alone.fail("a", 50, 1);
    assert_eq!(alone.settle(1), (false, vec![]));
}

#[test]
fn the_least_failed_is_the_last_resort() {
    let mut scene = Scene::new(&ABC, |cluster| {
        cluster.health = Some(HealthPlan::of(Check::Tcp));
        cluster.when_none_healthy = Some(WhenNoneHealthy::TryLeastFailed);
    });
    for name in ["a", "b", "c"] {
        scene.probe(name, HealthState::Down, 1);
    }
    scene.fail("a", 1, 1);
    scene.settle(1);
    assert_eq!(scene.roles(), [Out, LastResort, LastResort]);
    // Who fails is left for another.
    scene.fail("b", 1, 2);
    scene.fail("c", 2, 2);
    scene.settle(2);
    assert_eq!(scene.roles(), [LastResort, LastResort, Out]);
}

#[test]
fn sessions_end_as_the_cause_says() {
    let drain = SessionPolicy::Drain(Duration::from_secs(30));
    let mut scene = Scene::new(&ABC, |cluster| {
        cluster.health = Some(HealthPlan::of(Check::Tcp));
        cluster.sessions.unhealthy = drain;
        cluster.sessions.disabled = SessionPolicy::Reset;
    });
    let order = |scene: &Scene, name: &str, seconds, reason| Eviction {
        endpoint: scene.endpoint(name).id,
        at: at(seconds),
        reason,
    };
    scene.probe("a", HealthState::Down, 1);
    scene.settle(1);
    let unhealthy = order(&scene, "a", 31, CloseReason::EndpointUnhealthy);
    assert_eq!(scene.view.evictions, [unhealthy]);
    let disabled = Change {
        state: Some(AdminState::Disabled),
        ..Change::default()
    };
    assert!(scene.roster.change(CLUSTER, &key("a"), disabled).is_ok());
    scene.settle(2);
    let disabled = order(&scene, "a", 2, CloseReason::EndpointDisabled);
    assert_eq!(scene.view.evictions, [disabled]);
    let enabled = Change {
        state: Some(AdminState::Enabled),
        ..Change::default()
    };
    assert!(scene.roster.change(CLUSTER, &key("a"), enabled).is_ok());
    scene.probe("a", HealthState::Up, 3);
    scene.settle(3);
    assert_eq!(scene.view.evictions, []);
    let removed = order(&scene, "b", 34, CloseReason::EndpointRemoved);
    let endpoint = scene.endpoint("b");
    assert!(endpoint.try_open_session(None));
    assert!(scene.roster.remove(CLUSTER, &key("b"), None, at(4)).is_ok());
    scene.settle(4);
    assert_eq!(scene.view.evictions, [removed]);
    assert_eq!(scene.roles(), [Active; 2]);
    scene.settle(100);
    assert_eq!(scene.view.evictions, [removed], "its session has not ended");
    endpoint.session_closed();
    scene.settle(101);
    assert_eq!(scene.view.evictions, []);
}

#[test]
fn a_share_grows_in_ten_steps() {
    let mut scene = Scene::new(&ABC, |cluster| {
        cluster.health = Some(HealthPlan::of(Check::Tcp));
        cluster.slow_start = Some(Duration::from_secs(10));
        cluster.endpoints[0].max_connections = Some(25);
    });
    assert_eq!(scene.weights(), [10, 10, 10]);
    scene.probe("a", HealthState::Down, 1);
    scene.settle(1);
    scene.probe("a", HealthState::Up, 2);
    scene.settle(2);
    for step in 1..=10 {
        assert_eq!(scene.weights(), [step, 10, 10]);
        let max = scene.view.clusters[0].candidates.members()[0].max_connections;
        assert_eq!(max, Some((25 * step).div_ceil(10)));
        let next = scene.roster.deadline();
        let expected = if step < 10 {
            at(2 + u64::from(step))
        } else {
            Instant::NEVER
        };
        assert_eq!(next, expected);
        let (is_unpublished, told) = scene.settle(2 + u64::from(step));
        assert_eq!((is_unpublished, told.len()), (step < 10, 0));
    }
}

#[test]
fn a_name_stands_for_what_the_last_good_answer_said() {
    let mut scene = Scene::new(&["db.internal:5432,weight=3"], |_| ());
    let (name, place) = scene.roster.names().remove(0);
    assert_eq!(place, Place::Host("db.internal".into(), 5432));
    assert!(!scene.roster.is_looked_up());
    let located = |last: u8| Located {
        addr: ([10, 0, 0, last], 5432).into(),
        weight: 1,
        priority: 0,
    };
    scene
        .roster
        .handle_lookup_failure(name, "no answer".to_string());
    let (_, told) = scene.settle(1);
    let expected = "db.internal:5432 look-up failed: no answer; it stands for no endpoint yet \
                    (0 of 0 left)";
    assert_eq!(told, [expected]);
    assert!(scene.roster.is_looked_up());
    scene
        .roster
        .handle_lookup(name, &found(&[located(1), located(2)]), at(2));
    scene.settle(2);
    assert_eq!(scene.weights(), [30, 30]);
    let first = scene.endpoint("db.internal:5432 (10.0.0.1:5432)");
    scene
        .roster
        .handle_lookup_failure(name, "no answer".to_string());
    scene.settle(3);
    assert_eq!(scene.weights(), [30, 30]);
    scene
        .roster
        .handle_lookup(name, &found(&[located(2), located(3)]), at(4));
    let (_, told) = scene.settle(4);
    assert_eq!(told.len(), 3, "{told:?}");
    assert_eq!(scene.weights(), [30, 30]);
    let mut members = scene.view.clusters[0].candidates.members().iter();
    assert!(members.all(|member| member.endpoint.id != first.id));
    assert_eq!(scene.view.evictions.len(), 1);
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let mut scene = Scene::new(&["10.0.0.1:1,name=a", "localhost:1"], |_| ());
    let (name, _) = scene.roster.names().remove(0);
    let located = Located {
        addr: ([127, 0, 0, 1], 1).into(),
        weight: 1,
        priority: 0,
    };
    scene.roster.handle_lookup(name, &found(&[located]), at(1));
    scene.settle(1);
    let plan = |text: &str| text.parse::<EndpointPlan>().expect("an endpoint");
    let refused = [
        scene
            .roster
            .add("x", &plan("10.0.0.2:1"), at(2))
            .map(|_| ()),
        scene
            .roster
            .add(CLUSTER, &plan("10.0.0.2:1,name=a"), at(2))
            .map(|_| ()),
        scene
            .roster
            .add(CLUSTER, &plan("b.example:1"), at(2))
            .map(|_| ()),
        scene
            .roster
            .remove(CLUSTER, &EndpointKey::Id(77), None, at(2))
            .map(|_| ()),
        scene
            .roster
            .remove(CLUSTER, &key("localhost:1"), None, at(2))
            .map(|_| ()),
        scene
            .roster
            .change(CLUSTER, &key("x"), Change::default())
            .map(|_| ()),
    ];
    for (refused, expected) in refused.iter().zip([
        "Unknown", "Conflict", "Invalid", "Unknown", "Conflict", "Unknown",
    ]) {
        let kind = match refused {
            Ok(()) => "Ok",
            Err(Refusal::Unknown { .. }) => "Unknown",
            Err(Refusal::Invalid { .. }) => "Invalid",
            Err(Refusal::Conflict { .. }) => "Conflict",
            Err(Refusal::Unavailable { .. }) => "Unavailable",
        };
        assert_eq!(kind, expected, "{refused:?}");
    }
    assert_eq!(scene.settle(2), (false, vec![]));
}

#[test]
fn what_does_not_change_is_shared_between_views() {
    let mut scene = Scene::probed();
    let before = Arc::clone(&scene.view.clusters[0]);
    scene.probe("a", HealthState::Up, 1);
    assert!(!scene.settle(1).0);
    let view = scene.roster.publish(Epoch(9));
    assert!(Arc::ptr_eq(&before, &view.clusters[0]));
}

#[test]
fn a_tier_is_given_up_where_a_later_one_serves() {
    let tiers = ["10.0.0.1:1,name=a", "10.0.0.2:1,name=b"];
    let mut scene = Scene::new(&tiers, |cluster| cluster.endpoints[1].backup = true);
    assert_eq!(scene.roles(), [Active, Out]);
    scene.fail("a", 5, 1);
    scene.settle(1);
    assert_eq!(scene.roles(), [Out, Active]);
    // Behind the last one there is nobody.
    scene.fail("b", 5, 2);
    scene.settle(2);
    assert_eq!(scene.roles(), [Out, Active]);
    scene.settle(31);
    assert_eq!(scene.roles(), [Trial, Active]);
    scene.endpoint("a").grant_trial();
    let last = crate::balance::endpoint::TrialPermit::LAST_RESORT;
    let served = crate::balance::endpoint::TrialEnd::Succeeded;
    assert!(scene.endpoint("a").end_trial(last, served));
    scene.roster.look_at_all(at(32));
    scene.settle(32);
    assert_eq!(scene.roles(), [Active, Out]);
    scene.fail("a", 5, 40);
    scene.settle(40);
    assert_eq!(scene.roles(), [Out, Active], "the backup was never ejected");
}

#[test]
fn a_name_goes_before_a_number() {
    let mut scene = Scene::new(&ABC, |_| ());
    let plan: EndpointPlan = "10.0.0.9:1,name=1".parse().expect("an endpoint");
    let id = scene.roster.add(CLUSTER, &plan, at(1)).expect("a new name");
    assert_ne!(id.0, 1);
    let removed = scene
        .roster
        .remove(CLUSTER, &EndpointKey::Id(1), None, at(2));
    assert_eq!(removed, Ok(id));
    let next = scene
        .roster
        .change(CLUSTER, &EndpointKey::Id(1), Change::default());
    assert_eq!(next, Ok(EndpointId(1)));
}

#[test]
fn what_becomes_of_a_removed_endpoint_s_sessions_can_be_said_anew() {
    let mut scene = Scene::new(&ABC, |_| ());
    let endpoint = scene.endpoint("a");
    assert!(endpoint.try_open_session(None));
    let hour = Some(SessionPolicy::Drain(Duration::from_secs(3600)));
    for (policy, expected) in [
        (hour, Some(at(3601))),
        (Some(SessionPolicy::Reset), Some(at(1))),
        (Some(SessionPolicy::Keep), None),
    ] {
        let removed = scene.roster.remove(CLUSTER, &key("a"), policy, at(1));
        assert_eq!(removed, Ok(endpoint.id));
        scene.settle(1);
        let orders = scene.view.evictions.iter();
        assert_eq!(orders.map(|order| order.at).next(), expected);
    }
    let status = scene.roster.cluster_status(CLUSTER).expect("it is there");
    assert_eq!((status.open_sessions, status.leaving), (1, 1));
    let gone = scene
        .roster
        .status_of(endpoint.id, at(2))
        .expect("it has a session");
    assert_eq!((gone.eligible, gone.reason), (false, Some("removed")));
    endpoint.session_closed();
    scene.settle(60);
    assert!(scene.roster.status_of(endpoint.id, at(60)).is_none());
    let again = scene.roster.remove(CLUSTER, &key("a"), None, at(60));
    assert!(matches!(again, Err(Refusal::Unknown { .. })));
}

#[test]
fn an_address_that_comes_back_is_as_its_operator_left_it() {
    let mut scene = Scene::new(&["db:1"], |_| ());
    let (name, _) = scene.roster.names().remove(0);
    let located = |last: u8| Located {
        addr: ([10, 0, 0, last], 1).into(),
        weight: 1,
        priority: 0,
    };
    let both = found(&[located(1), located(2)]);
    scene.roster.handle_lookup(name, &both, at(1));
    scene.settle(1);
    let disabled = Change {
        state: Some(AdminState::Disabled),
        ..Change::default()
    };
    let first = key("db:1 (10.0.0.1:1)");
    assert!(scene.roster.change(CLUSTER, &first, disabled).is_ok());
    scene
        .roster
        .handle_lookup(name, &found(&[located(2)]), at(2));
    scene.settle(2);
    scene.roster.handle_lookup(name, &both, at(3));
    scene.settle(3);
    let status = scene.roster.endpoint_status(CLUSTER, &first, at(3));
    assert_eq!(status.map(|status| status.state), Ok(AdminState::Disabled));
}

#[test]
fn shares_of_a_service_keep_their_proportion() {
    let located = |last: u8, weight: u32| Located {
        addr: ([10, 0, 0, last], 1).into(),
        weight,
        priority: 0,
    };
    let check = |weight: &str, answer: [u32; 2], expected: [u32; 2]| {
        let mut scene = Scene::new(&[&format!("srv:_x._tcp.example,weight={weight}")], |_| ());
        let (name, _) = scene.roster.names().remove(0);
        let answer = found(&[located(1, answer[0]), located(2, answer[1])]);
        scene.roster.handle_lookup(name, &answer, at(1));
        let all = scene
            .roster
            .endpoints_status(CLUSTER, at(1))
            .expect("a cluster");
        let weights: Vec<u32> = all.iter().map(|status| status.weight).collect();
        assert_eq!(weights, expected);
    };
    check("3", [100, 10], [300, 30]);
    check("500", [100, 10], [10_000, 1_000]);
    check("0", [100, 10], [0, 0]);
    check("1", [0, 0], [1, 1]);
}
