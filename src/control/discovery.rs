//! Discovery: looks names up, again and again, and tells which addresses they have.
//!
//! A resolver of its own, because that of the C library blocks its thread, and says neither how
//! long an answer holds nor which name server gave it. It runs on control's thread as tasks of
//! monoio, knows nothing of endpoints, and keeps nothing of what it found: who watches a name keeps
//! the last good answer. Nothing here panics, whatever a name server sends.
//!
//! Memory: a task for each name that is watched; at most [`LOOKUPS_MAX`] look-ups at a time, with
//! two sockets each and an answer of at most 64 KiB on each of them.
#![forbid(unsafe_code)]

pub mod answer;
mod exchange;
mod files;
mod found;
mod hosts;
mod name;
mod resolv_conf;
#[cfg(test)]
mod tests;
mod turns;
mod watch;

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::join;
use hickory_proto::rr::Name;

use crate::bounds::{LOOKUP_TIME_MAX, LOOKUPS_MAX};
use crate::plan::dns::DnsPlan;
use crate::plan::place::Place;
use answer::{Target, Wanted, usable};
use exchange::Asker;
use files::Files;
use hosts::{Hosts, is_localhost};
use name::candidates;
use resolv_conf::{Order, ResolvConf};
use turns::Turns;

pub use found::{Found, Located};
pub use watch::{Resolution, watch};

/// Looks names up by the files and the name servers of a plan.
#[derive(Debug)]
pub struct Resolver {
    plan: DnsPlan,
    files: RefCell<Files>,
    /// Where the next look-up begins, if they take turns.
    first_server: Cell<usize>,
    turns: Rc<Turns>,
}

/// Why there are no addresses.
///
/// Whoever has addresses from before keeps them but with [`NoSuchName`](Self::NoSuchName) and
/// [`Nothing`](Self::Nothing), which is up to him: the others say nothing about the name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// No name server answered in time; this is the last that was asked.
    #[error("{name}: no answer from the name server {server}: {cause}")]
    NoAnswer {
        /// What was asked for.
        name: String,
        /// Who was asked.
        server: SocketAddr,
        /// Why there was none.
        cause: String,
    },
    /// The time for the whole look-up had passed before anybody could be asked.
    #[error("{name}: not asked for: the look-up had taken {LOOKUP_TIME_MAX:?} by then")]
    OutOfTime {
        /// What was to be asked for.
        name: String,
    },
    /// NXDOMAIN: the name does not exist.
    #[error("{name}: the name server {server} says that there is no such name")]
    NoSuchName {
        /// What was asked for.
        name: String,
        /// Who said so.
        server: SocketAddr,
    },
    /// NODATA: the name has no addresses, or the service is not available.
    #[error("{name}: the name server {server} says that it has no such address")]
    Nothing {
        /// What was asked for.
        name: String,
        /// Who said so.
        server: SocketAddr,
    },
    /// A name server did not want to or could not answer.
    #[error("{name}: the name server {server} answers with an error: {code}")]
    Refused {
        /// What was asked for.
        name: String,
        /// Who said so.
        server: SocketAddr,
        /// The name of its code.
        code: &'static str,
    },
    /// An answer that cannot be.
    #[error("{name}: the answer from {origin} is no use: {detail}")]
    Nonsense {
        /// What was asked for.
        name: String,
        /// The name server or the file that gave it.
        origin: String,
        /// What is wrong with it.
        detail: &'static str,
    },
    /// What was to be looked up is no legal name.
    #[error("`{name}` is no name: {detail}")]
    NotAName {
        /// What is none.
        name: String,
        /// Why.
        detail: &'static str,
    },
}

impl LookupError {
    /// Whether a name server has said that there is nothing, so that asking others is no use.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::NoSuchName { .. } | Self::Nothing { .. })
    }
}

impl Resolver {
    /// Makes a resolver. Its files are read with the first look-up, and when they have changed.
    pub fn new(plan: &DnsPlan) -> Self {
        Self {
            plan: plan.clone(),
            files: RefCell::new(Files::new(&plan.hosts, &plan.resolv_conf)),
            first_server: Cell::new(0),
            turns: Turns::new(LOOKUPS_MAX),
        }
    }

