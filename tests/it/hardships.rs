//! What goes wrong around the program does not go wrong in it.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on fails with the reason"
)]

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::process::{Child, Stdio};

use ringlane::error::CloseReason;
use ringlane::plan::EndpointPlan;
use ringlane::plan::place::Place;

use crate::support::endpoint::Endpoint;
use crate::support::program::{Program, ringlane};
use crate::support::{
    Balancer, End, connect, finish, loopback, plan, read_to_end, reset, wait_until,
};

/// A program of which only the address is known, because nobody reads its log.
struct Unwatched {
    child: Child,
    addr: SocketAddr,
}

impl Unwatched {
    fn start(endpoint: SocketAddr, stderr: Stdio) -> Self {
        let free = std::net::TcpListener::bind(loopback(0)).expect("a free port");
        let addr = free.local_addr().expect("an address");
        drop(free);
        let words = ["--listen", &addr.to_string(), "--to", &endpoint.to_string()];
        let child = ringlane()
            .arg("run")
            .args(words)
            .args(["--log-level", "debug", "--drain-timeout", "1s"])
            .stderr(stderr)
            .spawn()
            .expect("the program starts");
        let started = Self { child, addr };
        wait_until("it listens", || TcpStream::connect(addr).is_ok());
        started
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = std::process::Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status();
        assert!(status.is_ok_and(|status| status.success()));
    }

    fn exchange(&self, sessions: usize) {
        for _ in 0..sessions {
            let mut client = connect(self.addr);
            client.write_all(b"hello").expect("sent");
            finish(&client);
            assert_eq!(read_to_end(&mut client), (b"hello".to_vec(), End::Fin));
        }
    }

    fn end(mut self) {
        self.signal("TERM");
        let mut status = None;
        wait_until("it has ended", || {
            status = self.child.try_wait().expect("a child");
            status.is_some()
        });
        assert_eq!(status.and_then(|status| status.code()), Some(0));
    }
}

