//! What the page says, to the letter, and what becomes of what it has no room for.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::ops::Range;

use super::*;
use crate::bounds::METRIC_SERIES_MAX;
use crate::error::CloseReason;
use crate::id::{EndpointId, WorkerIndex};

/// All that a scrape borrows.
struct World {
    workers: Vec<Arc<WorkerCounters>>,
    states: Vec<WorkerState>,
    listeners: Vec<ListenerScrape>,
    counters: ClusterCounters,
    endpoints: Vec<Endpoint>,
}

impl World {
    /// Two workers, one listener with a limit and one without, and endpoints of these names.
    fn new(names: &[&str]) -> Self {
        let endpoints = (1u8..).zip(names).map(|(id, name)| {
            let address = Address::Tcp(([10, 0, 0, id], 80).into());
            Endpoint::new(EndpointId(id.into()), name.to_string(), address, 2)
        });
        let state = |acknowledged, stalled| WorkerState {
            acknowledged: Epoch(acknowledged),
            stalled,
        };
        Self {
            workers: vec![Arc::default(), Arc::default()],
            states: vec![state(7, None), state(5, Some(Duration::from_millis(2500)))],
            listeners: vec![
                ListenerScrape {
                    name: "web".into(),
                    addresses: vec!["0.0.0.0:80".into(), "unix:/run/web.sock".into()],
                    sessions: Some(Occupancy { now: 3, max: 50 }),
                },
                ListenerScrape {
                    name: "db".into(),
                    addresses: vec!["[::]:5432".into()],
                    sessions: None,
                },
            ],
            counters: ClusterCounters::new(2),
            endpoints: endpoints.collect(),
        }
    }

    /// Lets the workers have done something.
    fn with_traffic(self) -> Self {
        let (one, other) = (&self.workers[0], &self.workers[1]);
        one.accepted.add(30);
        other.accepted.add(10);
        one.open_sessions.set(2);
        other.open_sessions.set(2);
        one.turns.add(100);
        one.completions.add(250);
        one.turn_completions.record(64, at(30));
        one.buffers.set(1024);
        one.held_buffers.record(1000, at(30));
        one.held_buffers.settle(24);
        one.pipes.set(3);
        other.memory_pipes.set(1);
        other.starved.add(5);
        one.closed(CloseReason::Finished).add(25);
        other.closed(CloseReason::Finished).add(8);
        other.closed(CloseReason::ClientReset).add(1);
        one.client_bytes.add(1 << 53);
        other.client_bytes.add(1);
        let worker = WorkerIndex(1);
        let endpoint = &self.endpoints[0];
        assert!(endpoint.try_open_session(None));
        endpoint.counters(worker).sessions.add(9);
        endpoint.counters(worker).connect_failures.add(2);
        endpoint.counters(worker).bytes.add(12_345);
        endpoint.count_failure();
        for (worker, times) in (1..).zip(self.counters.all()) {
            times.connect.record(Duration::from_micros(63 * worker));
            times.first_byte.record(Duration::from_millis(3 * worker));
            times.duration.record(Duration::from_secs(5000 * worker));
        }
        self
    }

    /// A cluster with the endpoints from one position up to another.
    fn cluster<'a>(&'a self, name: &'a str, positions: Range<usize>) -> ClusterScrape<'a> {
        let scrape = |endpoint: &'a Endpoint| EndpointScrape {
            name: &endpoint.name,
            address: &endpoint.address,
            endpoint,
            weight: 3,
            is_up: true,
            is_eligible: true,
            health: "up",
            breaker: "closed",
            admin: "enabled",
            max_connections: None,
        };
        ClusterScrape {
            name,
            counters: Some(&self.counters),
            mode: "normal",
            endpoints: self.endpoints[positions].iter().map(scrape).collect(),
            lookups: 4,
            lookup_failures: 1,
        }
    }

    fn scrape<'a>(&'a self, clusters: &'a [ClusterScrape<'a>]) -> Scrape<'a> {
        let prober = ProberScrape {
            targets: 2,
            probes: 20,
            failures: 1,
            late: 0,
            lateness: Totals::of([5, 4, 3], 14),
            reports_dropped: 0,
        };
        Scrape {
            now: at(40),
            workers: &self.workers,
            worker_states: &self.states,
            listeners: &self.listeners,
            clusters,
            process: ProcessScrape {
                version: "1.2.3",
                features: "multishot receive with a byte budget: used".into(),
                start_time: 1_700_000_000,
                sessions: Occupancy { now: 4, max: 100 },
                epoch: Epoch(7),
                prober: Some(prober),
                log_lines_dropped: 2,
                access_records_dropped: 3,
            },
            series_max: METRIC_SERIES_MAX,
        }
    }
}

