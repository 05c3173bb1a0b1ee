//! Descriptors: how many there may be, making an eventfd, and who inherits them; and how much memory
//! may be locked.
#![expect(
    unsafe_code,
    reason = "getrlimit(2), setrlimit(2), eventfd(2), fcntl(2)"
)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

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

/// Keeps a descriptor from programs that this one starts: with one of theirs, a connection that is
/// closed here would stay open.
///
/// Errors: the kernel's; there are none for a descriptor that is open.
/// Source: fcntl(2), F_SETFD.
pub fn close_on_exec(descriptor: &impl AsRawFd) -> io::Result<()> {
    // SAFETY: takes no pointers, and whatever the number names keeps its owner.
    if unsafe { libc::fcntl(descriptor.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
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
