//! The largest value of the last minute or two, kept by one thread and read by others.
//!
//! ```text
//!   minute:      previous            present
//!            |---------------|---------------|
//!   most:     <-------- the larger ------->
//! ```
//! A reader cannot ask for a new start, because only the owner writes. So the owner keeps the most
//! of two minutes, and the reader leaves out what is older, by its own clock: an owner that sleeps
//! need not be woken up for that.
//!
//! Memory: 32 bytes.
#![forbid(unsafe_code)]

use crate::bounds::PEAK_TIME;
use crate::metrics::Counter;
use crate::time::Instant;

/// A value that rises and falls, with the most that it has been lately. It has a single writer.
#[derive(Debug, Default)]
pub struct Peak {
    last: Counter,
    /// The most of the minute below, and of the one before it.
    present: Counter,
    previous: Counter,
    minute: Counter,
}

impl Peak {
    /// Takes note of the value, which holds until the next is recorded. Only the owner of the block
    /// that it is in may call this.
    ///
    /// Cost: two loads and two stores of a line that no other thread writes, some more once a
    /// minute.
    pub fn record(&self, value: u64, now: Instant) {
        let minute = minute_of(now);
        match minute.saturating_sub(self.minute.value()) {
            0 => self.present.set(self.present.value().max(value)),
            passed => {
                let earlier = if passed == 1 {
                    self.present.value()
                } else {
                    self.last.value()
                };
                self.previous.set(earlier);
                self.present.set(self.last.value().max(value));
                self.minute.set(minute);
            }
        }
        self.last.set(value);
    }

    /// Takes note that the value is no longer as large as was recorded. Only the owner may call
    /// this.
    pub fn settle(&self, value: u64) {
        self.last.set(value);
    }

    /// The value that was noted last.
    pub fn last(&self) -> u64 {
        self.last.value()
    }

    /// The most that the value has been in this minute and the one before. A moment at which the
    /// owner changes both may be missed.
    pub fn most(&self, now: Instant) -> u64 {
        let lately = match minute_of(now).saturating_sub(self.minute.value()) {
            0 => self.present.value().max(self.previous.value()),
            1 => self.present.value(),
            _ => 0,
        };
        lately.max(self.last.value())
    }
}

fn minute_of(now: Instant) -> u64 {
    now.as_nanos() / PEAK_TIME.as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    /// Records values at seconds, then looks at the most at others.
    fn check(recorded: &[(u64, u64)], expected: &[(u64, u64)]) {
        let peak = Peak::default();
        for (seconds, value) in recorded {
            peak.record(*value, at(*seconds));
        }
        for (seconds, most) in expected {
            assert_eq!(peak.most(at(*seconds)), *most, "{recorded:?} at {seconds}");
        }
    }

    #[test]
    fn the_most_of_this_minute_and_the_one_before_counts() {
        check(&[], &[(0, 0), (600, 0)]);
        check(&[(3, 5), (4, 9), (5, 2)], &[(5, 9), (119, 9), (120, 2)]);
        // It was 9 when the second minute began.
        check(&[(3, 9), (61, 5), (62, 1)], &[(62, 9), (120, 9), (180, 1)]);
        check(&[(3, 9), (4, 2), (61, 5)], &[(119, 9), (120, 5)]);
    }

    #[test]
    fn a_value_holds_while_its_owner_sleeps() {
        check(&[(3, 9), (4, 7)], &[(600, 7)]);
        check(&[(3, 9), (4, 7), (600, 1)], &[(600, 7), (660, 7), (720, 1)]);
    }

    #[test]
    fn what_is_settled_holds_from_then_on() {
        let peak = Peak::default();
        peak.record(9, at(3));
        peak.settle(2);
        assert_eq!((peak.last(), peak.most(at(3))), (2, 9));
        peak.record(3, at(600));
        assert_eq!(peak.most(at(600)), 3);
        peak.settle(0);
        peak.record(1, at(660));
        assert_eq!((peak.most(at(660)), peak.most(at(720))), (3, 1));
    }
}