    /// Looks a place up. It waits for its turn, then it takes [`LOOKUP_TIME_MAX`] at most.
    ///
    /// Errors: see [`LookupError`].
    pub async fn lookup(&self, place: &Place) -> Result<Found, LookupError> {
        let _turn = self.turns.take().await;
        let lookup = self.begin();
        let mut found = match place {
            Place::Host(host, port) => {
                let addresses = lookup.host(host).await?;
                Found::host(addresses, *port)
            }
            Place::Service(name) => lookup.service(name).await?,
            Place::Address(addr) => Found::host(Addresses::lasting(addr.ip()), addr.port()),
            Place::Unix(_) => {
                return Err(LookupError::NotAName {
                    name: place.to_string(),
                    detail: "it is a file",
                });
            }
        };
        // The longest use comes first, so that with a floor above it the floor holds.
        found.ttl = found.ttl.min(self.plan.max_ttl).max(self.plan.min_ttl);
        Ok(found)
    }

    /// What a look-up goes by, as it is now.
    fn begin(&self) -> Lookup {
        let now = Instant::now();
        let (hosts, conf) = self.files.borrow_mut().current(now);
        let mut servers = if self.plan.servers.is_empty() {
            conf.servers.clone()
        } else {
            self.plan.servers.clone()
        };
        if conf.order == Order::Rotating && !servers.is_empty() {
            let first = self.first_server.get() % servers.len();
            self.first_server.set(first + 1);
            servers.rotate_left(first);
        }
        let asker = Asker {
            servers,
            timeout: self.plan.timeout.unwrap_or(conf.timeout),
            attempts: self.plan.attempts.map_or(conf.attempts, u32::from),
            transport: conf.transport,
            deadline: now + LOOKUP_TIME_MAX,
        };
        Lookup { hosts, conf, asker }
    }
}

/// One look-up: the files as they were when it began, and whom it asks until when.
struct Lookup {
    hosts: Rc<Hosts>,
    conf: Rc<ResolvConf>,
    asker: Asker,
}

/// The addresses of a host.
#[derive(Debug)]
struct Addresses {
    /// Such as an endpoint can have, sorted, each once.
    addrs: Vec<IpAddr>,
    left_out: usize,
    ttl: Duration,
    /// What could not be found out beside them.
    incomplete: Option<LookupError>,
}

impl Lookup {
    /// The addresses of a host by the name that an operator gave it.
    async fn host(&self, text: &str) -> Result<Addresses, LookupError> {
        if let Some(known) = self.known(text) {
            return known;
        }
        self.searched(text, async |name| self.addresses(&name).await)
            .await
    }

    /// The places of a service.
    async fn service(&self, text: &str) -> Result<Found, LookupError> {
        let answer = self
            .searched(text, async |name| {
                self.asker.ask(&name, Wanted::Service).await
            })
            .await?;
        let mut found = Found::service(answer.ttl, answer.left_out);
        let mut error = None;
        for target in answer.targets {
            match self.target(&target).await {
                Ok(addresses) => found.add(&target, addresses),
                Err(of_target) => {
                    // Whatever is wrong with its host, the service still names it.
                    found.miss(of_target.clone());
                    error.get_or_insert(of_target);
                }
            }
        }
        found.finish();
        match error {
            Some(error) if found.targets.is_empty() => Err(error),
            _ => Ok(found),
        }
    }

    /// The addresses of a service's target. It is not searched: what a name server says is whole.
    async fn target(&self, target: &Target) -> Result<Addresses, LookupError> {
        if !target.addrs.is_empty() {
            return Ok(Addresses {
                addrs: target.addrs.clone(),
                left_out: 0,
                ttl: Duration::MAX,
                incomplete: None,
            });
        }
        if let Some(known) = self.known(&target.name.to_ascii()) {
            return known;
        }
        self.addresses(&target.name).await
    }

