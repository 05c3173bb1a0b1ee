//! The demonstration: everything that is needed to see a connection balanced, in one process.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::cli::log::Lines;
use crate::cli::no_thread;
use crate::cli::sample::SampleEndpoint;
use crate::plan::place::{Bind, Place};
use crate::plan::{EndpointPlan, Plan};
use crate::process::{self, ProcessError, Running};

/// The words of `ringlane demo`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Accept connections here
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080", value_parser = super::parse_listen)]
    listen: SocketAddr,
    /// End by itself after this time
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
}

/// The weights of the sample endpoints.
const WEIGHTS: [u32; 3] = [1, 1, 2];

/// Serves sample endpoints and a listener in front of them until a signal or the time is over.
///
/// Errors: the listener's port is in use, io_uring is forbidden.
pub(super) fn run(arguments: &Arguments) -> Result<(), ProcessError> {
    let signals = process::stop_signals().map_err(|source| ProcessError::System {
        what: "signals",
        source,
    })?;
    let mut samples = Vec::new();
    let mut endpoints = Vec::new();
    for weight in WEIGHTS {
        let sample = SampleEndpoint::start(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let mut endpoint = EndpointPlan::at(Place::Address(sample.addr));
        endpoint.weight = weight;
        endpoints.push(endpoint);
        samples.push(sample);
    }
    let plan = Plan::simple(&[arguments.listen], endpoints);
    let running = Running::start(&plan)?;
    let out = Lines::start(std::io::stdout()).map_err(no_thread)?;
    introduce(&out, &running);
    let until = arguments.duration.map(|duration| Instant::now() + duration);
    let mut shown = String::new();
    let outcome = process::serve(
        running,
        &signals,
        Duration::from_secs(1),
        until,
        |running| {
            let counts = counts(running, &samples);
            if counts != shown {
                out.say(&counts);
                shown = counts;
            }
        },
    );
    out.say("the demonstration is over");
    outcome
}

fn introduce(out: &Lines, running: &Running) {
    let Some(Bind::Tcp(addr)) = running.binds().first() else {
        return;
    };
    let (ip, port) = (addr.ip(), addr.port());
    let workers = running.counters().len();
    out.say(&format!(
        "Ringlane listens on {addr} with {workers} workers and balances over:"
    ));
    for (endpoint, weight) in running.endpoints().iter().zip(WEIGHTS) {
        out.say(&format!("  {} (weight {weight})", endpoint.name));
    }
    out.say(&format!(
        "
Try in another terminal:
  curl http://{addr}/                # repeat it: the port that answers changes
  for i in $(seq 100); do curl -s http://{addr}/; done | sort | uniq -c
  echo hello | nc -N {ip} {port}   # any TCP works, also one that half-closes

Ctrl-C ends it. Counts appear here when they change."
    ));
}

fn counts(running: &Running, samples: &[SampleEndpoint]) -> String {
    let endpoints = running
        .endpoints()
        .iter()
        .zip(samples)
        .map(|(endpoint, sample)| {
            format!(
                "{}: {} sessions ({} open), {} answers",
                endpoint.name,
                endpoint.total(|counters| &counters.sessions),
                endpoint.open_sessions(),
                sample.answered.load(Ordering::Relaxed),
            )
        });
    endpoints.collect::<Vec<_>>().join(" | ")
}
