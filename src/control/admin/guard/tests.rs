//! The guard's verdicts as tables.
#![forbid(unsafe_code)]

use hyper::http::Request;

use super::*;
use crate::plan::place::Bind;

const LOOPBACK: Door = Door::Tcp(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

fn guard(bind: &str, token: Option<&str>) -> Guard {
    let bind: Bind = bind.parse().expect("a bind");
    let mut plan = AdminPlan::on(bind);
    plan.hosts = vec!["admin.example.org".into(), "192.0.2.7".into()];
    Guard::new(plan, token.map(str::to_string))
}

fn head(method: &str, target: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (head, ()) = request.body(()).expect("a request").into_parts();
    head
}

fn verdict(door: Door, target: &str, headers: &[(&str, &str)]) -> u16 {
    let guard = guard("127.0.0.1:9090", None);
    match guard.check_origin(&head("GET", target, headers), door) {
        Ok(()) => 200,
        Err(fault) => fault.status.as_u16(),
    }
}

#[test]
fn hosts_are_known_ones() {
    let check = |host: &str, expected: u16| {
        assert_eq!(
            verdict(LOOPBACK, "/", &[("host", host)]),
            expected,
            "{host}"
        );
        assert_eq!(verdict(Door::Unix, "/", &[("host", host)]), 200, "{host}");
    };
    for host in [
        "localhost",
        "LOCALHOST:9090",
        "127.0.0.1",
        "127.0.0.1:9090",
        "127.0.0.1:1",
        "[::1]",
        "[::1]:9090",
        "203.0.113.9:80",
        "admin.example.org",
        "Admin.Example.ORG:443",
    ] {
        check(host, 200);
    }
    for host in [
        "evil.example",
        "evil.example:9090",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "notlocalhost",
        "admin.example.org.",
        "sub.admin.example.org",
        "127.1",
        "2130706433",
        "0x7f000001",
        "",
        ":9090",
        "localhost:",
        "localhost:x",
        "localhost:99999",
        "localhost:9090:9090",
        "user@localhost",
        "localhost/x",
        "local host",
        "[::1",
        "[::1]x",
        "[evil]",
        "::1",
    ] {
        check(host, 421);
    }
    assert_eq!(verdict(LOOPBACK, "/", &[]), 421);
    assert_eq!(verdict(Door::Unix, "/", &[]), 200);
    let twice = [("host", "localhost"), ("host", "localhost")];
    assert_eq!(verdict(LOOPBACK, "/", &twice), 421);
    assert_eq!(verdict(Door::Unix, "/", &twice), 421);
}

#[test]
fn a_target_with_a_host_counts() {
    let check = |target: &str, expected: u16| {
        let headers = [("host", "localhost")];
        assert_eq!(verdict(LOOPBACK, target, &headers), expected, "{target}");
    };
    check("http://localhost:9090/v1/clusters", 200);
    check("http://evil.example/v1/clusters", 421);
    check("http://user@localhost/v1/clusters", 421);
}

#[test]
fn pages_of_other_sites_are_refused() {
    let local = Door::Tcp("192.0.2.1".parse().expect("an address"));
    let check = |door: Door, host: &str, origin: &str, expected: u16| {
        let headers = [("host", host), ("origin", origin)];
        let found = verdict(door, "/", &headers);
        assert_eq!(found, expected, "{door:?} {host} {origin}");
    };
    for door in [LOOPBACK, Door::Unix] {
        check(door, "localhost", "http://localhost", 200);
        check(door, "localhost", "http://localhost:9090", 200);
        check(door, "localhost", "https://LOCALHOST:9090", 200);
        check(door, "localhost", "http://127.0.0.1:9090", 200);
        check(door, "localhost", "http://[::1]:9090", 200);
        check(door, "localhost", "https://admin.example.org", 200);
        check(door, "localhost", "https://192.0.2.7:8443", 200);
        check(door, "203.0.113.9:80", "http://203.0.113.9:80", 200);
        check(door, "localhost", "http://203.0.113.9", 403);
        check(door, "localhost", "http://evil.example", 403);
        check(door, "localhost", "http://evil.example:9090", 403);
        check(door, "localhost", "null", 403);
        check(door, "localhost", "", 403);
        check(door, "localhost", "localhost", 403);
        check(door, "localhost", "file://localhost", 403);
        check(door, "localhost", "ftp://localhost", 403);
        check(door, "localhost", "http://localhost/", 403);
        check(door, "localhost", "http://localhost.evil.example", 403);
        check(door, "localhost", "http://localhost@evil.example", 403);
    }
    // Rebound: the name is the page's own, so only the host can tell.
    check(
        LOOPBACK,
        "evil.example:9090",
        "http://evil.example:9090",
        421,
    );
    check(Door::Unix, "evil.example", "http://evil.example", 403);
    check(local, "192.0.2.1:9090", "http://192.0.2.1:9090", 200);
    check(local, "localhost", "http://192.0.2.1", 200);
    check(local, "192.0.2.1", "http://127.0.0.1", 403);
    let twice = [
        ("host", "localhost"),
        ("origin", "http://localhost"),
        ("origin", "http://localhost"),
    ];
    assert_eq!(verdict(LOOPBACK, "/", &twice), 403);
}

#[test]
fn browsers_say_where_a_request_comes_from() {
    let check = |site: &str, expected: u16| {
        let headers = [("host", "localhost"), ("sec-fetch-site", site)];
        assert_eq!(verdict(LOOPBACK, "/", &headers), expected, "{site}");
    };
    check("same-origin", 200);
    check("none", 200);
    check("same-site", 403);
    check("cross-site", 403);
    check("", 403);
}

#[test]
fn targets_have_a_bound() {
    let check = |bytes: usize, expected: u16| {
        let target = format!("/{}", "x".repeat(bytes - 1));
        let headers = [("host", "localhost")];
        assert_eq!(verdict(LOOPBACK, &target, &headers), expected, "{bytes}");
    };
    check(ADMIN_TARGET_BYTES_MAX, 200);
    check(ADMIN_TARGET_BYTES_MAX + 1, 414);
}

#[test]
fn tokens_are_shown_where_nothing_is_public() {
    let check = |guard: &Guard, route, headers: &[(&str, &str)], is_let_in| {
        let head = head("GET", "/", headers);
        let verdict = guard.check_token(&head.headers, route);
        assert_eq!(verdict.is_ok(), is_let_in, "{route:?} {headers:?}");
        if let Err(fault) = verdict {
            assert_eq!(fault.status.as_u16(), 401);
        }
    };
    let open = guard("127.0.0.1:9090", None);
    check(&open, None, &[], true);
    let local = guard("127.0.0.1:9090", Some("secret"));
    for value in ["Bearer secret", "bearer secret", "BEARER   secret "] {
        check(&local, None, &[("authorization", value)], true);
    }
    for value in [
        "Bearer",
        "Bearer ",
        "Bearer secre",
        "Bearer secrets",
        "Bearer Secret",
        "Bearer secret secret",
        "Basic secret",
        "secret",
        "",
    ] {
        check(&local, None, &[("authorization", value)], false);
    }
    check(&local, None, &[], false);
    let twice = [
        ("authorization", "Bearer secret"),
        ("authorization", "Bearer secret"),
    ];
    check(&local, None, &twice, false);
    let remote = guard("0.0.0.0:9090", Some("secret"));
    for route in PublicRoute::ALL {
        check(&local, Some(route), &[], true);
        check(&remote, Some(route), &[], false);
    }
    let empty = guard("127.0.0.1:9090", Some(""));
    check(&empty, None, &[("authorization", "Bearer ")], false);
    check(&empty, None, &[("authorization", "Bearer  ")], false);
}

#[test]
fn changes_bring_json_of_a_bounded_size() {
    let check = |method: &str, headers: &[(&str, &str)], expected: u16| {
        let found = match check_content(&head(method, "/", headers)) {
            Ok(()) => 200,
            Err(fault) => fault.status.as_u16(),
        };
        assert_eq!(found, expected, "{method} {headers:?}");
    };
    let json = ("content-type", "application/json");
    for method in ["POST", "PATCH", "PUT"] {
        check(method, &[], 415);
        check(method, &[json], 200);
    }
    for kind in [
        "Application/JSON",
        "application/json;charset=utf-8",
        "application/json; charset=\"UTF-8\"",
        "application/json;",
    ] {
        check("POST", &[("content-type", kind)], 200);
    }
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/json; charset=latin1",
        "application/json, text/plain",
        "application/jsonp",
        "text/plain; application/json",
        "",
    ] {
        check("POST", &[("content-type", kind)], 415);
    }
    check("POST", &[json, json], 415);
    check("POST", &[json, ("content-encoding", "gzip")], 415);
    check("POST", &[json, ("content-encoding", "identity")], 200);
    check("DELETE", &[], 200);
    check("DELETE", &[("content-length", "0")], 200);
    check("DELETE", &[("content-length", "2")], 415);
    check("DELETE", &[("transfer-encoding", "chunked")], 415);
    check("DELETE", &[("content-length", "2"), json], 200);
    let most = ADMIN_BODY_BYTES_MAX.to_string();
    let more = (ADMIN_BODY_BYTES_MAX + 1).to_string();
    check("POST", &[json, ("content-length", &most)], 200);
    check("POST", &[json, ("content-length", &more)], 413);
    check("GET", &[json, ("content-length", &more)], 413);
}

#[test]
fn secrets_are_compared_whole() {
    assert!(is_same(b"secret", b"secret"));
    assert!(is_same(b"", b""));
    for shown in [
        &b""[..],
        b"s",
        b"secreT",
        b"Secret",
        b"secret\0",
        b"secretsecret",
    ] {
        assert!(!is_same(b"secret", shown));
    }
}
