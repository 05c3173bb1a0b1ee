//! End-to-end tests over the kernel's io_uring, and checks of the tree itself. One binary.
//!
//! Tests wait for conditions, with a deadline that fails them; none sleeps to be safe.
#![deny(unsafe_code)]

mod access_log;
mod balancing;
mod bulk;
mod bulk_pipes;
mod capacity;
mod command;
mod config;
mod conformance;
mod dns_corpus;
mod fairness;
mod hardships;
mod instances;
mod lifecycle;
mod limits;
mod live_admin;
mod live_breaker;
mod live_health;
mod live_names;
mod live_scale;
mod live_stall;
mod live_standing;
mod proxy_accept;
mod proxy_corpus;
mod proxy_send;
mod relaying;
mod seccomp;
mod sim;
mod socket_options;
mod support;
mod tidy;
mod timeouts;
mod unix_listener;
