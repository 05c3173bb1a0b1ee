//! Bulk where the kernel gives an ordinary user no more pages for pipes: by copying.
#![expect(unsafe_code, reason = "setresuid(2) of one thread alone, prctl(2)")]
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on fails with the reason"
)]

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::mpsc::channel;

use crate::support::endpoint::Endpoint;
use crate::support::folder::{Folder, is_root};
use crate::support::program::Program;
use crate::support::{PATIENCE, connect, finish, pattern, wait_until};

const BYTES: usize = 64 << 20;

/// A user of nobody else's: whose pages are used up, gets tiny pipes, and other tests want theirs.
const NOBODY: u32 = 54_321;

/// Makes this thread alone another user's. The library's function would change all threads.
fn become_nobody() -> io::Result<()> {
    // SAFETY: takes numbers (setresuid(2)); the capabilities go with the user.
    let result = unsafe { libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Makes a pipe as large as possible and returns what it holds.
fn large_pipe() -> io::Result<(io::PipeReader, io::PipeWriter, i32)> {
    let (reader, writer) = io::pipe()?;
    for bytes in [1 << 20, 1 << 17] {
        // SAFETY: takes a number (fcntl(2), F_SETPIPE_SZ). Whether it worked is asked next.
        unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETPIPE_SZ, bytes) };
    }
    // SAFETY: takes no argument (fcntl(2), F_GETPIPE_SZ).
    let holds = unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_GETPIPE_SZ) };
    Ok((reader, writer, holds))
}

/// Pipes of this thread's user until they become tiny.
fn fill_pipes() -> Option<Vec<(io::PipeReader, io::PipeWriter, i32)>> {
    let mut pipes = Vec::new();
    // 64 MiB is what an ordinary user may have; one that has far more has no limit.
    for _ in 0..4096 {
        let pipe = large_pipe().ok()?;
        let is_tiny = pipe.2 < 64 * 1024;
        pipes.push(pipe);
        if is_tiny {
            return Some(pipes);
        }
    }
    None
}

#[test]
fn without_pages_for_pipes_bulk_is_copied() {
    let (filled, is_full) = channel();
    let (end, ended) = channel::<()>();
    let user = std::thread::spawn(move || {
        let may = is_root() && become_nobody().is_ok();
        let pipes = if may { fill_pipes() } else { None };
        filled.send(pipes.is_some()).expect("the test goes on");
        // Held as long as the test goes on.
        let _over = ended.recv();
        drop(pipes);
    });
    if !is_full.recv_timeout(PATIENCE).expect("the pipes are made") {
        return;
    }
    relay_without_pipes();
    drop(end);
    assert!(user.join().is_ok());
}

fn relay_without_pipes() {
    let folder = Folder::new();
    // The program may be where the other user cannot go.
    let program = folder.join("ringlane");
    fs::copy(env!("CARGO_BIN_EXE_ringlane"), &program).expect("the disk has room");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let user = NOBODY.to_string();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
    command.args(["--bounding-set", "-all"]).arg(program);
    command.env_remove("RINGLANE_CONFIG");
    let (word, go_on) = channel();
    let go_on = std::sync::Mutex::new(go_on);
    let endpoint = Endpoint::serve(move |mut stream| {
        let mut received = vec![0; BYTES];
        stream.read_exact(&mut received[..BYTES / 2])?;
        if let Ok(go_on) = go_on.lock() {
            let _word = go_on.recv_timeout(PATIENCE);
        }
        stream.read_exact(&mut received[BYTES / 2..])?;
        let is_equal = received == pattern(9, BYTES);
        stream.write_all(if is_equal { b"equal" } else { b"other" })
    });
    let to = endpoint.addr.to_string();
    let program = Program::run_by(command, &["--to", &to, "--workers", "1"]);
    // Whoever runs the tests may have left it some.
    let inherited = pipes_of(&program);
    let mut client = connect(program.addr);
    let mut writing = client.try_clone().expect("a second handle");
    let writer = std::thread::spawn(move || {
        writing
            .write_all(&pattern(9, BYTES))
            .expect("the way is open");
        finish(&writing);
    });
    wait_until("the endpoint is connected", || endpoint.accepted() == 1);
    word.send(()).expect("the endpoint waits");
    let mut answer = [0; 5];
    client
        .read_exact(&mut answer)
        .expect("the endpoint answers");
    assert_eq!(&answer, b"equal");
    assert!(writer.join().is_ok());
    // Pipes that bulk has gone through are kept; one that is too small is closed again at once.
    wait_until("the program has no pipe", || {
        pipes_of(&program) == inherited
    });
}

/// How many ends of pipes a program has, its log left out; 0 if it may not be looked at.
fn pipes_of(program: &Program) -> usize {
    let Ok(entries) = fs::read_dir(format!("/proc/{}/fd", program.pid())) else {
        return 0;
    };
    let standard = ["0", "1", "2"];
    let others = entries
        .flatten()
        .filter(|entry| !standard.contains(&entry.file_name().to_string_lossy().as_ref()));
    let links = others.filter_map(|entry| fs::read_link(entry.path()).ok());
    links
        .filter(|link| link.to_string_lossy().starts_with("pipe:"))
        .count()
}
