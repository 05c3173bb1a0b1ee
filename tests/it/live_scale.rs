//! A thousand endpoints, and an admin interface under attack: neither is felt by clients.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on fails with the reason"
)]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringlane::plan::EndpointPlan;
use ringlane::plan::health::Check;
use ringlane::plan::place::Place;

use crate::support::actor::{Actor, own_ip};
use crate::support::admin::Admin;
use crate::support::caller::{Caller, Load, ask};
use crate::support::{Balancer, live_plan, prepare, probing, wait_until};

/// Many endpoints on one listening socket, each at an address of its own.
struct Crowd {
    port: u16,
    addrs: Vec<SocketAddr>,
    /// The sessions that each has had.
    sessions: Arc<Mutex<HashMap<SocketAddr, usize>>>,
}

impl Crowd {
    fn start(count: usize) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let addrs = (0..count).map(|_| SocketAddr::from((own_ip(), port)));
        let sessions: Arc<Mutex<HashMap<SocketAddr, usize>>> = Arc::default();
        let counts = Arc::clone(&sessions);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counts = Arc::clone(&counts);
                std::thread::spawn(move || serve(stream, &counts));
            }
        });
        Self {
            port,
            addrs: addrs.collect(),
            sessions,
        }
    }

    fn sessions(&self) -> Vec<usize> {
        let sessions = self.sessions.lock().expect("no panic");
        let count = |addr| sessions.get(addr).copied().unwrap_or_default();
        self.addrs.iter().map(count).collect()
    }
}

/// Answers one line. A probe says none.
fn serve(stream: TcpStream, counts: &Mutex<HashMap<SocketAddr, usize>>) {
    prepare(&stream);
    let Ok(addr) = stream.local_addr() else {
        return;
    };
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    if reader.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
        let mut counts = counts.lock().expect("no panic");
        *counts.entry(addr).or_default() += 1;
        drop(counts);
        let _client_left = writeln!(reader.get_mut(), "crowd");
    }
}

#[test]
fn a_thousand_endpoints_are_probed_and_balanced() {
    const CROWD: usize = 990;
    const SESSIONS: usize = 3 * CROWD;
    let crowd = Crowd::start(CROWD);
    let mortals: [Actor; 10] = std::array::from_fn(|_| Actor::start("mortal"));
    let mut plan = live_plan(&[]);
    let addrs = mortals.iter().map(|actor| actor.addr);
    let endpoints = addrs.chain(crowd.addrs.iter().copied());
    plan.clusters[0].endpoints = endpoints
        .map(|addr| EndpointPlan::at(Place::Address(addr)))
        .collect();
    let mut health = probing(Check::Tcp);
    (health.interval, health.timeout) = (Duration::from_secs(2), Duration::from_secs(2));
    plan.clusters[0].health = Some(health);
    let balancer = Balancer::start(&plan);
    let admin = Admin::of(&balancer);
    admin.poll("all are found healthy", || {
        let endpoints = admin.endpoints();
        assert_eq!(endpoints.len(), 1000);
        endpoints.iter().all(|endpoint| endpoint["health"] == "up")
    });
    assert_eq!(admin.get("/readyz").status, 200);
    for mortal in &mortals {
        mortal.kill();
    }
    admin.poll("the dead are found out", || {
        let cluster = admin.cluster();
        cluster["eligible"] == CROWD
    });
    admin.await_workers();
    let down = admin
        .endpoints()
        .into_iter()
        .filter(|one| one["health"] == "down");
    for endpoint in down {
        let addr = endpoint["address"].as_str().expect("a text");
        assert!(!addr.ends_with(&format!(":{}", crowd.port)), "{endpoint}");
    }
    let before = crowd.sessions();
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let addr = balancer.addr();
            std::thread::spawn(move || {
                for _ in 0..SESSIONS / 3 {
                    assert_eq!(ask(addr).expect("it is served"), "crowd");
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("all were served");
    }
    // Each of two workers goes round: at most one round is open on each.
    let counts = crowd.sessions().into_iter().zip(before);
    let counts: Vec<usize> = counts.map(|(now, before)| now - before).collect();
    assert_eq!(counts.iter().sum::<usize>(), SESSIONS);
    let (least, most) = (counts.iter().min(), counts.iter().max());
    assert!(
        least >= Some(&1) && most <= Some(&5),
        "{least:?} to {most:?}"
    );
    let metrics = admin.get("/metrics");
    assert_eq!(metrics.status, 200);
    assert_eq!(admin.cluster()["endpoints"], 1000);
}

/// What attackers do with a connection to the admin interface, again and again.
fn attack(addr: SocketAddr, manner: usize, is_over: &AtomicBool) {
    let mut held = Vec::new();
    while !is_over.load(Ordering::SeqCst) {
        let Ok(mut stream) = TcpStream::connect(addr) else {
            continue;
        };
        let _ok = stream.set_read_timeout(Some(Duration::from_millis(50)));
        // All of it may be refused: the interface has its limits.
        let _refused = match manner % 4 {
            // Nothing at all, by many.
            0 => Ok(()),
            // A head that never ends.
            1 => stream.write_all(b"GET /v1/clusters HTTP/1.1\r\nHost: localhost\r\nX-"),
            // Nothing that could be a request.
            2 => stream.write_all(&[0xff; 40_000]),
            // Many requests at once, of which no answer is read.
            _ => stream.write_all(&b"GET /v1/clusters HTTP/1.1\r\nHost: a.b\r\n\r\n".repeat(500)),
        };
        let _timed_out = stream.read(&mut [0; 16]);
        held.push(stream);
        if held.len() > 20 {
            held.clear();
        }
    }
}

#[test]
fn a_flooded_admin_interface_is_not_felt_by_clients_and_recovers() {
    let actors = ["a", "b"].map(Actor::start);
    let mut plan = live_plan(&actors.each_ref());
    plan.clusters[0].health = Some(probing(Check::Tcp));
    let balancer = Balancer::start(&plan);
    let admin = Admin::of(&balancer);
    admin.await_all_up();
    let mut long = Caller::of(balancer.addr(), "a");
    let load = Load::start(balancer.addr(), 2);
    let is_over = Arc::new(AtomicBool::new(false));
    let attackers: Vec<_> = (0..8)
        .map(|manner| {
            let (addr, is_over) = (admin.addr(), Arc::clone(&is_over));
            std::thread::spawn(move || attack(addr, manner, &is_over))
        })
        .collect();
    wait_until("it is full", || {
        let answer = admin.try_call("GET", "/healthz", "");
        answer.map_or(true, |answer| answer.status == 503)
    });
    let tally = load.await_more(1000);
    assert!(tally.of("a") > 0 && tally.of("b") > 0, "{tally:?}");
    // Health goes on too: a death is found out.
    load.between(|| actors[1].kill());
    wait_until("nobody goes there any more", || {
        let before = balancer.running().endpoints()[1].total(|one| &one.connect_failures);
        load.await_more(100);
        before > 0 && balancer.running().endpoints()[1].total(|one| &one.connect_failures) == before
    });
    is_over.store(true, Ordering::SeqCst);
    for attacker in attackers {
        attacker.join().expect("it has ended");
    }
    wait_until("it answers again", || {
        let answer = admin.try_call("GET", "/healthz", "");
        answer.is_ok_and(|answer| answer.status == 200)
    });
    assert_eq!(admin.endpoint("b")["health"], "down");
    assert_eq!(long.ask().expect("it lives"), "a");
    long.finish().expect("it ends in order");
    let tally = load.end();
    assert!(tally.failures.is_empty(), "{:?}", tally.failures);
}
