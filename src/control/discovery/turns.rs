//! Who may look up: so many at a time, the others in the order in which they came.
//!
//! Of one thread. Memory: a pointer for each that waits.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use futures_channel::oneshot;

/// The turns there are.
#[derive(Debug)]
pub(super) struct Turns {
    free: Cell<usize>,
    /// Those who wait, the first at the front. Some may have left.
    waiting: RefCell<VecDeque<oneshot::Sender<Turn>>>,
}

/// The right to go on; others may when it is dropped.
#[derive(Debug)]
pub(super) struct Turn(Option<Rc<Turns>>);

impl Turns {
    pub(super) fn new(count: usize) -> Rc<Self> {
        Rc::new(Self {
            free: Cell::new(count),
            waiting: RefCell::new(VecDeque::new()),
        })
    }

    /// Waits for a turn.
    pub(super) async fn take(self: &Rc<Self>) -> Turn {
        loop {
            if let Some(free) = self.free.get().checked_sub(1) {
                self.free.set(free);
                return Turn(Some(Rc::clone(self)));
            }
            let (sender, receiver) = oneshot::channel();
            {
                let mut waiting = self.waiting.borrow_mut();
                // Now and then, so that many who wait cost little each.
                if waiting.len().is_power_of_two() {
                    waiting.retain(|other| !other.is_canceled());
                }
                waiting.push_back(sender);
            }
            // A sender is dropped unused only with the whole queue, so this does not go round.
            if let Ok(turn) = receiver.await {
                return turn;
            }
        }
    }

    fn pop(&self) -> Option<oneshot::Sender<Turn>> {
        self.waiting.borrow_mut().pop_front()
    }
}

impl Drop for Turn {
    /// Hands the turn on. One that is sent to somebody who leaves before looking is dropped there
    /// and handed on again.
    fn drop(&mut self) {
        let Some(turns) = self.0.take() else {
            return;
        };
        while let Some(next) = turns.pop() {
            let handed = next.send(Turn(Some(Rc::clone(&turns))));
            match handed {
                Ok(()) => return,
                Err(mut refused) => refused.0 = None,
            }
        }
        turns.free.set(turns.free.get() + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[test]
    fn turns_go_round_in_order_and_none_is_lost() {
        let turns = Turns::new(2);
        let first = turns.take().now_or_never().expect("a turn");
        let second = turns.take().now_or_never().expect("a turn");
        let mut third = Box::pin(turns.take());
        let mut fourth = Box::pin(turns.take());
        let mut fifth = Box::pin(turns.take());
        for waiting in [&mut third, &mut fourth, &mut fifth] {
            assert!(waiting.as_mut().now_or_never().is_none());
        }
        drop(first);
        assert!(fourth.as_mut().now_or_never().is_none(), "out of order");
        // The third has its turn, does not look, and leaves.
        drop(third);
        let fourth = fourth.now_or_never().expect("the turn of the third");
        assert!(fifth.as_mut().now_or_never().is_none());
        drop(fifth);
        drop((second, fourth));
        assert_eq!(turns.free.get(), 2);
        assert!(turns.waiting.borrow().is_empty());
    }

    #[test]
    fn those_who_left_are_not_kept() {
        let turns = Turns::new(0);
        for _ in 0..100 {
            assert!(turns.take().now_or_never().is_none());
        }
        assert_eq!(turns.waiting.borrow().len(), 1);
    }
}
