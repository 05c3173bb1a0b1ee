//! What can be wrong with the admin interface and with how names are looked up.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use super::Problems;
use crate::bounds::{ADMIN_HOSTS_MAX, DNS_ATTEMPTS_MAX, DNS_SERVERS_MAX, DNS_TIMEOUT_MAX};
use crate::plan::admin::{AdminPlan, Secret};
use crate::plan::dns::DnsPlan;

/// Looks at the admin interface.
pub(super) fn check_admin(admin: &AdminPlan, found: &mut Problems) {
    match &admin.token {
        None if !admin.is_local() => found.add(
            "admin.bind",
            "a token is required off loopback: write \"token\": { \"env\": \"NAME\" } or \
             { \"file\": \"/PATH\" } beside it in the configuration",
        ),
        None | Some(Secret::File(_)) => {}
        Some(Secret::Inline(token)) => {
            if let Some(fault) = Secret::fault(token) {
                found.add("admin.token", fault);
            }
        }
        Some(Secret::Env(name)) => {
            if name.is_empty() || name.contains(['=', '\0']) {
                let message = "it must be the name of an environment variable";
                found.add("admin.token.env", message);
            }
        }
    }
    if admin.hosts.len() > ADMIN_HOSTS_MAX {
        found.add(
            "admin.hosts",
            format!("at most {ADMIN_HOSTS_MAX} are possible"),
        );
    }
    for (position, host) in admin.hosts.iter().enumerate() {
        if !is_host(host) {
            let message = "expected a name without a port, such as lb.example.com";
            found.add(format!("admin.hosts[{position}]"), message);
        }
    }
}

/// Looks at the resolver.
pub(super) fn check_dns(dns: &DnsPlan, found: &mut Problems) {
    if dns.servers.len() > DNS_SERVERS_MAX {
        let message = format!("at most {DNS_SERVERS_MAX} are possible");
        found.add("dns.servers", message);
    }
    for (position, server) in dns.servers.iter().enumerate() {
        if server.port() == 0 {
            let path = format!("dns.servers[{position}]");
            found.add(path, "the port must be from 1 to 65535");
        }
    }
    if let Some(timeout) = dns.timeout
        && (timeout.is_zero() || timeout > DNS_TIMEOUT_MAX)
    {
        found.add("dns.timeout", "it must be more than 0 and at most 30s");
    }
    if let Some(attempts) = dns.attempts
        && (attempts == 0 || attempts > DNS_ATTEMPTS_MAX)
    {
        let message = format!("it must be from 1 to {DNS_ATTEMPTS_MAX}");
        found.add("dns.attempts", message);
    }
    found.check_repeat("dns.min_ttl", dns.min_ttl);
    found.check_repeat("dns.max_ttl", dns.max_ttl);
    if dns.min_ttl > dns.max_ttl && !dns.max_ttl.is_zero() {
        found.add("dns.min_ttl", "it must be at most `max_ttl`");
    }
}

/// Whether it may be what a Host header has before its port.
fn is_host(host: &str) -> bool {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_name = (1..=253).contains(&host.len()) && host.bytes().all(is_of_name);
    is_name || host.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::admin::PublicRoute;

    #[test]
    fn others_reach_it_only_with_a_token() {
        let check = |bind: &str, token: Option<Secret>, expected: usize| {
            let mut admin = AdminPlan::on(bind.parse().expect("a bind"));
            admin.token = token;
            // What needs no token is no way around it.
            admin.public = Some(PublicRoute::ALL.to_vec());
            let mut found = Problems(Vec::new());
            check_admin(&admin, &mut found);
            assert_eq!(found.0.len(), expected, "{bind}");
        };
        for local in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "unix:/a"] {
            check(local, None, 0);
        }
        for bind in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "[fd00::1]:1"] {
            check(bind, None, 1);
            check(bind, Some(Secret::Env("TOKEN".into())), 0);
            check(bind, Some(Secret::File("/token".into())), 0);
            check(bind, Some(Secret::Inline("token".into())), 0);
            check(bind, Some(Secret::Inline(String::new())), 1);
        }
    }
}
