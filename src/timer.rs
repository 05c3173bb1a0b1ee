//! One hashed timer wheel per worker: arming, re-arming and cancelling are O(1).
//!
//! A timer belongs to a key (a session's place in its table), one per key. The wheel never moves
//! a timer by itself: who is told that a timer is due looks at the time that it really waits for
//! and arms it again if that has moved, so activity costs no timer work.
//!
//! Memory: 16 bytes per key ever used, 17 KiB for the wheel.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::bounds::{TICK, WHEEL_TICKS};
use crate::time::Instant;

/// Timers of one worker, keyed by small numbers.
#[derive(Debug)]
pub struct Wheel {
    /// The first timer of each tick's list.
    heads: Vec<u32>,
    /// One bit per list: whether it has timers.
    occupied: [u64; WHEEL_TICKS / 64],
    timers: Vec<Timer>,
    /// Every tick before this one has been looked at.
    current: u64,
    count: usize,
}

#[derive(Clone, Copy, Debug)]
struct Timer {
    /// The tick at which the timer is due; [`UNARMED`] if it is not armed.
    tick: u64,
    previous: u32,
    next: u32,
}

const NONE: u32 = u32::MAX;
const UNARMED: u64 = u64::MAX;

impl Wheel {
    /// Makes an empty wheel that starts at `now`, with room for `capacity` keys before it grows.
    pub fn new(now: Instant, capacity: usize) -> Self {
        Self {
            heads: vec![NONE; WHEEL_TICKS],
            occupied: [0; WHEEL_TICKS / 64],
            timers: Vec::with_capacity(capacity),
            current: tick_of(now) + 1,
            count: 0,
        }
    }

    /// Whether no timer is armed.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// When a key's timer is due, [`Instant::NEVER`] if it is not armed.
    pub fn due(&self, key: u32) -> Instant {
        match self.timers.get(key as usize) {
            Some(timer) if timer.tick != UNARMED => instant_of(timer.tick),
            _ => Instant::NEVER,
        }
    }

    /// Arms the timer of `key` for the first tick at or after `deadline`, instead of whatever it
    /// was armed for. A deadline that has passed is due at the next look.
    pub fn arm(&mut self, key: u32, deadline: Instant) {
        self.cancel(key);
        if deadline == Instant::NEVER {
            return;
        }
        let index = key as usize;
        if index >= self.timers.len() {
            self.timers.resize(
                index + 1,
                Timer {
                    tick: UNARMED,
                    previous: NONE,
                    next: NONE,
                },
            );
        }
        let tick = tick_at_or_after(deadline).max(self.current);
        let list = list_of(tick);
        let next = self.heads[list];
        self.timers[index] = Timer {
            tick,
            previous: NONE,
            next,
        };
        if next != NONE {
            self.timers[next as usize].previous = key;
        }
        self.heads[list] = key;
        self.occupied[list / 64] |= 1 << (list % 64);
        self.count += 1;
    }

    /// Disarms the timer of `key`, if it is armed.
    pub fn cancel(&mut self, key: u32) {
        let Some(timer) = self.timers.get(key as usize).copied() else {
            return;
        };
        if timer.tick == UNARMED {
            return;
        }
        let list = list_of(timer.tick);
        match timer.previous {
            NONE => self.heads[list] = timer.next,
            previous => self.timers[previous as usize].next = timer.next,
        }
        if timer.next != NONE {
            self.timers[timer.next as usize].previous = timer.previous;
        }
        if self.heads[list] == NONE {
            self.occupied[list / 64] &= !(1 << (list % 64));
        }
        self.timers[key as usize].tick = UNARMED;
        self.count -= 1;
    }

    /// When to look next: no timer is due before. `None` if none is armed. May be early by turns
    /// of the wheel for a timer further away than one turn.
    ///
    /// Cost: at most one look at each of the 64 words of the occupancy map.
    pub fn next_look(&self) -> Option<Instant> {
        if self.count == 0 {
            return None;
        }
        let start = list_of(self.current);
        let words = self.occupied.len();
        for step in 0..=words {
            let word = (start / 64 + step) % words;
            let mut bits = self.occupied[word];
            if step == 0 {
                bits &= u64::MAX << (start % 64);
            } else if step == words {
                bits &= !(u64::MAX << (start % 64));
            }
            if bits != 0 {
                let list = word * 64 + bits.trailing_zeros() as usize;
                let ahead = (list + WHEEL_TICKS - start) % WHEEL_TICKS;
                return Some(instant_of(self.current + ahead as u64));
            }
        }
        None
    }

