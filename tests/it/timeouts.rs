//! How long sessions last: the greatest age, and whose timeouts count.
#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use ringlane::error::CloseReason;
use ringlane::plan::place::Bind;
use ringlane::plan::{ListenerPlan, SessionTimeouts, settings};

use crate::support::endpoint::{Endpoint, Mute};
use crate::support::{Balancer, End, connect, finish, loopback, plan, read_to_end};

/// How long each of some sessions lasts that began together. They are never idle for long.
fn ages(clients: Vec<TcpStream>) -> Vec<Duration> {
    let started = Instant::now();
    let threads: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            std::thread::spawn(move || {
                let mut byte = [0];
                // One byte goes round until there is a reset.
                while client.write_all(b"x").is_ok() && client.read_exact(&mut byte).is_ok() {}
                started.elapsed()
            })
        })
        .collect();
    let ages = threads.into_iter().map(std::thread::JoinHandle::join);
    ages.map(|age| age.unwrap_or_default()).collect()
}

#[test]
fn a_session_ends_at_its_greatest_age_however_busy() {
    let echo = Endpoint::echo();
    let mut plan = plan(&[echo.addr]);
    plan.clusters[0].timeouts.max_age = Some(Duration::from_millis(400));
    plan.clusters[0].timeouts.max_age_jitter = Some(Duration::ZERO);
    let balancer = Balancer::start(&plan);
    let clients = (0..8).map(|_| balancer.connect()).collect();
    let ages = ages(clients);
    balancer.await_closed(CloseReason::MaxAge, 8);
    assert_eq!(balancer.closed_total(), 8);
    // They began before their clocks were looked at.
    let least = ages.iter().min().copied().unwrap_or_default();
    assert!(least > Duration::from_millis(300), "{ages:?}");
}

#[test]
fn an_idle_session_ends_at_its_greatest_age_by_a_reset() {
    let echo = Endpoint::echo();
    let mut plan = plan(&[echo.addr]);
    plan.listeners[0].timeouts.max_age = Some(Duration::from_millis(150));
    let balancer = Balancer::start(&plan);
    let mut clients: Vec<TcpStream> = (0..4).map(|_| balancer.connect()).collect();
    finish(&clients[0]);
    assert_eq!(read_to_end(&mut clients[0]), (Vec::new(), End::Fin));
    for client in &mut clients[1..] {
        assert_eq!(read_to_end(client), (Vec::new(), End::Reset));
    }
    balancer.await_closed(CloseReason::MaxAge, 3);
}

#[test]
fn jitter_spreads_the_ends_and_never_lengthens() {
    const MAX: Duration = Duration::from_millis(1000);
    let echo = Endpoint::echo();
    let mut plan = plan(&[echo.addr]);
    plan.clusters[0].timeouts.max_age = Some(MAX);
    plan.clusters[0].timeouts.max_age_jitter = Some(Duration::from_millis(900));
    let balancer = Balancer::start(&plan);
    let started = Instant::now();
    let mut clients: Vec<TcpStream> = (0..40).map(|_| balancer.connect()).collect();
    // By the balancer's count: half of the sessions ended well before the others.
    let mut halfway = None;
    while balancer.closed(CloseReason::MaxAge) < 40 {
        if balancer.closed(CloseReason::MaxAge) >= 4 && halfway.is_none() {
            halfway = Some(started.elapsed());
        }
        assert!(started.elapsed() < crate::support::PATIENCE);
        std::thread::yield_now();
    }
    let last = started.elapsed();
    let spread = last.saturating_sub(halfway.unwrap_or(last));
    assert!(
        spread > Duration::from_millis(200),
        "spread over {spread:?}"
    );
    for client in &mut clients {
        assert_eq!(read_to_end(client).1, End::Reset);
    }
}

#[test]
fn the_greatest_age_counts_while_connecting() {
    let mute = Mute::start();
    let mut plan = plan(&[mute.addr]);
    plan.clusters[0].timeouts.max_age = Some(Duration::from_millis(150));
    let balancer = Balancer::start(&plan);
    assert_eq!(read_to_end(&mut balancer.connect()).1, End::Reset);
    balancer.await_closed(CloseReason::MaxAge, 1);
}

#[test]
fn a_listener_s_timeouts_go_before_its_cluster_s() {
    let echo = Endpoint::echo();
    let mut plan = plan(&[echo.addr]);
    let mut hasty = ListenerPlan::on(Bind::Tcp(loopback(0)), "default");
    hasty.name = "hasty".to_string();
    hasty.timeouts.idle = Some(Duration::from_millis(100));
    let mut aged = hasty.clone();
    aged.name = "aged".to_string();
    aged.timeouts = SessionTimeouts {
        max_age: Some(Duration::from_millis(100)),
        ..SessionTimeouts::default()
    };
    plan.listeners.extend([hasty, aged]);
    plan.clusters[0].timeouts.idle = Some(Duration::from_secs(3600));
    plan.clusters[0].timeouts.max_age = Some(Duration::from_secs(3600));
    let balancer = Balancer::start(&plan);
    let addrs = balancer.addrs();
    let mut patient = connect(addrs[0]);
    let mut hasty = connect(addrs[1]);
    let mut aged = connect(addrs[2]);
    assert_eq!(read_to_end(&mut hasty).1, End::Reset);
    assert_eq!(read_to_end(&mut aged).1, End::Reset);
    balancer.await_closed(CloseReason::IdleTimeout, 1);
    balancer.await_closed(CloseReason::MaxAge, 1);
    patient.write_all(b"hello").ok();
    finish(&patient);
    assert_eq!(read_to_end(&mut patient), (b"hello".to_vec(), End::Fin));
}

#[test]
fn defaults_hold_where_nobody_says_anything() {
    let mut plan = plan(&[]);
    let of = |plan: &ringlane::plan::Plan| settings(&plan.listeners[0], &plan.clusters[0]);
    let seconds = Duration::from_secs;
    let settings = of(&plan);
    assert_eq!(settings.idle_timeout, seconds(3600));
    assert_eq!(settings.half_close_timeout, seconds(60));
    assert_eq!(settings.connect_timeout, seconds(5));
    assert_eq!((settings.tries, settings.retry_within), (3, seconds(10)));
    assert_eq!((settings.max_age, settings.header_timeout), (None, None));
    // A tenth of the age, and jitter goes with the age that it is written beside.
    plan.clusters[0].timeouts.max_age = Some(seconds(1000));
    assert_eq!(of(&plan).max_age, Some((seconds(1000), seconds(100))));
    plan.clusters[0].timeouts.max_age_jitter = Some(seconds(1));
    plan.listeners[0].timeouts.max_age = Some(seconds(500));
    assert_eq!(of(&plan).max_age, Some((seconds(500), seconds(50))));
}
