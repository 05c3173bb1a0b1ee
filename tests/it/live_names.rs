//! Names: their addresses are endpoints, which come and go with the answers of name servers.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on fails with the reason"
)]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Record, RecordType};
use ringlane::error::CloseReason;
use ringlane::plan::admin::AdminPlan;
use ringlane::plan::failure::SessionPolicy;
use ringlane::plan::health::{Check, HealthPlan};
use ringlane::plan::place::{Bind, Place};
use ringlane::plan::{EndpointPlan, Plan};
use serde_json::Value;

use crate::support::admin::Admin;
use crate::support::folder::Folder;
use crate::support::program::{Program, ringlane};
use crate::support::switch::Switch;
use crate::support::zone::{Noted, Zone, alias, at, bytes, service};
use crate::support::{Balancer, End, connect, loopback, plan, read_to_end, wait_until};

/// A plan whose cluster has these endpoints, whose names this server knows.
fn named(zone: &Zone, places: &[Place]) -> Plan {
    let mut plan = plan(&[]);
    let endpoints = places.iter().cloned().map(EndpointPlan::at);
    plan.clusters[0].endpoints = endpoints.collect();
    plan.dns = zone.resolver();
    plan.admin = Some(AdminPlan::on(Bind::Tcp(loopback(0))));
    plan
}

/// The name of all these tests, at the port of an endpoint.
fn web(endpoint: &Switch) -> Place {
    Place::Host("web.example".to_string(), endpoint.addr.port())
}

/// What the name stands for.
fn stands_for(endpoints: &[&Switch], ttl: u32) -> Vec<Record> {
    let record = |of: &&Switch| at("web.example.", &of.addr.ip().to_string(), ttl);
    endpoints.iter().map(record).collect()
}

/// A session's endpoint, by its letter.
fn letter(stream: &mut TcpStream) -> u8 {
    let mut letter = [0];
    stream.read_exact(&mut letter).expect("a letter");
    letter[0]
}

/// What a session had instead, and how it ended.
type Disorder = (Vec<u8>, End);

/// Has one session. Returns the letter of its endpoint.
fn visit(addr: SocketAddr) -> Result<u8, Disorder> {
    let mut stream = connect(addr);
    let _reset_already = stream.shutdown(Shutdown::Write);
    match read_to_end(&mut stream) {
        (said, End::Fin) if said.len() == 1 => Ok(said[0]),
        other => Err(other),
    }
}

/// The letters of so many sessions, in order of the alphabet.
fn visits(addr: SocketAddr, count: usize) -> Vec<u8> {
    let mut letters: Vec<u8> = (0..count)
        .map(|_| visit(addr).expect("a session in order"))
        .collect();
    letters.sort_unstable();
    letters
}

/// Whether a session still carries bytes both ways.
fn is_alive(stream: &mut TcpStream) -> bool {
    let mut echo = [0];
    let sent = stream.write_all(b"?");
    sent.is_ok() && stream.read_exact(&mut echo).is_ok() && echo == *b"?"
}

/// Two sessions on each of these endpoints, in the order of the letters.
fn long_sessions<const COUNT: usize>(
    addr: SocketAddr,
    letters: [u8; COUNT],
) -> [Vec<TcpStream>; COUNT] {
    let mut sessions = letters.map(|_| Vec::new());
    while sessions.iter().any(|of| of.len() < 2) {
        let mut stream = connect(addr);
        let letter = letter(&mut stream);
        let place = letters.iter().position(|known| *known == letter);
        sessions[place.expect("an endpoint of these")].push(stream);
    }
    sessions
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_string()
}

/// Waits until the cluster has exactly these endpoints.
fn await_endpoints(admin: &Admin, endpoints: &[&Switch]) {
    let mut expected: Vec<String> = endpoints.iter().map(|e| e.addr.to_string()).collect();
    expected.sort_unstable();
    wait_until(&format!("the endpoints are {expected:?}"), || {
        let told = admin.endpoints().into_iter();
        let mut addresses: Vec<String> = told.map(|one| text(&one["address"])).collect();
        addresses.sort_unstable();
        addresses == expected
    });
}

