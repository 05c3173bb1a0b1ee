//! Sets of targets that change, and a prober that is held up.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::io::Write;
use std::net::SocketAddr;

use super::site::{Site, await_end, next, nobody, read_head};
use super::*;
use crate::bounds::PROBES_MAX;
use crate::sys::descriptors::raise_limit;

#[test]
fn the_first_report_says_so_and_changes_are_told() {
    // An address of its own, so that nobody takes the port while it is free.
    let site = Site::on("127.79.0.1:0", drop);
    let addr = site.addr;
    let (ring, rung) = bounded(64);
    let scene = Scene::with_bell(Bell::new(move || ring.try_send(()).unwrap_or_default()));
    let mut plan = plan(Check::Tcp);
    (plan.rise, plan.fall) = (2, 3);
    scene.prober.watch(vec![target(1, site.address(), plan)]);
    let first = scene.next_that_counts();
    assert!(first.is_first && first.changed);
    assert_eq!(first.state, HealthState::Up);
    assert!(rung.recv_timeout(PATIENCE).is_ok());
    let quiet = scene.next_that_counts();
    assert!(!quiet.is_news() && !quiet.is_first && !quiet.changed);

    drop(site);
    let failed = |report: &ProbeReport| matches!(report.outcome, Outcome::Failure(_));
    for failures in 1..=4 {
        let report = scene.next_where(failed);
        assert_eq!(report.failures, failures);
        assert_eq!(report.changed, failures == 3);
        let is_down = failures >= 3;
        assert_eq!(report.state == HealthState::Down, is_down);
    }
    let _back = Site::on(&addr.to_string(), drop);
    let first = scene.next_where(|report| report.outcome.is_success());
    assert!(!first.changed && first.state == HealthState::Down);
    let second = scene.next_that_counts();
    assert!(second.changed && second.state == HealthState::Up);
    scene.prober.stop();
}

#[test]
fn sets_replace_each_other() {
    let sites: Vec<Site> = (0..3).map(|_| Site::start(drop)).collect();
    let of = |position: usize| target(position as u32, sites[position].address(), plan(Check::Tcp));
    let scene = Scene::watching(vec![of(0), of(1)]);
    let mut seen = HashSet::new();
    while seen.len() < 2 {
        seen.insert(scene.next().endpoint);
    }
    // One goes, one stays, one comes.
    scene.prober.watch(vec![of(1), of(2)]);
    scene.next_where(|report| report.endpoint == EndpointId(2));
    assert_eq!(scene.prober.counters().targets.value(), 2);
    let mut seen = HashSet::new();
    for _ in 0..20 {
        let report = scene.next();
        assert_ne!(report.endpoint, EndpointId(0), "it is gone");
        assert!(!report.is_first, "what stays goes on undisturbed");
        seen.insert(report.endpoint);
    }
    assert_eq!(seen.len(), 2);
    // The same endpoint by another plan begins anew.
    let mut changed = of(1);
    changed.address = nobody();
    scene.prober.watch(vec![changed]);
    let report = scene.next_where(|report| report.is_first);
    assert_eq!(report.endpoint, EndpointId(1));
    assert_eq!(report.state, HealthState::Down);
    scene.prober.watch(Vec::new());
    let is_empty = || scene.prober.counters().targets.value() == 0;
    let deadline = std::time::Instant::now() + PATIENCE;
    while !is_empty() {
        assert!(std::time::Instant::now() < deadline);
        std::thread::yield_now();
    }
    scene.prober.stop();
}

/// A site that tells when a connection has come and how it has ended.
fn telling(addr: &str) -> (Site, Receiver<Option<std::io::ErrorKind>>, Receiver<()>) {
    let (tell_end, ends) = bounded(64);
    let (tell_begin, begun) = bounded(64);
    let site = Site::on(addr, move |mut stream| {
        let _ = tell_begin.try_send(());
        let end = await_end(&mut stream);
        let _ = tell_end.try_send(end.err().map(|error| error.kind()));
    });
    (site, ends, begun)
}

#[test]
fn probes_of_targets_that_are_gone_end_at_once() {
    let reset = Some(std::io::ErrorKind::ConnectionReset);
    let (site, ends, begun) = telling("127.0.0.1:0");
    let mut plan = plan(send_expect("", "x"));
    plan.timeout = Duration::from_secs(600);
    let one = target(1, site.address(), plan);
    let scene = Scene::watching(vec![one.clone()]);
    next(&begun);
    scene.prober.watch(Vec::new());
    assert_eq!(next(&ends), reset);
    // The same when the prober ends.
    scene.prober.watch(vec![one]);
    next(&begun);
    scene.prober.stop();
    assert_eq!(next(&ends), reset);
    assert!(scene.reports.try_recv().is_err(), "nothing is told of them");
}

