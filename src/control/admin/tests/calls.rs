//! What the interface answers to good requests and to wrong ones.
#![forbid(unsafe_code)]

use std::process::Command;

use super::*;

#[test]
fn what_there_is_is_told() {
    let site = Site::start();
    let told = site.call(&get("/v1/clusters"));
    assert_eq!(told.status, 200);
    assert_eq!(told.json()["clusters"][0]["name"], "web");
    assert_eq!(site.asked(), "Clusters");
    let told = site.call(&get("/v1/clusters/web"));
    assert_eq!(told.json()["open_sessions"], 3);
    let told = site.call(&get("/v1/clusters/web/endpoints"));
    assert_eq!(told.json()["endpoints"][0]["id"], 7);
    let told = site.call(&get("/v1/clusters/web/endpoints/7"));
    let json = told.json();
    assert_eq!(json["address"], "10.0.0.1:80");
    assert_eq!(json["state"], "enabled");
    assert_eq!(json["max_connections"], Value::Null);
    assert_eq!(json["last_probe"]["success"], true);
    let told = site.call(&get("/v1/clusters/web/endpoints/unix:%2Frun%2Fa.sock"));
    assert_eq!(told.json()["id"], 7);
}

#[test]
fn what_is_unknown_is_told() {
    let site = Site::start();
    let told = site.call(&get("/v1/clusters/mail"));
    told.is_error(404, "unknown", None);
    assert!(told.body.contains("there is web"));
    let told = site.call(&get("/v1/clusters/web/endpoints/8"));
    told.is_error(404, "unknown", None);
    let told = site.call(&get("/v1/nothing"));
    told.is_error(404, "unknown", None);
    assert!(told.body.contains("/v1/clusters/{name}/endpoints"));
    let told = site.call(&get("/v1/clusters/busy"));
    told.is_error(503, "unavailable", None);
}

