//! Where things are: the places that endpoints are at and that listeners are bound to.
#![forbid(unsafe_code)]

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use crate::bounds::WEIGHT_MAX;
use crate::plan::EndpointPlan;

/// Where a listener is bound.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Bind {
    /// An address; port 0 is any free one.
    Tcp(SocketAddr),
    /// A Unix stream socket.
    Unix(PathBuf),
}

impl Bind {
    /// Whether two listeners would get each other's connections. Port 0 is a new port each time.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp(one), Self::Tcp(other)) => {
                let same_family = one.is_ipv4() == other.is_ipv4();
                let same_host = one.ip() == other.ip()
                    || one.ip().is_unspecified()
                    || other.ip().is_unspecified();
                one.port() != 0 && one.port() == other.port() && same_family && same_host
            }
            (Self::Unix(one), Self::Unix(other)) => one == other,
            (Self::Tcp(_), Self::Unix(_)) | (Self::Unix(_), Self::Tcp(_)) => false,
        }
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(formatter),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

impl FromStr for Bind {
    type Err = String;

    /// Reads `ADDRESS:PORT` or `unix:/PATH`.
    ///
    /// Errors: what was expected.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return parse_unix(path).map(Self::Unix);
        }
        let any = text.strip_prefix('*').unwrap_or(text);
        if let Some(port) = any.strip_prefix(':')
            && let Ok(port) = port.parse::<u16>()
        {
            return Err(format!(
                "write 0.0.0.0:{port} for every IPv4 address, [::]:{port} for IPv6"
            ));
        }
        text.parse().map(Self::Tcp).map_err(|_| {
            "expected ADDRESS:PORT, such as 127.0.0.1:8080 or [::]:8080, or unix:/PATH".to_string()
        })
    }
}

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A Unix stream socket.
    Unix(PathBuf),
    /// An address.
    Address(SocketAddr),
    /// A host name and a port, to be resolved.
    Host(String, u16),
    /// A service whose SRV records name hosts, ports, priorities and weights.
    Service(String),
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
            Self::Address(addr) => addr.fmt(formatter),
            Self::Host(host, port) => write!(formatter, "{host}:{port}"),
            Self::Service(name) => write!(formatter, "srv:{name}"),
        }
    }
}

impl FromStr for EndpointPlan {
    type Err = String;

    /// Reads `HOST:PORT`, `srv:NAME` or `unix:/PATH`, and after commas `weight=N`, `name=NAME` and
    /// `max_connections=N`.
    ///
    /// Errors: what is not understood and what was expected.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let place = parts.next().unwrap_or_default().parse()?;
        let mut endpoint = Self::at(place);
        let parts: Vec<&str> = parts.collect();
        for (position, part) in parts.iter().enumerate() {
            let key = |part: &str| part.split('=').next().unwrap_or_default().to_string();
            if parts[..position]
                .iter()
                .any(|earlier| key(earlier) == key(part))
            {
                return Err(format!("`{}` is given twice", key(part)));
            }
            match part.split_once('=') {
                Some(("weight", value)) => endpoint.weight = parse_weight(value)?,
                Some(("name", "")) => return Err("the name is empty".to_string()),
                Some(("name", value)) => endpoint.name = Some(value.to_string()),
                Some(("max_connections", value)) => {
                    endpoint.max_connections = Some(parse_connections(value)?);
                }
                _ => {
                    return Err(format!(
                        "`{part}` is not understood; after the address there may be weight=N, \
                         name=NAME and max_connections=N"
                    ));
                }
            }
        }
        Ok(endpoint)
    }
}

impl FromStr for Place {
    type Err = String;

    /// Reads `HOST:PORT`, `srv:_SERVICE._PROTOCOL.NAME` or `unix:/PATH`.
    ///
    /// Errors: what was expected.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return parse_unix(path).map(Self::Unix);
        }
        // A host may be named `srv`.
        if let Some(name) = text.strip_prefix("srv:")
            && name.parse::<u16>().is_err()
        {
            return parse_service(name).map(Self::Service);
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            return Err(format!(
                "`{scheme}://` is not part of an address; write {rest}"
            ));
        }
        if let Ok(addr) = text.parse::<SocketAddr>() {
            return if addr.port() == 0 {
                Err(no_port(text))
            } else {
                Ok(Self::Address(addr))
            };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(|| no_port(text))?;
        let port = port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(|| no_port(text))?;
        if host.is_empty() || host.contains([':', '[', ']', '/', ' ']) {
            return Err(format!(
                "`{host}` is no host; expected HOST:PORT, 10.0.0.1:80, [::1]:80 or unix:/PATH"
            ));
        }
        Ok(Self::Host(host.to_string(), port))
    }
}

/// Whether an endpoint can have this address.
pub fn is_possible(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let is_broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
    !address.is_unspecified() && !address.is_multicast() && !is_broadcast
}

fn no_port(text: &str) -> String {
    format!("`{text}` has no port from 1 to 65535; expected HOST:PORT or unix:/PATH")
}

fn parse_weight(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(weight) if weight <= WEIGHT_MAX => Ok(weight),
        _ => Err(format!(
            "`{text}` is no weight; expected a number from 0 to {WEIGHT_MAX}"
        )),
    }
}

