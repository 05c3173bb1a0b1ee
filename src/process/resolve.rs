//! Turning targets into endpoints: host names are resolved once, at the start.
#![forbid(unsafe_code)]

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use crate::balance::Member;
use crate::balance::endpoint::{Address, Endpoint};
use crate::id::EndpointId;
use crate::plan::EndpointPlan;
use crate::plan::place::Place;

/// Makes the members of a cluster: one for each address of each endpoint of the plan, with ids
/// from `first` up. A name that does not resolve is a member that is down, so that the others can
/// serve.
pub(super) fn members(plans: &[EndpointPlan], first: EndpointId, workers: usize) -> Vec<Member> {
    let mut members: Vec<Member> = Vec::new();
    for plan in plans {
        let title = plan.name.clone().unwrap_or_else(|| plan.place.to_string());
        let addresses = addresses(&plan.place);
        let several = addresses.len() > 1;
        let mut add = |name: String, address: Address| {
            let id = EndpointId(first.0 + members.len() as u32);
            let endpoint = Endpoint::new(id, name, address, workers);
            members.push(Member {
                endpoint: Arc::new(endpoint),
                weight: plan.weight,
                max_connections: plan.max_connections,
                role: if plan.enabled {
                    crate::balance::Role::Active
                } else {
                    crate::balance::Role::Out
                },
            });
        };
        if addresses.is_empty() {
            tracing::warn!(
                endpoint = title,
                "the name does not resolve: the endpoint is down"
            );
            continue;
        }
        for address in addresses {
            let name = if several {
                format!("{title} ({address})")
            } else {
                title.clone()
            };
            add(name, address);
        }
    }
    members
}

fn addresses(place: &Place) -> Vec<Address> {
    match place {
        Place::Unix(path) => vec![Address::Unix(path.clone())],
        Place::Address(addr) => vec![Address::Tcp(*addr)],
        Place::Service(_) => Vec::new(),
        Place::Host(host, port) => {
            let found = (host.as_str(), *port).to_socket_addrs();
            if let Err(error) = &found {
                tracing::warn!(host, %error, "the name could not be looked up");
            }
            let mut addrs: Vec<SocketAddr> = found.into_iter().flatten().collect();
            addrs.sort_unstable();
            addrs.dedup();
            addrs.into_iter().map(Address::Tcp).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(targets: &[&str]) -> Vec<(String, bool)> {
        let plans: Vec<EndpointPlan> = targets
            .iter()
            .map(|text| text.parse().expect("an endpoint"))
            .collect();
        members(&plans, EndpointId(1), 1)
            .iter()
            .map(|member| (member.endpoint.name.clone(), member.is_eligible()))
            .collect()
    }

    #[test]
    fn a_name_that_does_not_resolve_is_an_endpoint_that_is_down() {
        let members = resolved(&[
            "nowhere.invalid:80",
            "127.0.0.1:81,name=b",
            "127.0.0.1:82,weight=0",
        ]);
        let expected = [
            ("nowhere.invalid:80", false),
            ("b", true),
            ("127.0.0.1:82", false),
        ];
        assert_eq!(
            members,
            expected.map(|(name, eligible)| (name.to_string(), eligible))
        );
    }

    #[test]
    fn every_address_of_a_name_is_an_endpoint() {
        let members = resolved(&["localhost:80"]);
        assert!(!members.is_empty() && members.iter().all(|(_, eligible)| *eligible));
        if members.len() > 1 {
            assert!(
                members
                    .iter()
                    .all(|(name, _)| name.starts_with("localhost:80 ("))
            );
        }
    }
}