#[test]
fn endpoints_are_added() {
    let site = Site::start();
    let add = |body: &str| site.call(&with_body("POST", "/v1/clusters/web/endpoints", body));
    let told = add(r#"{"address":"10.0.0.3:80","weight":3}"#);
    assert_eq!(told.status, 201);
    assert_eq!(
        told.header("location"),
        Some("/v1/clusters/web/endpoints/7")
    );
    assert_eq!(told.json()["endpoint"]["address"], "10.0.0.3:80");
    assert_eq!(told.json()["pending_workers"], Value::Array(Vec::new()));
    let asked = site.asked();
    assert!(asked.starts_with("Add(\"web\""), "{asked}");
    assert!(asked.contains("weight: 3"), "{asked}");
    add(r#"{"address":"10.0.0.3:80","name":"taken"}"#).is_error(409, "conflict", Some("name"));
    add(r#"{"address":"10.0.0.3:80","name":"odd"}"#).is_error(400, "invalid", Some("name"));
}

#[test]
fn endpoints_are_changed_and_removed() {
    let site = Site::start();
    let path = "/v1/clusters/web/endpoints/7";
    let told = site.call(&with_body(
        "PATCH",
        path,
        r#"{"weight":5,"state":"draining"}"#,
    ));
    assert_eq!(told.status, 200);
    assert_eq!(told.header("location"), None);
    assert_eq!(told.json()["endpoint"]["weight"], 5);
    assert_eq!(told.json()["endpoint"]["state"], "draining");
    let change = "Change(\"web\", Id(7), Change { weight: Some(5), state: Some(Draining) })";
    assert_eq!(site.asked(), change);
    let delete = |query: &str| {
        site.call(&format!(
            "DELETE {path}{query} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        ))
    };
    assert_eq!(delete("").status, 200);
    assert_eq!(site.asked(), "Remove(\"web\", Id(7), None)");
    assert_eq!(delete("?drain=30s").json()["endpoint"]["id"], 7);
    assert_eq!(site.asked(), "Remove(\"web\", Id(7), Some(Drain(30s)))");
    assert_eq!(delete("?drain=0").status, 200);
    assert_eq!(site.asked(), "Remove(\"web\", Id(7), Some(Reset))");
    delete("?drain=soon").is_error(400, "invalid", Some("drain"));
    site.was_not_asked();
}

#[test]
fn late_workers_are_named() {
    let site = Site::with(Setting {
        control: Control::IsTorn,
        ..Setting::default()
    });
    let path = "/v1/clusters/web/endpoints";
    let told = site.call(&with_body("POST", path, r#"{"address":"10.0.0.3:80"}"#));
    assert_eq!(told.status, 202);
    assert_eq!(told.json()["pending_workers"][1], 3);
    let path = "/v1/clusters/web/endpoints/7";
    let told = site.call(&with_body("PATCH", path, r#"{"weight":0}"#));
    assert_eq!(told.status, 202);
    assert_eq!(told.json()["endpoint"]["weight"], 0);
    let told = site.call(&get("/readyz"));
    assert_eq!(told.status, 503);
    assert_eq!(told.json()["status"], "not_ready");
    assert_eq!(told.json()["detail"], "the listener web is gone");
    assert_eq!(site.call(&get("/healthz")).status, 200);
}

#[test]
fn metrics_and_health_are_told() {
    let site = Site::start();
    let told = site.call(&get("/metrics"));
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(told.header("content-type"), Some(kind));
    assert_eq!(told.body, "# TYPE a gauge\na 1\n# EOF\n");
    assert_eq!(site.call(&get("/healthz")).body, "{\"status\":\"ok\"}\n");
    assert_eq!(site.call(&get("/readyz")).body, "{\"status\":\"ready\"}\n");
}

#[test]
fn wrong_bodies_change_nothing() {
    let site = Site::start();
    let check = |method: &str, path: &str, body: &str, field: Option<&str>| {
        let told = site.call(&with_body(method, path, body));
        told.is_error(400, "invalid", field);
        assert!(!told.closes(), "{body}");
    };
    let endpoints = "/v1/clusters/web/endpoints";
    check(
        "POST",
        endpoints,
        r#"{"address":"db.internal:80"}"#,
        Some("address"),
    );
    check("POST", endpoints, "{}", Some("address"));
    check("POST", endpoints, "", None);
    let endpoint = "/v1/clusters/web/endpoints/7";
    check("PATCH", endpoint, r#"{"weight":10001}"#, Some("weight"));
    check("PATCH", endpoint, r#"{"wieght":1}"#, Some("wieght"));
    check(
        "PATCH",
        endpoint,
        r#"{"weight":1,"weight":1}"#,
        Some("weight"),
    );
    check("PATCH", endpoint, "[]", None);
    check("PATCH", endpoint, "{}", None);
    check("PATCH", endpoint, r#"{"weight":1} x"#, None);
    check("DELETE", endpoint, "{}", None);
    check("GET", endpoint, "{}", None);
    site.was_not_asked();
}

#[test]
fn wrong_methods_and_kinds_are_refused() {
    let site = Site::start();
    let endpoint = "/v1/clusters/web/endpoints/7";
    for method in ["OPTIONS", "POST", "PUT", "TRACE", "BREW"] {
        let request = format!("{method} {endpoint} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let told = site.call(&request);
        told.is_error(405, "method_not_allowed", None);
        assert_eq!(told.header("allow"), Some("GET, HEAD, PATCH, DELETE"));
    }
    let kinds = ["text/plain", "application/x-www-form-urlencoded"];
    for kind in kinds {
        let body = r#"{"weight":1}"#;
        let told = site.call(&format!(
            "PATCH {endpoint} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        told.is_error(415, "unsupported", None);
    }
    site.was_not_asked();
}

#[test]
fn other_hosts_and_origins_are_refused() {
    let site = Site::with(Setting {
        hosts: vec!["admin.example.org".into()],
        ..Setting::default()
    });
    let call = |headers: &str| site.call(&format!("GET /v1/clusters HTTP/1.1\r\n{headers}\r\n"));
    call("Host: evil.example\r\n").is_error(421, "misdirected", None);
    call("").is_error(421, "misdirected", None);
    call("Host: localhost\r\nHost: localhost\r\n").is_error(421, "misdirected", None);
    let cross = "Host: localhost\r\nOrigin: http://evil.example\r\n";
    call(cross).is_error(403, "forbidden", None);
    call("Host: localhost\r\nOrigin: null\r\n").is_error(403, "forbidden", None);
    call("Host: localhost\r\nSec-Fetch-Site: cross-site\r\n").is_error(403, "forbidden", None);
    site.was_not_asked();
    let own = format!("Host: {0}\r\nOrigin: http://{0}\r\n", site.addr);
    assert_eq!(call(&own).status, 200);
    let named = "Host: admin.example.org\r\nOrigin: https://admin.example.org\r\n";
    assert_eq!(call(named).status, 200);
}

#[test]
fn the_token_is_asked_for() {
    let site = Site::with(Setting {
        token: Some("secret"),
        public: Some(vec![PublicRoute::Healthz]),
        ..Setting::default()
    });
    let call = |path: &str, headers: &str| {
        site.call(&format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"
        ))
    };
    for path in ["/v1/clusters", "/metrics", "/readyz", "/nothing", "/v1/%zz"] {
        for headers in ["", "Authorization: Bearer wrong\r\n"] {
            let told = call(path, headers);
            told.is_error(401, "unauthorized", None);
            assert_eq!(told.header("www-authenticate"), Some("Bearer"));
            assert!(!told.body.contains("secret"));
        }
    }
    site.was_not_asked();
    assert_eq!(call("/healthz", "").status, 200);
    let shown = "Authorization: Bearer secret\r\n";
    assert_eq!(call("/v1/clusters", shown).status, 200);
    assert_eq!(call("/nothing", shown).status, 404);
}

#[test]
fn unix_sockets_take_any_host() {
    let path = SocketPath::new("any-host");
    let _site = Site::with(Setting {
        unix: Some(path.0.clone()),
        ..Setting::default()
    });
    for host in ["localhost", "whatever", "evil.example:80"] {
        let mut client = connect_unix(&path.0);
        client.send(format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        assert_eq!(client.read().status, 200);
    }
    let mut client = connect_unix(&path.0);
    let cross = "GET /healthz HTTP/1.1\r\nHost: a\r\nOrigin: http://a\r\n\r\n";
    client.send(cross.as_bytes());
    client.read().is_error(403, "forbidden", None);
}

#[test]
fn curl_understands_it() {
    let path = SocketPath::new("curl");
    let site = Site::with(Setting {
        unix: Some(path.0.clone()),
        ..Setting::default()
    });
    let output = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--max-time",
            "20",
            "--unix-socket",
        ])
        .arg(&path.0)
        .args(["--request", "PATCH", "--data", r#"{"weight":9}"#])
        .args(["--header", "Content-Type: application/json"])
        .args(["--write-out", "%{http_code}"])
        .arg("http://ringlane/v1/clusters/web/endpoints/7")
        .output();
    let output = match output {
        // Not everybody who builds has it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        output => output.expect("curl runs"),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("\"weight\":9"), "{output:?}");
    assert!(text.ends_with("}\n200"), "{output:?}");
    assert!(site.asked().contains("weight: Some(9)"));
}
