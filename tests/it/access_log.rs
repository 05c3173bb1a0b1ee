//! The log of sessions and the program's own, as the real program writes them.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on fails with the reason"
)]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::support::endpoint::{Endpoint, refusing};
use crate::support::folder::Folder;
use crate::support::program::{Program, ringlane};
use crate::support::{End, PATIENCE, connect, finish, read_to_end, reset, wait_until};

/// The program in front of some endpoints, with this for its log.
fn start(folder: &Folder, endpoints: &[String], log: &str) -> Program {
    Program::start(command(folder, endpoints, log))
}

fn command(folder: &Folder, endpoints: &[String], log: &str) -> Command {
    let endpoints = endpoints.join(", ");
    let config = format!(
        r#"{{
            "workers": {{ "count": 2 }},
            "listeners": [{{ "name": "in", "bind": "127.0.0.1:0" }}],
            "clusters": [{{ "name": "out", "endpoints": [{endpoints}] }}],
            "log": {{ {log} }}
        }}"#
    );
    let config = folder.write("config.json", config);
    let mut command = ringlane();
    command.args(["run", "--config"]).arg(config);
    command
}

fn named(endpoint: &Endpoint, name: &str) -> String {
    format!(r#"{{ "name": "{name}", "address": "{}" }}"#, endpoint.addr)
}

/// One session, whose client's address is returned.
fn exchange(addr: SocketAddr, bytes: &[u8]) -> String {
    let mut client = connect(addr);
    let own = client.local_addr().expect("an address").to_string();
    client.write_all(bytes).expect("the balancer takes it");
    finish(&client);
    assert_eq!(read_to_end(&mut client), (bytes.to_vec(), End::Fin));
    own
}

/// The whole lines of a file.
fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    whole
        .map(|line| serde_json::from_str(line).expect("a line is a JSON object"))
        .collect()
}

fn await_lines(path: &Path, count: usize) -> Vec<Value> {
    wait_until("the lines are written", || lines(path).len() >= count);
    lines(path)
}

fn access_to(path: &Path) -> String {
    format!(r#""access": {{ "to": "{}" }}"#, path.display())
}

#[test]
fn a_session_is_a_line_with_all_that_is_known_of_it() {
    let folder = Folder::new();
    let path = folder.join("access.log");
    let echo = Endpoint::echo();
    let program = start(&folder, &[named(&echo, "a")], &access_to(&path));
    let client = exchange(program.addr, &[7; 12_345]);
    let found = await_lines(&path, 1);
    let line = &found[0];
    let text = |key: &str| line[key].as_str().unwrap_or_default().to_string();
    let number = |key: &str| line[key].as_f64().unwrap_or(-1.0);
    assert_eq!(found.len(), 1);
    assert_eq!(line.as_object().map(serde_json::Map::len), Some(16));
    for (key, value) in [
        ("event", "end"),
        ("listener", "in"),
        ("client", client.as_str()),
        ("cluster", "out"),
        ("endpoint", "a"),
        ("address", echo.addr.to_string().as_str()),
        ("reason", "finished"),
        ("code", "--"),
    ] {
        assert_eq!(text(key), value, "{key} of {line}");
    }
    assert!(!text("id").is_empty(), "{line}");
    assert!(text("start").ends_with('Z'), "{line}");
    assert_eq!(line["tries"], 1);
    assert_eq!(
        (&line["bytes_in"], &line["bytes_out"]),
        (&12_345.into(), &12_345.into())
    );
    let times = [
        number("connect_ms"),
        number("first_byte_ms"),
        number("duration_ms"),
    ];
    assert!(times[0] > 0.0 && times.is_sorted(), "{line}");
}

#[test]
fn sessions_that_fail_say_why() {
    let folder = Folder::new();
    let path = folder.join("access.log");
    let endpoints = [format!("\"{}\"", refusing()), format!("\"{}\"", refusing())];
    let program = start(&folder, &endpoints, &access_to(&path));
    assert_eq!(read_to_end(&mut connect(program.addr)).1, End::Reset);
    let line = await_lines(&path, 1).remove(0);
    let seen = (&line["reason"], &line["code"], &line["tries"]);
    assert_eq!(seen, (&"connect_refused".into(), &"SC".into(), &2.into()));
    assert_eq!(
        (&line["connect_ms"], &line["first_byte_ms"]),
        (&Value::Null, &Value::Null)
    );
    drop(program);
    fs::remove_file(&path).expect("the file is there");
    let echo = Endpoint::echo();
    let program = start(&folder, &[named(&echo, "a")], &access_to(&path));
    let mut client = connect(program.addr);
    client.write_all(b"hello").expect("the balancer takes it");
    client.read_exact(&mut [0; 5]).expect("the echo comes");
    reset(client);
    let line = await_lines(&path, 1).remove(0);
    assert_eq!(
        (&line["reason"], &line["code"]),
        (&"client_reset".into(), &"CD".into())
    );
    assert_eq!(
        (&line["bytes_in"], &line["bytes_out"]),
        (&5.into(), &5.into())
    );
}

#[test]
fn a_session_that_lasts_is_told_of_at_intervals() {
    let folder = Folder::new();
    let path = folder.join("access.log");
    let echo = Endpoint::echo();
    let access = format!(
        r#""access": {{ "to": "{}", "interval": "100ms" }}"#,
        path.display()
    );
    let program = start(&folder, &[named(&echo, "a")], &access);
    let mut client = connect(program.addr);
    client.write_all(b"hello").expect("the balancer takes it");
    client.read_exact(&mut [0; 5]).expect("the echo comes");
    await_lines(&path, 3);
    client.write_all(b"again").expect("the balancer takes it");
    client.read_exact(&mut [0; 5]).expect("the echo comes");
    finish(&client);
    read_to_end(&mut client);
    wait_until("the end is told", || {
        lines(&path).iter().any(|line| line["event"] == "end")
    });
    let found = lines(&path);
    let (last, before) = found.split_last().expect("there are lines");
    for line in before {
        assert_eq!(line["event"], "interval");
        assert_eq!(
            (&line["reason"], &line["code"]),
            (&Value::Null, &Value::Null)
        );
        assert_eq!(line["id"], last["id"]);
        assert!(line["duration_ms"].as_f64() >= Some(100.0), "{line}");
    }
    assert_eq!(
        (&last["reason"], &last["bytes_in"]),
        (&"finished".into(), &10.into())
    );
}

#[test]
fn lines_go_to_standard_output() {
    let folder = Folder::new();
    let echo = Endpoint::echo();
    let mut command = command(
        &folder,
        &[named(&echo, "a")],
        r#""access": { "to": "stdout" }"#,
    );
    let (reader, writer) = std::io::pipe().expect("a pipe");
    command.stdout(writer);
    let program = Program::start(command);
    for bytes in [1, 2, 3] {
        exchange(program.addr, &vec![0; bytes]);
    }
    let found = BufReader::new(reader).lines().map_while(Result::ok).take(3);
    let sizes = found.map(|line| {
        let line: Value = serde_json::from_str(&line).expect("a line is a JSON object");
        line["bytes_in"].as_u64()
    });
    let mut sizes: Vec<_> = sizes.collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [Some(1), Some(2), Some(3)]);
}