/// Waits until sessions have these endpoints and no others.
fn await_letters(addr: SocketAddr, letters: &[u8]) {
    wait_until(&format!("sessions have {letters:?}"), || {
        let sessions = (0..4 * letters.len()).map(|_| visit(addr).ok());
        let mut seen: Vec<Option<u8>> = sessions.collect();
        seen.sort_unstable();
        seen.dedup();
        seen.into_iter().eq(letters.iter().copied().map(Some))
    });
}

/// Clients that have one short session after the other.
struct Load {
    stop: Arc<AtomicBool>,
    sessions: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Result<(), Disorder>>>,
}

impl Load {
    fn on(addr: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let sessions = Arc::new(AtomicU64::new(0));
        let client = |_| {
            let (stop, sessions) = (Arc::clone(&stop), Arc::clone(&sessions));
            std::thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    visit(addr)?;
                    sessions.fetch_add(1, Ordering::SeqCst);
                }
                Ok(())
            })
        };
        let threads = (0..3).map(client).collect();
        Self {
            stop,
            sessions,
            threads,
        }
    }

    /// Waits for some more sessions.
    fn go_on(&self) {
        let before = self.sessions.load(Ordering::SeqCst);
        wait_until("clients are served", || {
            self.sessions.load(Ordering::SeqCst) > before + 20
                || self.threads.iter().any(JoinHandle::is_finished)
        });
    }

    /// Ends it. Every session was in order.
    fn end(self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            assert_eq!(thread.join().expect("no client panics"), Ok(()));
        }
    }
}

/// One address comes and one goes; sessions on that go as the policy says, all others stay.
fn check_removal(policy: SessionPolicy) {
    let [a, b, c] = Switch::neighbours(*b"abc");
    let zone = Zone::of(&stands_for(&[&a, &b], 0));
    let mut plan = named(&zone, &[web(&a)]);
    plan.clusters[0].sessions.removed = policy;
    let balancer = Balancer::start(&plan);
    let (addr, admin) = (balancer.addr(), Admin::of(&balancer));
    await_endpoints(&admin, &[&a, &b]);
    let [mut on_a, mut on_b] = long_sessions(addr, *b"ab");
    let load = Load::on(addr);
    load.go_on();
    zone.has(&stands_for(&[&a, &b, &c], 0));
    await_endpoints(&admin, &[&a, &b, &c]);
    await_letters(addr, b"abc");
    load.go_on();
    let load = match policy {
        // A session that is on the gone one just then is reset too, short or not.
        SessionPolicy::Reset => {
            load.end();
            None
        }
        SessionPolicy::Keep | SessionPolicy::Drain(_) => Some(load),
    };
    assert!(on_a.iter_mut().chain(&mut on_b).all(is_alive));
    let changed = Instant::now();
    zone.has(&stands_for(&[&b, &c], 0));
    await_endpoints(&admin, &[&b, &c]);
    // A worker that does not know it yet could give the gone one a session.
    admin.await_workers();
    await_letters(addr, b"bc");
    match policy {
        SessionPolicy::Keep => assert!(on_a.iter_mut().all(is_alive)),
        SessionPolicy::Drain(_) | SessionPolicy::Reset => {
            for stream in &mut on_a {
                assert_eq!(read_to_end(stream), (Vec::new(), End::Reset));
            }
        }
    }
    if let SessionPolicy::Drain(time) = policy {
        assert!(changed.elapsed() >= time, "they had their time");
    }
    assert!(on_b.iter_mut().all(is_alive), "the others were left alone");
    if let Some(load) = load {
        load.go_on();
        load.end();
    }
    let ended = balancer.closed(CloseReason::EndpointRemoved);
    let expected = match policy {
        SessionPolicy::Keep => 0,
        SessionPolicy::Drain(_) | SessionPolicy::Reset => on_a.len() as u64,
    };
    assert_eq!(ended, expected);
}

