//! Names that files know, names that are searched, services, addresses that cannot be, and names
//! that are watched.
#![forbid(unsafe_code)]

use super::super::watch::{Resolution, watch};
use super::super::*;
use super::zone::{Asked, Reply, Via, Zone, alias, at, name, service};
use super::{LONG, SHORT, addrs, good, host, is, look_up, plan, run, web};
use crate::bounds::{ADDRESSES_MAX, SERVICE_TARGETS_MAX};
use crate::control::discovery::resolv_conf::Transport;
use futures_channel::mpsc;
use futures_util::StreamExt as _;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Record, RecordType};
use std::path::{Path, PathBuf};

/// Writes a file into a folder of the test's own.
fn file(test: &str, text: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("ringlane-dns-{}-{test}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("file");
    std::fs::write(&path, text).expect("written");
    path
}

fn remove(path: &Path) {
    let folder = path.parent().expect("a folder");
    std::fs::remove_dir_all(folder).expect("removed");
}

/// What is found of a service: priority, weight and address of each target.
fn places(records: Vec<Record>, additionals: Vec<Record>) -> (Result<Found, LookupError>, usize) {
    let zone = Zone::answering(move |asked| {
        let mut message = asked.with(&records);
        let own = |record: &&Record| record.name.to_ascii() == asked.name();
        message.answers.retain(|record| own(&record));
        if asked.kind() == RecordType::SRV {
            message.add_additionals(additionals.iter().cloned());
        }
        message
    });
    let found = look_up(&plan(&[&zone]), &Place::Service("_x._tcp.example".into()));
    (found, zone.asked().len())
}

fn told(found: &Found) -> Vec<(u16, u32, String)> {
    let located = found.targets.iter();
    located
        .map(|located| (located.priority, located.weight, located.addr.to_string()))
        .collect()
}

#[test]
fn a_service_has_its_addresses_in_the_same_message() {
    let (found, questions) = places(
        vec![
            service("_x._tcp.example.", [10, 5, 81], "a.example.", 300),
            service("_x._tcp.example.", [20, 0, 82], "b.example.", 300),
            service("other.example.", [1, 1, 1], "a.example.", 1),
        ],
        vec![
            at("a.example.", "10.0.0.1", 200),
            at("A.example.", "2001:db8::1", 100),
            at("b.example.", "10.0.0.2", 400),
            at("c.example.", "10.0.0.3", 1),
        ],
    );
    let found = found.expect("places");
    let expected = [
        (10, 5, "10.0.0.1:81".to_string()),
        (10, 5, "[2001:db8::1]:81".to_string()),
        (20, 1, "10.0.0.2:82".to_string()),
    ];
    assert_eq!(told(&found), expected);
    assert_eq!(found.ttl, Duration::from_secs(100));
    assert_eq!(found.incomplete, None);
    assert_eq!(questions, 1);
}

#[test]
fn a_service_s_targets_are_looked_up_otherwise() {
    let (found, questions) = places(
        vec![
            service("_x._tcp.example.", [0, 1, 81], "a.example.", 300),
            service("_x._tcp.example.", [0, 2, 82], "b.example.", 300),
            service("_x._tcp.example.", [0, 3, 83], "none.example.", 300),
            service("_x._tcp.example.", [0, 4, 84], "192.0.2.7.", 300),
            at("a.example.", "10.0.0.1", 50),
            at("b.example.", "::2", 60),
        ],
        vec![at("b.example.", "0.0.0.0", 300)],
    );
    let found = found.expect("places");
    let expected = [
        (0, 1, "10.0.0.1:81".to_string()),
        (0, 4, "192.0.2.7:84".to_string()),
        (0, 2, "[::2]:82".to_string()),
    ];
    assert_eq!(told(&found), expected);
    assert_eq!(found.ttl, Duration::from_secs(50));
    assert_eq!(
        found.incomplete, None,
        "a target without addresses is known"
    );
    assert_eq!(questions, 1 + 6);
}

#[test]
fn a_target_that_fails_leaves_the_others() {
    let zone = Zone::answering(|asked| match asked.name().as_str() {
        "bad.example." => asked.code(ResponseCode::ServFail),
        _ => asked.with(&[
            service("_x._tcp.example.", [0, 1, 81], "bad.example.", 300),
            service("_x._tcp.example.", [0, 1, 82], "good.example.", 300),
            at("good.example.", "10.0.0.1", 300),
        ]),
    });
    let service = Place::Service("_x._tcp.example".into());
    let found = look_up(&plan(&[&zone]), &service).expect("places");
    assert_eq!(addrs(&found), ["10.0.0.1:82"]);
    assert_eq!(found.ttl, Duration::from_secs(5));
    let error = found.incomplete.expect("what failed");
    assert!(error.to_string().starts_with("bad.example.:"), "{error}");
}

#[test]
fn a_service_may_be_an_alias_or_not_available() {
    let (found, _) = places(
        vec![service("_x._tcp.example.", [0, 0, 0], ".", 300)],
        Vec::new(),
    );
    assert!(
        matches!(found, Err(LookupError::Nothing { .. })),
        "{found:?}"
    );
    let (found, _) = places(
        vec![service("_x._tcp.example.", [0, 0, 0], "a.example.", 300)],
        vec![],
    );
    assert!(
        matches!(found, Err(LookupError::Nonsense { .. })),
        "{found:?}"
    );
    let (found, _) = places(
        vec![service("_x._tcp.example.", [0, 0, 1], "a.example.", 300)],
        vec![],
    );
    assert!(
        matches!(found, Err(LookupError::Nothing { .. })),
        "{found:?}"
    );

    let zone = Zone::answering(|asked| {
        asked.with(&[
            alias("_x._tcp.example.", "real.example.", 70),
            service("real.example.", [0, 9, 81], "192.0.2.1.", 80),
        ])
    });
    let place = Place::Service("_x._tcp.example".into());
    let found = look_up(&plan(&[&zone]), &place).expect("places");
    assert_eq!(told(&found), [(0, 9, "192.0.2.1:81".to_string())]);
    assert_eq!(found.ttl, Duration::from_secs(70));
}

#[test]
fn a_name_has_so_many_addresses_and_no_more() {
    let many = |count: u32| -> Vec<Record> {
        let addr = |n| std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).to_string();
        (0..count)
            .map(|n| at("web.example.", &addr(n), 60))
            .collect()
    };
    let zone = Zone::answering(move |asked| {
        let mut message = asked.with(&many(300));
        message.metadata.truncation = asked.via == Via::Udp;
        if asked.via == Via::Udp {
            message.answers.clear();
        }
        message
    });
    let found = look_up(&plan(&[&zone]), &host("web.example")).expect("addresses");
    assert_eq!((found.targets.len(), found.left_out), (ADDRESSES_MAX, 44));

    let numbers = 1..=100;
    let records =
        numbers.map(|n| service("_x._tcp.example.", [n, 1, 80], &format!("10.1.1.{n}."), 60));
    let records: Vec<Record> = records.collect();
    let zone = Zone::answering(move |asked| {
        let mut message = asked.with(&records);
        message.metadata.truncation = asked.via == Via::Udp;
        message
    });
    let found = look_up(&plan(&[&zone]), &Place::Service("_x._tcp.example".into()));
    let found = found.expect("places");
    assert_eq!(
        (found.targets.len(), found.left_out),
        (SERVICE_TARGETS_MAX, 36)
    );
    assert_eq!(found.targets[63].priority, 64);
}