    /// What is known of a host without asking, if anything is.
    fn known(&self, text: &str) -> Option<Result<Addresses, LookupError>> {
        let plain = text.strip_suffix('.').unwrap_or(text);
        if let Ok(addr) = plain.parse::<IpAddr>() {
            return Some(Ok(Addresses::lasting(addr)));
        }
        let listed = self.hosts.addresses(plain);
        if is_localhost(plain) && !listed.iter().any(IpAddr::is_loopback) {
            let both = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            return Some(Addresses::listed(plain, &both));
        }
        if listed.is_empty() {
            return None;
        }
        Some(Addresses::listed(plain, listed))
    }

    /// Tries the names that a name may stand for. One that is not or that has nothing is passed
    /// over; any other failure ends the search, else it would be up to chance which host is meant.
    async fn searched<T>(
        &self,
        text: &str,
        look_up: impl AsyncFn(Name) -> Result<T, LookupError>,
    ) -> Result<T, LookupError> {
        let names = candidates(text, &self.conf).map_err(|detail| LookupError::NotAName {
            name: text.to_string(),
            detail,
        })?;
        let mut missing = None;
        let mut empty = None;
        for name in names {
            match look_up(name).await {
                Err(LookupError::NoSuchName { server, .. }) => {
                    missing = Some(LookupError::NoSuchName {
                        name: text.to_string(),
                        server,
                    });
                }
                Err(error @ LookupError::Nothing { .. }) => empty = Some(error),
                other => return other,
            }
        }
        Err(empty.or(missing).unwrap_or_else(|| LookupError::OutOfTime {
            name: text.to_string(),
        }))
    }

    /// Asks for the addresses of both families at the same time.
    async fn addresses(&self, name: &Name) -> Result<Addresses, LookupError> {
        let v4 = self.asker.ask(name, Wanted::V4);
        let v6 = self.asker.ask(name, Wanted::V6);
        match join(v4, v6).await {
            (Ok(one), Ok(other)) => {
                let (addrs, more) = usable(one.addrs.into_iter().chain(other.addrs));
                Ok(Addresses {
                    addrs,
                    left_out: one.left_out + other.left_out + more,
                    ttl: Duration::from_secs(one.ttl.min(other.ttl).into()),
                    incomplete: None,
                })
            }
            (Ok(one), Err(error)) | (Err(error), Ok(one)) => {
                let incomplete = Some(error).filter(|error| !error.is_final());
                // What is incomplete is asked for again soon.
                let seconds = if incomplete.is_some() { 0 } else { one.ttl };
                Ok(Addresses {
                    addrs: one.addrs,
                    left_out: one.left_out,
                    ttl: Duration::from_secs(seconds.into()),
                    incomplete,
                })
            }
            (Err(one), Err(other)) => Err(graver(one, other)),
        }
    }
}

impl Addresses {
    /// An address that needs no looking up.
    fn lasting(addr: IpAddr) -> Self {
        Self {
            addrs: vec![addr],
            left_out: 0,
            ttl: Duration::MAX,
            incomplete: None,
        }
    }

    /// Addresses of the file of names. The file may change, so they do not hold for long.
    fn listed(name: &str, addrs: &[IpAddr]) -> Result<Self, LookupError> {
        let (addrs, left_out) = usable(addrs.iter().copied());
        if addrs.is_empty() {
            return Err(LookupError::Nonsense {
                name: name.to_string(),
                origin: "the file of hosts".to_string(),
                detail: "it has only addresses that no endpoint can have",
            });
        }
        Ok(Self {
            addrs,
            left_out,
            ttl: Duration::ZERO,
            incomplete: None,
        })
    }
}

/// Which of two families' errors is that of the name: one that leaves open whether there are
/// addresses, then that there are none, then that there is no such name.
fn graver(one: LookupError, other: LookupError) -> LookupError {
    let rank = |error: &LookupError| match error {
        LookupError::NoSuchName { .. } => 0,
        LookupError::Nothing { .. } => 1,
        _ => 2,
    };
    if rank(&other) > rank(&one) {
        other
    } else {
        one
    }
}
