//! What is told of the process as a whole.
#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::control::exposition::page::{Column, Labels, Reading};
use crate::control::exposition::{ProberScrape, Scrape};
use crate::error::CloseReason;
use crate::metrics::{Counter, WorkerCounters};

/// The process.
pub(super) struct ProcessRow<'a>(pub(super) &'a Scrape<'a>);

impl ProcessRow<'_> {
    pub(super) const COLUMNS: [Column<Self>; 12] = [
        Column::gauge(
            "ringlane_build_info",
            "The program's version, and what it uses of the kernel. Always 1.",
            |Self(scrape)| {
                let version = scrape.process.version.into();
                let features = scrape.process.features.clone().into();
                Reading::So(vec![("version", version), ("features", features)])
            },
        ),
        Column::gauge(
            "ringlane_process_start_time_seconds",
            "When the process began, in seconds since 1970.",
            |Self(scrape)| Reading::Whole(scrape.process.start_time),
        ),
        Column::gauge(
            "ringlane_workers",
            "Workers that there are.",
            |Self(scrape)| Reading::Whole(scrape.workers.len() as u64),
        ),
        Column::gauge(
            "ringlane_config_epoch",
            "The number of the view that workers are to act by.",
            |Self(scrape)| Reading::Whole(scrape.process.epoch.0),
        ),
        Column::gauge(
            "ringlane_sessions",
            "Sessions open now, with those that are being accepted.",
            |Self(scrape)| Reading::Whole(scrape.process.sessions.now as u64),
        ),
        Column::gauge(
            "ringlane_sessions_limit",
            "Sessions that there may be at a time.",
            |Self(scrape)| Reading::Whole(scrape.process.sessions.max as u64),
        ),
        Column::counter(
            "ringlane_client_bytes_total",
            "Bytes received from clients.",
            |row| row.sum(|worker| &worker.client_bytes),
        ),
        Column::counter(
            "ringlane_endpoint_bytes_total",
            "Bytes received from endpoints.",
            |row| row.sum(|worker| &worker.endpoint_bytes),
        ),
        Column::counter(
            "ringlane_connect_retries_total",
            "Attempts to connect after the first of a session.",
            |row| row.sum(|worker| &worker.retries),
        ),
        Column::counter(
            "ringlane_events_dropped_total",
            "Events of workers that control had no room for.",
            |row| row.sum(|worker| &worker.events_dropped),
        ),
        Column::counter(
            "ringlane_log_lines_dropped_total",
            "Lines of the log that were lost.",
            |Self(scrape)| Reading::Whole(scrape.process.log_lines_dropped),
        ),
        Column::counter(
            "ringlane_access_records_dropped_total",
            "Records of sessions that are not in the access log.",
            |Self(scrape)| Reading::Whole(scrape.process.access_records_dropped),
        ),
    ];

    fn sum(&self, counter: fn(&WorkerCounters) -> &Counter) -> Reading {
        Reading::Whole(sum(self.0.workers, |worker| counter(worker).value()))
    }
}

/// The sessions that ended for one reason.
pub(super) struct EndedRow(u64);

impl EndedRow {
    pub(super) const COLUMNS: [Column<Self>; 1] = [Column::counter(
        "ringlane_sessions_closed_total",
        "Sessions that ended, by reason.",
        |Self(sessions)| Reading::Whole(*sessions),
    )];

    pub(super) fn all(workers: &[Arc<WorkerCounters>]) -> impl Iterator<Item = (Labels, Self)> {
        CloseReason::ALL.iter().map(|reason| {
            let sessions = sum(workers, |worker| worker.closed(*reason).value());
            ([("reason", reason.word().into())].into(), Self(sessions))
        })
    }
}

/// How unevenly the workers are used.
pub(super) struct SkewRow(f64);

impl SkewRow {
    pub(super) const COLUMNS: [Column<Self>; 1] = [Column::gauge(
        "ringlane_workers_skew",
        "The largest share of a worker, relative to the mean: 1 is even.",
        |Self(skew)| Reading::Real(*skew),
    )];

    pub(super) fn all(workers: &[Arc<WorkerCounters>]) -> [(Labels, Self); 2] {
        let row = |of: &'static str, counter: fn(&WorkerCounters) -> &Counter| {
            let values = workers.iter().map(|worker| counter(worker).value());
            let skew = skew(&values.collect::<Vec<_>>());
            ([("of", of.into())].into(), Self(skew))
        };
        [
            row("sessions", |worker| &worker.open_sessions),
            row("accepted", |worker| &worker.accepted),
        ]
    }
}

/// The prober.
pub(super) struct ProberRow<'a>(pub(super) &'a ProberScrape);

impl ProberRow<'_> {
    pub(super) const COLUMNS: [Column<Self>; 6] = [
        Column::gauge(
            "ringlane_probe_targets",
            "Endpoints that are probed.",
            |Self(prober)| Reading::Whole(prober.targets),
        ),
        Column::counter(
            "ringlane_probes_total",
            "Probes that have ended.",
            |Self(prober)| Reading::Whole(prober.probes),
        ),
        Column::counter(
            "ringlane_probe_failures_total",
            "Probes that have failed.",
            |Self(prober)| Reading::Whole(prober.failures),
        ),
        Column::counter(
            "ringlane_probes_late_total",
            "Probes that were too late to be believed.",
            |Self(prober)| Reading::Whole(prober.late),
        ),
        Column::counter(
            "ringlane_probe_reports_dropped_total",
            "Results of probes that control had no room for.",
            |Self(prober)| Reading::Whole(prober.reports_dropped),
        ),
        Column::histogram(
            "ringlane_probe_lateness_seconds",
            "How much later than due probes began.",
            |Self(prober)| Reading::Times(Box::new(prober.lateness.clone())),
        ),
    ];
}

fn sum(workers: &[Arc<WorkerCounters>], value: impl Fn(&WorkerCounters) -> u64) -> u64 {
    workers.iter().map(|worker| value(worker)).sum()
}

/// The largest over the mean; 1 if there is nothing.
fn skew(values: &[u64]) -> f64 {
    let largest = values.iter().copied().max().unwrap_or(0);
    if largest == 0 {
        return 1.0;
    }
    let sum: u64 = values.iter().sum();
    largest as f64 * values.len() as f64 / sum as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skew_is_the_largest_over_the_mean() {
        let check = |values: &[u64], expected| assert_eq!(skew(values), expected, "{values:?}");
        check(&[], 1.0);
        check(&[0, 0], 1.0);
        check(&[7], 1.0);
        check(&[5, 5, 5], 1.0);
        check(&[30, 10, 20], 1.5);
        check(&[9, 0, 0], 3.0);
    }
}
