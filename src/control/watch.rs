//! Whether workers work: who does not turn although it was nudged is stalled.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::bounds::STALL_TIME;
use crate::metrics::WorkerCounters;
use crate::time::Instant;

/// What is known of one worker's progress.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    turns: u64,
    /// When the turns were last seen to have grown.
    moved: Instant,
    /// When it was first nudged since: before, it need not have had anything to do.
    nudged: Option<Instant>,
    is_stalled: bool,
}

/// What a look at a worker has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It turns.
    Moving,
    /// It has not turned since the last look; maybe it only has nothing to do.
    Idle,
    /// It has not turned for so long, although it was nudged. Said once.
    Stalled(Duration),
    /// It turns again, after so long.
    Recovered(Duration),
}

impl Progress {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            turns: 0,
            moved: now,
            nudged: None,
            is_stalled: false,
        }
    }

    /// Looks at a worker. Whoever finds it idle has to nudge it, and that time counts: control may
    /// not have looked for long itself.
    pub(super) fn look(&mut self, counters: &WorkerCounters, now: Instant) -> Found {
        let turns = counters.turns.value();
        let still_for = now - self.moved;
        if turns != self.turns {
            self.turns = turns;
            self.moved = now;
            self.nudged = None;
            if std::mem::take(&mut self.is_stalled) {
                return Found::Recovered(still_for);
            }
            return Found::Moving;
        }
        let nudged = *self.nudged.get_or_insert(now);
        if now - nudged >= STALL_TIME && !self.is_stalled {
            self.is_stalled = true;
            return Found::Stalled(still_for);
        }
        Found::Idle
    }

    /// How long it has not turned, if it is stalled.
    pub(super) fn stalled_for(&self, now: Instant) -> Option<Duration> {
        self.is_stalled.then(|| now - self.moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_turn_is_stalled_until_it_does() {
        let counters = WorkerCounters::default();
        let at = |seconds| Instant::default() + Duration::from_secs(seconds);
        let mut progress = Progress::new(at(0));
        counters.turns.add(1);
        assert_eq!(progress.look(&counters, at(1)), Found::Moving);
        assert_eq!(progress.look(&counters, at(2)), Found::Idle);
        assert_eq!(progress.stalled_for(at(2)), None);
        let time = STALL_TIME.as_secs();
        assert_eq!(progress.look(&counters, at(1 + time)), Found::Idle);
        let stalled = Found::Stalled(STALL_TIME + Duration::from_secs(1));
        assert_eq!(progress.look(&counters, at(2 + time)), stalled);
        assert_eq!(progress.look(&counters, at(2 + time)), Found::Idle);
        let since = Duration::from_secs(time + 1);
        assert_eq!(progress.stalled_for(at(2 + time)), Some(since));
        counters.turns.add(1);
        let recovered = Found::Recovered(Duration::from_secs(2 + time));
        assert_eq!(progress.look(&counters, at(3 + time)), recovered);
        assert_eq!(progress.stalled_for(at(3 + time)), None);
    }

    #[test]
    fn who_was_not_nudged_is_not_stalled_however_late_the_look_is() {
        let counters = WorkerCounters::default();
        let at = |seconds| Instant::default() + Duration::from_secs(seconds);
        let mut progress = Progress::new(at(0));
        counters.turns.add(1);
        assert_eq!(progress.look(&counters, at(1)), Found::Moving);
        assert_eq!(progress.look(&counters, at(1000)), Found::Idle);
        counters.turns.add(1);
        assert_eq!(progress.look(&counters, at(1001)), Found::Moving);
    }
}
