//! Ringlane: a layer-4 load balancer for Linux.
pub mod balance;
pub mod bounds;
pub mod buffers;
pub mod error;
pub mod id;
pub mod limits;
pub mod metrics;
pub mod ring;
pub mod session;
pub mod sys;
pub mod time;
pub mod timer;
pub mod update;
pub mod view;
pub mod worker;
