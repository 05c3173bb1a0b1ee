//! A page of metrics: families of series, no more than there is room for.
//!
//! What the page holds is a copy, because what writes it wants to own what it writes.
//!
//! The page is in the older of the two text formats, which everything reads: a counter's family has
//! the `_total` in its name, there is no unit and no end mark. So a counter is described as one and
//! written like a gauge, which has no suffix of its own.
//!
//! Memory: about 40 bytes per series and 200 per row, until the page is written.
//! Source: Prometheus, "Exposition formats", text format 0.0.4.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode_registry;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabel, EncodeLabelSet, LabelSetEncoder, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::metrics::histogram::{BUCKETS, Totals, end_of};

/// What is written of many rows: one family of series, with one series of each row.
pub(super) struct Column<R> {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    read: fn(&R) -> Reading,
}

/// How the values of a family are to be understood.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// They only rise.
    Counter,
    Gauge,
    Histogram,
}

impl<R> Column<R> {
    /// A family whose values only rise; its name ends with `_total`.
    pub(super) const fn counter(
        name: &'static str,
        help: &'static str,
        read: fn(&R) -> Reading,
    ) -> Self {
        let kind = Kind::Counter;
        Self {
            name,
            help,
            kind,
            read,
        }
    }

    /// A family whose values rise and fall, or say that something is so.
    pub(super) const fn gauge(
        name: &'static str,
        help: &'static str,
        read: fn(&R) -> Reading,
    ) -> Self {
        let kind = Kind::Gauge;
        Self {
            name,
            help,
            kind,
            read,
        }
    }

    /// A family of times; its name ends with `_seconds`.
    pub(super) const fn histogram(
        name: &'static str,
        help: &'static str,
        read: fn(&R) -> Reading,
    ) -> Self {
        let kind = Kind::Histogram;
        Self {
            name,
            help,
            kind,
            read,
        }
    }
}

/// What a row has in a column.
#[derive(Debug)]
pub(super) enum Reading {
    /// Nothing.
    None,
    /// A whole number.
    Whole(u64),
    /// Any number.
    Real(f64),
    /// Times.
    Times(Box<Totals>),
    /// That all of this is so: a 1 with further labels.
    So(Vec<Label>),
}

impl Reading {
    /// A number that may be missing.
    pub(super) fn of_option(number: Option<impl Into<u64>>) -> Self {
        number.map_or(Self::None, |number| Self::Whole(number.into()))
    }

    /// How many series it takes.
    fn series_count(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Whole(_) | Self::Real(_) | Self::So(_) => 1,
            // One per end, one without end, the sum and the count.
            Self::Times(_) => ENDS_MICROS.len() + 3,
        }
    }

    fn write(&self, metric: &mut MetricEncoder<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Whole(number) => metric.encode_gauge(number),
            Self::Real(number) => metric.encode_gauge(number),
            Self::So(_) => metric.encode_gauge(&1u64),
            Self::Times(times) => {
                let (counts, beyond) = times.split_at(&ENDS_MICROS);
                let ends = ENDS_MICROS.iter().map(|micros| seconds(*micros));
                let mut buckets: Vec<(f64, u64)> = ends.zip(counts).collect();
                buckets.push((f64::INFINITY, beyond));
                let sum = seconds(times.sum_micros());
                metric.encode_histogram::<NoLabelSet>(sum, times.count(), &buckets, None)
            }
        }
    }
}

/// A label's name and value. The value may be any text.
pub(super) type Label = (&'static str, Cow<'static, str>);

/// What a row's series are told apart by.
#[derive(Clone, Debug, Default)]
pub(super) struct Labels(Vec<Label>);

impl<const COUNT: usize> From<[Label; COUNT]> for Labels {
    fn from(labels: [Label; COUNT]) -> Self {
        Self(labels.into())
    }
}

impl Labels {
    /// Adds one at the end.
    pub(super) fn push(&mut self, label: Label) {
        self.0.push(label);
    }
}

impl EncodeLabelSet for Labels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        for label in &self.0 {
            label.encode(encoder.encode_label())?;
        }
        Ok(())
    }
}

