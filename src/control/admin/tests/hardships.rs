//! Slow, long, many, broken: what a client can do to a connection, and how that ends.
#![forbid(unsafe_code)]

use std::time::Instant;

use super::*;
use crate::bounds::{ADMIN_BODY_BYTES_MAX, ADMIN_HEAD_BYTES_MAX, ADMIN_TARGET_BYTES_MAX};

fn limited(limits: Limits) -> Site {
    Site::with(Setting {
        limits,
        ..Setting::default()
    })
}

#[test]
fn connections_serve_one_request_after_the_other() {
    let site = Site::start();
    let mut client = site.connect();
    for _ in 0..3 {
        client.send(get("/healthz").as_bytes());
        let told = client.read();
        assert_eq!(told.status, 200);
        assert!(!told.closes());
    }
    // In one segment, errors among them.
    let patch = with_body("PATCH", "/v1/clusters/web/endpoints/7", "{}");
    let several = [get("/v1/clusters"), patch, get("/nothing"), get("/readyz")].concat();
    client.send(several.as_bytes());
    let statuses = [(); 4].map(|()| client.read().status);
    assert_eq!(statuses, [200, 400, 404, 200]);
}

#[test]
fn a_head_is_asked_for_alone() {
    let site = Site::start();
    let mut client = site.connect();
    for (path, status) in [("/v1/clusters", 200), ("/metrics", 200), ("/nothing", 404)] {
        client.send(get(path).as_bytes());
        let whole = client.read();
        client.send(get(path).replace("GET", "HEAD").as_bytes());
        let head = client.read_answer(BodyIs::Left);
        assert_eq!(head.status, status);
        assert_eq!(
            head.header("content-length"),
            whole.header("content-length")
        );
        assert_eq!(head.header("content-type"), whole.header("content-type"));
    }
    assert!(client.rest.is_empty());
}

#[test]
fn a_client_that_has_sent_all_is_answered() {
    let site = Site::start();
    let mut client = site.connect();
    client.send(get("/healthz").as_bytes());
    let end = client.stream.shutdown(std::net::Shutdown::Write);
    end.expect("an end");
    assert_eq!(client.read().status, 200);
    assert_eq!(client.read_end(), "");
    let told = site.call("GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n");
    assert_eq!(told.status, 200);
}

#[test]
fn requests_of_a_connection_are_counted() {
    let site = limited(Limits {
        requests: 3,
        ..Limits::default()
    });
    let mut client = site.connect();
    client.send(get("/healthz").repeat(4).as_bytes());
    let closes = [(); 3].map(|()| client.read().closes());
    assert_eq!(closes, [false, false, true]);
    assert_eq!(client.read_end(), "");
}

#[test]
fn slow_heads_end() {
    let site = limited(Limits {
        head: SHORT,
        ..Limits::default()
    });
    let mut silent = site.connect();
    let mut slow = site.connect();
    slow.send(b"GET /healthz HTTP/1.1\r\nHost: loc");
    let told = slow.read();
    told.is_error(408, "timeout", None);
    assert!(told.closes());
    assert_eq!(slow.read_end(), "");
    // Nothing was asked, so nothing is answered.
    assert_eq!(silent.read_end(), "");
    // The time is the head's, however its bytes come.
    let mut drip = site.connect();
    let begun = Instant::now();
    while drip.stream.write_all(b"x").is_ok() {
        assert!(begun.elapsed() < PATIENCE);
        thread::yield_now();
    }
}

#[test]
fn a_later_head_is_not_given_more_time() {
    let site = limited(Limits {
        head: SHORT,
        ..Limits::default()
    });
    let mut client = site.connect();
    client.send(get("/healthz").as_bytes());
    assert_eq!(client.read().status, 200);
    client.send(b"GET /hea");
    client.read().is_error(408, "timeout", None);
}

#[test]
fn idle_connections_end() {
    let site = limited(Limits {
        idle: SHORT,
        ..Limits::default()
    });
    let mut client = site.connect();
    client.send(get("/healthz").as_bytes());
    assert_eq!(client.read().status, 200);
    assert_eq!(client.read_end(), "");
}

