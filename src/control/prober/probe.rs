//! One probe of one endpoint: connect, say what is to be said, look at the answer, and judge.
//!
//! It has one deadline for all of that. What it costs at most: a connection, the bytes that an
//! answer may have, and the time.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::answer::{Answer, BytesAnswer, Detail};
use super::connection::Connection;
use super::http::{self, HttpAnswer};
use super::{Outcome, Target};
use crate::balance::endpoint::Address;
use crate::bounds::{PROBE_LATE, PROBE_LATE_PART, PROBE_READ_BYTES, PROBER_WAIT_MAX};
use crate::error::Errno;
use crate::plan::health::Check;
use crate::plan::proxy::ProxyVersion;
use crate::session::proxy_protocol::{Addresses, Command, Outgoing, Version, encode};
use crate::sys::clock;
use crate::time::Instant;

/// A probe that is to be made.
#[derive(Clone, Debug)]
pub(super) struct Probe {
    pub(super) target: Arc<Target>,
    /// How many went before it: several source addresses are used in turn.
    pub(super) count: usize,
}

/// A probe that was made.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) outcome: Outcome,
    pub(super) started: Instant,
    pub(super) ended: Instant,
}

impl Probe {
    /// Makes the probe. To be called on the runtime; never takes longer than the timeout, unless
    /// the thread itself is held up.
    pub(super) async fn run(self) -> Ended {
        let timeout = self.target.plan.timeout.min(PROBER_WAIT_MAX);
        let phase = Cell::new(Phase::Connecting);
        let started = clock::now();
        let attempt = monoio::time::timeout(timeout, self.attempt(&phase)).await;
        let ended = clock::now();
        let found = attempt.unwrap_or(Err(Trouble::Timeout));
        Ended {
            outcome: judge(found, phase.get(), timeout, ended - started),
            started,
            ended,
        }
    }

    async fn attempt(&self, phase: &Cell<Phase>) -> Result<Detail, Trouble> {
        let target = &*self.target;
        let address = target.probed();
        let source = self.source(&address);
        let connection = Connection::open(&address, &target.connect, source).await?;
        let mut first = Vec::new();
        if let Some(version) = target.send_proxy {
            put_header(version, &address, connection.local_addr().ok(), &mut first);
        }
        match &target.plan.check {
            Check::Tcp => {
                if !first.is_empty() {
                    phase.set(Phase::Sending);
                    connection.send_all(&first).await?;
                }
                Ok("connected".into())
            }
            Check::Http(check) => {
                first.extend_from_slice(&http::request(check, &host(&address)));
                let answer = HttpAnswer::new(check);
                converse(&connection, phase, &first, answer).await
            }
            Check::SendExpect(check) => {
                first.extend_from_slice(&check.send);
                let answer = BytesAnswer::new(&check.expect);
                converse(&connection, phase, &first, answer).await
            }
        }
    }

    /// The local address to connect from, if the cluster says which.
    fn source(&self, address: &Address) -> Option<IpAddr> {
        let Address::Tcp(addr) = address else {
            return None;
        };
        let sources = &self.target.connect.source;
        let of_family = |source: &&IpAddr| source.is_ipv4() == addr.is_ipv4();
        let count = sources.iter().filter(of_family).count();
        let turn = self.count.checked_rem(count)?;
        sources.iter().filter(of_family).nth(turn).copied()
    }
}

impl Target {
    /// Where it is probed: the endpoint's own settings go before the cluster's.
    pub(super) fn probed(&self) -> Address {
        let port = self.place.port.or(self.plan.port);
        match (&self.address, self.place.address, port) {
            (Address::Tcp(addr), None, port) => {
                let mut addr = *addr;
                addr.set_port(port.unwrap_or(addr.port()));
                Address::Tcp(addr)
            }
            (Address::Tcp(addr), Some(ip), port) => {
                Address::Tcp(SocketAddr::new(ip, port.unwrap_or(addr.port())))
            }
            (Address::Unix(_), Some(ip), Some(port)) => Address::Tcp(SocketAddr::new(ip, port)),
            (Address::Unix(path), _, _) => Address::Unix(path.clone()),
        }
    }
}

