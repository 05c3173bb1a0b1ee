//! Who may ask: hosts, origins, tokens and kinds of content. No I/O; a request's head in, a verdict
//! out.
//!
//! What it is against: pages of other sites in the browser of somebody who can reach the interface.
//! Such a page can send requests (so `Origin` and `Sec-Fetch-Site` are looked at, and changes need a
//! content type that no form can send), and can have a name of its own point here (so only known
//! names are answered). A page cannot be at an address that is not its own, so a request for an
//! address is for this one: `Host` may be any address, and no names are resolved.
#![forbid(unsafe_code)]

use std::hint;
use std::net::IpAddr;

use hyper::Method;
use hyper::http::header::{
    AUTHORIZATION, AsHeaderName, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap,
    HeaderName, ORIGIN, TRANSFER_ENCODING,
};
use hyper::http::request::Parts;

use crate::bounds::{ADMIN_BODY_BYTES_MAX, ADMIN_TARGET_BYTES_MAX};
use crate::control::admin::fault::{Fault, shown};
use crate::plan::admin::{AdminPlan, PublicRoute};

/// Where a connection came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// At this address of the host.
    Tcp(IpAddr),
    /// At a Unix socket, where hosts mean nothing.
    Unix,
}

/// Who may ask.
pub(super) struct Guard {
    plan: AdminPlan,
    token: Option<String>,
}

impl Guard {
    /// The guard of an interface. An empty token is never shown.
    pub(super) fn new(plan: AdminPlan, token: Option<String>) -> Self {
        Self { plan, token }
    }

    /// Whether a request is meant for this interface, and by somebody who may mean it.
    ///
    /// Errors: 414, 421 and 403.
    pub(super) fn check_origin(&self, head: &Parts, door: Door) -> Result<(), Fault> {
        let target = head
            .uri
            .path_and_query()
            .map_or("", |target| target.as_str());
        if target.len() > ADMIN_TARGET_BYTES_MAX {
            return Err(Fault::target_size(ADMIN_TARGET_BYTES_MAX));
        }
        let host = self.check_host(head, door)?;
        self.check_sender(&head.headers, host, door)?;
        let site = head.headers.get_all(SEC_FETCH_SITE).iter();
        for value in site {
            if value != "same-origin" && value != "none" {
                return Err(Fault::forbidden("the request comes from another site"));
            }
        }
        Ok(())
    }

    /// Whether a request shows the token, if it has to.
    ///
    /// Errors: 401.
    pub(super) fn check_token(
        &self,
        headers: &HeaderMap,
        route: Option<PublicRoute>,
    ) -> Result<(), Fault> {
        let Some(token) = &self.token else {
            return Ok(());
        };
        if route.is_some_and(|route| self.plan.is_public(route)) {
            return Ok(());
        }
        let value = only(headers, AUTHORIZATION)
            .map_err(|()| Fault::unauthorized("there is more than one Authorization header"))?;
        let Some(value) = value else {
            return Err(Fault::unauthorized("expected Authorization: Bearer TOKEN"));
        };
        let (scheme, shown) = value.split_at_checked(SCHEME.len()).unwrap_or((value, b""));
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return Err(Fault::unauthorized("expected Authorization: Bearer TOKEN"));
        }
        if token.is_empty() || !is_same(token.as_bytes(), shown.trim_ascii()) {
            return Err(Fault::unauthorized("it is another token"));
        }
        Ok(())
    }

    /// The host that a request is for, if it says one that is known.
    fn check_host<'a>(&self, head: &'a Parts, door: Door) -> Result<Option<Host<'a>>, Fault> {
        let value = only(&head.headers, HOST)
            .map_err(|()| Fault::misdirected("there is more than one Host header"))?;
        let host = value.and_then(Host::parse);
        if door == Door::Unix {
            return Ok(host);
        }
        let Some(host) = host else {
            return Err(match value {
                None => Fault::misdirected("the Host header is missing"),
                Some(value) => unknown_host(value),
            });
        };
        // A target with a host of its own counts more than the header.
        let target = head.uri.authority().map(|host| host.as_str().as_bytes());
        if let Some(target) = target {
            match Host::parse(target) {
                Some(host) if self.is_known(host) => {}
                _ => return Err(unknown_host(target)),
            }
        }
        match self.is_known(host) {
            true => Ok(Some(host)),
            false => Err(unknown_host(value.unwrap_or_default())),
        }
    }

    /// Whether a page that sends a request is one of this interface's.
    fn check_sender(
        &self,
        headers: &HeaderMap,
        host: Option<Host<'_>>,
        door: Door,
    ) -> Result<(), Fault> {
        let value = only(headers, ORIGIN)
            .map_err(|()| Fault::forbidden("there is more than one Origin header"))?;
        let Some(value) = value else {
            return Ok(());
        };
        let rest = strip(value, b"http://").or_else(|| strip(value, b"https://"));
        let is_known = match rest.and_then(Host::parse) {
            None => false,
            Some(Host::Name(name)) => self.is_known(Host::Name(name)),
            Some(Host::Ip(ip)) => {
                let is_local = match door {
                    Door::Tcp(local) => local == ip || (local.is_loopback() && ip.is_loopback()),
                    Door::Unix => ip.is_loopback(),
                };
                is_local || host == Some(Host::Ip(ip)) || self.is_listed(Host::Ip(ip))
            }
        };
        if is_known {
            return Ok(());
        }
        Err(Fault::forbidden(format!(
            "the request comes from `{}`, which is not among the hosts of this interface",
            shown(&String::from_utf8_lossy(value))
        )))
    }

    fn is_known(&self, host: Host<'_>) -> bool {
        match host {
            Host::Ip(_) => true,
            Host::Name(name) => name.eq_ignore_ascii_case("localhost") || self.is_listed(host),
        }
    }

    fn is_listed(&self, host: Host<'_>) -> bool {
        let mut hosts = self.plan.hosts.iter();
        hosts.any(|listed| match (host, listed.parse::<IpAddr>()) {
            (Host::Ip(ip), Ok(listed)) => ip == listed.to_canonical(),
            (Host::Name(name), Err(_)) => name.eq_ignore_ascii_case(listed),
            _ => false,
        })
    }
}

