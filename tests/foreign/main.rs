//! Ringlane under programs that know nothing of it: curl over NGINX, pgbench over PostgreSQL,
//! redis-benchmark over Redis, ssh, a large file, PROXY headers of HAProxy, NGINX and curl, iperf3;
//! probes of such programs, curl at the admin interface, promtool over the metrics.
//!
//! Needs those programs; `.ci/run` installs them. Run with `cargo test --test foreign`.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on fails with the reason"
)]

mod iperf;
mod metrics;
mod operator;
mod probes;
mod proxy;
mod site;

use std::fs;
use std::io::Write;
use std::path::Path;

use site::{Daemon, Site, balanced, free_port, run, wait_for_port};

/// Starts NGINX with this folder as its documents.
fn nginx(site: &Site, documents: &Path) -> (Daemon, u16) {
    let port = free_port();
    let folder = site.folder().display();
    let config = format!(
        "daemon off; pid {folder}/nginx.pid; error_log stderr; user root; worker_processes 1;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/p;\n\
         fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n\
         server {{ listen 127.0.0.1:{port}; root {}; keepalive_requests 100000; }} }}\n",
        documents.display()
    );
    let path = site.write("nginx.conf", config.as_bytes());
    let path = path.display().to_string();
    let daemon = Daemon::start(
        "nginx",
        &["-p", &folder.to_string(), "-c", &path],
        site.folder(),
    );
    wait_for_port(port);
    (daemon, port)
}

#[test]
fn curl_over_nginx() {
    let site = Site::new("curl");
    site.write("index.html", b"hello from nginx\n");
    let (_nginx, port) = nginx(&site, site.folder());
    let balancer = balanced(&[port]);
    let url = format!("http://127.0.0.1:{}/index.html", balancer.port);
    // Fifty requests over one connection, and twenty connections of one request each.
    let range = format!("{url}?[1-50]");
    let answers = run("curl", &["-sS", "--fail", &range]);
    assert_eq!(answers, "hello from nginx\n".repeat(50));
    for _ in 0..20 {
        assert_eq!(run("curl", &["-sS", "--fail", &url]), "hello from nginx\n");
    }
}

#[test]
fn a_large_file_arrives_unchanged() {
    const MIB: usize = 1024;
    let site = Site::new("file");
    let path = site.folder().join("large");
    let mut file = fs::File::create(&path).expect("a file in a folder of our own");
    let mut rng = fastrand::Rng::with_seed(4);
    let mut block = vec![0; 1 << 20];
    for _ in 0..MIB {
        rng.fill(&mut block);
        file.write_all(&block).expect("the disk has room");
    }
    drop(file);
    let (_nginx, port) = nginx(&site, site.folder());
    let balancer = balanced(&[port]);
    let url = format!("http://127.0.0.1:{}/large", balancer.port);
    let fetched = site.folder().join("fetched").display().to_string();
    run("curl", &["-sS", "--fail", "-o", &fetched, &url]);
    let sum = |path: &str| {
        let line = run("sha256sum", &[path]);
        line.split_whitespace()
            .next()
            .expect("a checksum")
            .to_string()
    };
    assert_eq!(sum(&fetched), sum(&path.display().to_string()));
}

/// Starts Redis.
fn redis(site: &Site, port: u16) -> Daemon {
    let port_word = port.to_string();
    let words = [
        "--port",
        &port_word,
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--appendonly",
        "no",
    ];
    let daemon = Daemon::start("redis-server", &words, site.folder());
    wait_for_port(port);
    daemon
}

#[test]
fn redis_benchmark_over_redis() {
    let site = Site::new("redis");
    let ports = [free_port(), free_port()];
    let _daemons = ports.map(|port| redis(&site, port));
    let balancer = balanced(&ports);
    let port = balancer.port.to_string();
    let words = [
        "-h",
        "127.0.0.1",
        "-p",
        &port,
        "-n",
        "50000",
        "-c",
        "50",
        "-P",
        "8",
        "-t",
        "ping,set,get,mset,lrange_100",
        "-q",
    ];
    let report = run("redis-benchmark", &words);
    assert!(
        report.matches("requests per second").count() >= 5,
        "{report}"
    );
    assert!(!report.to_lowercase().contains("error"), "{report}");
    let echoed = run(
        "redis-cli",
        &["-h", "127.0.0.1", "-p", &port, "echo", "through"],
    );
    assert_eq!(echoed.trim(), "through");
}