impl Drop for Unwatched {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

#[test]
fn a_log_that_cannot_be_written_ends_nothing() {
    let echo = Endpoint::echo();
    let full = OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .expect("a device");
    let program = Unwatched::start(echo.addr, Stdio::from(full));
    program.signal("HUP");
    program.exchange(20);
    program.end();
}

#[test]
fn a_log_that_nobody_reads_blocks_nothing() {
    let echo = Endpoint::echo();
    let mut program = Unwatched::start(echo.addr, Stdio::piped());
    let unread = program.child.stderr.take();
    // At `debug` each session is a line: more than the pipe and the queue hold.
    program.exchange(6000);
    program.end();
    drop(unread);
}

#[test]
fn a_demonstration_that_nobody_reads_ends_in_order() {
    let mut child = ringlane()
        .args(["demo", "--listen", "127.0.0.1:0", "--for", "1s"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    assert!(child.wait().expect("a child").success());
}

/// A pipe that takes no more, with both of its ends.
fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    writer
        .write_all(&[b'x'; 64 * 1024])
        .expect("what a new pipe holds");
    (reader, writer)
}

#[test]
fn an_output_that_is_stuck_keeps_no_process() {
    let (_unread, full) = full_pipe();
    let mut demo = ringlane()
        .args(["demo", "--listen", "127.0.0.1:0", "--for", "1s"])
        .stdout(Stdio::from(full))
        .spawn()
        .expect("the program starts");
    let taken = std::net::TcpListener::bind(loopback(0)).expect("a free port");
    let addr = taken.local_addr().expect("an address").to_string();
    let (_unread, full) = full_pipe();
    let mut run = ringlane()
        .args(["run", "--listen", &addr, "--to", "127.0.0.1:9"])
        .stderr(Stdio::from(full))
        .spawn()
        .expect("the program starts");
    for (child, code) in [(&mut demo, 0), (&mut run, 1)] {
        let mut status = None;
        wait_until("it has ended", || {
            status = child.try_wait().expect("a child");
            status.is_some()
        });
        assert_eq!(status.and_then(|status| status.code()), Some(code));
    }
}

#[test]
fn finished_clients_that_do_not_read_cost_no_kernel_thread() {
    let endpoint = Endpoint::serve(|mut stream| {
        let block = [1; 8192];
        loop {
            stream.write_all(&block)?;
        }
    });
    let program = Program::run(&["--to", &endpoint.addr.to_string(), "--workers", "1"]);
    // The way is full before the FIN comes, and after it.
    let clients: Vec<TcpStream> = (0..40).map(|_| connect(program.addr)).collect();
    let unread = |client: &TcpStream| client.peek(&mut [0]).is_ok_and(|bytes| bytes > 0);
    wait_until("bytes wait at each", || clients.iter().all(unread));
    for client in &clients {
        finish(client);
    }
    // Whoever comes later is served behind all that.
    for _ in 0..20 {
        let mut client = connect(program.addr);
        client
            .read_exact(&mut [0; 8192])
            .expect("the endpoint speaks");
        let names = program.threads();
        assert!(
            !names.iter().any(|name| name.starts_with("iou-wrk")),
            "{names:?}"
        );
        reset(client);
    }
    drop(clients);
}

#[test]
fn a_burst_on_few_descriptors_waits_and_is_served() {
    let echo = Endpoint::echo();
    let mut command = std::process::Command::new("prlimit");
    command.args(["--nofile=256:256", env!("CARGO_BIN_EXE_ringlane")]);
    let program = Program::run_by(command, &["--to", &echo.addr.to_string()]);
    let addr = program.addr;
    let clients: Vec<_> = (0..150)
        .map(|_| {
            std::thread::spawn(move || {
                let mut client = connect(addr);
                client.write_all(b"hello").expect("sent");
                finish(&client);
                read_to_end(&mut client)
            })
        })
        .collect();
    for client in clients {
        let seen = client.join().expect("the client is served");
        assert_eq!(seen, (b"hello".to_vec(), End::Fin));
    }
}

#[test]
fn what_was_acknowledged_before_a_reset_is_delivered() {
    const BYTES: usize = 3 << 20;
    let endpoint = Endpoint::serve(|mut stream| {
        stream.write_all(&vec![7; BYTES])?;
        wait_until("the balancer's kernel has it all", || {
            ringlane::sys::socket::unsent_bytes(stream.as_fd()) == 0
        });
        reset(stream);
        Ok(())
    });
    let balancer = Balancer::start(&plan(&[endpoint.addr]));
    for _ in 0..5 {
        let (bytes, end) = read_to_end(&mut balancer.connect());
        assert_eq!((bytes.len(), end), (BYTES, End::Reset));
    }
    balancer.await_closed(CloseReason::EndpointReset, 5);
}

#[test]
fn a_unix_endpoint_with_a_full_backlog_is_passed_over() {
    let folder = std::env::temp_dir().join(format!("ringlane-{:x}", fastrand::u64(..)));
    std::fs::create_dir(&folder).expect("a folder of our own");
    let path = folder.join("full.sock");
    let address = socket2::SockAddr::unix(&path).expect("a short path");
    let new = || {
        socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).expect("a socket")
    };
    let full = new();
    full.bind(&address).expect("a path of our own");
    full.listen(0).expect("it listens");
    let waiting = new();
    waiting
        .connect(&address)
        .expect("the one that fits the backlog");
    let good = Endpoint::name("good");
    let mut plan = plan(&[good.addr]);
    plan.clusters[0]
        .endpoints
        .insert(0, EndpointPlan::at(Place::Unix(path)));
    let balancer = Balancer::start(&plan);
    for _ in 0..10 {
        let seen = read_to_end(&mut balancer.connect());
        assert_eq!(seen, (b"good".to_vec(), End::Fin));
    }
    std::fs::remove_dir_all(folder).expect("the folder is ours");
}
