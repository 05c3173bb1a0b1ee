//! A histogram of times that one thread writes and others read.
//!
//! Buckets are log-linear: each power of two of microseconds is cut into four, so a value is known
//! to a quarter, from a microsecond to more than an hour.
//!
//! Memory: 1 KiB.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::metrics::Counter;

/// Bits of a value, after its first, that choose a bucket.
const LINEAR_BITS: u32 = 2;

/// How many buckets there are.
pub const BUCKETS: usize = 127;

/// Counts of values by size, with a single writer.
#[derive(Debug)]
pub struct Histogram {
    buckets: [Counter; BUCKETS],
    /// The sum of all values, in microseconds.
    sum: Counter,
}

const _: () = assert!(size_of::<Histogram>() == 1024);

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: std::array::from_fn(|_| Counter::default()),
            sum: Counter::default(),
        }
    }
}

impl Histogram {
    /// Counts a value. Only the owner of the block that the histogram is in may call this.
    ///
    /// Cost: two loads and two stores of lines that no other thread writes.
    pub fn record(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket_of(micros)].add(1);
        self.sum.add(micros);
    }

    /// The counts by bucket, in order.
    pub fn counts(&self) -> impl Iterator<Item = u64> {
        self.buckets.iter().map(Counter::value)
    }

    /// The sum of all values, in microseconds.
    pub fn sum_micros(&self) -> u64 {
        self.sum.value()
    }
}

/// The counts of one histogram or of several together, at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals {
    counts: [u64; BUCKETS],
    sum_micros: u64,
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            counts: [0; BUCKETS],
            sum_micros: 0,
        }
    }
}

impl Totals {
    /// Makes them of counts by bucket, in order, and the sum of all values in microseconds. Counts
    /// beyond the last bucket are left out.
    pub fn of(counts: impl IntoIterator<Item = u64>, sum_micros: u64) -> Self {
        let mut totals = Self::default();
        totals.add_counts(counts, sum_micros);
        totals
    }

    /// Adds what a histogram has counted.
    pub fn add(&mut self, histogram: &Histogram) {
        self.add_counts(histogram.counts(), histogram.sum_micros());
    }

    fn add_counts(&mut self, counts: impl IntoIterator<Item = u64>, sum_micros: u64) {
        for (total, count) in self.counts.iter_mut().zip(counts) {
            *total = total.wrapping_add(count);
        }
        self.sum_micros = self.sum_micros.wrapping_add(sum_micros);
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Splits the values at rising ends, in microseconds: how many are less than the first end, how
    /// many at least that and less than the second, and so on, and how many are left over. Exact
    /// where each is the end of a bucket; a value counts as whole microseconds, rounded down.
    pub fn split_at<const ENDS: usize>(&self, ends: &[u64; ENDS]) -> ([u64; ENDS], u64) {
        let (mut parts, mut left_over) = ([0; ENDS], 0);
        let mut part = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            let end = end_of(bucket).unwrap_or(u64::MAX);
            while ends.get(part).is_some_and(|part_end| *part_end < end) {
                part += 1;
            }
            match parts.get_mut(part) {
                Some(total) => *total += count,
                None => left_over += count,
            }
        }
        (parts, left_over)
    }

    /// The sum of all values, in microseconds.
    pub fn sum_micros(&self) -> u64 {
        self.sum_micros
    }
}

/// The bucket that counts a value.
fn bucket_of(micros: u64) -> usize {
    let first = 1 << LINEAR_BITS;
    if micros < first {
        return micros as usize;
    }
    let exponent = micros.ilog2();
    let linear = (micros >> (exponent - LINEAR_BITS)) - first;
    let bucket = ((exponent - LINEAR_BITS + 1) << LINEAR_BITS) as usize + linear as usize;
    bucket.min(BUCKETS - 1)
}

/// The least value, in microseconds, that no longer belongs to a bucket; the last has no end.
pub const fn end_of(bucket: usize) -> Option<u64> {
    if bucket + 1 >= BUCKETS {
        return None;
    }
    let first = 1 << LINEAR_BITS;
    let next = bucket as u64 + 1;
    if next < first {
        return Some(next);
    }
    let exponent = (next >> LINEAR_BITS) - 1;
    Some((first + next % first) << exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_the_bucket_that_ends_after_it() {
        let mut values: Vec<u64> = (0..5_000).collect();
        values.extend((12..40).flat_map(|bits| [(1 << bits) - 1, 1 << bits, (1 << bits) + 1]));
        for value in values {
            let bucket = bucket_of(value);
            assert!(end_of(bucket).is_none_or(|end| value < end), "{value}");
            let begin = bucket.checked_sub(1).and_then(end_of).unwrap_or(0);
            assert!(value >= begin, "{value}: bucket {bucket} begins at {begin}");
        }
    }

    #[test]
    fn buckets_are_narrow_up_to_an_hour() {
        for bucket in 4..BUCKETS - 1 {
            let (begin, end) = (end_of(bucket - 1), end_of(bucket));
            let (begin, end) = (begin.expect("an end"), end.expect("an end"));
            assert!(begin < end && end - begin <= begin.div_ceil(4));
        }
        let last = end_of(BUCKETS - 2).expect("an end");
        assert!(last > 3_600_000_000, "{last}");
    }

    #[test]
    fn several_are_counted_together() {
        let (one, other) = (Histogram::default(), Histogram::default());
        for micros in [0, 63, 64, 127, 128] {
            one.record(Duration::from_micros(micros));
        }
        other.record(Duration::from_micros(100));
        other.record(Duration::from_secs(1 << 20));
        let mut totals = Totals::default();
        totals.add(&one);
        totals.add(&other);
        assert_eq!(totals.count(), 7);
        assert_eq!(totals.sum_micros(), 382 + 100 + (1_000_000 << 20));
        assert_eq!(totals.split_at(&[64, 128, 1 << 32]), ([2, 3, 1], 1));
        assert_eq!(totals.split_at(&[1, 1 << 20]), ([1, 5], 1));
        assert_eq!(Totals::of(one.counts(), 382).count(), 5);
    }

    #[test]
    fn what_is_recorded_is_counted() {
        let histogram = Histogram::default();
        for time in [Duration::ZERO, Duration::from_micros(7), Duration::MAX] {
            histogram.record(time);
        }
        assert_eq!(histogram.counts().sum::<u64>(), 3);
        assert_eq!(histogram.counts().nth(7), Some(1));
        assert_eq!(histogram.counts().last(), Some(1));
    }
}
