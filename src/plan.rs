//! The plan: what is to be run, parsed and checked, before anything of it exists.
//!
//! A plan is made from the command line's words. What cannot be is refused here, with what was
//! expected; what only the machine can refuse (a port in use, a name that does not resolve) is
//! found by `process` when it carries the plan out.
#![forbid(unsafe_code)]

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::balance::Policy;
use crate::bounds::{
    ENDPOINTS_MAX, LISTENERS_MAX, SESSIONS_MAX, TRIES_MAX, WEIGHT_MAX, WORKERS_MAX,
};
use crate::session::Settings;

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Addresses to accept on.
    pub listen: Vec<SocketAddr>,
    /// Where sessions go.
    pub targets: Vec<Target>,
    /// How an endpoint is chosen.
    pub policy: Policy,
    /// How many workers, on which CPUs.
    pub workers: Workers,
    /// Timeouts and retries of sessions.
    pub settings: Settings,
    /// How long sessions may go on after the order to stop.
    pub drain_timeout: Duration,
    /// At most so many sessions at a time; as many as descriptors allow if `None`.
    pub max_sessions: Option<usize>,
}

impl Plan {
    /// A plan with the defaults for everything else.
    pub fn new(listen: Vec<SocketAddr>, targets: Vec<Target>) -> Self {
        Self {
            listen,
            targets,
            policy: Policy::default(),
            workers: Workers::default(),
            settings: Settings::default(),
            drain_timeout: Duration::from_secs(30),
            max_sessions: None,
        }
    }

    /// Everything that is wrong with the plan by itself, each with what to do about it.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        self.check_listeners(&mut problems);
        if self.targets.is_empty() {
            problems.push("--to: there must be at least one endpoint".to_string());
        }
        if self.targets.len() > ENDPOINTS_MAX {
            problems.push(format!(
                "--to: at most {ENDPOINTS_MAX} endpoints are possible"
            ));
        }
        for (position, target) in self.targets.iter().enumerate() {
            if let Some(name) = &target.name
                && self.targets[..position]
                    .iter()
                    .any(|other| other.name.as_ref() == Some(name))
            {
                problems.push(format!("--to: two endpoints are named `{name}`"));
            }
        }
        let settings = &self.settings;
        if settings.tries == 0 || usize::from(settings.tries) > TRIES_MAX {
            problems.push(format!(
                "--tries: {} is not from 1 to {TRIES_MAX}",
                settings.tries
            ));
        }
        let timeouts = [
            ("--connect-timeout", settings.connect_timeout),
            ("--retry-within", settings.retry_within),
            ("--idle-timeout", settings.idle_timeout),
            ("--half-close-timeout", settings.half_close_timeout),
        ];
        for (option, timeout) in timeouts {
            if timeout.is_zero() || timeout > TIMEOUT_MAX {
                problems.push(format!(
                    "{option}: it must be more than 0 and at most 45 days"
                ));
            }
        }
        if self.drain_timeout > TIMEOUT_MAX {
            problems.push("--drain-timeout: it must be at most 45 days".to_string());
        }
        if self
            .max_sessions
            .is_some_and(|max| max == 0 || max > SESSIONS_MAX)
        {
            problems.push(format!(
                "--max-sessions: it must be from 1 to {SESSIONS_MAX}"
            ));
        }
        if self
            .workers
            .count
            .is_some_and(|count| count == 0 || count > WORKERS_MAX)
        {
            problems.push(format!(
                "--workers: it must be `auto` or from 1 to {WORKERS_MAX}"
            ));
        }
        problems
    }

    fn check_listeners(&self, problems: &mut Vec<String>) {
        if self.listen.is_empty() {
            problems.push("--listen: there must be at least one address".to_string());
        }
        if self.listen.len() > LISTENERS_MAX {
            problems.push(format!(
                "--listen: at most {LISTENERS_MAX} addresses are possible"
            ));
        }
        for (position, addr) in self.listen.iter().enumerate() {
            for earlier in &self.listen[..position] {
                if overlap(*addr, *earlier) {
                    problems.push(format!(
                        "--listen: {addr} and {earlier} are both port {}: bind it once",
                        addr.port()
                    ));
                }
            }
        }
    }
}