#[test]
fn slow_bodies_end() {
    let site = limited(Limits {
        body: SHORT,
        ..Limits::default()
    });
    let mut client = site.connect();
    let whole = with_body("PATCH", "/v1/clusters/web/endpoints/7", r#"{"weight":1}"#);
    client.send(&whole.as_bytes()[..whole.len() - 1]);
    let told = client.read();
    told.is_error(408, "timeout", None);
    assert!(told.closes());
    assert_eq!(client.read_end(), "");
    site.was_not_asked();
}

#[test]
fn whoever_does_not_read_is_left() {
    let site = limited(Limits {
        request: Duration::from_millis(200),
        ..Limits::default()
    });
    let mut client = site.connect();
    // Answers wait until one cannot be written, and then no request is read either.
    let several = get("/v1/clusters/web/endpoints").repeat(100);
    client
        .stream
        .set_write_timeout(Some(PATIENCE))
        .expect("a timeout");
    let begun = Instant::now();
    while client.stream.write_all(several.as_bytes()).is_ok() {
        assert!(begun.elapsed() < PATIENCE, "it is read for ever");
    }
    assert!(begun.elapsed() < PATIENCE, "it is neither read nor left");
}

#[test]
fn long_bodies_are_refused() {
    let site = Site::start();
    let path = "/v1/clusters/web/endpoints";
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n");
    // Before a byte of it is there.
    let mut client = site.connect();
    let length = ADMIN_BODY_BYTES_MAX + 1;
    client.send(format!("{head}Content-Length: {length}\r\n\r\n").as_bytes());
    let told = client.read();
    told.is_error(413, "too_large", None);
    assert!(told.closes());
    // While it comes: the answer must not be lost to a reset.
    let mut client = site.connect();
    let length = 1024 * 1024;
    client.send(format!("{head}Content-Length: {length}\r\n\r\n").as_bytes());
    client.send(&vec![b' '; length]);
    client.read().is_error(413, "too_large", None);
    assert_eq!(client.read_end(), "");
    // Without a length.
    let mut client = site.connect();
    client.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes());
    for _ in 0..17 {
        client.send(b"1000\r\n");
        client.send(&[b' '; 4096]);
        client.send(b"\r\n");
    }
    let told = client.read();
    told.is_error(413, "too_large", None);
    assert!(told.closes());
    // At the limit.
    let mut body = r#"{"address":"10.0.0.3:80"}"#.to_string();
    body.push_str(&" ".repeat(ADMIN_BODY_BYTES_MAX - body.len()));
    assert_eq!(site.call(&with_body("POST", path, &body)).status, 201);
    site.asked();
    site.was_not_asked();
}

#[test]
fn chunked_bodies_are_read() {
    let site = Site::start();
    let head = "PATCH /v1/clusters/web/endpoints/7 HTTP/1.1\r\nHost: localhost\r\n\
                Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut client = site.connect();
    client.send(format!("{head}5\r\n{{\"wei\r\n7\r\nght\":4}}\r\n0\r\n\r\n").as_bytes());
    assert_eq!(client.read().json()["endpoint"]["weight"], 4);
    client.send(format!("{head}nonsense\r\n").as_bytes());
    let told = client.read();
    told.is_error(400, "invalid", None);
    assert!(told.closes());
    let mut client = site.connect();
    let expecting = head.replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n");
    client.send(expecting.as_bytes());
    while client.rest.len() < CONTINUE.len() {
        assert!(client.fill() > 0);
    }
    assert_eq!(client.text(), CONTINUE);
    client.rest.clear();
    client.send(b"c\r\n{\"weight\":6}\r\n0\r\n\r\n");
    assert_eq!(client.read().json()["endpoint"]["weight"], 6);
}

const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";

