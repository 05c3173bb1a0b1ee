//! Sessions are spread as configured, and endpoints that fail are passed over.
#![forbid(unsafe_code)]

use std::io::Write;
use std::time::Duration;

use ringlane::balance::Policy;
use ringlane::error::CloseReason;
use ringlane::plan::place::Place;
use ringlane::plan::{EndpointPlan, ListenerPlan};

use crate::support::endpoint::{Endpoint, Mute, refusing};
use crate::support::zone::Zone;
use crate::support::{Balancer, End, plan, read_to_end, wait_until};

#[test]
fn weights_are_exact_and_zero_is_never_picked() {
    let endpoints = [
        Endpoint::name("a"),
        Endpoint::name("b"),
        Endpoint::name("c"),
    ];
    let mut plan = plan(&endpoints.each_ref().map(|endpoint| endpoint.addr));
    plan.workers.count = Some(1);
    plan.clusters[0].endpoints[0].weight = 3;
    plan.clusters[0].endpoints[1].weight = 1;
    plan.clusters[0].endpoints[2].weight = 0;
    let balancer = Balancer::start(&plan);
    for _ in 0..100 {
        let (_, end) = read_to_end(&mut balancer.connect());
        assert_eq!(end, End::Fin);
    }
    assert_eq!(endpoints.each_ref().map(Endpoint::accepted), [75, 25, 0]);
}

#[test]
fn two_workers_together_keep_the_weights() {
    let endpoints = [Endpoint::name("a"), Endpoint::name("b")];
    let mut plan = plan(&endpoints.each_ref().map(|endpoint| endpoint.addr));
    plan.clusters[0].endpoints[0].weight = 3;
    let balancer = Balancer::start(&plan);
    for _ in 0..400 {
        read_to_end(&mut balancer.connect());
    }
    // Each worker's share is exact over each cycle of four: at most one cycle is open on each.
    let [first, second] = endpoints.each_ref().map(Endpoint::accepted);
    assert_eq!(first + second, 400);
    assert!(first.abs_diff(300) <= 4, "{first} of 400, not 300");
}

#[test]
fn least_conn_fills_holes_over_all_workers() {
    let endpoints = [Endpoint::echo(), Endpoint::echo(), Endpoint::echo()];
    let mut plan = plan(&endpoints.each_ref().map(|endpoint| endpoint.addr));
    plan.clusters[0].policy = Policy::LeastConn;
    let balancer = Balancer::start(&plan);
    let open = |count: u32| {
        wait_until("the sessions are open", || {
            let open = balancer
                .running()
                .endpoints()
                .iter()
                .map(|e| e.open_sessions());
            open.sum::<u32>() == count
        });
    };
    let counts = || -> Vec<u32> {
        let endpoints = balancer.running().endpoints().iter();
        endpoints.map(|endpoint| endpoint.open_sessions()).collect()
    };
    let mut clients = Vec::new();
    for count in 1..=30 {
        let mut client = balancer.connect();
        client.write_all(b"x").expect("sent");
        clients.push(client);
        open(count);
    }
    assert_eq!(counts(), [10, 10, 10]);
    clients.truncate(15);
    open(15);
    for count in 16..=30 {
        let mut client = balancer.connect();
        client.write_all(b"x").expect("sent");
        clients.push(client);
        open(count);
    }
    assert_eq!(counts(), [10, 10, 10]);
}

#[test]
fn a_refused_session_goes_to_the_next_endpoint() {
    let good = Endpoint::name("good");
    let balancer = Balancer::start(&plan(&[refusing(), good.addr, refusing()]));
    for _ in 0..30 {
        assert_eq!(
            read_to_end(&mut balancer.connect()),
            (b"good".to_vec(), End::Fin)
        );
    }
    assert_eq!(good.accepted(), 30);
    let failures: u64 = balancer
        .running()
        .endpoints()
        .iter()
        .map(|endpoint| endpoint.total(|counters| &counters.connect_failures))
        .sum();
    assert!(failures > 0, "the others were tried too");
}

