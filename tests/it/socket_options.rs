//! Options of sockets are set: on clients' connections and listeners at once, on endpoints' sooner
//! or later; what cannot be set keeps the program from starting.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on fails with the reason"
)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use ringlane::plan::options::{Keepalive, SocketOptions};
use ringlane::plan::place::Bind;
use ringlane::plan::{ListenerPlan, Plan};
use socket2::Socket;

use crate::support::endpoint::Endpoint;
use crate::support::folder::Folder;
use crate::support::program::{output, ringlane};
use crate::support::sockets::{self, connected_to, option};
use crate::support::{Balancer, PATIENCE, connect, loopback, plan, wait_until};

/// A client whose session stands.
fn established(addr: SocketAddr) -> TcpStream {
    let mut client = connect(addr);
    client.write_all(b"x").expect("the balancer takes it");
    client.read_exact(&mut [0]).expect("the echo comes");
    client
}

/// The balancer's socket of a client.
fn accepted(balancer: &Balancer, client: &TcpStream) -> Socket {
    let port = client.local_addr().expect("an address").port();
    sockets::find(balancer.addr().port(), port).expect("the session stands")
}

fn listening(addr: SocketAddr) -> Socket {
    sockets::find(addr.port(), 0).expect("it listens")
}

fn keepalive_of(socket: &Socket) -> Option<Keepalive> {
    let is_on = socket.keepalive().expect("an option of every socket");
    is_on.then(|| Keepalive {
        idle: socket.tcp_keepalive_time().expect("an option of TCP"),
        interval: socket.tcp_keepalive_interval().expect("an option of TCP"),
        probes: socket.tcp_keepalive_retries().expect("an option of TCP") as u8,
    })
}

fn user_timeout_of(socket: &Socket) -> Option<Duration> {
    let time = socket.tcp_user_timeout().expect("an option of TCP");
    time.filter(|time| !time.is_zero())
}

/// A plan with these options on both sides.
fn plan_with(endpoint: &Endpoint, options: &SocketOptions) -> Plan {
    let mut plan = plan(&[endpoint.addr]);
    plan.clusters[0].connect_timeout = Duration::from_millis(100);
    plan.listeners[0].options.socket = options.clone();
    plan.clusters[0].options.socket = options.clone();
    plan
}

#[test]
fn silent_connections_are_probed_as_configured() {
    let own = Keepalive {
        idle: Duration::from_secs(7),
        interval: Duration::from_secs(3),
        probes: 2,
    };
    let options = |keepalive, user_timeout| SocketOptions {
        keepalive,
        user_timeout,
        ..SocketOptions::default()
    };
    for options in [
        SocketOptions::default(),
        options(Some(own), Some(Duration::from_millis(12_345))),
        options(Some(own), None),
        options(None, Some(Duration::from_secs(5))),
    ] {
        let echo = Endpoint::echo();
        let balancer = Balancer::start(&plan_with(&echo, &options));
        let client = established(balancer.addr());
        let socket = accepted(&balancer, &client);
        assert_eq!(keepalive_of(&socket), options.keepalive);
        assert_eq!(user_timeout_of(&socket), options.user_timeout);
        assert!(socket.tcp_nodelay().expect("an option of TCP"));
        let socket = connected_to(echo.addr).expect("the session stands");
        assert!(socket.tcp_nodelay().expect("an option of TCP"));
        wait_until("the endpoint's socket is settled", || {
            keepalive_of(&socket) == options.keepalive
                && user_timeout_of(&socket) == options.user_timeout
        });
    }
}

#[test]
fn packets_are_marked_as_configured() {
    let options = SocketOptions {
        interface: Some("lo".to_string()),
        dscp: Some(18),
        congestion: Some("reno".to_string()),
        ..SocketOptions::default()
    };
    let echo = Endpoint::echo();
    let balancer = Balancer::start(&plan_with(&echo, &options));
    let client = established(balancer.addr());
    let endpoint = connected_to(echo.addr).expect("the session stands");
    for socket in [accepted(&balancer, &client), endpoint] {
        let device = socket.device().expect("an option of every socket");
        assert_eq!(device.as_deref(), Some(&b"lo"[..]));
        assert_eq!(socket.tos_v4().expect("an option of IPv4"), 72);
        let congestion = socket.tcp_congestion().expect("an option of TCP");
        assert!(congestion.starts_with(b"reno"), "{congestion:?}");
    }
}

#[test]
fn packets_of_both_families_carry_the_code_point() {
    let echo = Endpoint::echo();
    let mut plan = plan(&[echo.addr]);
    let any = SocketAddr::from(([0u16; 8], 0));
    plan.listeners[0].binds = vec![Bind::Tcp(any)];
    plan.listeners[0].options.ipv6_only = false;
    plan.listeners[0].options.socket.dscp = Some(46);
    let balancer = Balancer::start(&plan);
    let port = balancer.addr().port();
    let over6 = established(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port)));
    let socket = accepted(&balancer, &over6);
    assert_eq!(socket.tclass_v6().expect("an option of IPv6"), 184);
    let over4 = established(loopback(port));
    let socket = accepted(&balancer, &over4);
    assert_eq!(socket.tos_v4().expect("an option of IPv4"), 184);
}

#[test]
fn a_mark_is_set_or_refused_by_its_name() {
    let options = SocketOptions {
        mark: Some(7),
        ..SocketOptions::default()
    };
    let echo = Endpoint::echo();
    let plan = plan_with(&echo, &options);
    let own = Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    if own.set_mark(7).is_err() {
        let error = ringlane::process::Running::start(&plan).expect_err("nobody may");
        assert!(error.to_string().contains("mark"), "{error}");
        return;
    }
    let balancer = Balancer::start(&plan);
    let client = established(balancer.addr());
    let endpoint = connected_to(echo.addr).expect("the session stands");
    for socket in [listening(balancer.addr()), endpoint] {
        assert_eq!(socket.mark().expect("an option of every socket"), 7);
    }
    drop(client);
}

