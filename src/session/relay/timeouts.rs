//! The times of a session's settings, in the room that every session has for them.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::session::Settings;
use crate::time::Instant;

/// The times of [`Settings`], small: every session has them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    pub(super) connect: Millis,
    pub(super) retry_within: Millis,
    pub(super) idle: Millis,
    pub(super) half_close: Millis,
}

impl Timeouts {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            connect: Millis::of(settings.connect_timeout),
            retry_within: Millis::of(settings.retry_within),
            idle: Millis::of(settings.idle_timeout),
            half_close: Millis::of(settings.half_close_timeout),
        }
    }
}

/// A time in milliseconds; at most 49 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Millis(u32);

impl Millis {
    /// Rounds up, so that no time becomes none.
    pub(super) fn of(duration: Duration) -> Self {
        Self(u32::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX))
    }

    /// The point in time that much later.
    pub(super) fn after(self, start: Instant) -> Instant {
        let nanos = u64::from(self.0) * 1_000_000;
        Instant::from_nanos(start.as_nanos().saturating_add(nanos))
    }
}

/// When a session that starts at `now` has lasted as long as it may.
pub(super) fn end(now: Instant, settings: &Settings, rng: &mut fastrand::Rng) -> Instant {
    let Some((age, jitter)) = settings.max_age else {
        return Instant::NEVER;
    };
    now + age.saturating_sub(jitter.mul_f64(rng.f64()))
}
