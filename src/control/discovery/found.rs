//! What a look-up found: where a name's endpoints are.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::time::Duration;

use super::answer::Target;
use super::{Addresses, LookupError};
use crate::bounds::{ADDRESSES_MAX, WEIGHT_MAX};

/// The addresses of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Sorted by priority and address, each address once, at most [`ADDRESSES_MAX`].
    pub targets: Vec<Located>,
    /// How long they hold, between floor and ceiling.
    pub ttl: Duration,
    /// What could not be found out beside them: one family of addresses, or the host of one target.
    /// Addresses from before that are not among these may still be right.
    pub incomplete: Option<LookupError>,
    /// How many addresses or targets there were beyond the bounds.
    pub left_out: usize,
}

/// Where an endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    /// Its address.
    pub addr: SocketAddr,
    /// Its share among those of its priority: 1 for a host, that of the record for a service, where
    /// each address of a target has the whole of it and 0 counts as 1. At most [`WEIGHT_MAX`].
    pub weight: u32,
    /// Those with the lowest come first; 0 for a host.
    pub priority: u16,
}

impl Found {
    pub(super) fn host(addresses: Addresses, port: u16) -> Self {
        let at = |addr| Located {
            addr: SocketAddr::new(addr, port),
            weight: 1,
            priority: 0,
        };
        Self {
            targets: addresses.addrs.into_iter().map(at).collect(),
            ttl: addresses.ttl,
            incomplete: addresses.incomplete,
            left_out: addresses.left_out,
        }
    }

    /// A service without targets yet.
    pub(super) fn service(ttl: u32, left_out: usize) -> Self {
        Self {
            targets: Vec::new(),
            ttl: Duration::from_secs(ttl.into()),
            incomplete: None,
            left_out,
        }
    }

    /// Adds a target of a service.
    pub(super) fn add(&mut self, target: &Target, addresses: Addresses) {
        let at = |addr| Located {
            addr: SocketAddr::new(addr, target.port),
            weight: u32::from(target.weight).max(1),
            priority: target.priority,
        };
        self.targets.extend(addresses.addrs.into_iter().map(at));
        self.ttl = self.ttl.min(addresses.ttl);
        self.left_out += addresses.left_out;
        if let Some(error) = addresses.incomplete {
            self.miss(error);
        }
    }

    /// Notes that something could not be found out. It is asked for again soon, unless a name
    /// server has said that it is not there.
    pub(super) fn miss(&mut self, error: LookupError) {
        if !error.is_final() {
            self.ttl = Duration::ZERO;
        }
        self.incomplete.get_or_insert(error);
    }

    /// Brings the targets of a service into order. An address that several of them have is one,
    /// with the best of their priorities and the weights of those that have it together.
    pub(super) fn finish(&mut self) {
        let by_addr = |located: &Located| (located.addr, located.priority);
        self.targets.sort_unstable_by_key(by_addr);
        self.targets.dedup_by(|later, kept| {
            if later.addr == kept.addr && later.priority == kept.priority {
                kept.weight = kept.weight.saturating_add(later.weight);
            }
            later.addr == kept.addr
        });
        self.targets
            .sort_unstable_by_key(|located| (located.priority, located.addr));
        self.left_out += self.targets.len().saturating_sub(ADDRESSES_MAX);
        self.targets.truncate(ADDRESSES_MAX);
        let heaviest = self.targets.iter().map(|located| located.weight).max();
        let Some(heaviest) = heaviest.filter(|weight| *weight > WEIGHT_MAX) else {
            return;
        };
        for located in &mut self.targets {
            let share = u64::from(located.weight) * u64::from(WEIGHT_MAX);
            let share = share.div_ceil(u64::from(heaviest));
            located.weight = u32::try_from(share).unwrap_or(WEIGHT_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::rr::Name;
    use std::net::IpAddr;

    fn found(targets: &[(u16, u16, u16, &[&str])]) -> Vec<(u16, u32, String)> {
        let mut found = Found::service(60, 0);
        for (priority, weight, port, addrs) in targets {
            let target = Target {
                priority: *priority,
                name: Name::root(),
                port: *port,
                weight: *weight,
                addrs: Vec::new(),
            };
            let addrs = addrs
                .iter()
                .map(|addr| addr.parse::<IpAddr>().expect("an address"));
            found.add(
                &target,
                Addresses {
                    addrs: addrs.collect(),
                    left_out: 0,
                    ttl: Duration::MAX,
                    incomplete: None,
                },
            );
        }
        found.finish();
        found
            .targets
            .iter()
            .map(|located| (located.priority, located.weight, located.addr.to_string()))
            .collect()
    }

    #[test]
    fn an_address_of_several_targets_is_one() {
        assert_eq!(
            found(&[
                (20, 5, 80, &["10.0.0.2"]),
                (10, 3, 80, &["10.0.0.1", "::1"]),
                (20, 7, 80, &["10.0.0.1"]),
                (10, 4, 80, &["10.0.0.1"]),
                (10, 0, 81, &["10.0.0.1"]),
            ]),
            [
                (10, 7, "10.0.0.1:80".to_string()),
                (10, 1, "10.0.0.1:81".to_string()),
                (10, 3, "[::1]:80".to_string()),
                (20, 5, "10.0.0.2:80".to_string()),
            ]
        );
    }

    #[test]
    fn large_weights_keep_their_proportion() {
        let weights = |weights: &[u16]| {
            let targets: Vec<(u16, u16, u16, &[&str])> = (1u16..)
                .zip(weights)
                .map(|(port, weight)| (0, *weight, port, ["::1"].as_slice()))
                .collect();
            let found = found(&targets);
            found
                .iter()
                .map(|(_, weight, _)| *weight)
                .collect::<Vec<_>>()
        };
        assert_eq!(weights(&[10_000, 1, 0]), [10_000, 1, 1]);
        assert_eq!(weights(&[60_000, 30_000, 1]), [10_000, 5_000, 1]);
        assert_eq!(weights(&[u16::MAX, u16::MAX]), [10_000, 10_000]);
    }
}
