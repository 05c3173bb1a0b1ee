//! Watching a name: looking it up again as often as its time to live says.
#![forbid(unsafe_code)]

use std::future::poll_fn;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_channel::mpsc::Sender;

use super::{Found, LookupError, Resolver};
use crate::bounds::{LOOKUP_PAUSE_MAX, LOOKUP_PAUSE_MIN, LOOKUP_RETRY_MAX};
use crate::plan::place::Place;

/// What became of one look-up of a name that is watched.
#[derive(Debug)]
pub struct Resolution {
    /// The number that the name was given.
    pub name: usize,
    /// What was found.
    pub outcome: Result<Found, LookupError>,
    /// How long it took, the wait for its turn included.
    pub took: Duration,
}

/// Looks a name up for ever and sends what was found, until nobody receives it any more.
///
/// The next look-up comes when the time to live has passed, or up to a tenth of it sooner, so that
/// many names do not stay in step. After an error it comes after the shortest use of an answer, then
/// twice that, up to a minute.
pub async fn watch(
    resolver: Rc<Resolver>,
    name: usize,
    place: Place,
    mut news: Sender<Resolution>,
) {
    let mut retry = Retry::new(resolver.plan.min_ttl);
    let mut left_out = 0;
    loop {
        let start = Instant::now();
        let outcome = resolver.lookup(&place).await;
        let took = start.elapsed();
        let pause = match &outcome {
            Ok(found) => {
                if found.left_out > 0 && found.left_out != left_out {
                    tracing::warn!(
                        name = %place,
                        used = found.targets.len(),
                        left_out = found.left_out,
                        "the name has more addresses than are used"
                    );
                }
                left_out = found.left_out;
                retry.reset();
                found.ttl
            }
            Err(_) => retry.next(),
        };
        let resolution = Resolution {
            name,
            outcome,
            took,
        };
        let is_there = poll_fn(|context| news.poll_ready(context)).await.is_ok();
        if !is_there || news.try_send(resolution).is_err() {
            return;
        }
        monoio::time::sleep(jittered(pause)).await;
    }
}

/// How long to wait after errors.
struct Retry {
    first: Duration,
    next: Duration,
}

impl Retry {
    fn new(first: Duration) -> Self {
        Self { first, next: first }
    }

    fn reset(&mut self) {
        self.next = self.first;
    }

    fn next(&mut self) -> Duration {
        let pause = self.next;
        let longest = self.first.max(LOOKUP_RETRY_MAX);
        self.next = pause.max(LOOKUP_PAUSE_MIN).saturating_mul(2).min(longest);
        pause
    }
}

/// Takes up to a tenth off.
fn jittered(pause: Duration) -> Duration {
    let pause = pause.min(LOOKUP_PAUSE_MAX);
    let less = pause / 1000 * fastrand::u32(..=100);
    (pause - less).max(LOOKUP_PAUSE_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_tried_again_ever_later() {
        let pauses = |first: u64| {
            let mut retry = Retry::new(Duration::from_secs(first));
            [(); 6].map(|()| retry.next().as_secs())
        };
        assert_eq!(pauses(5), [5, 10, 20, 40, 60, 60]);
        assert_eq!(pauses(90), [90; 6]);
        let mut retry = Retry::new(Duration::ZERO);
        assert_eq!(retry.next(), Duration::ZERO);
        assert_eq!(retry.next(), LOOKUP_PAUSE_MIN * 2);
        retry.reset();
        assert_eq!(retry.next(), Duration::ZERO);
    }

    #[test]
    fn jitter_takes_a_tenth_at_most() {
        for seconds in [1, 60, 3600] {
            let pause = Duration::from_secs(seconds);
            let jittered: Vec<Duration> = (0..200).map(|_| jittered(pause)).collect();
            assert!(jittered.iter().all(|with| *with <= pause));
            assert!(jittered.iter().all(|with| *with >= pause * 9 / 10));
            assert!(jittered.iter().any(|with| *with != jittered[0]));
        }
        assert_eq!(jittered(Duration::ZERO), LOOKUP_PAUSE_MIN);
        assert!(jittered(Duration::MAX) <= LOOKUP_PAUSE_MAX);
    }
}
