//! Lines as they leave, in each format and to each place.
#![forbid(unsafe_code)]

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use tracing::level_filters::LevelFilter;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// Logs a few events and returns the lines that come of them.
fn lines_of(plan: &LogPlan) -> Vec<(Level, String)> {
    let (sender, receiver) = bounded(16);
    let lines = Lines::start_by(move |line| {
        let text = String::from_utf8_lossy(&line.text).into_owned();
        sender.send((line.level, text)).map_err(io::Error::other)
    });
    let lines = lines.expect("a thread");
    dispatcher::with_default(&dispatch(plan, lines.writer.clone()), || {
        tracing::error!(errno = 5, "it broke");
        tracing::info!(addr = %"127.0.0.1:80", "listening");
        tracing::debug!("details");
    });
    drop(lines);
    receiver.iter().collect()
}

#[test]
fn text_is_for_people() {
    let lines = lines_of(&LogPlan::default());
    assert_eq!(lines.len(), 2, "{lines:?}");
    let (level, text) = &lines[0];
    assert_eq!(*level, Level::ERROR);
    assert!(text.ends_with(" ERROR it broke errno=5\n"), "{text}");
    let (level, text) = &lines[1];
    assert_eq!(*level, Level::INFO);
    assert!(
        text.ends_with("  INFO listening addr=127.0.0.1:80\n"),
        "{text}"
    );
}

#[test]
fn json_is_one_object_a_line() {
    let lines = lines_of(&LogPlan {
        level: LevelFilter::DEBUG,
        format: LogFormat::Json,
        ..LogPlan::default()
    });
    assert_eq!(lines.len(), 3, "{lines:?}");
    let object = |line: &str| -> serde_json::Value {
        assert!(line.ends_with("}\n") && line.matches('\n').count() == 1);
        serde_json::from_str(line).expect("JSON")
    };
    let broke = object(&lines[0].1);
    assert_eq!(broke["level"], "ERROR");
    assert_eq!(broke["message"], "it broke");
    assert_eq!(broke["errno"], 5);
    let time = broke["timestamp"].as_str().expect("a time");
    assert!(time.parse::<jiff::Timestamp>().is_ok(), "{time}");
    assert_eq!(object(&lines[1].1)["addr"], "127.0.0.1:80");
    assert_eq!(object(&lines[2].1)["level"], "DEBUG");
}

#[test]
fn the_system_s_log_has_time_and_level_already() {
    let lines = lines_of(&LogPlan {
        to: LogSink::Syslog("/dev/log".into()),
        ..LogPlan::default()
    });
    assert_eq!(lines[0].1, "it broke errno=5\n");
    assert_eq!(lines[1].1, "listening addr=127.0.0.1:80\n");
}

fn path() -> PathBuf {
    std::env::temp_dir().join(format!("ringlane-log-{:x}.sock", fastrand::u64(..)))
}

fn receiver_at(path: &PathBuf) -> UnixDatagram {
    let receiver = UnixDatagram::bind(path).expect("a path of our own");
    receiver
        .set_read_timeout(Some(PATIENCE))
        .expect("a timeout can be set");
    receiver
}

fn receive(receiver: &UnixDatagram) -> String {
    let mut message = [0; 2048];
    let bytes = receiver.recv(&mut message).expect("a message");
    String::from_utf8_lossy(&message[..bytes]).into_owned()
}

#[test]
fn messages_have_the_form_of_syslog() {
    let path = path();
    let receiver = receiver_at(&path);
    let mut syslog = Syslog::new(path.clone()).expect("a socket");
    let mut check = |level, text: &str, priority, expected: &str| {
        syslog.send(level, text.as_bytes()).expect("it is there");
        let message = receive(&receiver);
        let (head, time) = message.split_at(4);
        assert_eq!(head, priority, "{message}");
        let (time, rest) = time.split_at("Feb 29 12:00:00".len());
        let fields: Vec<&str> = time.split_ascii_whitespace().collect();
        assert_eq!(fields.len(), 3, "{message}");
        assert!(fields[0].len() == 3 && fields[2].matches(':').count() == 2);
        assert_eq!(time.as_bytes()[6], b' ', "{message}");
        let tag = format!(" ringlane[{}]: {expected}", std::process::id());
        assert_eq!(rest, tag);
    };
    check(Level::ERROR, "it broke\n", "<27>", "it broke");
    check(Level::WARN, "a\nb\n", "<28>", "a b");
    check(Level::INFO, "", "<30>", "");
    check(Level::DEBUG, "x", "<31>", "x");
    check(Level::TRACE, "x", "<31>", "x");
    std::fs::remove_file(path).expect("ours");
}

#[test]
fn a_daemon_that_comes_back_hears_what_it_missed() {
    let path = path();
    let mut syslog = Syslog::new(path.clone()).expect("a socket");
    // Says when a line has been tried.
    let (tried, trying) = bounded(16);
    let lines = Lines::start_by(move |line| {
        let outcome = syslog.send(line.level, &line.text);
        tried.send(()).map_err(io::Error::other)?;
        outcome
    });
    let lines = lines.expect("a thread");
    let say = |line: &str| {
        lines.say(line);
        trying.recv_timeout(PATIENCE).expect("it is tried");
    };
    say("one");
    say("two");
    for missed in [2, 1] {
        let receiver = receiver_at(&path);
        say("here");
        assert!(receive(&receiver).ends_with(": here"));
        let told = receive(&receiver);
        assert!(
            told.ends_with(&format!(": {missed} lines were dropped")),
            "{told}"
        );
        assert!(told.starts_with("<28>"), "{told}");
        trying.recv_timeout(PATIENCE).expect("the count was sent");
        drop(receiver);
        std::fs::remove_file(&path).expect("ours");
        say("nobody hears this");
    }
}
