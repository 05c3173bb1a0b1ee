//! Prints what was measured: one table per workload, and what is known of the machine.

use std::collections::BTreeMap;
use std::time::Duration;
use std::{fs, io, thread};

use super::client::Fault;
use super::launch::Kind;
use super::meter::{self, Sample};
use super::sys;
use super::workload::Workload;

/// The samples of one round, in the order of the table's relays.
pub(crate) type Round = Vec<Option<Sample>>;

/// All rounds of one workload.
pub(crate) struct Table {
    relays: Vec<Kind>,
    rounds: Vec<Round>,
}

impl Table {
    /// An empty table for these relays.
    pub(crate) fn new(relays: Vec<Kind>) -> Self {
        Self {
            relays,
            rounds: Vec::new(),
        }
    }

    /// Adds a round.
    pub(crate) fn push(&mut self, round: Round) {
        self.rounds.push(round);
    }

    /// True if no answer was lost or wrong, and Ringlane used no io_uring worker thread.
    pub(crate) fn is_sound(&self) -> bool {
        (0..self.relays.len()).all(|index| {
            let pure = |sample: &Sample| {
                self.relays[index] != Kind::Ringlane || sample.ring_workers.is_empty()
            };
            let sound = |sample: &Sample| sample.faults.is_empty() && sample.units > 0;
            self.samples(index)
                .all(|sample| sound(sample) && pure(sample))
        })
    }

    /// Prints the table, then what went wrong.
    pub(crate) fn print(&self, workload: Workload) {
        println!("\n{}", workload.title());
        println!(
            "{:<9} {:>8} {:>8}   {:<19} {:<19} {:<19} {:>9} {:>9} {:>9}",
            "relay",
            "cpu us",
            "task us",
            "/floor (min-max)",
            "task/floor",
            "/haproxy (min-max)",
            "units/s",
            "p50 us",
            "p99 us"
        );
        for (index, kind) in self.relays.iter().enumerate() {
            let column =
                |value: fn(&Sample) -> f64| median(self.samples(index).map(value).collect());
            println!(
                "{:<9} {:>8.2} {:>8.2}   {:<19} {:<19} {:<19} {:>9.0} {:>9.1} {:>9.1}",
                kind.name(),
                column(|sample| sample.cpu_us),
                column(|sample| sample.task_us),
                self.ratio(index, Kind::Floor, |sample| sample.cpu_us),
                self.ratio(index, Kind::Floor, |sample| sample.task_us),
                self.ratio(index, Kind::Haproxy, |sample| sample.cpu_us),
                column(|sample| sample.units_per_second),
                column(|sample| sample.p50_us),
                column(|sample| sample.p99_us),
            );
        }
        for (index, kind) in self.relays.iter().enumerate() {
            print_faults(*kind, self.samples(index));
        }
    }

    fn samples(&self, index: usize) -> impl Iterator<Item = &Sample> {
        self.rounds
            .iter()
            .filter_map(move |round| round[index].as_ref())
    }

    /// A cost per unit as a ratio to that of another relay in the same round: median, least and most.
    fn ratio(&self, index: usize, to: Kind, cost: fn(&Sample) -> f64) -> String {
        let Some(base) = self.relays.iter().position(|kind| *kind == to) else {
            return "-".to_owned();
        };
        let ratio = |round: &Round| {
            let (sample, base) = (round[index].as_ref()?, round[base].as_ref()?);
            let comparable = sample.units > 0 && base.units > 0 && cost(base) > 0.0;
            comparable.then(|| cost(sample) / cost(base))
        };
        let ratios: Vec<f64> = self.rounds.iter().filter_map(ratio).collect();
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let most = ratios.iter().copied().fold(0.0, f64::max);
        if ratios.is_empty() {
            return "-".to_owned();
        }
        format!("{:.3} ({least:.2}-{most:.2})", median(ratios))
    }
}

fn print_faults<'a>(kind: Kind, samples: impl Iterator<Item = &'a Sample>) {
    let mut faults: BTreeMap<Fault, u64> = BTreeMap::new();
    let mut ring_workers = Vec::new();
    for sample in samples {
        for (fault, count) in &sample.faults {
            *faults.entry(*fault).or_default() += count;
        }
        ring_workers.extend(sample.ring_workers.iter().map(String::as_str));
    }
    if !faults.is_empty() {
        println!("{}: ERRORS {faults:?}", kind.name());
    }
    if !ring_workers.is_empty() {
        ring_workers.sort_unstable();
        ring_workers.dedup();
        println!(
            "{}: io_uring worker threads under load: {}",
            kind.name(),
            ring_workers.join(" ")
        );
    }
}

/// Prints what the figures depend on, among them how busy the relays' CPU is without any load.
pub(crate) fn print_machine(cpu: usize, congestion: Option<&str>) -> io::Result<()> {
    let read = |path: &str| Ok::<_, io::Error>(fs::read_to_string(path)?.trim().to_owned());
    let release = read("/proc/sys/kernel/osrelease")?;
    let congestion = match congestion {
        Some(name) => name.to_owned(),
        None => read("/proc/sys/net/ipv4/tcp_congestion_control")?,
    };
    let reuse = read("/proc/sys/net/ipv4/tcp_tw_reuse")?;
    let cpus = thread::available_parallelism()?;
    println!(
        "kernel {release}, {cpus} CPUs, congestion control {congestion}, tcp_tw_reuse {reuse}"
    );
    let before = meter::busy_ticks(cpu);
    thread::sleep(NOISE_WINDOW);
    let ticks = meter::busy_ticks(cpu).saturating_sub(before);
    let percent =
        ticks as f64 * 100.0 / (sys::ticks_per_second() as f64 * NOISE_WINDOW.as_secs_f64());
    println!("CPU {cpu} without load: {percent:.0} % busy");
    if percent > NOISE_PERCENT_MOST {
        println!(
            "WARNING: something else uses that CPU; trust neither the figures nor small differences of ratios"
        );
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => f64::midpoint(values[count / 2 - 1], values[count / 2]),
    }
}

const NOISE_WINDOW: Duration = Duration::from_millis(500);
const NOISE_PERCENT_MOST: f64 = 5.0;
