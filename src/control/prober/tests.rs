//! The prober over real sockets: endpoints of every kind, good and bad.
//!
//! `MONOIO_FORCE_LEGACY_DRIVER=1 cargo test --lib prober` runs it on epoll.
#![forbid(unsafe_code)]

mod kinds;
mod sets;
mod site;

use std::time::Duration;

use super::*;
use crate::plan::health::Check;
use crate::plan::health::{HttpCheck, SendExpect};

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A plan with short times. What is found out by a timeout takes a fifth of a second.
fn plan(check: Check) -> HealthPlan {
    HealthPlan {
        interval: Duration::from_millis(30),
        fast_interval: Duration::from_millis(30),
        timeout: Duration::from_millis(200),
        ..HealthPlan::of(check)
    }
}

fn target(id: u32, address: Address, plan: HealthPlan) -> Target {
    Target {
        id: EndpointId(id),
        address,
        plan: Arc::new(plan),
        place: ProbePlace::default(),
        connect: Arc::default(),
        send_proxy: None,
    }
}

fn http(change: impl FnOnce(&mut HttpCheck)) -> Check {
    let mut check = HttpCheck::default();
    change(&mut check);
    Check::Http(check)
}

fn send_expect(send: &str, expect: &str) -> Check {
    Check::SendExpect(SendExpect {
        send: send.into(),
        expect: expect.into(),
    })
}

/// A prober and what it reports.
struct Scene {
    prober: Prober,
    reports: Receiver<ProbeReport>,
}

impl Scene {
    fn start() -> Self {
        Self::with_bell(Bell::silent())
    }

    fn with_bell(bell: Bell) -> Self {
        let (prober, reports) = Prober::start(bell).expect("a thread can be had");
        Self { prober, reports }
    }

    fn watching(targets: Vec<Target>) -> Self {
        let scene = Self::start();
        scene.prober.watch(targets);
        scene
    }

    fn next(&self) -> ProbeReport {
        self.reports.recv_timeout(PATIENCE).expect("a report")
    }

    /// The next report that fits.
    fn next_where(&self, fits: impl Fn(&ProbeReport) -> bool) -> ProbeReport {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let report = self.reports.recv_deadline(deadline).expect("a report");
            if fits(&report) {
                return report;
            }
        }
    }

    /// The next result that counts. On a busy machine one may be late now and then.
    fn next_that_counts(&self) -> ProbeReport {
        self.next_where(|report| !matches!(report.outcome, Outcome::Late(_)))
    }
}

/// What one target's first result that counts is.
fn outcome(target: Target) -> Outcome {
    let scene = Scene::watching(vec![target]);
    let outcome = scene.next_that_counts().outcome;
    scene.prober.stop();
    outcome
}

fn success(detail: &'static str) -> Outcome {
    Outcome::Success(detail.into())
}

fn failure(detail: &'static str) -> Outcome {
    Outcome::Failure(detail.into())
}
