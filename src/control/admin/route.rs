//! Which thing a path names, what can be done with it, and what a request wants of it.
#![forbid(unsafe_code)]

use hyper::Method;

use crate::bounds::ADMIN_DRAIN_MAX;
use crate::control::admin::body;
use crate::control::admin::fault::{Fault, shown};
use crate::control::request::{EndpointKey, Wanted};
use crate::plan::admin::PublicRoute;
use crate::plan::failure::SessionPolicy;

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    /// `/v1/clusters`.
    Clusters,
    /// `/v1/clusters/{name}`.
    Cluster(String),
    /// `/v1/clusters/{name}/endpoints`.
    Endpoints(String),
    /// `/v1/clusters/{name}/endpoints/{id or name}`.
    Endpoint(String, EndpointKey),
    /// `/metrics`.
    Metrics,
    /// `/healthz`.
    Healthz,
    /// `/readyz`.
    Readyz,
}

impl Resource {
    /// The thing at a path.
    ///
    /// Errors: a path that names nothing, or that cannot be read.
    pub(super) fn at(path: &str) -> Result<Self, Fault> {
        let plain = PublicRoute::ALL.iter().find(|route| route.path() == path);
        if let Some(route) = plain {
            return Ok(match route {
                PublicRoute::Metrics => Self::Metrics,
                PublicRoute::Healthz => Self::Healthz,
                PublicRoute::Readyz => Self::Readyz,
            });
        }
        let mut segments = Vec::with_capacity(SEGMENTS_MAX);
        for segment in path.split('/').take(SEGMENTS_MAX) {
            segments.push(decode(segment)?);
        }
        let words: Vec<&str> = segments.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["", "v1", "clusters"] => Ok(Self::Clusters),
            ["", "v1", "clusters", name] if !name.is_empty() => {
                Ok(Self::Cluster((*name).to_string()))
            }
            ["", "v1", "clusters", name, "endpoints"] if !name.is_empty() => {
                Ok(Self::Endpoints((*name).to_string()))
            }
            ["", "v1", "clusters", name, "endpoints", key]
                if !name.is_empty() && !key.is_empty() =>
            {
                Ok(Self::Endpoint((*name).to_string(), endpoint_key(key)))
            }
            _ => Err(Fault::unknown(format!(
                "there is no `{}`; there are {KNOWN}",
                shown(path)
            ))),
        }
    }

    /// What it is called among the routes that may be public.
    pub(super) fn public(&self) -> Option<PublicRoute> {
        match self {
            Self::Metrics => Some(PublicRoute::Metrics),
            Self::Healthz => Some(PublicRoute::Healthz),
            Self::Readyz => Some(PublicRoute::Readyz),
            Self::Clusters | Self::Cluster(_) | Self::Endpoints(_) | Self::Endpoint(..) => None,
        }
    }

    /// Whether a method may be used on it.
    ///
    /// Errors: it may not.
    pub(super) fn check_method(&self, method: &Method) -> Result<(), Fault> {
        let allow = match self {
            Self::Endpoints(_) => "GET, HEAD, POST",
            Self::Endpoint(..) => "GET, HEAD, PATCH, DELETE",
            _ => "GET, HEAD",
        };
        match allow.split(", ").any(|word| word == method.as_str()) {
            true => Ok(()),
            false => Err(Fault::method(allow)),
        }
    }

    /// What a request wants of control, its method being one of the allowed.
    ///
    /// Errors: a query or a body that cannot be.
    pub(super) fn wanted(
        &self,
        method: &Method,
        query: Option<&str>,
        bytes: &[u8],
    ) -> Result<Wanted, Fault> {
        let is_new = *method == Method::POST;
        let is_change = *method == Method::PATCH;
        if !bytes.is_empty() && !is_new && !is_change {
            return Err(Fault::invalid(None, format!("{method} takes no body")));
        }
        if *method == Method::DELETE
            && let Self::Endpoint(cluster, key) = self
        {
            let policy = session_policy(query.unwrap_or_default())?;
            return Ok(Wanted::Remove(cluster.clone(), key.clone(), policy));
        }
        // Scrapers and load balancers add what they like.
        if self.public().is_none() {
            no_query(query.unwrap_or_default())?;
        }
        Ok(match self {
            Self::Clusters => Wanted::Clusters,
            Self::Cluster(name) => Wanted::Cluster(name.clone()),
            Self::Endpoints(name) if is_new => {
                Wanted::Add(name.clone(), Box::new(body::endpoint(bytes)?))
            }
            Self::Endpoints(name) => Wanted::Endpoints(name.clone()),
            Self::Endpoint(name, key) if is_change => {
                Wanted::Change(name.clone(), key.clone(), body::change(bytes)?)
            }
            Self::Endpoint(name, key) => Wanted::Endpoint(name.clone(), key.clone()),
            Self::Metrics => Wanted::Metrics,
            Self::Healthz | Self::Readyz => Wanted::Ready,
        })
    }
}

