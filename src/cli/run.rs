//! `ringlane run`: a plan from words or from a configuration, and carrying it out.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use clap::ArgMatches;
use clap::parser::ValueSource;

use crate::balance::Policy;
use crate::bounds::PIPES_MAX;
use crate::cli::source::{self, Chosen};
use crate::cli::{Failure, LogArguments, log, no_thread, parse_listen};
use crate::config::{self, Config};
use crate::plan::admin::AdminPlan;
use crate::plan::cpus::CpuList;
use crate::plan::health::{Check, HealthPlan, HttpCheck};
use crate::plan::place::Bind;
use crate::plan::problems::Problem;
use crate::plan::{EndpointPlan, Plan};
use crate::process::{self, ProcessError, Running};
use crate::ring::features::Features;

/// The words of `ringlane run`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration: a file, or a folder of fragments; what RINGLANE_CONFIG names goes before
    /// it. Without it and without --listen and --to it is /etc/ringlane/ringlane.json
    #[arg(long, value_name = "FILE|FOLDER")]
    config: Option<PathBuf>,
    /// Accept connections here: 127.0.0.1:8080 or [::]:8080; several times for several addresses
    #[arg(long, value_name = "ADDRESS:PORT", requires = "endpoints", value_parser = parse_listen)]
    listen: Vec<SocketAddr>,
    /// An endpoint: HOST:PORT, unix:/PATH or srv:_SERVICE._tcp.NAME, then maybe ,weight=N (1; 0 is
    /// never picked) and ,name=NAME; once for each endpoint
    #[arg(long = "to", value_name = "ENDPOINT", requires = "listen")]
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
    /// At most so many pipes of 1 MiB per worker, for bulk; 0 copies everything
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
    /// How endpoints are probed: tcp, or http:/PATH for a GET; not at all without it
    #[arg(long, value_name = "CHECK", value_parser = parse_health)]
    health: Option<HealthPlan>,
    /// Serve the admin interface here, on a loopback address: 127.0.0.1:9900
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = parse_listen)]
    admin: Option<SocketAddr>,
    #[command(flatten)]
    log: LogArguments,
}

#[derive(Clone, Copy, Debug)]
struct WorkerCount(Option<usize>);

fn parse_workers(text: &str) -> Result<WorkerCount, String> {
    match text {
        "auto" => Ok(WorkerCount(None)),
        _ => match text.parse() {
            Ok(count) => Ok(WorkerCount(Some(count))),
            Err(_) => Err("expected `auto` or a number".to_string()),
        },
    }
}

/// Reads `tcp` or `http:/PATH`.
fn parse_health(text: &str) -> Result<HealthPlan, String> {
    match text.split_once(':') {
        None if text == "tcp" => Ok(HealthPlan::of(Check::Tcp)),
        Some(("http", path)) if path.starts_with('/') && !path.starts_with("//") => {
            let path = path.to_string();
            let check = HttpCheck {
                path,
                ..HttpCheck::default()
            };
            Ok(HealthPlan::of(Check::Http(check)))
        }
        _ => Err("expected tcp, or http:/PATH with a path such as /healthz".to_string()),
    }
}

/// The options that were really written, without their dashes.
pub(super) fn given(matches: &ArgMatches) -> Vec<String> {
    let is_given = |id: &&str| matches.value_source(id) == Some(ValueSource::CommandLine);
    let ids = OPTIONS.iter().copied().filter(is_given);
    ids.map(|id| id.replace('_', "-")).collect()
}

impl Arguments {
    fn into_plan(self) -> Plan {
        let mut plan = Plan::simple(&self.listen, self.endpoints);
        plan.workers.count = self.workers.0;
        plan.workers.cpus = self.cpus;
        plan.workers.pipes = self.pipes;
        plan.process.drain_timeout = self.drain_timeout;
        plan.max_sessions = self.max_sessions;
        plan.log.level = self.log.log_level;
        plan.admin = self.admin.map(|addr| AdminPlan::on(Bind::Tcp(addr)));
        for cluster in &mut plan.clusters {
            cluster.policy = self.balance;
            cluster.connect_timeout = self.connect_timeout;
            cluster.tries = self.tries;
            cluster.retry_within = self.retry_within;
            cluster.timeouts.idle = Some(self.idle_timeout);
            cluster.timeouts.half_close = Some(self.half_close_timeout);
            cluster.health = self.health.clone();
        }
        plan
    }
}

