//! Attempts to connect that came to nothing.
#![forbid(unsafe_code)]

use crate::error::CloseReason;
use crate::session::relay::{Attempt, Phase, Relay};
use crate::time::Instant;

impl Relay {
    /// The last [`Action::Connect`](crate::session::Action::Connect) came to nothing: another
    /// endpoint is tried, or the session ends for this reason.
    pub fn handle_connect_failed(&mut self, now: Instant, reason: CloseReason) {
        if !matches!(self.phase, Phase::Connecting(_)) {
            return;
        }
        self.failure = Some(reason);
        let in_time = now < self.timeouts.retry_within.after(self.started);
        if reason.is_retryable() && self.tries < self.tries_max && in_time {
            self.phase = Phase::Connecting(Attempt::Wanted);
        } else {
            self.abort(reason);
        }
    }

    /// There is no endpoint to try, or none that was not tried: the session ends for the reason
    /// for which the last attempt failed, if there was one, else for this.
    pub fn handle_no_endpoint(&mut self, reason: CloseReason) {
        self.tries = self.tries.saturating_sub(1);
        self.abort(self.failure.unwrap_or(reason));
    }

    /// The endpoint of the last [`Action::Connect`](crate::session::Action::Connect) is not to be
    /// used any more: another is picked, and the attempt does not count.
    pub fn handle_connect_withdrawn(&mut self) {
        if matches!(self.phase, Phase::Connecting(Attempt::Pending { .. })) {
            self.tries = self.tries.saturating_sub(1);
            self.phase = Phase::Connecting(Attempt::Wanted);
        }
    }
}