#[test]
fn addresses_that_no_endpoint_has_are_dropped() {
    let lies = [
        "0.0.0.0",
        "224.0.0.1",
        "239.255.255.255",
        "255.255.255.255",
        "::",
        "ff02::1",
        "::ffff:0.0.0.0",
        "::ffff:224.0.0.1",
        "::ffff:255.255.255.255",
    ];
    let check = |more: &'static [&'static str]| {
        let zone = Zone::answering(move |asked| {
            let all = lies.iter().chain(more);
            let all = all.map(|addr| at("web.example.", addr, 60));
            asked.with(&all.collect::<Vec<_>>())
        });
        web(&plan(&[&zone]))
    };
    let expected = is(&["10.0.0.1:80", "10.0.0.2:80", "[::1]:80"], 60);
    assert_eq!(check(&["10.0.0.1", "::1", "::ffff:10.0.0.2"]), expected);
    let error = check(&[]).expect_err("lies");
    assert!(matches!(error, LookupError::Nonsense { .. }), "{error}");
    assert!(
        error.to_string().contains("no endpoint can have"),
        "{error}"
    );
}

#[test]
fn a_time_to_live_stays_between_floor_and_ceiling() {
    let check = |seconds: u32, expected: u64| {
        let zone =
            Zone::answering(move |asked| asked.with(&[at("web.example.", "10.0.0.1", seconds)]));
        assert_eq!(
            web(&plan(&[&zone])),
            is(&["10.0.0.1:80"], expected),
            "{seconds}"
        );
    };
    check(0, 5);
    check(4, 5);
    check(6, 6);
    check(3601, 3600);
    check(i32::MAX as u32, 3600);
    check(1 << 31, 5);
    check(u32::MAX, 5);
    // A floor above the ceiling holds.
    let zone = Zone::answering(good);
    let plan = DnsPlan {
        min_ttl: Duration::from_secs(9),
        max_ttl: Duration::from_secs(3),
        ..plan(&[&zone])
    };
    assert_eq!(web(&plan), is(&["10.0.0.1:80"], 9));
}