fn at(seconds: u64) -> Instant {
    Instant::from_nanos(seconds * 1_000_000_000)
}

/// The lines that are series, as what comes before the value and the value.
fn series(text: &str) -> Vec<(&str, f64)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let split = |line: &'_ str| -> Option<(usize, f64)> {
        let space = line.rfind(' ')?;
        Some((space, line[space + 1..].parse().ok()?))
    };
    lines
        .map(|line| {
            let (space, value) = split(line).unwrap_or_else(|| panic!("no series: {line}"));
            (&line[..space], value)
        })
        .collect()
}

/// The value of the only series that begins like this.
fn value(text: &str, begin: &str) -> f64 {
    let all = series(text);
    let found: Vec<_> = all
        .iter()
        .filter(|(key, _)| key.starts_with(begin))
        .collect();
    match found[..] {
        [(_, value)] => *value,
        _ => panic!("{begin}: {found:?}"),
    }
}

#[test]
fn a_small_scrape_is_this_text() {
    let world = World::new(&["a", "b"]).with_traffic();
    let mut clusters = [world.cluster("web", 0..2)];
    let down = &mut clusters[0].endpoints[1];
    (down.is_up, down.is_eligible, down.max_connections) = (false, false, Some(50));
    (down.health, down.breaker, down.admin) = ("down", "open", "draining");
    let text = render(&world.scrape(&clusters));
    assert!(text == include_str!("sample.txt"), "it is now:\n{text}");
}

#[test]
fn what_describes_a_family_is_right() {
    let world = World::new(&["a"]).with_traffic();
    let text = render(&world.scrape(&[world.cluster("web", 0..1)]));
    let (mut family, mut kind) = ("", "");
    let mut described = HashSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a name and a text");
            assert!(described.insert(name), "{name} is described twice");
            assert!(
                name.starts_with("ringlane_") && help.ends_with('.'),
                "{line}"
            );
            family = name;
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, word) = rest.split_once(' ').expect("a name and a word");
            assert_eq!(name, family);
            assert_eq!(word == "counter", name.ends_with("_total"), "{line}");
            assert_eq!(
                word == "histogram",
                name.ends_with("_seconds") && word != "gauge"
            );
            kind = word;
        } else {
            assert!(!line.starts_with('#'), "{line}");
            let name = line.split(['{', ' ']).next().expect("a name");
            let suffix = name
                .strip_prefix(family)
                .expect("it is of the family above");
            let suffixes: &[_] = match kind {
                "histogram" => &["_sum", "_count", "_bucket"],
                _ => &[""],
            };
            assert!(suffixes.contains(&suffix), "{line}");
        }
    }
    assert!(described.len() > 50);
}

#[test]
fn buckets_hold_what_was_recorded() {
    let world = World::new(&["a"]);
    let mut rng = fastrand::Rng::with_seed(7);
    let mut micros: Vec<u64> = (0..2000).map(|_| 1 << rng.u32(0..36)).collect();
    for value in &mut micros {
        *value += rng.u64(0..*value);
        let worker = rng.usize(0..2);
        let times = &world.counters.all()[worker];
        times.first_byte.record(Duration::from_micros(*value));
    }
    let text = render(&world.scrape(&[world.cluster("web", 0..1)]));
    let all = series(&text);
    let mut ends = 0;
    for (key, count) in &all {
        let Some(end) = key.strip_prefix("ringlane_cluster_first_byte_seconds_bucket{le=\"") else {
            continue;
        };
        let end = end.split('"').next().expect("an end");
        let end: f64 = end.parse().expect("+Inf is a number too");
        let is_below = |value: &&u64| (**value as f64) < end * 1e6;
        assert_eq!(
            *count,
            micros.iter().filter(is_below).count() as f64,
            "{key}"
        );
        ends += 1;
    }
    assert_eq!(ends, 23);
    let of = |suffix| {
        value(
            &text,
            &format!("ringlane_cluster_first_byte_seconds_{suffix}{{"),
        )
    };
    assert_eq!(of("count"), 2000.0);
    assert_eq!(of("sum"), micros.iter().sum::<u64>() as f64 / 1e6);
}

