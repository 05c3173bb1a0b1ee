//! Finding out what this kernel's io_uring can do, by trying.
#![expect(unsafe_code, reason = "a trial receive")]

use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use io_uring::{Probe, opcode};

use crate::bounds::{ARENA_BUFFERS_MIN, QUEUE_HALVINGS_MAX};
use crate::error::Errno;
use crate::plan::WaitMode;
use crate::ring::arena::Arena;
use crate::ring::features::{Features, TaskRun, Unavailable};
use crate::ring::queue::{self, Queue};
use crate::ring::receive::receive_entry;
use crate::sys;

impl Features {
    /// Finds out by trying, on a ring of its own that is gone afterwards. Raises this process's
    /// limit of locked memory first, as far as it may.
    ///
    /// Errors: [`Unavailable`], with what to do about it.
    pub fn probe() -> Result<Self, Unavailable> {
        // Rings count against it. If it cannot be raised, what there is may still do.
        let _as_it_is = sys::descriptors::raise_locked_memory();
        let steps = [
            TaskRun::Deferred,
            TaskRun::Cooperative,
            TaskRun::Interrupting,
        ];
        let mut refusal = None;
        for task_run in steps {
            match queue::build(task_run, QUEUE_HALVINGS_MAX) {
                Ok(ring) => return Self::of(&ring, task_run),
                Err(error) => refusal = Some(error),
            }
        }
        Err(Unavailable::of(Errno::from_io(
            &refusal.unwrap_or(io::ErrorKind::Other.into()),
        )))
    }

    fn of(ring: &io_uring::IoUring, task_run: TaskRun) -> Result<Self, Unavailable> {
        let mut probe = Probe::new();
        let needed = [
            opcode::AcceptMulti::CODE,
            opcode::Connect::CODE,
            opcode::Recv::CODE,
            opcode::Send::CODE,
            opcode::SendMsg::CODE,
            opcode::PollAdd::CODE,
            opcode::AsyncCancel::CODE,
        ];
        let probed = ring.submitter().register_probe(&mut probe);
        if probed.is_err() || !needed.iter().all(|code| probe.is_supported(*code)) {
            return Err(Unavailable::TooOld);
        }
        let mut submitter = ring.submitter();
        let registered_ring = submitter.register_ring_fd().is_ok();
        // Registered, it would live as long as this thread.
        let _not_registered = submitter.unregister_ring_fd();
        let mut features = Self {
            task_run,
            byte_budget: false,
            registered_ring,
            no_iowait: ring.params().is_feature_no_iowait(),
        };
        features.byte_budget = has_byte_budget(&features).map_err(Unavailable::of)?;
        Ok(features)
    }
}

/// Tries whether a multishot receive ends once its budget is spent: older kernels refuse the field.
///
/// Errors: those of making a ring and its buffers.
fn has_byte_budget(features: &Features) -> Result<bool, Errno> {
    const BUDGET: u32 = 50;
    let attempt = || -> io::Result<bool> {
        let mut arena = Arena::new(ARENA_BUFFERS_MIN)?;
        let mut queue = Queue::new(features, WaitMode::Block)?;
        let (address, entries) = arena.ring_address();
        // SAFETY: `arena` was declared first, so it is dropped after `queue`.
        unsafe { queue.register_buffers(address, entries) }?;
        arena.post();
        let (receiver, mut sender) = UnixStream::pair()?;
        sender.write_all(&[1; 2 * BUDGET as usize])?;
        let entry = receive_entry(receiver.as_raw_fd(), Some(BUDGET)).user_data(1);
        // SAFETY: the entry points to nothing; its socket lives to the end of this function.
        unsafe { queue.push(&entry) };
        queue
            .enter(Some(Duration::from_secs(1)))
            .map_err(|errno| io::Error::from_raw_os_error(errno.0))?;
        let mut batch = Vec::new();
        queue.reap(&mut batch);
        // The receive that reaches the budget may go over it, by what fits its buffer.
        Ok(batch
            .first()
            .is_some_and(|raw| raw.result >= BUDGET as i32 && !io_uring::cqueue::more(raw.flags)))
    };
    attempt().map_err(|error| Errno::from_io(&error))
}
