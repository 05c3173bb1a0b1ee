//! Where io_uring is forbidden, the program says so in one message and ends with its own code.
#![expect(
    unsafe_code,
    reason = "a seccomp filter for the child, installed between fork and exec"
)]

use std::io;
use std::os::unix::process::CommandExt;

use crate::support::program::{output, ringlane};

/// Allows every system call but io_uring_setup, which fails with EPERM as container runtimes make
/// it do.
///
/// Source: seccomp(2), linux/filter.h.
fn forbid_io_uring() -> io::Result<()> {
    const LOAD_WORD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut steps = [
        step(LOAD_WORD, 0, 0, 0),
        step(JUMP_IF_EQUAL, 0, 1, libc::SYS_io_uring_setup as u32),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: steps.len() as u16,
        filter: steps.as_mut_ptr(),
    };
    // SAFETY: takes no pointers (prctl(2), PR_SET_NO_NEW_PRIVS).
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mode = libc::SECCOMP_MODE_FILTER;
    // SAFETY: the program and its steps live until the call returns (prctl(2), PR_SET_SECCOMP).
    if unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[test]
fn a_forbidden_ring_is_named_with_its_cause() {
    let mut command = ringlane();
    command.args(["run", "--listen", "127.0.0.1:0", "--to", "127.0.0.1:9"]);
    // SAFETY: the closure only makes system calls; it neither allocates nor takes locks.
    unsafe { command.pre_exec(forbid_io_uring) };
    let (code, text) = output(command);
    assert_eq!(code, Some(78), "{text}");
    let messages: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("ringlane:"))
        .collect();
    assert_eq!(messages.len(), 1, "{text}");
    assert!(
        messages[0].contains("seccomp") && messages[0].contains("io_uring_setup"),
        "{text}"
    );
}

#[test]
fn the_sysctl_is_named_with_its_value() {
    use ringlane::ring::features::Unavailable;
    assert!(
        Unavailable::Sysctl(2)
            .to_string()
            .contains("kernel.io_uring_disabled=0")
    );
    assert!(
        Unavailable::Sysctl(1)
            .to_string()
            .contains("kernel.io_uring_group")
    );
    assert!(Unavailable::TooOld.to_string().contains("6.1"));
}