#[test]
fn connections_are_reset_and_leave_nothing_behind() {
    // An address that no other test's connections, long closed, can have left traces of.
    let [high, low] = (std::process::id() as u16).to_be_bytes();
    let addr = format!("127.78.{high}.{low}:0");
    let (site, ends, _) = telling(&addr);
    let closing = Site::on(&addr, drop);
    let answering = Site::on(&addr, |mut stream| {
        read_head(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    });
    let scene = Scene::watching(vec![
        target(1, site.address(), plan(Check::Tcp)),
        target(2, closing.address(), plan(Check::Tcp)),
        target(3, answering.address(), plan(http(|_| {}))),
    ]);
    assert_eq!(next(&ends), Some(std::io::ErrorKind::ConnectionReset));
    for _ in 0..100 {
        scene.next();
    }
    scene.prober.stop();
    let ends = [&site, &closing, &answering].map(|site| match site.addr {
        SocketAddr::V4(addr) => {
            let ip = u32::from_ne_bytes(addr.ip().octets());
            format!("{ip:08X}:{:04X}", addr.port())
        }
        SocketAddr::V6(_) => unreachable!("they are of IPv4"),
    });
    let table = std::fs::read_to_string("/proc/net/tcp").expect("a table of the kernel");
    assert!(ends.iter().all(|end| table.contains(end)), "they listen");
    for line in table.lines().skip(1) {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let is_ours = columns[1..3]
            .iter()
            .any(|end| ends.iter().any(|ours| ours == end));
        assert!(!(is_ours && columns[3] == "06"), "TIME_WAIT: {line}");
    }
}

#[test]
fn a_prober_that_is_held_up_calls_nobody_dead() {
    // The bell is rung on the prober's thread: whoever takes his time there holds it up.
    let (arrived, arrives) = bounded(64);
    let bell = Bell::new(move || {
        let _ = arrived.try_send(());
        let _held_up = crossbeam_channel::never::<()>().recv_timeout(Duration::from_millis(1800));
    });
    let silent = Site::start(|mut stream| drop(await_end(&mut stream)));
    let good = Site::start(drop);
    let mut patient = plan(send_expect("", "x"));
    patient.timeout = Duration::from_secs(1);
    let scene = Scene::with_bell(bell);
    scene.prober.watch(vec![
        target(1, silent.address(), patient),
        target(2, good.address(), plan(Check::Tcp)),
    ]);
    next(&arrives);
    let report = scene.next_where(|report| report.endpoint == EndpointId(1));
    assert!(
        matches!(&report.outcome, Outcome::Late(detail)
            if detail.starts_with("timed out after 1s waiting for the answer, but noticed ")),
        "{report:?}"
    );
    assert_eq!(report.state, HealthState::Unknown);
    assert!(!report.changed);
    scene.prober.stop();
}

#[test]
fn no_more_probes_are_under_way_than_may_be() {
    raise_limit().expect("the hard limit");
    let (tell, told) = bounded(2 * PROBES_MAX);
    let mut held = Vec::new();
    let site = Site::start(move |stream| {
        held.push(stream);
        let _ = tell.try_send(());
    });
    let mut patient = plan(send_expect("", "x"));
    patient.timeout = Duration::from_secs(600);
    let targets = |count: usize| -> Vec<Target> {
        let ids = 0..count as u32;
        ids.map(|id| target(id, site.address(), patient.clone()))
            .collect()
    };
    let scene = Scene::watching(targets(PROBES_MAX + 50));
    for _ in 0..PROBES_MAX {
        next(&told);
    }
    // Longer than their first times are apart.
    let further = told.recv_timeout(Duration::from_millis(200));
    assert!(further.is_err());
    assert_eq!(scene.prober.counters().probes.value(), PROBES_MAX as u64);
    // With the others gone there is room.
    scene
        .prober
        .watch(targets(PROBES_MAX + 50).split_off(PROBES_MAX - 1));
    for _ in 0..50 {
        next(&told);
    }
    scene.prober.stop();
}

#[test]
fn the_newest_of_many_sets_wins() {
    let site = Site::start(drop);
    let scene = Scene::start();
    for count in 1..200 {
        let ids = 0..count;
        let of = |id| target(id, site.address(), plan(Check::Tcp));
        scene.prober.watch(ids.map(of).collect());
    }
    scene
        .prober
        .watch(vec![target(1000, site.address(), plan(Check::Tcp))]);
    scene.next_where(|report| report.endpoint == EndpointId(1000));
    for _ in 0..10 {
        assert_eq!(scene.next().endpoint, EndpointId(1000));
    }
    scene.prober.stop();
}
