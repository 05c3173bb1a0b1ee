//! The command line: its words, which command they mean, how the program ends.
#![forbid(unsafe_code)]

mod demo;
mod log;
mod run;
mod sample;
mod source;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use tracing::level_filters::LevelFilter;

use crate::cli::log::Lines;
use crate::config::{self, ConfigErrors};
use crate::plan::place::Bind;
use crate::process::ProcessError;

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
    Run(Box<run::Arguments>),
    /// Look whether a configuration is right, and say everything that is wrong with it
    Check(CheckArguments),
    /// Show it: sample endpoints, a listener, what to try, live counts
    Demo(demo::Arguments),
    /// Serve sample endpoints: lines are echoed, HTTP is answered, with the port's name
    Testserver(sample::Arguments),
}

#[derive(Debug, Args)]
struct CheckArguments {
    /// The configuration; else the one that `run` would take
    #[arg(value_name = "FILE|FOLDER")]
    path: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct LogArguments {
    /// What is logged to standard error: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: LevelFilter,
}

/// Reads an address to listen on.
fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    match text.parse()? {
        Bind::Tcp(addr) => Ok(addr),
        Bind::Unix(_) => Err("a Unix socket needs a configuration file".to_string()),
    }
}

/// Why the program ends without success.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The words do not fit together.
    #[error("{0}")]
    Words(String),
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// What the plan says cannot be done.
    #[error(transparent)]
    Process(#[from] ProcessError),
}

impl Failure {
    /// Source: sysexits(3): EX_CONFIG.
    fn exit_code(&self) -> u8 {
        match self {
            Self::Words(_) => 2,
            Self::Config(_) => 78,
            Self::Process(error) => error.exit_code(),
        }
    }

    /// The lines to say. Places in a configuration stand first in theirs, as programs expect it.
    fn lines(&self) -> Vec<String> {
        let prefix = match self {
            Self::Config(_) => "",
            Self::Words(_) | Self::Process(_) => "ringlane: ",
        };
        let text = self.to_string();
        text.lines().map(|line| format!("{prefix}{line}")).collect()
    }
}

/// Reads the arguments of the process and does what they say. Returns the exit code: 0 for success,
/// 2 for words that are not understood, 78 for what has to be configured differently, 1 otherwise.
pub fn main() -> ExitCode {
    let matches = Arguments::command().get_matches();
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let outcome = match arguments.command {
        Command::Run(arguments) => {
            let given = matches.subcommand_matches("run").map(run::given);
            run::run(*arguments, &given.unwrap_or_default())
        }
        Command::Check(arguments) => check(arguments),
        Command::Demo(arguments) => demo::run(&arguments).map_err(Failure::Process),
        Command::Testserver(arguments) => sample::run(&arguments).map_err(Failure::Process),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // The exit code says it too, should nobody take the lines or no thread be left.
            if let Ok(lines) = Lines::start(std::io::stderr()) {
                for line in failure.lines() {
                    lines.say(&line);
                }
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

fn check(arguments: CheckArguments) -> Result<(), Failure> {
    let path = match arguments.path {
        Some(path) => path,
        None => source::choose(None)?.path,
    };
    let plan = config::check(&path)?;
    let endpoints = plan.clusters.iter().map(|cluster| cluster.endpoints.len());
    let line = format!(
        "{}: ok: {} listeners, {} clusters, {} endpoints",
        path.display(),
        plan.listeners.len(),
        plan.clusters.len(),
        endpoints.sum::<usize>()
    );
    let out = Lines::start(std::io::stdout()).map_err(no_thread)?;
    out.say(&line);
    Ok(())
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

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