#[test]
fn what_has_no_room_is_left_out_whole_and_counted() {
    let world = World::new(&["a", "b", "c"]);
    let clusters = [world.cluster("web", 0..2), world.cluster("db", 2..3)];
    let mut scrape = world.scrape(&clusters);
    let whole = render(&scrape);
    let total = series(&whole).len();
    let mut shown_before = 0;
    for series_max in 0..total + 5 {
        scrape.series_max = series_max;
        let text = render(&scrape);
        let shown = series(&text).len();
        assert!(shown <= series_max.max(1), "{shown} of {series_max}");
        assert!(shown >= shown_before, "more room shows less");
        shown_before = shown;
        let dropped = value(&text, "ringlane_series_dropped");
        assert_eq!(shown as f64 + dropped, total as f64);
        let endpoints = |name: &str| text.matches(&format!("endpoint=\"{name}\"")).count();
        let counts = ["a", "b", "c"].map(endpoints);
        assert!(
            counts.iter().all(|count| [0, 9].contains(count)),
            "{counts:?}"
        );
        assert!(counts.is_sorted_by(|one, next| one >= next), "{counts:?}");
        let is_cluster_there = text.contains("ringlane_cluster_mode{cluster=\"db\"");
        assert!(is_cluster_there || counts[0] == 0, "clusters come first");
    }
    assert_eq!(shown_before, total);
}

#[test]
fn endpoints_of_one_name_are_told_apart() {
    let world = World::new(&["a", "b", "a", "a"]);
    let clusters = [world.cluster("web", 0..3), world.cluster("db", 3..4)];
    let text = render(&world.scrape(&clusters));
    let keys: Vec<_> = series(&text).into_iter().map(|(key, _)| key).collect();
    let distinct: HashSet<_> = keys.iter().collect();
    assert_eq!(distinct.len(), keys.len());
    for labels in [
        r#"{cluster="web",endpoint="a",id="1"}"#,
        r#"{cluster="web",endpoint="b"}"#,
        r#"{cluster="web",endpoint="a",id="3"}"#,
        r#"{cluster="db",endpoint="a"}"#,
    ] {
        assert!(
            keys.contains(&format!("ringlane_endpoint_up{labels}").as_str()),
            "{labels}"
        );
    }
}

#[test]
fn names_may_be_any_text() {
    let world = World::new(&["a\"} 1\nb\\", "\u{e9} \u{1}"]);
    let text = render(&world.scrape(&[world.cluster("}\",x=\"", 0..2)]));
    for labels in [
        r#"{cluster="}\",x=\"",endpoint="a\"} 1\nb\\"}"#,
        "{cluster=\"}\\\",x=\\\"\",endpoint=\"\u{e9} \u{1}\"}",
    ] {
        assert_eq!(value(&text, &format!("ringlane_endpoint_up{labels}")), 1.0);
    }
    assert_eq!(series(&text).len(), series(&text.replace("\\n", "")).len());
}

#[test]
fn what_there_is_not_is_not_told() {
    let world = World::new(&["a"]);
    let mut cluster = world.cluster("web", 0..1);
    cluster.counters = None;
    let clusters = [cluster];
    let mut scrape = world.scrape(&clusters);
    (scrape.worker_states, scrape.listeners) = (&[], &[]);
    scrape.process.prober = None;
    let text = render(&scrape);
    for name in [
        "_probe",
        "_listener_",
        "_epoch_lag",
        "_stalled_",
        "_bucket",
        "_endpoint_sessions_limit",
    ] {
        assert!(!text.contains(name), "{name}");
    }
    scrape.workers = &[];
    assert!(render(&scrape).contains("\nringlane_workers 0\n"));
}
