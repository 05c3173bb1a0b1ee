//! The command line: what is refused, with which words and which exit code.
#![forbid(unsafe_code)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use crate::support::program::{output, ringlane};
use crate::support::{finish, prepare, read_to_end};

/// Runs `ringlane` with these words and looks at how it ends.
fn check(words: &[&str], code: i32, parts: &[&str]) {
    let mut command = ringlane();
    command.args(words);
    let (actual, text) = output(command);
    assert_eq!(actual, Some(code), "{words:?}: {text}");
    for part in parts {
        assert!(text.contains(part), "{words:?}: no `{part}` in: {text}");
    }
}

#[test]
fn help_and_version_are_there() {
    check(&["--version"], 0, &["ringlane 0."]);
    check(&["--help"], 0, &["run", "demo", "testserver"]);
    check(
        &["run", "--help"],
        0,
        &[
            "--listen",
            "--to",
            "weight=N",
            "round_robin",
            "--drain-timeout",
            "--health",
            "--admin",
        ],
    );
}

#[test]
fn unknown_words_are_refused_with_the_nearest() {
    check(&["run", "--lisen", "127.0.0.1:1"], 2, &["--listen"]);
    check(&["rum"], 2, &["run"]);
    check(&["run"], 2, &["--listen", "--to"]);
}

#[test]
fn impossible_values_are_refused_with_what_was_expected() {
    let with = |extra: &[&'static str]| {
        [
            &["run", "--listen", "127.0.0.1:0", "--to", "127.0.0.1:9"],
            extra,
        ]
        .concat()
    };
    check(&with(&["--to", "127.0.0.1"]), 2, &["HOST:PORT"]);
    check(&with(&["--to", "a:1,wait=3"]), 2, &["weight=N"]);
    check(&with(&["--listen", ":8080"]), 2, &["0.0.0.0:8080"]);
    check(
        &with(&["--balance", "round-robin"]),
        2,
        &["did you mean `round_robin`"],
    );
    check(&with(&["--workers", "many"]), 2, &["`auto`"]);
    check(&with(&["--idle-timeout", "5"]), 2, &["time unit"]);
    check(&with(&["--cpus", "5-1"]), 2, &["ends before it starts"]);
    check(&with(&["--to", "srv:pg"]), 2, &["srv:_SERVICE._tcp.NAME"]);
    for words in ["icmp", "http", "http://a/"] {
        check(&with(&["--health", words]), 2, &["tcp, or http:/PATH"]);
    }
    check(&with(&["--admin", ":9900"]), 2, &["0.0.0.0:9900"]);
    check(
        &with(&["--admin", "0.0.0.0:9900", "--health", "http:/a b"]),
        78,
        &[
            "--admin: a token is required off loopback",
            "--health: it must have no spaces",
        ],
    );
}

#[test]
fn an_impossible_plan_tells_all_its_problems() {
    check(
        &[
            "run",
            "--listen",
            "127.0.0.1:18",
            "--listen",
            "0.0.0.0:18",
            "--to",
            "127.0.0.1:9",
            "--tries",
            "0",
            "--max-sessions",
            "0",
            "--workers",
            "0",
            "--connect-timeout",
            "0s",
        ],
        78,
        &[
            "port 18",
            "--tries",
            "--max-sessions",
            "--workers",
            "--connect-timeout",
        ],
    );
    check(
        &[
            "run",
            "--listen",
            "127.0.0.1:0",
            "--to",
            "127.0.0.1:9",
            "--cpus",
            "8000",
        ],
        78,
        &["CPU 8000"],
    );
}

#[test]
fn an_address_of_another_host_is_refused() {
    check(
        &["run", "--listen", "192.0.2.1:80", "--to", "127.0.0.1:9"],
        1,
        &["cannot listen on 192.0.2.1:80", "no address 192.0.2.1"],
    );
}

#[test]
fn the_demonstration_shows_itself_and_ends() {
    let mut command = ringlane();
    command.args(["demo", "--listen", "127.0.0.1:0", "--for", "2s"]);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut lines = BufReader::new(child.stdout.take().expect("the pipe was asked for")).lines();
    let mut next = || lines.next().and_then(Result::ok).unwrap_or_default();
    let first = next();
    let addr = first.split_whitespace().find_map(|word| word.parse().ok());
    let addr: std::net::SocketAddr = addr.expect("the first line has the address");
    let mut client = TcpStream::connect(addr).expect("it accepts");
    prepare(&client);
    client.write_all(b"hello\n").expect("sent");
    finish(&client);
    let (answer, _) = read_to_end(&mut client);
    assert!(answer.ends_with(b": hello\n"), "{answer:?}");
    let mut text = String::new();
    while !text.contains("the demonstration is over") {
        let line = next();
        assert!(
            !line.is_empty() || !text.is_empty(),
            "it ended early: {text}"
        );
        text.push_str(&line);
    }
    assert!(
        text.contains("curl http://") && text.contains("1 answers"),
        "{text}"
    );
    assert!(child.wait().expect("a child").success());
}

#[test]
fn sample_endpoints_answer_with_their_port() {
    let mut command = ringlane();
    command.args(["testserver", "0"]);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().expect("the pipe was asked for"));
    stdout.read_line(&mut line).expect("it says where it is");
    let addr = line.trim_start_matches("serving ").trim().to_string();
    let port = addr
        .rsplit(':')
        .next()
        .expect("an address has a port")
        .to_string();
    let mut client = TcpStream::connect(&addr).expect("it accepts");
    prepare(&client);
    client
        .write_all(b"POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nxyzGET /b HTTP/1.1\r\nConnection: close\r\n\r\n")
        .expect("sent");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("answered");
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
    assert!(
        answer.contains(&format!("port {port} answers /a\n")),
        "{answer}"
    );
    assert!(
        answer.ends_with(&format!("port {port} answers /b\n")),
        "{answer}"
    );
    child.kill().expect("a child");
    child.wait().expect("a child");
}

#[test]
fn too_little_locked_memory_is_named() {
    let mut command = std::process::Command::new("prlimit");
    command.args(["--memlock=65536:65536", env!("CARGO_BIN_EXE_ringlane")]);
    command.args(["demo", "--listen", "127.0.0.1:0", "--for", "1s"]);
    let (code, text) = output(command);
    // Root may lock what it likes.
    if std::fs::metadata("/proc/self")
        .is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
    {
        assert_eq!(code, Some(0), "{text}");
    } else {
        assert_eq!(code, Some(78), "{text}");
        assert!(text.contains("RLIMIT_MEMLOCK"), "{text}");
    }
}
