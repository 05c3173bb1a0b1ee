//! The two files that names are looked up by: read again when they have changed.
#![forbid(unsafe_code)]

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use super::hosts::Hosts;
use super::resolv_conf::ResolvConf;
use crate::bounds::{NAME_FILE_BYTES_MAX, NAME_FILES_LOOK};

/// Both files.
#[derive(Debug)]
pub(super) struct Files {
    hosts: Kept<Hosts>,
    resolv_conf: Kept<ResolvConf>,
    looked: Option<Instant>,
}

/// What was read of a file, and the file's state then.
#[derive(Debug)]
struct Kept<T> {
    path: PathBuf,
    parse: fn(&str) -> T,
    stamp: Option<Stamp>,
    content: Rc<T>,
}

/// What changes when a file is written or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: (i64, i64),
    file: (u64, u64),
    bytes: u64,
}

impl Files {
    pub(super) fn new(hosts: &Path, resolv_conf: &Path) -> Self {
        Self {
            hosts: Kept::new(hosts, Hosts::parse),
            resolv_conf: Kept::new(resolv_conf, ResolvConf::parse),
            looked: None,
        }
    }

    /// What the files say. A file that is not there is an empty one; one that cannot be read stays
    /// as it was.
    ///
    /// Cost: at most once a second two system calls; with a change the file is read.
    pub(super) fn current(&mut self, now: Instant) -> (Rc<Hosts>, Rc<ResolvConf>) {
        let is_fresh = self
            .looked
            .is_some_and(|looked| now.saturating_duration_since(looked) < NAME_FILES_LOOK);
        if !is_fresh {
            self.looked = Some(now);
            self.hosts.look();
            self.resolv_conf.look();
        }
        (
            Rc::clone(&self.hosts.content),
            Rc::clone(&self.resolv_conf.content),
        )
    }
}

impl<T: Default> Kept<T> {
    fn new(path: &Path, parse: fn(&str) -> T) -> Self {
        Self {
            path: path.to_path_buf(),
            parse,
            stamp: None,
            content: Rc::new(T::default()),
        }
    }

    fn look(&mut self) {
        match self.read_if_changed() {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if self.stamp.take().is_some() {
                    self.content = Rc::new(T::default());
                }
            }
            Err(error) => {
                tracing::warn!(file = %self.path.display(), %error, "names: the file cannot be read");
            }
        }
    }

    fn read_if_changed(&mut self) -> io::Result<()> {
        let metadata = fs::metadata(&self.path)?;
        let stamp = Stamp::of(&metadata);
        if self.stamp == Some(stamp) {
            return Ok(());
        }
        // Anything else might let the thread wait.
        if !metadata.is_file() {
            self.stamp = Some(stamp);
            return Err(io::Error::other("it is no ordinary file"));
        }
        let mut bytes = Vec::new();
        File::open(&self.path)?
            .take(NAME_FILE_BYTES_MAX)
            .read_to_end(&mut bytes)?;
        self.content = Rc::new((self.parse)(&String::from_utf8_lossy(&bytes)));
        self.stamp = Some(stamp);
        Ok(())
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            file: (metadata.dev(), metadata.ino()),
            bytes: metadata.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_change_is_seen_a_second_later() {
        let folder = std::env::temp_dir().join(format!("ringlane-names-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("hosts");
        let mut files = Files::new(&path, &folder.join("none"));
        let start = Instant::now();
        let mut known = |after: Duration, name: &str| {
            let (hosts, conf) = files.current(start + after);
            assert_eq!(*conf, ResolvConf::default());
            !hosts.addresses(name).is_empty()
        };
        let ms = Duration::from_millis;

        assert!(!known(ms(0), "a"));
        fs::write(&path, "10.0.0.1 a").expect("written");
        assert!(!known(ms(999), "a"), "looked at too often");
        assert!(known(ms(1000), "a"));
        fs::write(&path, "10.0.0.1 a b").expect("written");
        assert!(known(ms(2000), "b"));
        // Replaced by one of the same size.
        fs::write(folder.join("new"), "10.0.0.1 a c").expect("written");
        fs::rename(folder.join("new"), &path).expect("renamed");
        assert!(known(ms(3000), "c") && !known(ms(3000), "b"));
        // Something that cannot be read is no reason to forget.
        fs::remove_file(&path).expect("removed");
        fs::create_dir(&path).expect("a folder");
        assert!(known(ms(4000), "c"));
        fs::remove_dir(&path).expect("removed");
        assert!(!known(ms(5000), "c"));
        fs::remove_dir_all(&folder).expect("removed");
    }
}
