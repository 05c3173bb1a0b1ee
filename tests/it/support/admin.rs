//! A client of the admin interface.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on fails with the reason"
)]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ringlane::plan::place::Bind;
use serde_json::Value;

use super::{Balancer, PATIENCE, wait_until};

/// Where the interface is.
#[derive(Clone, Debug)]
pub(crate) struct Admin(Bind);

/// What it has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    fn parse(bytes: &[u8]) -> io::Result<Self> {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text
            .split_once("\r\n\r\n")
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
        Ok(Self {
            status: status.ok_or(io::ErrorKind::InvalidData)?,
            text: body.to_string(),
        })
    }
}

impl Admin {
    /// That of a balancer in this process.
    pub(crate) fn of(balancer: &Balancer) -> Self {
        let bind = balancer.running().admin_bind();
        Self(bind.expect("the plan has an admin interface").clone())
    }

    /// The one at a path.
    pub(crate) fn at(path: &Path) -> Self {
        Self(Bind::Unix(path.to_path_buf()))
    }

    /// Its address.
    pub(crate) fn addr(&self) -> SocketAddr {
        match &self.0 {
            Bind::Tcp(addr) => *addr,
            Bind::Unix(path) => panic!("{} has no address", path.display()),
        }
    }

    /// Makes a request of its own connection. A body is JSON.
    ///
    /// Errors: there is no whole answer.
    pub(crate) fn try_call(&self, method: &str, path: &str, body: &str) -> io::Result<Answer> {
        let length = body.len();
        let kind = "Content-Type: application/json\r\n";
        let kind = if body.is_empty() { "" } else { kind };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{kind}\
             Content-Length: {length}\r\n\r\n{body}"
        );
        self.exchange(request.as_bytes())
    }

    /// Sends these bytes and takes in what is answered until the connection ends.
    ///
    /// Errors: there is no whole answer.
    pub(crate) fn exchange(&self, bytes: &[u8]) -> io::Result<Answer> {
        let received = match &self.0 {
            Bind::Tcp(addr) => {
                let stream = TcpStream::connect(addr)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                converse(stream, bytes)?
            }
            Bind::Unix(path) => {
                let stream = UnixStream::connect::<&PathBuf>(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                converse(stream, bytes)?
            }
        };
        Answer::parse(&received)
    }

    /// As [`try_call`](Self::try_call), where there has to be an answer.
    pub(crate) fn call(&self, method: &str, path: &str, body: &str) -> Answer {
        self.try_call(method, path, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// Asks for something.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.call("GET", path, "")
    }

    /// The cluster of the tests.
    pub(crate) fn cluster(&self) -> Value {
        let answer = self.get("/v1/clusters/default");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// Its endpoints.
    pub(crate) fn endpoints(&self) -> Vec<Value> {
        let answer = self.get(ENDPOINTS);
        assert_eq!(answer.status, 200, "{answer:?}");
        let endpoints = answer.json()["endpoints"].take();
        endpoints.as_array().expect("a list").clone()
    }

    /// One of them.
    pub(crate) fn endpoint(&self, name: &str) -> Value {
        let answer = self.get(&format!("{ENDPOINTS}/{name}"));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// A number of one of them.
    pub(crate) fn number(&self, name: &str, field: &str) -> u64 {
        let endpoint = self.endpoint(name);
        endpoint[field].as_u64().expect("a number")
    }

    /// Changes one of them, and waits until all workers have taken it.
    pub(crate) fn patch(&self, name: &str, body: &str) -> Value {
        let answer = self.call("PATCH", &format!("{ENDPOINTS}/{name}"), body);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["endpoint"].take()
    }

    /// Waits until all workers act by what control knows.
    pub(crate) fn await_workers(&self) {
        let endpoint = self.endpoints().remove(0);
        let (id, weight) = (&endpoint["id"], &endpoint["weight"]);
        self.patch(&id.to_string(), &format!(r#"{{"weight": {weight}}}"#));
    }

    /// Waits until a field of an endpoint has a value, and until all workers act by that.
    pub(crate) fn await_field(&self, name: &str, field: &str, value: &str) {
        self.poll(&format!("{field} of {name} is {value}"), || {
            self.endpoint(name)[field] == *value
        });
        self.await_workers();
    }

    /// Waits until all endpoints have been found healthy, and all workers act by that.
    pub(crate) fn await_all_up(&self) {
        self.poll("all endpoints are up", || {
            let endpoints = self.endpoints();
            endpoints.iter().all(|endpoint| endpoint["health"] == "up")
        });
        self.await_workers();
    }

    /// Waits until no more sessions than these are open: others are still about to end.
    pub(crate) fn await_open_sessions(&self, sessions: usize) {
        self.poll("only so many sessions are open", || {
            self.cluster()["open_sessions"] == sessions
        });
    }

    /// Waits until something is so, and leaves the interface some time between two looks.
    pub(crate) fn poll(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        wait_until(what, || {
            is_so() || {
                std::thread::park_timeout(Duration::from_millis(2));
                false
            }
        });
    }
}

/// The path of the endpoints of the tests' cluster.
pub(crate) const ENDPOINTS: &str = "/v1/clusters/default/endpoints";

fn converse(mut stream: impl Read + Write, bytes: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(bytes)?;
    let mut received = Vec::new();
    stream.read_to_end(&mut received)?;
    Ok(received)
}