#[test]
fn connections_come_from_the_sources_in_turn() {
    let (sender, sources) = channel();
    let sender = Mutex::new(sender);
    let endpoint = Endpoint::serve(move |mut stream| {
        let source = stream.peer_addr()?.ip();
        let _test_is_over = sender.lock().map(|sender| sender.send(source));
        std::io::copy(&mut stream.try_clone()?, &mut stream).map(|_| ())
    });
    let of = |last| IpAddr::from([127, 0, 0, last]);
    for count in [1, 3] {
        let mut plan = plan(&[endpoint.addr]);
        plan.workers.count = Some(1);
        plan.clusters[0].options.source = (2..2 + count).map(of).collect();
        // Those of the other family are passed over.
        plan.clusters[0]
            .options
            .source
            .insert(1, IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]));
        let balancer = Balancer::start(&plan);
        let mut seen = BTreeMap::new();
        for _ in 0..6 * u32::from(count) {
            let client = established(balancer.addr());
            let source = sources.recv_timeout(PATIENCE).expect("it was connected");
            *seen.entry(source).or_insert(0) += 1;
            let socket = connected_to(endpoint.addr).expect("the session stands");
            let late = option(&socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT);
            assert_eq!(late, 1, "the port is chosen too early");
            drop(client);
        }
        let expected: BTreeMap<_, _> = (2..2 + count).map(|last| (of(last), 6)).collect();
        assert_eq!(seen, expected);
    }
}

#[test]
fn a_listener_s_own_options_are_set() {
    let echo = Endpoint::echo();
    let mut plan = plan(&[echo.addr]);
    plan.workers.count = Some(1);
    plan.listeners[0].options.backlog = Some(77);
    plan.listeners[0].options.fast_open = Some(33);
    plan.listeners[0].options.defer_accept = Some(Duration::from_secs(3));
    plan.clusters[0].options.fast_open = true;
    let balancer = Balancer::start(&plan);
    let socket = listening(balancer.addr());
    assert_eq!(sockets::backlog(&socket), 77);
    assert_eq!(option(&socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN), 33);
    assert_eq!(
        option(&socket, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT),
        3
    );
    let client = established(balancer.addr());
    let endpoint = connected_to(echo.addr).expect("the session stands");
    let fast_open = option(&endpoint, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT);
    assert_eq!(fast_open, 1);
    drop(client);
}

#[test]
fn deferred_clients_are_served_once_they_speak_or_after_a_while() {
    let endpoint = Endpoint::serve(|mut stream| {
        stream.write_all(b"banner")?;
        std::io::copy(&mut stream.try_clone()?, &mut stream).map(|_| ())
    });
    let mut plan = plan(&[endpoint.addr]);
    plan.listeners[0].options.defer_accept = Some(Duration::from_secs(1));
    let balancer = Balancer::start(&plan);
    let mut silent = balancer.connect();
    let mut speaking = balancer.connect();
    let mut banner = [0; 6];
    speaking.write_all(b"x").expect("the balancer takes it");
    speaking.read_exact(&mut banner).expect("it is served");
    silent.read_exact(&mut banner).expect("it is served, too");
    assert_eq!(&banner, b"banner");
}

#[test]
fn an_ipv6_address_is_ipv4_too_only_if_that_is_wanted() {
    let echo = Endpoint::echo();
    let mut plan = plan(&[echo.addr]);
    let any = Bind::Tcp(SocketAddr::from(([0u16; 8], 0)));
    plan.listeners[0].binds = vec![any.clone()];
    let mut both = ListenerPlan::on(any, "default");
    both.name = "both".to_string();
    both.options.ipv6_only = false;
    plan.listeners.push(both);
    let balancer = Balancer::start(&plan);
    let ports: Vec<u16> = balancer.addrs().iter().map(SocketAddr::port).collect();
    for port in &ports {
        established(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], *port)));
    }
    assert!(TcpStream::connect(loopback(ports[0])).is_err());
    established(loopback(ports[1]));
}

#[test]
fn an_impossible_option_is_told_with_its_place() {
    let check = |listener: &str, cluster: &str, place: &str| {
        let folder = Folder::new();
        let text = format!(
            "{{\n\"listeners\": [{{ \"bind\": \"127.0.0.1:0\"{listener} }}],\n\
             \"clusters\": [{{ \"name\": \"c\", \"endpoints\": [\"127.0.0.1:9\"]{cluster} }}]\n}}\n"
        );
        let config = folder.write("config.json", text);
        let mut command = ringlane();
        command.args(["run", "--config"]).arg(&config);
        let (code, text) = output(command);
        assert_eq!(code, Some(78), "{text}");
        let place = format!("{}:{place}", config.display());
        assert!(text.contains(&place), "no `{place}` in: {text}");
    };
    for key in ["congestion", "interface"] {
        let words = format!(",\n\"{key}\": \"nonesuch\"");
        check(&words, "", &format!("3:{}: ", key.len() + 5));
        check("", &words, &format!("4:{}: ", key.len() + 5));
    }
    // A network for examples: no host has an address of it.
    check("", ",\n\"source\": \"192.0.2.1\"", "4:11: ");
    check("", ",\n\"source\": [\"127.0.0.1\", \"192.0.2.1\"]", "4:");
}
