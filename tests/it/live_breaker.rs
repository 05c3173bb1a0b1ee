//! The breaker without probes: how many clients a failing endpoint hurts, for how long it is left
//! alone, and how it comes back.
//!
//! Clients come one after the other, so that counts are exact. Times have lower bounds only.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use ringlane::error::CloseReason;
use ringlane::plan::Plan;
use ringlane::plan::failure::BreakerPlan;

use crate::support::actor::{Actor, Manner};
use crate::support::admin::Admin;
use crate::support::caller::{Caller, Load, ask, ask_often};
use crate::support::{Balancer, End, live_plan, read_to_end, reset, wait_until};

const THRESHOLD: u32 = 3;
const OPEN: Duration = Duration::from_millis(250);

fn breaker_plan(actors: &[&Actor]) -> Plan {
    let mut plan = live_plan(actors);
    // Otherwise a client would be helped by the other endpoint.
    plan.clusters[0].tries = 1;
    plan.clusters[0].breaker = Some(BreakerPlan {
        failure_threshold: THRESHOLD,
        open: OPEN,
        ..BreakerPlan::default()
    });
    plan
}

/// A balancer over one endpoint that is well and one that is not.
struct Pair {
    good: Actor,
    bad: Actor,
    balancer: Balancer,
    admin: Admin,
    /// When each client that was hurt began and ended.
    hurt: Vec<(Instant, Instant)>,
}

impl Pair {
    fn start(bad: Actor) -> Self {
        Self::start_with(bad, |_| {})
    }

    fn start_with(bad: Actor, change: impl FnOnce(&mut Plan)) -> Self {
        let good = Actor::start("good");
        let mut plan = breaker_plan(&[&good, &bad]);
        change(&mut plan);
        let balancer = Balancer::start(&plan);
        let admin = Admin::of(&balancer);
        Self {
            good,
            bad,
            balancer,
            admin,
            hurt: Vec::new(),
        }
    }

    /// One client; who served it, if anybody did.
    fn ask(&mut self) -> Option<String> {
        let began = Instant::now();
        let answer = ask(self.balancer.addr());
        if answer.is_err() {
            self.hurt.push((began, Instant::now()));
        }
        answer.ok()
    }

    /// Clients until so many have been hurt in all, then until all workers know what follows.
    fn ask_until_hurt(&mut self, clients: usize) {
        while self.hurt.len() < clients {
            self.ask();
        }
        // What has been reported before is known to control after a call, and to workers after
        // another one.
        self.admin.await_workers();
    }

    fn await_breaker(&self, word: &str) {
        self.admin.await_field("bad", "breaker", word);
    }

    fn failures(&self) -> u64 {
        self.admin.number("bad", "consecutive_failures")
    }
}

/// An endpoint that fails each client in some way is ejected after so many, tried by one client at
/// a time, longer each time, and readmitted once it has served one.
fn ejected_and_readmitted(bad: Actor, heal: impl FnOnce(&Actor)) {
    const RUN: usize = THRESHOLD as usize;
    let mut pair = Pair::start(bad);
    pair.ask_until_hurt(RUN);
    assert_ne!(pair.admin.endpoint("bad")["breaker"], "closed");
    // Now it is tried by one client, after its time, and then by another, after twice the time.
    pair.ask_until_hurt(RUN + 1);
    assert_ne!(pair.admin.endpoint("bad")["breaker"], "closed");
    pair.ask_until_hurt(RUN + 2);
    let (last_of_run, first_trial, second_trial) =
        (pair.hurt[RUN - 1], pair.hurt[RUN], pair.hurt[RUN + 1]);
    assert!(first_trial.1 - last_of_run.0 >= OPEN);
    assert!(second_trial.1 - first_trial.0 >= 2 * OPEN);
    heal(&pair.bad);
    wait_until("it serves again", || {
        pair.ask().is_some_and(|by| by == "bad")
    });
    assert_eq!(
        pair.hurt.len(),
        THRESHOLD as usize + 2,
        "nobody else was hurt"
    );
    pair.await_breaker("closed");
    assert_eq!(pair.failures(), 0);
    let served = ask_often(pair.balancer.addr(), 20);
    assert!(
        served.get("bad").is_some_and(|count| *count >= 8),
        "{served:?}"
    );
}

