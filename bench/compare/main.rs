//! Compares relays: floor, Ringlane, HAProxy and NGINX side by side, in interleaved rounds, in one run.
//!
//! Owns the arguments and the order of things: for each workload it starts every relay, measures them round by
//! round in rotating order, prints one table and stops them. How a relay is started is in [`launch`], what is done
//! to it in [`workload`], what is read off in [`meter`], how it is printed in [`report`]. `bench/README.md` says
//! how to run it and what the figures mean.

#[path = "../floor/arena.rs"]
mod arena;
mod client;
mod endpoint;
mod launch;
mod meter;
mod recorder;
#[path = "../floor/relay.rs"]
mod relay;
mod report;
mod sys;
mod trace;
mod wire;
mod workload;

use std::io;
use std::net::{SocketAddrV4, TcpListener};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;

use endpoint::Endpoint;
use launch::{Kind, Place, Running};
use meter::Meter;
use recorder::{Extent, Recorder};
use report::{Round, Table};
use workload::{Stage, Workload};

/// Runs relays side by side and prints what each costs.
#[derive(Debug, Parser)]
#[command(name = "compare")]
struct Arguments {
    /// Which relays to run
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "floor,ringlane,haproxy,nginx"
    )]
    relays: Vec<Kind>,
    /// Which workloads to run
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "rt,churn,bulk,rate"
    )]
    workloads: Vec<Workload>,
    /// How often each relay is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How long each measurement takes
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// How long each measurement is preceded by load that does not count
    #[arg(long, default_value_t = 0.3)]
    warm_up: f64,
    /// The CPU that relays run on
    #[arg(long, default_value_t = 0)]
    relay_cpu: usize,
    /// The CPU that the generator and the endpoint run on
    #[arg(long, default_value_t = 1)]
    load_cpu: usize,
    /// One short round of everything, to see that every answer arrives
    #[arg(long)]
    smoke: bool,
    /// Counts the system calls of floor and ringlane instead
    #[arg(long)]
    syscalls: bool,
    /// Be the bare relay, from the first address to the second
    #[arg(long, hide = true, num_args = 2)]
    be_floor: Option<Vec<SocketAddrV4>>,
    /// Passed by `cargo bench`; means nothing
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> io::Result<ExitCode> {
    let mut arguments = Arguments::parse();
    if let Some([listen, to]) = arguments.be_floor.as_deref() {
        relay::run(&TcpListener::bind(listen)?, *to)?;
        return Ok(ExitCode::FAILURE);
    }
    if arguments.smoke {
        arguments.rounds = 1;
        arguments.seconds = 0.5;
    }
    sys::raise_descriptor_limit()?;
    sys::set_timer_slack();
    let id = arguments.load_cpu;
    if !core_affinity::set_for_current(core_affinity::CoreId { id }) {
        return Err(io::Error::other(format!(
            "cannot run on CPU {id}; see --load-cpu"
        )));
    }
    report::print_machine(arguments.relay_cpu)?;
    let mut sound = true;
    for &workload in &arguments.workloads {
        let (relays, endpoint) = start_all(&arguments)?;
        sound &= if arguments.syscalls {
            let sound = trace::compare(workload, &relays)?;
            sound && endpoint.stop()
        } else {
            let table = measure_all(&arguments, workload, &relays)?;
            table.print(workload);
            endpoint.stop() && table.is_sound()
        };
    }
    if !sound {
        println!(
            "FAILED: answers were lost or wrong, or a relay used io_uring worker threads; see above"
        );
    }
    Ok(if sound {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Starts the endpoint with an address for each relay, so that none finds its ports taken by another's connections.
fn start_all(arguments: &Arguments) -> io::Result<(Vec<Running>, Endpoint)> {
    let chosen = arguments
        .relays
        .iter()
        .filter(|kind| !arguments.syscalls || kind.is_traced());
    let chosen: Vec<Kind> = chosen.copied().collect();
    let endpoint = Endpoint::start(chosen.len())?;
    let mut relays = Vec::new();
    for (kind, &to) in chosen.iter().zip(endpoint.addresses()) {
        let place = Place {
            listen: sys::free_address()?,
            to,
            cpu: arguments.relay_cpu,
        };
        match Running::start(*kind, &place) {
            Ok(running) => relays.push(running),
            Err(reason) => println!("skipped {}: {reason}", kind.name()),
        }
    }
    Ok((relays, endpoint))
}

fn measure_all(arguments: &Arguments, workload: Workload, relays: &[Running]) -> io::Result<Table> {
    let mut table = Table::new(relays.iter().map(Running::kind).collect());
    for round in 0..arguments.rounds as usize {
        let mut samples: Round = relays.iter().map(|_| None).collect();
        for turn in 0..relays.len() {
            let index = (turn + round) % relays.len();
            let running = &relays[index];
            let mut meter = Meter::new(arguments.relay_cpu, running.id());
            let extent = Extent::Time {
                warm_up: Duration::from_secs_f64(arguments.warm_up),
                measure: Duration::from_secs_f64(arguments.seconds),
            };
            let mut stage = Stage::new(running.address(), Recorder::new(extent, &mut meter))?;
            workload.run(&mut stage)?;
            let tally = stage.recorder.into_tally();
            samples[index] = Some(meter.sample(tally));
            thread::sleep(SETTLE);
        }
        table.push(samples);
    }
    Ok(table)
}

/// Between two measurements: what a relay still has to close is not charged to the next one.
const SETTLE: Duration = Duration::from_millis(150);