#[test]
fn the_file_of_hosts_comes_first() {
    let zone = Zone::answering(|asked| asked.code(ResponseCode::NXDomain));
    let text = "10.0.0.9 web.example web\n::9 WEB\n0.0.0.0 none\n127.0.0.1 localhost\n\
                10.0.0.8 evil.localhost";
    let hosts = file("hosts", text);
    let plan = DnsPlan {
        hosts: hosts.clone(),
        ..plan(&[&zone])
    };
    assert_eq!(web(&plan), is(&["10.0.0.9:80"], 5));
    let found = |name: &str| look_up(&plan, &host(name)).map(|found| addrs(&found));
    assert_eq!(
        found("Web."),
        Ok(vec!["10.0.0.9:80".into(), "[::9]:80".into()])
    );
    assert_eq!(found("localhost"), Ok(vec!["127.0.0.1:80".into()]));
    let both = vec!["127.0.0.1:80".to_string(), "[::1]:80".to_string()];
    assert_eq!(found("a.localhost"), Ok(both.clone()));
    assert_eq!(found("evil.localhost"), Ok(both));
    assert_eq!(found("192.0.2.1"), Ok(vec!["192.0.2.1:80".into()]));
    let error = found("none").expect_err("no address");
    assert!(error.to_string().contains("file of hosts"), "{error}");
    assert!(zone.asked().is_empty());
    remove(&hosts);
}

#[test]
fn what_is_no_name_is_not_asked_for() {
    let zone = Zone::answering(good);
    for place in [
        host("a..b"),
        Place::Service("_x tcp".into()),
        Place::Unix("/a".into()),
    ] {
        let error = look_up(&plan(&[&zone]), &place).expect_err("no name");
        assert!(matches!(error, LookupError::NotAName { .. }), "{error}");
    }
    assert!(zone.asked().is_empty());
}

/// The names that are asked for, when `known` is the only one that there is; then what was found.
fn searched(
    test: &str,
    text: &str,
    conf: &str,
    script: fn(&Asked) -> Reply,
) -> (Vec<String>, bool) {
    let zone = Zone::scripted(move |asked| vec![script(asked)]);
    let conf = file(test, conf);
    let plan = DnsPlan {
        resolv_conf: conf.clone(),
        ..plan(&[&zone])
    };
    let found = look_up(&plan, &host(text)).is_ok();
    remove(&conf);
    let mut names: Vec<String> = zone
        .asked()
        .iter()
        .filter_map(|asked| asked.split(' ').next().map(str::to_string))
        .collect();
    names.dedup();
    (names, found)
}

#[test]
fn the_search_list_is_gone_through() {
    let conf = "search a.test b.test c.test\noptions ndots:2";
    let only_b = |asked: &Asked| {
        Reply::own(&match asked.name().as_str() {
            "web.b.test." | "x.y.z." => asked.with(&[
                at("web.b.test.", "10.0.0.1", 60),
                at("x.y.z.", "10.0.0.2", 60),
            ]),
            "nothing.a.test." => asked.nothing(),
            _ => asked.code(ResponseCode::NXDomain),
        })
    };
    let check = |text: &str, names: &[&str], is_found| {
        let expected = names.iter().map(ToString::to_string).collect();
        assert_eq!(
            searched("search", text, conf, only_b),
            (expected, is_found),
            "{text}"
        );
    };
    check("web", &["web.a.test.", "web.b.test."], true);
    check("x.y.z", &["x.y.z."], true);
    check("web.", &["web."], false);
    check(
        "no",
        &["no.a.test.", "no.b.test.", "no.c.test.", "no."],
        false,
    );
    check(
        "n.o",
        &["n.o.a.test.", "n.o.b.test.", "n.o.c.test.", "n.o."],
        false,
    );
}

#[test]
fn a_failure_ends_the_search() {
    let failing = |asked: &Asked| {
        Reply::own(&match asked.name().as_str() {
            "web.a.test." => asked.code(ResponseCode::ServFail),
            _ => asked.with(&[at("web.", "10.0.0.1", 60)]),
        })
    };
    let (names, is_found) = searched("failing", "web", "search a.test", failing);
    assert_eq!((names, is_found), (vec!["web.a.test.".to_string()], false));
}

