//! The real program as a child process, ended with the test.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on fails with the reason"
)]

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use super::PATIENCE;

/// A running `ringlane run`.
pub(crate) struct Program {
    child: Child,
    log: Receiver<String>,
    seen: Vec<String>,
    /// Where its first listener is.
    pub(crate) addr: SocketAddr,
}

impl Program {
    /// Starts it on a free port and waits until it listens.
    pub(crate) fn run(arguments: &[&str]) -> Self {
        Self::run_by(ringlane(), arguments)
    }

    /// The same by a command that ends with the program.
    pub(crate) fn run_by(mut command: Command, arguments: &[&str]) -> Self {
        command
            .args(["run", "--listen", "127.0.0.1:0"])
            .args(arguments);
        Self::start(command)
    }

    /// Starts a command that says what to run, and waits until it listens.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let log = follow(child.stderr.take().expect("the pipe was asked for"));
        let mut program = Self {
            child,
            log,
            seen: Vec::new(),
            addr: SocketAddr::from(([0, 0, 0, 0], 0)),
        };
        let line = program.await_line("listening");
        let addr = line
            .split("addr=")
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next());
        program.addr = addr
            .and_then(|addr| addr.parse().ok())
            .expect("the line has the address");
        program
    }

    /// Waits for a line of its log.
    pub(crate) fn await_line(&mut self, part: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let line = self.log.recv_timeout(deadline - Instant::now());
            let Ok(line) = line else {
                panic!("no line with `{part}` after:\n{}", self.seen.join("\n"));
            };
            self.seen.push(line.clone());
            if line.contains(part) {
                return line;
            }
        }
    }

    /// All lines of its log, once it has ended.
    pub(crate) fn await_all(&mut self) -> &[String] {
        self.seen.extend(self.log.iter());
        &self.seen
    }

    /// The lines of its log so far awaited.
    pub(crate) fn seen(&self) -> &[String] {
        &self.seen
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.pid().to_string()])
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "the signal {name} was sent"
        );
    }

    /// Waits until it has ended.
    pub(crate) fn await_exit(&mut self) -> ExitStatus {
        let mut status = None;
        super::wait_until("the program has ended", || {
            status = self.child.try_wait().expect("the child can be waited for");
            status.is_some()
        });
        status.expect("it has ended")
    }

    /// The names of its threads, those of the kernel that work for it included.
    pub(crate) fn threads(&self) -> Vec<String> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("it runs");
        tasks
            .flatten()
            .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok())
            .collect()
    }

    /// A number of its memory in /proc, in bytes.
    pub(crate) fn memory(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))
            .expect("the program runs");
        let line = status
            .lines()
            .find(|line| line.starts_with(field))
            .expect("a known field");
        let kib: u64 = line
            .split_whitespace()
            .nth(1)
            .and_then(|number| number.parse().ok())
            .expect("a number of KiB");
        kib * 1024
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// The program, not started yet.
pub(crate) fn ringlane() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringlane"));
    command.stdin(Stdio::null()).stdout(Stdio::null());
    // Whoever runs the tests may have a configuration.
    command.env_remove("RINGLANE_CONFIG");
    command
}

/// Runs the program to its end.
pub(crate) fn output(mut command: Command) -> (Option<i32>, String) {
    let output = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .expect("the program starts");
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    (output.status.code(), text)
}

fn follow(stderr: ChildStderr) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stderr);
        let mut line = String::new();
        while reader.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
            if sender.send(line.trim_end().to_string()).is_err() {
                // Nobody listens any more, but the program must not block on its log.
                let _rest = reader.read_to_end(&mut Vec::new());
                return;
            }
            line.clear();
        }
    });
    receiver
}
