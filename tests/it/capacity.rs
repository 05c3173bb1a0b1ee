//! What endpoints may take: so many sessions each, exactly, and as many as there are local ports.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on fails with the reason"
)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ringlane::balance::Policy;
use ringlane::error::CloseReason;

use crate::support::endpoint::Endpoint;
use crate::support::folder::Folder;
use crate::support::program::{Program, ringlane};
use crate::support::{Balancer, End, PATIENCE, connect, finish, plan, read_to_end, wait_until};

/// An echo that knows how many connections it ever had at a time. One is over for it before its
/// balancer can know, so the balancer's count is never below.
struct Counting {
    endpoint: Endpoint,
    most: Arc<AtomicU64>,
}

impl Counting {
    fn start() -> Self {
        let most = Arc::new(AtomicU64::new(0));
        let (open, peak) = (AtomicU64::new(0), Arc::clone(&most));
        let endpoint = Endpoint::serve(move |mut stream| {
            peak.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let mut bytes = Vec::new();
            let read = stream.read_to_end(&mut bytes);
            open.fetch_sub(1, Ordering::SeqCst);
            read?;
            stream.write_all(&bytes)
        });
        Self { endpoint, most }
    }

    fn most(&self) -> u64 {
        self.most.load(Ordering::SeqCst)
    }
}

/// Many clients at once, each with one short session after the other.
fn hammer(balancer: &Balancer, clients: usize, sessions: usize) {
    let addr = balancer.addr();
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(move || {
                for _ in 0..sessions {
                    let mut client = connect(addr);
                    client.write_all(b"hello").expect("the balancer takes it");
                    finish(&client);
                    assert_eq!(read_to_end(&mut client), (b"hello".to_vec(), End::Fin));
                }
            });
        }
    });
}

#[test]
fn an_endpoint_never_has_more_sessions_than_it_may() {
    const MAX: u32 = 6;
    for policy in [Policy::RoundRobin, Policy::LeastConn] {
        let endpoints = [Counting::start(), Counting::start(), Counting::start()];
        let addrs = endpoints.each_ref().map(|counting| counting.endpoint.addr);
        let mut plan = plan(&addrs);
        plan.clusters[0].policy = policy;
        plan.clusters[0].endpoints[0].max_connections = Some(MAX);
        plan.clusters[0].endpoints[1].max_connections = Some(1);
        let balancer = Balancer::start(&plan);
        hammer(&balancer, 4 * MAX as usize, 40);
        let most = endpoints.each_ref().map(Counting::most);
        assert!(most[0] <= u64::from(MAX) && most[1] == 1, "{most:?}");
        // Those that had no place there found one here.
        assert!(most[2] > 0 && endpoints[2].endpoint.accepted() > 0);
        balancer.await_closed(CloseReason::Finished, 4 * u64::from(MAX) * 40);
        let running = balancer.running();
        let open = running.endpoints().iter();
        let open: Vec<_> = open.map(|endpoint| endpoint.open_sessions()).collect();
        assert_eq!(open, [0, 0, 0]);
    }
}

#[test]
fn where_all_endpoints_are_full_clients_are_reset_until_one_is_not() {
    let echo = [Endpoint::echo(), Endpoint::echo()];
    let mut plan = plan(&echo.each_ref().map(|endpoint| endpoint.addr));
    for endpoint in &mut plan.clusters[0].endpoints {
        endpoint.max_connections = Some(3);
    }
    let balancer = Balancer::start(&plan);
    let mut held: Vec<TcpStream> = (0..6).map(|_| balancer.connect()).collect();
    for client in &mut held {
        client.write_all(b"x").expect("the balancer takes it");
        client.read_exact(&mut [0]).expect("there is a place");
    }
    assert_eq!(echo.each_ref().map(Endpoint::accepted), [3, 3]);
    for refused in 1..=20 {
        // The reset may come before connect(2) has returned.
        if let Ok(mut client) = TcpStream::connect(balancer.addr()) {
            assert_eq!(read_to_end(&mut client).1, End::Reset);
        }
        balancer.await_closed(CloseReason::EndpointsFull, refused);
    }
    drop(held.pop());
    balancer.await_closed(CloseReason::Finished, 1);
    let mut client = balancer.connect();
    client.write_all(b"y").expect("the balancer takes it");
    client.read_exact(&mut [0]).expect("there is a place again");
    assert_eq!(balancer.closed(CloseReason::EndpointsFull), 20);
}

