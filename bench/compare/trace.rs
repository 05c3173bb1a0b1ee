//! Counts the system calls of relays per unit of work, by strace, and prints floor and Ringlane side by side.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{self, Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, io, thread};

use super::launch::Kind;
use super::meter;
use super::recorder::{Extent, Observer, Recorder};
use super::site::{Ground, Site};
use super::sys;
use super::workload::{Stage, Workload};

/// Runs a fixed number of units through each relay and prints the calls; true if all went well.
pub(crate) fn compare(
    workload: Workload,
    relays: &[Kind],
    ground: &Ground<'_>,
) -> io::Result<bool> {
    let Some(units) = workload.traced_units() else {
        return Ok(true);
    };
    let mut sound = true;
    let mut columns = Vec::new();
    for kind in relays {
        let site = Site::set_up(*kind, ground)?.map_err(io::Error::other)?;
        let mut trace = Trace::new(site.relay().id());
        let recorder = Recorder::new(Extent::Units(units), &mut trace);
        let mut stage = Stage::new(site.relay().address(), recorder)?;
        workload.run(&mut stage)?;
        let tally = stage.recorder.into_tally();
        if tally.units != units || !tally.faults.is_empty() {
            println!(
                "{}: ERRORS {:?}, {} answers",
                kind.name(),
                tally.faults,
                tally.units
            );
            sound = false;
        }
        columns.push(Column {
            kind: *kind,
            calls: trace.into_calls()?,
        });
        sound &= site.tear_down();
    }
    println!(
        "\n{}\nsystem calls per unit, over {units} units",
        workload.title()
    );
    print(&columns, units);
    Ok(sound)
}

struct Column {
    kind: Kind,
    calls: BTreeMap<String, u64>,
}

impl Column {
    fn total(&self) -> u64 {
        self.calls.values().sum()
    }
}

fn print(columns: &[Column], units: u64) {
    let line = |name: &str, cells: Vec<String>| {
        let cells: String = cells.iter().map(|cell| format!(" {cell:>10}")).collect();
        println!("{name:<18}{cells}");
    };
    let per_unit = |calls: u64| format!("{:.4}", calls as f64 / units as f64);
    line(
        "",
        columns
            .iter()
            .map(|column| column.kind.name().to_owned())
            .collect(),
    );
    let names: BTreeSet<&String> = columns
        .iter()
        .flat_map(|column| column.calls.keys())
        .collect();
    for name in names {
        let calls = |column: &Column| column.calls.get(name).copied().unwrap_or(0);
        line(
            name,
            columns
                .iter()
                .map(|column| per_unit(calls(column)))
                .collect(),
        );
    }
    line(
        "total",
        columns
            .iter()
            .map(|column| per_unit(column.total()))
            .collect(),
    );
    let Some((first, rest)) = columns.split_first() else {
        return;
    };
    for column in rest {
        let ratio = column.total() as f64 / first.total().max(1) as f64;
        println!("{} / {}: {ratio:.3}", column.kind.name(), first.kind.name());
    }
}

/// An attached strace, from the beginning of a measurement to its end.
struct Trace {
    process: u32,
    output: PathBuf,
    tracer: io::Result<Option<Child>>,
}

impl Trace {
    fn new(process: u32) -> Self {
        let name = format!("ringlane-compare-{}-trace-{process}", process::id());
        Self {
            process,
            output: env::temp_dir().join(name),
            tracer: Ok(None),
        }
    }

    fn attach(&self) -> io::Result<Child> {
        let mut command = Command::new("strace");
        command.args([
            "-c",
            "-f",
            "-U",
            "calls,name",
            "-p",
            &self.process.to_string(),
            "-o",
        ]);
        command
            .arg(&self.output)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut tracer = command.spawn()?;
        let deadline = Instant::now() + ATTACH_MOST;
        while !self.is_attached() {
            if Instant::now() > deadline || tracer.try_wait()?.is_some() {
                end(tracer);
                return Err(io::Error::other("strace did not attach"));
            }
            thread::sleep(ATTACH_PAUSE);
        }
        Ok(tracer)
    }

    fn is_attached(&self) -> bool {
        meter::tasks(self.process).iter().all(|task| {
            let status = fs::read_to_string(format!("{task}/status")).unwrap_or_default();
            let tracer = status
                .lines()
                .find_map(|line| line.strip_prefix("TracerPid:"));
            tracer.is_some_and(|tracer| tracer.trim() != "0")
        })
    }

    /// The calls by name, from strace's table.
    fn into_calls(mut self) -> io::Result<BTreeMap<String, u64>> {
        self.end();
        std::mem::replace(&mut self.tracer, Ok(None))?;
        let text = fs::read_to_string(&self.output)?;
        let calls = text.lines().filter_map(|line| {
            let mut fields = line.split_whitespace();
            let (calls, name) = (fields.next()?.parse().ok()?, fields.next()?);
            (name != "total").then(|| (name.to_owned(), calls))
        });
        Ok(calls.collect())
    }
}

impl Observer for Trace {
    fn begin(&mut self) {
        self.tracer = self.attach().map(Some);
    }

    fn end(&mut self) {
        if let Ok(tracer) = &mut self.tracer
            && let Some(tracer) = tracer.take()
        {
            end(tracer);
        }
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        Observer::end(self);
        let _ = fs::remove_file(&self.output);
    }
}

/// Lets strace detach and write its table.
fn end(mut tracer: Child) {
    sys::signal(tracer.id(), libc::SIGINT);
    let deadline = Instant::now() + ATTACH_MOST;
    while let Ok(None) = tracer.try_wait() {
        if Instant::now() > deadline {
            let _ = tracer.kill();
            let _ = tracer.wait();
            return;
        }
        thread::sleep(ATTACH_PAUSE);
    }
}

const ATTACH_MOST: Duration = Duration::from_secs(5);
const ATTACH_PAUSE: Duration = Duration::from_millis(10);
