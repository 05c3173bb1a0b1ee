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

#[cfg(test)]
mod tests {
    use super::*;

    fn wanting(needle: &str) -> HttpCheck {
        HttpCheck {
            body: (!needle.is_empty()).then(|| needle.to_string()),
            ..HttpCheck::default()
        }
    }

    /// What an answer is if it comes in pieces of this size, the end of the connection included.
    fn judged(check: &HttpCheck, answer: &[u8], piece: usize) -> Verdict {
        let mut looking = HttpAnswer::new(check);
        for piece in answer.chunks(piece) {
            if let Some(verdict) = looking.handle_received(piece) {
                return verdict;
            }
        }
        looking.handle_end()
    }

    #[test]
    fn answers_are_the_same_however_they_come() {
        let check = |needle: &str, answer: &str, expected: Result<&str, &str>| {
            let check = wanting(needle);
            let expected = expected
                .map(|text| text.to_string().into())
                .map_err(|text| text.to_string().into());
            for piece in [1, 2, 3, 5, 7, 64, 100_000] {
                let found = judged(&check, answer.as_bytes(), piece);
                assert_eq!(found, expected, "{answer:?} by {piece}");
            }
        };
        let well = Ok("HTTP 200");
        let missing = Err("HTTP 200, but the body is not as expected");
        check("", "HTTP/1.1 200 OK\r\n\r\n", well);
        check("", "HTTP/1.0 200\r\nA: b\r\n\r\n", well);
        check("", "HTTP/1.1 200 OK\nA: b\n\n", well);
        check(
            "",
            "HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
            well,
        );
        check("", "HTTP/1.1 101 Switching\r\n\r\n", Err("status 101"));
        check("", "HTTP/1.1 500 Oh\r\n\r\n", Err("status 500"));
        check("", "HTTP/3", Err("the answer is not HTTP/1"));
        check(
            "",
            "HTTP/1.1 20x OK\r\n\r\n",
            Err("malformed answer: invalid response status"),
        );
        check(
            "",
            "HTTP/1.1 200 OK\r\nA b\r\n\r\n",
            Err("malformed answer: invalid header name"),
        );
        check(
            "",
            "HTTP/1.1 200 OK\r\nA: b\r\n",
            Err("closed in the middle of the head"),
        );
        check("ok", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", well);
        check(
            "ok",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nnook",
            missing,
        );
        check(
            "ok",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nno",
            Err("closed in the middle of the body"),
        );
        check(
            "ok",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nok",
            missing,
        );
        check(
            "ok",
            "HTTP/1.1 204 OK\r\n\r\nok",
            Err("HTTP 204, but the body is not as expected"),
        );
        let bad_length = Err("a malformed Content-Length");
        for length in ["", "-1", "+2", "2, 2", "0x2", "99999999999999999999999"] {
            check(
                "ok",
                &format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nok"),
                bad_length,
            );
        }
        check(
            "ok",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
            bad_length,
        );
        check(
            "ok",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\ncontent-length: 2\r\n\r\nok",
            well,
        );
        check(
            "ok",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            Err("a transfer coding other than chunked"),
        );
        check("ok", "HTTP/1.1 200 OK\r\n\r\nis it ok", well);
        check("ok", "HTTP/1.1 200 OK\r\n\r\nno", missing);
    }

    #[test]
    fn chunks_are_put_together() {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nContent-Length: 1\r\n\r\n";
        let check = |chunks: &str, expected: Result<&'static str, &'static str>| {
            let answer = format!("{head}{chunks}");
            let check = wanting("needle");
            for piece in [1, 2, 3, 5, 7, 64, 100_000] {
                let found = judged(&check, answer.as_bytes(), piece);
                let expected = expected.map(Into::into).map_err(Into::into);
                assert_eq!(found, expected, "{chunks:?} by {piece}");
            }
        };
        let well = Ok("HTTP 200");
        check("6\r\nneedle\r\n0\r\n\r\n", well);
        check("1\r\nn\r\n1\r\ne\r\n01;x=\"y\"\r\ne\r\n3\r\ndle\r\n", well);
        check("A\r\na needle in\r\n", well);
        check(
            "3\r\nnee\r\n3\r\nd1e\r\n0\r\n\r\nneedle",
            Err("HTTP 200, but the body is not as expected"),
        );
        check("3\r\nnee\r\n", Err("closed in the middle of the body"));
        let malformed = Err("a malformed chunk in the body");
        check("3\r\nneedle\r\n", malformed);
        check("x\r\nneedle\r\n", malformed);
        check("-6\r\nneedle\r\n", malformed);
        check("fffffffffffffffff\r\nneedle\r\n", malformed);
    }

    #[test]
    fn everything_is_bounded() {
        let flood = |check: &HttpCheck, first: &str, part: &[u8]| {
            let mut looking = HttpAnswer::new(check);
            let mut verdict = looking.handle_received(first.as_bytes());
            let mut bytes = first.len();
            while verdict.is_none() {
                assert!(bytes <= PROBE_HTTP_BYTES_MAX, "{first}");
                bytes += part.len();
                verdict = looking.handle_received(part);
            }
            assert!(looking.unread.len() <= PROBE_HEAD_BYTES_MAX + part.len());
            format!("{:?}", verdict.and_then(Result::err).unwrap_or_default())
        };
        let any = wanting("");
        let check = wanting("needle");
        let x = [b'x'; 1000];
        let long = "\"a head of more than 16 KiB\"";
        assert_eq!(flood(&any, "HTTP/1.1 200 ", &x), long);
        assert_eq!(flood(&any, "HTTP/1.1 200 OK\r\n", b"A: b\r\n"), long);
        let announced = "HTTP/1.1 100 Go\r\n\r\n";
        let endless = "\"an answer of more than 256 KiB\"";
        assert_eq!(flood(&any, announced, announced.as_bytes()), endless);
        let body = "\"HTTP 200, but the first 64 KiB of the body are not as expected\"";
        assert_eq!(flood(&check, "HTTP/1.1 200 OK\r\n\r\n", &x), body);
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(flood(&check, chunked, b"1\r\nx\r\n"), endless);
        assert_eq!(flood(&check, &format!("{chunked}fffffff\r\n"), &x), body);
        let malformed = "\"a malformed chunk in the body\"";
        assert_eq!(flood(&check, &format!("{chunked}1;"), b"x"), malformed);
        let headers = "A: b\r\n".repeat(PROBE_HEADERS_MAX + 1);
        let many = format!("HTTP/1.1 200 OK\r\n{headers}\r\n");
        assert_eq!(
            flood(&any, &many, b""),
            "\"malformed answer: too many headers\""
        );
    }

    #[test]
    fn any_bytes_have_a_verdict() {
        for seed in 0..500 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let words = [
                "HTTP/1.1 ",
                "200",
                " OK",
                "\r\n",
                "\n",
                "Transfer-Encoding: chunked",
                "Content-Length: ",
                "5",
                "ffff",
                "\0",
                "needle",
                ";",
                "\r\n\r\n",
            ];
            let mut answer = b"HTTP/1.1 200 OK\r\n".to_vec();
            for _ in 0..rng.usize(..60) {
                answer.extend_from_slice(words[rng.usize(..words.len())].as_bytes());
            }
            let check = wanting("needle");
            let piece = rng.usize(1..20);
            let whole = judged(&check, &answer, answer.len());
            assert_eq!(judged(&check, &answer, piece), whole, "seed {seed}");
        }
    }
}
