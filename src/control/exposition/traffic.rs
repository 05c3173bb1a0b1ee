//! What is told of listeners, clusters and endpoints.
#![forbid(unsafe_code)]

use std::collections::HashMap;

use crate::control::exposition::page::{Column, Labels, Reading};
use crate::control::exposition::{ClusterScrape, EndpointScrape, ListenerScrape};
use crate::metrics::ClusterTimes;
use crate::metrics::histogram::{Histogram, Totals};

/// An address that a listener is bound to.
pub(super) struct AddressRow;

impl AddressRow {
    pub(super) const COLUMNS: [Column<Self>; 1] = [Column::gauge(
        "ringlane_listener_address",
        "Where a listener is bound. Always 1.",
        |Self| Reading::Whole(1),
    )];

    pub(super) fn all(listener: &ListenerScrape) -> impl Iterator<Item = (Labels, Self)> {
        listener.addresses.iter().map(|address| {
            let name = listener.name.clone().into();
            let address = address.clone().into();
            ([("listener", name), ("address", address)].into(), Self)
        })
    }
}

/// A listener.
pub(super) struct ListenerRow<'a>(&'a ListenerScrape);

impl<'a> ListenerRow<'a> {
    pub(super) const COLUMNS: [Column<Self>; 2] = [
        Column::gauge(
            "ringlane_listener_sessions",
            "Sessions of a listener that has a limit of its own.",
            |Self(listener)| Reading::of_option(listener.sessions.map(|all| all.now as u64)),
        ),
        Column::gauge(
            "ringlane_listener_sessions_limit",
            "Sessions that a listener may have at a time, if it has a limit of its own.",
            |Self(listener)| Reading::of_option(listener.sessions.map(|all| all.max as u64)),
        ),
    ];

    pub(super) fn of(listener: &'a ListenerScrape) -> (Labels, Self) {
        let name = listener.name.clone().into();
        ([("listener", name)].into(), Self(listener))
    }
}

/// A cluster.
pub(super) struct ClusterRow<'a>(&'a ClusterScrape<'a>);

impl<'a> ClusterRow<'a> {
    pub(super) const COLUMNS: [Column<Self>; 9] = [
        Column::gauge(
            "ringlane_cluster_mode",
            "How the cluster chooses among its endpoints at present. Always 1.",
            |Self(cluster)| Reading::So(vec![("mode", cluster.mode.into())]),
        ),
        Column::gauge(
            "ringlane_cluster_endpoints",
            "Endpoints that there are.",
            |Self(cluster)| Reading::Whole(cluster.endpoints.len() as u64),
        ),
        Column::gauge(
            "ringlane_cluster_endpoints_up",
            "Endpoints that are up.",
            |row| row.count(|endpoint| endpoint.is_up),
        ),
        Column::gauge(
            "ringlane_cluster_endpoints_eligible",
            "Endpoints that sessions may pick.",
            |row| row.count(|endpoint| endpoint.is_eligible),
        ),
        Column::counter(
            "ringlane_cluster_lookups_total",
            "Look-ups of host names of endpoints.",
            |Self(cluster)| Reading::Whole(cluster.lookups),
        ),
        Column::counter(
            "ringlane_cluster_lookup_failures_total",
            "Look-ups of host names of endpoints that failed.",
            |Self(cluster)| Reading::Whole(cluster.lookup_failures),
        ),
        Column::histogram(
            "ringlane_cluster_connect_seconds",
            "From accepting a client to its endpoint being connected.",
            |row| row.times(|times| &times.connect),
        ),
        Column::histogram(
            "ringlane_cluster_first_byte_seconds",
            "From accepting a client to its endpoint's first byte.",
            |row| row.times(|times| &times.first_byte),
        ),
        Column::histogram(
            "ringlane_cluster_session_seconds",
            "From accepting a client to the end of its session.",
            |row| row.times(|times| &times.duration),
        ),
    ];

    pub(super) fn of(cluster: &'a ClusterScrape<'a>) -> (Labels, Self) {
        let name = cluster.name.to_string().into();
        ([("cluster", name)].into(), Self(cluster))
    }