/// A name for a path.
pub(super) fn encode(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// The number that a segment writes as this program would, or the name that it is.
fn endpoint_key(segment: &str) -> EndpointKey {
    match segment.parse::<u32>() {
        Ok(id) if id.to_string() == segment => EndpointKey::Id(id),
        _ => EndpointKey::Name(segment.to_string()),
    }
}

/// A segment of a path, or a part of a query, without its percent signs.
fn decode(text: &str) -> Result<String, Fault> {
    let wrong = || {
        let detail = format!("`{}` is not percent-encoded UTF-8", shown(text));
        Fault::invalid(None, detail)
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
        let (high, low) = (digit().ok_or_else(wrong)?, digit().ok_or_else(wrong)?);
        bytes.push(u8::try_from(16 * high + low).map_err(|_| wrong())?);
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

/// The pairs of a query.
fn pairs(query: &str) -> impl Iterator<Item = Result<(String, String), Fault>> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts.map(|part| {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        Ok((decode(key)?, decode(value)?))
    })
}

fn no_query(query: &str) -> Result<(), Fault> {
    match pairs(query).next() {
        None => Ok(()),
        Some(pair) => {
            let (key, _) = pair?;
            let detail = format!("`{}` is not known here; there is no query", shown(&key));
            Err(Fault::invalid(Some(&key), detail))
        }
    }
}

/// What a removal says about the endpoint's sessions.
fn session_policy(query: &str) -> Result<Option<SessionPolicy>, Fault> {
    let mut policy = None;
    for pair in pairs(query) {
        let (key, value) = pair?;
        let read = match key.as_str() {
            "drain" => drain(&value)?,
            "sessions" => match value.as_str() {
                "keep" => SessionPolicy::Keep,
                "reset" => SessionPolicy::Reset,
                _ => {
                    let detail = format!("expected keep or reset, found `{}`", shown(&value));
                    return Err(Fault::invalid(Some("sessions"), detail));
                }
            },
            _ => {
                let detail = format!("`{}` is not known; expected drain or sessions", shown(&key));
                return Err(Fault::invalid(Some(&key), detail));
            }
        };
        if policy.replace(read).is_some() {
            let detail = "expected either drain or sessions, and once";
            return Err(Fault::invalid(Some(&key), detail));
        }
    }
    Ok(policy)
}

/// Capital M would be a month; whoever writes it means minutes.
fn drain(value: &str) -> Result<SessionPolicy, Fault> {
    let time = match value {
        "0" => return Ok(SessionPolicy::Reset),
        _ if value.contains('M') => None,
        _ => humantime::parse_duration(value).ok(),
    };
    match time {
        Some(time) if time.is_zero() => Ok(SessionPolicy::Reset),
        Some(time) if time <= ADMIN_DRAIN_MAX => Ok(SessionPolicy::Drain(time)),
        _ => {
            let detail = format!(
                "expected 0 or a time of at most 45 days with its unit, such as 30s, found `{}`",
                shown(value)
            );
            Err(Fault::invalid(Some("drain"), detail))
        }
    }
}

/// No path that is known has more; one more tells that there are too many.
const SEGMENTS_MAX: usize = 7;

const KNOWN: &str = "/v1/clusters, /v1/clusters/{name}, /v1/clusters/{name}/endpoints, \
                     /v1/clusters/{name}/endpoints/{id or name}, /metrics, /healthz and /readyz";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hyper::StatusCode;

    use super::*;

    fn name(name: &str) -> EndpointKey {
        EndpointKey::Name(name.to_string())
    }

    #[test]
    fn paths_name_things() {
        let check = |path: &str, expected: Resource| {
            assert_eq!(Resource::at(path), Ok(expected), "{path}");
        };
        check("/metrics", Resource::Metrics);
        check("/healthz", Resource::Healthz);
        check("/readyz", Resource::Readyz);
        check("/v1/clusters", Resource::Clusters);
        check("/v1/clusters/web", Resource::Cluster("web".into()));
        check(
            "/v1/clusters/a%20b%2F%c3%a9",
            Resource::Cluster("a b/é".into()),
        );
        check(
            "/v1/clusters/web/endpoints",
            Resource::Endpoints("web".into()),
        );
        let endpoint = |key| Resource::Endpoint("web".into(), key);
        let base = "/v1/clusters/web/endpoints";
        check(&format!("{base}/7"), endpoint(EndpointKey::Id(7)));
        check(&format!("{base}/0"), endpoint(EndpointKey::Id(0)));
        check(&format!("{base}/007"), endpoint(name("007")));
        check(&format!("{base}/+7"), endpoint(name("+7")));
        check(&format!("{base}/4294967296"), endpoint(name("4294967296")));
        check(
            &format!("{base}/10.0.0.1:80"),
            endpoint(name("10.0.0.1:80")),
        );
        check(
            &format!("{base}/unix:%2Frun%2Fa.sock"),
            endpoint(name("unix:/run/a.sock")),
        );
    }

    #[test]
    fn other_paths_are_refused_with_those_that_are_known() {
        let check = |path: &str, status: StatusCode, part: &str| {
            let fault = Resource::at(path).expect_err("refused");
            assert_eq!(fault.status, status, "{path}");
            assert!(fault.detail.contains(part), "{path}: {}", fault.detail);
        };
        for path in [
            "",
            "/",
            "*",
            "/v1",
            "/v2/clusters",
            "/v1/clusters/",
            "/v1/clusters//endpoints",
            "/v1/clusters/web/endpoints/",
            "/v1/clusters/web/endpoints/7/x",
            "/v1/clusters/web/endpoints/7/",
            "//v1/clusters",
            "/metrics/",
            "/Metrics",
        ] {
            check(path, StatusCode::NOT_FOUND, "/v1/clusters/{name}/endpoints");
        }
        for path in [
            "/v1/clusters/%",
            "/v1/clusters/%2",
            "/v1/clusters/%zz",
            "/v1/clusters/%ff",
        ] {
            check(path, StatusCode::BAD_REQUEST, "percent-encoded");
        }
    }

    #[test]
    fn methods_are_those_of_the_thing() {
        let check = |path: &str, allowed: &[Method]| {
            let resource = Resource::at(path).expect("a known path");
            for method in [
                Method::GET,
                Method::HEAD,
                Method::POST,
                Method::PUT,
                Method::PATCH,
                Method::DELETE,
                Method::OPTIONS,
                Method::CONNECT,
                Method::TRACE,
            ] {
                match resource.check_method(&method) {
                    Ok(()) => assert!(allowed.contains(&method), "{path} {method}"),
                    Err(fault) => {
                        assert!(!allowed.contains(&method), "{path} {method}");
                        let allow: Vec<&str> = allowed.iter().map(Method::as_str).collect();
                        assert_eq!(fault.allow, Some(allow.join(", ").as_str()), "{path}");
                    }
                }
            }
        };
        let read = [Method::GET, Method::HEAD];
        check("/metrics", &read);
        check("/v1/clusters", &read);
        check("/v1/clusters/a", &read);
        check(
            "/v1/clusters/a/endpoints",
            &[Method::GET, Method::HEAD, Method::POST],
        );
        check(
            "/v1/clusters/a/endpoints/1",
            &[Method::GET, Method::HEAD, Method::PATCH, Method::DELETE],
        );
    }

    #[test]
    fn a_removal_says_what_becomes_of_sessions() {
        let at = Resource::at("/v1/clusters/web/endpoints/a").expect("a known path");
        let check = |query: Option<&str>, expected: Result<Option<SessionPolicy>, &str>| {
            let found = at.wanted(&Method::DELETE, query, b"");
            match expected {
                Ok(policy) => {
                    let removal = Wanted::Remove("web".into(), name("a"), policy);
                    assert_eq!(found, Ok(removal), "{query:?}");
                }
                Err(field) => {
                    let fault = found.expect_err("refused");
                    assert_eq!(fault.field.as_deref(), Some(field), "{query:?}");
                }
            }
        };
        check(None, Ok(None));
        check(Some(""), Ok(None));
        let drain = SessionPolicy::Drain(Duration::from_secs(30));
        check(Some("drain=30s"), Ok(Some(drain)));
        check(Some("drain=30%73"), Ok(Some(drain)));
        check(Some("drain=0"), Ok(Some(SessionPolicy::Reset)));
        check(Some("drain=0s"), Ok(Some(SessionPolicy::Reset)));
        check(Some("sessions=keep"), Ok(Some(SessionPolicy::Keep)));
        check(Some("sessions=reset"), Ok(Some(SessionPolicy::Reset)));
        check(Some("drain=30"), Err("drain"));
        check(Some("drain=5M"), Err("drain"));
        check(Some("drain=-1s"), Err("drain"));
        check(Some("drain=1000000years"), Err("drain"));
        check(Some("drain="), Err("drain"));
        check(Some("sessions=drain"), Err("sessions"));
        check(Some("drain=1s&drain=2s"), Err("drain"));
        check(Some("drain=1s&sessions=keep"), Err("sessions"));
        check(Some("force=1"), Err("force"));
        let with_body = at.wanted(&Method::DELETE, None, b"{}");
        assert!(with_body.is_err());
    }

    #[test]
    fn a_query_where_none_is_known_is_refused() {
        let wanted = |path: &str, query: &str| {
            let at = Resource::at(path).expect("a known path");
            at.wanted(&Method::GET, Some(query), b"")
        };
        let fault = wanted("/v1/clusters", "name=a").expect_err("refused");
        assert_eq!(fault.field.as_deref(), Some("name"));
        assert_eq!(wanted("/metrics", "target=a"), Ok(Wanted::Metrics));
        assert_eq!(wanted("/healthz", ""), Ok(Wanted::Ready));
    }

    #[test]
    fn names_survive_a_path() {
        for name in ["web", "a b", "é/%", "unix:/run/x", "..", "a?b#c", "\u{1}"] {
            let path = format!("/v1/clusters/{}", encode(name));
            assert_eq!(Resource::at(&path), Ok(Resource::Cluster(name.to_string())));
            assert!(path.is_ascii());
        }
    }
}
