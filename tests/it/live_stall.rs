//! Threads of the program that do not run for seconds: traffic goes on, and nothing wrong is
//! concluded.
#![forbid(unsafe_code)]

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use crate::support::actor::{Actor, Manner};
use crate::support::admin::{Admin, ENDPOINTS};
use crate::support::caller::{Caller, Load};
use crate::support::folder::Folder;
use crate::support::program::{Program, ringlane};
use crate::support::stall::Stall;
use crate::support::wait_until;

/// The real program over three actors, with probes.
struct Site {
    program: Program,
    admin: Admin,
    actors: [Actor; 3],
    _folder: Folder,
}

impl Site {
    fn start() -> Self {
        Self::probed(r#""interval": "400ms", "timeout": "400ms", "fast_interval": "50ms""#)
    }

    /// One that is probed at these times.
    fn probed(times: &str) -> Self {
        let actors = ["a", "b", "c"].map(Actor::start);
        let endpoints = actors.each_ref().map(|actor| {
            let (name, addr) = (actor.name, actor.addr);
            format!(r#"{{"name": "{name}", "address": "{addr}"}}"#)
        });
        let folder = Folder::new();
        let socket = folder.join("admin.sock");
        let (socket_text, endpoints) = (socket.display(), endpoints.join(", "));
        let config = format!(
            r#"{{
                "workers": {{"count": 2}},
                "listeners": [{{"bind": "127.0.0.1:0", "cluster": "default"}}],
                "clusters": [{{"name": "default", "endpoints": [{endpoints}],
                    "health": {{"type": "http", {times}}}}}],
                "admin": {{"bind": "unix:{socket_text}"}}
            }}"#
        );
        let config = folder.write("ringlane.json", config);
        let mut command = ringlane();
        command.arg("run").arg("--config").arg(config);
        let site = Self {
            program: Program::start(command),
            admin: Admin::at(&socket),
            actors,
            _folder: folder,
        };
        site.admin.await_all_up();
        site
    }

    fn stall(&self, thread: &str) -> Stall {
        Stall::of(self.program.pid(), thread)
    }

    /// Nothing is thought of any endpoint but that it is well.
    fn check_all_is_well(&self) {
        for endpoint in self.admin.endpoints() {
            assert_eq!(endpoint["health"], "up", "{endpoint}");
            assert_eq!(endpoint["breaker"], "closed", "{endpoint}");
            assert_eq!(endpoint["eligible"], true, "{endpoint}");
        }
    }

    /// Ends it. Returns its log.
    fn end(mut self) -> Vec<String> {
        self.program.signal("TERM");
        assert!(self.program.await_exit().success());
        self.program.await_all().to_vec()
    }
}

/// Makes sessions for a while. Returns when no further one is under way.
fn serve_for(time: Duration, load: &Load) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        load.await_more(20);
    }
}

fn count(log: &[String], part: &str) -> usize {
    log.iter().filter(|line| line.contains(part)).count()
}

