//! The admin interface changes endpoints while clients are served.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on fails with the reason"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ringlane::error::CloseReason;
use ringlane::plan::failure::SessionPolicy;

use crate::support::actor::Actor;
use crate::support::admin::{Admin, ENDPOINTS};
use crate::support::caller::{Caller, Load, ask, ask_often};
use crate::support::{Balancer, End, live_plan, read_to_end};

#[test]
fn an_added_endpoint_gets_its_share_and_weight_0_takes_it_away() {
    let actors = ["a", "b"].map(Actor::start);
    let added = Actor::start("added");
    let balancer = Balancer::start(&live_plan(&actors.each_ref()));
    let admin = Admin::of(&balancer);
    let load = Load::start(balancer.addr(), 4);
    load.await_more(50);
    let body = format!(r#"{{"name": "added", "address": "{}"}}"#, added.addr);
    let answer = admin.call("POST", ENDPOINTS, &body);
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.json()["endpoint"]["origin"], "api");
    let share = || {
        // Whoever had picked before the change is done once this is over.
        load.between(|| ());
        let tally = load.await_more(300);
        tally.of("added") * 100 / tally.total()
    };
    assert!((25..=41).contains(&share()));
    admin.patch("added", r#"{"weight": 0}"#);
    assert_eq!(share(), 0);
    assert_eq!(admin.endpoint("added")["reason"], "weight_0");
    admin.patch("added", r#"{"weight": 2}"#);
    assert!((42..=58).contains(&share()));
    let answer = admin.call("DELETE", &format!("{ENDPOINTS}/added"), "");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(share(), 0);
    assert_eq!(admin.endpoints().len(), 2);
    let gone = admin.get(&format!("{ENDPOINTS}/added"));
    assert_eq!(gone.status, 404);
    let tally = load.end();
    assert!(tally.failures.is_empty(), "{:?}", tally.failures);
    assert_eq!(balancer.closed(CloseReason::EndpointRemoved), 0);
}

#[test]
fn after_the_answer_no_session_goes_to_a_disabled_endpoint() {
    const ROUNDS: u64 = 30;
    let actors = ["a", "b"].map(Actor::start);
    let balancer = Balancer::start(&live_plan(&actors.each_ref()));
    let admin = Admin::of(&balancer);
    let addr = balancer.addr();
    // Odd while it is certain that `b` is disabled.
    let round = Arc::new(AtomicU64::new(0));
    let is_over = Arc::new(AtomicBool::new(false));
    let checked = Arc::new(AtomicU64::new(0));
    let threads = [(); 4].map(|()| {
        let (round, is_over, checked) = (round.clone(), is_over.clone(), checked.clone());
        std::thread::spawn(move || {
            while !is_over.load(Ordering::SeqCst) {
                let before = round.load(Ordering::SeqCst);
                let by = ask(addr).expect("it is served");
                if before % 2 == 1 && round.load(Ordering::SeqCst) == before {
                    assert_eq!(by, "a", "`b` is disabled");
                    checked.fetch_add(1, Ordering::SeqCst);
                }
            }
        })
    });
    for number in 1..=ROUNDS {
        let state = ["disabled", "draining"][number as usize % 2];
        admin.patch("b", &format!(r#"{{"state": "{state}"}}"#));
        let before = checked.load(Ordering::SeqCst);
        round.fetch_add(1, Ordering::SeqCst);
        admin.poll("some sessions are over", || {
            let is_failed = threads.iter().any(|thread| thread.is_finished());
            assert!(!is_failed, "a session went to it");
            checked.load(Ordering::SeqCst) >= before + 10
        });
        round.fetch_add(1, Ordering::SeqCst);
        let endpoint = admin.patch("b", r#"{"state": "enabled"}"#);
        assert_eq!(endpoint["eligible"], true);
    }
    is_over.store(true, Ordering::SeqCst);
    for thread in threads {
        thread.join().expect("no session went there");
    }
    assert!(checked.load(Ordering::SeqCst) >= ROUNDS * 10);
    assert!(actors[1].sessions() > 0, "while enabled it has its share");
}

/// Long sessions on two endpoints, of which one is about to be disabled or removed, under load.
struct Leaving {
    actors: [Actor; 2],
    balancer: Balancer,
    admin: Admin,
    there: Vec<Caller>,
    elsewhere: Vec<Caller>,
}

/// What becomes of sessions.
#[derive(Clone, Copy)]
enum Fate {
    GoOn,
    End { after: Duration },
}

impl Leaving {
    const SESSIONS: usize = 5;

    fn start(disabled: SessionPolicy, removed: SessionPolicy) -> Self {
        let actors = ["stays", "leaves"].map(Actor::start);
        let mut plan = live_plan(&actors.each_ref());
        plan.clusters[0].sessions.disabled = disabled;
        plan.clusters[0].sessions.removed = removed;
        let balancer = Balancer::start(&plan);
        let admin = Admin::of(&balancer);
        let callers = |name: &str| -> Vec<Caller> {
            let callers = (0..Self::SESSIONS).map(|_| Caller::of(balancer.addr(), name));
            callers.collect()
        };
        let (there, elsewhere) = (callers("leaves"), callers("stays"));
        admin.await_open_sessions(2 * Self::SESSIONS);
        Self {
            actors,
            balancer,
            admin,
            there,
            elsewhere,
        }
    }

    /// Makes the change, and looks at what becomes of all sessions.
    fn check(mut self, method: &str, query: &str, body: &str, reason: CloseReason, fate: Fate) {
        let load = Load::start(self.balancer.addr(), 2);
        load.await_more(20);
        let began = Instant::now();
        let path = format!("{ENDPOINTS}/leaves{query}");
        // So that none of the short sessions can be among those that end.
        let answer = load.between(|| self.admin.call(method, &path, body));
        assert_eq!(answer.status, 200, "{answer:?}");
        let new = load.await_more(50);
        assert_eq!(new.of("leaves"), 0);
        match fate {
            Fate::GoOn => {
                for mut caller in self.there.drain(..) {
                    assert_eq!(caller.ask().expect("it goes on"), "leaves");
                    caller.finish().expect("it ends in order");
                }
                assert_eq!(self.balancer.closed(reason), 0);
            }
            Fate::End { after } => {
                for caller in self.there.drain(..) {
                    let end = read_to_end(&mut caller.into_stream());
                    assert_eq!(end, (Vec::new(), End::Reset));
                }
                assert!(began.elapsed() >= after);
                let sessions = Self::SESSIONS as u64;
                self.balancer.await_closed(reason, sessions);
                load.await_more(50);
                assert_eq!(self.balancer.closed(reason), sessions);
            }
        }
        for mut caller in self.elsewhere.drain(..) {
            assert_eq!(caller.ask().expect("it is not touched"), "stays");
            caller.finish().expect("it ends in order");
        }
        let tally = load.end();
        assert!(tally.failures.is_empty(), "{:?}", tally.failures);
    }

    fn disable(self, fate: Fate) {
        let body = r#"{"state": "disabled"}"#;
        self.check("PATCH", "", body, CloseReason::EndpointDisabled, fate);
    }

    fn remove(self, query: &str, fate: Fate) {
        self.check("DELETE", query, "", CloseReason::EndpointRemoved, fate);
    }
}

const TIME: Duration = Duration::from_millis(300);
const AT_ONCE: Fate = Fate::End {
    after: Duration::ZERO,
};

#[test]
fn sessions_of_a_disabled_endpoint_go_on() {
    Leaving::start(SessionPolicy::Keep, SessionPolicy::Reset).disable(Fate::GoOn);
}

#[test]
fn sessions_of_a_disabled_endpoint_end_after_a_while() {
    let policy = SessionPolicy::Drain(TIME);
    Leaving::start(policy, SessionPolicy::Keep).disable(Fate::End { after: TIME });
}

#[test]
fn sessions_of_a_disabled_endpoint_end_at_once() {
    Leaving::start(SessionPolicy::Reset, SessionPolicy::Keep).disable(AT_ONCE);
}

#[test]
fn sessions_of_a_removed_endpoint_go_as_the_cluster_says() {
    let start = |policy| Leaving::start(SessionPolicy::Keep, policy);
    start(SessionPolicy::Keep).remove("", Fate::GoOn);
    start(SessionPolicy::Reset).remove("", AT_ONCE);
    start(SessionPolicy::Drain(TIME)).remove("", Fate::End { after: TIME });
}

#[test]
fn sessions_of_a_removed_endpoint_go_as_the_request_says() {
    let start = |policy| Leaving::start(SessionPolicy::Keep, policy);
    start(SessionPolicy::Reset).remove("?sessions=keep", Fate::GoOn);
    start(SessionPolicy::Keep).remove("?sessions=reset", AT_ONCE);
    start(SessionPolicy::Keep).remove("?drain=0", AT_ONCE);
    start(SessionPolicy::Keep).remove("?drain=300ms", Fate::End { after: TIME });
}

#[test]
fn draining_keeps_sessions_whatever_disabling_does() {
    let mut leaving = Leaving::start(SessionPolicy::Reset, SessionPolicy::Reset);
    leaving.admin.patch("leaves", r#"{"state": "draining"}"#);
    let served = ask_often(leaving.balancer.addr(), 20);
    assert_eq!(served.get("stays"), Some(&20));
    for caller in &mut leaving.there {
        assert_eq!(caller.ask().expect("it goes on"), "leaves");
    }
    assert_eq!(leaving.admin.number("leaves", "open_sessions"), 5);
    leaving.admin.patch("leaves", r#"{"state": "disabled"}"#);
    let balancer = &leaving.balancer;
    balancer.await_closed(CloseReason::EndpointDisabled, 5);
    for caller in &mut leaving.elsewhere {
        assert_eq!(caller.ask().expect("it is not touched"), "stays");
    }
}

#[test]
fn an_endpoint_that_comes_back_in_time_keeps_its_sessions() {
    let drain = SessionPolicy::Drain(Duration::from_secs(10));
    let mut leaving = Leaving::start(drain, drain);
    leaving.admin.patch("leaves", r#"{"state": "disabled"}"#);
    leaving.admin.patch("leaves", r#"{"state": "enabled"}"#);
    let served = ask_often(leaving.balancer.addr(), 20);
    assert!(served.get("leaves").is_some_and(|count| *count >= 8));
    for caller in &mut leaving.there {
        assert_eq!(caller.ask().expect("it goes on"), "leaves");
    }
}

#[test]
fn the_last_endpoint_leaves_and_clients_are_turned_away_until_another_comes() {
    let Leaving {
        actors,
        balancer,
        admin,
        ..
    } = Leaving::start(SessionPolicy::Keep, SessionPolicy::Reset);
    for name in ["stays", "leaves"] {
        let answer = admin.call("DELETE", &format!("{ENDPOINTS}/{name}"), "");
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(admin.cluster()["mode"], "none");
    assert!(ask(balancer.addr()).is_err());
    balancer.await_closed(CloseReason::NoEndpoint, 1);
    let body = format!(r#"{{"name": "again", "address": "{}"}}"#, actors[0].addr);
    assert_eq!(admin.call("POST", ENDPOINTS, &body).status, 201);
    assert_eq!(ask(balancer.addr()).expect("it is served"), "stays");
}

/// What is wrong: the method, the path below `/v1/clusters/default`, the body, and the answer.
const WRONG: &[(&str, &str, &str, u16)] = &[
    ("POST", "/endpoints", "", 415),
    ("POST", "/endpoints", "{", 400),
    ("POST", "/endpoints", "[]", 400),
    ("POST", "/endpoints", "null", 400),
    ("POST", "/endpoints", "{}", 400),
    ("POST", "/endpoints", r#"{"address": "here"}"#, 400),
    ("POST", "/endpoints", r#"{"address": 7}"#, 400),
    ("POST", "/endpoints", r#"{"address": "127.0.0.1:0"}"#, 400),
    ("POST", "/endpoints", r#"{"address": "name:80"}"#, 400),
    (
        "POST",
        "/endpoints",
        r#"{"address": "127.0.0.1:1", "weigth": 1}"#,
        400,
    ),
    (
        "POST",
        "/endpoints",
        r#"{"address": "127.0.0.1:1", "weight": -1}"#,
        400,
    ),
    (
        "POST",
        "/endpoints",
        r#"{"address": "127.0.0.1:1", "weight": 1.5}"#,
        400,
    ),
    (
        "POST",
        "/endpoints",
        r#"{"address": "127.0.0.1:1", "weight": 1e99}"#,
        400,
    ),
    (
        "POST",
        "/endpoints",
        r#"{"address": "127.0.0.1:1", "state": "up"}"#,
        400,
    ),
    (
        "POST",
        "/endpoints",
        r#"{"address": "127.0.0.1:1", "state": "draining"}"#,
        400,
    ),
    (
        "POST",
        "/endpoints",
        r#"{"address": "127.0.0.1:1", "priority": 256}"#,
        400,
    ),
    (
        "POST",
        "/endpoints",
        r#"{"address": "127.0.0.1:1", "backup": 1}"#,
        400,
    ),
    (
        "POST",
        "/endpoints",
        r#"{"address": "127.0.0.1:1", "max_connections": 0}"#,
        400,
    ),
    (
        "POST",
        "/endpoints",
        r#"{"address": "127.0.0.1:1", "name": ""}"#,
        400,
    ),
    (
        "POST",
        "/endpoints",
        r#"{"address": "127.0.0.1:1", "address": "127.0.0.1:2"}"#,
        400,
    ),
    (
        "POST",
        "/endpoints",
        r#"{"address": "127.0.0.1:1", "name": "a"}"#,
        409,
    ),
    (
        "POST",
        "/endpoints?x=1",
        r#"{"address": "127.0.0.1:1"}"#,
        400,
    ),
    ("POST", "/endpoints/a", r#"{"weight": 5}"#, 405),
    ("PUT", "/endpoints/a", r#"{"weight": 5}"#, 405),
    ("PATCH", "/endpoints", r#"{"weight": 5}"#, 405),
    ("PATCH", "/endpoints/a", "", 415),
    ("PATCH", "/endpoints/a", "{}", 400),
    ("PATCH", "/endpoints/a", r#"{"weight": 5"#, 400),
    (
        "PATCH",
        "/endpoints/a",
        r#"{"weight": 5} {"weight": 6}"#,
        400,
    ),
    ("PATCH", "/endpoints/a", r#"{"weight": "5"}"#, 400),
    (
        "PATCH",
        "/endpoints/a",
        r#"{"weight": 5, "weight": 6}"#,
        400,
    ),
    (
        "PATCH",
        "/endpoints/a",
        r#"{"weight": 5, "state": "gone"}"#,
        400,
    ),
    (
        "PATCH",
        "/endpoints/a",
        r#"{"state": "disabled", "weight": -1}"#,
        400,
    ),
    (
        "PATCH",
        "/endpoints/a",
        r#"{"weight": 5, "backup": true}"#,
        400,
    ),
    (
        "PATCH",
        "/endpoints/a",
        r#"{"address": "127.0.0.1:1"}"#,
        400,
    ),
    ("PATCH", "/endpoints/a?force=1", r#"{"weight": 5}"#, 400),
    ("PATCH", "/endpoints/unknown", r#"{"weight": 5}"#, 404),
    ("PATCH", "/endpoints/99999", r#"{"weight": 5}"#, 404),
    ("PATCH", "/endpoints/%ff", r#"{"weight": 5}"#, 400),
    ("PATCH", "/endpoints/a/", r#"{"weight": 5}"#, 404),
    ("PATCH", "/../other/endpoints/a", r#"{"weight": 5}"#, 404),
    ("DELETE", "", "", 405),
    ("DELETE", "/endpoints", "", 405),
    ("DELETE", "/endpoints/", "", 404),
    ("DELETE", "/endpoints/unknown", "", 404),
    ("DELETE", "/endpoints/a?drain=soon", "", 400),
    ("DELETE", "/endpoints/a?drain=-1s", "", 400),
    ("DELETE", "/endpoints/a?sessions=kill", "", 400),
    ("DELETE", "/endpoints/a?sessions=keep&drain=1s", "", 400),
    ("DELETE", "/endpoints/a?force", "", 400),
    ("DELETE", "/endpoints/a", r#"{"weight": 5}"#, 400),
];

#[test]
fn bad_calls_change_nothing() {
    let actors = ["a", "b"].map(Actor::start);
    let balancer = Balancer::start(&live_plan(&actors.each_ref()));
    let admin = Admin::of(&balancer);
    let mut caller = Caller::of(balancer.addr(), "a");
    admin.await_open_sessions(1);
    let before = (admin.endpoints(), admin.cluster());
    for (method, path, body, status) in WRONG {
        let answer = admin.call(method, &format!("/v1/clusters/default{path}"), body);
        assert_eq!(answer.status, *status, "{method} {path} {body}: {answer:?}");
        assert!(answer.json()["detail"].is_string(), "{answer:?}");
    }
    for bytes in [
        &b"PATCH /v1/clusters/default/endpoints/a HTTP/1.1\r\nHost: localhost\r\n\
           Content-Type: text/plain\r\nContent-Length: 13\r\nConnection: close\r\n\r\n{\"weight\": 5}"[..],
        b"PATCH /v1/clusters/default/endpoints/a HTTP/1.1\r\nHost: example.org\r\n\
           Content-Type: application/json\r\nContent-Length: 13\r\nConnection: close\r\n\r\n{\"weight\": 5}",
        b"PATCH /v1/clusters/default/endpoints/a HTTP/1.1\r\nHost: localhost\r\n\
           Origin: http://example.org\r\n\
           Content-Type: application/json\r\nContent-Length: 13\r\nConnection: close\r\n\r\n{\"weight\": 5}",
        b"DELETE /v1/clusters/default/endpoints/a HTTP/1.1\r\nConnection: close\r\n\r\n",
        b"DELETE /v1/clusters/default/endpoints/a HTTP/1.1\r\nHost: localhost\r\n\
           Sec-Fetch-Site: cross-site\r\nConnection: close\r\n\r\n",
        b"DELETE\r\n\r\n",
    ] {
        let answer = admin.exchange(bytes).expect("it is answered");
        assert!((400..500).contains(&answer.status), "{answer:?}");
    }
    assert_eq!((admin.endpoints(), admin.cluster()), before);
    assert_eq!(caller.ask().expect("it goes on"), "a");
    let served = ask_often(balancer.addr(), 20);
    assert!(served.get("a").is_some_and(|count| *count >= 8));
}
