//! The file of names that are known without asking. Pure: text in, table out.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::net::IpAddr;

/// Names and their addresses.
///
/// Source: hosts(5).
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Hosts {
    /// By name, in small letters and without a dot at the end.
    names: HashMap<Box<str>, Vec<IpAddr>>,
}

impl Hosts {
    /// Reads the text of the file. What is not understood is passed over; so are addresses with a
    /// scope, which are of this host's links only.
    pub(super) fn parse(text: &str) -> Self {
        let mut names: HashMap<Box<str>, Vec<IpAddr>> = HashMap::new();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let Some(Ok(addr)) = words.next().map(str::parse::<IpAddr>) else {
                continue;
            };
            for name in words {
                let addrs = names.entry(plain(name).into()).or_default();
                if !addrs.contains(&addr) {
                    addrs.push(addr);
                }
            }
        }
        Self { names }
    }

    /// The addresses of a name, none if it is not in the file.
    pub(super) fn addresses(&self, name: &str) -> &[IpAddr] {
        self.names
            .get(plain(name).as_str())
            .map_or(&[], Vec::as_slice)
    }
}

/// Whether a name is `localhost` or below it, which is this host whatever a name server says.
///
/// Source: RFC 6761, section 6.3.
pub(super) fn is_localhost(name: &str) -> bool {
    let name = plain(name);
    name == "localhost" || name.ends_with(".localhost")
}

/// A name as the table has it.
fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# a comment
127.0.0.1\tlocalhost
::1 localhost ip6-localhost # ip6-commented
10.0.0.1   Web.Example web   web.alias.
10.0.0.2 web.example
2001:db8::1 WEB.example
10.0.0.1 web.example
  10.0.0.3 indented
fe80::1%eth0 scoped
10.0.0.4
10.0.0.5#no-name
10.0.0.6 cut#name
999.0.0.1 wrong
10.0.0.7 carriage\r
no-address at-all
";

    #[test]
    fn names_have_the_addresses_of_all_their_lines() {
        let hosts = Hosts::parse(TEXT);
        let check = |name: &str, expected: &[&str]| {
            let expected: Vec<IpAddr> = expected
                .iter()
                .map(|addr| addr.parse().expect("an address"))
                .collect();
            assert_eq!(hosts.addresses(name), expected, "{name}");
        };
        check("localhost", &["127.0.0.1", "::1"]);
        check("web.example", &["10.0.0.1", "10.0.0.2", "2001:db8::1"]);
        check("WEB.EXAMPLE.", &["10.0.0.1", "10.0.0.2", "2001:db8::1"]);
        check("web", &["10.0.0.1"]);
        check("web.alias", &["10.0.0.1"]);
        check("indented", &["10.0.0.3"]);
        check("cut", &["10.0.0.6"]);
        check("carriage", &["10.0.0.7"]);
        check("ip6-localhost", &["::1"]);
        for missing in [
            "ip6-commented",
            "scoped",
            "wrong",
            "at-all",
            "cut#name",
            "no-name",
            "example",
            "",
            ".",
        ] {
            check(missing, &[]);
        }
    }

    #[test]
    fn an_empty_file_knows_nobody() {
        for text in ["", "\n\n", "#", "\u{feff}", "\0"] {
            assert_eq!(Hosts::parse(text), Hosts::default(), "{text:?}");
        }
    }

    #[test]
    fn localhost_and_what_is_below_it() {
        for name in ["localhost", "LocalHost.", "a.localhost", "a.b.localhost."] {
            assert!(is_localhost(name), "{name}");
        }
        for name in ["localhost.example", "notlocalhost", "", "localhost.."] {
            assert!(!is_localhost(name), "{name}");
        }
    }
}
