//! What is told as metrics, gathered from whoever knows it.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;

use crate::bounds::METRIC_SERIES_MAX;
use crate::control::desk::Desk;
use crate::control::exposition::{
    self, ListenerScrape, Occupancy, ProberScrape, ProcessScrape, Scrape, WorkerState,
};
use crate::metrics::histogram::Totals;
use crate::time::Instant;

impl Desk {
    /// The text of all metrics.
    pub(super) fn metrics(&self, now: Instant) -> String {
        let states = self.publisher.states(now);
        let worker_states: Vec<WorkerState> = states
            .map(|(acknowledged, stalled)| WorkerState {
                acknowledged,
                stalled,
            })
            .collect();
        exposition::render(&Scrape {
            now,
            workers: &self.counters,
            worker_states: &worker_states,
            listeners: &self.listeners(),
            clusters: &self.roster.scrape(),
            process: self.process(),
            series_max: METRIC_SERIES_MAX,
        })
    }

    fn listeners(&self) -> Vec<ListenerScrape> {
        let listeners = self.roster.listeners().iter();
        listeners
            .zip(&self.surroundings.binds)
            .map(|(listener, binds)| ListenerScrape {
                name: listener.name.clone(),
                addresses: binds.iter().map(ToString::to_string).collect(),
                sessions: listener.limit.as_deref().map(Occupancy::from),
            })
            .collect()
    }

    fn process(&self) -> ProcessScrape {
        let around = &self.surroundings;
        ProcessScrape {
            version: env!("CARGO_PKG_VERSION"),
            features: around.features.clone(),
            start_time: self.start_time,
            sessions: Occupancy::from(&*self.session_limit),
            epoch: self.publisher.published(),
            prober: self.prober(),
            log_lines_dropped: around.log_lines_dropped.load(Ordering::Relaxed),
            access_records_dropped: around.access_records_dropped.load(Ordering::Relaxed),
        }
    }

    fn prober(&self) -> Option<ProberScrape> {
        let (prober, _) = self.prober.as_ref()?;
        let counters = prober.counters();
        let mut lateness = Totals::default();
        lateness.add(&counters.lateness);
        Some(ProberScrape {
            targets: counters.targets.value(),
            probes: counters.probes.value(),
            failures: counters.failures.value(),
            late: counters.late.value(),
            lateness,
            reports_dropped: counters.dropped_reports.value(),
        })
    }
}
