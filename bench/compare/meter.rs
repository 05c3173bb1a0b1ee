//! Reads off what a relay uses: its CPU's busy time, its threads' run time, its io_uring worker threads.

use std::collections::BTreeMap;
use std::fs;

use super::client::Fault;
use super::recorder::{Observer, Tally};
use super::sys;

/// Watches one relay during one measurement.
pub(crate) struct Meter {
    cpu: usize,
    process: u32,
    begin: Reading,
    end: Reading,
    ring_workers: Vec<String>,
}

/// What one measurement of one relay gave.
pub(crate) struct Sample {
    /// Requests, connections or MiB.
    pub(crate) units: u64,
    /// The same, by second.
    pub(crate) units_per_second: f64,
    /// Busy time of the relay's CPU per unit, whoever used it.
    pub(crate) cpu_us: f64,
    /// Run time of the relay's threads per unit.
    pub(crate) task_us: f64,
    /// The median latency.
    pub(crate) p50_us: f64,
    /// The latency that 1 % exceed.
    pub(crate) p99_us: f64,
    /// What went wrong.
    pub(crate) faults: BTreeMap<Fault, u64>,
    /// Names of io_uring worker threads that were seen.
    pub(crate) ring_workers: Vec<String>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Reading {
    busy_ticks: u64,
    task_ns: u64,
}

impl Meter {
    /// For the relay of that process id on that CPU.
    pub(crate) fn new(cpu: usize, process: u32) -> Self {
        let (begin, end) = (Reading::default(), Reading::default());
        Self {
            cpu,
            process,
            begin,
            end,
            ring_workers: Vec::new(),
        }
    }

    /// Combines what was read with what was counted.
    pub(crate) fn sample(self, tally: Tally) -> Sample {
        let per_unit = |us: f64| us / (tally.units.max(1)) as f64;
        let busy_ticks = self.end.busy_ticks.saturating_sub(self.begin.busy_ticks);
        let task_ns = self.end.task_ns.saturating_sub(self.begin.task_ns);
        let us = |quantile| tally.latency.value_at_quantile(quantile) as f64 / 1e3;
        Sample {
            units: tally.units,
            units_per_second: tally.units as f64 / tally.time.as_secs_f64(),
            cpu_us: per_unit(busy_ticks as f64 * 1e6 / sys::ticks_per_second() as f64),
            task_us: per_unit(task_ns as f64 / 1e3),
            p50_us: us(0.5),
            p99_us: us(0.99),
            faults: tally.faults,
            ring_workers: self.ring_workers,
        }
    }

    fn read(&self) -> Reading {
        Reading {
            busy_ticks: busy_ticks(self.cpu),
            task_ns: task_ns(self.process),
        }
    }
}

impl Observer for Meter {
    fn begin(&mut self) {
        self.begin = self.read();
    }

    fn end(&mut self) {
        self.end = self.read();
        self.ring_workers = ring_workers(self.process);
    }
}

/// The time that a CPU was not idle, in ticks since the start: user, nice, system, irq, softirq, steal.
/// Source: proc_stat(5).
pub(crate) fn busy_ticks(cpu: usize) -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let name = format!("cpu{cpu} ");
    let Some(line) = text.lines().find_map(|line| line.strip_prefix(&name)) else {
        return 0;
    };
    let fields: Vec<u64> = line
        .split_whitespace()
        .filter_map(|field| field.parse().ok())
        .collect();
    [0, 1, 2, 5, 6, 7]
        .iter()
        .filter_map(|&index| fields.get(index))
        .sum()
}

/// The run time of all threads of a process and of its children. Source: the kernel's sched-stats.rst.
fn task_ns(process: u32) -> u64 {
    let first = |text: String| text.split_whitespace().next()?.parse::<u64>().ok();
    let ns = |task: &String| first(fs::read_to_string(format!("{task}/schedstat")).ok()?);
    tasks(process).iter().filter_map(ns).sum()
}

/// The names of a process's io_uring worker threads.
fn ring_workers(process: u32) -> Vec<String> {
    let name = |task: &String| fs::read_to_string(format!("{task}/comm")).ok();
    let names = tasks(process)
        .iter()
        .filter_map(name)
        .map(|name| name.trim().to_owned())
        .collect::<Vec<_>>();
    names
        .into_iter()
        .filter(|name| name.starts_with("iou-wrk"))
        .collect()
}

/// The folders in /proc of the threads of a process and of its children.
pub(crate) fn tasks(process: u32) -> Vec<String> {
    let mut tasks = Vec::new();
    let mut processes = vec![process.to_string()];
    while let Some(process) = processes.pop() {
        let Ok(entries) = fs::read_dir(format!("/proc/{process}/task")) else {
            continue;
        };
        for entry in entries.flatten() {
            let task = entry.path().display().to_string();
            let children = fs::read_to_string(format!("{task}/children")).unwrap_or_default();
            processes.extend(children.split_whitespace().map(str::to_owned));
            tasks.push(task);
        }
    }
    tasks
}
