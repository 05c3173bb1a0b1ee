//! Asking name servers: over datagrams and streams, one server after the other, within a time.
//!
//! Each question has a socket of its own, so a port of its own, and two at most are open for one
//! name. Nothing is remembered from one question to the next.
#![forbid(unsafe_code)]

use std::fmt::Display;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use hickory_proto::rr::Name;
use monoio::io::{AsyncReadRentExt as _, AsyncWriteRentExt as _};
use monoio::net::TcpStream;
use monoio::net::udp::UdpSocket;
use monoio::time::timeout;

use super::LookupError;
use super::answer::{Answer, Extension, Fault, Question, Reading, Wanted};
use super::resolv_conf::Transport;
use crate::bounds::{DNS_DATAGRAM_BYTES, STRAY_ANSWERS_MAX};

/// Whom one look-up asks, and how.
#[derive(Debug)]
pub(super) struct Asker {
    /// In the order in which they are asked.
    pub(super) servers: Vec<SocketAddr>,
    /// How long one may take, over datagram and stream together.
    pub(super) timeout: Duration,
    /// How often all are asked.
    pub(super) attempts: u32,
    /// What carries questions at first.
    pub(super) transport: Transport,
    /// When the look-up has to end.
    pub(super) deadline: Instant,
}

/// Why a server gave no answer that ends the search for one.
enum Failure {
    /// Nothing came of it.
    Silence(String),
    /// It said something that is no answer.
    Fault(Fault),
}

impl Asker {
    /// Asks until there is an answer, or one that there is none.
    ///
    /// Errors: all of [`LookupError`] but that the name is none. A failure of which a server spoke
    /// is told rather than silence.
    pub(super) async fn ask(&self, name: &Name, wanted: Wanted) -> Result<Answer, LookupError> {
        let mut last: Option<LookupError> = None;
        for _ in 0..self.attempts {
            for server in &self.servers {
                let left = self.deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                let limit = self.timeout.min(left);
                let question = Question::new(name.clone(), wanted);
                let failure = match timeout(limit, self.exchange(*server, question)).await {
                    Ok(Ok(answer)) => return Ok(answer),
                    Ok(Err(failure)) => failure,
                    Err(_) => Failure::Silence(format!("none came within {limit:?}")),
                };
                let error = failure.told(name, *server);
                if error.is_final() {
                    return Err(error);
                }
                let keeps = matches!(error, LookupError::NoAnswer { .. }) && last.is_some();
                if !keeps {
                    last = Some(error);
                }
            }
        }
        Err(last.unwrap_or_else(|| LookupError::OutOfTime {
            name: name.to_ascii(),
        }))
    }

    /// Asks one server. Each step that does not end it happens once: without EDNS, by a stream.
    async fn exchange(
        &self,
        server: SocketAddr,
        mut question: Question,
    ) -> Result<Answer, Failure> {
        let mut transport = self.transport;
        loop {
            let request = question.encode().map_err(Failure::Silence)?;
            let reading = match transport {
                Transport::Udp => by_datagram(server, &question, request).await,
                Transport::Tcp => by_stream(server, &question, request).await,
            };
            match reading.map_err(|error| Failure::Silence(told(transport, &error)))? {
                Reading::Answer(answer) => return answer.map_err(Failure::Fault),
                Reading::Truncated if transport == Transport::Udp => transport = Transport::Tcp,
                Reading::PlainWanted if question.edns == Extension::Offered => {
                    question.edns = Extension::Absent;
                }
                Reading::Truncated | Reading::PlainWanted | Reading::Stray => {
                    return Err(Failure::Fault(Fault::Nonsense(
                        "it has nothing to do with the question, or is cut where it need not be",
                    )));
                }
            }
        }
    }
}

impl Failure {
    fn told(self, name: &Name, server: SocketAddr) -> LookupError {
        let name = name.to_ascii();
        match self {
            Self::Silence(cause) => LookupError::NoAnswer {
                name,
                server,
                cause,
            },
            Self::Fault(Fault::NoSuchName) => LookupError::NoSuchName { name, server },
            Self::Fault(Fault::Nothing) => LookupError::Nothing { name, server },
            Self::Fault(Fault::Code(code)) => LookupError::Refused { name, server, code },
            Self::Fault(Fault::Nonsense(detail)) => LookupError::Nonsense {
                name,
                origin: server.to_string(),
                detail,
            },
        }
    }
}

fn told(transport: Transport, error: &impl Display) -> String {
    match transport {
        Transport::Udp => error.to_string(),
        Transport::Tcp => format!("by TCP: {error}"),
    }
}

/// Asks by a datagram. The socket is connected, so the kernel drops what others send.
async fn by_datagram(
    server: SocketAddr,
    question: &Question,
    request: Vec<u8>,
) -> io::Result<Reading> {
    let any: SocketAddr = if server.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(server).await?;
    socket.send(request).await.0?;
    let mut buffer = Vec::with_capacity(DNS_DATAGRAM_BYTES);
    // A flood of other datagrams must not hold the thread: each may be there already.
    for _ in 0..STRAY_ANSWERS_MAX {
        let (received, returned) = socket.recv(buffer).await;
        let length = received?;
        match question.read(returned.get(..length).unwrap_or_default()) {
            Reading::Stray => buffer = returned,
            reading => return Ok(reading),
        }
    }
    Ok(Reading::Stray)
}

/// Asks by a stream, where messages have their length in front, so none is longer than 64 KiB.
async fn by_stream(
    server: SocketAddr,
    question: &Question,
    request: Vec<u8>,
) -> io::Result<Reading> {
    let mut stream = TcpStream::connect_addr(server).await?;
    let length = u16::try_from(request.len()).unwrap_or(u16::MAX);
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(&request);
    stream.write_all(framed).await.0?;
    let length = stream.read_u16().await?;
    let body = vec![0; usize::from(length)].into_boxed_slice();
    let (received, body) = stream.read_exact(body).await;
    received?;
    Ok(question.read(&body))
}