#[test]
fn long_heads_are_refused() {
    let site = Site::start();
    let target = format!("/{}", "x".repeat(ADMIN_TARGET_BYTES_MAX));
    site.call(&get(&target)).is_error(414, "too_large", None);
    let long = get("/healthz").replace(
        "\r\n\r\n",
        &format!("\r\nX: {}\r\n\r\n", "x".repeat(ADMIN_HEAD_BYTES_MAX)),
    );
    let told = site.call(&long);
    told.is_error(431, "too_large", None);
    assert!(told.closes());
    let headers =
        |count: usize| get("/healthz").replace("\r\n\r\n", &"\r\nX: y".repeat(count)) + "\r\n\r\n";
    assert_eq!(site.call(&headers(63)).status, 200);
    site.call(&headers(64)).is_error(431, "too_large", None);
}

#[test]
fn what_is_no_http_is_refused() {
    let site = Site::start();
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS client\r\n\r\n"[..],
        b"GET  HTTP/1.1\r\n\r\n",
        b"GET / HTTP/3.0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
    ] {
        let mut client = site.connect();
        client.send(bytes);
        let told = client.read();
        told.is_error(400, "invalid", None);
        assert!(told.closes());
        assert_eq!(client.read_end(), "");
    }
    // After a good one too.
    let mut client = site.connect();
    client.send(get("/healthz").as_bytes());
    assert_eq!(client.read().status, 200);
    client.send(b"nonsense\r\n\r\n");
    client.read().is_error(400, "invalid", None);
    site.asked();
    site.was_not_asked();
}

#[test]
fn one_connection_too_many_is_told_so() {
    let limits = Limits::default();
    let site = limited(limits);
    let mut clients: Vec<_> = (0..limits.connections).map(|_| site.connect()).collect();
    for client in &mut clients {
        client.send(get("/healthz").as_bytes());
        assert_eq!(client.read().status, 200);
    }
    let told = site.call(&get("/healthz"));
    told.is_error(503, "unavailable", None);
    assert!(told.closes());
    // Those who were there are served on, and a place that is free is given away.
    let mut first = clients.swap_remove(0);
    first.send(get("/healthz").as_bytes());
    assert_eq!(first.read().status, 200);
    drop(first);
    let begun = Instant::now();
    while site.call(&get("/healthz")).status != 200 {
        assert!(begun.elapsed() < PATIENCE, "the place stays taken");
    }
}

#[test]
fn a_flood_of_connections_leaves_the_served_alone() {
    let site = limited(Limits {
        connections: 1,
        ..Limits::default()
    });
    let mut client = site.connect();
    client.send(get("/healthz").as_bytes());
    assert_eq!(client.read().status, 200);
    let crowd: Vec<_> = (0..100).map(|_| site.connect()).collect();
    client.send(get("/healthz").as_bytes());
    assert_eq!(client.read().status, 200);
    drop(crowd);
}

#[test]
fn a_control_that_does_not_answer_is_told() {
    for control in [Control::Sleeps, Control::IsStuck, Control::Drops] {
        let site = Site::with(Setting {
            limits: Limits {
                control: SHORT,
                ..Limits::default()
            },
            control,
            ..Setting::default()
        });
        let mut client = site.connect();
        // More than the queue takes.
        for _ in 0..5 {
            for path in ["/healthz", "/readyz", "/v1/clusters"] {
                client.send(get(path).as_bytes());
                client.read().is_error(503, "unavailable", None);
            }
        }
    }
}

#[test]
fn it_does_without_a_ring() {
    let site = Site::with(Setting {
        driver: Driver::Epoll,
        limits: Limits {
            idle: SHORT,
            connections: 1,
            ..Limits::default()
        },
        ..Setting::default()
    });
    let mut client = site.connect();
    client.send(with_body("PATCH", "/v1/clusters/web/endpoints/7", r#"{"weight":2}"#).as_bytes());
    assert_eq!(client.read().json()["endpoint"]["weight"], 2);
    assert_eq!(client.read_end(), "");
    let mut silent = site.connect();
    site.call(&get("/healthz"))
        .is_error(503, "unavailable", None);
    silent.send(b"nonsense\r\n\r\n");
    silent.read().is_error(400, "invalid", None);
}

#[test]
fn connections_end_with_the_interface() {
    let site = Site::start();
    let mut client = site.connect();
    client.send(get("/healthz").as_bytes());
    assert_eq!(client.read().status, 200);
    drop(site);
    assert_eq!(client.read_end(), "");
}
