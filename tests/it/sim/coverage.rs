//! The situations that a run of seeds must have met: a simulation that never ran out of buffers
//! says nothing about running out of buffers.
#![forbid(unsafe_code)]

macro_rules! situations {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Something that has to happen at least once over all seeds.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Situation {
            $($(#[$doc])* $name,)*
        }

        impl Situation {
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

situations! {
    /// A receive found no buffer.
    Starved,
    /// The client finished while the endpoint went on.
    HalfCloseByClient,
    /// The endpoint finished while the client went on.
    HalfCloseByEndpoint,
    /// Another endpoint was tried.
    Retry,
    ConnectRefused,
    ConnectUnreachable,
    ConnectTimeout,
    NoEndpoint,
    /// A cancelled connect succeeded all the same.
    LateConnect,
    /// The client reset while its endpoint was being connected.
    ClientGoneWhileConnecting,
    /// A reset arrived while bytes that had been sent before it were unread.
    ResetBehindBytes,
    /// A reset arrived while bytes for the one who sent it were under way.
    ResetAgainstBytes,
    /// Bytes that were received before a reset could not be brought across in time.
    FlushTimeout,
    ShortSend,
    /// A send took the error, so the receive ended like after a FIN.
    LostReset,
    /// A multishot receive ended by itself, with bytes, its credit not spent.
    ReceiveEndedEarly,
    CreditSpent,
    CreditExceeded,
    /// The kernel had no multishot receive with a budget.
    OneShotReceive,
    AcceptEmfile,
    OpenEmfile,
    NoReserve,
    /// A place was taken before a client was accepted.
    AcceptedWithCare,
    AcceptEndedWithConnection,
    AcceptEndedWithout,
    /// There were as many sessions as there may be, and another client.
    SessionLimit,
    /// A client still in the backlog when draining began was served.
    AcceptedAtDrain,
    WatchedReset,
    /// Bytes were delivered after the worker had reset their connection.
    LateBytes,
    /// A connection was accepted after accepting had been told to end.
    LateAccept,
    /// An operation had already ended when it was cancelled.
    CancelledTooLate,
    SubmissionQueueFull,
    CompletionQueueFull,
    /// A completion was delivered after a later one of another operation.
    Permuted,
    SocketReused,
    /// A chunk was joined to the one before it.
    Coalesced,
    GatheredSend,
    UnixEndpoint,
    /// A view replaced another one while sessions lived.
    ViewChange,
    Woken,
    DrainDeadline,
    Stop,
    /// A direction was moved through a pipe.
    Bulk,
    NoPipe,
    PipeFull,
    /// A pipe was given back with bytes in it, because its session had ended.
    PipeLost,
    /// Both directions of a session at the same time.
    BothBulk,
    /// A direction went back to buffers because too little came at a time.
    BulkEndedLean,
    /// The same, because there was no pipe any more.
    BulkRefusedLater,
    /// A direction that had gone back to buffers was moved through a pipe again.
    BulkAgain,
    /// A connection broke while bytes that its session had for it, or from it, were in a pipe.
    ResetAtFullPipe,
    EndInBulk,
    ResetInBulk,
    SinkFullInBulk,
    SinkBrokenInBulk,
    /// A session had lasted long enough to get what only matters to those.
    Settled,
    MaxAge,
    IdleTimeout,
    HalfCloseTimeout,
    HeaderInParts,
    /// Bytes of the stream came in one piece with the end of the header.
    HeaderWithBytes,
    HeaderWrong,
    HeaderTimeout,
    /// Sessions failed on an endpoint, and control ejected it.
    BreakerOpened,
    /// A session got the permit to try an endpoint.
    TrialTaken,
    TrialFailed,
    TrialSucceeded,
    /// A session ended without saying anything about the endpoint that it was to try.
    PermitReturned,
    /// A session had the permit for so long that another one got it.
    PermitTakenOver,
    /// An endpoint that had just failed too often was not picked, though the view allowed it.
    EndpointAvoided,
    /// None might be picked, and a session got the one that had failed least.
    LastResort,
    /// A session was brought to one of a tier of which too few were healthy.
    Panic,
    /// Sessions ended as soon as their endpoint might not have any.
    EvictedAtOnce,
    /// The same, when they had had time to end by themselves.
    EvictedAfterDrain,
    /// An endpoint was back before its sessions had to end.
    EvictionCancelled,
    /// An order to end sessions met one that was being connected.
    EvictionMetConnecting,
    /// A view was replaced in the mailbox before the worker had taken it.
    ViewSuperseded,
    /// A view was more than a second old when the worker took it.
    ViewLate,
    RemovedWhileConnecting,
    /// An endpoint came while clients were served, and got a session.
    EndpointAddedUnderTraffic,
    /// A probe's result was late, or wrong.
    ProbeLate,
    ProbeWrong,
    /// Probes found that an endpoint was down, and that it was up again.
    FoundDown,
    FoundUp,
    /// Control did nothing for a while, and then everything at once.
    ControlStalled,
    /// Every endpoint was well again, and each that its operator let was picked.
    AllRecovered,
}

/// How often each situation was met.
#[derive(Clone, Debug)]
pub(crate) struct Coverage {
    counts: [u64; Situation::ALL.len()],
}

impl Default for Coverage {
    fn default() -> Self {
        Self {
            counts: [0; Situation::ALL.len()],
        }
    }
}

impl Coverage {
    pub(crate) fn meet(&mut self, situation: Situation) {
        self.add(situation, 1);
    }

    pub(crate) fn add(&mut self, situation: Situation, times: u64) {
        self.counts[situation as usize] += times;
    }

    pub(crate) fn count(&self, situation: Situation) -> u64 {
        self.counts[situation as usize]
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
    }

    /// The situations that were never met.
    pub(crate) fn missing(&self) -> Vec<Situation> {
        self.rows()
            .filter(|(_, count)| *count == 0)
            .map(|(situation, _)| situation)
            .collect()
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = (Situation, u64)> {
        Situation::ALL.iter().copied().zip(self.counts)
    }
}