/// The longest timeout: a session keeps its times as milliseconds in 32 bits.
const TIMEOUT_MAX: Duration = Duration::from_secs(45 * 24 * 3600);

/// Whether two listeners would get each other's connections. Port 0 is a new port each time.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let same_family = one.is_ipv4() == other.is_ipv4();
    let same_host =
        one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && same_family && same_host
}

/// How many workers there are and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workers {
    /// How many; one per usable CPU if `None`.
    pub count: Option<usize>,
    /// The CPUs that they are pinned to, in turn; those of the affinity set if `None`.
    pub cpus: Option<CpuList>,
}

/// A list of CPUs as in `0-3,6`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuList(pub Vec<usize>);

impl FromStr for CpuList {
    type Err = String;

    /// Errors: what is not a number or a range.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut cpus = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| {
                text.trim()
                    .parse()
                    .ok()
                    .filter(|cpu| *cpu < CPUS_MAX)
                    .ok_or_else(|| format!("`{part}` is no CPU; expected a list such as 0-3,6"))
            };
            let (first, last): (usize, usize) = (number(first)?, number(last)?);
            if first > last {
                return Err(format!("`{part}` is a range that ends before it starts"));
            }
            cpus.extend(first..=last);
        }
        cpus.sort_unstable();
        cpus.dedup();
        Ok(Self(cpus))
    }
}

/// More CPUs than any machine has.
const CPUS_MAX: usize = 8192;

/// An endpoint as it is configured: one host name may stand for several addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where it is.
    pub place: Place,
    /// Its share relative to the others; 0 means never picked.
    pub weight: u32,
    /// Its name in logs and statistics, if it has one.
    pub name: Option<String>,
}

/// Where a target is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A Unix stream socket.
    Unix(PathBuf),
    /// An address.
    Address(SocketAddr),
    /// A host name and a port, to be resolved.
    Host(String, u16),
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
            Self::Address(addr) => addr.fmt(formatter),
            Self::Host(host, port) => write!(formatter, "{host}:{port}"),
        }
    }
}

impl FromStr for Target {
    type Err = String;

    /// Reads `HOST:PORT` or `unix:/PATH`, and after commas `weight=N` and `name=NAME`.
    ///
    /// Errors: what is not understood and what was expected.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let place = parse_place(parts.next().unwrap_or_default())?;
        let mut target = Self {
            place,
            weight: 1,
            name: None,
        };
        let parts: Vec<&str> = parts.collect();
        for (position, part) in parts.iter().enumerate() {
            let key = |part: &str| part.split('=').next().unwrap_or_default().to_string();
            if parts[..position]
                .iter()
                .any(|earlier| key(earlier) == key(part))
            {
                return Err(format!("`{}` is given twice", key(part)));
            }
            match part.split_once('=') {
                Some(("weight", value)) => target.weight = parse_weight(value)?,
                Some(("name", "")) => return Err("the name is empty".to_string()),
                Some(("name", value)) => target.name = Some(value.to_string()),
                _ => {
                    return Err(format!(
                        "`{part}` is not understood; after the address there may be weight=N and \
                         name=NAME"
                    ));
                }
            }
        }
        Ok(target)
    }
}

fn parse_place(text: &str) -> Result<Place, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        // 107 bytes and a zero fit the kernel's address.
        if !path.starts_with('/') || path.len() > 107 {
            return Err(format!(
                "`{path}` must be an absolute path of at most 107 bytes"
            ));
        }
        return Ok(Place::Unix(path.into()));
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        return Err(format!(
            "`{scheme}://` is not part of an address; write {rest}"
        ));
    }
    if let Ok(addr) = text.parse::<SocketAddr>() {
        return if addr.port() == 0 {
            Err(no_port(text))
        } else {
            Ok(Place::Address(addr))
        };
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(|| no_port(text))?;
    let port = port
        .parse()
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(|| no_port(text))?;
    if host.is_empty() || host.contains([':', '[', ']', '/', ' ']) {
        return Err(format!(
            "`{host}` is no host; expected HOST:PORT, 10.0.0.1:80, [::1]:80 or unix:/PATH"
        ));
    }
    Ok(Place::Host(host.to_string(), port))
}