/// A command in a network namespace of its own with so few local ports; `None` where that is not
/// allowed.
fn with_few_ports(command: &Command) -> Option<Command> {
    const SET_UP: &str = "ip link set lo up && \
                          echo '40000 40003' > /proc/sys/net/ipv4/ip_local_port_range";
    for words in [&["-n"][..], &["-r", "-n"]] {
        let unshared = |script: &str| {
            let mut unshare = Command::new("unshare");
            unshare.args(words).args(["sh", "-c", script, "sh"]);
            unshare
        };
        let tried = unshared(SET_UP).output();
        if tried.is_ok_and(|output| output.status.success()) {
            let mut unshare = unshared(&format!("{SET_UP} && exec \"$@\""));
            unshare.arg(command.get_program()).args(command.get_args());
            return Some(unshare);
        }
    }
    None
}

/// An echo on a Unix socket, which is the same in every network namespace.
fn unix_echo(path: &Path) {
    let listener = UnixListener::bind(path).expect("a path of our own");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut reading = stream.try_clone()?;
                std::io::copy(&mut reading, &mut stream)
            });
        }
    });
}

/// A client that has been answered.
fn answered(path: &Path) -> Option<UnixStream> {
    let mut client = UnixStream::connect(path).expect("it listens");
    client
        .set_read_timeout(Some(PATIENCE))
        .expect("an option can be set");
    // One that was turned away already is not answered.
    let _refused = client.write_all(b"x");
    client.read_exact(&mut [0]).ok().map(|()| client)
}

#[test]
fn without_a_local_port_left_another_endpoint_is_tried() {
    let folder = Folder::new();
    let at = |name: &str| folder.join(name);
    // One listener of the program is the TCP endpoint of the others.
    let config = format!(
        r#"{{
            "workers": {{ "count": 2 }},
            "log": {{ "level": "debug" }},
            "listeners": [
                {{ "bind": "127.0.0.1:9001", "cluster": "echo" }},
                {{ "bind": "unix:{0}/in", "cluster": "several" }},
                {{ "bind": "unix:{0}/strict", "cluster": "one" }}
            ],
            "clusters": [
                {{ "name": "echo", "endpoints": ["unix:{0}/echo"] }},
                {{ "name": "several", "endpoints": [
                    "127.0.0.1:9001",
                    {{ "address": "unix:{0}/other", "weight": 1 }}
                ] }},
                {{ "name": "one", "endpoints": ["127.0.0.1:9001"] }}
            ]
        }}"#,
        folder.path().display()
    );
    let config = folder.write("config.json", config);
    let mut command = ringlane();
    command.args(["run", "--config"]).arg(config);
    let Some(mut command) = with_few_ports(&command) else {
        return;
    };
    command.env_remove("RINGLANE_CONFIG");
    unix_echo(&at("echo"));
    unix_echo(&at("other"));
    let mut program = Program::start(command);
    let mut held: Vec<UnixStream> = (0..4).map_while(|_| answered(&at("strict"))).collect();
    assert_eq!(held.len(), 4, "there are four ports");
    assert!(answered(&at("strict")).is_none(), "a fifth port");
    program.await_line("reason=\"no_local_port\"");
    for _ in 0..8 {
        assert!(answered(&at("in")).is_some(), "the other is not tried");
    }
    drop(held.pop());
    wait_until("a port is free again", || answered(&at("strict")).is_some());
}