/// How far a probe has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Connecting,
    Sending,
    Answering,
}

impl Phase {
    fn words(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Sending => "sending",
            Self::Answering => "waiting for the answer",
        }
    }
}

/// Why a probe did not succeed.
#[derive(Debug)]
enum Trouble {
    /// The answer is not as it should be.
    Answer(Detail),
    /// The kernel said no.
    Io(Errno),
    /// Time was over.
    Timeout,
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(Errno::from_io(&error))
    }
}

/// Sends what is to be sent and looks at what comes until there is a verdict.
async fn converse(
    connection: &Connection,
    phase: &Cell<Phase>,
    first: &[u8],
    mut answer: impl Answer,
) -> Result<Detail, Trouble> {
    if !first.is_empty() {
        phase.set(Phase::Sending);
        connection.send_all(first).await?;
    }
    phase.set(Phase::Answering);
    let mut buffer = vec![0; PROBE_READ_BYTES];
    loop {
        let received = connection.receive(&mut buffer).await?;
        let bytes = buffer.get(..received).unwrap_or_default();
        let verdict = match bytes {
            [] => Some(answer.handle_end()),
            bytes => answer.handle_received(bytes),
        };
        if let Some(verdict) = verdict {
            return verdict.map_err(Trouble::Answer);
        }
    }
}

/// What is said of the connection in front of all else: that it is our own.
fn put_header(
    version: ProxyVersion,
    remote: &Address,
    local: Option<SocketAddr>,
    out: &mut Vec<u8>,
) {
    let addresses = match (remote, local) {
        (Address::Tcp(remote), Some(source)) => Addresses::Inet {
            source,
            destination: *remote,
        },
        _ => Addresses::Unspecified,
    };
    let outgoing = match version {
        // It has no word for a connection of one's own that all endpoints understand.
        ProxyVersion::V1 => Outgoing::new(Version::V1, Command::Proxy, addresses),
        ProxyVersion::V2 => Outgoing::new(Version::V2, Command::Local, Addresses::Unspecified),
    };
    let _none_left_out = encode(&outgoing, out);
}

/// What the Host header says if the check does not.
fn host(address: &Address) -> String {
    match address {
        // Without the zone, which means nothing elsewhere.
        Address::Tcp(addr) => SocketAddr::new(addr.ip(), addr.port()).to_string(),
        Address::Unix(_) => "localhost".to_string(),
    }
}

/// What a probe that took so long comes to.
///
/// A failure counts only if this thread was there to see it in time: what it noticed much later
/// than the timeout may as well be its own fault. Nor is it the endpoint's fault if this host had
/// no descriptor, memory or port left.
fn judge(
    found: Result<Detail, Trouble>,
    phase: Phase,
    timeout: Duration,
    took: Duration,
) -> Outcome {
    let trouble = match found {
        Ok(detail) => return Outcome::Success(detail),
        Err(trouble) => trouble,
    };
    let is_shortage = matches!(&trouble, Trouble::Io(errno) if is_own_shortage(*errno));
    let detail = described(trouble, phase, timeout);
    if is_shortage {
        return Outcome::Late(detail);
    }
    let slack = PROBE_LATE.max(timeout / PROBE_LATE_PART);
    match took.checked_sub(timeout) {
        Some(over) if over > slack => {
            let over = rounded(over);
            Outcome::Late(format!("{detail}, but noticed {over} too late").into())
        }
        _ => Outcome::Failure(detail),
    }
}

/// Ports count, and what epoll may watch.
fn is_own_shortage(errno: Errno) -> bool {
    errno.is_shortage() || matches!(errno.0, libc::EADDRNOTAVAIL | libc::ENOSPC)
}

fn described(trouble: Trouble, phase: Phase, timeout: Duration) -> Detail {
    match trouble {
        Trouble::Answer(detail) => detail,
        Trouble::Timeout => {
            format!("timed out after {} {}", rounded(timeout), phase.words()).into()
        }
        Trouble::Io(errno) => match phase {
            Phase::Connecting => plain(errno).into(),
            Phase::Sending | Phase::Answering => {
                format!("{} while {}", plain(errno), phase.words()).into()
            }
        },
    }
}

