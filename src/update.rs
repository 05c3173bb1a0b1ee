//! What control and a worker say to each other, and how a sleeping worker hears of it.
//!
//! ```text
//!   control                                             worker
//!   Post::publish -- views, one slot, newest wins -->   Inbox::take_view
//!   Post::try_command -- commands, bounded -------->    Inbox::take_command
//!   Receiver<Event>  <-- events, bounded -----------    Inbox::report, and Bell::ring
//! ```
//!
//! A worker blocks in one place, its driver's wait. Before it goes there it says so (`asleep`) and
//! looks once more; whoever leaves something looks at that word afterwards. With sequentially
//! consistent fences between the two steps on both sides, at least one of them sees the other, so
//! nothing is left lying in front of a sleeping worker, and a worker that is awake costs no wake-up.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded};

use crate::bounds::{COMMANDS_MAX, EVENTS_MAX};
use crate::error::Errno;
use crate::id::{EndpointId, Epoch, WorkerIndex};
use crate::time::Instant;
use crate::view::View;

/// An order to a worker.
#[derive(Debug)]
pub enum Command {
    /// Accept what already waits, close the listeners, let sessions end until then, reset the rest.
    Drain {
        /// When what is left is reset.
        deadline: Instant,
    },
    /// Reset every session now.
    Stop,
}

/// News from a worker.
#[derive(Debug)]
pub enum Event {
    /// An endpoint's shared words ask for control: it has failed often, or a trial has ended.
    Failing {
        /// Which endpoint.
        endpoint: EndpointId,
    },
    /// The worker acts by the view of this epoch; the one before comes back to be freed.
    Acknowledged {
        /// Which worker.
        worker: WorkerIndex,
        /// Which view.
        epoch: Epoch,
        /// The view that it replaces.
        retired: Option<Arc<View>>,
    },
    /// The worker has ended: every session is over and every socket closed.
    Stopped {
        /// Which worker.
        worker: WorkerIndex,
        /// What its driver failed of, if that is why.
        failure: Option<Errno>,
    },
}

/// Whether the addressee must be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Wake {
    /// It is asleep, or about to be: write its eventfd.
    Needed,
    /// It will look by itself.
    Awake,
}

/// What wakes control: a word that says whether it has been rung, and how to ring it.
///
/// Control waits for other things than channels, so whoever leaves something for it rings. Between
/// two looks of control it is rung once, however much is left.
#[derive(Clone)]
pub struct Bell {
    rung: Arc<AtomicBool>,
    ring: Arc<dyn Fn() + Send + Sync>,
}

impl Bell {
    /// Makes a bell that calls `ring`, on the thread of whoever rings.
    pub fn new(ring: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            rung: Arc::default(),
            ring: Arc::new(ring),
        }
    }

    /// A bell that nobody hears, for who looks by himself.
    pub fn silent() -> Self {
        Self::new(|| {})
    }

    /// To be called after something was left.
    ///
    /// Cost: an atomic exchange, and a system call if control has looked since the last time.
    pub fn ring(&self) {
        if !self.rung.swap(true, Ordering::SeqCst) {
            (self.ring)();
        }
    }

    /// To be called before looking at what was left.
    pub fn quiet(&self) {
        self.rung.store(false, Ordering::SeqCst);
    }
}

impl fmt::Debug for Bell {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Bell").finish_non_exhaustive()
    }
}

/// Makes the two ends of the channels between control and one worker.
pub fn channel(worker: WorkerIndex, events: Sender<Event>, bell: Bell) -> (Post, Inbox) {
    let (view_sender, views) = bounded(1);
    let (command_sender, commands) = bounded(COMMANDS_MAX);
    let asleep = Arc::new(Asleep::default());
    let post = Post {
        view_sender,
        unread_views: views.clone(),
        command_sender,
        asleep: Arc::clone(&asleep),
    };
    (
        post,
        Inbox {
            worker,
            views,
            commands,
            asleep,
            events,
            bell,
            unreported: None,
        },
    )
}

/// Makes the channel that all workers report by.
pub fn events() -> (Sender<Event>, Receiver<Event>) {
    bounded(EVENTS_MAX)
}

/// Control's end.
#[derive(Debug)]
pub struct Post {
    view_sender: Sender<Arc<View>>,
    /// The mailbox's other end: an unread view is taken back before a newer one goes in.
    unread_views: Receiver<Arc<View>>,
    command_sender: Sender<Command>,
    asleep: Arc<Asleep>,
}

impl Post {
    /// Asks the worker to show that it works: wakes it if it sleeps.
    pub fn nudge(&self) -> Wake {
        self.asleep.look()
    }

    /// Puts a view into the mailbox, in place of one that was not read yet. There is one publisher.
    pub fn publish(&self, view: Arc<View>) -> Wake {
        let mut view = view;
        while let Err(TrySendError::Full(unsent)) = self.view_sender.try_send(view) {
            // Superseded unread, or read in the meantime; either way there is room now.
            let _superseded = self.unread_views.try_recv();
            view = unsent;
        }
        self.asleep.look()
    }

    /// Gives a command.
    ///
    /// Errors: the command, if too many wait already or the worker has ended.
    pub fn try_command(&self, command: Command) -> Result<Wake, Command> {
        match self.command_sender.try_send(command) {
            Ok(()) => Ok(self.asleep.look()),
            Err(TrySendError::Full(command) | TrySendError::Disconnected(command)) => Err(command),
        }
    }
}

