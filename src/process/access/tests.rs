//! The access log on files, disks, sockets and pipes that misbehave.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant as StdInstant;

use super::sink::Stream;
use super::*;
use crate::id::{SessionId, WorkerIndex};
use crate::plan::log::AccessSink;

const PATIENCE: Duration = Duration::from_secs(20);

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = StdInstant::now() + PATIENCE;
    while !is_so() {
        assert!(StdInstant::now() < deadline, "waited in vain until {what}");
        std::thread::yield_now();
    }
}

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("ringlane-access-{:x}", fastrand::u64(..)));
        fs::create_dir(&path).expect("a folder of our own");
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _stays = fs::remove_dir_all(&self.0);
    }
}

fn start(to: AccessSink) -> (AccessLog, AccessSender) {
    let plan = AccessPlan { to, interval: None };
    AccessLog::start(&plan).expect("the log starts")
}

/// A log that writes to this descriptor, which cannot be opened again.
fn start_on(fd: impl Into<OwnedFd>) -> (AccessLog, AccessSender) {
    let stream = Stream::new(File::from(fd.into()), None);
    AccessLog::start_with(Sink::Stream(stream)).expect("the log starts")
}

/// Sends the records of these sessions, which began just now.
fn send(sender: &AccessSender, sessions: impl IntoIterator<Item = u64>) {
    let now = clock::now();
    let sample = Record::sample();
    for session in sessions {
        sender.send(Record {
            id: SessionId::new(WorkerIndex(0), session),
            start: now,
            end: now,
            ..sample.clone()
        });
    }
}

/// The session of a line, which has to be a whole one.
fn session_of(line: &str) -> u64 {
    let object: serde_json::Value = serde_json::from_str(line).expect("a whole line");
    let id = object["id"].as_str().expect("an identity");
    u64::from_str_radix(id, 16).expect("a number")
}

/// The sessions in a file, all of whose lines have to be whole.
fn sessions_in(path: &Path) -> Vec<u64> {
    let text = fs::read_to_string(path).expect("the file is there");
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(session_of).collect()
}

/// Waits until a file ends with the line of this session.
fn await_session(path: &Path, session: u64) {
    let end = format!("\"id\":\"{session:x}\"");
    wait_until("the line is in the file", || {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines()
            .next_back()
            .is_some_and(|line| line.contains(&end))
    });
}

