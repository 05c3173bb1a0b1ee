//! An HTTP request and its answer, as far as a probe needs them.
//!
//! Pure. An answer is looked at as it comes: its head is parsed once it is whole, its body is freed
//! of its framing and searched. Nothing is decompressed, nothing is followed.
//!
//! Source: RFC 9112, sections 4 (status line), 6 (body and its length) and 7.1 (chunks).
#![forbid(unsafe_code)]

use httparse::{EMPTY_HEADER, Header, Response, Status, parse_chunk_size};

use super::answer::{Answer, Search, Seen, Verdict};
use crate::bounds::{
    PROBE_BODY_BYTES_MAX, PROBE_CHUNK_LINE_BYTES_MAX, PROBE_HEAD_BYTES_MAX, PROBE_HEADERS_MAX,
    PROBE_HTTP_BYTES_MAX,
};
use crate::plan::health::HttpCheck;

/// Writes the request; `host` is what is probed, for a check that names no other.
pub(super) fn request(check: &HttpCheck, host: &str) -> Vec<u8> {
    let HttpCheck { method, path, .. } = check;
    let host = check.host.as_deref().unwrap_or(host);
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: ringlane/{version}\r\n\
         Accept: */*\r\nConnection: close\r\n\r\n"
    )
    .into_bytes()
}

/// An HTTP answer as a check wants it.
#[derive(Debug)]
pub(super) struct HttpAnswer<'a> {
    check: &'a HttpCheck,
    /// What was received and not taken in yet.
    unread: Vec<u8>,
    /// How many bytes were received in all.
    received: usize,
    /// So many bytes of `unread` were searched for the end of the head.
    searched: usize,
    part: Part<'a>,
}

/// What comes next.
#[derive(Debug)]
enum Part<'a> {
    Head,
    Body {
        status: u16,
        framing: Framing,
        body: Search<'a>,
    },
}

/// Where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// After so many bytes.
    Length(u64),
    /// With the connection.
    Close,
    /// Next is a chunk's first line.
    ChunkLine,
    /// Next are so many bytes of a chunk.
    Chunk(u64),
    /// Next is the line end after a chunk.
    ChunkEnd,
}

/// Why looking at an answer pauses or ends.
enum Stop {
    /// More bytes are needed.
    More,
    /// It is known what the answer is.
    Verdict(Verdict),
}

fn failure<T>(detail: impl Into<super::answer::Detail>) -> Result<T, Stop> {
    Err(Stop::Verdict(Err(detail.into())))
}

impl<'a> HttpAnswer<'a> {
    pub(super) fn new(check: &'a HttpCheck) -> Self {
        Self {
            check,
            unread: Vec::new(),
            received: 0,
            searched: 0,
            part: Part::Head,
        }
    }

    /// Takes one step. Errors: there is none to take.
    fn step(&mut self) -> Result<(), Stop> {
        match &mut self.part {
            Part::Head => self.read_head(),
            Part::Body {
                status,
                framing,
                body,
            } => read_body(&mut self.unread, *status, framing, body),
        }
    }

    fn read_head(&mut self) -> Result<(), Stop> {
        const BEGIN: &[u8] = b"HTTP/1.";
        let begin = self.unread.get(..BEGIN.len()).unwrap_or(&self.unread);
        if !BEGIN.starts_with(begin) {
            return failure("the answer is not HTTP/1");
        }
        let from = self.searched.saturating_sub(2);
        let fresh = self.unread.get(from..).unwrap_or_default();
        // Parsed once, not with every byte that a slow endpoint sends.
        let is_whole = fresh.windows(2).any(|end| end == b"\n\n")
            || fresh.windows(3).any(|end| end == b"\n\r\n");
        self.searched = self.unread.len();
        if !is_whole {
            if self.unread.len() >= PROBE_HEAD_BYTES_MAX {
                return failure("a head of more than 16 KiB");
            }
            return Err(Stop::More);
        }
        let mut headers = [EMPTY_HEADER; PROBE_HEADERS_MAX];
        let mut response = Response::new(&mut headers);
        let length = match response.parse(&self.unread) {
            Ok(Status::Complete(length)) if length <= PROBE_HEAD_BYTES_MAX => length,
            Ok(Status::Complete(_)) => return failure("a head of more than 16 KiB"),
            Ok(Status::Partial) => return Err(Stop::More),
            Err(error) => return failure(format!("malformed answer: {error}")),
        };
        let status = response.code.unwrap_or_default();
        if (100..200).contains(&status) && status != 101 {
            // Only an announcement; the answer follows.
            self.unread.drain(..length);
            self.searched = 0;
            return Ok(());
        }
        if !self
            .check
            .status
            .iter()
            .any(|range| range.contains(&status))
        {
            return failure(format!("status {status}"));
        }
        let Some(needle) = &self.check.body else {
            return Err(Stop::Verdict(Ok(format!("HTTP {status}").into())));
        };
        let has_no_body = self.check.method == "HEAD" || matches!(status, 101 | 204 | 304);
        let framing = if has_no_body {
            Framing::Length(0)
        } else {
            framing(response.headers)?
        };
        self.unread.drain(..length);
        self.part = Part::Body {
            status,
            framing,
            body: Search::new(needle.as_bytes(), PROBE_BODY_BYTES_MAX),
        };
        Ok(())
    }
}

impl Answer for HttpAnswer<'_> {
    fn handle_received(&mut self, bytes: &[u8]) -> Option<Verdict> {
        self.received = self.received.saturating_add(bytes.len());
        self.unread.extend_from_slice(bytes);
        loop {
            match self.step() {
                Ok(()) => {}
                Err(Stop::Verdict(verdict)) => return Some(verdict),
                Err(Stop::More) if self.received >= PROBE_HTTP_BYTES_MAX => {
                    return Some(Err("an answer of more than 256 KiB".into()));
                }
                Err(Stop::More) => return None,
            }
        }
    }

    fn handle_end(&mut self) -> Verdict {
        match &self.part {
            Part::Head if self.received == 0 => Err("closed without an answer".into()),
            Part::Head => Err("closed in the middle of the head".into()),
            Part::Body {
                status,
                framing: Framing::Close,
                body,
            } => not_found(*status, body),
            Part::Body { .. } => Err("closed in the middle of the body".into()),
        }
    }
}

/// Takes in what there is of a body. Errors: no more can be taken in.
fn read_body(
    unread: &mut Vec<u8>,
    status: u16,
    framing: &mut Framing,
    body: &mut Search<'_>,
) -> Result<(), Stop> {
    let left = match framing {
        Framing::Length(0) => return Err(Stop::Verdict(not_found(status, body))),
        Framing::ChunkLine => return read_chunk_line(unread, status, framing, body),
        Framing::ChunkEnd => return read_chunk_end(unread, framing),
        Framing::Length(left) | Framing::Chunk(left) => *left,
        Framing::Close => u64::MAX,
    };
    if unread.is_empty() {
        return Err(Stop::More);
    }
    let taken = usize::try_from(left).map_or(unread.len(), |left| left.min(unread.len()));
    let seen = body.look_at(unread.get(..taken).unwrap_or_default());
    unread.drain(..taken);
    match framing {
        Framing::Length(left) => *left -= taken as u64,
        Framing::Chunk(left) => {
            *left -= taken as u64;
            if *left == 0 {
                *framing = Framing::ChunkEnd;
            }
        }
        Framing::Close | Framing::ChunkLine | Framing::ChunkEnd => {}
    }
    match seen {
        Seen::NotYet => Ok(()),
        Seen::Found => Err(Stop::Verdict(Ok(format!("HTTP {status}").into()))),
        Seen::Enough => failure(format!(
            "HTTP {status}, but the first 64 KiB of the body are not as expected"
        )),
    }
}

fn read_chunk_line(
    unread: &mut Vec<u8>,
    status: u16,
    framing: &mut Framing,
    body: &Search<'_>,
) -> Result<(), Stop> {
    match parse_chunk_size(unread) {
        // The last one. What may follow are headers, of which none is looked at.
        Ok(Status::Complete((_, 0))) => Err(Stop::Verdict(not_found(status, body))),
        Ok(Status::Complete((length, size))) => {
            unread.drain(..length);
            *framing = Framing::Chunk(size);
            Ok(())
        }
        Ok(Status::Partial) if unread.len() < PROBE_CHUNK_LINE_BYTES_MAX => Err(Stop::More),
        Ok(Status::Partial) | Err(_) => failure("a malformed chunk in the body"),
    }
}

fn read_chunk_end(unread: &mut Vec<u8>, framing: &mut Framing) -> Result<(), Stop> {
    const END: &[u8] = b"\r\n";
    let there = unread.get(..END.len()).unwrap_or(unread);
    if !END.starts_with(there) {
        return failure("a malformed chunk in the body");
    }
    if there.len() < END.len() {
        return Err(Stop::More);
    }
    unread.drain(..END.len());
    *framing = Framing::ChunkLine;
    Ok(())
}

/// The verdict on a whole body in which nothing was found.
fn not_found(status: u16, body: &Search<'_>) -> Verdict {
    if body.has_needle() {
        Err(format!("HTTP {status}, but the body is not as expected").into())
    } else {
        Ok(format!("HTTP {status}").into())
    }
}

/// Where the body ends by its headers. Errors: they contradict each other, or are not understood.
fn framing(headers: &[Header<'_>]) -> Result<Framing, Stop> {
    let of = |name: &'static str| {
        let named = move |header: &&Header<'_>| header.name.eq_ignore_ascii_case(name);
        headers.iter().filter(named).map(|header| header.value)
    };
    let mut codings = of("transfer-encoding");
    if let Some(coding) = codings.next() {
        let is_chunked = coding.trim_ascii().eq_ignore_ascii_case(b"chunked");
        if !is_chunked || codings.next().is_some() {
            return failure("a transfer coding other than chunked");
        }
        return Ok(Framing::ChunkLine);
    }
    let mut lengths = of("content-length");
    let Some(length) = lengths.next() else {
        return Ok(Framing::Close);
    };
    let is_number = !length.is_empty() && length.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(length)
        .ok()
        .and_then(|length| length.parse().ok());
    match number {
        Some(number) if is_number && lengths.all(|other| other == length) => {
            Ok(Framing::Length(number))
        }
        _ => failure("a malformed Content-Length"),
    }
}