/// Makes a database in this folder.
fn make_database(site: &Site) {
    let initdb = site::postgres_programs().join("initdb");
    let folder = site.folder().join("db").display().to_string();
    site.give_to("postgres");
    site::run_as(
        "postgres",
        &initdb.display().to_string(),
        &["-D", &folder, "-A", "trust", "-U", "postgres", "--no-sync"],
    );
}

/// Starts PostgreSQL over the database in this folder.
fn postgresql(site: &Site, port: u16) -> Daemon {
    let program = site::postgres_programs().join("postgres");
    let folder = site.folder().join("db").display().to_string();
    let socket = site.folder().display().to_string();
    let port_word = port.to_string();
    let words = [
        "-D",
        &folder,
        "-p",
        &port_word,
        "-k",
        &socket,
        "-c",
        "listen_addresses=127.0.0.1",
        "-c",
        "fsync=off",
    ];
    let program = program.display().to_string();
    let daemon = Daemon::start_as("postgres", &program, &words, site.folder());
    wait_for_port(port);
    daemon
}

#[test]
fn pgbench_over_postgresql() {
    let site = Site::new("postgres");
    let programs = site::postgres_programs();
    let program = |name: &str| programs.join(name).display().to_string();
    make_database(&site);
    let port = free_port();
    let _daemon = postgresql(&site, port);
    let balancer = balanced(&[port]);
    let port = balancer.port.to_string();
    let connect = ["-h", "127.0.0.1", "-p", &port, "-U", "postgres"];
    wait_for_answer(&program("psql"), &connect);
    run(
        &program("pgbench"),
        &[&connect[..], &["-i", "-s", "2", "-q", "postgres"]].concat(),
    );
    let load = ["-c", "16", "-j", "2", "-t", "100", "postgres"];
    let report = run(&program("pgbench"), &[&connect[..], &load[..]].concat());
    assert!(
        report.contains("number of transactions actually processed: 1600/1600"),
        "{report}"
    );
    assert!(
        report.contains("number of failed transactions: 0 "),
        "{report}"
    );
    // A new connection for each transaction.
    let load = ["-C", "-c", "8", "-t", "20", "-S", "postgres"];
    let report = run(&program("pgbench"), &[&connect[..], &load[..]].concat());
    assert!(
        report.contains("number of transactions actually processed: 160/160"),
        "{report}"
    );
    assert!(
        report.contains("number of failed transactions: 0 "),
        "{report}"
    );
}

/// PostgreSQL listens a moment before it answers.
fn wait_for_answer(psql: &str, connect: &[&str]) {
    let words = [connect, &["-c", "select 1", "postgres"]].concat();
    site::wait_until("PostgreSQL answers", || site::try_run(psql, &words).is_ok());
}

#[test]
fn ssh_through_a_session() {
    let site = Site::new("ssh");
    let key = site.folder().join("key").display().to_string();
    run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &key]);
    let public = fs::read(format!("{key}.pub")).expect("the key was made");
    let authorized = site.write("authorized", &public);
    let port = free_port();
    let config = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {key}\nAuthorizedKeysFile {}\nPidFile none\n\
         StrictModes no\nUsePAM no\nPermitRootLogin yes\n",
        authorized.display()
    );
    let config = site
        .write("sshd_config", config.as_bytes())
        .display()
        .to_string();
    // sshd insists on its folder and on being started by its full path.
    fs::create_dir_all("/run/sshd").expect("root may make it");
    let _daemon = Daemon::start(
        "/usr/sbin/sshd",
        &["-D", "-e", "-f", &config],
        site.folder(),
    );
    wait_for_port(port);
    let balancer = balanced(&[port]);
    let port = balancer.port.to_string();
    let words = [
        "-p",
        &port,
        "-i",
        &key,
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
        "-o",
        "LogLevel=ERROR",
        "root@127.0.0.1",
        "head -c 5000000 /dev/zero | sha256sum",
    ];
    let through = run("ssh", &words);
    let direct = run("sh", &["-c", "head -c 5000000 /dev/zero | sha256sum"]);
    assert_eq!(through, direct);
}
