//! Listeners on Unix sockets: they relay, and their files come and go as they should.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on fails with the reason"
)]

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ringlane::error::CloseReason;
use ringlane::plan::Plan;
use ringlane::plan::place::Bind;
use ringlane::process::{ProcessError, Running};

use crate::support::endpoint::{Endpoint, refusing};
use crate::support::folder::Folder;
use crate::support::{Balancer, PATIENCE, pattern, plan, wait_until};

fn plan_on(path: &Path, endpoint: std::net::SocketAddr) -> Plan {
    let mut plan = plan(&[endpoint]);
    plan.listeners[0].binds = vec![Bind::Unix(path.to_path_buf())];
    plan
}

fn connect(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).expect("it listens");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("an option can be set");
    stream
}

/// Sends bytes through an echo and compares.
fn exchange(path: &Path, bytes: &[u8]) {
    let mut client = connect(path);
    let mut writing = client.try_clone().expect("a second handle");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            writing.write_all(bytes).expect("the balancer takes it");
            writing.shutdown(Shutdown::Write).expect("it stands");
        });
        let mut received = Vec::new();
        client.read_to_end(&mut received).expect("the echo comes");
        assert!(received == bytes, "{} bytes came back", received.len());
    });
}

fn in_use(outcome: Result<Running, ProcessError>, path: &Path) -> bool {
    let Err(error) = outcome else {
        return false;
    };
    assert_eq!(error.exit_code(), 1);
    let text = error.to_string();
    text.contains(&path.display().to_string()) && text.contains("another program or instance")
}

#[test]
fn clients_of_a_unix_socket_are_served_by_all_workers() {
    let folder = Folder::new();
    let path = folder.join("in.sock");
    let echo = Endpoint::echo();
    let balancer = Balancer::start(&plan_on(&path, echo.addr));
    for size in [0, 1, 5000, 3 << 20] {
        exchange(&path, &pattern(size as u64, size));
    }
    let clients: Vec<UnixStream> = (0..200).map(|_| connect(&path)).collect();
    for mut client in &clients {
        client.write_all(b"hello").expect("the balancer takes it");
    }
    for mut client in &clients {
        client.read_exact(&mut [0; 5]).expect("the echo comes");
    }
    let accepted = balancer.running().counters().iter();
    let accepted: u64 = accepted.map(|worker| worker.accepted.value()).sum();
    assert_eq!(accepted, 204);
    drop(clients);
    balancer.await_closed(CloseReason::Finished, 204);
}

#[test]
fn a_session_that_fails_ends() {
    let folder = Folder::new();
    let path = folder.join("in.sock");
    let balancer = Balancer::start(&plan_on(&path, refusing()));
    let mut rest = Vec::new();
    // A Unix socket knows no reset: an end, or an error if something was left unread.
    let _ended = connect(&path).read_to_end(&mut rest);
    assert!(rest.is_empty());
    balancer.await_closed(CloseReason::ConnectRefused, 1);
}

#[test]
fn the_file_has_the_permissions_that_were_asked_for() {
    let folder = Folder::new();
    let echo = Endpoint::echo();
    for mode in [0o660, 0o600, 0o777] {
        let path = folder.join("in.sock");
        let mut plan = plan_on(&path, echo.addr);
        plan.listeners[0].options.unix_mode = Some(mode);
        let balancer = Balancer::start(&plan);
        let metadata = fs::metadata(&path).expect("the file is there");
        assert!(metadata.file_type().is_socket());
        assert_eq!(metadata.permissions().mode() & 0o7777, mode);
        exchange(&path, b"hello");
        drop(balancer);
        assert!(!path.exists(), "the file is left");
    }
}

#[test]
fn a_file_that_was_left_is_replaced_and_one_in_use_is_not() {
    let folder = Folder::new();
    let path = folder.join("in.sock");
    let echo = Endpoint::echo();
    let plan = plan_on(&path, echo.addr);
    // A socket that is dropped leaves its file.
    drop(UnixListener::bind(&path).expect("a path of our own"));
    assert!(path.exists());
    let balancer = Balancer::start(&plan);
    exchange(&path, b"hello");
    assert!(in_use(Running::start(&plan), &path));
    // The refused one has taken nothing away.
    exchange(&path, b"hello");
    drop(balancer);
    assert!(!path.exists(), "the file is left");
    // Somebody else's, and what is no socket.
    let foreign = UnixListener::bind(&path).expect("the path is free");
    assert!(in_use(Running::start(&plan), &path));
    drop(foreign);
    fs::remove_file(&path).expect("the file is ours");
    fs::write(&path, "text").expect("the path is free");
    assert!(in_use(Running::start(&plan), &path));
    assert_eq!(fs::read(&path).expect("the file is there"), b"text");
}

#[test]
fn a_start_that_fails_leaves_no_file() {
    let folder = Folder::new();
    let path = folder.join("in.sock");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut plan = plan_on(&path, refusing());
    let addr = taken.local_addr().expect("an address");
    plan.listeners[0].binds.push(Bind::Tcp(addr));
    assert!(Running::start(&plan).is_err());
    assert!(!path.exists(), "the file is left");
}

/// A balancer that is told to end while a session goes on, and the session.
fn draining(path: &PathBuf, plan: &Plan) -> (Balancer, UnixStream) {
    let balancer = Balancer::start(plan);
    let mut client = connect(path);
    client.write_all(b"hello").expect("the balancer takes it");
    client.read_exact(&mut [0; 5]).expect("the echo comes");
    balancer.running().drain(Duration::from_secs(60));
    wait_until("nobody listens", || UnixStream::connect(path).is_err());
    (balancer, client)
}

#[test]
fn an_instance_that_ends_leaves_its_successor_s_file_alone() {
    let folder = Folder::new();
    let path = folder.join("in.sock");
    let echo = Endpoint::echo();
    let plan = plan_on(&path, echo.addr);
    let (old, mut client) = draining(&path, &plan);
    let successor = Balancer::start(&plan);
    exchange(&path, b"hello");
    client.write_all(b"hello").expect("the session goes on");
    client.read_exact(&mut [0; 5]).expect("the echo comes");
    drop((old, client));
    exchange(&path, b"hello");
    drop(successor);
    assert!(!path.exists(), "the file is left");
}
