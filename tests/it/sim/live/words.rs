//! What can be read in an endpoint's word about its trial.
#![forbid(unsafe_code)]

use ringlane::balance::endpoint::{Endpoint, TrialEnd, TrialState};
use ringlane::id::WorkerIndex;
use ringlane::time::Instant;

/// What the word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    None,
    /// Whoever comes next may try.
    Granted,
    /// Somebody has the permit.
    Held,
    Succeeded,
    Failed,
}

impl Word {
    pub(super) fn of(endpoint: &Endpoint) -> Self {
        match endpoint.trial() {
            TrialState::None => Self::None,
            TrialState::Succeeded => Self::Succeeded,
            TrialState::Failed => Self::Failed,
            TrialState::Open => {
                // At the beginning of time nobody has had it for too long, so this takes only what
                // nobody has; it is given back at once.
                let until = Instant::from_nanos(1 << 40);
                let taken = endpoint.try_take_trial(WorkerIndex(0), Instant::default(), until);
                match taken {
                    Some(permit) => {
                        endpoint.end_trial(permit, TrialEnd::Unused);
                        Self::Granted
                    }
                    None => Self::Held,
                }
            }
        }
    }
}
