//! The resolver against name servers that answer well, badly, late or not at all.
//!
//! A test's time limits are long where something has to come, and short where nothing comes.
#![forbid(unsafe_code)]

mod names;
mod zone;

use super::*;
use crate::plan::dns::DnsPlan;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Record, RecordType};
use monoio::{FusionDriver, IoUringDriver, LegacyDriver, RuntimeBuilder};
use std::path::PathBuf;
use zone::{Asked, Reply, Via, Zone, alias, at};

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(100);

/// A plan that asks these servers, once, and knows no files.
fn plan(zones: &[&Zone]) -> DnsPlan {
    DnsPlan {
        servers: zones.iter().map(|zone| zone.addr).collect(),
        resolv_conf: PathBuf::from("/nonexistent/resolv.conf"),
        hosts: PathBuf::from("/nonexistent/hosts"),
        timeout: Some(LONG),
        attempts: Some(1),
        min_ttl: Duration::from_secs(5),
        max_ttl: Duration::from_secs(3600),
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = RuntimeBuilder::<FusionDriver>::new()
        .enable_timer()
        .build()
        .expect("a runtime");
    runtime.block_on(future)
}

fn look_up(plan: &DnsPlan, place: &Place) -> Result<Found, LookupError> {
    run(async { Resolver::new(plan).lookup(place).await })
}

fn host(name: &str) -> Place {
    Place::Host(name.to_string(), 80)
}

/// The addresses of `web.example`, and their time to live.
fn web(plan: &DnsPlan) -> Result<(Vec<String>, u64), LookupError> {
    let found = look_up(plan, &host("web.example"))?;
    assert!(found.targets.iter().all(|located| located.weight == 1));
    assert!(found.targets.iter().all(|located| located.priority == 0));
    Ok((addrs(&found), found.ttl.as_secs()))
}

fn addrs(found: &Found) -> Vec<String> {
    let addrs = found.targets.iter().map(|located| located.addr.to_string());
    addrs.collect()
}

fn good(asked: &Asked) -> Message {
    asked.with(&[at("web.example.", "10.0.0.1", 60)])
}

fn is(expected: &[&str], ttl: u64) -> Result<(Vec<String>, u64), LookupError> {
    Ok((expected.iter().map(ToString::to_string).collect(), ttl))
}

#[test]
fn both_families_make_one_answer_on_both_drivers() {
    let zone = Zone::answering(|asked| {
        assert!(asked.has_edns());
        let edns = asked.message.edns.as_ref().expect("EDNS");
        assert_eq!(edns.max_payload(), 1232);
        asked.with(&[
            at("WEB.example.", "10.0.0.2", 300),
            at("web.example.", "10.0.0.1", 200),
            at("web.example.", "10.0.0.2", 300),
            at("web.example.", "2001:db8::1", 100),
            at("other.example.", "10.9.9.9", 1),
        ])
    });
    let plan = plan(&[&zone]);
    let expected = is(&["10.0.0.1:80", "10.0.0.2:80", "[2001:db8::1]:80"], 100);
    let both = async || {
        let found = Resolver::new(&plan).lookup(&host("web.example")).await?;
        Ok((addrs(&found), found.ttl.as_secs()))
    };
    let mut uring = RuntimeBuilder::<IoUringDriver>::new()
        .enable_timer()
        .build()
        .expect("a runtime");
    assert_eq!(uring.block_on(both()), expected);
    let mut legacy = RuntimeBuilder::<LegacyDriver>::new()
        .enable_timer()
        .build()
        .expect("a runtime");
    assert_eq!(legacy.block_on(both()), expected);
    assert_eq!(zone.asked().len(), 4);
}

#[test]
fn one_family_is_enough() {
    let zone = Zone::answering(good);
    assert_eq!(web(&plan(&[&zone])), is(&["10.0.0.1:80"], 60));
    let missing = Zone::answering(|asked| match asked.kind() {
        RecordType::A => good(asked),
        _ => asked.code(ResponseCode::NXDomain),
    });
    assert_eq!(web(&plan(&[&missing])), is(&["10.0.0.1:80"], 60));
}

#[test]
fn one_family_that_fails_is_asked_for_again_soon() {
    let failing = Zone::answering(|asked| match asked.kind() {
        RecordType::A => good(asked),
        _ => asked.code(ResponseCode::ServFail),
    });
    let found = look_up(&plan(&[&failing]), &host("web.example")).expect("addresses");
    assert_eq!(found.ttl, Duration::from_secs(5));
    assert!(matches!(
        found.incomplete,
        Some(LookupError::Refused { .. })
    ));

    let silent = Zone::scripted(|asked| match asked.kind() {
        RecordType::AAAA => vec![Reply::own(&asked.with(&[at("web.example.", "::2", 60)]))],
        _ => Vec::new(),
    });
    // What has to come may be late once or twice.
    let plan = DnsPlan {
        timeout: Some(SHORT),
        attempts: Some(8),
        ..plan(&[&silent])
    };
    let found = look_up(&plan, &host("web.example")).expect("addresses");
    assert_eq!(addrs(&found), ["[::2]:80"]);
    assert_eq!(found.ttl, Duration::from_secs(5));
    assert!(matches!(
        found.incomplete,
        Some(LookupError::NoAnswer { .. })
    ));
}

#[test]
fn aliases_are_followed() {
    let chain = |links: usize| {
        let mut records = vec![at(&format!("n{links}.example."), "10.0.0.7", 600)];
        let first = "web.example.".to_string();
        let names = (1..=links).map(|link| format!("n{link}.example."));
        let names: Vec<String> = std::iter::once(first).chain(names).collect();
        for pair in names.windows(2) {
            records.insert(
                0,
                alias(&pair[0], &pair[1], 700 - records.len() as u32 * 50),
            );
        }
        records.push(at("elsewhere.example.", "10.0.0.8", 1));
        let zone = Zone::answering(move |asked| asked.with(&records));
        web(&plan(&[&zone]))
    };
    assert_eq!(chain(1), is(&["10.0.0.7:80"], 600));
    assert_eq!(chain(8), is(&["10.0.0.7:80"], 300));
    let error = chain(9).expect_err("too many");
    assert!(error.to_string().contains("circle"), "{error}");
}

#[test]
fn aliases_in_a_circle_end() {
    let zone = Zone::answering(|asked| {
        asked.with(&[
            alias("web.example.", "b.example.", 60),
            alias("b.example.", "web.example.", 60),
        ])
    });
    let error = web(&plan(&[&zone])).expect_err("a circle");
    let expected = format!(
        "web.example.: the answer from {} is no use: its aliases go in a circle, or are too many",
        zone.addr
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn that_there_is_nothing_is_said_by_one_server() {
    let check = |code: ResponseCode, expected: fn(SocketAddr) -> LookupError| {
        let zone = Zone::answering(move |asked| asked.code(code));
        let unasked = Zone::answering(good);
        assert_eq!(web(&plan(&[&zone, &unasked])), Err(expected(zone.addr)));
        assert!(unasked.asked().is_empty());
        assert_eq!(zone.asked().len(), 2);
    };
    check(ResponseCode::NXDomain, |server| LookupError::NoSuchName {
        name: "web.example".into(),
        server,
    });
    check(ResponseCode::NoError, |server| LookupError::Nothing {
        name: "web.example.".into(),
        server,
    });
    // An alias that leads nowhere.
    let zone = Zone::answering(|asked| asked.with(&[alias("web.example.", "b.example.", 60)]));
    let error = web(&plan(&[&zone])).expect_err("nothing");
    assert!(matches!(error, LookupError::Nothing { .. }), "{error}");
}

#[test]
fn after_a_failure_the_next_server_is_asked() {
    for code in [ResponseCode::ServFail, ResponseCode::Refused] {
        let failing = Zone::answering(move |asked| asked.code(code));
        let well = Zone::answering(good);
        assert_eq!(web(&plan(&[&failing, &well])), is(&["10.0.0.1:80"], 60));
        assert_eq!(failing.asked().len(), 2);

        let plan = DnsPlan {
            attempts: Some(3),
            ..plan(&[&failing])
        };
        let error = web(&plan).expect_err("a failure");
        let expected = format!(
            "web.example.: the name server {} answers with an error: {}",
            failing.addr,
            code.to_str()
        );
        assert_eq!(error.to_string(), expected);
        assert_eq!(failing.asked().len(), 2 + 6);
    }
}

#[test]
fn after_silence_the_next_server_is_asked() {
    let silent = Zone::scripted(|_| Vec::new());
    let well = Zone::answering(good);
    let quick = DnsPlan {
        timeout: Some(SHORT),
        ..plan(&[&silent])
    };
    let both = DnsPlan {
        servers: vec![silent.addr, well.addr],
        attempts: Some(20),
        ..quick.clone()
    };
    assert_eq!(web(&both), is(&["10.0.0.1:80"], 60));
    let error = web(&quick).expect_err("silence");
    let expected = format!(
        "web.example.: no answer from the name server {}: none came within 100ms",
        silent.addr
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_port_that_nobody_has_is_no_long_wait() {
    let gone = Zone::scripted(|_| Vec::new());
    let addr = gone.addr;
    drop(gone);
    let well = Zone::answering(good);
    let plan = DnsPlan {
        servers: vec![addr, well.addr],
        ..plan(&[])
    };
    let start = Instant::now();
    assert_eq!(web(&plan), is(&["10.0.0.1:80"], 60));
    assert!(start.elapsed() < LONG, "it was waited for");
}

#[test]
fn what_is_no_answer_to_the_question_is_passed_over() {
    let zone = Zone::scripted(|asked| {
        let lie = |change: fn(&mut Message)| {
            let mut message = asked.with(&[
                at("web.example.", "10.6.6.6", 60),
                at("web.example.", "::6", 60),
            ]);
            change(&mut message);
            message.to_vec().expect("a message")
        };
        let mut cut = lie(|_| {});
        cut.truncate(11);
        vec![
            Reply::Foreign(lie(|_| {})),
            Reply::Own(lie(|message| message.metadata.id = !message.metadata.id)),
            Reply::Own(lie(|message| message.queries.clear())),
            Reply::Own(lie(|message| {
                message.queries[0].set_name(zone::name("lie.example."));
            })),
            Reply::Own(lie(|message| {
                message.queries[0].set_query_type(RecordType::TXT);
            })),
            Reply::Own(lie(|message| {
                let twice = message.queries[0].clone();
                message.queries.push(twice);
            })),
            Reply::Own(asked.message.to_vec().expect("a message")),
            Reply::Own(Vec::new()),
            Reply::Own(b"garbage, and more of it, but nothing of an answer".to_vec()),
            Reply::Own(vec![0xff; 4096]),
            Reply::Own(cut),
            Reply::own(&good(asked)),
        ]
    });
    assert_eq!(web(&plan(&[&zone])), is(&["10.0.0.1:80"], 60));
    assert_eq!(zone.asked().len(), 2);
}

#[test]
fn garbage_behind_the_right_question_sends_to_the_next_server() {
    let broken = Zone::scripted(|asked| {
        let mut bytes = asked.nothing().to_vec().expect("a message");
        // An answer is promised and does not come.
        bytes[7] = 1;
        vec![Reply::Own(bytes)]
    });
    let error = web(&plan(&[&broken])).expect_err("garbage");
    assert!(error.to_string().contains("decoded"), "{error}");
    let well = Zone::answering(good);
    assert_eq!(web(&plan(&[&broken, &well])), is(&["10.0.0.1:80"], 60));
}

#[test]
fn what_does_not_fit_comes_over_tcp_on_both_drivers() {
    let zone = Zone::answering(|asked| {
        let many = (0..300).map(|n| at("web.example.", &format!("10.0.{}.1", n % 256), 60));
        let many: Vec<Record> = many.collect();
        let mut message = asked.with(&many);
        if asked.via == Via::Udp {
            message.answers.truncate(1);
            message.metadata.truncation = true;
        }
        message
    });
    let plan = plan(&[&zone]);
    let check = |found: Result<Found, LookupError>| {
        let found = found.expect("addresses");
        assert_eq!(found.targets.len(), 256);
        assert_eq!(found.left_out, 0);
    };
    check(look_up(&plan, &host("web.example")));
    let mut legacy = RuntimeBuilder::<LegacyDriver>::new()
        .enable_timer()
        .build()
        .expect("a runtime");
    check(legacy.block_on(async { Resolver::new(&plan).lookup(&host("web.example")).await }));
    let asked = zone.asked();
    let tcp = asked.iter().filter(|asked| asked.ends_with("Tcp")).count();
    assert_eq!((asked.len(), tcp), (8, 4));
}

#[test]
fn a_server_without_edns_is_asked_without() {
    let zone = Zone::answering(|asked| {
        if asked.has_edns() {
            let mut message = asked.code(ResponseCode::FormErr);
            message.queries.clear();
            message
        } else {
            good(asked)
        }
    });
    assert_eq!(web(&plan(&[&zone])), is(&["10.0.0.1:80"], 60));
    assert_eq!(zone.asked().len(), 4);

    let never = Zone::answering(|asked| asked.code(ResponseCode::FormErr));
    let error = web(&plan(&[&never])).expect_err("a failure");
    assert!(matches!(error, LookupError::Refused { .. }), "{error}");
    assert_eq!(never.asked().len(), 4);
}

/// How many UDP sockets of this host are connected to a port.
fn sockets_to(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/self/net/udp").expect("the table");
    let remote = format!(":{port:04X}");
    let connected = table.lines().filter(|line| {
        let mut columns = line.split_whitespace();
        columns.nth(2).is_some_and(|addr| addr.ends_with(&remote))
    });
    connected.count()
}

#[test]
fn no_socket_stays_open_behind_a_timeout() {
    let silent = Zone::scripted(|_| Vec::new());
    let port = silent.addr.port();
    let plan = DnsPlan {
        timeout: Some(SHORT),
        ..plan(&[&silent])
    };
    let check = async || {
        let known = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        known.connect(silent.addr).expect("connected");
        let place = host("web.example");
        assert!(Resolver::new(&plan).lookup(&place).await.is_err());
        assert!(sockets_to(port) >= 1, "the known one is seen");
        drop(known);
        let start = Instant::now();
        while sockets_to(port) > 0 {
            assert!(start.elapsed() < LONG, "it stays open");
            monoio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    run(check());
    let mut legacy = RuntimeBuilder::<LegacyDriver>::new()
        .enable_timer()
        .build()
        .expect("a runtime");
    legacy.block_on(check());
}