#[test]
fn addresses_come_and_go_and_sessions_are_kept() {
    check_removal(SessionPolicy::Keep);
}

#[test]
fn addresses_come_and_go_and_sessions_are_drained() {
    check_removal(SessionPolicy::Drain(Duration::from_millis(500)));
}

#[test]
fn addresses_come_and_go_and_sessions_are_reset() {
    check_removal(SessionPolicy::Reset);
}

/// A name server that gives no good answer, and what is said of it then.
struct Trouble {
    said: &'static str,
    begin: fn(&Zone),
    end: fn(&Zone),
}

fn no_end(_: &Zone) {}

/// One address for the name, where IPv4 addresses are asked for.
fn lie(zone: &Zone, addr: &'static str) {
    zone.answers(move |asked| asked.with(&[at("web.example.", addr, 0)]));
}

const TROUBLES: &[Trouble] = &[
    Trouble {
        said: "no answer from the name server",
        begin: Zone::die,
        end: Zone::revive,
    },
    Trouble {
        said: "none came within",
        begin: |zone| zone.says(|_| Vec::new()),
        end: no_end,
    },
    Trouble {
        said: "Server Failure",
        begin: |zone| zone.answers(|asked| asked.code(ResponseCode::ServFail)),
        end: no_end,
    },
    Trouble {
        said: "there is no such name",
        begin: |zone| zone.has(&[]),
        end: no_end,
    },
    Trouble {
        said: "it has no such address",
        begin: |zone| zone.answers(|asked| asked.nothing()),
        end: no_end,
    },
    Trouble {
        said: "nothing to do with the question",
        begin: |zone| {
            zone.says(|asked| {
                if asked.is_stream {
                    return vec![b"garbage, and more of it, but no answer".to_vec()];
                }
                let mut message = asked.nothing();
                message.metadata.truncation = true;
                vec![bytes(&message)]
            });
        },
        end: no_end,
    },
    Trouble {
        said: "cannot be decoded",
        begin: |zone| {
            zone.says(|asked| {
                let mut message = bytes(&asked.nothing());
                // One record is promised, and none comes.
                message[7] = 1;
                vec![message]
            });
        },
        end: no_end,
    },
    Trouble {
        said: "only addresses that no endpoint can have",
        begin: |zone| lie(zone, "0.0.0.0"),
        end: no_end,
    },
    Trouble {
        said: "only addresses that no endpoint can have",
        begin: |zone| lie(zone, "224.0.0.1"),
        end: no_end,
    },
    Trouble {
        said: "none came within",
        begin: |zone| {
            zone.says(|asked| {
                let mut message = asked.with(&[at("web.example.", "127.0.0.9", 0)]);
                let other = alias("other.example.", "b.example.", 0).name;
                message.queries[0].set_name(other);
                vec![bytes(&message)]
            });
        },
        end: no_end,
    },
];

