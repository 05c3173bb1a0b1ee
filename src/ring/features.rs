//! What is used of the kernel's io_uring, and why it may not be usable at all.
#![forbid(unsafe_code)]

use std::fmt;

use crate::bounds::{CQ_ENTRIES, POSTED_BUFFERS_MAX, SQ_ENTRIES};
use crate::error::Errno;

/// When the kernel runs the work that completions need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskRun {
    /// When the worker asks for completions (6.1): in one batch, at no other time.
    Deferred,
    /// At the next system call (5.19).
    Cooperative,
    /// At once, by interrupting the worker.
    Interrupting,
}

/// What is used of the kernel's io_uring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// When completion work runs.
    pub task_run: TaskRun,
    /// A multishot receive that ends after a number of bytes (6.17). Without it a receive brings
    /// one buffer and is started anew.
    pub byte_budget: bool,
    /// The ring's descriptor is registered with its thread (5.18).
    pub registered_ring: bool,
    /// Waiting counts as idle, not as waiting for a disk (6.15).
    pub no_iowait: bool,
}

impl Features {
    /// One line per feature: what is used, what is not and why.
    pub fn report(&self) -> Vec<String> {
        let line = |used: bool, name: &str, otherwise: &str| {
            if used {
                format!("{name}: used")
            } else {
                format!("{name}: not used, {otherwise}")
            }
        };
        vec![
            match self.task_run {
                TaskRun::Deferred => "completion work: deferred to the worker's own turn".into(),
                TaskRun::Cooperative => {
                    "completion work: at the next system call (deferring needs Linux 6.1)".into()
                }
                TaskRun::Interrupting => {
                    "completion work: by interruption (deferring needs Linux 6.1)".to_string()
                }
            },
            line(
                self.byte_budget,
                "multishot receive with a byte budget",
                "it needs Linux 6.17; each receive brings one buffer",
            ),
            line(
                self.registered_ring,
                "registered ring descriptor",
                "it needs Linux 5.18",
            ),
            line(
                self.no_iowait,
                "waiting counted as idle",
                "it needs Linux 6.15",
            ),
            "direct descriptors, submission by a kernel thread, zero-copy send: not used, they \
             bring nothing measurable to a relay"
                .to_string(),
        ]
    }
}

/// Why io_uring cannot be used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// The sysctl `kernel.io_uring_disabled` has this value.
    Sysctl(u8),
    /// A seccomp filter refuses the system call.
    Seccomp,
    /// The kernel has no io_uring, or one that is older than Linux 6.1.
    TooOld,
    /// The limit of locked memory leaves no room for a ring.
    LockedMemory,
    /// Something else is missing.
    Other(Errno),
}

impl Unavailable {
    /// The cause behind an error of making a ring.
    pub fn of(errno: Errno) -> Self {
        match errno.0 {
            libc::ENOMEM => Self::LockedMemory,
            libc::EPERM | libc::ENOSYS | libc::EACCES => {
                let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
                match disabled.as_deref().map(str::trim) {
                    Ok("1") => Self::Sysctl(1),
                    Ok("2") => Self::Sysctl(2),
                    Ok(_) => Self::Seccomp,
                    Err(_) if errno.0 == libc::ENOSYS && !is_filtered() => Self::TooOld,
                    Err(_) => Self::Seccomp,
                }
            }
            libc::EINVAL => Self::TooOld,
            _ => Self::Other(errno),
        }
    }
}

/// What a worker's ring locks: entries of both queues and of the ring of buffers, rounded up.
const RING_KIB: usize =
    (SQ_ENTRIES as usize * (64 + 4) + CQ_ENTRIES as usize * 16 + POSTED_BUFFERS_MAX * 16) / 1024
        + 32;

/// Whether this process runs under a seccomp filter.
fn is_filtered() -> bool {
    std::fs::read_to_string("/proc/self/status")
        .is_ok_and(|status| status.lines().any(|line| line == "Seccomp:\t2"))
}

impl fmt::Display for Unavailable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sysctl(1) => formatter.write_str(
                "io_uring is reserved to one group: the sysctl kernel.io_uring_disabled is 1. Set it \
                 to 0, or put Ringlane's group into kernel.io_uring_group.",
            ),
            Self::Sysctl(value) => write!(
                formatter,
                "io_uring is forbidden: the sysctl kernel.io_uring_disabled is {value}. Set it to \
                 0: sysctl -w kernel.io_uring_disabled=0",
            ),
            Self::Seccomp => formatter.write_str(
                "io_uring is forbidden by a seccomp profile (the container's or the service \
                 manager's). Allow io_uring_setup, io_uring_enter and io_uring_register in it.",
            ),
            Self::TooOld => formatter
                .write_str("this kernel's io_uring is missing or too old: Linux 6.1 or later is needed."),
            Self::LockedMemory => write!(
                formatter,
                "the limit of locked memory (RLIMIT_MEMLOCK) leaves no room for a ring: allow the \
                 user {RING_KIB} KiB for each worker (ulimit -l, or LimitMEMLOCK= of the service), \
                 or run fewer workers",
            ),
            Self::Other(errno) => write!(formatter, "io_uring cannot be used: {errno}"),
        }
    }
}

impl std::error::Error for Unavailable {}
