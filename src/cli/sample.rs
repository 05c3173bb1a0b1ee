//! Sample endpoints: each answers lines and HTTP with the name of its port.
//!
//! Made to be balanced over, not to be fast: one blocking thread per connection, at most
//! [`CONNECTIONS_MAX`] of them per port; further clients wait in the backlog.
#![forbid(unsafe_code)]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::plan::place::Bind;
use crate::process::{self, ProcessError};

/// The words of `ringlane testserver`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The ports to serve
    #[arg(value_name = "PORT", required = true, num_args = 1..=256)]
    ports: Vec<u16>,
    /// The address to bind
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    bind: IpAddr,
}

/// The most connections that one port serves at a time.
const CONNECTIONS_MAX: usize = 1024;

/// The longest line and the longest head of a request that are understood.
const LINE_MAX: u64 = 64 * 1024;

/// Serves until a signal comes.
///
/// Errors: a port that cannot be bound.
pub(super) fn run(arguments: &Arguments) -> Result<(), ProcessError> {
    let signals = process::stop_signals().map_err(|source| ProcessError::System {
        what: "signals",
        source,
    })?;
    for port in &arguments.ports {
        let sample = SampleEndpoint::start(SocketAddr::new(arguments.bind, *port))?;
        let _nobody_reads = writeln!(io::stdout(), "serving {}", sample.addr);
    }
    // Any signal ends it, and with the process its threads.
    let _signal = signals.recv();
    Ok(())
}

/// A sample endpoint.
pub(super) struct SampleEndpoint {
    /// Where it is.
    pub(super) addr: SocketAddr,
    /// The requests and lines that it has answered.
    pub(super) answered: Arc<AtomicU64>,
}

impl SampleEndpoint {
    /// Binds and serves on threads of its own until the process ends. Port 0 is any free one.
    ///
    /// Errors: the port cannot be bound.
    pub(super) fn start(addr: SocketAddr) -> Result<Self, ProcessError> {
        let refused = |error: io::Error| ProcessError::bind(&Bind::Tcp(addr), &error);
        let listener = TcpListener::bind(addr).map_err(refused)?;
        let addr = listener.local_addr().map_err(refused)?;
        let answered = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&answered);
        std::thread::spawn(move || accept(&listener, addr.port(), &counter));
        Ok(Self { addr, answered })
    }
}

fn accept(listener: &TcpListener, port: u16, answered: &Arc<AtomicU64>) {
    let (places, freed): (Sender<()>, Receiver<()>) = bounded(CONNECTIONS_MAX);
    loop {
        // A place is taken before a client is, so that at most so many threads exist.
        if places.send(()).is_err() {
            return;
        }
        let answered = Arc::clone(answered);
        let place = Place(freed.clone());
        match listener.accept() {
            Ok((client, _)) => {
                // Without a thread the client is turned away; the next one may find one.
                let _refused = std::thread::Builder::new().spawn(move || {
                    // A client that goes away is none of a sample's business.
                    let _gone = converse(&client, port, &answered);
                    drop(place);
                });
            }
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// One of the connections that may be served at a time.
struct Place(Receiver<()>);

impl Drop for Place {
    fn drop(&mut self) {
        let _freed = self.0.try_recv();
    }
}

/// Answers each line with the port and the line, or, once a line looks like HTTP, each request.
fn converse(client: &TcpStream, port: u16, answered: &AtomicU64) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut reader = BufReader::new(client);
    let mut writer = client;
    loop {
        let mut line = Vec::new();
        if reader
            .by_ref()
            .take(LINE_MAX)
            .read_until(b'\n', &mut line)?
            == 0
        {
            return Ok(());
        }
        answered.fetch_add(1, Ordering::Relaxed);
        if is_request_line(&line) {
            let keep_alive = answer_request(&line, &mut reader, port)?;
            if !keep_alive {
                return Ok(());
            }
        } else {
            let mut answer = format!("{port}: ").into_bytes();
            answer.extend_from_slice(&line);
            writer.write_all(&answer)?;
        }
    }
}

fn is_request_line(line: &[u8]) -> bool {
    let line = line.trim_ascii_end();
    line.ends_with(b"HTTP/1.1") || line.ends_with(b"HTTP/1.0")
}

/// Reads the rest of the request, answers it and says whether the connection goes on.
fn answer_request(
    request_line: &[u8],
    reader: &mut BufReader<&TcpStream>,
    port: u16,
) -> io::Result<bool> {
    let request_line = String::from_utf8_lossy(request_line);
    let mut keep_alive = request_line.trim_end().ends_with("HTTP/1.1");
    let mut body_bytes = 0;
    let mut head = reader.by_ref().take(LINE_MAX);
    loop {
        let mut line = String::new();
        if head.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        let line = line.trim().to_ascii_lowercase();
        match line
            .split_once(':')
            .map(|(name, value)| (name, value.trim()))
        {
            Some(("content-length", value)) => body_bytes = value.parse().unwrap_or(0),
            Some(("connection", value)) => keep_alive = value != "close" && keep_alive,
            _ => {}
        }
    }
    io::copy(&mut reader.by_ref().take(body_bytes), &mut io::sink())?;
    let path = request_line
        .split_whitespace()
        .nth(1)
        .unwrap_or("/")
        .to_string();
    let body = format!("port {port} answers {path}\n");
    let connection = if keep_alive { "keep-alive" } else { "close" };
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: \
         {connection}\r\nx-port: {port}\r\n\r\n{}",
        body.len(),
        if request_line.starts_with("HEAD ") {
            ""
        } else {
            &body
        },
    );
    let mut writer = *reader.get_ref();
    writer.write_all(answer.as_bytes())?;
    Ok(keep_alive)
}