/// A worker's end.
#[derive(Debug)]
pub struct Inbox {
    worker: WorkerIndex,
    views: Receiver<Arc<View>>,
    commands: Receiver<Command>,
    asleep: Arc<Asleep>,
    events: Sender<Event>,
    bell: Bell,
    /// An event for which the channel had no room; a newer one takes its place.
    unreported: Option<Event>,
}

impl Inbox {
    /// The worker that this is the inbox of.
    pub fn worker(&self) -> WorkerIndex {
        self.worker
    }

    /// The newest view, if there is one that was not taken.
    pub fn take_view(&self) -> Option<Arc<View>> {
        self.views.try_recv().ok()
    }

    /// The next command. Control being gone is an order to stop.
    pub fn take_command(&self) -> Option<Command> {
        match self.commands.try_recv() {
            Ok(command) => Some(command),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Command::Stop),
        }
    }

    /// Tells control something; if control does not keep up, tries again at
    /// [`retry_report`](Self::retry_report).
    pub fn report(&mut self, event: Event) {
        self.unreported = Some(event);
        self.retry_report();
    }

    /// Tries again to tell what could not be told.
    pub fn retry_report(&mut self) {
        let Some(event) = self.unreported.take() else {
            return;
        };
        match self.events.try_send(event) {
            Ok(()) => self.bell.ring(),
            Err(TrySendError::Full(event)) => self.unreported = Some(event),
            Err(TrySendError::Disconnected(_)) => {}
        }
    }

    /// Asks control to look at an endpoint's words. `false` if there is no room for that: control
    /// looks sooner or later without being asked.
    #[must_use]
    pub fn ask_to_look(&self, endpoint: EndpointId) -> bool {
        let is_asked = self.events.try_send(Event::Failing { endpoint }).is_ok();
        self.bell.ring();
        is_asked
    }

    /// Says that the worker is about to sleep; `false` if it must not, because something is there.
    pub fn prepare_sleep(&self) -> bool {
        self.asleep.announce();
        let may_sleep = self.views.is_empty() && self.commands.is_empty();
        if !may_sleep {
            self.asleep.withdraw();
        }
        may_sleep
    }

    /// Says that the worker is awake.
    pub fn awake(&self) {
        self.asleep.withdraw();
    }
}

/// The word that says whether a worker sleeps, alone in its cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Asleep(AtomicBool);

impl Asleep {
    fn announce(&self) {
        self.0.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    fn withdraw(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// To be called after something was left. The first who looks takes the duty to wake.
    fn look(&self) -> Wake {
        fence(Ordering::SeqCst);
        if self.0.load(Ordering::SeqCst) && self.0.swap(false, Ordering::SeqCst) {
            Wake::Needed
        } else {
            Wake::Awake
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(epoch: u64) -> Arc<View> {
        Arc::new(View {
            epoch: Epoch(epoch),
            listeners: Vec::new(),
            clusters: Vec::new(),
            evictions: Vec::new(),
        })
    }

    #[test]
    fn the_newest_view_wins() {
        let (events, _receiver) = events();
        let (post, inbox) = channel(WorkerIndex(0), events, Bell::silent());
        for epoch in 1..=3 {
            assert_eq!(post.publish(view(epoch)), Wake::Awake);
        }
        assert_eq!(inbox.take_view().map(|view| view.epoch), Some(Epoch(3)));
        assert!(inbox.take_view().is_none());
    }

    #[test]
    fn a_full_command_queue_is_an_answer() {
        let (events, _receiver) = events();
        let (post, inbox) = channel(WorkerIndex(0), events, Bell::silent());
        for _ in 0..COMMANDS_MAX {
            assert!(post.try_command(Command::Stop).is_ok());
        }
        assert!(post.try_command(Command::Stop).is_err());
        assert!(inbox.take_command().is_some());
        assert!(post.try_command(Command::Stop).is_ok());
    }

    #[test]
    fn a_sleeping_worker_is_woken_once() {
        let (events, _receiver) = events();
        let (post, inbox) = channel(WorkerIndex(0), events, Bell::silent());
        assert!(inbox.prepare_sleep());
        assert_eq!(post.publish(view(1)), Wake::Needed);
        assert_eq!(post.publish(view(2)), Wake::Awake);
        inbox.awake();
        assert!(!inbox.prepare_sleep(), "there is a view to take first");
        assert!(inbox.take_view().is_some());
        assert!(inbox.prepare_sleep());
    }

    #[test]
    fn control_gone_is_an_order_to_stop() {
        let (events, _receiver) = events();
        let (post, inbox) = channel(WorkerIndex(0), events, Bell::silent());
        drop(post);
        assert!(matches!(inbox.take_command(), Some(Command::Stop)));
    }

    #[test]
    fn nothing_is_left_in_front_of_a_sleeper() {
        // The real words under real threads: the worker sleeps on a channel of its own that only
        // a needed wake-up writes, so one lost wake-up hangs this test.
        let (events, _receiver) = events();
        let (post, inbox) = channel(WorkerIndex(0), events, Bell::silent());
        let (wake_sender, wakes) = bounded::<()>(1);
        const VIEWS: u64 = 20_000;
        let worker = std::thread::spawn(move || {
            let mut last = 0;
            while last < VIEWS {
                if inbox.prepare_sleep() {
                    let _woken = wakes.recv();
                }
                inbox.awake();
                while let Some(view) = inbox.take_view() {
                    assert!(view.epoch.0 > last);
                    last = view.epoch.0;
                }
            }
        });
        for epoch in 1..=VIEWS {
            if post.publish(view(epoch)) == Wake::Needed {
                let _full = wake_sender.try_send(());
            }
        }
        assert!(worker.join().is_ok());
    }
}