#[test]
fn when_every_endpoint_refuses_the_client_is_reset() {
    let balancer = Balancer::start(&plan(&[refusing(), refusing()]));
    assert_eq!(
        read_to_end(&mut balancer.connect()),
        (Vec::new(), End::Reset)
    );
    balancer.await_closed(CloseReason::ConnectRefused, 1);
}

#[test]
fn without_an_endpoint_the_client_is_reset_at_once() {
    let mut plan = plan(&[refusing()]);
    plan.clusters[0].endpoints[0].weight = 0;
    let balancer = Balancer::start(&plan);
    assert_eq!(
        read_to_end(&mut balancer.connect()),
        (Vec::new(), End::Reset)
    );
    balancer.await_closed(CloseReason::NoEndpoint, 1);
}

#[test]
fn an_endpoint_that_does_not_answer_is_given_up_for_another() {
    let mute = Mute::start();
    let good = Endpoint::name("good");
    let mut plan = plan(&[mute.addr, good.addr]);
    plan.workers.count = Some(1);
    plan.clusters[0].connect_timeout = Duration::from_millis(200);
    let balancer = Balancer::start(&plan);
    for _ in 0..2 {
        let seen = read_to_end(&mut balancer.connect());
        assert_eq!(seen, (b"good".to_vec(), End::Fin));
    }
    let workers = balancer.running().counters().iter();
    assert_eq!(workers.map(|worker| worker.retries.value()).sum::<u64>(), 1);
    let failures = balancer.running().endpoints()[0].total(|counters| &counters.connect_failures);
    assert_eq!(failures, 1);
}

#[test]
fn a_client_that_leaves_ends_the_attempt() {
    let mute = Mute::start();
    let balancer = Balancer::start(&plan(&[mute.addr]));
    let client = balancer.connect();
    wait_until("the attempt is made", || {
        let endpoints = balancer.running().endpoints();
        endpoints
            .iter()
            .any(|endpoint| endpoint.open_sessions() == 1)
    });
    crate::support::reset(client);
    balancer.await_closed(CloseReason::ClientReset, 1);
}

#[test]
fn a_name_stands_for_all_its_addresses_and_may_be_unknown() {
    let good = Endpoint::name("good");
    let zone = Zone::of(&[]);
    let mut plan = plan(&[good.addr]);
    plan.dns = zone.resolver();
    let unknown = Place::Host("nowhere.invalid".to_string(), 80);
    plan.clusters[0].endpoints.push(EndpointPlan::at(unknown));
    plan.clusters[0].endpoints[0].place = Place::Host("localhost".to_string(), good.addr.port());
    let balancer = Balancer::start(&plan);
    // Nobody is asked for `localhost`; a name that stands for nothing is no endpoint.
    let endpoints = balancer.running().endpoints().iter();
    let addresses: Vec<String> = endpoints.map(|e| e.address.to_string()).collect();
    let port = good.addr.port();
    assert_eq!(
        addresses,
        [format!("127.0.0.1:{port}"), format!("[::1]:{port}")]
    );
    let noted = zone.noted();
    assert!(noted.iter().all(|noted| noted.name == "nowhere.invalid."));
    assert!(!noted.is_empty(), "it was looked up before clients came");
    for _ in 0..10 {
        assert_eq!(
            read_to_end(&mut balancer.connect()),
            (b"good".to_vec(), End::Fin)
        );
    }
}

#[test]
fn ipv6_is_served_and_connected_to() {
    let listener = std::net::TcpListener::bind("[::1]:0").expect("this host has IPv6");
    let endpoint = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _client_left = stream.write_all(b"six");
        }
    });
    let mut plan = plan(&[endpoint]);
    let six = "[::1]:0".parse().expect("an address");
    plan.listeners.push(ListenerPlan::on(six, "default"));
    let balancer = Balancer::start(&plan);
    for addr in balancer.addrs() {
        let mut client = crate::support::connect(addr);
        assert_eq!(read_to_end(&mut client), (b"six".to_vec(), End::Fin));
    }
}
