//! Control: holds the truth and tells the workers. It never touches a byte of traffic.
//!
//! ```text
//!   process --- Order --->  +---------+  --- View, Command ---> workers
//!           <-- News ----   | control |  <-- Event -----------
//!   admin  --- Request ---> | (desk)  |  --- targets ---------> prober
//!           <-- Answer ---- +---------+  <-- reports ---------
//!                              ^  names: looked up by tasks of the same thread
//! ```
//! Control is a thread with a monoio runtime. All that it knows is the [`roster`], which has no I/O;
//! the [`desk`] is the one task that touches it. Everybody else sends messages, and rings a bell
//! where the message goes through a channel that monoio cannot wait for.
//!
//! Workers go on without it: what it tells them are views, and the last one holds.
#![forbid(unsafe_code)]

pub mod admin;
pub mod desk;
pub mod discovery;
pub mod exposition;
pub mod prober;
pub mod publisher;
pub mod request;
pub mod roster;
mod watch;

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::balance::endpoint::Endpoint;
use crate::bounds::{CONTROL_RING_ENTRIES, NEWS_MAX, ORDERS_MAX};
use crate::error::Errno;
use crate::id::WorkerIndex;
use crate::limits::Limit;
use crate::metrics::WorkerCounters;
use crate::plan::Plan;
use crate::plan::admin::AdminPlan;
use crate::plan::place::Bind;
use crate::time::Instant;
use crate::update::Bell;
use admin::AdminListener;
use desk::Desk;
use publisher::Publisher;

/// What control starts with.
pub struct Setup {
    /// What is to be run.
    pub plan: Plan,
    /// The workers.
    pub publisher: Publisher,
    /// What wakes control, as workers have it.
    pub bell: Bell,
    /// What it hears of the bell.
    pub rung: UnixStream,
    /// What each worker counts.
    pub counters: Vec<Arc<WorkerCounters>>,
    /// The sessions that the process may have.
    pub session_limit: Arc<Limit>,
    /// The admin interface, if there is one.
    pub admin: Option<AdminSetup>,
    /// What else there is to tell of the process.
    pub surroundings: Surroundings,
}

/// What control tells of the process without having to do with it.
#[derive(Debug)]
pub struct Surroundings {
    /// For each listener of the plan the places where it is bound, with real ports.
    pub binds: Vec<Vec<Bind>>,
    /// What is used of the kernel.
    pub features: String,
    /// Lines of the log that were lost.
    pub log_lines_dropped: Arc<AtomicU64>,
    /// Records that are not in the access log, if there is one.
    pub access_records_dropped: Arc<AtomicU64>,
}

/// What the admin interface starts with.
pub struct AdminSetup {
    /// Where it accepts.
    pub listener: AdminListener,
    /// Who may do what.
    pub plan: AdminPlan,
    /// The bearer token, if there is one.
    pub token: Option<String>,
}

/// An order from the process.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    /// Let sessions end until then, and reset the rest.
    Drain {
        /// When what is left is reset.
        deadline: Instant,
    },
    /// Reset every session now.
    Stop,
}

/// News for the process.
#[derive(Debug)]
pub enum News {
    /// Every worker accepts, or is said not to.
    Serving {
        /// The endpoints that there are.
        endpoints: Vec<Arc<Endpoint>>,
    },
    /// A worker's ring has failed; all others have been told to stop.
    WorkerFailed {
        /// Which worker.
        worker: WorkerIndex,
        /// What its driver failed of.
        errno: Errno,
    },
    /// Every worker has ended, and so has control.
    Ended,
}

/// The process's side of control.
#[derive(Debug)]
pub struct Control {
    orders: Sender<Order>,
    bell: Bell,
    news: Receiver<News>,
    thread: Option<JoinHandle<()>>,
}

/// Makes the bell that wakes control, and what hears it.
///
/// Errors: EMFILE and its kin.
pub fn bell() -> io::Result<(Bell, UnixStream)> {
    let (hammer, rung) = UnixStream::pair()?;
    hammer.set_nonblocking(true)?;
    rung.set_nonblocking(true)?;
    let ring = move || {
        // The only error is a full buffer, when it has been rung and not heard many times.
        let _heard_later = (&hammer).write(&[1]);
    };
    Ok((Bell::new(ring), rung))
}

impl Control {
    /// Starts the thread. It first looks names up, for a while, then gives workers their first
    /// view and says [`News::Serving`].
    ///
    /// Errors: the kernel's, if there can be no thread or no runtime for it.
    pub fn start(setup: Setup) -> io::Result<Self> {
        let (order_sender, orders) = bounded(ORDERS_MAX);
        let (news_sender, news) = bounded(NEWS_MAX);
        let (ready_sender, ready) = bounded(1);
        let bell = setup.bell.clone();
        let thread = std::thread::Builder::new()
            .name("control".to_string())
            .spawn(move || {
                let mut runtime = match runtime(CONTROL_RING_ENTRIES) {
                    Ok(runtime) => runtime,
                    Err(error) => {
                        let _nobody_waits = ready_sender.send(Err(error));
                        return;
                    }
                };
                runtime.block_on(async move {
                    match Desk::new(setup, orders, news_sender) {
                        Ok(desk) => {
                            let _nobody_waits = ready_sender.send(Ok(()));
                            desk.run().await;
                        }
                        Err(error) => {
                            let _nobody_waits = ready_sender.send(Err(error));
                        }
                    }
                });
            })?;
        let gone = || Err(io::Error::from(io::ErrorKind::BrokenPipe));
        ready.recv().unwrap_or_else(|_| gone())?;
        Ok(Self {
            orders: order_sender,
            bell,
            news,
            thread: Some(thread),
        })
    }

    /// Gives an order. Control that has ended needs none.
    pub fn order(&self, order: Order) {
        let _ended_or_flooded = self.orders.try_send(order);
        self.bell.ring();
    }

    /// What control has to say. After [`News::Ended`] it is silent.
    pub fn news(&self) -> &Receiver<News> {
        &self.news
    }

    /// Waits for its thread, after [`News::Ended`].
    pub fn join(&mut self) {
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("control has panicked");
        }
    }
}

/// A runtime of monoio: io_uring, or epoll where that is forbidden.
///
/// Errors: the kernel's.
pub fn runtime(entries: u32) -> io::Result<Runtime> {
    monoio::RuntimeBuilder::<monoio::FusionDriver>::new()
        .with_entries(entries)
        .enable_timer()
        .build()
}

/// What control and the prober run on.
pub type Runtime = monoio::FusionRuntime<
    monoio::time::TimeDriver<monoio::IoUringDriver>,
    monoio::time::TimeDriver<monoio::LegacyDriver>,
>;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::time::Duration;

    #[test]
    fn nothing_is_left_in_front_of_control() {
        // Whatever was left before the bell was last rung is found after it was heard, so one ring
        // that is lost ends this test by the timeout.
        const THINGS: u32 = 50_000;
        let (bell, mut rung) = bell().expect("a pair of sockets");
        rung.set_nonblocking(false).expect("a socket");
        rung.set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a socket");
        let (sender, receiver) = crossbeam_channel::unbounded();
        let hammer = bell.clone();
        let ringer = std::thread::spawn(move || {
            for thing in 0..THINGS {
                assert!(sender.send(thing).is_ok());
                hammer.ring();
            }
        });
        let mut found = 0;
        let mut heard = [0; 64];
        while found < THINGS {
            assert!(rung.read(&mut heard).is_ok_and(|bytes| bytes > 0));
            bell.quiet();
            found += receiver.try_iter().count() as u32;
        }
        assert!(ringer.join().is_ok());
    }
}