#[test]
fn lines_are_appended_to_a_file() {
    let folder = Folder::new();
    let path = folder.path("access.log");
    for round in 0..2 {
        let (log, sender) = start(AccessSink::File(path.clone()));
        send(&sender, round * 1000..(round + 1) * 1000);
        drop(log);
        assert_eq!(sender.dropped(), 0);
        send(&sender, [0]);
        assert_eq!(sender.dropped(), 1);
    }
    assert_eq!(sessions_in(&path), (0..2000).collect::<Vec<_>>());
    let mode = fs::metadata(&path).expect("a file").permissions().mode();
    assert_eq!(mode & 0o137, 0, "{mode:o}");
    let text = fs::read_to_string(&path).expect("a file");
    let last = text.lines().next_back().expect("a line");
    let object: serde_json::Value = serde_json::from_str(last).expect("JSON");
    let start: jiff::Timestamp = object["start"]
        .as_str()
        .and_then(|start| start.parse().ok())
        .expect("a time");
    let age = jiff::Timestamp::now().duration_since(start).as_secs();
    assert!((0..60).contains(&age), "{start}");
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error() {
    let folder = Folder::new();
    let plan = AccessPlan {
        to: AccessSink::File(folder.path("missing/access.log")),
        interval: None,
    };
    assert!(AccessLog::start(&plan).is_err());
}

#[test]
fn a_rotated_file_is_written_until_it_is_opened_again() {
    let folder = Folder::new();
    let (path, old) = (folder.path("access.log"), folder.path("access.log.1"));
    let (log, sender) = start(AccessSink::File(path.clone()));
    send(&sender, 0..10);
    await_session(&path, 9);
    fs::rename(&path, &old).expect("a file of ours");
    send(&sender, 10..20);
    await_session(&old, 19);
    assert!(!path.exists());
    log.reopen();
    wait_until("the new file is there", || path.exists());
    send(&sender, 20..30);
    await_session(&path, 29);
    assert_eq!(sessions_in(&old), (0..20).collect::<Vec<_>>());
    assert_eq!(sessions_in(&path), (20..30).collect::<Vec<_>>());
    assert_eq!(log.dropped(), 0);
}

#[test]
fn a_file_that_cannot_be_opened_again_is_kept_and_tried() {
    let folder = Folder::new();
    let (place, moved) = (folder.path("logs"), folder.path("moved"));
    fs::create_dir(&place).expect("a folder");
    let (path, old) = (place.join("access.log"), moved.join("access.log"));
    let (log, sender) = start(AccessSink::File(path.clone()));
    send(&sender, 0..10);
    await_session(&path, 9);
    fs::rename(&place, &moved).expect("a folder of ours");
    log.reopen();
    log.reopen();
    send(&sender, 10..20);
    await_session(&old, 19);
    fs::create_dir(&place).expect("a folder");
    wait_until("it was tried again", || path.exists());
    send(&sender, 20..30);
    await_session(&path, 29);
    assert_eq!(sessions_in(&old), (0..20).collect::<Vec<_>>());
    assert_eq!(log.dropped(), 0);
}

#[test]
fn lines_that_find_no_place_are_counted() {
    let (log, sender) = start(AccessSink::File("/dev/full".into()));
    send(&sender, 0..1000);
    wait_until("all are lost", || sender.dropped() == 1000);
    drop(log);
    assert_eq!(sender.dropped(), 1000);
}

/// A disk of 64 KiB, if this user may have one.
struct SmallDisk(Folder);

impl SmallDisk {
    fn new() -> Option<Self> {
        let folder = Folder::new();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
            .arg(&folder.0)
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then_some(Self(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _stays = Command::new("umount").arg("-l").arg(&self.0.0).status();
    }
}

/// Waits until all but one of so many lines are in the file or lost: of one there may be a part.
fn await_settled(path: &Path, sender: &AccessSender, lines: u64) {
    wait_until("all are written or lost", || {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.matches('\n').count() as u64 + sender.dropped() + 1 >= lines
    });
    assert!(sender.dropped() > 0);
}

#[test]
fn a_full_disk_gets_whole_lines_once_there_is_room() {
    let Some(disk) = SmallDisk::new() else {
        return;
    };
    let (path, ballast) = (disk.0.path("access.log"), disk.0.path("ballast"));
    fs::write(&ballast, [0; 32 * 1024]).expect("half of the disk");
    let (log, sender) = start(AccessSink::File(path.clone()));
    send(&sender, 0..1000);
    await_settled(&path, &sender, 1000);
    fs::remove_file(&ballast).expect("ours");
    send(&sender, 1000..1010);
    await_session(&path, 1009);
    let sessions = sessions_in(&path);
    assert_eq!(sessions.len() as u64 + sender.dropped(), 1010);
    assert!(sessions.is_sorted());
    // Full again at the end: what is there of a line goes.
    send(&sender, 1010..2010);
    drop(log);
    let sessions = sessions_in(&path);
    assert_eq!(sessions.len() as u64 + sender.dropped(), 2010);
}

#[test]
fn a_full_disk_leaves_whole_lines_in_a_rotated_file() {
    let Some(disk) = SmallDisk::new() else {
        return;
    };
    let (path, old) = (disk.0.path("access.log"), disk.0.path("access.log.1"));
    let (log, sender) = start(AccessSink::File(path.clone()));
    send(&sender, 0..1000);
    await_settled(&path, &sender, 1000);
    fs::rename(&path, &old).expect("ours");
    log.reopen();
    wait_until("the new file is there, the old one whole", || {
        let text = fs::read_to_string(&old).expect("the file is there");
        path.exists() && text.ends_with('\n')
    });
    let kept = sessions_in(&old).len() as u64;
    wait_until("all are counted", || kept + sender.dropped() == 1000);
    fs::remove_file(&old).expect("ours");
    send(&sender, 1000..1010);
    await_session(&path, 1009);
    assert_eq!(sessions_in(&path), (1000..1010).collect::<Vec<_>>());
}

/// Receives what is there, as sessions.
fn receive(receiver: &UnixDatagram, sessions: &mut Vec<u64>) {
    receiver.set_nonblocking(true).expect("a socket");
    let mut line = [0; 2048];
    while let Ok(bytes) = receiver.recv(&mut line) {
        let text = std::str::from_utf8(&line[..bytes]).expect("text");
        assert_eq!(text.matches('\n').count(), 1, "one line each");
        sessions.push(session_of(text));
    }
}

#[test]
fn a_receiver_of_datagrams_may_go_and_come_back() {
    let folder = Folder::new();
    let path = folder.path("access.sock");
    let (log, sender) = start(AccessSink::Unixgram(path.clone()));
    send(&sender, 0..5);
    wait_until("nobody is there", || sender.dropped() == 5);
    for round in 1..=2 {
        let receiver = UnixDatagram::bind(&path).expect("a path of our own");
        send(&sender, 0..5);
        let mut sessions = Vec::new();
        wait_until("all have come", || {
            receive(&receiver, &mut sessions);
            sessions.len() == 5
        });
        assert_eq!(sessions, [0, 1, 2, 3, 4]);
        drop(receiver);
        fs::remove_file(&path).expect("ours");
        send(&sender, 0..5);
        wait_until("nobody is there", || sender.dropped() == 5 + 5 * round);
    }
    drop(log);
}

#[test]
fn a_receiver_that_replaces_another_is_found_when_told() {
    let folder = Folder::new();
    let path = folder.path("access.sock");
    let (log, sender) = start(AccessSink::Unixgram(path.clone()));
    let old = UnixDatagram::bind(&path).expect("a path of our own");
    let mut sessions = Vec::new();
    send(&sender, 0..5);
    wait_until("all have come", || {
        receive(&old, &mut sessions);
        sessions.len() == 5
    });
    fs::remove_file(&path).expect("ours");
    let new = UnixDatagram::bind(&path).expect("a path of our own");
    log.reopen();
    let mut sessions = Vec::new();
    wait_until("the new one gets some", || {
        if sender.is_idle() {
            send(&sender, [5]);
        }
        receive(&old, &mut Vec::new());
        receive(&new, &mut sessions);
        !sessions.is_empty()
    });
}

#[test]
fn a_receiver_that_does_not_receive_holds_nobody_up() {
    let folder = Folder::new();
    let path = folder.path("access.sock");
    let receiver = UnixDatagram::bind(&path).expect("a path of our own");
    let (log, sender) = start(AccessSink::Unixgram(path.clone()));
    send(&sender, 0..5000);
    drop(log);
    assert!(sender.dropped() > 0);
    let mut sessions = Vec::new();
    wait_until("each has come or is counted", || {
        receive(&receiver, &mut sessions);
        sessions.len() as u64 + sender.dropped() == 5000
    });
}

#[test]
fn a_pipe_that_nobody_reads_holds_up_the_log_alone() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let (log, sender) = start_on(writer);
    let mut sent = 0;
    while sender.dropped() == 0 {
        send(&sender, sent..sent + 1000);
        sent += 1000;
        assert!(sent < 1_000_000, "the channel is bounded");
    }
    // Somebody reads after all: every line that is not counted as dropped is there.
    let reading = std::thread::spawn(move || {
        let lines = BufReader::new(reader).lines();
        lines
            .map(|line| session_of(&line.expect("text")))
            .collect::<Vec<_>>()
    });
    wait_until("all waiting records are taken", || sender.is_idle());
    drop(log);
    let sessions = reading.join().expect("all is read");
    assert!(sessions.is_sorted());
    assert_eq!(sessions.len() as u64 + sender.dropped(), sent);
}

#[test]
fn the_end_waits_half_a_second_for_a_stuck_pipe() {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    writer
        .write_all(&[b'x'; 64 * 1024])
        .expect("what a new pipe holds");
    let (log, sender) = start_on(writer);
    send(&sender, 0..100);
    let begun = StdInstant::now();
    drop(log);
    let lasted = begun.elapsed();
    assert!(lasted >= ACCESS_FLUSH_TIME, "{lasted:?}");
    assert!(lasted < PATIENCE, "{lasted:?}");
    drop(reader);
    wait_until("the thread finds the pipe broken", || {
        sender.dropped() == 100
    });
}

#[test]
fn a_broken_pipe_is_counted() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let (log, sender) = start_on(writer);
    send(&sender, 0..100);
    wait_until("all are lost", || sender.dropped() == 100);
    drop(log);
}

#[test]
fn what_takes_parts_of_lines_gets_their_rest() {
    let (mut reader, writer) = UnixStream::pair().expect("sockets");
    writer.set_nonblocking(true).expect("a socket");
    let (log, sender) = start_on(OwnedFd::from(writer));
    // More than the socket holds: a line is cut somewhere.
    send(&sender, 0..3000);
    wait_until("it is full", || sender.dropped() > 0);
    let mut bytes = vec![0; 64 * 1024];
    reader.read_exact(&mut bytes).expect("as much is there");
    send(&sender, 3000..3010);
    let mut last = sender.dropped();
    reader.set_nonblocking(true).expect("a socket");
    wait_until("the last line has come", || {
        let _none = reader.read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes);
        let end = format!("\"id\":\"{:x}\"", 3009);
        if sender.dropped() > last {
            // Those found no room; the next ones will.
            last = sender.dropped();
            send(&sender, [3009]);
        }
        text.ends_with('\n') && text.lines().any(|line| line.contains(&end))
    });
    drop(log);
    let text = String::from_utf8(bytes).expect("text");
    let sessions: Vec<u64> = text.lines().map(session_of).collect();
    assert!(sessions.is_sorted());
}

#[test]
fn losses_are_told_now_and_then() {
    let dropped = Arc::new(AtomicU64::new(0));
    let mut losses = Losses::new(Arc::clone(&dropped));
    let at = |seconds| Instant::default() + Duration::from_secs(seconds);
    assert_eq!(losses.due(at(0)), None);
    dropped.fetch_add(3, Ordering::Relaxed);
    assert_eq!(losses.due(at(1)), Some(3));
    let error = io::Error::from_raw_os_error(libc::ENOSPC);
    losses.add(Loss { lines: 4, error });
    assert_eq!(losses.due(at(2)), None);
    assert!(losses.are_untold());
    dropped.fetch_add(1, Ordering::Relaxed);
    assert_eq!(losses.due(at(11)), Some(5));
    assert!(!losses.are_untold());
    assert_eq!(losses.due(at(100)), None);
    dropped.fetch_add(1, Ordering::Relaxed);
    assert_eq!(losses.due(Instant::NEVER), Some(1));
}
