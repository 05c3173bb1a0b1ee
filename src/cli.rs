//! The command line: words to a plan, and what each command does with it.
#![forbid(unsafe_code)]

mod demo;
mod log;
mod sample;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tracing::level_filters::LevelFilter;

use crate::balance::Policy;
use crate::bounds::PIPES_MAX;
use crate::cli::log::Lines;
use crate::plan::cpus::CpuList;
use crate::plan::place::Bind;
use crate::plan::problems::Problem;
use crate::plan::{EndpointPlan, Plan};
use crate::process::{self, ProcessError, Running};
use crate::ring::features::Features;

/// A layer-4 load balancer for Linux.
#[derive(Debug, Parser)]
#[command(name = "ringlane", version, about, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Balance TCP connections over endpoints
    Run(RunArguments),
    /// Show it: sample endpoints, a listener, what to try, live counts
    Demo(demo::Arguments),
    /// Serve sample endpoints: lines are echoed, HTTP is answered, with the port's name
    Testserver(sample::Arguments),
}

#[derive(Debug, Args)]
struct RunArguments {
    /// Accept connections here: 127.0.0.1:8080 or [::]:8080; several times for several addresses
    #[arg(long, value_name = "ADDRESS:PORT", required = true, value_parser = parse_listen)]
    listen: Vec<SocketAddr>,
    /// An endpoint: HOST:PORT or unix:/PATH, then maybe ,weight=N (1; 0 is never picked) and
    /// ,name=NAME; once for each endpoint
    #[arg(long = "to", value_name = "ENDPOINT", required = true)]
    endpoints: Vec<EndpointPlan>,
    /// How an endpoint is chosen: round_robin or least_conn
    #[arg(long, value_name = "POLICY", default_value_t)]
    balance: Policy,
    /// How many workers: a number, or auto for one per usable CPU
    #[arg(long, value_name = "N", default_value = "auto", value_parser = parse_workers)]
    workers: WorkerCount,
    /// The CPUs that workers are pinned to, such as 0-3,6
    #[arg(long, value_name = "LIST")]
    cpus: Option<CpuList>,
    /// At most so many pipes of 256 KiB per worker, for bulk; 0 copies everything
    #[arg(long, value_name = "N", default_value_t = PIPES_MAX)]
    pipes: usize,
    /// How long one attempt to connect to an endpoint may take
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    connect_timeout: Duration,
    /// How many endpoints are tried for a session
    #[arg(long, value_name = "N", default_value_t = 3)]
    tries: u8,
    /// After this time no further endpoint is tried
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    retry_within: Duration,
    /// How long a session may go without a byte either way
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = humantime::parse_duration)]
    idle_timeout: Duration,
    /// The same once one side has finished sending
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    half_close_timeout: Duration,
    /// How long sessions may go on after SIGTERM or SIGINT; a second signal ends them at once
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    drain_timeout: Duration,
    /// At most so many sessions at a time; further clients wait
    #[arg(long, value_name = "N")]
    max_sessions: Option<usize>,
    #[command(flatten)]
    log: LogArguments,
}

#[derive(Debug, Args)]
struct LogArguments {
    /// What is logged to standard error: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: LevelFilter,
}

#[derive(Clone, Copy, Debug)]
struct WorkerCount(Option<usize>);

/// Reads an address to listen on.
fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    match text.parse()? {
        Bind::Tcp(addr) => Ok(addr),
        Bind::Unix(_) => Err("a Unix socket needs a configuration file".to_string()),
    }
}

fn parse_workers(text: &str) -> Result<WorkerCount, String> {
    match text {
        "auto" => Ok(WorkerCount(None)),
        _ => match text.parse() {
            Ok(count) => Ok(WorkerCount(Some(count))),
            Err(_) => Err("expected `auto` or a number".to_string()),
        },
    }
}

