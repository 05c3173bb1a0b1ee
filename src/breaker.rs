//! The breaker: ejects an endpoint on which sessions fail, and lets it back after a trial.
//!
//! ```text
//!             too many failures                   time over
//!    Closed --------------------> Open ----------------------------> HalfOpen
//!      ^                           ^ |                                |    |
//!      |                           | |   success as a last resort     |    |
//!      +---------------------------|-+--------------------------------|----+ trial succeeded
//!                                  +----------------------------------+ trial failed
//! ```
//! The machine runs on control alone. What workers see of it is the view; what they say is in the
//! endpoint's shared words, which control reads before it calls this.
//!
//! Each time in a row the endpoint stays out twice as long. It is in a row if it had not been back
//! for as long as it had been out.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::plan::failure::BreakerPlan;
use crate::time::Instant;

/// What the breaker says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BreakerState {
    /// Traffic flows.
    #[default]
    Closed,
    /// The endpoint is ejected.
    Open,
    /// It may be tried.
    HalfOpen,
}

impl BreakerState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// Its name in logs, metrics and the admin interface.
    pub fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// What a breaker is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerEvent {
    /// Sessions have failed often enough, and the cluster can spare the endpoint.
    TooManyFailures,
    /// The endpoint has served the session that tried it, or a probe.
    Success,
    /// It has failed the session that tried it, or a probe.
    Failure,
    /// Time has passed.
    Time,
}

/// One endpoint's breaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    state: BreakerState,
    /// How often it has opened in a row.
    times: u32,
    /// When the state that it is in began.
    since: Instant,
    /// When it ceases to be open.
    until: Instant,
}

impl Breaker {
    /// What it says.
    pub fn state(&self) -> BreakerState {
        self.state
    }

    /// When it has to be told of the time; [`Instant::NEVER`] if it need not be.
    pub fn deadline(&self) -> Instant {
        match self.state {
            BreakerState::Open => self.until,
            BreakerState::Closed | BreakerState::HalfOpen => Instant::NEVER,
        }
    }

    /// How long it is open this time, or was the last time.
    pub fn open_time(&self, plan: &BreakerPlan) -> Duration {
        let doublings = self.times.saturating_sub(1).min(31);
        plan.open
            .saturating_mul(1 << doublings)
            .min(plan.open_max)
            .max(plan.open)
    }

    /// Takes in what has happened. Returns whether it says something else now.
    pub fn handle(&mut self, event: BreakerEvent, now: Instant, plan: &BreakerPlan) -> bool {
        let next = match (self.state, event) {
            (BreakerState::Closed, BreakerEvent::TooManyFailures)
            | (BreakerState::HalfOpen, BreakerEvent::Failure) => BreakerState::Open,
            // Nobody was asked to try, but where there was no better endpoint somebody did.
            (BreakerState::Open | BreakerState::HalfOpen, BreakerEvent::Success) => {
                BreakerState::Closed
            }
            (BreakerState::Open, BreakerEvent::Time) if now >= self.until => BreakerState::HalfOpen,
            (state, _) => state,
        };
        if next == self.state {
            return false;
        }
        if next == BreakerState::Open {
            let was_back = now.saturating_since(self.since);
            let is_in_a_row =
                self.state == BreakerState::HalfOpen || was_back < self.open_time(plan);
            self.times = if is_in_a_row && self.times > 0 {
                self.times.saturating_add(1)
            } else {
                1
            };
            self.until = now + self.open_time(plan);
        }
        self.state = next;
        self.since = now;
        true
    }
}

#[cfg(test)]
mod tests;