#[test]
fn control_held_up_for_seconds_holds_up_no_client() {
    let site = Site::start();
    let mut long = Caller::connect(site.program.addr).expect("it is accepted");
    let name = long.ask().expect("it is served");
    let load = Load::start(site.program.addr, 2);
    let stall = site.stall("control");
    let (sender, answers) = channel();
    let admin = site.admin.clone();
    let asking = std::thread::spawn(move || {
        let body = r#"{"state": "disabled"}"#;
        let _nobody_waits = sender.send(admin.call("PATCH", &format!("{ENDPOINTS}/b"), body));
    });
    serve_for(Duration::from_secs(4), &load);
    assert_eq!(long.ask().expect("it is served"), name);
    assert!(
        answers.try_recv().is_err(),
        "it has answered while it stood"
    );
    let tally = load.tally();
    assert!(["a", "b", "c"].iter().all(|name| tally.of(name) > 0));
    drop(stall);
    asking.join().expect("it is answered");
    let answer = answers.recv().expect("it has come");
    assert_eq!(answer.status, 200, "{answer:?}");
    // Whoever had picked it before has been served once this is over.
    load.between(|| ());
    assert_eq!(load.await_more(100).of("b"), 0);
    site.admin.patch("b", r#"{"state": "enabled"}"#);
    site.check_all_is_well();
    assert!(load.await_more(100).of("b") > 0);
    assert!(load.end().failures.is_empty());
    long.finish().expect("it ends in order");
    let log = site.end();
    assert_eq!(count(&log, " down "), 0, "{log:#?}");
    assert_eq!(count(&log, "stalled"), 0, "{log:#?}");
    assert_eq!(count(&log, "by the admin interface"), 2, "{log:#?}");
}

#[test]
fn workers_without_anything_to_do_are_not_said_to_be_stalled_by_a_stalled_control() {
    let site = Site::start();
    // The prober goes on, so time passes: ten probes take four seconds.
    let pass = |count| {
        let probes = site.actors[0].probes();
        wait_until("time passes", || site.actors[0].probes() >= probes + count);
    };
    // Looks at an idle worker find it still, which it is woken for, and moving, by turns; one that
    // comes late finds it moving. So the second time it is held up after such a look.
    for wait in [4, 1] {
        pass(wait);
        let stall = site.stall("control");
        pass(10);
        drop(stall);
    }
    pass(4);
    site.check_all_is_well();
    let log = site.end();
    assert_eq!(count(&log, "stalled"), 0, "{log:#?}");
    assert_eq!(count(&log, " down "), 0, "{log:#?}");
}

#[test]
fn a_worker_held_up_is_named_and_the_other_one_serves() {
    let mut site = Site::start();
    let stall = site.stall("worker 0");
    let (sender, served) = channel();
    let clients: Vec<_> = (0..60)
        .map(|_| {
            let (sender, addr) = (sender.clone(), site.program.addr);
            std::thread::spawn(move || {
                let mut caller = Caller::connect(addr).expect("the kernel accepts");
                caller.ask().expect("it is served sooner or later");
                let _nobody_waits = sender.send(());
                caller.finish().expect("it ends in order");
            })
        })
        .collect();
    // By the kernel's choice about half of them belong to the other worker.
    for _ in 0..5 {
        served.recv().expect("the other worker serves");
    }
    let body = r#"{"weight": 2}"#;
    let answer = site.admin.call("PATCH", &format!("{ENDPOINTS}/a"), body);
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(answer.json()["pending_workers"], serde_json::json!([0]));
    let line = site.program.await_line("has stalled");
    let ready = site.admin.get("/readyz");
    assert_eq!(ready.status, 503, "the kernel still gives it clients");
    assert!(line.contains("worker=0"), "{line}");
    let time = line.split("not turned for ").nth(1);
    let time = time.and_then(|rest| rest.split('.').next()?.parse().ok());
    assert!(time.is_some_and(|seconds: u32| seconds >= 3), "{line}");
    let waiting = clients.iter().filter(|client| !client.is_finished());
    assert!(waiting.count() > 0, "worker 0 has served although it stood");
    drop(stall);
    for client in clients {
        client.join().expect("it has been served");
    }
    let line = site.program.await_line("turns again");
    assert!(line.contains("worker=0"), "{line}");
    site.admin.await_workers();
    site.check_all_is_well();
    let log = site.end();
    assert_eq!(count(&log, "has stalled"), 1, "{log:#?}");
    assert_eq!(count(&log, "turns again"), 1, "{log:#?}");
}

#[test]
fn what_a_prober_held_up_finds_too_late_counts_against_nobody() {
    let site = Site::probed(r#""interval": "1500ms", "timeout": "1500ms", "fall": 1"#);
    // A probe is under way when the prober is held up, and its time is long over when it is not
    // any more. One failure would be enough.
    site.actors[0].play(Manner::Shy);
    let mut probes = site.actors[0].probes();
    wait_until("a probe is under way", || site.actors[0].probes() > probes);
    let stall = site.stall("prober");
    probes = site.actors[0].probes();
    let load = Load::start(site.program.addr, 2);
    serve_for(Duration::from_secs(3), &load);
    site.check_all_is_well();
    drop(stall);
    // The next one begins once that one has been judged.
    wait_until("it is probed again", || site.actors[0].probes() > probes);
    site.actors[0].play(Manner::Serve);
    wait_until("that probe has ended", || {
        site.actors[0].probes() >= probes + 2
    });
    let probe = site.admin.endpoint("a")["last_probe"]["success"].clone();
    assert_eq!(probe, true);
    site.check_all_is_well();
    assert!(load.end().failures.is_empty());
    let log = site.end();
    assert_eq!(count(&log, " down "), 0, "{log:#?}");
}
