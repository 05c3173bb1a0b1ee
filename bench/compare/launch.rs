//! Starts relays as child processes on one CPU, waits until they relay, and ends them.
//!
//! A child dies with this process, whatever ends it; its temporary folder holds its configuration and its log.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use std::{array, env};

use clap::ValueEnum;

use super::sys;
use super::wire::{ANSWER_BYTES_MIN, Request};

/// A relay that can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// The bare relay
    Floor,
    /// Ringlane with one worker
    Ringlane,
    /// Ringlane that copies everything
    RinglaneCopying,
    /// HAProxy with one thread, in tcp mode
    Haproxy,
    /// NGINX with one worker, by its stream module
    Nginx,
}

impl Kind {
    /// Its name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Ringlane => "ringlane",
            Self::RinglaneCopying => "copying",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
        }
    }

    /// True if its system calls are counted.
    pub(crate) fn is_traced(self) -> bool {
        matches!(self, Self::Floor | Self::Ringlane)
    }

    /// What ends it with this process: NGINX must end its worker, the others are one process.
    fn death_signal(self) -> libc::c_int {
        if self == Self::Nginx {
            libc::SIGTERM
        } else {
            libc::SIGKILL
        }
    }

    fn command(self, place: &Place, folder: &Path) -> io::Result<Command> {
        let Place { listen, to, cpu } = place;
        let mut command;
        match self {
            Self::Floor => {
                command = Command::new(env::current_exe()?);
                command
                    .arg("--be-floor")
                    .args([listen.to_string(), to.to_string()]);
            }
            Self::Ringlane | Self::RinglaneCopying => {
                command = Command::new(env!("CARGO_BIN_EXE_ringlane"));
                command.args([
                    "run",
                    "--listen",
                    &listen.to_string(),
                    "--to",
                    &to.to_string(),
                ]);
                command.args(["--workers", "1", "--cpus", &cpu.to_string()]);
                if self == Self::RinglaneCopying {
                    command.args(["--pipes", "0"]);
                }
            }
            Self::Haproxy => {
                let file = folder.join("haproxy.cfg");
                fs::write(&file, haproxy_configuration(place))?;
                command = Command::new(HAPROXY);
                command.args(["-db", "-f"]).arg(file);
            }
            Self::Nginx => {
                let file = folder.join("nginx.conf");
                fs::write(&file, nginx_configuration(place, folder))?;
                command = Command::new(NGINX);
                command
                    .arg("-p")
                    .arg(folder)
                    .arg("-c")
                    .arg(file)
                    .args(["-e", "stderr"]);
            }
        }
        Ok(command)
    }
}

/// Where a relay listens, where it relays to, and the CPU it runs on.
pub(crate) struct Place {
    pub(crate) listen: SocketAddrV4,
    pub(crate) to: SocketAddrV4,
    pub(crate) cpu: usize,
}

/// A relay that relays. Ends with this value.
pub(crate) struct Running {
    kind: Kind,
    address: SocketAddrV4,
    child: Child,
    folder: PathBuf,
}

impl Running {
    /// Starts a relay and waits until an answer has come through it, or says why there is none.
    pub(crate) fn start(kind: Kind, place: &Place) -> Result<Self, String> {
        let mut running = Self::spawn(kind, place).map_err(|error| error.to_string())?;
        let deadline = Instant::now() + START_MOST;
        loop {
            let answered = exchange(place.listen);
            let Err(error) = answered else {
                return Ok(running);
            };
            if let Ok(Some(status)) = running.child.try_wait() {
                return Err(format!(
                    "it ended by itself ({status}){}",
                    running.last_words()
                ));
            }
            if Instant::now() > deadline {
                return Err(format!(
                    "it does not relay after 10 s: {error}{}",
                    running.last_words()
                ));
            }
            thread::sleep(START_PAUSE);
        }
    }

    fn spawn(kind: Kind, place: &Place) -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ringlane-compare-{}-{count}-{}", process::id(), kind.name());
        let folder = env::temp_dir().join(name);
        fs::create_dir(&folder)?;
        let spawned = Self::spawn_in(kind, place, &folder);
        if spawned.is_err() {
            let _ = fs::remove_dir_all(&folder);
        }
        Ok(Self {
            kind,
            address: place.listen,
            child: spawned?,
            folder,
        })
    }

    fn spawn_in(kind: Kind, place: &Place, folder: &Path) -> io::Result<Child> {
        let mut command = kind.command(place, folder)?;
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(folder.join(LOG))?);
        sys::confine(&mut command, place.cpu, kind.death_signal());
        command.spawn()
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    fn last_words(&self) -> String {
        let text = fs::read_to_string(self.folder.join(LOG)).unwrap_or_default();
        text.lines()
            .last()
            .map(|line| format!(", saying: {line}"))
            .unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let deadline = Instant::now() + STOP_MOST;
        while let Ok(None) = self.child.try_wait() {
            if Instant::now() > deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                break;
            }
            sys::signal(self.child.id(), self.kind.death_signal());
            thread::sleep(START_PAUSE);
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// One request and its answer through a relay.
fn exchange(relay: SocketAddrV4) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&relay.into(), EXCHANGE_MOST)?;
    stream.set_read_timeout(Some(EXCHANGE_MOST))?;
    let request = Request {
        id: u64::MAX,
        answer_bytes: ANSWER_BYTES_MIN,
    };
    stream.write_all(&request.encode())?;
    let mut received: [u8; ANSWER_BYTES_MIN as usize] = array::from_fn(|_| 0);
    stream.read_exact(&mut received)?;
    match request.answer().check(&received) {
        Some(_) => Ok(()),
        None => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the answer is not the endpoint's",
        )),
    }
}

fn haproxy_configuration(place: &Place) -> String {
    let Place { listen, to, cpu } = place;
    format!(
        "global\n  nbthread 1\n  cpu-map 1/1 {cpu}\n  maxconn 8000\n\
         defaults\n  mode tcp\n  maxconn 8000\n  backlog 4096\n\
         \x20 timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
         listen relay\n  bind {listen}\n  server endpoint {to}\n"
    )
}

fn nginx_configuration(place: &Place, folder: &Path) -> String {
    let Place { listen, to, .. } = place;
    let pid = folder.join("nginx.pid");
    let pid = pid.display();
    format!(
        "load_module {NGINX_STREAM};\nuser root;\ndaemon off;\npid {pid};\nerror_log stderr error;\n\
         worker_processes 1;\nworker_rlimit_nofile 20000;\n\
         events {{ worker_connections 16384; }}\n\
         stream {{\n  access_log off;\n  proxy_connect_timeout 5s;\n  proxy_timeout 60s;\n\
         \x20 server {{ listen {listen} backlog=4096; proxy_pass {to}; }}\n}}\n"
    )
}

const HAPROXY: &str = "/usr/sbin/haproxy";
const NGINX: &str = "/usr/sbin/nginx";
const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";
const LOG: &str = "stderr.log";
const START_MOST: Duration = Duration::from_secs(10);
const START_PAUSE: Duration = Duration::from_millis(50);
const EXCHANGE_MOST: Duration = Duration::from_millis(500);
const STOP_MOST: Duration = Duration::from_secs(2);
