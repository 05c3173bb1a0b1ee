//! Probes: endpoints that die, hang and come back while clients are served.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on fails with the reason"
)]

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ringlane::error::CloseReason;
use ringlane::plan::EndpointPlan;
use ringlane::plan::failure::{BreakerPlan, SessionPolicy};
use ringlane::plan::health::{Check, HttpCheck};
use ringlane::plan::place::Place;

use crate::support::actor::{Actor, Manner, own_ip};
use crate::support::admin::{Admin, ENDPOINTS};
use crate::support::caller::{Caller, Load, ask, ask_often};
use crate::support::program::ringlane;
use crate::support::{Balancer, End, live_plan, probing, read_to_end, wait_until};

fn http() -> Check {
    Check::Http(HttpCheck::default())
}

/// Under load an endpoint dies, is found out, and comes back.
fn dies_and_comes_back(check: Check) {
    let actors = ["a", "b", "c"].map(Actor::start);
    let mut plan = live_plan(&actors.each_ref());
    plan.clusters[0].health = Some(probing(check));
    let balancer = Balancer::start(&plan);
    let admin = Admin::of(&balancer);
    admin.await_all_up();
    let load = Load::start(balancer.addr(), 4);
    load.await_more(50);
    load.between(|| actors[1].kill());
    admin.await_field("b", "health", "down");
    let endpoint = admin.endpoint("b");
    assert_eq!(endpoint["eligible"], false);
    assert_eq!(endpoint["reason"], "unhealthy");
    // Whoever had picked it before has been refused once this is over.
    load.between(|| ());
    let attempts = admin.number("b", "connect_failures");
    let tally = load.await_more(300);
    assert_eq!(tally.of("b"), 0);
    assert_eq!(
        admin.number("b", "connect_failures"),
        attempts,
        "nobody connects to an endpoint that is known to be dead"
    );
    actors[1].revive();
    admin.await_field("b", "health", "up");
    let tally = load.await_more(300);
    let share = tally.of("b") * 100 / tally.total();
    assert!((25..=41).contains(&share), "{share} % of {tally:?}");
    let all = load.end();
    assert!(all.failures.is_empty(), "{:?}", all.failures);
    assert_eq!(balancer.closed(CloseReason::ConnectRefused), 0);
}

#[test]
fn a_dead_endpoint_is_found_by_connecting_and_no_client_fails() {
    dies_and_comes_back(Check::Tcp);
}

#[test]
fn a_dead_endpoint_is_found_by_http_and_no_client_fails() {
    dies_and_comes_back(http());
}

#[test]
fn refused_clients_go_elsewhere_before_the_death_is_known() {
    let actors = ["a", "b"].map(Actor::start);
    let mut plan = live_plan(&actors.each_ref());
    let mut health = probing(Check::Tcp);
    // So that nothing is found out while the test runs.
    (health.interval, health.fall) = (Duration::from_secs(60), 10);
    plan.clusters[0].health = Some(health);
    let balancer = Balancer::start(&plan);
    let admin = Admin::of(&balancer);
    admin.await_all_up();
    actors[0].kill();
    let served = ask_often(balancer.addr(), 40);
    assert_eq!(served.into_iter().collect::<Vec<_>>(), [("b".into(), 40)]);
    assert_eq!(admin.endpoint("a")["health"], "up");
    assert!(admin.number("a", "connect_failures") >= 10);
}

#[test]
fn an_ejected_endpoint_is_tried_by_its_probes_and_by_no_client() {
    const OPEN: Duration = Duration::from_millis(300);
    let actors = [Actor::start("good"), Actor::with("bad", Manner::Reset)];
    let mut plan = live_plan(&actors.each_ref());
    // Connecting succeeds, so the probes alone would find nothing wrong.
    plan.clusters[0].health = Some(probing(Check::Tcp));
    plan.clusters[0].breaker = Some(BreakerPlan {
        failure_threshold: 3,
        open: OPEN,
        ..BreakerPlan::default()
    });
    let balancer = Balancer::start(&plan);
    let admin = Admin::of(&balancer);
    admin.await_all_up();
    let mut failed = Vec::new();
    wait_until("it has been ejected", || {
        let asked = Instant::now();
        if ask(balancer.addr()).is_err() {
            failed.push(asked);
        }
        admin.endpoint("bad")["breaker"] == "open"
    });
    actors[1].play(Manner::Serve);
    admin.await_workers();
    let before = actors[1].sessions();
    wait_until("it serves again", || {
        ask(balancer.addr()).expect("no client is risked any more") == "bad"
    });
    assert_eq!(admin.endpoint("bad")["breaker"], "closed");
    // It cannot have been ejected before its third failure.
    assert!(actors[1].session_at(before) >= failed[2] + OPEN);
}

