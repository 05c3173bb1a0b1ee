//! What an answer must be. Pure: bytes go in as they come, and at some point there is a verdict.
//!
//! Whatever an endpoint sends, what is kept of it and what is looked through is bounded.
#![forbid(unsafe_code)]

use std::borrow::Cow;

use crate::bounds::PROBE_ANSWER_BYTES_MAX;

/// A few words for people.
pub(super) type Detail = Cow<'static, str>;

/// Whether an endpoint is as it should be, and what was seen.
pub(super) type Verdict = Result<Detail, Detail>;

/// Looks at an answer as it comes.
pub(super) trait Answer {
    /// Takes in bytes. Returns a verdict as soon as further ones cannot change it; it is not to be
    /// given more then.
    fn handle_received(&mut self, bytes: &[u8]) -> Option<Verdict>;

    /// Takes in that no more bytes will come.
    fn handle_end(&mut self) -> Verdict;
}

/// An answer with certain bytes somewhere in it.
#[derive(Debug)]
pub(super) struct BytesAnswer<'a> {
    seen: Search<'a>,
}

impl<'a> BytesAnswer<'a> {
    pub(super) fn new(expect: &'a [u8]) -> Self {
        Self {
            seen: Search::new(expect, PROBE_ANSWER_BYTES_MAX),
        }
    }
}

impl Answer for BytesAnswer<'_> {
    fn handle_received(&mut self, bytes: &[u8]) -> Option<Verdict> {
        match self.seen.look_at(bytes) {
            Seen::Found => Some(Ok("answered as expected".into())),
            Seen::NotYet => None,
            Seen::Enough => Some(Err("the expected bytes are not in the first 16 KiB".into())),
        }
    }

    fn handle_end(&mut self) -> Verdict {
        Err(if self.seen.is_empty() {
            "closed without an answer".into()
        } else {
            "closed without the expected bytes".into()
        })
    }
}

/// A search for some bytes in others that come piece by piece.
#[derive(Debug)]
pub(super) struct Search<'a> {
    needle: &'a [u8],
    seen: Vec<u8>,
    bytes_max: usize,
}

/// What a search has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// They are there.
    Found,
    /// They may come.
    NotYet,
    /// They are not in as many bytes as are looked through.
    Enough,
}

impl<'a> Search<'a> {
    pub(super) fn new(needle: &'a [u8], bytes_max: usize) -> Self {
        Self {
            needle,
            seen: Vec::new(),
            bytes_max,
        }
    }

    /// Whether nothing has come.
    pub(super) fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// Whether there is anything to be found.
    pub(super) fn has_needle(&self) -> bool {
        !self.needle.is_empty()
    }

    /// Looks at further bytes.
    ///
    /// Cost: each byte is looked at once, and again as often as the needle is long.
    pub(super) fn look_at(&mut self, bytes: &[u8]) -> Seen {
        // What begins before the new bytes may end in them.
        let from = (self.seen.len() + 1).saturating_sub(self.needle.len().max(1));
        let room = self.bytes_max.saturating_sub(self.seen.len());
        self.seen
            .extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        let fresh = self.seen.get(from..).unwrap_or_default();
        let is_found = self.needle.is_empty()
            || fresh
                .windows(self.needle.len())
                .any(|part| part == self.needle);
        if is_found {
            Seen::Found
        } else if self.seen.len() >= self.bytes_max {
            Seen::Enough
        } else {
            Seen::NotYet
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_found_however_they_come() {
        let check = |needle: &str, pieces: &[&str], expected: Seen| {
            let mut search = Search::new(needle.as_bytes(), 16);
            let seen = pieces.iter().map(|piece| search.look_at(piece.as_bytes()));
            let last = seen.take_while(|seen| *seen == Seen::NotYet).count();
            let mut search = Search::new(needle.as_bytes(), 16);
            let seen = pieces.iter().map(|piece| search.look_at(piece.as_bytes()));
            assert_eq!(
                seen.last(),
                Some(expected),
                "{needle} {pieces:?}, piece {last}"
            );
        };
        check("PONG", &["+PONG\r\n"], Seen::Found);
        check("PONG", &["+PO", "NG"], Seen::Found);
        check("PONG", &["P", "O", "N", "G"], Seen::Found);
        check("PONG", &["PPOPONPON", "G"], Seen::Found);
        check("PONG", &["", ""], Seen::NotYet);
        check("PONG", &["PON", "g"], Seen::NotYet);
        check("PONG", &["0123456789abPONG and more"], Seen::Found);
        check("PONG", &["0123456789abcPONG"], Seen::Enough);
        check("", &[""], Seen::Found);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut answer = BytesAnswer::new(b"never");
        let mut verdict = None;
        for _ in 0..16 {
            assert_eq!(verdict, None);
            verdict = answer.handle_received(&[b'x'; 1024]);
        }
        assert!(verdict.is_some_and(|verdict| verdict.is_err()));
        assert_eq!(answer.seen.seen.len(), PROBE_ANSWER_BYTES_MAX);
    }

    #[test]
    fn an_end_is_a_failure() {
        let mut answer = BytesAnswer::new(b"yes");
        assert_eq!(
            answer.handle_end(),
            Err(Detail::from("closed without an answer"))
        );
        assert_eq!(answer.handle_received(b"ye"), None);
        assert_eq!(
            answer.handle_end(),
            Err(Detail::from("closed without the expected bytes"))
        );
    }
}