#[test]
fn the_error_of_a_search_is_that_of_the_name() {
    let zone = Zone::answering(|asked| match asked.name().as_str() {
        "empty.a.test." => asked.nothing(),
        _ => asked.code(ResponseCode::NXDomain),
    });
    let conf = file("error", "search a.test");
    let plan = DnsPlan {
        resolv_conf: conf.clone(),
        ..plan(&[&zone])
    };
    let error = |text: &str| {
        look_up(&plan, &host(text))
            .expect_err("an error")
            .to_string()
    };
    let server = zone.addr;
    let missing = format!("web: the name server {server} says that there is no such name");
    assert_eq!(error("web"), missing);
    let empty = format!("empty.a.test.: the name server {server} says that the name has none");
    assert_eq!(error("empty"), empty);
    remove(&conf);
}

#[test]
fn options_of_the_file_count() {
    let one = Zone::answering(good);
    let other = Zone::answering(good);
    let conf = file("options", "options rotate use-vc");
    let plan = DnsPlan {
        resolv_conf: conf.clone(),
        ..plan(&[&one, &other])
    };
    run(async {
        let resolver = Resolver::new(&plan);
        for _ in 0..4 {
            resolver
                .lookup(&host("web.example"))
                .await
                .expect("addresses");
        }
    });
    assert_eq!((one.asked().len(), other.asked().len()), (4, 4));
    let asked = one.asked();
    assert!(
        asked.iter().all(|asked| asked.ends_with("Tcp")),
        "{asked:?}"
    );
    remove(&conf);
}

#[test]
fn a_look_up_ends_at_its_deadline() {
    let silent = Zone::scripted(|_| Vec::new());
    let asker = |deadline| Asker {
        servers: vec![silent.addr],
        timeout: LONG,
        attempts: 200,
        transport: Transport::Udp,
        deadline,
    };
    let ask = |asker: Asker| {
        let question = async { asker.ask(&name("web.example."), Wanted::V4).await };
        run(question).expect_err("silence")
    };
    let start = Instant::now();
    let error = ask(asker(start + SHORT));
    assert!(matches!(error, LookupError::NoAnswer { .. }), "{error}");
    assert!(start.elapsed() < LONG);
    let error = ask(asker(start));
    assert_eq!(
        error.to_string(),
        "web.example.: not asked for: the look-up had taken 30s by then"
    );
}

/// Receives what a watched name brings, until there is enough.
fn watched(plan: &DnsPlan, count: usize) -> Vec<Resolution> {
    run(async {
        let (sender, receiver) = mpsc::channel(1);
        let resolver = Rc::new(Resolver::new(plan));
        let watching = monoio::spawn(watch(resolver, 7, host("web.example"), sender));
        let news = receiver.take(count).collect().await;
        // With nobody there it ends by itself.
        watching.await;
        news
    })
}

#[test]
fn a_watched_name_is_looked_up_again_and_again() {
    let zone = Zone::answering(|asked| {
        let addr = format!("10.0.0.{}", asked.earlier / 2 + 1);
        asked.with(&[at("web.example.", &addr, 0)])
    });
    let plan = DnsPlan {
        min_ttl: Duration::from_millis(40),
        ..plan(&[&zone])
    };
    let start = Instant::now();
    let news = watched(&plan, 3);
    assert!(start.elapsed() >= Duration::from_millis(2 * 36), "too soon");
    for (number, resolution) in (1..).zip(&news) {
        assert_eq!(resolution.name, 7);
        let found = resolution.outcome.as_ref().expect("an address");
        assert_eq!(addrs(found), [format!("10.0.0.{number}:80")]);
        assert!(resolution.took < LONG);
    }
    assert_eq!(news.len(), 3);
}

#[test]
fn a_watched_name_that_fails_comes_back() {
    let zone = Zone::answering(|asked| match asked.earlier {
        0..4 => asked.code(ResponseCode::ServFail),
        _ => good(asked),
    });
    let plan = DnsPlan {
        min_ttl: Duration::from_millis(20),
        max_ttl: Duration::from_millis(20),
        ..plan(&[&zone])
    };
    let start = Instant::now();
    let news = watched(&plan, 3);
    assert!(
        start.elapsed() >= Duration::from_millis(18 + 36),
        "too soon"
    );
    let ends: Vec<bool> = news.iter().map(|news| news.outcome.is_ok()).collect();
    assert_eq!(ends, [false, false, true]);
}

#[test]
fn many_names_take_turns() {
    let zone = Zone::answering(|asked| asked.with(&[at(&asked.name(), "10.0.0.1", 60)]));
    let plan = plan(&[&zone]);
    run(async {
        let resolver = Resolver::new(&plan);
        let names: Vec<Place> = (0..100).map(|n| host(&format!("n{n}.example"))).collect();
        let lookups = names.iter().map(|place| resolver.lookup(place));
        let found = futures_util::future::join_all(lookups).await;
        assert!(found.iter().all(Result::is_ok));
    });
    assert_eq!(zone.asked().len(), 200);
}