#[test]
fn whatever_name_servers_say_the_last_good_addresses_stay() {
    let [a, b] = Switch::neighbours(*b"ab");
    let zone = Zone::of(&stands_for(&[&a, &b], 0));
    let folder = Folder::new();
    let (socket, port) = (folder.join("admin.sock"), a.addr.port());
    let config = folder.write(
        "ringlane.json",
        format!(
            r#"{{ "listeners": [{{ "bind": "127.0.0.1:0" }}], "workers": {{ "count": 1 }},
                  "clusters": [{{ "name": "default", "endpoints": ["web.example:{port}"] }}],
                  "admin": {{ "bind": "unix:{}" }},
                  "dns": {{ "servers": "{}", "timeout": "100ms", "attempts": 1, "min_ttl": "10ms",
                            "hosts": "/nonexistent", "resolv_conf": "/nonexistent" }} }}"#,
            socket.display(),
            zone.addr
        ),
    );
    let mut command = ringlane();
    command.args(["run", "--config"]).arg(config);
    let mut program = Program::start(command);
    let admin = Admin::at(&socket);
    await_endpoints(&admin, &[&a, &b]);
    for Trouble { said, begin, end } in TROUBLES {
        begin(&zone);
        wait_until(&format!("it is told that {said}"), || {
            let error = &admin.cluster()["names"][0]["error"];
            error.as_str().is_some_and(|error| error.contains(said))
        });
        let line = program.await_line("look-up failed");
        assert!(line.contains("web.example"), "{line}");
        assert!(line.contains("that it stood for stay"), "{line}");
        let told = admin.cluster();
        assert_eq!(told["names"][0]["endpoints"], 2, "{said}");
        assert_eq!(told["eligible"], 2, "{said}");
        assert_eq!(visits(program.addr, 4), b"aabb", "{said}");
        end(&zone);
        zone.has(&stands_for(&[&a, &b], 0));
        program.await_line("look-up succeeded");
        wait_until("the error is gone", || {
            admin.cluster()["names"][0]["error"].is_null()
        });
    }
}

#[test]
fn lies_among_good_addresses_are_left_out() {
    let [a, b] = Switch::neighbours(*b"ab");
    let mut records = stands_for(&[&a, &b], 0);
    for lie in ["0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "ff02::1"] {
        records.push(at("web.example.", lie, 0));
    }
    let zone = Zone::of(&records);
    let balancer = Balancer::start(&named(&zone, &[web(&a)]));
    await_endpoints(&Admin::of(&balancer), &[&a, &b]);
    await_letters(balancer.addr(), b"ab");
}

#[test]
fn what_half_an_answer_does_not_say_is_not_taken_for_gone() {
    let [a, b] = Switch::neighbours(*b"ab");
    let zone = Zone::of(&stands_for(&[&a], 0));
    let balancer = Balancer::start(&named(&zone, &[web(&a)]));
    let admin = Admin::of(&balancer);
    await_endpoints(&admin, &[&a]);
    let records = stands_for(&[&b], 0);
    zone.answers(move |asked| match asked.kind() {
        RecordType::A => asked.with(&records),
        _ => asked.code(ResponseCode::ServFail),
    });
    await_endpoints(&admin, &[&a, &b]);
    let asked = zone.noted().len();
    wait_until("it is asked again", || zone.noted().len() > asked + 4);
    await_endpoints(&admin, &[&a, &b]);
    await_letters(balancer.addr(), b"ab");
    zone.has(&stands_for(&[&b], 0));
    await_endpoints(&admin, &[&b]);
}

/// The records of a service: endpoints with their priorities and weights.
fn srv(targets: &[(&Switch, u16, u16)]) -> Vec<Record> {
    let mut records = vec![at("host.example.", "127.0.0.1", 0)];
    for (endpoint, priority, weight) in targets {
        let numbers = [*priority, *weight, endpoint.addr.port()];
        records.push(service("_web._tcp.example.", numbers, "host.example.", 0));
    }
    records
}

