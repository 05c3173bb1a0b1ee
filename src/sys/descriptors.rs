//! Descriptors: how many there may be, and making an eventfd; and how much memory may be locked.
#![expect(unsafe_code, reason = "getrlimit(2), setrlimit(2), eventfd(2)")]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// Raises the limit of open descriptors to the highest that this process may have, and returns it.
///
/// To be called before accepting is armed: the kernel keeps the limit of that moment.
///
/// Errors: the kernel's; the limit then is as it was.
/// Source: setrlimit(2), RLIMIT_NOFILE.
pub fn raise_limit() -> io::Result<u64> {
    raise(libc::RLIMIT_NOFILE)
}

/// Raises the limit of locked memory, in bytes, likewise: rings count against it.
///
/// Errors: the kernel's; the limit then is as it was.
/// Source: setrlimit(2), RLIMIT_MEMLOCK.
pub fn raise_locked_memory() -> io::Result<u64> {
    raise(libc::RLIMIT_MEMLOCK)
}

fn raise(resource: libc::__rlimit_resource_t) -> io::Result<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel writes one rlimit to a place that is one.
    if unsafe { libc::getrlimit(resource, &mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the kernel reads one rlimit.
    if unsafe { libc::setrlimit(resource, &limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit.rlim_cur)
}

/// Makes a non-blocking eventfd.
///
/// Errors: EMFILE, ENFILE, ENOMEM.
pub(super) fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
