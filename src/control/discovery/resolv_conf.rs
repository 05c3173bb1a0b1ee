//! The file that names the name servers, the search domains and how to ask. Pure: text in, values
//! out.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::bounds::{NAME_ATTEMPTS_MAX, NAME_SERVERS_MAX, NDOTS_MAX, SEARCH_DOMAINS_MAX};

/// What the file says.
///
/// Source: resolv.conf(5). Without a search list there is none: the host's own domain is not
/// guessed from its name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ResolvConf {
    /// The name servers, in their order.
    pub(super) servers: Vec<SocketAddr>,
    /// What is put behind names with few dots.
    pub(super) search: Vec<String>,
    /// With at least so many dots a name is asked for as it is first.
    pub(super) ndots: u32,
    /// How long one server may take.
    pub(super) timeout: Duration,
    /// How often all servers are asked.
    pub(super) attempts: u32,
    /// Where each look-up begins.
    pub(super) order: Order,
    /// What carries questions.
    pub(super) transport: Transport,
}

/// Which server is asked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// The first of the file.
    Fixed,
    /// Another one each time.
    Rotating,
}

/// What carries a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    /// A datagram; a stream only if the answer does not fit.
    Udp,
    /// A stream.
    Tcp,
}

impl Default for ResolvConf {
    /// What holds without a file.
    fn default() -> Self {
        Self {
            servers: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, DNS_PORT))],
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
            order: Order::Fixed,
            transport: Transport::Udp,
        }
    }
}

impl ResolvConf {
    /// Reads the text of the file. What is not understood is passed over.
    pub(super) fn parse(text: &str) -> Self {
        let mut conf = Self::default();
        let mut servers = Vec::new();
        for line in text.lines() {
            let mut words = line
                .split_whitespace()
                .take_while(|word| !word.starts_with(['#', ';']));
            match words.next() {
                Some("nameserver") => {
                    let addr = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    if let Some(addr) = addr
                        && servers.len() < NAME_SERVERS_MAX
                    {
                        servers.push(SocketAddr::from((addr, DNS_PORT)));
                    }
                }
                // The last of both lines counts.
                Some("search") => conf.search = domains(words, SEARCH_DOMAINS_MAX),
                Some("domain") => conf.search = domains(words, 1),
                Some("options") => words.for_each(|word| conf.option(word)),
                _ => {}
            }
        }
        if !servers.is_empty() {
            conf.servers = servers;
        }
        conf
    }

    fn option(&mut self, word: &str) {
        let (key, value) = word.split_once(':').unwrap_or((word, ""));
        let number = value.parse::<u32>().ok();
        match (key, number) {
            ("ndots", Some(dots)) => self.ndots = dots.min(NDOTS_MAX),
            ("timeout", Some(seconds)) => {
                let seconds = seconds.clamp(1, TIMEOUT_SECONDS_MAX);
                self.timeout = Duration::from_secs(seconds.into());
            }
            ("attempts", Some(attempts)) => self.attempts = attempts.clamp(1, NAME_ATTEMPTS_MAX),
            ("rotate", _) => self.order = Order::Rotating,
            ("use-vc", _) => self.transport = Transport::Tcp,
            _ => {}
        }
    }
}

/// Domains without the dot at their end; the root, which adds nothing, is left out.
fn domains<'a>(words: impl Iterator<Item = &'a str>, most: usize) -> Vec<String> {
    words
        .take(most)
        .map(|word| word.strip_suffix('.').unwrap_or(word).to_string())
        .filter(|domain| !domain.is_empty())
        .collect()
}

/// The port that name servers are asked at.
const DNS_PORT: u16 = 53;

/// Where resolv.conf(5) cuts `timeout`.
const TIMEOUT_SECONDS_MAX: u32 = 30;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: ResolvConf) {
        assert_eq!(ResolvConf::parse(text), expected, "{text}");
    }

    fn servers(addrs: &[&str]) -> ResolvConf {
        ResolvConf {
            servers: addrs
                .iter()
                .map(|addr| SocketAddr::new(addr.parse().expect("an address"), 53))
                .collect(),
            ..ResolvConf::default()
        }
    }

    fn search(domains: &[&str]) -> ResolvConf {
        ResolvConf {
            search: domains.iter().map(ToString::to_string).collect(),
            ..ResolvConf::default()
        }
    }

    #[test]
    fn without_words_it_is_this_host_that_is_asked() {
        for text in [
            "",
            "\n",
            "# nameserver 10.0.0.1",
            "; nameserver 10.0.0.1",
            "\0",
        ] {
            check(text, servers(&["127.0.0.1"]));
        }
    }

    #[test]
    fn three_name_servers_are_taken_and_odd_ones_passed_over() {
        check("nameserver 10.0.0.1", servers(&["10.0.0.1"]));
        check(
            "\tnameserver\t10.0.0.1  # first\r\n",
            servers(&["10.0.0.1"]),
        );
        check(
            "nameserver fe80::1%eth0\nnameserver ::1\nnameserver\nnameserver example.com\n\
             nameserver 10.0.0.2\nnameserver 10.0.0.3\nnameserver 10.0.0.4\n",
            servers(&["::1", "10.0.0.2", "10.0.0.3"]),
        );
        check(
            "nameservers 10.0.0.1\nNAMESERVER 10.0.0.1",
            servers(&["127.0.0.1"]),
        );
    }

    #[test]
    fn the_last_search_list_counts() {
        check(
            "search a.example b.example.",
            search(&["a.example", "b.example"]),
        );
        check(
            "search a b c d e f g h",
            search(&["a", "b", "c", "d", "e", "f"]),
        );
        check("search a b\ndomain c d", search(&["c"]));
        check("domain c\nsearch a b # c", search(&["a", "b"]));
        check("search a\nsearch", search(&[]));
        check("search . a", search(&["a"]));
    }

    #[test]
    fn options_add_up_and_stay_within_bounds() {
        let seconds = Duration::from_secs;
        let with = |change: fn(&mut ResolvConf)| {
            let mut conf = ResolvConf::default();
            change(&mut conf);
            conf
        };
        check("options ndots:5", with(|conf| conf.ndots = 5));
        check("options ndots:0", with(|conf| conf.ndots = 0));
        check("options ndots:99", with(|conf| conf.ndots = 15));
        check("options ndots:-1 ndots: ndots", ResolvConf::default());
        check(
            "options timeout:3 attempts:4",
            ResolvConf {
                timeout: seconds(3),
                attempts: 4,
                ..ResolvConf::default()
            },
        );
        check(
            "options timeout:0\noptions attempts:0",
            ResolvConf {
                timeout: seconds(1),
                attempts: 1,
                ..ResolvConf::default()
            },
        );
        check(
            "options timeout:31 attempts:4294967295",
            ResolvConf {
                timeout: seconds(30),
                attempts: 5,
                ..ResolvConf::default()
            },
        );
        check("options timeout:4294967296", ResolvConf::default());
        check(
            "options rotate use-vc",
            ResolvConf {
                order: Order::Rotating,
                transport: Transport::Tcp,
                ..ResolvConf::default()
            },
        );
        check(
            "options edns0 trust-ad single-request inet6",
            ResolvConf::default(),
        );
    }
}
