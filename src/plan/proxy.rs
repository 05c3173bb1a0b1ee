//! The PROXY protocol as it is configured.
#![forbid(unsafe_code)]

use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

/// Clients of a listener send a PROXY protocol header first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptProxy {
    /// Who may: a connection from anywhere else is closed. There is no guessing.
    pub from: Vec<Network>,
    /// How long the header may take.
    pub timeout: Duration,
}

impl AcceptProxy {
    /// With the default timeout.
    pub fn from(networks: Vec<Network>) -> Self {
        Self {
            from: networks,
            timeout: Duration::from_secs(3),
        }
    }
}

/// A set of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Those of a Unix listener.
    Unix,
    /// Those whose address begins like this one.
    Ip {
        /// The address.
        address: IpAddr,
        /// How many of its bits count.
        bits: u8,
    },
}

impl Network {
    /// Whether an address is in it. An IPv4 address written as IPv6 counts as IPv4.
    pub fn contains(&self, client: IpAddr) -> bool {
        let Self::Ip { address, bits } = self else {
            return false;
        };
        match (address.to_canonical(), client.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(client)) => {
                let shift = 32 - u32::from(*bits).min(32);
                let differing = network.to_bits() ^ client.to_bits();
                differing.checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(client)) => {
                let shift = 128 - u32::from(*bits).min(128);
                let differing = network.to_bits() ^ client.to_bits();
                differing.checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    /// Reads `10.0.0.0/8`, `fd00::/8`, a single address, or `unix`.
    ///
    /// Errors: what was expected.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "unix" {
            return Ok(Self::Unix);
        }
        let expected = || format!("`{text}` is no network; expected 10.0.0.0/8, fd00::/8 or unix");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| expected())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) => bits
                .parse()
                .ok()
                .filter(|bits| *bits <= most)
                .ok_or_else(expected)?,
        };
        Ok(Self::Ip { address, bits })
    }
}

/// Endpoints get a PROXY protocol header first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendProxy {
    /// Which form of it.
    pub version: ProxyVersion,
    /// Version 2: a checksum of the header (PP2_TYPE_CRC32C).
    pub checksum: bool,
    /// Version 2: a host name to be told (PP2_TYPE_AUTHORITY), 1 to 255 bytes.
    pub authority: Option<String>,
    /// Version 2: an identity for the session that is unique in all processes (PP2_TYPE_UNIQUE_ID).
    pub unique_id: bool,
    /// Version 2: further fields by type, 0xE0 to 0xEF for applications' own.
    pub custom: Vec<(u8, Vec<u8>)>,
    /// Version 2: fields of the client's header go on to the endpoint, unless this header has its
    /// own of that type.
    pub pass_on: bool,
}

impl SendProxy {
    /// A header of this version without further fields.
    pub fn new(version: ProxyVersion) -> Self {
        Self {
            version,
            checksum: false,
            authority: None,
            unique_id: false,
            custom: Vec::new(),
            pass_on: false,
        }
    }
}

/// The two forms of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyVersion {
    /// One line of text.
    V1,
    /// Binary.
    V2,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_their_addresses() {
        let check = |network: &str, client: &str, expected: bool| {
            let network: Network = network.parse().expect("a network");
            let client = client.parse().expect("an address");
            assert_eq!(network.contains(client), expected, "{network:?} {client}");
        };
        check("10.0.0.0/8", "10.255.0.1", true);
        check("10.0.0.0/8", "11.0.0.1", false);
        check("10.0.0.0/8", "::ffff:10.1.2.3", true);
        check("0.0.0.0/0", "192.0.2.1", true);
        check("0.0.0.0/0", "::1", false);
        check("192.0.2.7", "192.0.2.7", true);
        check("192.0.2.7", "192.0.2.6", false);
        check("fd00::/8", "fdff::1", true);
        check("::/0", "fe80::1", true);
        check("unix", "127.0.0.1", false);
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "a/8", "10.0.0.0/"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
