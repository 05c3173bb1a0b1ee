//! An endpoint: an address that never changes and the words that all workers share about it.
#![forbid(unsafe_code)]

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::bounds::WORKERS_MAX;
use crate::id::{EndpointId, WorkerIndex};
use crate::metrics::{Counter, EndpointCounters};
use crate::session::Transport;
use crate::time::Instant;

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// TCP over IPv4 or IPv6.
    Tcp(SocketAddr),
    /// A Unix stream socket.
    Unix(PathBuf),
}

impl Address {
    /// The kind of socket that connects to it.
    pub fn transport(&self) -> Transport {
        match self {
            Self::Tcp(_) => Transport::Tcp,
            Self::Unix(_) => Transport::Unix,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(formatter),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// One endpoint of a cluster. Views hold it, and each session that it serves, so it outlives its
/// removal from the configuration for as long as it is used.
#[derive(Debug)]
pub struct Endpoint {
    /// Its identity in this process.
    pub id: EndpointId,
    /// Its name in logs and statistics.
    pub name: String,
    /// Where it is.
    pub address: Address,
    words: Words,
    counters: Box<[EndpointCounters]>,
}

/// What all workers and control share of an endpoint, alone in its cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Words {
    /// Sessions that are open or being connected.
    open: AtomicU32,
    /// Failures since the last success.
    failures: AtomicU32,
    /// The trial: one of the states below, or who has it.
    trial: AtomicU64,
}

/// There is no trial.
const TRIAL_NONE: u64 = 0;
/// Whoever comes next may try.
const TRIAL_GRANTED: u64 = 1;
/// It went well.
const TRIAL_SUCCEEDED: u64 = 2;
/// It failed.
const TRIAL_FAILED: u64 = 3;
/// Greater values are a permit: until when it is taken, in nanoseconds, and by which worker in the
/// lower bits.
const PERMIT_WORKER_BITS: u32 = 10;

const _: () = assert!(WORKERS_MAX <= 1 << PERMIT_WORKER_BITS);

impl Endpoint {
    /// Makes an endpoint that `workers` workers count for.
    pub fn new(id: EndpointId, name: String, address: Address, workers: usize) -> Self {
        let counters = (0..workers).map(|_| EndpointCounters::default()).collect();
        Self {
            id,
            name,
            address,
            words: Words::default(),
            counters,
        }
    }

    /// The sessions that are open or being connected now, over all workers.
    pub fn open_sessions(&self) -> u32 {
        self.words.open.load(Ordering::Relaxed)
    }

    /// Counts a session in; `false` if that would be more than `max`.
    ///
    /// Cost: one atomic operation on a line that all workers share.
    #[must_use]
    pub fn try_open_session(&self, max: Option<u32>) -> bool {
        let Some(max) = max else {
            self.words.open.fetch_add(1, Ordering::Relaxed);
            return true;
        };
        let raised = |count: u32| (count < max).then_some(count + 1);
        self.words
            .open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, raised)
            .is_ok()
    }

    /// Counts a session out that [`try_open_session`](Self::try_open_session) counted in.
    pub fn session_closed(&self) {
        self.words.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// The failures since the last success, over all workers.
    pub fn failures(&self) -> u32 {
        self.words.failures.load(Ordering::Relaxed)
    }

    /// Counts a failure. Returns how many there were since the last success, this one included.
    pub fn count_failure(&self) -> u32 {
        let raised = |count: u32| count.checked_add(1);
        let before = self
            .words
            .failures
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, raised);
        before.map_or(u32::MAX, |count| count + 1)
    }

    /// Takes note of a success: no failure counts any more.
    ///
    /// Cost: a read, unless there were failures.
    pub fn count_success(&self) {
        if self.failures() != 0 {
            self.words.failures.store(0, Ordering::Relaxed);
        }
    }

    /// Lets one session try the endpoint. Control's alone.
    pub fn grant_trial(&self) {
        self.words.trial.store(TRIAL_GRANTED, Ordering::Relaxed);
    }

    /// Ends the trial, whatever became of it. Control's alone.
    pub fn clear_trial(&self) {
        self.words.trial.store(TRIAL_NONE, Ordering::Relaxed);
    }

    /// What became of the trial.
    pub fn trial(&self) -> TrialState {
        match self.words.trial.load(Ordering::Relaxed) {
            TRIAL_NONE => TrialState::None,
            TRIAL_SUCCEEDED => TrialState::Succeeded,
            TRIAL_FAILED => TrialState::Failed,
            _ => TrialState::Open,
        }
    }

    /// Takes the permit to try the endpoint, if nobody has it, or somebody has had it for too
    /// long. It is held until `until`.
    pub fn try_take_trial(
        &self,
        worker: WorkerIndex,
        now: Instant,
        until: Instant,
    ) -> Option<TrialPermit> {
        let held = self.words.trial.load(Ordering::Relaxed);
        let is_free = match held {
            TRIAL_NONE | TRIAL_SUCCEEDED | TRIAL_FAILED => false,
            TRIAL_GRANTED => true,
            until => until < now.as_nanos(),
        };
        let mask = (1 << PERMIT_WORKER_BITS) - 1;
        let permit = until.as_nanos() & !mask | u64::from(worker.0) & mask;
        let is_taken = is_free
            && permit > TRIAL_FAILED
            && self
                .words
                .trial
                .compare_exchange(held, permit, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if is_taken {
            NonZeroU64::new(permit).map(TrialPermit)
        } else {
            None
        }
    }

    /// Says what became of a trial. A permit that has been taken away meanwhile says nothing.
    /// Returns whether control has to look.
    pub fn end_trial(&self, permit: TrialPermit, end: TrialEnd) -> bool {
        let (held, new) = match (permit, end) {
            (TrialPermit::LAST_RESORT, end) => return self.end_last_resort(end),
            (TrialPermit(held), TrialEnd::Succeeded) => (held.get(), TRIAL_SUCCEEDED),
            (TrialPermit(held), TrialEnd::Failed) => (held.get(), TRIAL_FAILED),
            (TrialPermit(held), TrialEnd::Unused) => (held.get(), TRIAL_GRANTED),
        };
        let is_told = self
            .words
            .trial
            .compare_exchange(held, new, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok();
        is_told && end != TrialEnd::Unused
    }

    /// Nobody was asked to try, so only a success is news. It is more than whoever has a permit can
    /// tell, and where no better endpoint is left nobody comes to take one.
    fn end_last_resort(&self, end: TrialEnd) -> bool {
        let told = |held: u64| match held {
            TRIAL_SUCCEEDED | TRIAL_FAILED => None,
            _ => Some(TRIAL_SUCCEEDED),
        };
        end == TrialEnd::Succeeded
            && self
                .words
                .trial
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, told)
                .is_ok()
    }

    /// The block that this worker writes.
    ///
    /// Panics: never for a worker of the process that the endpoint was made for.
    pub fn counters(&self, worker: WorkerIndex) -> &EndpointCounters {
        &self.counters[usize::from(worker.0)]
    }

    /// The sum over all workers of one counter.
    pub fn total(&self, counter: impl Fn(&EndpointCounters) -> &Counter) -> u64 {
        self.counters
            .iter()
            .map(|block| counter(block).value())
            .sum()
    }
}

/// The right to try an endpoint that has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrialPermit(NonZeroU64);

impl TrialPermit {
    /// What a session has that tries a failed endpoint because there is no better one.
    pub const LAST_RESORT: Self = Self(NonZeroU64::MIN);
}

/// What became of a trial, for whoever had the permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrialEnd {
    /// The endpoint served the session.
    Succeeded,
    /// It did not.
    Failed,
    /// The session ended without telling, or never went there: another may try.
    Unused,
}

/// What has become of a trial, for control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrialState {
    /// There is none.
    None,
    /// It is granted, and maybe under way.
    Open,
    /// It went well.
    Succeeded,
    /// It failed.
    Failed,
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKER: WorkerIndex = WorkerIndex(3);

