//! How names are looked up.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The resolver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsPlan {
    /// The name servers; those of `resolv_conf` if empty.
    pub servers: Vec<SocketAddr>,
    /// Where name servers, search domains and options are taken from.
    pub resolv_conf: PathBuf,
    /// Names that are known without asking.
    pub hosts: PathBuf,
    /// How long one server may take to answer; that of `resolv_conf` if `None`.
    pub timeout: Option<Duration>,
    /// How often all servers are asked; as `resolv_conf` says if `None`.
    pub attempts: Option<u8>,
    /// An answer is used for at least so long, whatever its time to live.
    pub min_ttl: Duration,
    /// An answer is used for at most so long.
    pub max_ttl: Duration,
}

impl Default for DnsPlan {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            hosts: PathBuf::from("/etc/hosts"),
            timeout: None,
            attempts: None,
            min_ttl: Duration::from_secs(5),
            max_ttl: Duration::from_secs(3600),
        }
    }
}
