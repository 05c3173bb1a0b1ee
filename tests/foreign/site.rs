//! What the foreign programs need: a folder, daemons that end with the test, Ringlane in front.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on fails with the reason"
)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// After this long without the thing that a test waits for, it has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder of a test's own, removed with it.
pub(crate) struct Site {
    folder: PathBuf,
}

impl Site {
    pub(crate) fn new(name: &str) -> Self {
        let unique = format!("ringlane-{name}-{:x}", fastrand::u64(..));
        let folder = std::env::temp_dir().join(unique);
        fs::create_dir(&folder).expect("a folder of our own");
        Self { folder }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a file and returns where it is.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.folder.join(name);
        fs::write(&path, content).expect("a file in a folder of our own");
        path
    }

    /// Makes the folder belong to this user, if we may.
    pub(crate) fn give_to(&self, user: &str) {
        if is_root() {
            run("chown", &[user, &self.folder.display().to_string()]);
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _removed = fs::remove_dir_all(&self.folder);
    }
}

/// A program that runs until the test is over.
pub(crate) struct Daemon {
    child: Child,
}

impl Daemon {
    pub(crate) fn start(program: &str, words: &[&str], folder: &Path) -> Self {
        let child = Command::new(program)
            .args(words)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{program} is not installed: {error}"));
        Self { child }
    }

    /// Starts it as this user, if we are root.
    pub(crate) fn start_as(user: &str, program: &str, words: &[&str], folder: &Path) -> Self {
        let (program, words) = as_user(user, program, words);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        Self::start(&program, &words, folder)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // An orderly end first: NGINX and PostgreSQL have children of their own to end.
        let _asked = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status();
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            if self.child.try_wait().is_ok_and(|status| status.is_some()) {
                return;
            }
            std::thread::yield_now();
        }
        let _killed = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Ringlane in front of local ports.
pub(crate) struct Balanced {
    _daemon: Daemon,
    /// Where clients connect.
    pub(crate) port: u16,
}

/// Starts the real program in front of these ports.
pub(crate) fn balanced(ports: &[u16]) -> Balanced {
    balanced_by("auto", ports)
}

/// The same with so many workers.
pub(crate) fn balanced_by(workers: &str, ports: &[u16]) -> Balanced {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringlane"));
    command.args(["run", "--listen", "127.0.0.1:0", "--workers", workers]);
    for port in ports {
        command.args(["--to", &format!("127.0.0.1:{port}")]);
    }
    start(command)
}

/// Starts it with one listener and one cluster, of which this is said besides where they are.
pub(crate) fn configured(site: &Site, listener: &str, cluster: &str, port: u16) -> Balanced {
    let config = format!(
        r#"{{ "listeners": [{{ "bind": "127.0.0.1:0", {listener} }}],
              "clusters": [{{ "name": "c", "endpoints": ["127.0.0.1:{port}"], {cluster} }}] }}"#
    );
    let config = site.write("ringlane.json", config.as_bytes());
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringlane"));
    command.args(["run", "--config"]).arg(config);
    command.env_remove("RINGLANE_CONFIG");
    start(command)
}

/// Ringlane with this configuration, besides an admin interface in this folder.
pub(crate) fn steered(site: &Site, config: &str) -> Balanced {
    let socket = site.folder().join("admin.sock");
    let config = config.trim_end().strip_suffix('}').expect("an object");
    let config = format!(
        r#"{config}, "admin": {{ "bind": "unix:{}" }} }}"#,
        socket.display()
    );
    let config = site.write("ringlane.json", config.as_bytes());
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringlane"));
    command.args(["run", "--config"]).arg(config);
    command.env_remove("RINGLANE_CONFIG");
    start(command)
}

/// What the admin interface in this folder has at a path, as curl gets it.
pub(crate) fn told(site: &Site, path: &str) -> serde_json::Value {
    let socket = site.folder().join("admin.sock").display().to_string();
    let url = format!("http://localhost{path}");
    let text = run("curl", &["-sS", "--fail", "--unix-socket", &socket, &url]);
    serde_json::from_str(&text).expect("JSON")
}

fn start(mut command: Command) -> Balanced {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut log = BufReader::new(child.stderr.take().expect("the pipe was asked for")).lines();
    let daemon = Daemon { child };
    let port = loop {
        let line = log
            .next()
            .and_then(Result::ok)
            .expect("it says where it listens");
        let addr = line
            .split("addr=")
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next());
        if let Some(addr) = addr.and_then(|addr| addr.parse::<SocketAddr>().ok()) {
            break addr.port();
        }
    };
    std::thread::spawn(move || log.count());
    Balanced {
        _daemon: daemon,
        port,
    }
}

/// A port that nobody uses at present.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener
        .local_addr()
        .expect("a bound socket has an address")
        .port()
}

/// Waits until something is so.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
    }
}

/// Waits until somebody listens.
pub(crate) fn wait_for_port(port: u16) {
    wait_until(&format!("port {port} is served"), || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
}

/// Runs a program to its end and returns what it printed.
pub(crate) fn run(program: &str, words: &[&str]) -> String {
    try_run(program, words).unwrap_or_else(|failure| panic!("{failure}"))
}

/// As [`run`], as this user if we are root.
pub(crate) fn run_as(user: &str, program: &str, words: &[&str]) -> String {
    let (program, words) = as_user(user, program, words);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    run(&program, &words)
}

/// As [`run`]; a failure is returned.
pub(crate) fn try_run(program: &str, words: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(words)
        .current_dir(std::env::temp_dir())
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{program} is not installed: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "{program} {words:?}: {}\n{text}{errors}",
        output.status
    ))
}

/// Where PostgreSQL's programs are: the newest version that is installed.
pub(crate) fn postgres_programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed");
    let mut folders: Vec<PathBuf> = versions
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .collect();
    folders.sort();
    folders.pop().expect("PostgreSQL is installed")
}

fn as_user(user: &str, program: &str, words: &[&str]) -> (String, Vec<String>) {
    let mut all: Vec<String> = words.iter().map(ToString::to_string).collect();
    if !is_root() {
        return (program.to_string(), all);
    }
    let prefix = [
        format!("--reuid={user}"),
        format!("--regid={user}"),
        "--clear-groups".to_string(),
        program.to_string(),
    ];
    all.splice(0..0, prefix);
    ("setpriv".to_string(), all)
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}
