//! What keeps instances apart: the PID file, and one binding at a time.
#![forbid(unsafe_code)]

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::process::ProcessError;
use crate::sys::{self, socket::BindLock};

/// The file with the process's number, locked for as long as this lives. A file that a killed
/// instance has left is not locked, and is taken over.
#[derive(Debug)]
pub(super) struct PidFile {
    path: PathBuf,
    file: File,
}

impl PidFile {
    /// Makes or takes over the file.
    ///
    /// Errors: another instance has it; it cannot be opened or written.
    pub(super) fn take(path: &Path) -> Result<Self, ProcessError> {
        for _ in 0..TAKES_MAX {
            if let Some(taken) = Self::try_take(path)? {
                return Ok(taken);
            }
        }
        Err(ProcessError::PidFile {
            path: path.to_path_buf(),
            reason: "others come and go too fast".to_string(),
        })
    }

    /// `None` if whoever had the file has removed it just now.
    fn try_take(path: &Path) -> Result<Option<Self>, ProcessError> {
        let refused = |source: io::Error| ProcessError::PidFile {
            path: path.to_path_buf(),
            reason: source.to_string(),
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path).map_err(refused)?;
        match file.try_lock() {
            // Whoever had it may have removed it just now: then the lock is on no file.
            Ok(()) if !is_at(&file, path) => return Ok(None),
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut number = String::new();
                // Without a number the message says less, no more.
                let _unreadable = file.read_to_string(&mut number);
                return Err(ProcessError::PidFile {
                    path: path.to_path_buf(),
                    reason: format!("another instance has it (process {})", number.trim()),
                });
            }
            Err(TryLockError::Error(source)) => return Err(refused(source)),
        }
        if !is_pid_file(&mut file).map_err(refused)? {
            return Err(ProcessError::PidFile {
                path: path.to_path_buf(),
                reason: "there is something else in it than a process's number".to_string(),
            });
        }
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        written.map_err(refused)?;
        Ok(Some(Self {
            path: path.to_path_buf(),
            file,
        }))
    }
}

/// Whether this open file is the one of that name.
fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(named)) = (file.metadata(), std::fs::metadata(path)) else {
        return false;
    };
    (open.dev(), open.ino()) == (named.dev(), named.ino())
}

/// Whether nothing would be lost by writing a number over it.
fn is_pid_file(file: &mut File) -> io::Result<bool> {
    let mut content = Vec::new();
    file.take(64).read_to_end(&mut content)?;
    let number = content.trim_ascii();
    Ok(content.len() < 64 && number.iter().all(u8::is_ascii_digit))
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Another user's folder: then it is left, empty.
        if std::fs::remove_file(&self.path).is_err() {
            let _left_as_it_is = self.file.set_len(0);
        }
    }
}

/// Waits until no other instance in this network namespace is binding: between the look whether a
/// port is free and binding it for several workers nobody may come.
///
/// Errors: somebody else has been binding for [`BIND_PATIENCE`].
pub(super) fn lock_binding() -> Result<BindLock, ProcessError> {
    let deadline = sys::clock::now() + BIND_PATIENCE;
    loop {
        match BindLock::try_take() {
            Ok(lock) => return Ok(lock),
            Err(_) if sys::clock::now() < deadline => std::thread::sleep(BIND_RETRY),
            Err(source) => {
                let what = "another instance is binding";
                return Err(ProcessError::System { what, source });
            }
        }
    }
}

const TAKES_MAX: u32 = 16;
const BIND_PATIENCE: Duration = Duration::from_secs(10);
const BIND_RETRY: Duration = Duration::from_millis(5);