/// Runs until told to end, or until it cannot go on.
pub(super) fn run(arguments: Arguments, given: &[String]) -> Result<(), Failure> {
    if let (Some(_), Some(_)) = (arguments.listen.first(), arguments.endpoints.first()) {
        source::refuse_beside_words(arguments.config.as_deref())?;
        let plan = arguments.into_plan();
        let log = log::start(&plan.log).map_err(no_thread)?;
        let problems = plan.problems();
        if !problems.is_empty() {
            return Err(Failure::Process(in_words(problems)));
        }
        return carry_out(&plan, log.dropped()).map_err(Failure::Process);
    }
    let chosen = source::choose(arguments.config.as_deref())?;
    refuse_beside_file(&chosen, given)?;
    let Config { mut plan, origin } = config::load(&chosen.path)?;
    if given.iter().any(|option| option == LOG_LEVEL) {
        plan.log.level = arguments.log.log_level;
    }
    let log = log::start(&plan.log).map_err(no_thread)?;
    tracing::info!(
        "the configuration is {}, {}",
        chosen.path.display(),
        chosen.by
    );
    match carry_out(&plan, log.dropped()) {
        Err(ProcessError::Plan(problems)) => Err(Failure::Config(origin.locate(problems))),
        outcome => outcome.map_err(Failure::Process),
    }
}

fn carry_out(plan: &Plan, log_lines_dropped: Arc<AtomicU64>) -> Result<(), ProcessError> {
    let features = Features::probe()?;
    for line in features.report() {
        tracing::info!("io_uring: {line}");
    }
    // Before anything accepts, so that no signal ends it in the middle of a session.
    let signals = process::stop_signals().map_err(|source| ProcessError::System {
        what: "signals",
        source,
    })?;
    let running = Running::start_on(plan, &features, log_lines_dropped)?;
    for bind in running.binds() {
        tracing::info!(addr = %bind, workers = running.counters().len(), "listening");
    }
    if let Some(bind) = running.admin_bind() {
        tracing::info!(addr = %bind, "the admin interface listens");
    }
    for endpoint in running.endpoints() {
        tracing::info!(endpoint = endpoint.name, "endpoint");
    }
    process::serve(running, &signals, plan.process.drain_timeout, None, |_| {})
}

/// A configuration says everything but the level of the log.
fn refuse_beside_file(chosen: &Chosen, given: &[String]) -> Result<(), Failure> {
    let others = given
        .iter()
        .filter(|option| *option != LOG_LEVEL && *option != CONFIG);
    let others: Vec<String> = others.map(|option| format!("--{option}")).collect();
    if others.is_empty() {
        return Ok(());
    }
    let path = chosen.path.display();
    Err(Failure::Words(format!(
        "the configuration {path} rules, {}: write what {} is for into it (README.md, \
         \"Configuration reference\"), or leave the configuration out and give --listen and --to",
        chosen.by,
        others.join(", ")
    )))
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
        Some("admin") => "--admin",
        _ if path.contains("].health") => "--health",
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

/// Everything that can be said beside a configuration, or instead of one.
const OPTIONS: [&str; 15] = [
    CONFIG,
    "balance",
    "workers",
    "cpus",
    "pipes",
    "connect_timeout",
    "tries",
    "retry_within",
    "idle_timeout",
    "half_close_timeout",
    "drain_timeout",
    "max_sessions",
    "health",
    "admin",
    "log_level",
];

const CONFIG: &str = "config";
const LOG_LEVEL: &str = "log-level";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cli, plan};
    use clap::{CommandFactory, Parser};
    use cli::Command;

    #[test]
    fn every_option_goes_beside_a_configuration_or_instead() {
        let command = cli::Arguments::command();
        let run = command.find_subcommand("run").expect("it is a command");
        let ids = run
            .get_arguments()
            .map(|argument| argument.get_id().as_str());
        let others = ids.filter(|id| !["listen", "endpoints", "help"].contains(id));
        assert_eq!(others.collect::<Vec<_>>(), OPTIONS);
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
        let Command::Run(arguments) = cli::Arguments::parse_from(words).command else {
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
        assert_eq!(plan.clusters[0].health, default.clusters[0].health);
        assert_eq!(plan.admin, default.admin);
    }

    #[test]
    fn checks_have_words() {
        assert_eq!(parse_health("tcp"), Ok(HealthPlan::of(Check::Tcp)));
        let http = parse_health("http:/up?full=1").expect("a check");
        let check = HttpCheck {
            path: "/up?full=1".to_string(),
            ..HttpCheck::default()
        };
        assert_eq!(http, HealthPlan::of(Check::Http(check)));
        for text in ["", "http", "http:", "http://a/", "https:/", "tcp:80", "TCP"] {
            assert!(parse_health(text).is_err(), "{text}");
        }
    }
}