fn no_port(text: &str) -> String {
    format!("`{text}` has no port from 1 to 65535; expected HOST:PORT or unix:/PATH")
}

fn parse_weight(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(weight) if weight <= WEIGHT_MAX => Ok(weight),
        _ => Err(format!(
            "`{text}` is no weight; expected a number from 0 to {WEIGHT_MAX}"
        )),
    }
}

/// Reads an address to listen on.
///
/// Errors: what was expected.
pub fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    let any = text.strip_prefix('*').unwrap_or(text);
    if let Some(port) = any.strip_prefix(':')
        && let Ok(port) = port.parse::<u16>()
    {
        return Err(format!(
            "write 0.0.0.0:{port} for every IPv4 address, [::]:{port} for IPv6"
        ));
    }
    text.parse()
        .map_err(|_| "expected ADDRESS:PORT, such as 127.0.0.1:8080 or [::]:8080".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(addrs: &[&str]) -> Vec<String> {
        let listen = addrs
            .iter()
            .filter_map(|addr| parse_listen(addr).ok())
            .collect();
        let target = Target {
            place: Place::Host("a".into(), 1),
            weight: 1,
            name: None,
        };
        Plan::new(listen, vec![target]).problems()
    }

    #[test]
    fn targets_are_read() {
        let check = |text: &str, place: Place, weight| {
            assert_eq!(
                text.parse(),
                Ok(Target {
                    place,
                    weight,
                    name: None
                })
            );
        };
        check(
            "127.0.0.1:9001",
            Place::Address(([127, 0, 0, 1], 9001).into()),
            1,
        );
        check(
            "[::1]:80,weight=3",
            Place::Address("[::1]:80".parse().expect("an address")),
            3,
        );
        check(
            "db.internal:5432,weight=0",
            Place::Host("db.internal".into(), 5432),
            0,
        );
        check("unix:/run/a.sock", Place::Unix("/run/a.sock".into()), 1);
        let named: Target = "a:1,name=first".parse().expect("a target");
        assert_eq!(named.name.as_deref(), Some("first"));
    }

    #[test]
    fn impossible_targets_are_refused_with_what_was_expected() {
        let check = |text: &str, part: &str| {
            let error = text.parse::<Target>().expect_err("refused");
            assert!(error.contains(part), "{text}: {error}");
        };
        check("127.0.0.1", "HOST:PORT");
        check("127.0.0.1:0", "port from 1");
        check("a:99999", "port from 1");
        check("http://a:80", "write a:80");
        check("a:80,wieght=3", "weight=N");
        check("a:80,weight=-1", "0 to 10000");
        check("a:80,weight=10001", "0 to 10000");
        check("unix:run/a.sock", "absolute path");
        check("a:80,weight=5,weight=7", "`weight` is given twice");
        check("::1:80", "[::1]:80");
        check("", "HOST:PORT");
    }

    #[test]
    fn one_port_twice_is_refused() {
        assert!(listen(&["127.0.0.1:80", "127.0.0.2:80", "[::]:80", "127.0.0.1:81"]).is_empty());
        assert!(listen(&["127.0.0.1:0", "127.0.0.1:0"]).is_empty());
        assert!(listen(&["127.0.0.1:80", "127.0.0.1:80"])[0].contains("port 80"));
        assert!(listen(&["127.0.0.1:80", "0.0.0.0:80"])[0].contains("port 80"));
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let mut plan = Plan::new(Vec::new(), Vec::new());
        plan.settings.tries = 0;
        plan.settings.idle_timeout = Duration::ZERO;
        plan.max_sessions = Some(0);
        plan.workers.count = Some(0);
        assert_eq!(plan.problems().len(), 6, "{:?}", plan.problems());
    }

    #[test]
    fn cpu_lists_are_read() {
        assert_eq!("0-2,6,1".parse(), Ok(CpuList(vec![0, 1, 2, 6])));
        for wrong in ["", "a", "3-1", "1-", "0,,1", "99999999"] {
            assert!(wrong.parse::<CpuList>().is_err(), "{wrong}");
        }
    }
}
