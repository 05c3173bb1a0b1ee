//! Ringlane: a layer-4 load balancer for Linux.
//!
//! One pinned worker thread per CPU, each with its own io_uring, its own listeners and its own
//! balancer state. This is the bird's eye view; `ARCHITECTURE.md` has the picture and the reasons.
//!
//! Modules by layer; each may use those of its own layer and of the layers below it:
//!
//! | layer | modules |
//! |---|---|
//! | 4 | [`config`] reads configuration files; [`process`] binds, starts workers and stops them; [`cli`] reads the command line |
//! | 3 | [`worker`] the hot path; [`control`] knows what is so, and tells workers |
//! | 2 | [`ring`] and [`sys`], the two fences around unsafe code |
//! | 1 | [`session`] state machines without I/O; [`balance`] one policy per file; [`buffers`], [`timer`], [`health`], [`breaker`], [`standing`], [`view`], [`access`], [`plan`], [`update`], [`limits`], [`metrics`] |
//! | 0 | [`id`], [`error`], [`time`], [`bounds`] |
//!
//! A good order to read in: [`session::relay`] (what happens to a connection), [`buffers`] (who
//! owns its bytes), [`ring::driver`] (the seam to the kernel), [`worker`] (the loop), [`update`]
//! (how a change reaches it), [`control`] (where changes come from), [`process`] (how it all starts and ends).

pub mod access;
pub mod balance;
pub mod bounds;
pub mod breaker;
pub mod buffers;
pub mod cli;
pub mod config;
pub mod control;
pub mod error;
pub mod health;
pub mod id;
pub mod limits;
pub mod metrics;
pub mod plan;
pub mod process;
pub mod ring;
pub mod session;
pub mod standing;
pub mod sys;
pub mod time;
pub mod timer;
pub mod update;
pub mod view;
pub mod worker;
