//! Breakers as an onlooker knows them: from what people are told, and from what is documented.
//!
//! An ejected endpoint is out for the configured time, each time in a row twice as long; it is in a
//! row if it had not been back for as long as it had been out. Then it is on trial, and after that
//! either readmitted or ejected again.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::time::Duration;

use ringlane::control::roster::Note;
use ringlane::plan::failure::BreakerPlan;
use ringlane::time::Instant;

/// The breakers of all endpoints, by cluster and name.
#[derive(Debug, Default)]
pub(super) struct Breakers {
    known: BTreeMap<(String, String), Known>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    state: State,
    since: Instant,
    /// How often it was ejected in a row.
    times: u32,
    /// How long it was out the last time.
    out: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open,
    HalfOpen,
}

const NEW: Known = Known {
    state: State::Closed,
    since: Instant::from_nanos(0),
    times: 0,
    out: Duration::ZERO,
};

impl Breakers {
    /// Takes in what people were told. Whatever made an endpoint leave a trial, or begin to be out,
    /// happened at `at`; it is `now`.
    ///
    /// Errors: what cannot be. Returns whether an endpoint was ejected.
    pub(super) fn note(
        &mut self,
        note: &Note,
        plan: &BreakerPlan,
        at: Instant,
        now: Instant,
    ) -> Result<bool, String> {
        let Some(subject) = &note.subject else {
            return Ok(false);
        };
        let key = (note.cluster.clone(), subject.clone());
        let known = self.known.get(&key).copied().unwrap_or(NEW);
        let wrong = || Err(format!("{subject} of {known:?} is {}", note.happening));
        let next = match (note.happening.what, known.state) {
            ("added" | "removed", _) => {
                self.known.remove(&key);
                return Ok(false);
            }
            ("ejected", State::Closed | State::HalfOpen) => {
                let is_in_a_row =
                    known.state == State::HalfOpen || at.saturating_since(known.since) < known.out;
                let times = if is_in_a_row { known.times + 1 } else { 1 };
                let out = (0..times - 1).fold(plan.open, |out, _| (out * 2).min(plan.open_max));
                let out = out.max(plan.open);
                if !note.happening.why.ends_with(&format!("; for {out:?}")) {
                    return wrong();
                }
                Known {
                    state: State::Open,
                    since: at,
                    times,
                    out,
                }
            }
            ("on trial", State::Open) if now >= known.since + known.out => Known {
                state: State::HalfOpen,
                since: now,
                ..known
            },
            ("readmitted", State::Open | State::HalfOpen) => Known {
                state: State::Closed,
                since: at,
                ..known
            },
            ("ejected" | "on trial" | "readmitted", _) => return wrong(),
            _ => return Ok(false),
        };
        self.known.insert(key, next);
        Ok(known.state == State::Closed && next.state == State::Open)
    }

    /// Whether an endpoint is, or may soon be, without traffic because sessions failed on it.
    pub(super) fn is_out(&self, cluster: &str, endpoint: &str) -> bool {
        let key = (cluster.to_string(), endpoint.to_string());
        let known = self.known.get(&key);
        known.is_some_and(|known| known.state != State::Closed)
    }

    /// Who should be on trial by now and is not.
    pub(super) fn overdue(&self, now: Instant) -> Option<String> {
        let is_late = |known: &Known| known.state == State::Open && known.since + known.out <= now;
        let mut all = self.known.iter();
        let ((cluster, endpoint), _) = all.find(|(_, known)| is_late(known))?;
        Some(format!("{endpoint} of {cluster} should be on trial by now"))
    }
}
