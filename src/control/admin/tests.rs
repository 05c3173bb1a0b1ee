//! The interface over real sockets, with a control that answers by a script.
#![forbid(unsafe_code)]

mod calls;
mod hardships;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use futures_channel::mpsc as queue;
use monoio::io::AsyncReadRent;
use serde_json::Value;

use super::*;
use crate::control::request::{
    Answer, Change, ClusterStatus, EndpointKey, EndpointStatus, ProbeStatus, Refusal, Request,
    Wanted,
};
use crate::plan::admin::PublicRoute;
use crate::plan::place::Bind;
use crate::standing::AdminState;

/// Nothing here takes as long.
const PATIENCE: Duration = Duration::from_secs(20);

/// Short enough to wait for.
const SHORT: Duration = Duration::from_millis(50);

/// The interface on a thread of its own, until it is dropped.
struct Site {
    addr: SocketAddr,
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
    wanted: mpsc::Receiver<String>,
}

/// How a site differs from the usual one.
#[derive(Default)]
struct Setting {
    limits: Limits,
    token: Option<&'static str>,
    public: Option<Vec<PublicRoute>>,
    hosts: Vec<String>,
    unix: Option<PathBuf>,
    control: Control,
    driver: Driver,
}

/// What the runtime stands on.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Driver {
    /// A ring, if there may be one.
    #[default]
    Any,
    Epoll,
}

/// What the scripted control does.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Control {
    #[default]
    Answers,
    /// It takes requests and never answers.
    Sleeps,
    /// It takes nothing.
    IsStuck,
    /// It drops what it takes.
    Drops,
    /// Two workers are late, and clients cannot be served.
    IsTorn,
}

impl Site {
    fn start() -> Self {
        Self::with(Setting::default())
    }

    fn with(setting: Setting) -> Self {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = tcp.local_addr().expect("an address");
        let (bind, listener) = match &setting.unix {
            None => (Bind::Tcp(addr), AdminListener::Tcp(tcp)),
            Some(path) => {
                let listener = UnixListener::bind(path).expect("a path");
                (Bind::Unix(path.clone()), AdminListener::Unix(listener))
            }
        };
        match &listener {
            AdminListener::Tcp(listener) => listener.set_nonblocking(true),
            AdminListener::Unix(listener) => listener.set_nonblocking(true),
        }
        .expect("a listener that does not block");
        let (stop, stopped) = UnixStream::pair().expect("a pair");
        let (told, wanted) = mpsc::channel();
        let thread = thread::spawn(move || run(bind, listener, setting, stopped, told));
        Self {
            addr,
            stop: Some(stop),
            thread: Some(thread),
            wanted,
        }
    }

    fn connect(&self) -> Client<TcpStream> {
        let stream = TcpStream::connect(self.addr).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        Client::new(stream)
    }

    /// One request on a connection of its own.
    fn call(&self, request: &str) -> Told {
        let mut client = self.connect();
        client.send(request.as_bytes());
        client.read()
    }

    /// What control was asked so far, at least once.
    fn asked(&self) -> String {
        self.wanted.recv_timeout(PATIENCE).expect("a request")
    }

    fn was_not_asked(&self) {
        assert_eq!(self.wanted.try_recv(), Err(mpsc::TryRecvError::Empty));
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let end = thread.join();
            assert!(end.is_ok() || thread::panicking(), "the site has panicked");
        }
    }
}

fn run(
    bind: Bind,
    listener: AdminListener,
    setting: Setting,
    stopped: UnixStream,
    told: mpsc::Sender<String>,
) {
    let driver = setting.driver;
    let site = async move {
        let mut plan = AdminPlan::on(bind);
        plan.public = setting.public;
        plan.hosts = setting.hosts;
        let token = setting.token.map(str::to_string);
        let admin = Admin::new(plan, token).with_limits(setting.limits);
        let (sender, requests) = queue::channel(1);
        let mut site = pin!(serve(listener, Rc::new(admin), sender).fuse());
        let mut control = pin!(control(setting.control, requests, told).fuse());
        let mut stopped = pin!(closed(stopped).fuse());
        select! {
            () = site => unreachable!("it serves until it is dropped"),
            () = control => {}
            () = stopped => {}
        }
    };
    match driver {
        Driver::Any => {
            let runtime = monoio::RuntimeBuilder::<monoio::FusionDriver>::new();
            let runtime = runtime.enable_timer().build();
            runtime.expect("a runtime").block_on(site);
        }
        Driver::Epoll => {
            let runtime = monoio::RuntimeBuilder::<monoio::LegacyDriver>::new();
            let runtime = runtime.enable_timer().build();
            runtime.expect("a runtime").block_on(site);
        }
    }
}