#[test]
fn one_that_resets_is_ejected_and_readmitted() {
    ejected_and_readmitted(Actor::with("bad", Manner::Reset), |bad| {
        bad.play(Manner::Serve);
    });
}

#[test]
fn one_that_closes_without_a_byte_is_ejected_and_readmitted() {
    ejected_and_readmitted(Actor::with("bad", Manner::Close), |bad| {
        bad.play(Manner::Serve);
    });
}

#[test]
fn one_that_refuses_is_ejected_and_readmitted() {
    ejected_and_readmitted(Actor::dead("bad"), Actor::revive);
}

#[test]
fn an_open_breaker_lets_nobody_through() {
    let mut pair = Pair::start_with(Actor::with("bad", Manner::Reset), |plan| {
        let breaker = plan.clusters[0].breaker.as_mut();
        breaker.expect("it was set").open = Duration::from_secs(60);
    });
    pair.ask_until_hurt(THRESHOLD as usize);
    pair.await_breaker("open");
    let load = Load::start(pair.balancer.addr(), 4);
    let tally = load.await_more(500);
    assert_eq!(tally.of("good"), tally.total());
    assert!(load.end().failures.is_empty());
    assert_eq!(pair.bad.sessions(), THRESHOLD as usize);
    assert_eq!(pair.bad.connections(), u64::from(THRESHOLD));
    assert_eq!(pair.admin.endpoint("bad")["reason"], "ejected");
}

#[test]
fn one_client_at_a_time_tries_an_endpoint() {
    let mut pair = Pair::start(Actor::with("bad", Manner::Reset));
    pair.ask_until_hurt(THRESHOLD as usize);
    pair.bad.play(Manner::Mute);
    pair.await_breaker("half_open");
    let before = pair.bad.sessions();
    let mut callers: Vec<Caller> = (0..30)
        .map(|_| Caller::connect(pair.balancer.addr()).expect("it is accepted"))
        .collect();
    for caller in &mut callers {
        caller.say().expect("the kernel takes it");
    }
    // All but the one that waits for the endpoint on trial are answered.
    let load = Load::start(pair.balancer.addr(), 2);
    let tally = load.await_more(100);
    assert_eq!(tally.of("good"), tally.total());
    assert_eq!(pair.bad.sessions(), before + 1);
    assert_eq!(pair.admin.number("bad", "open_sessions"), 1);
    drop(load);
    pair.bad.play(Manner::Serve);
    let mut by_bad = 0;
    for mut caller in callers {
        by_bad += usize::from(caller.hear().expect("it is served") == "bad");
        caller.finish().expect("it ends in order");
    }
    assert_eq!(by_bad, 1);
    pair.await_breaker("closed");
}

#[test]
fn a_trial_whose_client_leaves_without_a_word_is_not_lost() {
    let mut pair = Pair::start(Actor::with("bad", Manner::Reset));
    pair.ask_until_hurt(THRESHOLD as usize);
    pair.bad.play(Manner::Serve);
    pair.await_breaker("half_open");
    let open = |pair: &Pair| pair.admin.number("bad", "open_sessions");
    let connections = pair.bad.connections();
    for left in 1..=5 {
        // Trials go first, so this client is the one.
        let caller = Caller::connect(pair.balancer.addr()).expect("it is accepted");
        wait_until("it is there", || {
            pair.bad.connections() == connections + left
        });
        reset(caller.into_stream());
        wait_until("it is gone", || open(&pair) == 0);
        assert_eq!(pair.admin.endpoint("bad")["breaker"], "half_open");
    }
    assert_eq!(pair.ask().as_deref(), Some("bad"));
    pair.await_breaker("closed");
}

#[test]
fn who_leaves_before_the_answer_is_no_failure() {
    let pair = Pair::start(Actor::with("bad", Manner::Mute));
    pair.good.play(Manner::Mute);
    let sessions = || pair.good.sessions() + pair.bad.sessions();
    for left in 1..=20 {
        let mut caller = Caller::connect(pair.balancer.addr()).expect("it is accepted");
        caller.say().expect("the kernel takes it");
        wait_until("an endpoint has its line", || sessions() == left);
        reset(caller.into_stream());
    }
    pair.balancer.await_closed(CloseReason::ClientReset, 20);
    assert!(pair.bad.sessions() >= 5);
    assert_eq!(pair.failures(), 0);
    assert_eq!(pair.admin.endpoint("bad")["breaker"], "closed");
}