#[test]
fn a_service_has_weights_ports_and_priorities() {
    let [a, b, c] = [Switch::on(b'a'), Switch::on(b'b'), Switch::on(b'c')];
    let zone = Zone::of(&srv(&[(&a, 10, 30), (&b, 10, 10), (&c, 20, 5)]));
    let mut plan = named(&zone, &[Place::Service("_web._tcp.example".to_string())]);
    plan.workers.count = Some(1);
    // Sessions that fail are not what this is about.
    plan.clusters[0].breaker = None;
    plan.clusters[0].health = Some(HealthPlan {
        interval: Duration::from_millis(200),
        timeout: Duration::from_millis(200),
        fast_interval: Duration::from_millis(20),
        ..HealthPlan::of(Check::Tcp)
    });
    let balancer = Balancer::start(&plan);
    let (addr, admin) = (balancer.addr(), Admin::of(&balancer));
    await_endpoints(&admin, &[&a, &b, &c]);
    let await_eligible = |expected: &[&Switch]| {
        let mut expected: Vec<String> = expected.iter().map(|e| e.addr.to_string()).collect();
        expected.sort_unstable();
        wait_until(&format!("{expected:?} may be picked"), || {
            let told = admin.endpoints().into_iter();
            let eligible = told.filter(|one| one["eligible"] == true);
            let mut eligible: Vec<String> = eligible.map(|one| text(&one["address"])).collect();
            eligible.sort_unstable();
            eligible == expected
        });
    };
    let shares = || {
        let letters = visits(addr, 100);
        let count = |letter: u8| letters.iter().filter(|seen| **seen == letter).count();
        b"abc".map(count)
    };
    await_eligible(&[&a, &b]);
    await_letters(addr, b"ab");
    assert_eq!(shares(), [75, 25, 0]);
    a.turn_off();
    await_eligible(&[&b]);
    await_letters(addr, b"b");
    // Only when the whole first priority is down.
    b.turn_off();
    await_eligible(&[&c]);
    await_letters(addr, b"c");
    a.turn_on();
    await_eligible(&[&a]);
    await_letters(addr, b"a");
    b.turn_on();
    await_eligible(&[&a, &b]);
    await_letters(addr, b"ab");
    // Another weight and another priority are taken over, and nobody is replaced for it.
    let ids = || {
        let told = admin.endpoints().into_iter();
        let mut ids: Vec<Option<u64>> = told.map(|one| one["id"].as_u64()).collect();
        ids.sort_unstable();
        ids
    };
    let before = ids();
    zone.has(&srv(&[(&a, 20, 1), (&b, 10, 1), (&c, 10, 3)]));
    await_eligible(&[&b, &c]);
    await_letters(addr, b"bc");
    assert_eq!(shares(), [0, 25, 75]);
    assert_eq!(ids(), before);
}

#[test]
fn a_name_that_is_unknown_at_the_start_joins_when_it_is_known() {
    let [a, b] = Switch::neighbours(*b"ab");
    let zone = Zone::of(&[]);
    let balancer = Balancer::start(&named(&zone, &[Place::Address(a.addr), web(&b)]));
    let (addr, admin) = (balancer.addr(), Admin::of(&balancer));
    let told = admin.cluster();
    let name = &told["names"][0];
    assert_eq!(
        (&told["endpoints"], &name["endpoints"]),
        (&1.into(), &0.into())
    );
    let error = name["error"].as_str().unwrap_or_default();
    assert!(error.contains("there is no such name"), "{told}");
    let load = Load::on(addr);
    load.go_on();
    assert_eq!(visits(addr, 4), b"aaaa");
    zone.has(&stands_for(&[&b], 0));
    await_endpoints(&admin, &[&a, &b]);
    await_letters(addr, b"ab");
    load.go_on();
    load.end();
    assert!(admin.cluster()["names"][0]["error"].is_null());
}

#[test]
fn a_cluster_of_unknown_names_refuses_clients_until_one_is_known() {
    let [a] = Switch::neighbours(*b"a");
    let zone = Zone::of(&[]);
    let balancer = Balancer::start(&named(&zone, &[web(&a)]));
    let (addr, admin) = (balancer.addr(), Admin::of(&balancer));
    assert_eq!(visit(addr), Err((Vec::new(), End::Reset)));
    balancer.await_closed(CloseReason::NoEndpoint, 1);
    let told = admin.get("/readyz");
    assert_eq!(told.status, 503, "{told:?}");
    zone.has(&stands_for(&[&a], 0));
    await_endpoints(&admin, &[&a]);
    wait_until("it is ready", || admin.get("/readyz").status == 200);
    wait_until("clients are served", || visit(addr) == Ok(b'a'));
}

