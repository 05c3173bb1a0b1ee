//! The process among others: whom it runs as, its PID file, a port that two want, how it waits.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on fails with the reason"
)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use ringlane::plan::WaitMode;

use crate::support::endpoint::Endpoint;
use crate::support::folder::{Folder, is_root};
use crate::support::program::{Program, output, ringlane};
use crate::support::{
    Balancer, End, PATIENCE, connect, finish, loopback, pattern, plan, read_to_end, wait_until,
};

/// The program on an address, with this for `process`.
fn command(folder: &Folder, addr: &str, process: &str) -> Command {
    let config = format!(
        "{{\n\"process\": {{ {process} }},\n\
         \"listeners\": [{{ \"bind\": \"{addr}\" }}],\n\
         \"clusters\": [{{ \"name\": \"c\", \"endpoints\": [\"127.0.0.1:9\"] }}]\n}}\n"
    );
    let name = format!("{:x}.json", fastrand::u64(..));
    let config = folder.write(&name, config);
    let mut command = ringlane();
    command.args(["run", "--config"]).arg(config);
    command
}

fn pid_file(path: &Path) -> String {
    format!("\"pid_file\": \"{}\"", path.display())
}

#[test]
fn the_pid_file_has_the_number_and_keeps_others_out() {
    let folder = Folder::new();
    let path = folder.join("pid");
    let words = pid_file(&path);
    // What a killed instance has left is taken over.
    folder.write("pid", "4194304999\n");
    let mut first = Program::start(command(&folder, "127.0.0.1:0", &words));
    let number = || fs::read_to_string(&path).expect("the file is there");
    assert_eq!(number(), format!("{}\n", first.pid()));
    let (code, text) = output(command(&folder, "127.0.0.1:0", &words));
    assert_eq!(code, Some(1), "{text}");
    let said = format!(
        "{}: another instance has it (process {})",
        path.display(),
        first.pid()
    );
    assert!(text.contains(&said), "{text}");
    assert_eq!(number(), format!("{}\n", first.pid()));
    // A killed instance leaves its file, an ordered end does not.
    first.signal("KILL");
    first.await_exit();
    assert!(path.exists());
    let mut second = Program::start(command(&folder, "127.0.0.1:0", &words));
    assert_eq!(number(), format!("{}\n", second.pid()));
    second.signal("TERM");
    assert_eq!(second.await_exit().code(), Some(0));
    assert!(!path.exists(), "the file is left");
}

#[test]
fn a_pid_file_that_cannot_be_had_is_told() {
    let folder = Folder::new();
    let path = folder.join("not/there");
    let (code, text) = output(command(&folder, "127.0.0.1:0", &pid_file(&path)));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(&path.display().to_string()), "{text}");
    // A file that is something else is not written over.
    let path = folder.write("precious", "precious");
    let (code, text) = output(command(&folder, "127.0.0.1:0", &pid_file(&path)));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("something else"), "{text}");
    assert_eq!(fs::read_to_string(&path).expect("it is there"), "precious");
}

#[test]
fn a_worker_that_gathers_sleeps_when_there_is_nothing() {
    let echo = Endpoint::echo();
    let mut plan = plan(&[echo.addr]);
    plan.workers.wait = WaitMode::Batch;
    let balancer = Balancer::start(&plan);
    let mut client = balancer.connect();
    client.write_all(b"x").expect("the balancer takes it");
    std::io::Read::read_exact(&mut client, &mut [0]).expect("the echo comes");
    let turns = || -> u64 {
        let counters = balancer.running().counters().iter();
        counters.map(|counters| counters.turns.value()).sum()
    };
    let (started, before) = (Instant::now(), turns());
    // Windows of 100 us would make some thousand turns in this time.
    while started.elapsed().as_millis() < 300 {
        std::thread::yield_now();
    }
    let turns = turns() - before;
    assert!(turns < 100, "{turns} turns with nothing to do");
}

#[test]
fn a_user_or_group_that_is_not_there_is_told_with_its_place() {
    let folder = Folder::new();
    for (process, place, said) in [
        (
            "\"user\": \"nonesuch\"",
            "2:22",
            "there is no user `nonesuch`",
        ),
        (
            "\"user\": \"nobody\", \"group\": \"nonesuch\"",
            "2:41",
            "there is no group `nonesuch`",
        ),
    ] {
        let (code, text) = output(command(&folder, "127.0.0.1:0", process));
        assert_eq!(code, Some(78), "{text}");
        let lines: Vec<&str> = text.lines().filter(|line| line.contains(said)).collect();
        assert_eq!(lines.len(), 1, "{text}");
        assert!(lines[0].contains(&format!(".json:{place}")), "{text}");
    }
}

/// A field of a process's status.
fn status(pid: u32, field: &str) -> Vec<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with(field));
    let words = line.expect("a known field").split_whitespace().skip(1);
    words.map(str::to_string).collect()
}