    fn count(&self, is_one: fn(&EndpointScrape<'_>) -> bool) -> Reading {
        let endpoints = self.0.endpoints.iter();
        Reading::Whole(endpoints.filter(|endpoint| is_one(endpoint)).count() as u64)
    }

    fn times(&self, histogram: fn(&ClusterTimes) -> &Histogram) -> Reading {
        self.0.counters.map_or(Reading::None, |counters| {
            let mut totals = Totals::default();
            for worker in counters.all() {
                totals.add(histogram(worker));
            }
            Reading::Times(Box::new(totals))
        })
    }
}

/// An endpoint.
pub(super) struct EndpointRow<'a>(&'a EndpointScrape<'a>);

impl<'a> EndpointRow<'a> {
    pub(super) const COLUMNS: [Column<Self>; 10] = [
        Column::gauge(
            "ringlane_endpoint_up",
            "1 if the endpoint is up.",
            |Self(scrape)| Reading::Whole(scrape.is_up.into()),
        ),
        Column::gauge(
            "ringlane_endpoint_eligible",
            "1 if sessions may pick the endpoint.",
            |Self(scrape)| Reading::Whole(scrape.is_eligible.into()),
        ),
        Column::gauge(
            "ringlane_endpoint_state",
            "Where the endpoint is, and what its probes, its breaker and its operator say. Always 1.",
            |Self(scrape)| {
                Reading::So(vec![
                    ("address", scrape.address.to_string().into()),
                    ("health", scrape.health.into()),
                    ("breaker", scrape.breaker.into()),
                    ("admin", scrape.admin.into()),
                ])
            },
        ),
        Column::gauge(
            "ringlane_endpoint_weight",
            "The endpoint's share relative to the others.",
            |Self(scrape)| Reading::Whole(scrape.weight.into()),
        ),
        Column::gauge(
            "ringlane_endpoint_open_sessions",
            "Sessions that are open or being connected.",
            |Self(scrape)| Reading::Whole(scrape.endpoint.open_sessions().into()),
        ),
        Column::gauge(
            "ringlane_endpoint_sessions_limit",
            "Sessions that the endpoint may have at a time, if there is a limit.",
            |Self(scrape)| Reading::of_option(scrape.max_connections),
        ),
        Column::counter(
            "ringlane_endpoint_sessions_total",
            "Sessions that were connected to the endpoint.",
            |Self(scrape)| Reading::Whole(scrape.endpoint.total(|counters| &counters.sessions)),
        ),
        Column::counter(
            "ringlane_endpoint_connect_failures_total",
            "Attempts to connect to the endpoint that failed.",
            |Self(scrape)| {
                let failures = scrape.endpoint.total(|counters| &counters.connect_failures);
                Reading::Whole(failures)
            },
        ),
        Column::counter(
            "ringlane_endpoint_received_bytes_total",
            "Bytes received from the endpoint.",
            |Self(scrape)| Reading::Whole(scrape.endpoint.total(|counters| &counters.bytes)),
        ),
        Column::gauge(
            "ringlane_endpoint_consecutive_failures",
            "Failures since the endpoint last served a session.",
            |Self(scrape)| Reading::Whole(scrape.endpoint.failures().into()),
        ),
    ];

    /// The endpoints of a cluster; those that share a name are told apart by their ids.
    pub(super) fn all(cluster: &'a ClusterScrape<'a>) -> impl Iterator<Item = (Labels, Self)> {
        let mut names = HashMap::<&str, usize>::new();
        for endpoint in &cluster.endpoints {
            *names.entry(endpoint.name).or_default() += 1;
        }
        cluster.endpoints.iter().map(move |scrape| {
            let mut labels = Labels::from([
                ("cluster", cluster.name.to_string().into()),
                ("endpoint", scrape.name.to_string().into()),
            ]);
            if names.get(scrape.name).is_some_and(|count| *count > 1) {
                labels.push(("id", scrape.endpoint.id.0.to_string().into()));
            }
            (labels, Self(scrape))
        })
    }
}
