//! Starting, stopping, limits: what an operator sees of the process.
#![forbid(unsafe_code)]

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use ringlane::error::CloseReason;

use crate::support::endpoint::Endpoint;
use crate::support::program::{Program, output, ringlane};
use crate::support::{Balancer, End, connect, finish, plan, read_to_end, wait_until};

/// A program in front of an endpoint that answers once the request has ended.
fn answering(arguments: &[&str]) -> (Endpoint, Program) {
    let endpoint = Endpoint::serve(|mut stream| {
        let mut request = Vec::new();
        stream.read_to_end(&mut request)?;
        stream.write_all(&request)
    });
    let to = endpoint.addr.to_string();
    let program = Program::run(&[&["--to", &to], arguments].concat());
    (endpoint, program)
}

fn await_refusal(program: &Program) {
    wait_until("the listener is closed", || {
        TcpStream::connect(program.addr)
            .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    });
}

#[test]
fn a_request_in_flight_is_answered_before_the_end() {
    let (endpoint, mut program) = answering(&[]);
    let mut client = connect(program.addr);
    client.write_all(b"the first half, ").expect("sent");
    wait_until("the endpoint is connected", || endpoint.accepted() == 1);
    program.signal("TERM");
    program.await_line("stopping");
    await_refusal(&program);
    client
        .write_all(b"the second half")
        .expect("the session goes on");
    finish(&client);
    let (answer, end) = read_to_end(&mut client);
    assert_eq!(
        (answer.as_slice(), end),
        (&b"the first half, the second half"[..], End::Fin)
    );
    assert_eq!(program.await_exit().code(), Some(0));
}

#[test]
fn what_outlives_the_drain_timeout_is_reset() {
    let (_endpoint, mut program) = answering(&["--drain-timeout", "200ms"]);
    let mut client = connect(program.addr);
    client.write_all(b"never ended").expect("sent");
    program.signal("INT");
    assert_eq!(read_to_end(&mut client), (Vec::new(), End::Reset));
    assert_eq!(program.await_exit().code(), Some(0));
}

#[test]
fn a_second_signal_ends_at_once() {
    let (endpoint, mut program) = answering(&["--drain-timeout", "1h"]);
    let mut client = connect(program.addr);
    client.write_all(b"never ended").expect("sent");
    wait_until("the endpoint is connected", || endpoint.accepted() == 1);
    program.signal("TERM");
    program.await_line("stopping");
    await_refusal(&program);
    program.signal("TERM");
    assert_eq!(read_to_end(&mut client), (Vec::new(), End::Reset));
    assert_eq!(program.await_exit().code(), Some(0));
}

#[test]
fn a_hangup_ends_nothing() {
    let (_endpoint, mut program) = answering(&[]);
    program.signal("HUP");
    program.await_line("reload is not available");
    let mut client = connect(program.addr);
    client.write_all(b"still here").expect("sent");
    finish(&client);
    assert_eq!(read_to_end(&mut client).0, b"still here");
}

#[test]
fn a_port_in_use_is_refused_by_its_name() {
    let (_endpoint, program) = answering(&[]);
    let port = program.addr.port();
    for host in ["127.0.0.1", "0.0.0.0"] {
        let mut second = ringlane();
        let listen = format!("{host}:{port}");
        second.args(["run", "--listen", &listen, "--to", "127.0.0.1:1"]);
        let (code, text) = output(second);
        assert_eq!(code, Some(1), "{text}");
        assert!(
            text.contains(&format!("port {port} is in use")),
            "{listen}: {text}"
        );
    }
}

