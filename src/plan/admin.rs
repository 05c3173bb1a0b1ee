//! The admin interface as it is configured.
#![forbid(unsafe_code)]

use std::fmt;
use std::path::PathBuf;

use crate::bounds::SECRET_BYTES_MAX;
use crate::plan::place::Bind;

/// The admin interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminPlan {
    /// Where it listens.
    pub bind: Bind,
    /// The bearer token that clients must show.
    pub token: Option<Secret>,
    /// What needs no token. If nobody says so: everything public on a loopback address or a Unix
    /// socket, nothing elsewhere.
    pub public: Option<Vec<PublicRoute>>,
    /// The names, without ports, that clients may address it by, beside its own address and
    /// `localhost`.
    pub hosts: Vec<String>,
}

impl AdminPlan {
    /// The interface at a place, with the defaults for everything else.
    pub fn on(bind: Bind) -> Self {
        Self {
            bind,
            token: None,
            public: None,
            hosts: Vec::new(),
        }
    }

    /// Whether only this host can reach it.
    pub fn is_local(&self) -> bool {
        match &self.bind {
            Bind::Tcp(addr) => addr.ip().to_canonical().is_loopback(),
            Bind::Unix(_) => true,
        }
    }

    /// Whether a route needs no token.
    pub fn is_public(&self, route: PublicRoute) -> bool {
        match &self.public {
            Some(routes) => routes.contains(&route),
            None => self.is_local(),
        }
    }
}

/// A route that may be open to clients without a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicRoute {
    /// `/metrics`.
    Metrics,
    /// `/healthz`.
    Healthz,
    /// `/readyz`.
    Readyz,
}

impl PublicRoute {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Metrics, Self::Healthz, Self::Readyz];

    /// Its path.
    pub fn path(self) -> &'static str {
        match self {
            Self::Metrics => "/metrics",
            Self::Healthz => "/healthz",
            Self::Readyz => "/readyz",
        }
    }
}

/// A secret: never shown.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// The value itself.
    Inline(String),
    /// The name of an environment variable.
    Env(String),
    /// A file; white space at its end does not count.
    File(PathBuf),
}

impl Secret {
    /// What keeps a value from being a secret that clients show in a header, if anything does.
    pub fn fault(value: &str) -> Option<&'static str> {
        if value.is_empty() {
            Some("the token must not be empty")
        } else if value.len() > SECRET_BYTES_MAX {
            Some("the token must have at most 4096 bytes")
        } else if !value.bytes().all(|byte| byte.is_ascii_graphic()) {
            Some("the token must have no spaces, control characters or letters beyond ASCII")
        } else {
            None
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(_) => formatter.write_str("Inline(..)"),
            Self::Env(name) => write!(formatter, "Env({name:?})"),
            Self::File(path) => write!(formatter, "File({path:?})"),
        }
    }
}
