//! Every state meets every event; how long an endpoint stays out.
#![forbid(unsafe_code)]

use super::*;

const EVENTS: [BreakerEvent; 4] = [
    BreakerEvent::TooManyFailures,
    BreakerEvent::Success,
    BreakerEvent::Failure,
    BreakerEvent::Time,
];

fn at(seconds: u64) -> Instant {
    Instant::from_nanos(seconds * 1_000_000_000)
}

/// A breaker that has just come to this state, at second 100 at the earliest.
fn breaker_in(state: BreakerState) -> (Breaker, u64) {
    let plan = BreakerPlan::default();
    let mut breaker = Breaker::default();
    if state != BreakerState::Closed {
        assert!(breaker.handle(BreakerEvent::TooManyFailures, at(100), &plan));
    }
    if state == BreakerState::HalfOpen {
        assert!(breaker.handle(BreakerEvent::Time, at(130), &plan));
        return (breaker, 130);
    }
    (breaker, 100)
}

#[test]
fn transitions_are_as_committed() {
    let plan = BreakerPlan::default();
    let mut table = String::from("state x event, seconds later -> state, open for\n");
    for state in BreakerState::ALL {
        for event in EVENTS {
            for later in [0, 29, 30] {
                let (mut breaker, since) = breaker_in(state);
                let changed = breaker.handle(event, at(since + later), &plan);
                let open = match breaker.state() {
                    BreakerState::Open => {
                        format!(", {:?}", breaker.deadline() - at(since + later))
                    }
                    _ => String::new(),
                };
                let arrow = if changed { "->" } else { "  " };
                let (from, to) = (state.word(), breaker.state().word());
                table += &format!("{from:9} {event:?} +{later} {arrow} {to}{open}\n");
            }
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/breaker/transitions.txt");
    if std::env::var_os("RINGLANE_SNAPSHOT").is_some() {
        std::fs::write(path, &table).expect("the table can be written");
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(table, committed, "RINGLANE_SNAPSHOT=write accepts it");
}

#[test]
fn each_time_in_a_row_it_stays_out_twice_as_long() {
    let plan = BreakerPlan::default();
    let mut breaker = Breaker::default();
    let mut now = at(1_000);
    assert!(breaker.handle(BreakerEvent::TooManyFailures, now, &plan));
    for expected in [30, 60, 120, 240, 300, 300] {
        assert_eq!(breaker.deadline() - now, Duration::from_secs(expected));
        now = breaker.deadline();
        assert!(breaker.handle(BreakerEvent::Time, now, &plan));
        assert!(breaker.handle(BreakerEvent::Failure, now, &plan));
    }
}

#[test]
fn who_was_back_for_long_starts_anew() {
    let plan = BreakerPlan::default();
    let check = |back_for: u64, expected: u64| {
        let (mut breaker, now) = breaker_in(BreakerState::HalfOpen);
        assert!(breaker.handle(BreakerEvent::Success, at(now), &plan));
        let again = at(now + back_for);
        assert!(breaker.handle(BreakerEvent::TooManyFailures, again, &plan));
        assert_eq!(breaker.deadline() - again, Duration::from_secs(expected));
    };
    check(0, 60);
    check(29, 60);
    check(30, 30);
}

#[test]
fn an_impossible_maximum_does_no_harm() {
    let plan = BreakerPlan {
        open_max: Duration::ZERO,
        ..BreakerPlan::default()
    };
    assert_eq!(Breaker::default().open_time(&plan), plan.open);
}
