//! What probing costs: the CPU time of the prober's thread for so many endpoints.
//!
//! The endpoints are a few listeners on this host that accept and close, each in a thread of its
//! own, so that what they cost is not counted.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use crossbeam_channel::never;
use ringlane::balance::endpoint::Address;
use ringlane::control::prober::{Prober, Target};
use ringlane::id::EndpointId;
use ringlane::metrics::histogram::{Histogram, end_of};
use ringlane::plan::health::{Check, HealthPlan, HttpCheck, ProbePlace};
use ringlane::update::Bell;

/// Probes endpoints on this host and tells what it cost
#[derive(Debug, Parser)]
struct Arguments {
    /// How many endpoints
    #[arg(long, default_value_t = 2000)]
    endpoints: u32,
    /// How often each is probed
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    interval: Duration,
    /// How long to measure
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    time: Duration,
    /// Ask by HTTP, of endpoints that only close
    #[arg(long)]
    http: bool,
    /// Passed by `cargo bench`; means nothing
    #[arg(long, hide = true)]
    bench: bool,
}

const LISTENERS: u32 = 8;

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    ringlane::sys::descriptors::raise_limit()?;
    let mut addresses = Vec::new();
    for number in 1..=LISTENERS {
        let addr = SocketAddr::from(([127, 0, 0, number as u8], 0));
        let listener = TcpListener::bind(addr)?;
        addresses.push(listener.local_addr()?);
        std::thread::spawn(move || listener.incoming().for_each(drop));
    }
    let check = if arguments.http {
        Check::Http(HttpCheck::default())
    } else {
        Check::Tcp
    };
    let plan = Arc::new(HealthPlan {
        interval: arguments.interval,
        ..HealthPlan::of(check)
    });
    let target = |id: u32| Target {
        id: EndpointId(id),
        address: Address::Tcp(addresses[(id % LISTENERS) as usize]),
        plan: Arc::clone(&plan),
        place: ProbePlace::default(),
        connect: Arc::default(),
        send_proxy: None,
    };
    let (prober, reports) = Prober::start(Bell::silent())?;
    prober.watch((0..arguments.endpoints).map(target).collect());
    // The first rounds are closer together.
    pause(arguments.interval.max(Duration::from_secs(3)));
    let counters = prober.counters();
    let (ticks, probes) = (cpu_ticks()?, counters.probes.value());
    pause(arguments.time);
    let ticks = cpu_ticks()? - ticks;
    let probes = counters.probes.value() - probes;
    // USER_HZ is 100 on every Linux.
    let cpu = Duration::from_millis(10 * ticks);
    println!(
        "{} endpoints, every {:?}: {:.0} probes/s, {:.1} % of a CPU, {:.1} us a probe",
        arguments.endpoints,
        arguments.interval,
        probes as f64 / arguments.time.as_secs_f64(),
        100.0 * cpu.as_secs_f64() / arguments.time.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / probes.max(1) as f64,
    );
    println!(
        "failed {}, late {}, begun late by at most {} us (99 %: {} us); {} reports",
        counters.failures.value(),
        counters.late.value(),
        below(&counters.lateness, 1.0),
        below(&counters.lateness, 0.99),
        reports.len(),
    );
    prober.stop();
    Ok(())
}

fn pause(time: Duration) {
    let _time = never::<()>().recv_timeout(time);
}

/// What so great a share of all values is below, in microseconds.
fn below(histogram: &Histogram, share: f64) -> u64 {
    let total: u64 = histogram.counts().sum();
    let mut seen = 0;
    let found = histogram.counts().position(|count| {
        seen += count;
        seen as f64 >= share * total as f64
    });
    found.and_then(end_of).unwrap_or(u64::MAX)
}

/// The CPU time that the prober's thread has used so far, in ticks.
///
/// Source: proc(5), /proc/pid/stat, utime and stime.
fn cpu_ticks() -> io::Result<u64> {
    for task in fs::read_dir("/proc/self/task")? {
        let stat = fs::read_to_string(task?.path().join("stat"))?;
        let Some((name, rest)) = stat.rsplit_once(')') else {
            continue;
        };
        if name.ends_with("(prober") {
            let times = rest.split_whitespace().skip(11).take(2);
            return Ok(times.filter_map(|ticks| ticks.parse::<u64>().ok()).sum());
        }
    }
    Err(io::Error::other("there is no such thread"))
}