/// Waits until the other end is gone: wakers of the runtime work on its own thread alone.
async fn closed(stream: UnixStream) {
    stream
        .set_nonblocking(monoio::utils::is_legacy())
        .expect("a mode");
    let mut stream = monoio::net::UnixStream::from_std(stream).expect("a stream");
    let (_end, _room) = stream.read(vec![0; 1]).await;
}

/// Answers by the script.
async fn control(
    control: Control,
    mut requests: queue::Receiver<Request>,
    told: mpsc::Sender<String>,
) {
    if control == Control::IsStuck {
        return std::future::pending().await;
    }
    let mut kept = Vec::new();
    while let Some(Request { wanted, reply }) = requests.next().await {
        let _nobody_listens = told.send(format!("{wanted:?}"));
        match control {
            Control::Sleeps => kept.push(reply),
            Control::Drops => drop(reply),
            _ => {
                let _gone = reply.send(script(wanted, control));
            }
        }
    }
}

fn script(wanted: Wanted, control: Control) -> Result<Answer, Refusal> {
    let changed = |endpoint| Answer::Changed {
        endpoint: Box::new(endpoint),
        pending_workers: match control {
            Control::IsTorn => vec![0, 3],
            _ => Vec::new(),
        },
    };
    match wanted {
        Wanted::Clusters => Ok(Answer::Clusters(vec![cluster_status()])),
        Wanted::Cluster(name) => known(&name).map(|()| Answer::Cluster(Box::new(cluster_status()))),
        Wanted::Endpoints(name) => {
            known(&name).map(|()| Answer::Endpoints(vec![endpoint_status()]))
        }
        Wanted::Endpoint(name, key) => {
            known(&name)?;
            found(&key).map(|endpoint| Answer::Endpoint(Box::new(endpoint)))
        }
        Wanted::Add(name, plan) => {
            known(&name)?;
            match plan.name.as_deref() {
                Some("taken") => Err(Refusal::Conflict {
                    field: "name",
                    detail: "there is one already".into(),
                }),
                Some("odd") => Err(Refusal::Invalid {
                    field: "name",
                    detail: "it is odd".into(),
                }),
                _ => Ok(changed(EndpointStatus {
                    address: plan.place.to_string(),
                    weight: plan.weight,
                    ..endpoint_status()
                })),
            }
        }
        Wanted::Change(name, key, Change { weight, state }) => {
            known(&name)?;
            let endpoint = found(&key)?;
            Ok(changed(EndpointStatus {
                weight: weight.unwrap_or(endpoint.weight),
                state: state.unwrap_or(endpoint.state),
                ..endpoint
            }))
        }
        Wanted::Remove(name, key, _) => {
            known(&name)?;
            found(&key).map(changed)
        }
        Wanted::Metrics => Ok(Answer::Metrics("# TYPE a gauge\na 1\n# EOF\n".into())),
        Wanted::Ready if control == Control::IsTorn => {
            Ok(Answer::NotReady("the listener web is gone".into()))
        }
        Wanted::Ready => Ok(Answer::Ready),
    }
}

fn known(cluster: &str) -> Result<(), Refusal> {
    match cluster {
        "web" => Ok(()),
        "busy" => Err(Refusal::Unavailable {
            detail: "it is full".into(),
        }),
        _ => Err(Refusal::Unknown {
            detail: format!("there is no cluster `{cluster}`; there is web"),
        }),
    }
}

fn found(key: &EndpointKey) -> Result<EndpointStatus, Refusal> {
    match key {
        EndpointKey::Id(7) => Ok(endpoint_status()),
        EndpointKey::Name(name) if name == "unix:/run/a.sock" => Ok(endpoint_status()),
        _ => Err(Refusal::Unknown {
            detail: "there is no such endpoint; there is 7".into(),
        }),
    }
}

