//! Probes of real programs, each of which is down when it is stopped and up when it is back.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on fails with the reason"
)]

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::proxy::{telling_haproxy, telling_nginx};
use crate::site::{Balanced, Daemon, Site, free_port, steered, told, try_run, wait_for_port};
use crate::site::{run, wait_until};

/// How often, for programs of which a change is waited for.
const OFTEN: &str =
    r#""interval": "500ms", "timeout": "500ms", "fast_interval": "20ms", "rise": 1, "fall": 2"#;

/// A cluster of one endpoint that is probed like this, and whatever else is said of it.
fn cluster(name: &str, port: u16, health: &str, more: &str) -> String {
    format!(
        r#"{{ "name": "{name}", "endpoints": ["127.0.0.1:{port}"],
              "health": {{ {health}, {OFTEN} }} {more} }}"#
    )
}

/// Ringlane before these clusters; clients get to the first.
fn balanced(site: &Site, clusters: &[String]) -> Balanced {
    let config = format!(
        r#"{{ "listeners": [{{ "bind": "127.0.0.1:0", "cluster": "c" }}], "clusters": [{}] }}"#,
        clusters.join(", ")
    );
    steered(site, &config)
}

/// Waits until the cluster's endpoint is up or down, of which this is told.
fn await_health(site: &Site, cluster: &str, health: &str, detail: &str) {
    let path = format!("/v1/clusters/{cluster}/endpoints");
    wait_until(&format!("{cluster} is {health}: {detail}"), || {
        let endpoint = &told(site, &path)["endpoints"][0];
        let found = endpoint["last_probe"]["detail"].as_str();
        endpoint["health"] == health
            && endpoint["eligible"] == (health == "up")
            && found.is_some_and(|found| found.contains(detail))
    });
}

/// Up while it runs, down once it has stopped, up when it is back.
fn check_restart(site: &Site, found: &str, start: impl Fn() -> Daemon) {
    let daemon = start();
    await_health(site, "c", "up", found);
    drop(daemon);
    await_health(site, "c", "down", "");
    let _daemon = start();
    await_health(site, "c", "up", found);
}

#[test]
fn redis_answers_a_ping() {
    let site = Site::new("probe-redis");
    let port = free_port();
    let ping = r#""type": "send_expect", "send": "PING\r\n", "expect": "+PONG""#;
    let _balancer = balanced(&site, &[cluster("c", port, ping, "")]);
    await_health(&site, "c", "down", "connection refused");
    check_restart(&site, "answered as expected", || crate::redis(&site, port));
}

#[test]
fn postgresql_accepts_connections() {
    let site = Site::new("probe-postgres");
    let port = free_port();
    crate::make_database(&site);
    let _balancer = balanced(&site, &[cluster("c", port, r#""type": "tcp""#, "")]);
    check_restart(&site, "connected", || crate::postgresql(&site, port));
}

/// NGINX with a service on one port and files that tell its role on another.
fn service_with_role(site: &Site, service: u16, role: u16) -> Daemon {
    let folder = site.folder().display();
    let config = format!(
        "daemon off; pid {folder}/nginx.pid; error_log stderr; user root; worker_processes 1;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/p;\n\
         fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n\
         server {{ listen 127.0.0.1:{service}; location / {{ return 200 served; }} }}\n\
         server {{ listen 127.0.0.1:{role}; root {folder}; }} }}\n"
    );
    let path = site.write("nginx.conf", config.as_bytes());
    let words = ["-p", &folder.to_string(), "-c", &path.display().to_string()];
    let daemon = Daemon::start("nginx", &words, site.folder());
    wait_for_port(service);
    wait_for_port(role);
    daemon
}

#[test]
fn a_role_is_told_on_another_port() {
    let site = Site::new("probe-role");
    let [service, role] = [free_port(), free_port()];
    let health = format!(
        r#""type": "http", "port": {role}, "path": "/primary", "status": "200-299",
           "body": "\"role\": \"primary\"""#
    );
    let balancer = balanced(&site, &[cluster("c", service, &health, "")]);
    let daemon = service_with_role(&site, service, role);
    let url = format!("http://127.0.0.1:{}/", balancer.port);
    // The service is well all the time; it is its role that decides.
    await_health(&site, "c", "down", "404");
    assert!(try_run("curl", &["-sS", "--fail", &url]).is_err());
    site.write("primary", br#"{ "state": "running", "role": "replica" }"#);
    await_health(&site, "c", "down", "body");
    site.write("primary", br#"{ "state": "running", "role": "primary" }"#);
    await_health(&site, "c", "up", "200");
    assert_eq!(run("curl", &["-sS", "--fail", &url]), "served");
    fs::remove_file(site.folder().join("primary")).expect("it is there");
    await_health(&site, "c", "down", "404");
    site.write("primary", br#"{ "role": "primary" }"#);
    await_health(&site, "c", "up", "200");
    drop(daemon);
    await_health(&site, "c", "down", "");
    let _daemon = service_with_role(&site, service, role);
    await_health(&site, "c", "up", "200");
}

#[test]
fn a_mail_program_greets() {
    let site = Site::new("probe-mail");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let is_busy = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&is_busy);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let greeting = match flag.load(Ordering::SeqCst) {
                true => "421 mail.example too busy\r\n",
                false => "220 mail.example ESMTP\r\n",
            };
            let _prober_is_gone = stream.write_all(greeting.as_bytes());
        }
    });
    let greets = r#""type": "send_expect", "expect": "220 ""#;
    let _balancer = balanced(&site, &[cluster("c", port, greets, "")]);
    await_health(&site, "c", "up", "answered as expected");
    is_busy.store(true, Ordering::SeqCst);
    await_health(&site, "c", "down", "without the expected bytes");
    is_busy.store(false, Ordering::SeqCst);
    await_health(&site, "c", "up", "answered as expected");
}

#[test]
fn probes_bring_a_proxy_header_where_one_is_expected() {
    let site = Site::new("probe-proxy");
    let [nginx, haproxy] = [free_port(), free_port()];
    let start = || {
        let nginx = telling_nginx(&site, nginx);
        let haproxy = telling_haproxy(&site, haproxy);
        (nginx, haproxy)
    };
    let http = r#""type": "http", "status": 200"#;
    let mut clusters = vec![cluster("c", nginx, r#""type": "tcp""#, "")];
    for (program, port) in [("nginx", nginx), ("haproxy", haproxy)] {
        for version in ["v1", "v2"] {
            let sends = format!(r#", "send_proxy_protocol": "{version}""#);
            clusters.push(cluster(&format!("{program}-{version}"), port, http, &sends));
        }
        clusters.push(cluster(&format!("{program}-none"), port, http, ""));
    }
    let daemons = start();
    let _balancer = balanced(&site, &clusters);
    let check_all = |with: &str| {
        for program in ["nginx", "haproxy"] {
            for version in ["v1", "v2"] {
                await_health(&site, &format!("{program}-{version}"), with, "");
            }
            await_health(&site, &format!("{program}-none"), "down", "");
        }
    };
    check_all("up");
    drop(daemons);
    check_all("down");
    let _daemons = start();
    check_all("up");
}