    /// Disarms the timers that are due at `now` and adds their keys to `due`.
    ///
    /// Cost: the ticks since the last call (at most one turn) and the timers on their lists.
    pub fn expire(&mut self, now: Instant, due: &mut Vec<u32>) {
        let last = tick_of(now);
        if last < self.current {
            return;
        }
        let first = self
            .current
            .max(last.saturating_sub(WHEEL_TICKS as u64 - 1));
        for tick in first..=last {
            if self.count == 0 {
                break;
            }
            let list = list_of(tick);
            if self.occupied[list / 64] & 1 << (list % 64) == 0 {
                continue;
            }
            let mut key = self.heads[list];
            while key != NONE {
                let timer = self.timers[key as usize];
                if timer.tick <= last {
                    self.cancel(key);
                    due.push(key);
                }
                key = timer.next;
            }
        }
        self.current = last + 1;
    }
}

fn list_of(tick: u64) -> usize {
    (tick % WHEEL_TICKS as u64) as usize
}

fn tick_of(instant: Instant) -> u64 {
    instant.as_nanos() / TICK_NANOS
}

fn tick_at_or_after(instant: Instant) -> u64 {
    instant.as_nanos().div_ceil(TICK_NANOS)
}

fn instant_of(tick: u64) -> Instant {
    Instant::default() + Duration::from_nanos(tick.saturating_mul(TICK_NANOS))
}

const TICK_NANOS: u64 = TICK.as_nanos() as u64;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn behaves_like_a_sorted_map() {
        for seed in 0..50 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut now = 1_000;
            let mut wheel = Wheel::new(at(now), 8);
            let mut model = BTreeMap::new();
            for _ in 0..2_000 {
                let key = rng.u32(0..40);
                match rng.u32(0..10) {
                    0..5 => {
                        let reach = [20, 1_000, 50_000, 4_000_000][rng.usize(0..4)];
                        let deadline = now + rng.u64(0..reach);
                        wheel.arm(key, at(deadline));
                        model.insert(key, deadline.div_ceil(10).max(now / 10 + 1) * 10);
                    }
                    5..7 => {
                        wheel.cancel(key);
                        model.remove(&key);
                    }
                    _ => {
                        let reach = [15, 500, 60_000][rng.usize(0..3)];
                        now += rng.u64(0..reach);
                        let mut due = Vec::new();
                        wheel.expire(at(now), &mut due);
                        due.sort_unstable();
                        let mut expected: Vec<u32> = model
                            .iter()
                            .filter(|(_, at)| **at <= now)
                            .map(|(key, _)| *key)
                            .collect();
                        expected.sort_unstable();
                        model.retain(|_, at| *at > now);
                        assert_eq!(due, expected, "seed {seed}, {now} ms");
                    }
                }
                let first = model.values().min();
                assert_eq!(wheel.is_empty(), first.is_none());
                match (wheel.next_look(), first) {
                    (Some(look), Some(first)) => assert!(look <= at(*first), "seed {seed}"),
                    (look, first) => assert_eq!(look.is_some(), first.is_some()),
                }
            }
        }
    }

    #[test]
    fn is_never_early_and_late_by_less_than_a_tick() {
        let mut wheel = Wheel::new(at(5), 1);
        let mut due = Vec::new();
        wheel.arm(0, at(41));
        assert_eq!(wheel.next_look(), Some(at(50)));
        wheel.expire(at(49), &mut due);
        assert!(due.is_empty());
        wheel.expire(at(50), &mut due);
        assert_eq!(due, [0]);
    }

    #[test]
    fn a_far_timer_survives_turns_of_the_wheel() {
        let mut wheel = Wheel::new(at(0), 1);
        let mut due = Vec::new();
        wheel.arm(3, at(3_600_000));
        let mut looks = 0;
        while due.is_empty() {
            let look = wheel.next_look().expect("armed");
            wheel.expire(look, &mut due);
            looks += 1;
            assert!(looks < 200, "the wheel is looked at too often");
        }
        assert_eq!(due, [3]);
    }
}