/// A socket that lines come to.
fn receiver(path: &Path) -> UnixDatagram {
    let receiver = UnixDatagram::bind(path).expect("a path of our own");
    receiver
        .set_read_timeout(Some(PATIENCE))
        .expect("an option can be set");
    receiver
}

fn receive(from: &UnixDatagram) -> String {
    let mut bytes = [0; 4096];
    let count = from.recv(&mut bytes).expect("a line comes");
    String::from_utf8_lossy(&bytes[..count]).into_owned()
}

#[test]
fn lines_go_to_a_socket_that_may_come_later() {
    let folder = Folder::new();
    let path = folder.join("lines.sock");
    let echo = Endpoint::echo();
    let access = format!(r#""access": {{ "to": "unixgram:{}" }}"#, path.display());
    let mut program = start(&folder, &[named(&echo, "a")], &access);
    exchange(program.addr, b"nobody hears of it");
    program.await_line("lines of the access log were lost");
    for _ in 0..2 {
        let receiver = receiver(&path);
        for bytes in [5, 6] {
            exchange(program.addr, &vec![0; bytes]);
            let line: Value = serde_json::from_str(&receive(&receiver)).expect("an object");
            assert_eq!(line["bytes_in"], bytes);
        }
        drop(receiver);
        fs::remove_file(&path).expect("a socket leaves its file");
    }
}

#[test]
fn after_a_rotation_nothing_is_missing() {
    const ROUNDS: usize = 5;
    let folder = Folder::new();
    let path = folder.join("access.log");
    let echo = Endpoint::echo();
    let program = start(&folder, &[named(&echo, "a")], &access_to(&path));
    let old = |round: usize| folder.join(&format!("access.log.{round}"));
    let done = AtomicBool::new(false);
    let addr = program.addr;
    let sessions = std::thread::scope(|scope| {
        let sessions = scope.spawn(|| {
            let mut sessions = 0;
            while !done.load(Ordering::SeqCst) {
                exchange(addr, b"hello");
                sessions += 1;
            }
            sessions
        });
        for round in 0..ROUNDS {
            await_lines(&path, 20);
            fs::rename(&path, old(round)).expect("the file is there");
            program.signal("USR1");
            wait_until("there is a new file", || path.exists());
        }
        await_lines(&path, 20);
        done.store(true, Ordering::SeqCst);
        sessions.join().expect("the sessions go on")
    });
    let all = || -> Vec<Value> {
        let olds = (0..ROUNDS).flat_map(|round| lines(&old(round)));
        olds.chain(lines(&path)).collect()
    };
    wait_until("each session has its line", || all().len() >= sessions);
    let found = all();
    let ids: BTreeSet<_> = found.iter().map(|line| line["id"].to_string()).collect();
    assert_eq!((found.len(), ids.len()), (sessions, sessions));
}

#[test]
fn a_full_disk_is_told_once_and_disturbs_no_session() {
    let folder = Folder::new();
    let echo = Endpoint::echo();
    let link = folder.join("access.log");
    std::os::unix::fs::symlink("/dev/full", &link).expect("the folder is ours");
    let mut program = start(&folder, &[named(&echo, "a")], &access_to(&link));
    for _ in 0..100 {
        exchange(program.addr, b"hello");
    }
    let told = program.await_line("lines of the access log were lost");
    assert!(told.contains("No space left"), "{told}");
    // It recovers with a place that has room.
    fs::remove_file(&link).expect("the link is ours");
    program.signal("USR1");
    wait_until("there is a new file", || link.exists());
    exchange(program.addr, b"hello");
    await_lines(&link, 1);
    program.signal("TERM");
    assert_eq!(program.await_exit().code(), Some(0));
    let said = program.await_all().join("\n");
    // A second time at the end, for those that were lost after the first.
    assert!(said.matches("were lost").count() <= 2, "{said}");
}

/// A file system of 64 KiB on a folder, gone with the test; `None` where it is not allowed.
struct Tiny<'a>(&'a Path);