#[test]
fn slow_name_servers_do_not_hold_up_the_start() {
    let [a, b] = Switch::neighbours(*b"ab");
    let zone = Zone::of(&[]);
    let (release, held) = crossbeam_channel::bounded::<()>(0);
    let records = stands_for(&[&b], 0);
    // Answers come when the channel has been closed.
    zone.answers(move |asked| {
        let _closed = held.recv();
        asked.with(&records)
    });
    let started = Instant::now();
    let balancer = Balancer::start(&named(&zone, &[Place::Address(a.addr), web(&b)]));
    assert_eq!(visits(balancer.addr(), 2), b"aa");
    let elapsed = started.elapsed();
    assert!(elapsed < Duration::from_secs(5), "it took {elapsed:?}");
    let admin = Admin::of(&balancer);
    assert_eq!(admin.cluster()["names"][0]["endpoints"], 0);
    drop(release);
    await_endpoints(&admin, &[&a, &b]);
    await_letters(balancer.addr(), b"ab");
}

/// The time between an answer and the next question of the same kind, for so many questions.
fn pauses(zone: &Zone, count: usize) -> Vec<Duration> {
    let of_v4 = || -> Vec<Noted> {
        let noted = zone.noted().into_iter();
        noted.filter(|noted| noted.kind == RecordType::A).collect()
    };
    wait_until("it is asked again", || of_v4().len() > count);
    let noted = of_v4();
    let pairs = noted.windows(2);
    pairs
        .map(|pair| pair[1].came.saturating_duration_since(pair[0].answered))
        .collect()
}

/// Nobody is asked sooner than this after an answer.
fn check_pause(ttl: u32, [min, max]: [Duration; 2], least: Duration) {
    let [a] = Switch::neighbours(*b"a");
    let zone = Zone::of(&stands_for(&[&a], ttl));
    let mut plan = named(&zone, &[web(&a)]);
    (plan.dns.min_ttl, plan.dns.max_ttl) = (min, max);
    let _balancer = Balancer::start(&plan);
    // Up to a tenth is taken off, and timers count in milliseconds.
    let least = least * 9 / 10 - Duration::from_millis(2);
    for pause in pauses(&zone, 3) {
        assert!(pause >= least, "asked again after {pause:?}");
    }
    let noted = zone.noted();
    let kinds = [RecordType::A, RecordType::AAAA];
    let counts = kinds.map(|kind| noted.iter().filter(|one| one.kind == kind).count());
    assert!(counts[0].abs_diff(counts[1]) <= 1, "{counts:?}");
    assert_eq!(counts.iter().sum::<usize>(), noted.len());
}

#[test]
fn an_answer_is_used_for_its_time_to_live() {
    const MIN: Duration = Duration::from_millis(10);
    const HOUR: Duration = Duration::from_secs(3600);
    check_pause(1, [MIN, HOUR], Duration::from_secs(1));
    let floor = Duration::from_millis(300);
    check_pause(0, [floor, HOUR], floor);
    let ceiling = Duration::from_millis(200);
    check_pause(3600, [MIN, ceiling], ceiling);
}

#[test]
fn the_file_of_hosts_goes_before_name_servers() {
    let [a, b] = Switch::neighbours(*b"ab");
    let zone = Zone::of(&stands_for(&[&b], 0));
    let folder = Folder::new();
    let mut plan = named(&zone, &[web(&a)]);
    plan.dns.hosts = folder.write("hosts", format!("{} web.example\n", a.addr.ip()));
    let balancer = Balancer::start(&plan);
    let admin = Admin::of(&balancer);
    await_endpoints(&admin, &[&a]);
    assert!(zone.noted().is_empty(), "nobody was asked");
    folder.write("hosts", format!("{} web.example\n", b.addr.ip()));
    await_endpoints(&admin, &[&b]);
    folder.write("hosts", "# nothing\n");
    wait_until("the name server is asked", || !zone.noted().is_empty());
    await_letters(balancer.addr(), b"b");
}
