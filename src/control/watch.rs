//! Whether threads work: a worker that does not turn although it was nudged is stalled, and so is a
//! prober of which no probe ends.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::time::Instant;

/// What is known of one thread's progress.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    count: u64,
    /// When the count of what it does was last seen to have grown.
    moved: Instant,
    /// When it was first found idle since: before, it need not have had anything to do.
    idle_since: Option<Instant>,
    is_stalled: bool,
}

/// What a look at a thread has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It does something.
    Moving,
    /// It has done nothing since the last look; maybe there was nothing to do.
    Idle,
    /// It has done nothing for so long that something is wrong. Said once.
    Stalled(Duration),
    /// It does something again, after so long.
    Recovered(Duration),
}

impl Progress {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            count: 0,
            moved: now,
            idle_since: None,
            is_stalled: false,
        }
    }

    /// Looks at what a thread has done so far, which has to grow within `patience` once it was
    /// found idle. Whoever finds it idle may have to nudge it; the time counts from then, because
    /// control may not have looked for long itself.
    pub(super) fn look(&mut self, count: u64, patience: Duration, now: Instant) -> Found {
        let still_for = now - self.moved;
        if count != self.count {
            self.count = count;
            self.moved = now;
            self.idle_since = None;
            if std::mem::take(&mut self.is_stalled) {
                return Found::Recovered(still_for);
            }
            return Found::Moving;
        }
        let idle_since = *self.idle_since.get_or_insert(now);
        if now - idle_since >= patience && !self.is_stalled {
            self.is_stalled = true;
            return Found::Stalled(still_for);
        }
        Found::Idle
    }

    /// How long it has done nothing, if it is stalled.
    pub(super) fn stalled_for(&self, now: Instant) -> Option<Duration> {
        self.is_stalled.then(|| now - self.moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(3);

    fn at(seconds: u64) -> Instant {
        Instant::default() + Duration::from_secs(seconds)
    }

    #[test]
    fn who_does_nothing_is_stalled_until_it_does() {
        let mut progress = Progress::new(at(0));
        let mut check = |count, seconds, expected, stalled_for: Option<u64>| {
            assert_eq!(progress.look(count, PATIENCE, at(seconds)), expected);
            let stalled_for = stalled_for.map(Duration::from_secs);
            assert_eq!(progress.stalled_for(at(seconds)), stalled_for);
        };
        check(1, 1, Found::Moving, None);
        check(1, 2, Found::Idle, None);
        check(1, 4, Found::Idle, None);
        check(1, 5, Found::Stalled(Duration::from_secs(4)), Some(4));
        check(1, 6, Found::Idle, Some(5));
        check(2, 7, Found::Recovered(Duration::from_secs(6)), None);
        check(3, 8, Found::Moving, None);
    }

    #[test]
    fn who_was_not_found_idle_is_not_stalled_however_late_the_look_is() {
        let mut progress = Progress::new(at(0));
        assert_eq!(progress.look(1, PATIENCE, at(1)), Found::Moving);
        assert_eq!(progress.look(1, PATIENCE, at(1000)), Found::Idle);
        assert_eq!(progress.look(2, PATIENCE, at(1001)), Found::Moving);
    }
}
