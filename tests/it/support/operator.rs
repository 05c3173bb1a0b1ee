//! An operator: a client of the admin interface.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on fails with the reason"
)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use ringlane::plan::place::Bind;
use serde_json::Value;

use super::{Balancer, PATIENCE, prepare};

/// Somebody who knows where the admin interface is.
pub(crate) struct Operator {
    bind: Bind,
}

impl Operator {
    /// That of a balancer in this process, whose plan has an admin interface.
    pub(crate) fn of(balancer: &Balancer) -> Self {
        let bind = balancer.running().admin_bind();
        Self::at(bind.expect("the plan has one").clone())
    }

    /// That of whoever listens there.
    pub(crate) fn at(bind: Bind) -> Self {
        Self { bind }
    }

    /// What a path has.
    ///
    /// Panics: if it is not answered with 200.
    pub(crate) fn get(&self, path: &str) -> Value {
        let (status, value) = self.call("GET", path, "");
        assert_eq!(status, 200, "{path}: {value}");
        value
    }

    /// The status and the value that are answered. A body is JSON.
    pub(crate) fn call(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = match &self.bind {
            Bind::Tcp(addr) => {
                let stream = TcpStream::connect(addr).expect("the interface accepts");
                prepare(&stream);
                exchange(stream, &request)
            }
            Bind::Unix(path) => {
                let stream = UnixStream::connect(path).expect("the interface accepts");
                stream
                    .set_read_timeout(Some(PATIENCE))
                    .expect("a timeout can be set");
                exchange(stream, &request)
            }
        };
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
        let (_, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let value = serde_json::from_str(body).unwrap_or_default();
        (status.expect("a status"), value)
    }
}

fn exchange(mut stream: impl Read + Write, request: &str) -> String {
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    answer
}