/// A sample endpoint as a process of its own.
struct Process {
    child: Child,
    addr: SocketAddr,
}

impl Process {
    fn start() -> Self {
        let ip = own_ip().to_string();
        let mut child = ringlane()
            .args(["testserver", "0", "--bind", &ip])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stdout = child.stdout.take().expect("the pipe was asked for");
        let mut line = String::new();
        let read = BufReader::new(stdout).read_line(&mut line);
        read.expect("it says where it serves");
        let addr = line.trim_end().strip_prefix("serving ");
        let addr = addr.and_then(|addr| addr.parse().ok());
        Self {
            child,
            addr: addr.expect("an address"),
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status();
        assert!(status.is_ok_and(|status| status.success()));
    }

    /// What it answers to the callers' line.
    fn answer(&self) -> String {
        format!("{}: hello", self.addr.port())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// A balancer over a process that stops, and an actor; a session at each.
struct Hanging {
    process: Process,
    balancer: Balancer,
    admin: Admin,
    there: Caller,
    elsewhere: Caller,
    stopped: Instant,
    _actor: Actor,
}

impl Hanging {
    /// Stops the process, and returns once that is known.
    fn start(policy: SessionPolicy) -> Self {
        let process = Process::start();
        let actor = Actor::start("good");
        let mut plan = live_plan(&[&actor]);
        let mut hanging = EndpointPlan::at(Place::Address(process.addr));
        hanging.name = Some("hanging".to_string());
        plan.clusters[0].endpoints.push(hanging);
        plan.clusters[0].sessions.unhealthy = policy;
        let mut health = probing(http());
        health.interval = Duration::from_millis(300);
        health.timeout = health.interval;
        plan.clusters[0].health = Some(health);
        let balancer = Balancer::start(&plan);
        let admin = Admin::of(&balancer);
        admin.await_all_up();
        let there = Caller::of(balancer.addr(), &process.answer());
        let elsewhere = Caller::of(balancer.addr(), "good");
        admin.await_open_sessions(2);
        let stopped = Instant::now();
        process.signal("STOP");
        admin.await_field("hanging", "health", "down");
        let probe = admin.endpoint("hanging")["last_probe"]["detail"].to_string();
        assert!(probe.contains("timed out"), "{probe}");
        // The kernel would still accept for it.
        let served = ask_often(balancer.addr(), 20);
        assert_eq!(served.get("good"), Some(&20));
        Self {
            process,
            balancer,
            admin,
            there,
            elsewhere,
            stopped,
            _actor: actor,
        }
    }

    /// Its session has been ended, and that at the other endpoint has not.
    fn check_ended(mut self) {
        self.balancer
            .await_closed(CloseReason::EndpointUnhealthy, 1);
        let mut stream = self.there.into_stream();
        assert_eq!(read_to_end(&mut stream), (Vec::new(), End::Reset));
        assert_eq!(self.elsewhere.ask().expect("it lives"), "good");
        self.elsewhere.finish().expect("it ends in order");
        assert_eq!(self.balancer.closed(CloseReason::EndpointUnhealthy), 1);
    }

    fn continue_process(&self) {
        self.process.signal("CONT");
        self.admin.await_field("hanging", "health", "up");
        let served = ask_often(self.balancer.addr(), 20);
        let again = served.get(&self.process.answer()).copied();
        assert!(again.is_some_and(|count| count >= 5), "{served:?}");
    }
}

#[test]
fn a_stopped_process_is_found_and_its_sessions_are_kept() {
    let mut hanging = Hanging::start(SessionPolicy::Keep);
    hanging.there.say().expect("the kernel takes it");
    assert_eq!(hanging.admin.number("hanging", "open_sessions"), 1);
    hanging.continue_process();
    let answer = hanging.there.hear().expect("it lives");
    assert_eq!(answer, hanging.process.answer());
    hanging.there.finish().expect("it ends in order");
    hanging.elsewhere.finish().expect("it ends in order");
    assert_eq!(hanging.balancer.closed(CloseReason::EndpointUnhealthy), 0);
}

#[test]
fn sessions_of_a_stopped_process_are_reset() {
    let hanging = Hanging::start(SessionPolicy::Reset);
    hanging
        .balancer
        .await_closed(CloseReason::EndpointUnhealthy, 1);
    hanging.continue_process();
    hanging.check_ended();
}

#[test]
fn sessions_of_a_stopped_process_may_go_on_for_a_while() {
    const TIME: Duration = Duration::from_millis(700);
    let hanging = Hanging::start(SessionPolicy::Drain(TIME));
    let stopped = hanging.stopped;
    hanging
        .balancer
        .await_closed(CloseReason::EndpointUnhealthy, 1);
    assert!(stopped.elapsed() >= TIME);
    hanging.check_ended();
}

#[test]
fn a_drain_ends_with_its_cause() {
    let hanging = Hanging::start(SessionPolicy::Drain(Duration::from_secs(5)));
    hanging.continue_process();
    let Hanging {
        mut there,
        balancer,
        process,
        ..
    } = hanging;
    assert_eq!(there.ask().expect("it lives"), process.answer());
    there.finish().expect("it ends in order");
    assert_eq!(balancer.closed(CloseReason::EndpointUnhealthy), 0);
}

#[test]
fn readiness_follows_the_first_round_the_endpoints_and_the_drain() {
    let actor = Actor::with("a", Manner::Mute);
    let mut plan = live_plan(&[&actor]);
    let mut health = probing(http());
    // The first probe is to be under way until it is let go.
    (health.interval, health.timeout) = (Duration::from_secs(10), Duration::from_secs(10));
    plan.clusters[0].health = Some(health);
    let balancer = Balancer::start(&plan);
    let admin = Admin::of(&balancer);
    let ready = || admin.get("/readyz").status;
    let unready = |part: &str| {
        let answer = admin.get("/readyz");
        answer.status == 503 && answer.text.contains(part)
    };
    wait_until("the probe is under way", || actor.probes() == 1);
    assert!(unready("probed"), "{:?}", admin.get("/readyz"));
    actor.play(Manner::Serve);
    admin.poll("it is ready", || ready() == 200);
    assert_eq!(admin.get("/healthz").status, 200);
    admin.patch("a", r#"{"state": "draining"}"#);
    assert!(unready("default"), "{:?}", admin.get("/readyz"));
    admin.patch("a", r#"{"state": "enabled"}"#);
    assert_eq!(ready(), 200);
    let mut session = Caller::of(balancer.addr(), "a");
    balancer.running().drain(Duration::from_secs(30));
    admin.poll("it says that it will end", || unready("end"));
    assert_eq!(session.ask().expect("it lives"), "a");
    let change = admin.call("GET", &format!("{ENDPOINTS}/a"), "");
    assert_eq!(change.status, 200, "the interface answers to the end");
}

#[test]
fn readiness_is_lost_while_no_endpoint_may_be_picked() {
    let actors = ["a", "b"].map(Actor::start);
    let mut plan = live_plan(&actors.each_ref());
    plan.clusters[0].health = Some(probing(Check::Tcp));
    let balancer = Balancer::start(&plan);
    let admin = Admin::of(&balancer);
    admin.await_all_up();
    let status = || admin.get("/readyz").status;
    assert_eq!(status(), 200);
    actors[0].kill();
    admin.await_field("a", "health", "down");
    assert_eq!(status(), 200, "there is another one");
    actors[1].kill();
    admin.await_field("b", "health", "down");
    assert_eq!(status(), 503);
    actors[0].revive();
    admin.await_field("a", "health", "up");
    assert_eq!(status(), 200);
}
