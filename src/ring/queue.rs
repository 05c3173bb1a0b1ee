//! The submission and completion queues of one ring, and the one system call that drives them.
//!
//! The queue's entries point to memory that must stay where it is until the operation ends; that
//! is [`uring`](super::uring)'s duty, which is why pushing is not safe.
#![expect(unsafe_code, reason = "io_uring_enter(2)")]

use std::collections::VecDeque;
use std::io;
use std::ptr::NonNull;

use io_uring::squeue::Entry;
use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{CompletionQueue, EnterFlags, IoUring, SubmissionQueue, Submitter};

use crate::bounds::{
    BATCH_COMPLETIONS, BATCH_WAIT, CQ_ENTRIES, QUEUE_HALVINGS_MAX, SPIN_TIME, SQ_ENTRIES,
};
use crate::error::Errno;
use crate::plan::WaitMode;
use crate::ring::features::{Features, TaskRun};
use crate::sys::clock;
use std::time::Duration;

/// A completion as the kernel writes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raw {
    pub(super) token: u64,
    pub(super) result: i32,
    pub(super) flags: u32,
}

/// The queues of one ring. They belong to the thread that made them.
pub(super) struct Queue {
    submitter: Submitter<'static>,
    submissions: SubmissionQueue<'static>,
    completions: CompletionQueue<'static>,
    /// Entries for which the kernel would not make room; they go first in the next turn. At most
    /// one per slot and kind of operation.
    overflow: VecDeque<Entry>,
    wait_flags: EnterFlags,
    wait_mode: WaitMode,
    /// What the three above borrow from; declared after them, so freed after them.
    _ring: RingMemory,
}

/// What an extended wait is given.
///
/// Source: struct io_uring_getevents_arg in linux/io_uring.h; the third field since 6.12.
#[repr(C)]
struct WaitArgument {
    sigmask: u64,
    sigmask_bytes: u32,
    min_wait_usec: u32,
    timespec: u64,
}

/// The ring itself, at an address that does not change.
struct RingMemory(NonNull<IoUring>);

impl Drop for RingMemory {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `Box::leak` in `Queue::new`, and the borrows from it
        // are fields of `Queue` that are dropped before this one.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // A registered descriptor would keep the ring and its locked memory until the thread ends.
        // Without one this is refused, and nothing is to be done.
        let _not_registered = self.submitter.unregister_ring_fd();
    }
}

impl Queue {
    /// Makes a ring with what the kernel offers.
    ///
    /// Errors: ENOMEM, EMFILE; EPERM and ENOSYS where io_uring is forbidden.
    pub(super) fn new(features: &Features, wait_mode: WaitMode) -> io::Result<Self> {
        let ring = build_affordable(features.task_run)?;
        let ring = NonNull::from(Box::leak(Box::new(ring)));
        // SAFETY: the box was leaked just now, nobody else refers to it, and `RingMemory` keeps it
        // alive for as long as the borrows.
        let borrowed: &'static mut IoUring = unsafe { &mut *ring.as_ptr() };
        let ring = RingMemory(ring);
        let (mut submitter, submissions, completions) = borrowed.split();
        if features.registered_ring {
            submitter.register_ring_fd()?;
        }
        let wait_flags = if features.no_iowait {
            EnterFlags::GETEVENTS | EnterFlags::NO_IOWAIT
        } else {
            EnterFlags::GETEVENTS
        };
        Ok(Self {
            submitter,
            submissions,
            completions,
            overflow: VecDeque::new(),
            wait_flags,
            wait_mode,
            _ring: ring,
        })
    }

    /// Tells the kernel where the ring of buffers is.
    ///
    /// Safety: the ring's memory must outlive this queue.
    /// Errors: ENOMEM, EINVAL.
    pub(super) unsafe fn register_buffers(&self, address: u64, entries: u16) -> io::Result<()> {
        // SAFETY: as the caller says.
        unsafe {
            self.submitter
                .register_buf_ring_with_flags(address, entries, BUFFER_GROUP, 0)
        }
    }

    /// Adds an operation, to be started with the next turn. When the queue is full, what is in it
    /// is started now.
    ///
    /// Safety: what the entry points to must stay valid and in place until its last completion.
    pub(super) unsafe fn push(&mut self, entry: &Entry) {
        if self.submissions.is_full() {
            self.submit_early();
        }
        // SAFETY: as the caller says.
        if !self.overflow.is_empty() || unsafe { self.submissions.push(entry) }.is_err() {
            self.overflow.push_back(entry.clone());
        }
    }