/// Reads the arguments of the process and does what they say. Returns the exit code: 0 for success,
/// 2 for words that are not understood, 78 for what has to be configured differently, 1 otherwise.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        Command::Run(arguments) => run(arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Testserver(arguments) => sample::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The exit code says it too, should nobody take the lines or no thread be left.
            if let Ok(lines) = Lines::start(std::io::stderr()) {
                for line in error.to_string().lines() {
                    lines.say(&format!("ringlane: {line}"));
                }
            }
            ExitCode::from(error.exit_code())
        }
    }
}

impl RunArguments {
    fn into_plan(self) -> Plan {
        let mut plan = Plan::simple(&self.listen, self.endpoints);
        plan.workers.count = self.workers.0;
        plan.workers.cpus = self.cpus;
        plan.workers.pipes = self.pipes;
        plan.process.drain_timeout = self.drain_timeout;
        plan.max_sessions = self.max_sessions;
        plan.log.level = self.log.log_level;
        for cluster in &mut plan.clusters {
            cluster.policy = self.balance;
            cluster.connect_timeout = self.connect_timeout;
            cluster.tries = self.tries;
            cluster.retry_within = self.retry_within;
            cluster.timeouts.idle = Some(self.idle_timeout);
            cluster.timeouts.half_close = Some(self.half_close_timeout);
        }
        plan
    }
}

fn run(arguments: RunArguments) -> Result<(), ProcessError> {
    let plan = arguments.into_plan();
    let _log = log::start(&plan.log).map_err(no_thread)?;
    let problems = plan.problems();
    if !problems.is_empty() {
        return Err(in_words(problems));
    }
    let features = Features::probe()?;
    for line in features.report() {
        tracing::info!("io_uring: {line}");
    }
    // Before anything accepts, so that no signal ends it in the middle of a session.
    let signals = process::stop_signals().map_err(|source| ProcessError::System {
        what: "signals",
        source,
    })?;
    let running = Running::start_with(&plan, &features)?;
    for bind in running.binds() {
        tracing::info!(addr = %bind, workers = running.counters().len(), "listening");
    }
    for endpoint in running.endpoints() {
        tracing::info!(endpoint = endpoint.name, "endpoint");
    }
    process::serve(running, &signals, plan.process.drain_timeout, None, |_| {})
}

/// Names the options that a plan's problems come from: words have no other place.
fn in_words(problems: Vec<Problem>) -> ProcessError {
    let named = |problem: Problem| Problem {
        path: option_of(&problem.path).to_string(),
        ..problem
    };
    ProcessError::Plan(problems.into_iter().map(named).collect())
}

fn option_of(path: &str) -> &str {
    let last = path.rsplit('.').next().unwrap_or(path);
    match path.split(['[', '.']).next() {
        Some("listeners") => "--listen",
        Some("workers") if last == "cpus" => "--cpus",
        Some("workers") if last == "pipes" => "--pipes",
        Some("workers") => "--workers",
        Some("limits") => "--max-sessions",
        Some("process") => "--drain-timeout",
        _ => match last {
            "connect" => "--connect-timeout",
            "idle" => "--idle-timeout",
            "half_close" => "--half-close-timeout",
            "tries" => "--tries",
            "within" => "--retry-within",
            _ => "--to",
        },
    }
}

fn no_thread(source: std::io::Error) -> ProcessError {
    ProcessError::System {
        what: "a thread for the log",
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_defaults_are_those_of_the_plan() {
        let words = [
            "ringlane",
            "run",
            "--listen",
            "127.0.0.1:1",
            "--to",
            "127.0.0.1:2",
        ];
        let Command::Run(arguments) = Arguments::parse_from(words).command else {
            panic!("`run` is the command");
        };
        let plan = arguments.into_plan();
        let endpoints = plan.clusters[0].endpoints.clone();
        let default = Plan::simple(&[([127, 0, 0, 1], 1).into()], endpoints);
        let settings = |plan: &Plan| plan::settings(&plan.listeners[0], &plan.clusters[0]);
        assert_eq!(settings(&plan), settings(&default));
        assert_eq!(plan.workers, default.workers);
        assert_eq!(plan.process, default.process);
        assert_eq!(plan.clusters[0].policy, default.clusters[0].policy);
        assert_eq!(plan.log, default.log);
    }
}