/// The kernel's words for an error, without its number.
fn plain(errno: Errno) -> String {
    let mut text = errno.to_string();
    if let Some(end) = text.find(" (os error") {
        text.truncate(end);
    }
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    text
}

fn rounded(time: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_millis(
        u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(1);

    #[test]
    fn what_was_noticed_too_late_is_no_failure() {
        let check = |timeout: u64, took: u64, expected: &str| {
            let (timeout, took) = (Duration::from_millis(timeout), Duration::from_millis(took));
            let judged = judge(Err(Trouble::Timeout), Phase::Answering, timeout, took);
            assert_eq!(format!("{judged:?}"), expected, "{timeout:?} {took:?}");
        };
        let failure = "Failure(\"timed out after 1s waiting for the answer\")";
        check(1000, 1000, failure);
        check(1000, 1250, failure);
        check(
            1000,
            1251,
            "Late(\"timed out after 1s waiting for the answer, but noticed 251ms too late\")",
        );
        // A short timeout may be noticed 50 ms late.
        let failure = "Failure(\"timed out after 20ms waiting for the answer\")";
        check(20, 70, failure);
        check(
            20,
            71,
            "Late(\"timed out after 20ms waiting for the answer, but noticed 51ms too late\")",
        );
    }

    #[test]
    fn any_failure_may_be_noticed_too_late_but_a_success_is_one() {
        let late = TIMEOUT * 2;
        let refused = || Err(Trouble::Io(Errno(libc::ECONNREFUSED)));
        let judged = judge(refused(), Phase::Connecting, TIMEOUT, TIMEOUT);
        assert_eq!(judged, Outcome::Failure("connection refused".into()));
        let judged = judge(refused(), Phase::Connecting, TIMEOUT, late);
        assert!(matches!(judged, Outcome::Late(_)));
        let wrong = Err(Trouble::Answer("status 503".into()));
        assert!(matches!(
            judge(wrong, Phase::Answering, TIMEOUT, late),
            Outcome::Late(_)
        ));
        let judged = judge(Ok("connected".into()), Phase::Connecting, TIMEOUT, late);
        assert_eq!(judged, Outcome::Success("connected".into()));
    }

    #[test]
    fn a_shortage_of_our_own_is_no_failure() {
        let check = |errno: i32, phase: Phase, expected: Outcome| {
            let judged = judge(Err(Trouble::Io(Errno(errno))), phase, TIMEOUT, TIMEOUT / 2);
            assert_eq!(judged, expected);
        };
        let late = |detail: &'static str| Outcome::Late(detail.into());
        check(libc::EMFILE, Phase::Connecting, late("too many open files"));
        check(
            libc::ENOBUFS,
            Phase::Sending,
            late("no buffer space available while sending"),
        );
        check(
            libc::ENOMEM,
            Phase::Connecting,
            late("cannot allocate memory"),
        );
        check(
            libc::EADDRNOTAVAIL,
            Phase::Connecting,
            late("cannot assign requested address"),
        );
        check(
            libc::EHOSTUNREACH,
            Phase::Connecting,
            Outcome::Failure("no route to host".into()),
        );
        check(
            libc::ECONNRESET,
            Phase::Answering,
            Outcome::Failure("connection reset by peer while waiting for the answer".into()),
        );
    }

    #[test]
    fn the_host_is_what_is_probed() {
        let check = |addr: &str, expected: &str| {
            let addr = addr.parse().expect("an address");
            assert_eq!(host(&Address::Tcp(addr)), expected);
        };
        check("192.0.2.1:80", "192.0.2.1:80");
        check("[2001:db8::1]:8080", "[2001:db8::1]:8080");
        check("[fe80::1%3]:80", "[fe80::1]:80");
        assert_eq!(host(&Address::Unix("/run/x.sock".into())), "localhost");
    }
}