    /// Starts what was added and waits for a completion: not at all for a zero time, for ever for
    /// none. Errors that pass by themselves (a signal, a time-out, a full completion queue) are
    /// none.
    ///
    /// Cost: the one system call of a turn.
    pub(super) fn enter(&mut self, wait: Option<Duration>) -> Result<(), Errno> {
        self.submissions.sync();
        let mut waiting = wait != Some(Duration::ZERO);
        while let Some(entry) = self.overflow.front() {
            // SAFETY: whoever pushed the entry upholds what `push` asks for.
            if unsafe { self.submissions.push(entry) }.is_err() {
                waiting = false;
                break;
            }
            self.overflow.pop_front();
        }
        self.submissions.sync();
        let submit = self.submissions.len() as u32;
        let result = if !waiting {
            self.enter_with(submit, 0, None)
        } else {
            match self.wait_mode {
                WaitMode::Block => self.enter_with(submit, 1, wait),
                WaitMode::Batch => self.enter_batch(submit, wait),
                WaitMode::Spin => self.enter_spinning(submit, wait),
            }
        };
        self.submissions.sync();
        match result.map_err(|error| Errno::from_io(&error)) {
            Ok(_) => Ok(()),
            Err(Errno(libc::EINTR | libc::ETIME | libc::EBUSY | libc::EAGAIN)) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Submits, and waits for this many completions, at most for this time if there is one.
    fn enter_with(&self, submit: u32, wanted: u32, time: Option<Duration>) -> io::Result<usize> {
        let Some(time) = time else {
            let flags = self.wait_flags.bits();
            // SAFETY: no argument.
            return unsafe {
                self.submitter
                    .enter::<libc::sigset_t>(submit, wanted, flags, None)
            };
        };
        let timespec = Timespec::from(time);
        let args = SubmitArgs::new().timespec(&timespec);
        let flags = self.wait_flags | EnterFlags::EXT_ARG;
        // SAFETY: the argument is what EXT_ARG says it is and lives during the call.
        unsafe {
            self.submitter
                .enter(submit, wanted, flags.bits(), Some(&args))
        }
    }

    /// Waits until a few completions are there, or a moment after the first.
    fn enter_batch(&mut self, submit: u32, time: Option<Duration>) -> io::Result<usize> {
        // Without a time the kernel's wait would end with the window, nothing there or not.
        let timespec = Timespec::from(time.unwrap_or(BATCH_PATIENCE));
        let args = WaitArgument {
            sigmask: 0,
            sigmask_bytes: 0,
            min_wait_usec: BATCH_WAIT.as_micros() as u32,
            timespec: &raw const timespec as u64,
        };
        let flags = self.wait_flags | EnterFlags::EXT_ARG;
        // SAFETY: the argument is what EXT_ARG says it is and, with the time that it points to,
        // lives during the call.
        let result = unsafe {
            self.submitter
                .enter(submit, BATCH_COMPLETIONS, flags.bits(), Some(&args))
        };
        match result {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                tracing::warn!("waiting for a batch needs Linux 6.12: workers wait as by default");
                self.wait_mode = WaitMode::Block;
                self.enter_with(submit, 1, time)
            }
            result => result,
        }
    }

    /// Looks for completions for a moment before it sleeps.
    fn enter_spinning(&mut self, submit: u32, time: Option<Duration>) -> io::Result<usize> {
        let until = clock::now() + time.map_or(SPIN_TIME, |time| time.min(SPIN_TIME));
        let mut result = self.enter_with(submit, 0, None);
        self.completions.sync();
        while result.is_ok() && self.completions.is_empty() && clock::now() < until {
            result = self.enter_with(0, 0, None);
            self.completions.sync();
        }
        if result.is_ok() && self.completions.is_empty() && time.is_none_or(|time| time > SPIN_TIME)
        {
            let left = time.map(|time| time.saturating_sub(SPIN_TIME));
            result = self.enter_with(0, 1, left);
        }
        result
    }

    /// Moves the completions that are there to `batch`, which has room for all of the queue.
    pub(super) fn reap(&mut self, batch: &mut Vec<Raw>) {
        self.completions.sync();
        for entry in &mut self.completions {
            batch.push(Raw {
                token: entry.user_data(),
                result: entry.result(),
                flags: entry.flags(),
            });
        }
        self.completions.sync();
    }

    fn submit_early(&mut self) {
        self.submissions.sync();
        let submit = self.submissions.len() as u32;
        // SAFETY: no argument. Whether it worked shows in the room that there is afterwards.
        let _entered = unsafe { self.submitter.enter::<libc::sigset_t>(submit, 0, 0, None) };
        self.submissions.sync();
    }
}

/// How long a worker that gathers waits when there is nothing else to wait for.
const BATCH_PATIENCE: Duration = Duration::from_secs(3600);

/// The group that all buffers are in.
pub(super) const BUFFER_GROUP: u16 = 0;

/// Makes a ring with queues as large as the user's limit of locked memory allows.
///
/// Errors: ENOMEM if it does not even allow small ones; those of [`build`].
fn build_affordable(task_run: TaskRun) -> io::Result<IoUring> {
    for halvings in 0..QUEUE_HALVINGS_MAX {
        match build(task_run, halvings) {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => {
                tracing::warn!("locked memory is short (RLIMIT_MEMLOCK): trying shorter queues");
            }
            outcome => return outcome,
        }
    }
    build(task_run, QUEUE_HALVINGS_MAX)
}

/// Makes a ring in the given manner, with queues halved so many times.
///
/// Errors: EINVAL where the kernel does not know it, ENOMEM, EPERM, ENOSYS.
pub(super) fn build(task_run: TaskRun, halvings: u32) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder
        .setup_clamp()
        .setup_submit_all()
        .setup_cqsize(CQ_ENTRIES >> halvings);
    match task_run {
        TaskRun::Deferred => builder.setup_single_issuer().setup_defer_taskrun(),
        TaskRun::Cooperative => builder.setup_coop_taskrun(),
        TaskRun::Interrupting => &mut builder,
    };
    builder.build(SQ_ENTRIES >> halvings)
}