fn cluster_status() -> ClusterStatus {
    ClusterStatus {
        name: "web".into(),
        balance: "round_robin",
        endpoints: 1,
        eligible: 1,
        mode: "normal",
        open_sessions: 3,
        names: Vec::new(),
    }
}

fn endpoint_status() -> EndpointStatus {
    EndpointStatus {
        id: 7,
        name: "a".into(),
        address: "10.0.0.1:80".into(),
        weight: 1,
        state: AdminState::Enabled,
        priority: 0,
        backup: false,
        max_connections: None,
        eligible: true,
        reason: None,
        health: "up",
        last_probe: Some(ProbeStatus {
            success: true,
            detail: "connected".into(),
            took_ms: 0.5,
            age_ms: 100,
        }),
        breaker: "closed",
        consecutive_failures: 0,
        open_sessions: 3,
        sessions: 10,
        connect_failures: 0,
        bytes: 1000,
        origin: "config",
    }
}

/// A client that reads whole answers.
struct Client<S> {
    stream: S,
    rest: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
struct Told {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Told {
    fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert!(self.body.ends_with("}\n"), "{:?}", self.body);
        serde_json::from_str(&self.body).expect("JSON")
    }

    fn closes(&self) -> bool {
        self.header("connection") == Some("close")
    }

    /// Checks that it tells an error, and what it tells.
    fn is_error(&self, status: u16, error: &str, field: Option<&str>) {
        assert_eq!(self.status, status, "{self:?}");
        let json = self.json();
        assert_eq!(json["error"], error, "{self:?}");
        assert!(json["detail"].is_string(), "{self:?}");
        assert_eq!(json["field"].as_str(), field, "{self:?}");
        let keys = json.as_object().expect("an object").len();
        assert_eq!(keys, 3);
    }
}

impl<S: Read + Write> Client<S> {
    fn new(stream: S) -> Self {
        let rest = Vec::new();
        Self { stream, rest }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the site reads");
    }

    fn read(&mut self) -> Told {
        self.read_answer(BodyIs::There)
    }

    fn read_answer(&mut self, body: BodyIs) -> Told {
        let end = loop {
            let end = self.rest.windows(4).position(|part| part == b"\r\n\r\n");
            match end {
                Some(end) => break end,
                None => assert!(self.fill() > 0, "it closed: {:?}", self.text()),
            }
        };
        let head = String::from_utf8(self.rest.drain(..end + 4).collect()).expect("ASCII");
        let mut lines = head.trim_end().split("\r\n");
        let first = lines.next().expect("a line");
        let status = first.split(' ').nth(1).expect("a status");
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(": ").expect("a header");
            (name.to_string(), value.to_string())
        });
        let mut told = Told {
            status: status.parse().expect("a number"),
            headers: headers.collect(),
            body: String::new(),
        };
        assert_eq!(told.header("cache-control"), Some("no-store"), "{head}");
        assert_eq!(told.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(told.header("access-control-allow-origin"), None);
        let length = told.header("content-length").expect("a length");
        let length: usize = length.parse().expect("a number");
        if body == BodyIs::There {
            while self.rest.len() < length {
                assert!(self.fill() > 0, "it closed amid a body");
            }
            let body = self.rest.drain(..length).collect();
            told.body = String::from_utf8(body).expect("UTF-8");
        }
        told
    }

    /// Reads until the site closes, and returns what came before.
    fn read_end(&mut self) -> String {
        while self.fill() > 0 {}
        self.text()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.rest).into_owned()
    }

    fn fill(&mut self) -> usize {
        let mut room = [0; 4096];
        let bytes = self.stream.read(&mut room).expect("bytes or an end");
        self.rest.extend_from_slice(&room[..bytes]);
        bytes
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum BodyIs {
    There,
    Left,
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

fn with_body(method: &str, path: &str, body: &str) -> String {
    let bytes = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {bytes}\r\n\r\n{body}"
    )
}

/// A path for a socket that goes when the test does.
struct SocketPath(PathBuf);

impl SocketPath {
    fn new(name: &str) -> Self {
        let file = format!("ringlane-admin-{}-{name}.sock", std::process::id());
        Self(std::env::temp_dir().join(file))
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.0);
    }
}

fn connect_unix(path: &Path) -> Client<UnixStream> {
    let stream = UnixStream::connect(path).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    Client::new(stream)
}