fn number_of(words: &[&str]) -> String {
    let output = Command::new("id").args(words).output().expect("id runs");
    String::from_utf8_lossy(&output.stdout).trim().to_string()
}

#[test]
fn a_low_port_is_bound_before_the_user_is_changed() {
    let folder = Folder::new();
    let process = "\"user\": \"nobody\"";
    // Some port below 1024 is free, if anybody may have one.
    let free = (900..1000).find(|port| TcpListener::bind(loopback(*port)).is_ok());
    let (true, Some(port)) = (is_root(), free) else {
        let (code, text) = output(command(&folder, "127.0.0.1:0", "\"user\": \"root\""));
        assert_eq!(code, Some(78), "{text}");
        assert!(text.contains("may not become `root`"), "{text}");
        return;
    };
    let mut program = Program::start(command(&folder, &loopback(port).to_string(), process));
    assert_eq!(program.addr.port(), port);
    let (uid, gid) = (number_of(&["-u", "nobody"]), number_of(&["-g", "nobody"]));
    let tasks = fs::read_dir(format!("/proc/{}/task", program.pid())).expect("it runs");
    for task in tasks.flatten() {
        let task = task
            .file_name()
            .to_string_lossy()
            .parse()
            .expect("a number");
        assert_eq!(status(task, "Uid:"), vec![uid.clone(); 4]);
        assert_eq!(status(task, "Gid:"), vec![gid.clone(); 4]);
        assert_eq!(status(task, "CapEff:"), ["0000000000000000"]);
        assert!(!status(task, "Groups:").contains(&"0".to_string()));
    }
    assert_eq!(read_to_end(&mut connect(program.addr)).1, End::Reset);
    program.signal("TERM");
    assert_eq!(program.await_exit().code(), Some(0));
}

/// A child and the first line of its log that says how it went.
struct Contender {
    child: Child,
    outcome: String,
}

impl Drop for Contender {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

fn contend(addr: SocketAddr) -> Contender {
    let mut command = ringlane();
    let words = ["run", "--listen", &addr.to_string(), "--to", "127.0.0.1:9"];
    let mut child = command
        .args(words)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let stderr = child.stderr.take().expect("the pipe was asked for");
    let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
    let outcome = lines.find(|line| line.contains("listening addr=") || line.contains("ringlane:"));
    // Nobody reads on: lines that the pipe does not take are dropped.
    let outcome = outcome.unwrap_or_default();
    Contender { child, outcome }
}

#[test]
fn of_two_that_want_a_port_at_the_same_time_one_gets_it() {
    for _ in 0..20 {
        let free = TcpListener::bind(loopback(0)).expect("a free port");
        let addr = free.local_addr().expect("an address");
        drop(free);
        let threads = [(); 2].map(|()| std::thread::spawn(move || contend(addr)));
        let contenders = threads.map(|thread| thread.join().expect("it says how it went"));
        let (winners, losers): (Vec<Contender>, Vec<Contender>) = contenders
            .into_iter()
            .partition(|contender| contender.outcome.contains("listening"));
        assert_eq!((winners.len(), losers.len()), (1, 1));
        for mut loser in losers {
            let said = format!("port {} is in use", addr.port());
            assert!(loser.outcome.contains(&said), "{}", loser.outcome);
            let deadline = Instant::now() + PATIENCE;
            wait_until("the loser has ended", || {
                assert!(Instant::now() < deadline);
                loser.child.try_wait().is_ok_and(|status| status.is_some())
            });
            let status = loser.child.wait().expect("a child");
            assert_eq!(status.code(), Some(1));
        }
        // The endpoint refuses, so whoever serves resets.
        assert_eq!(read_to_end(&mut connect(addr)).1, End::Reset);
    }
}

#[test]
fn every_way_of_waiting_relays_the_same() {
    let echo = Endpoint::echo();
    for wait in [WaitMode::Block, WaitMode::Batch, WaitMode::Spin] {
        let mut plan = plan(&[echo.addr]);
        plan.workers.wait = wait;
        let balancer = Balancer::start(&plan);
        for size in [1, 1000, 2 << 20] {
            let bytes = pattern(size as u64, size);
            let mut client = balancer.connect();
            let mut writing = client.try_clone().expect("a second handle");
            let sent = bytes.clone();
            let writer = std::thread::spawn(move || {
                writing.write_all(&sent).expect("the balancer takes it");
                finish(&writing);
            });
            let (received, end) = read_to_end(&mut client);
            assert!(received == bytes, "{wait:?}: {} of {size}", received.len());
            assert_eq!(end, End::Fin);
            assert!(writer.join().is_ok());
        }
        // One after the other, with nothing to gather.
        let mut client = balancer.connect();
        for _ in 0..200 {
            client.write_all(b"x").expect("the balancer takes it");
            std::io::Read::read_exact(&mut client, &mut [0]).expect("the echo comes");
        }
    }
}
