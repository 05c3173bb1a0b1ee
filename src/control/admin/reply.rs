//! Answers: from what control tells to what goes out.
//!
//! Every answer is one JSON value and a newline, but for the metrics, which are text.
#![forbid(unsafe_code)]

use hyper::http::HeaderValue;
use hyper::http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, LOCATION,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, StatusCode};
use serde::Serialize;

use crate::control::admin::fault::Fault;
use crate::control::admin::route::{Resource, encode};
use crate::control::request::{Answer, ClusterStatus, EndpointStatus};

/// An answer, before anybody knows how it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    /// How it went.
    pub(super) status: StatusCode,
    /// Its headers, the length included.
    pub(super) headers: HeaderMap,
    /// What it says.
    pub(super) text: String,
}

impl Reply {
    /// What control has answered to a request.
    pub(super) fn of(resource: &Resource, method: &Method, answer: Answer) -> Self {
        match (resource, answer) {
            (Resource::Healthz, Answer::Ready | Answer::NotReady(_)) => {
                Self::json(StatusCode::OK, &Readiness::of("ok"))
            }
            (Resource::Readyz, Answer::Ready) => {
                Self::json(StatusCode::OK, &Readiness::of("ready"))
            }
            (Resource::Readyz, Answer::NotReady(detail)) => {
                let readiness = Readiness {
                    detail: Some(detail),
                    ..Readiness::of("not_ready")
                };
                Self::json(StatusCode::SERVICE_UNAVAILABLE, &readiness)
            }
            (Resource::Metrics, Answer::Metrics(text)) => Self::metrics(text),
            (Resource::Clusters, Answer::Clusters(clusters)) => {
                Self::json(StatusCode::OK, &Clusters { clusters })
            }
            (Resource::Cluster(_), Answer::Cluster(cluster)) => {
                Self::json(StatusCode::OK, &cluster)
            }
            (Resource::Endpoints(_), Answer::Endpoints(endpoints)) => {
                Self::json(StatusCode::OK, &Endpoints { endpoints })
            }
            (Resource::Endpoint(..), Answer::Endpoint(endpoint)) => {
                Self::json(StatusCode::OK, &endpoint)
            }
            (
                Resource::Endpoints(cluster) | Resource::Endpoint(cluster, _),
                Answer::Changed {
                    endpoint,
                    pending_workers,
                },
            ) => Self::changed(
                cluster,
                method,
                &Changed {
                    endpoint: *endpoint,
                    pending_workers,
                },
            ),
            _ => Self::fault(&Fault::internal("control has answered something else")),
        }
    }

    /// Why there is no answer as it was meant.
    pub(super) fn fault(fault: &Fault) -> Self {
        let error = Error {
            error: fault.word,
            detail: &fault.detail,
            field: fault.field.as_deref(),
        };
        let mut reply = Self::json(fault.status, &error);
        if let Some(allow) = fault.allow {
            let allow = HeaderValue::from_static(allow);
            reply.headers.insert(ALLOW, allow);
        }
        if fault.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            reply.headers.insert(WWW_AUTHENTICATE, scheme);
        }
        reply
    }

    /// The same as the connection's last.
    pub(super) fn closing(mut self) -> Self {
        let close = HeaderValue::from_static("close");
        self.headers.insert(CONNECTION, close);
        self
    }

    /// The bytes of a whole message, for connections that have seen no request.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = format!("HTTP/1.1 {}\r\n", self.status).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend_from_slice(name.as_str().as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(self.text.as_bytes());
        bytes
    }

    fn changed(cluster: &str, method: &Method, changed: &Changed) -> Self {
        let is_new = *method == Method::POST;
        let status = match (changed.pending_workers.is_empty(), is_new) {
            (false, _) => StatusCode::ACCEPTED,
            (true, true) => StatusCode::CREATED,
            (true, false) => StatusCode::OK,
        };
        let mut reply = Self::json(status, changed);
        let id = changed.endpoint.id;
        let location = format!("/v1/clusters/{}/endpoints/{id}", encode(cluster));
        if is_new && let Ok(location) = HeaderValue::try_from(location) {
            reply.headers.insert(LOCATION, location);
        }
        reply
    }

    fn metrics(text: String) -> Self {
        let kind = if text.ends_with("# EOF\n") {
            OPEN_METRICS
        } else {
            PLAIN_METRICS
        };
        Self::text(StatusCode::OK, kind, text)
    }

    fn json(status: StatusCode, value: &impl Serialize) -> Self {
        match serde_json::to_string(value) {
            Ok(mut text) => {
                text.push('\n');
                Self::text(status, JSON, text)
            }
            // No value here can fail: all keys are strings.
            Err(_) => {
                let text = "{\"error\":\"internal\",\"detail\":\"\",\"field\":null}\n";
                Self::text(StatusCode::INTERNAL_SERVER_ERROR, JSON, text.to_string())
            }
        }
    }

    fn text(status: StatusCode, kind: &'static str, text: String) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        Self {
            status,
            headers,
            text,
        }
    }
}

const JSON: &str = "application/json";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN_METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Serialize)]
struct Clusters {
    clusters: Vec<ClusterStatus>,
}

#[derive(Serialize)]
struct Endpoints {
    endpoints: Vec<EndpointStatus>,
}

#[derive(Serialize)]
struct Changed {
    endpoint: EndpointStatus,
    pending_workers: Vec<u16>,
}

#[derive(Serialize)]
struct Readiness {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl Readiness {
    fn of(status: &'static str) -> Self {
        Self {
            status,
            detail: None,
        }
    }
}

#[derive(Serialize)]
struct Error<'a> {
    error: &'static str,
    detail: &'a str,
    field: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_say_what_they_are() {
        let check = |text: &str, expected: &str| {
            let answer = Answer::Metrics(text.to_string());
            let reply = Reply::of(&Resource::Metrics, &Method::GET, answer);
            assert_eq!(reply.headers[CONTENT_TYPE], expected);
            assert_eq!(reply.text, text);
        };
        check("a 1\n# EOF\n", OPEN_METRICS);
        check("a 1\n", PLAIN_METRICS);
        check("", PLAIN_METRICS);
    }

    #[test]
    fn another_answer_than_was_asked_for_is_an_error() {
        let reply = Reply::of(&Resource::Clusters, &Method::GET, Answer::Ready);
        assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(reply.text.starts_with("{\"error\":\"internal\""));
    }

    #[test]
    fn a_whole_message_has_its_length() {
        let fault = Fault::timeout("head");
        let reply = Reply::fault(&fault).closing();
        let text = String::from_utf8(reply.to_bytes()).expect("UTF-8");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 408 Request Timeout\r\n"));
        assert!(head.contains(&format!("content-length: {}", body.len())));
        assert!(head.contains("connection: close"));
    }
}