#[test]
fn who_never_speaks_is_no_failure() {
    let pair = Pair::start_with(Actor::start("bad"), |plan| {
        plan.clusters[0].timeouts.idle = Some(Duration::from_millis(200));
    });
    let silent: Vec<Caller> = (0..20)
        .map(|_| Caller::connect(pair.balancer.addr()).expect("it is accepted"))
        .collect();
    for caller in silent {
        let ended = read_to_end(&mut caller.into_stream());
        assert_eq!(ended, (Vec::new(), End::Reset));
    }
    pair.balancer.await_closed(CloseReason::IdleTimeout, 20);
    assert!(pair.bad.connections() >= 5);
    assert_eq!(pair.failures(), 0);
    assert_eq!(pair.admin.endpoint("bad")["breaker"], "closed");
}

#[test]
fn who_comes_and_goes_without_a_word_is_no_success() {
    let mut pair = Pair::start(Actor::with("bad", Manner::Close));
    while pair.hurt.len() < THRESHOLD as usize {
        pair.ask();
        // As a balancer in front does to see whether somebody is there: one for each endpoint.
        for _ in 0..2 {
            let caller = Caller::connect(pair.balancer.addr()).expect("it is accepted");
            caller.finish().expect("it ends in order");
        }
    }
    pair.admin.await_workers();
    assert_ne!(pair.admin.endpoint("bad")["breaker"], "closed");
}

#[test]
fn silence_to_whoever_has_spoken_is_a_failure() {
    let mut pair = Pair::start_with(Actor::with("bad", Manner::Mute), |plan| {
        plan.clusters[0].timeouts.idle = Some(Duration::from_millis(300));
    });
    pair.ask_until_hurt(THRESHOLD as usize);
    wait_until("it is ejected", || {
        pair.admin.endpoint("bad")["breaker"] != "closed"
    });
}

#[test]
fn half_of_the_endpoints_stay_whatever_they_do() {
    let actors = ["a", "b", "c", "d"].map(|name| Actor::with(name, Manner::Reset));
    let mut plan = breaker_plan(&actors.each_ref());
    let breaker = plan.clusters[0].breaker.as_mut().expect("it was set");
    breaker.open = Duration::from_secs(60);
    let balancer = Balancer::start(&plan);
    let admin = Admin::of(&balancer);
    let ejected = || {
        let endpoints = admin.endpoints();
        let open = endpoints.iter().filter(|one| one["breaker"] == "open");
        open.count()
    };
    wait_until("two are ejected", || {
        assert!(ask(balancer.addr()).is_err());
        ejected() >= 2
    });
    admin.await_workers();
    let sessions = || actors.each_ref().map(Actor::sessions);
    let before = sessions();
    for _ in 0..40 {
        assert!(ask(balancer.addr()).is_err());
    }
    assert_eq!(ejected(), 2);
    let mut hit: Vec<usize> = before.iter().zip(sessions()).map(|(a, b)| b - a).collect();
    hit.sort_unstable();
    assert_eq!(hit[..2], [0, 0]);
    assert_eq!(hit[2] + hit[3], 40);
    assert!(hit[2] >= 10, "{hit:?}");
    assert_eq!(admin.cluster()["eligible"], 2);
}

#[test]
fn the_only_endpoint_is_never_ejected() {
    let bad = Actor::with("bad", Manner::Reset);
    let mut plan = breaker_plan(&[&bad]);
    let breaker = plan.clusters[0].breaker.as_mut().expect("it was set");
    breaker.max_ejected_percent = 100;
    let balancer = Balancer::start(&plan);
    let admin = Admin::of(&balancer);
    for _ in 0..20 {
        assert!(ask(balancer.addr()).is_err());
    }
    assert_eq!(bad.sessions(), 20);
    let endpoint = admin.endpoint("bad");
    assert_eq!(endpoint["breaker"], "closed");
    assert_eq!(endpoint["consecutive_failures"], 20);
    bad.play(Manner::Serve);
    assert_eq!(ask(balancer.addr()).expect("it is served"), "bad");
    assert_eq!(admin.number("bad", "consecutive_failures"), 0);
}