fn parse_connections(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err(format!(
            "`{text}` is no limit; expected a number from 1 to {}",
            u32::MAX
        )),
        Ok(connections) => Ok(connections),
    }
}

/// A dot at the end is that of the root, which every name here is below.
///
/// Source: RFC 2782; RFC 1035, section 2.3.4, for the lengths.
fn parse_service(text: &str) -> Result<String, String> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_of_label = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let is_label = |label: &str| (1..=63).contains(&label.len()) && label.chars().all(is_of_label);
    let mut labels = name.split('.');
    let is_service = labels
        .by_ref()
        .take(2)
        .all(|label| label.len() > 1 && label.starts_with('_') && is_label(label));
    let mut domain = labels.peekable();
    if is_service && domain.peek().is_some() && domain.all(is_label) && name.len() <= 253 {
        Ok(name.to_string())
    } else {
        Err(format!(
            "`{text}` is no service; expected srv:_SERVICE._tcp.NAME, such as \
             srv:_pg._tcp.example.com; its records have the ports"
        ))
    }
}

/// 107 bytes and a zero fit the kernel's address.
fn parse_unix(path: &str) -> Result<PathBuf, String> {
    if path.starts_with('/') && path.len() <= 107 {
        Ok(path.into())
    } else {
        Err(format!(
            "`{path}` must be an absolute path of at most 107 bytes"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read() {
        let check = |text: &str, place: Place, weight| {
            let mut expected = EndpointPlan::at(place);
            expected.weight = weight;
            assert_eq!(text.parse(), Ok(expected));
        };
        check(
            "127.0.0.1:9001",
            Place::Address(([127, 0, 0, 1], 9001).into()),
            1,
        );
        check(
            "[::1]:80,weight=3",
            Place::Address("[::1]:80".parse().expect("an address")),
            3,
        );
        check(
            "db.internal:5432,weight=0",
            Place::Host("db.internal".into(), 5432),
            0,
        );
        check("unix:/run/a.sock", Place::Unix("/run/a.sock".into()), 1);
        let service = Place::Service("_pg._tcp.example.com".into());
        check("srv:80", Place::Host("srv".into(), 80), 1);
        check("srv:_pg._tcp.example.com", service.clone(), 1);
        check("srv:_pg._tcp.example.com.,weight=2", service, 2);
        let named: EndpointPlan = "a:1,name=first,max_connections=7"
            .parse()
            .expect("an endpoint");
        assert_eq!(named.name.as_deref(), Some("first"));
        assert_eq!(named.max_connections, Some(7));
    }

    #[test]
    fn impossible_endpoints_are_refused_with_what_was_expected() {
        let check = |text: &str, part: &str| {
            let error = text.parse::<EndpointPlan>().expect_err("refused");
            assert!(error.contains(part), "{text}: {error}");
        };
        check("127.0.0.1", "HOST:PORT");
        check("127.0.0.1:0", "port from 1");
        check("a:99999", "port from 1");
        check("http://a:80", "write a:80");
        check("a:80,wieght=3", "weight=N");
        check("a:80,weight=-1", "0 to 10000");
        check("a:80,weight=10001", "0 to 10000");
        check("a:80,max_connections=0", "from 1 to");
        check("unix:run/a.sock", "absolute path");
        check("a:80,weight=5,weight=7", "`weight` is given twice");
        check("::1:80", "[::1]:80");
        check("", "HOST:PORT");
    }

    #[test]
    fn services_are_names_of_srv_records() {
        let long = format!("srv:_a._tcp.{}", "a.".repeat(130));
        let label = format!("srv:_a._tcp.{}", "a".repeat(64));
        for text in [
            "srv:",
            "srv:.",
            "srv:pg.example.com",
            "srv:_pg._tcp",
            "srv:_pg._tcp.",
            "srv:_pg.tcp.example.com",
            "srv:_._tcp.example.com",
            "srv:_pg._tcp..com",
            "srv:_pg._tcp.example.com:5432",
            "srv:_pg._tcp.ex ample.com",
            "srv:_pg._tcp.exämple.com",
            "srv://_pg._tcp.example.com",
            &long,
            &label,
        ] {
            let error = text.parse::<Place>().expect_err(text);
            assert!(error.contains("srv:_pg._tcp.example.com"), "{error}");
        }
    }

    #[test]
    fn one_port_twice_overlaps() {
        let overlap = |one: &str, other: &str| {
            let bind = |text: &str| text.parse::<Bind>().expect("a bind");
            bind(one).overlaps(&bind(other))
        };
        assert!(!overlap("127.0.0.1:80", "127.0.0.2:80"));
        assert!(!overlap("127.0.0.1:80", "[::]:80"));
        assert!(!overlap("127.0.0.1:80", "127.0.0.1:81"));
        assert!(!overlap("127.0.0.1:0", "127.0.0.1:0"));
        assert!(overlap("127.0.0.1:80", "127.0.0.1:80"));
        assert!(overlap("127.0.0.1:80", "0.0.0.0:80"));
        assert!(overlap("unix:/a", "unix:/a"));
        assert!(!overlap("unix:/a", "unix:/b"));
    }
}
