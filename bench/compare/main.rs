//! Compares relays: floor, Ringlane, HAProxy and NGINX side by side, in interleaved rounds, in one run.
//!
//! Owns the arguments and the order of things: for each workload it measures the relays round by round in
//! rotating order, each time on a new [`site`], and prints one table. How a relay is started is in [`launch`], what
//! is done to it in [`workload`], what is read off in [`meter`], how it is printed in [`report`]. `bench/README.md` says
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
mod site;
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

use launch::{Kind, Running};
use meter::{Meter, Sample};
use recorder::{Extent, Recorder};
use report::{Round, Table};
use site::{Ground, Site};
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
    /// The congestion control of every socket, such as reno, cubic or bbr; the system's default if not given
    #[arg(long)]
    congestion: Option<String>,
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

impl Arguments {
    fn ground(&self) -> Ground<'_> {
        Ground {
            cpu: self.relay_cpu,
            congestion: self.congestion.as_deref(),
        }
    }
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
    report::print_machine(arguments.relay_cpu, arguments.congestion.as_deref())?;
    let id = arguments.load_cpu;
    if !core_affinity::set_for_current(core_affinity::CoreId { id }) {
        return Err(io::Error::other(format!(
            "cannot run on CPU {id}; see --load-cpu"
        )));
    }
    let relays = startable(&arguments)?;
    let mut sound = true;
    for &workload in &arguments.workloads {
        sound &= if arguments.syscalls {
            trace::compare(workload, &relays, &arguments.ground())?
        } else {
            measure_all(&arguments, workload, &relays)?
        };
    }
    if !sound {
        println!("FAILED: answers were lost or wrong, or ringlane used io_uring worker threads");
    }
    Ok(if sound {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The relays that relay; says of the others why they do not.
fn startable(arguments: &Arguments) -> io::Result<Vec<Kind>> {
    let mut relays = Vec::new();
    for &kind in &arguments.relays {
        if arguments.syscalls && !kind.is_traced() {
            continue;
        }
        match Site::set_up(kind, &arguments.ground())? {
            Ok(_) => relays.push(kind),
            Err(reason) => println!("skipped {}: {reason}", kind.name()),
        }
    }
    Ok(relays)
}

/// Measures all relays in one workload and prints the table; true if nothing went wrong.
fn measure_all(arguments: &Arguments, workload: Workload, relays: &[Kind]) -> io::Result<bool> {
    let mut table = Table::new(relays.to_vec());
    let mut undamaged = true;
    for round in 0..arguments.rounds as usize {
        let mut samples: Round = relays.iter().map(|_| None).collect();
        for turn in 0..relays.len() {
            let index = (turn + round) % relays.len();
            let site =
                Site::set_up(relays[index], &arguments.ground())?.map_err(io::Error::other)?;
            samples[index] = Some(measure(arguments, workload, site.relay())?);
            undamaged &= site.tear_down();
            thread::sleep(SETTLE);
        }
        table.push(samples);
    }
    table.print(workload);
    Ok(undamaged && table.is_sound())
}

fn measure(arguments: &Arguments, workload: Workload, relay: &Running) -> io::Result<Sample> {
    let mut meter = Meter::new(arguments.relay_cpu, relay.id());
    let extent = Extent::Time {
        warm_up: Duration::from_secs_f64(arguments.warm_up),
        measure: Duration::from_secs_f64(arguments.seconds),
    };
    let mut stage = Stage::new(relay.address(), Recorder::new(extent, &mut meter))?;
    workload.run(&mut stage)?;
    let tally = stage.recorder.into_tally();
    Ok(meter.sample(tally))
}

/// Between two measurements: what the kernel still tidies up is not charged to the next one.
const SETTLE: Duration = Duration::from_millis(300);
