//! Who wins when operators, probes and sessions say different things, and who is picked then.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use ringlane::error::CloseReason;
use ringlane::plan::Plan;
use ringlane::plan::failure::{BreakerPlan, WhenNoneHealthy};
use ringlane::plan::health::{Check, HttpCheck};

use crate::support::actor::{Actor, Manner};
use crate::support::admin::Admin;
use crate::support::caller::{Load, ask, ask_often};
use crate::support::folder::Folder;
use crate::support::program::{Program, ringlane};
use crate::support::{Balancer, live_plan, probing, wait_until};

fn probed_plan(actors: &[&Actor], check: Check) -> Plan {
    let mut plan = live_plan(actors);
    plan.clusters[0].health = Some(probing(check));
    plan
}

fn http() -> Check {
    Check::Http(HttpCheck::default())
}

/// All of some sessions are served by this actor.
fn check_all_by(balancer: &Balancer, name: &str) {
    let served = ask_often(balancer.addr(), 12);
    assert_eq!(served.get(name), Some(&12), "{served:?}");
}

#[test]
fn what_operators_say_goes_before_probes_and_the_last_resort() {
    let actors = ["a", "b"].map(Actor::start);
    let mut plan = probed_plan(&actors.each_ref(), http());
    plan.clusters[0].when_none_healthy = Some(WhenNoneHealthy::TryLeastFailed);
    plan.clusters[0].panic_threshold_percent = 100;
    let balancer = Balancer::start(&plan);
    let admin = Admin::of(&balancer);
    admin.await_all_up();
    for (body, reason) in [
        (r#"{"state": "disabled"}"#, "disabled"),
        (r#"{"state": "draining"}"#, "draining"),
        (r#"{"weight": 0}"#, "weight_0"),
    ] {
        let endpoint = admin.patch("a", body);
        assert_eq!(
            (&endpoint["eligible"], &endpoint["health"]),
            (&false.into(), &"up".into())
        );
        assert_eq!(endpoint["reason"], reason);
        check_all_by(&balancer, "b");
        // Now only one is left, and that one is not well: still it is the one that is tried.
        actors[1].play(Manner::Sick);
        admin.await_field("b", "health", "down");
        check_all_by(&balancer, "b");
        // And if that is not allowed either, nobody is served.
        admin.patch("b", r#"{"state": "disabled"}"#);
        assert_eq!(admin.cluster()["mode"], "none");
        let before = balancer.closed(CloseReason::NoEndpoint);
        assert!(ask(balancer.addr()).is_err());
        balancer.await_closed(CloseReason::NoEndpoint, before + 1);
        actors[1].play(Manner::Serve);
        admin.patch("b", r#"{"state": "enabled"}"#);
        admin.await_field("b", "health", "up");
        admin.patch("a", r#"{"state": "enabled", "weight": 1}"#);
    }
    let served = ask_often(balancer.addr(), 12);
    assert!(
        served.get("a").is_some_and(|count| *count >= 4),
        "{served:?}"
    );
}

#[test]
fn an_ejected_endpoint_stays_out_whatever_its_probes_say() {
    let actors = [Actor::start("good"), Actor::with("bad", Manner::Reset)];
    let mut plan = probed_plan(&actors.each_ref(), Check::Tcp);
    plan.clusters[0].breaker = Some(BreakerPlan {
        failure_threshold: 3,
        open: Duration::from_secs(60),
        ..BreakerPlan::default()
    });
    let balancer = Balancer::start(&plan);
    let admin = Admin::of(&balancer);
    admin.await_all_up();
    wait_until("it is ejected", || {
        let _maybe_reset = ask(balancer.addr());
        admin.endpoint("bad")["breaker"] == "open"
    });
    admin.await_workers();
    let probes = actors[1].connections();
    wait_until("it is probed on", || actors[1].connections() >= probes + 2);
    let endpoint = admin.endpoint("bad");
    assert_eq!(
        (&endpoint["health"], &endpoint["reason"]),
        (&"up".into(), &"ejected".into())
    );
    check_all_by(&balancer, "good");
    // What its operator says goes before that too.
    let endpoint = admin.patch("bad", r#"{"state": "disabled"}"#);
    assert_eq!(
        (&endpoint["breaker"], &endpoint["reason"]),
        (&"open".into(), &"disabled".into())
    );
}

#[test]
fn better_tiers_go_first_and_come_back() {
    let actors = ["first", "second", "backup"].map(Actor::start);
    let mut plan = probed_plan(&actors.each_ref(), Check::Tcp);
    plan.clusters[0].endpoints[1].priority = 1;
    plan.clusters[0].endpoints[2].backup = true;
    let balancer = Balancer::start(&plan);
    let admin = Admin::of(&balancer);
    admin.await_all_up();
    check_all_by(&balancer, "first");
    assert_eq!(admin.endpoint("backup")["reason"], "better_priority");
    actors[0].kill();
    admin.await_field("first", "health", "down");
    check_all_by(&balancer, "second");
    admin.patch("second", r#"{"state": "draining"}"#);
    check_all_by(&balancer, "backup");
    actors[0].revive();
    admin.await_field("first", "health", "up");
    check_all_by(&balancer, "first");
    actors[0].kill();
    admin.await_field("first", "health", "down");
    check_all_by(&balancer, "backup");
    admin.patch("second", r#"{"state": "enabled"}"#);
    check_all_by(&balancer, "second");
    assert_eq!(actors[2].sessions(), 24);
}

#[test]
fn a_tier_is_used_for_as_long_as_one_of_it_is_well() {
    let actors = ["a", "b", "backup"].map(Actor::start);
    let mut plan = probed_plan(&actors.each_ref(), Check::Tcp);
    plan.clusters[0].endpoints[2].backup = true;
    let balancer = Balancer::start(&plan);
    let admin = Admin::of(&balancer);
    admin.await_all_up();
    let load = Load::start(balancer.addr(), 2);
    load.between(|| actors[0].kill());
    admin.await_field("a", "health", "down");
    load.between(|| ());
    let tally = load.await_more(50);
    assert_eq!(tally.of("b"), tally.total());
    load.between(|| actors[1].kill());
    admin.await_field("b", "health", "down");
    load.between(|| ());
    let tally = load.await_more(50);
    assert_eq!(tally.of("backup"), tally.total());
}

#[test]
fn with_too_few_healthy_ones_health_is_not_looked_at() {
    let actors = ["a", "b", "c"].map(Actor::start);
    let mut plan = probed_plan(&actors.each_ref(), http());
    plan.clusters[0].panic_threshold_percent = 50;
    let balancer = Balancer::start(&plan);
    let admin = Admin::of(&balancer);
    admin.await_all_up();
    actors[0].play(Manner::Sick);
    admin.await_field("a", "health", "down");
    assert_eq!(admin.cluster()["mode"], "normal");
    let served = ask_often(balancer.addr(), 12);
    assert_eq!(served.get("a"), None);
    actors[1].play(Manner::Sick);
    admin.await_field("b", "health", "down");
    assert_eq!(admin.cluster()["mode"], "panic");
    let served = ask_often(balancer.addr(), 30);
    assert!(
        ["a", "b", "c"]
            .iter()
            .all(|name| served.get(*name).is_some_and(|count| *count >= 6)),
        "{served:?}"
    );
    actors[0].play(Manner::Serve);
    admin.await_field("a", "health", "up");
    assert_eq!(admin.cluster()["mode"], "normal");
    let served = ask_often(balancer.addr(), 12);
    assert_eq!(served.get("b"), None);
}

#[test]
fn clients_are_refused_while_nobody_is_well() {
    let actors = ["a", "b"].map(Actor::start);
    let plan = probed_plan(&actors.each_ref(), http());
    let balancer = Balancer::start(&plan);
    let admin = Admin::of(&balancer);
    admin.await_all_up();
    for actor in &actors {
        actor.play(Manner::Sick);
        admin.await_field(actor.name, "health", "down");
    }
    assert_eq!(admin.cluster()["mode"], "none");
    for refused in 1..=10 {
        assert!(ask(balancer.addr()).is_err());
        balancer.await_closed(CloseReason::NoEndpoint, refused);
    }
    assert_eq!(actors[0].sessions() + actors[1].sessions(), 0);
    actors[1].play(Manner::Serve);
    admin.await_field("b", "health", "up");
    check_all_by(&balancer, "b");
}

#[test]
fn as_a_last_resort_clients_get_the_one_that_has_failed_least() {
    let actors = ["a", "b"].map(Actor::start);
    let mut plan = probed_plan(&actors.each_ref(), http());
    plan.clusters[0].when_none_healthy = Some(WhenNoneHealthy::TryLeastFailed);
    // Both are probed at one pace, whatever was found.
    let health = plan.clusters[0].health.as_mut().expect("it was set");
    (health.jitter_percent, health.interval) = (0, Duration::from_millis(100));
    (health.fast_interval, health.timeout) = (health.interval, health.interval);
    let balancer = Balancer::start(&plan);
    let admin = Admin::of(&balancer);
    admin.await_all_up();
    actors[0].play(Manner::Sick);
    let probes = actors[0].probes();
    wait_until("it has failed often", || actors[0].probes() >= probes + 10);
    actors[1].play(Manner::Sick);
    admin.await_field("b", "health", "down");
    assert_eq!(admin.cluster()["mode"], "last_resort");
    check_all_by(&balancer, "b");
}

#[test]
fn without_probes_the_last_resort_finds_out_who_is_back() {
    let actors = ["a", "b"].map(Actor::start);
    let mut plan = live_plan(&actors.each_ref());
    plan.clusters[0].breaker = Some(BreakerPlan {
        failure_threshold: 2,
        open: Duration::from_secs(60),
        max_ejected_percent: 100,
        ..BreakerPlan::default()
    });
    let balancer = Balancer::start(&plan);
    let admin = Admin::of(&balancer);
    for actor in &actors {
        actor.kill();
    }
    admin.poll("both are ejected", || {
        assert!(ask(balancer.addr()).is_err());
        let endpoints = admin.endpoints();
        endpoints.iter().all(|one| one["breaker"] == "open")
    });
    admin.await_workers();
    assert_eq!(admin.cluster()["mode"], "last_resort");
    for actor in &actors {
        actor.revive();
    }
    // Long before a minute is over, one client finds out that the one it got is back.
    let by = ask(balancer.addr()).expect("it is served");
    admin.await_field(&by, "breaker", "closed");
    assert_eq!(admin.cluster()["mode"], "normal");
    // The other one stays out: there is one that is well.
    check_all_by(&balancer, &by);
}

#[test]
fn a_recovered_endpoint_gets_its_share_step_by_step() {
    const WHOLE: Duration = Duration::from_secs(2);
    let actors = ["steady", "fresh"].map(Actor::start);
    let mut plan = live_plan(&actors.each_ref());
    plan.clusters[0].slow_start = Some(WHOLE);
    let balancer = Balancer::start(&plan);
    let admin = Admin::of(&balancer);
    let share = || {
        let served = ask_often(balancer.addr(), 60);
        served.get("fresh").copied().unwrap_or_default()
    };
    assert!(share() >= 25, "what is there from the start has its share");
    let mut first = None;
    wait_until("it could be looked at early enough", || {
        admin.patch("fresh", r#"{"state": "disabled"}"#);
        assert_eq!(share(), 0);
        let before = Instant::now();
        admin.patch("fresh", r#"{"state": "enabled"}"#);
        let share = share();
        first = (before.elapsed() < WHOLE * 4 / 10).then_some(share);
        first.is_some()
    });
    // At most five steps of ten, so that it has about a third.
    let first = first.expect("it was looked at");
    assert!((1..=25).contains(&first), "{first} of 60");
    let recovered = Instant::now();
    wait_until("it has its share", || share() >= 28);
    assert!(recovered.elapsed() >= WHOLE * 3 / 10, "that was at once");
}

#[test]
fn flapping_is_followed_no_more_often_than_rise_and_fall_allow() {
    const EACH: u64 = 4;
    const ROUNDS: u64 = 3;
    let actor = Actor::start("flaps");
    let folder = Folder::new();
    let text = format!(
        r#"{{
            "workers": {{"count": 2}},
            "listeners": [{{"bind": "127.0.0.1:0", "cluster": "default"}}],
            "clusters": [{{"name": "default", "endpoints": ["{}"],
                "when_none_healthy": "try_least_failed",
                "health": {{"type": "http", "interval": "300ms", "fast_interval": "20ms",
                    "timeout": "300ms", "rise": 2, "fall": 3}}}}]
        }}"#,
        actor.addr
    );
    let config = folder.write("ringlane.json", text);
    let mut command = ringlane();
    command.arg("run").arg("--config").arg(config);
    let mut program = Program::start(command);
    let load = Load::start(program.addr, 1);
    // First it changes too fast for either, then slowly enough.
    for pace in [1, EACH] {
        for _ in 0..ROUNDS {
            for manner in [Manner::Sick, Manner::Serve] {
                let probes = actor.probes();
                actor.play(manner);
                wait_until("it is probed", || actor.probes() >= probes + pace);
            }
        }
    }
    let tally = load.end();
    assert!(tally.failures.is_empty(), "{:?}", tally.failures);
    let probes = actor.probes();
    program.signal("TERM");
    assert!(program.await_exit().success());
    let log = program.await_all();
    let count = |word: &str| log.iter().filter(|line| line.contains(word)).count() as u64;
    let (downs, ups) = (count(" down "), count(" up "));
    assert!(downs >= 1, "it was never followed:\n{log:#?}");
    assert!(downs.abs_diff(ups) <= 1, "{downs} and {ups}");
    // The first result counts alone; each change later takes so many probes in a row.
    assert!(downs * (2 + 3) <= probes + 3, "{downs} of {probes} probes");
    assert!(downs <= 2 * ROUNDS, "{downs} of {ROUNDS} rounds");
}