/// Whether a request's body, if it has or needs one, is of the right kind and of a size that can be
/// read.
///
/// Errors: 415 and 413.
pub(super) fn check_content(head: &Parts) -> Result<(), Fault> {
    let changes = [Method::POST, Method::PATCH, Method::PUT];
    if !changes.contains(&head.method) && !has_body(&head.headers) {
        return Ok(());
    }
    let wrong = || Fault::media("expected Content-Type: application/json");
    let kind = only(&head.headers, CONTENT_TYPE).map_err(|()| wrong())?;
    if !kind.is_some_and(is_json) {
        return Err(wrong());
    }
    let encodings = head.headers.get_all(CONTENT_ENCODING).iter();
    for encoding in encodings {
        if !encoding.as_bytes().eq_ignore_ascii_case(b"identity") {
            return Err(Fault::media("expected a body without Content-Encoding"));
        }
    }
    match length(&head.headers) {
        Some(bytes) if bytes > ADMIN_BODY_BYTES_MAX as u64 => {
            Err(Fault::body_size(ADMIN_BODY_BYTES_MAX))
        }
        _ => Ok(()),
    }
}

/// Whether a request brings a body.
pub(super) fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING) || length(headers).is_some_and(|bytes| bytes > 0)
}

/// The host of a `Host` header, of an origin or of a target, without its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Host<'a> {
    Ip(IpAddr),
    Name(&'a str),
}

impl<'a> Host<'a> {
    /// Reads `HOST` or `HOST:PORT`, and nothing else.
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let text = str::from_utf8(bytes).ok()?;
        if let Some(rest) = text.strip_prefix('[') {
            let (ip, port) = rest.split_once(']')?;
            if !port.is_empty() {
                check_port(port.strip_prefix(':')?)?;
            }
            let ip: std::net::Ipv6Addr = ip.parse().ok()?;
            return Some(Self::Ip(IpAddr::V6(ip).to_canonical()));
        }
        let host = match text.split_once(':') {
            Some((host, port)) => {
                check_port(port)?;
                host
            }
            None => text,
        };
        if let Ok(ip) = host.parse::<std::net::Ipv4Addr>() {
            return Some(Self::Ip(ip.into()));
        }
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        (!host.is_empty() && host.bytes().all(is_name)).then_some(Self::Name(host))
    }
}

fn check_port(port: &str) -> Option<()> {
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && port.parse::<u16>().is_ok()).then_some(())
}

fn unknown_host(value: &[u8]) -> Fault {
    Fault::misdirected(format!(
        "`{}` is not a host of this interface; expected localhost, an address, or one of the \
         configured hosts",
        shown(&String::from_utf8_lossy(value))
    ))
}

/// The value of a header that may be there once.
fn only(headers: &HeaderMap, name: impl AsHeaderName) -> Result<Option<&[u8]>, ()> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    match values.next() {
        Some(_) => Err(()),
        None => Ok(first.map(|value| value.as_bytes())),
    }
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether a content type is JSON, in UTF-8 as all JSON.
fn is_json(value: &[u8]) -> bool {
    let mut parts = value.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let kind = parts.next().unwrap_or_default();
    kind.eq_ignore_ascii_case(b"application/json")
        && parts.all(|part| {
            [b"charset=utf-8".as_slice(), b"charset=\"utf-8\"", b""]
                .iter()
                .any(|known| part.eq_ignore_ascii_case(known))
        })
}

fn strip<'a>(value: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = value.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// Whether two secrets are the same, in a time that tells their lengths and nothing else.
fn is_same(secret: &[u8], shown: &[u8]) -> bool {
    let pairs = secret.iter().zip(shown);
    let difference = pairs.fold(0, |difference, (one, other)| {
        hint::black_box(difference | (one ^ other))
    });
    secret.len() == shown.len() && difference == 0
}

/// What an `Authorization` header begins with.
const SCHEME: &[u8] = b"Bearer ";

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

#[cfg(test)]
mod tests;
