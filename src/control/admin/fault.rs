//! Why a request is not answered as it was meant, in HTTP's and in the interface's words.
#![forbid(unsafe_code)]

use hyper::StatusCode;

use crate::control::request::Refusal;

/// Why a request is not answered as it was meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// HTTP's word for it.
    pub(super) status: StatusCode,
    /// The interface's word for it.
    pub(super) word: &'static str,
    /// What is wrong and what was expected.
    pub(super) detail: String,
    /// The key that it is about, if it is about one.
    pub(super) field: Option<String>,
    /// The methods that there are, if this one is not.
    pub(super) allow: Option<&'static str>,
}

impl Fault {
    /// A value cannot be.
    pub(super) fn invalid(field: Option<&str>, detail: impl Into<String>) -> Self {
        Self {
            field: field.map(shown),
            ..Self::of(StatusCode::BAD_REQUEST, "invalid", detail)
        }
    }

    /// There is no such thing.
    pub(super) fn unknown(detail: impl Into<String>) -> Self {
        Self::of(StatusCode::NOT_FOUND, "unknown", detail)
    }

    /// Nobody has shown who they are.
    pub(super) fn unauthorized(detail: impl Into<String>) -> Self {
        Self::of(StatusCode::UNAUTHORIZED, "unauthorized", detail)
    }

    /// The request comes from a page of another site.
    pub(super) fn forbidden(detail: impl Into<String>) -> Self {
        Self::of(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// The request is for another host.
    pub(super) fn misdirected(detail: impl Into<String>) -> Self {
        Self::of(StatusCode::MISDIRECTED_REQUEST, "misdirected", detail)
    }

    /// There is such a thing, but not this method.
    pub(super) fn method(allow: &'static str) -> Self {
        let detail = format!("expected one of the methods {allow}");
        Self {
            allow: Some(allow),
            ..Self::of(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
        }
    }

    /// The body is of another kind.
    pub(super) fn media(detail: impl Into<String>) -> Self {
        Self::of(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported", detail)
    }

    /// The body is longer than a body may be.
    pub(super) fn body_size(bytes_max: usize) -> Self {
        let detail = format!("a body has at most {bytes_max} bytes");
        Self::of(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    }

    /// The target is longer than a target may be.
    pub(super) fn target_size(bytes_max: usize) -> Self {
        let detail = format!("a path with its query has at most {bytes_max} bytes");
        Self::of(StatusCode::URI_TOO_LONG, "too_large", detail)
    }

    /// The head is longer than a head may be.
    pub(super) fn head_size(bytes_max: usize, headers_max: usize) -> Self {
        let detail = format!("a head has at most {bytes_max} bytes and {headers_max} headers");
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        Self::of(status, "too_large", detail)
    }

    /// The client takes too long.
    pub(super) fn timeout(part: &str) -> Self {
        let detail = format!("the {part} of the request took too long");
        Self::of(StatusCode::REQUEST_TIMEOUT, "timeout", detail)
    }

    /// It cannot be done now.
    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        Self::of(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
    }

    /// What cannot be has happened.
    pub(super) fn internal(detail: impl Into<String>) -> Self {
        Self::of(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    fn of(status: StatusCode, word: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            word,
            detail: detail.into(),
            field: None,
            allow: None,
        }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unknown { detail } => Self::unknown(detail),
            Refusal::Invalid { field, detail } => Self::invalid(Some(field), detail),
            Refusal::Conflict { field, detail } => Self {
                field: Some(field.to_string()),
                ..Self::of(StatusCode::CONFLICT, "conflict", detail)
            },
            Refusal::Unavailable { detail } => Self::unavailable(detail),
        }
    }
}

/// The beginning of a text from outside, without what would garble a line.
pub(super) fn shown(text: &str) -> String {
    let mut start: String = text.chars().take(SHOWN_CHARS).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    let shown = start.chars().map(|c| if c.is_control() { '?' } else { c });
    shown.collect()
}

/// How much of a text from outside an answer shows.
const SHOWN_CHARS: usize = 60;