/// Families of series, as far as there is room.
#[derive(Debug)]
pub(super) struct Page {
    families: Vec<Family>,
    /// How many more series there may be.
    room: usize,
    /// The series that there was no room for.
    dropped: u64,
}

#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    series: Vec<(Arc<Labels>, Reading)>,
}

impl Page {
    /// Makes an empty page for so many series.
    pub(super) fn new(series_max: usize) -> Self {
        Self {
            families: Vec::new(),
            // One tells what is missing.
            room: series_max.saturating_sub(1),
            dropped: 0,
        }
    }

    /// Adds a family per column, and a row's series to each. Rows go in whole and in order; from
    /// the first that does not fit, none does.
    pub(super) fn add<R>(
        &mut self,
        columns: &[Column<R>],
        rows: impl IntoIterator<Item = (Labels, R)>,
    ) {
        let mut families: Vec<Family> = columns.iter().map(Family::of).collect();
        for (labels, row) in rows {
            let readings: Vec<Reading> = columns.iter().map(|column| (column.read)(&row)).collect();
            let count = readings.iter().map(Reading::series_count).sum();
            match self.room.checked_sub(count) {
                Some(room) => {
                    self.room = room;
                    let labels = Arc::new(labels);
                    for (family, reading) in families.iter_mut().zip(readings) {
                        family.add(&labels, reading);
                    }
                }
                None => {
                    self.room = 0;
                    self.dropped += count as u64;
                }
            }
        }
        families.retain(|family| !family.series.is_empty());
        self.families.append(&mut families);
    }

    /// Writes the page, and at its end how many series are missing.
    pub(super) fn write(mut self) -> String {
        const DROPPED: Column<u64> = Column::gauge(
            "ringlane_series_dropped",
            "Series that this answer had no room for.",
            |dropped| Reading::Whole(*dropped),
        );
        let mut family = Family::of(&DROPPED);
        family.add(&Arc::default(), Reading::Whole(self.dropped));
        self.families.push(family);
        let series = self.families.iter().map(|family| family.series.len());
        let mut text = String::with_capacity(series.sum::<usize>() * SERIES_BYTES);
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        // A string takes whatever is written.
        let _never_fails = encode_registry(&mut text, &registry);
        text
    }
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in &self.families {
            let kind = match family.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            for (labels, reading) in &family.series {
                if labels.0.is_empty() {
                    reading.write(&mut metric)?;
                } else {
                    reading.write(&mut metric.encode_family(labels.as_ref())?)?;
                }
            }
        }
        Ok(())
    }
}

impl Family {
    fn of<R>(column: &Column<R>) -> Self {
        Self {
            name: column.name,
            help: column.help,
            kind: column.kind,
            series: Vec::new(),
        }
    }

    fn add(&mut self, labels: &Arc<Labels>, reading: Reading) {
        let labels = match &reading {
            Reading::None => return,
            Reading::So(more) => {
                let mut all = labels.as_ref().clone();
                all.0.extend_from_slice(more);
                Arc::new(all)
            }
            Reading::Whole(_) | Reading::Real(_) | Reading::Times(_) => Arc::clone(labels),
        };
        self.series.push((labels, reading));
    }
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

/// About how long a series is, for a first guess.
const SERIES_BYTES: usize = 96;

/// Where histograms are cut: twice as long each time from 64 us to 4 s, from there four times as
/// long up to 72 minutes. Each is the end of a bucket, so the counts are exact.
const ENDS_MICROS: [u64; 22] = {
    let mut ends = [0; 22];
    let (mut place, mut bits) = (0, 6);
    while place < ends.len() {
        ends[place] = 1 << bits;
        bits += if bits < 22 { 1 } else { 2 };
        place += 1;
    }
    ends
};

const _: () = {
    assert!(ENDS_MICROS[0] == 64 && ENDS_MICROS[21] == 1 << 32);
    let (mut place, mut bucket) = (0, 0);
    while place < ENDS_MICROS.len() {
        while !matches!(end_of(bucket), Some(end) if end == ENDS_MICROS[place]) {
            bucket += 1;
            assert!(bucket < BUCKETS, "histograms are cut where a bucket ends");
        }
        place += 1;
    }
};
