//! Holding up one thread of a child process, as a slow disk or an overloaded host does.
#![expect(
    unsafe_code,
    reason = "ptrace(2), which alone stops one thread and not its process"
)]
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on fails with the reason"
)]

use std::io;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

/// A thread that does not run; it does again when this is dropped.
pub(crate) struct Stall {
    release: Option<Sender<()>>,
    tracer: Option<JoinHandle<()>>,
}

impl Stall {
    /// Holds up the thread of this name of a child process. Returns when it has stopped.
    pub(crate) fn of(pid: u32, thread: &str) -> Self {
        let thread = thread_of(pid, thread);
        let (release, released) = channel();
        let (stop, stopped) = channel();
        // Only the thread that has stopped another can let it go on.
        let tracer = std::thread::spawn(move || {
            let outcome = interrupt(thread);
            let is_stopped = outcome.is_ok();
            let _nobody_waits = stop.send(outcome);
            if is_stopped {
                let _dropped = released.recv();
                resume(thread);
            }
        });
        let outcome = stopped.recv().expect("the tracer tells");
        outcome.expect("a child's thread may be stopped");
        Self {
            release: Some(release),
            tracer: Some(tracer),
        }
    }
}

impl Drop for Stall {
    fn drop(&mut self) {
        drop(self.release.take());
        if let Some(tracer) = self.tracer.take() {
            assert!(tracer.join().is_ok() || std::thread::panicking());
        }
    }
}

fn thread_of(pid: u32, name: &str) -> libc::pid_t {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let found = tasks.flatten().find_map(|task| {
        let comm = std::fs::read_to_string(task.path().join("comm")).ok()?;
        let number = task.file_name().to_string_lossy().parse().ok();
        number.filter(|_| comm.trim_end() == name)
    });
    found.unwrap_or_else(|| panic!("there is no thread `{name}`"))
}

/// Stops a thread without its noticing.
///
/// Source: ptrace(2), PTRACE_SEIZE and PTRACE_INTERRUPT.
fn interrupt(thread: libc::pid_t) -> io::Result<()> {
    trace(libc::PTRACE_SEIZE, thread)?;
    trace(libc::PTRACE_INTERRUPT, thread)?;
    let mut status = 0;
    // SAFETY: the kernel writes one integer to a place that has one.
    let found = unsafe { libc::waitpid(thread, &raw mut status, libc::__WALL) };
    if found != thread || !libc::WIFSTOPPED(status) {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Lets it go on; it may have ended meanwhile.
fn resume(thread: libc::pid_t) {
    let _has_ended = trace(libc::PTRACE_DETACH, thread);
}

fn trace(request: libc::c_uint, thread: libc::pid_t) -> io::Result<()> {
    let nothing = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: none of these requests reads or writes memory of ours or of the other process.
    match unsafe { libc::ptrace(request, thread, nothing, nothing) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
