//! Limits of sessions hold exactly, over all workers, whoever hammers at them; who is above them
//! waits in the kernel's backlog and is served as soon as there is a place.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on fails with the reason"
)]

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ringlane::plan::{ListenerPlan, Plan};

use crate::support::endpoint::Endpoint;
use crate::support::program::Program;
use crate::support::{Balancer, End, connect, finish, plan, read_to_end, wait_until};

/// An endpoint that knows how many sessions it ever had at once.
struct Crowd {
    endpoint: Endpoint,
    most: Arc<AtomicU64>,
}

impl Crowd {
    fn start() -> Self {
        let (now, most) = (AtomicU64::new(0), Arc::new(AtomicU64::new(0)));
        let highest = Arc::clone(&most);
        let endpoint = Endpoint::serve(move |mut stream| {
            // Counted from the first byte to the last: a session that the balancer has ended may
            // still be on its way here.
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            let count = now.fetch_add(1, Ordering::SeqCst) + 1;
            highest.fetch_max(count, Ordering::SeqCst);
            stream.write_all(&byte)?;
            stream.read_exact(&mut byte)?;
            now.fetch_sub(1, Ordering::SeqCst);
            stream.write_all(&byte)
        });
        Self { endpoint, most }
    }
}

/// One client's whole session: two bytes there and back.
fn converse(addr: SocketAddr) {
    let mut client = connect(addr);
    for byte in [1, 2] {
        client.write_all(&[byte]).expect("the kernel takes it");
        let mut echo = [0];
        client.read_exact(&mut echo).expect("it is served");
        assert_eq!(echo, [byte]);
    }
}

/// Lets so many clients have one session after the other, all at once.
fn hammer(addr: SocketAddr, clients: usize, sessions: usize) {
    let threads: Vec<_> = (0..clients)
        .map(|_| {
            std::thread::spawn(move || {
                for _ in 0..sessions {
                    converse(addr);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("the client was served");
    }
}

#[test]
fn the_process_s_limit_is_reached_and_never_exceeded() {
    const LIMIT: usize = 12;
    let crowd = Crowd::start();
    let mut plan = plan(&[crowd.endpoint.addr]);
    plan.max_sessions = Some(LIMIT);
    let balancer = Balancer::start(&plan);
    hammer(balancer.addr(), 4 * LIMIT, 30);
    assert_eq!(crowd.most.load(Ordering::SeqCst), LIMIT as u64);
    wait_until("every session is over", || {
        balancer.running().session_limit().count() == 0
    });
}

/// Two listeners of which the first may have so many sessions.
fn plan_of_two(crowd: &Crowd, limit: usize) -> Plan {
    let mut plan = plan(&[crowd.endpoint.addr]);
    plan.listeners[0].max_sessions = Some(limit);
    let other: ListenerPlan = plan.listeners[0].clone();
    plan.listeners.push(ListenerPlan {
        name: "other".to_string(),
        max_sessions: None,
        ..other
    });
    plan
}

#[test]
fn a_listener_s_limit_is_reached_and_never_exceeded() {
    const LIMIT: usize = 8;
    let crowd = Crowd::start();
    let balancer = Balancer::start(&plan_of_two(&crowd, LIMIT));
    hammer(balancer.addr(), 4 * LIMIT, 30);
    assert_eq!(crowd.most.load(Ordering::SeqCst), LIMIT as u64);
}

#[test]
fn a_full_listener_leaves_clients_in_the_backlog_and_others_alone() {
    const LIMIT: u64 = 3;
    let crowd = Crowd::start();
    let balancer = Balancer::start(&plan_of_two(&crowd, LIMIT as usize));
    let [limited, free] = balancer.addrs()[..] else {
        panic!("two listeners");
    };
    let accepted = || -> u64 {
        let counters = balancer.running().counters().iter();
        counters.map(|counters| counters.accepted.value()).sum()
    };
    let inside: Vec<_> = (0..LIMIT).map(|_| connect(limited)).collect();
    wait_until("the first are served", || accepted() == LIMIT);
    let mut waiting: Vec<_> = (0..5).map(|_| connect(limited)).collect();
    for client in &mut waiting {
        client.write_all(&[1]).expect("the kernel takes it");
    }
    // Others come and go, for long enough that a client who does not wait would be seen.
    for _ in 0..100 {
        converse(free);
    }
    assert_eq!(accepted(), LIMIT + 100, "somebody did not wait");
    drop(inside);
    // Nobody knows in which order the workers take them, so everybody waits for its own.
    let threads: Vec<_> = waiting
        .into_iter()
        .map(|mut client| {
            std::thread::spawn(move || {
                let mut echo = [0];
                client.read_exact(&mut echo).expect("it is served by now");
                client.write_all(&[2]).expect("the kernel takes it");
                client.read_exact(&mut echo).expect("the session goes on");
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("the client was served");
    }
}

#[test]
fn a_full_balancer_does_not_spin() {
    let crowd = Crowd::start();
    let mut plan = plan(&[crowd.endpoint.addr]);
    plan.max_sessions = Some(1);
    let balancer = Balancer::start(&plan);
    let _inside = connect(balancer.addr());
    wait_until("it is served", || {
        balancer.running().session_limit().count() == 1
    });
    let _waiting: Vec<_> = (0..20).map(|_| connect(balancer.addr())).collect();
    let turns = || -> u64 {
        let counters = balancer.running().counters().iter();
        counters.map(|counters| counters.turns.value()).sum()
    };
    let (started, before) = (std::time::Instant::now(), turns());
    wait_until("some turns have passed", || turns() > before + 20);
    // Each worker looks for a place every 10 ms; spinning would take microseconds.
    assert!(started.elapsed() > std::time::Duration::from_millis(50));
}

#[test]
fn without_descriptors_clients_wait_and_are_served_later() {
    let echo = Endpoint::echo();
    let program = Program::run(&["--to", &echo.addr.to_string(), "--max-sessions", "100"]);
    let (addr, fds) = (program.addr, format!("/proc/{}/fd", program.pid()));
    let open = || std::fs::read_dir(&fds).expect("it runs").count();
    converse_with_echo(addr);
    wait_until("its sockets are closed", || {
        let before = open();
        std::thread::yield_now();
        before == open()
    });
    let before = open();
    let limit = |descriptors: usize| {
        let status = std::process::Command::new("prlimit")
            .args(["--pid", &program.pid().to_string()])
            .arg(format!("--nofile={descriptors}:"))
            .status();
        assert!(status.expect("prlimit is there").success());
    };
    // Room for a client or two; who is accepted is connected by the descriptor in reserve.
    limit(before + 3);
    let clients: Vec<_> = (0..40)
        .map(|_| std::thread::spawn(move || converse_with_echo(addr)))
        .collect();
    for client in clients {
        client.join().expect("the client was served");
    }
    limit(256);
    converse_with_echo(addr);
    wait_until("nothing is kept open", || open() <= before + 1);
}

/// One byte there and back, and the end.
fn converse_with_echo(addr: SocketAddr) {
    let mut client = connect(addr);
    client.write_all(b"x").expect("the kernel takes it");
    finish(&client);
    assert_eq!(read_to_end(&mut client), (b"x".to_vec(), End::Fin));
}