impl<'a> Tiny<'a> {
    fn mount(folder: &'a Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
            .arg(folder);
        mount.stderr(Stdio::null());
        let mounted = mount.status().is_ok_and(|status| status.success());
        mounted.then(|| Self(folder))
    }
}

impl Drop for Tiny<'_> {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_disk_that_has_room_again_gets_whole_lines_again() {
    let folder = Folder::new();
    let disk = folder.join("disk");
    fs::create_dir(&disk).expect("the folder is ours");
    let Some(_tiny) = Tiny::mount(&disk) else {
        return;
    };
    let path = disk.join("access.log");
    let filler = disk.join("filler");
    let echo = Endpoint::echo();
    let mut program = start(&folder, &[named(&echo, "a")], &access_to(&path));
    let mut file = fs::File::create(&filler).expect("the disk has room");
    while file.write(&[0; 1024]).is_ok_and(|bytes| bytes > 0) {}
    // A page of the file itself may have had room.
    for _ in 0..200 {
        exchange(program.addr, b"hello");
    }
    program.await_line("No space left");
    fs::remove_file(&filler).expect("the file is ours");
    drop(file);
    let before = lines(&path).len();
    wait_until("a line is written again", || {
        exchange(program.addr, b"again");
        lines(&path).len() > before
    });
    program.signal("TERM");
    assert_eq!(program.await_exit().code(), Some(0));
    let text = fs::read_to_string(&path).expect("the file is there");
    assert!(text.ends_with('\n'), "a part of a line is left");
    assert!(!lines(&path).is_empty());
}

#[test]
fn the_log_is_json_where_that_is_wanted() {
    let folder = Folder::new();
    let echo = Endpoint::echo();
    let log = r#""format": "json", "level": "debug""#;
    let mut command = command(&folder, &[named(&echo, "a")], log);
    let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
    let stderr = child.stderr.take().expect("the pipe was asked for");
    let mut found = Vec::new();
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        let line: Value = serde_json::from_str(&line).expect("a line is a JSON object");
        if line["message"] == "listening" {
            let addr = line["addr"].as_str().and_then(|addr| addr.parse().ok());
            drop(TcpStream::connect::<SocketAddr>(addr.expect("an address")));
        }
        let is_last = line["message"] == "session closed";
        found.push(line);
        if is_last {
            break;
        }
    }
    let _ended = child.kill();
    let _status = child.wait();
    let last = found.last().expect("there are lines");
    assert_eq!(
        (&last["level"], &last["reason"]),
        (&"DEBUG".into(), &"finished".into())
    );
    assert!(found.iter().all(|line| line["timestamp"].is_string()));
}

#[test]
fn the_log_goes_to_the_system_s() {
    let folder = Folder::new();
    let path = folder.join("log.sock");
    let receiver = receiver(&path);
    let log = format!(r#""to": "syslog:{}""#, path.display());
    let mut command = command(&folder, &["\"127.0.0.1:9\"".to_string()], &log);
    let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
    let line = loop {
        let line = receive(&receiver);
        if line.contains("listening") {
            break line;
        }
    };
    let pid = child.id();
    let status = Command::new("kill")
        .args(["-TERM", &pid.to_string()])
        .status();
    assert!(status.is_ok_and(|status| status.success()));
    assert!(line.starts_with("<30>"), "{line}");
    assert!(
        line.contains(&format!(" ringlane[{pid}]: listening ")),
        "{line}"
    );
    assert!(!line.contains('\n'), "{line}");
    while !receive(&receiver).contains("stopped") {}
    let mut rest = String::new();
    let mut stderr = child.stderr.take().expect("the pipe was asked for");
    stderr.read_to_string(&mut rest).expect("text");
    assert_eq!(rest, "");
    assert!(child.wait().expect("a child").success());
}