#[test]
fn at_the_session_limit_clients_wait_and_none_is_lost() {
    let echo = Endpoint::echo();
    let mut plan = plan(&[echo.addr]);
    plan.max_sessions = Some(2);
    let balancer = Balancer::start(&plan);
    let mut clients: Vec<TcpStream> = (0..20).map(|_| balancer.connect()).collect();
    for client in &mut clients {
        client.write_all(b"hello").expect("the kernel takes it");
    }
    wait_until("the limit is reached", || {
        balancer.running().session_limit().count() == 2
    });
    // Whoever is served is served to the end before the next ones can be; nobody knows in which
    // order the workers accepted, so everybody waits for its own.
    let threads: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            std::thread::spawn(move || {
                finish(&client);
                read_to_end(&mut client)
            })
        })
        .collect();
    for thread in threads {
        let (answer, end) = thread.join().expect("the client is served");
        assert_eq!((answer.as_slice(), end), (&b"hello"[..], End::Fin));
    }
    balancer.await_closed(CloseReason::Finished, 20);
    assert_eq!(balancer.running().session_limit().count(), 0);
}

#[test]
fn idle_sessions_are_reset_and_half_closed_ones_sooner() {
    let silent = Endpoint::serve(|mut stream| {
        let mut nothing = Vec::new();
        stream.read_to_end(&mut nothing)?;
        std::thread::park();
        Ok(())
    });
    let mut plan = plan(&[silent.addr]);
    plan.clusters[0].timeouts.idle = Some(std::time::Duration::from_millis(300));
    plan.clusters[0].timeouts.half_close = Some(std::time::Duration::from_millis(100));
    let balancer = Balancer::start(&plan);
    let mut idle = balancer.connect();
    let mut half_closed = balancer.connect();
    finish(&half_closed);
    assert_eq!(read_to_end(&mut half_closed).1, End::Reset);
    balancer.await_closed(CloseReason::HalfCloseTimeout, 1);
    assert_eq!(read_to_end(&mut idle).1, End::Reset);
    balancer.await_closed(CloseReason::IdleTimeout, 1);
}

#[test]
fn a_worker_is_pinned_and_no_kernel_thread_helps_it() {
    let echo = Endpoint::echo();
    let cpu = ringlane::sys::affinity::allowed_cpus()[0];
    let to = echo.addr.to_string();
    let program = Program::run(&["--to", &to, "--workers", "1", "--cpus", &cpu.to_string()]);
    for _ in 0..50 {
        let mut client = connect(program.addr);
        client.write_all(&[1; 100_000]).expect("sent");
        finish(&client);
        assert_eq!(read_to_end(&mut client).0.len(), 100_000);
    }
    let tasks = std::fs::read_dir(format!("/proc/{}/task", program.pid())).expect("it runs");
    let mut workers = 0;
    for task in tasks.flatten() {
        let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        assert!(!name.starts_with("iou-wrk"), "an io-wq thread exists");
        if name.starts_with("worker") {
            workers += 1;
            let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
            let allowed = format!("Cpus_allowed_list:\t{cpu}");
            assert!(
                status.lines().any(|line| line == allowed),
                "{name} is not pinned to {cpu}"
            );
        }
    }
    assert_eq!(workers, 1);
}

#[test]
fn the_start_says_what_is_used_and_what_is_possible() {
    let (_endpoint, program) = answering(&[]);
    let log = program.seen().join("\n");
    for part in [
        "completion work",
        "multishot receive with a byte budget",
        "registered ring descriptor",
        "not used",
        "sessions that are possible at a time",
    ] {
        assert!(log.contains(part), "no `{part}` in:\n{log}");
    }
}

#[test]
fn two_thousand_sessions_stand_at_once() {
    const SESSIONS: usize = 2000;
    let echo = Endpoint::serve(|mut stream| {
        let mut byte = [0; 1];
        while stream.read(&mut byte)? == 1 {
            stream.write_all(&byte)?;
        }
        Ok(())
    });
    let balancer = Balancer::start(&plan(&[echo.addr]));
    let mut clients: Vec<TcpStream> = (0..SESSIONS).map(|_| balancer.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.write_all(&[number as u8]).expect("sent");
    }
    for (number, client) in clients.iter_mut().enumerate() {
        let mut byte = [0; 1];
        client.read_exact(&mut byte).expect("answered");
        assert_eq!(byte, [number as u8]);
    }
    assert_eq!(balancer.running().session_limit().count(), SESSIONS);
    drop(clients);
    balancer.await_closed(CloseReason::Finished, SESSIONS as u64);
}