    fn endpoint() -> Endpoint {
        let address = Address::Unix("/nowhere".into());
        Endpoint::new(EndpointId(1), "e".to_string(), address, 4)
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn one_trial_at_a_time() {
        let endpoint = endpoint();
        assert_eq!(endpoint.try_take_trial(WORKER, at(1), at(2)), None);
        endpoint.grant_trial();
        let permit = endpoint.try_take_trial(WORKER, at(1), at(2));
        let permit = permit.expect("the trial is granted");
        assert_eq!(endpoint.try_take_trial(WORKER, at(1), at(2)), None);
        assert_eq!(endpoint.trial(), TrialState::Open);
        assert!(endpoint.end_trial(permit, TrialEnd::Succeeded));
        assert_eq!(endpoint.trial(), TrialState::Succeeded);
        assert_eq!(endpoint.try_take_trial(WORKER, at(9), at(10)), None);
    }

    #[test]
    fn a_permit_that_was_not_used_goes_to_the_next() {
        let endpoint = endpoint();
        endpoint.grant_trial();
        let permit = endpoint.try_take_trial(WORKER, at(1), at(2));
        assert!(!endpoint.end_trial(permit.expect("granted"), TrialEnd::Unused));
        assert!(endpoint.try_take_trial(WORKER, at(1), at(2)).is_some());
    }

    #[test]
    fn a_permit_that_was_held_too_long_is_taken_away() {
        let endpoint = endpoint();
        endpoint.grant_trial();
        let late = endpoint.try_take_trial(WORKER, at(1), at(2));
        let next = endpoint.try_take_trial(WORKER, at(3), at(4));
        assert!(next.is_some());
        assert!(!endpoint.end_trial(late.expect("granted"), TrialEnd::Failed));
        assert_eq!(endpoint.trial(), TrialState::Open);
        assert!(endpoint.end_trial(next.expect("granted"), TrialEnd::Failed));
        assert_eq!(endpoint.trial(), TrialState::Failed);
    }

    #[test]
    fn a_last_resort_tells_of_its_success_alone() {
        let endpoint = endpoint();
        assert!(!endpoint.end_trial(TrialPermit::LAST_RESORT, TrialEnd::Failed));
        assert_eq!(endpoint.trial(), TrialState::None);
        assert!(endpoint.end_trial(TrialPermit::LAST_RESORT, TrialEnd::Succeeded));
        assert_eq!(endpoint.trial(), TrialState::Succeeded);
    }

    #[test]
    fn a_last_resort_tells_of_its_success_though_a_trial_is_granted() {
        let endpoint = endpoint();
        endpoint.grant_trial();
        assert!(!endpoint.end_trial(TrialPermit::LAST_RESORT, TrialEnd::Failed));
        assert_eq!(endpoint.trial(), TrialState::Open);
        assert!(endpoint.end_trial(TrialPermit::LAST_RESORT, TrialEnd::Succeeded));
        assert_eq!(endpoint.trial(), TrialState::Succeeded);
    }

    #[test]
    fn a_success_ends_a_run_of_failures() {
        let endpoint = endpoint();
        assert_eq!(endpoint.count_failure(), 1);
        assert_eq!(endpoint.count_failure(), 2);
        endpoint.count_success();
        assert_eq!(endpoint.failures(), 0);
    }
}
