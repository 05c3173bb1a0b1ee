//! A cluster: what happens to its endpoints, and what follows for all of them.
#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::balance::endpoint::TrialState;
use crate::balance::{Candidates, Role};
use crate::breaker::{BreakerEvent, BreakerState};
use crate::control::prober::{Outcome, ProbeReport, Target};
use crate::control::roster::entry::{Entry, LastProbe};
use crate::control::roster::names::Name;
use crate::control::roster::note::{Happening, Note, Severity};
use crate::health::HealthState;
use crate::id::ClusterId;
use crate::metrics::ClusterCounters;
use crate::plan::ClusterPlan;
use crate::plan::failure::BreakerPlan;
use crate::standing::{self, Candidate, Mode, Rules, Standing};
use crate::time::Instant;
use crate::view::{ClusterView, Eviction};

/// A cluster and its endpoints.
#[derive(Debug)]
pub(super) struct Cluster {
    id: ClusterId,
    pub(super) plan: ClusterPlan,
    pub(super) entries: Vec<Entry>,
    /// The configured names, each of which stands for some of the entries.
    pub(super) names: Vec<Name>,
    pub(super) counters: Arc<ClusterCounters>,
    pub(super) mode: Mode,
    /// What workers were last given, if it still holds.
    view: Option<Arc<ClusterView>>,
    /// Something has happened since it was last settled.
    pub(super) is_touched: bool,
    /// Whether endpoints that come now are new to clients who know the cluster.
    is_running: bool,
    deadline: Instant,
    happenings: Vec<(Option<String>, Happening)>,
}

impl Cluster {
    /// A cluster without endpoints.
    pub(super) fn new(id: u32, plan: &ClusterPlan, workers: usize) -> Self {
        Self {
            id: ClusterId(id),
            plan: plan.clone(),
            entries: Vec::new(),
            names: Vec::new(),
            counters: Arc::new(ClusterCounters::new(workers)),
            mode: Mode::Normal,
            view: None,
            is_touched: true,
            is_running: false,
            deadline: Instant::NEVER,
            happenings: Vec::new(),
        }
    }

    /// Whether its endpoints are probed.
    pub(super) fn is_probed(&self) -> bool {
        self.plan.health.is_some()
    }

    /// Takes note of something to tell of a thing of this name.
    pub(super) fn tell(&mut self, subject: &str, happening: Happening) {
        self.happenings.push((Some(subject.to_string()), happening));
        self.is_touched = true;
    }

    /// Takes an endpoint in. One that comes while clients are served gets its share step by step.
    pub(super) fn admit(&mut self, mut entry: Entry, now: Instant) {
        if self.is_running && self.plan.slow_start.is_some() {
            entry.ramp = Some(now);
        }
        self.entries.push(entry);
        self.is_touched = true;
    }

    pub(super) fn handle_probe(&mut self, position: usize, report: ProbeReport) {
        let Some(plan) = &self.plan.health else {
            return;
        };
        let entry = &mut self.entries[position];
        let before = entry.health;
        entry.health = report.state;
        entry.probe_failures = report.failures;
        let detail = report.outcome.detail().to_string();
        let event = match report.outcome {
            Outcome::Success(_) => Some(BreakerEvent::Success),
            Outcome::Failure(_) => Some(BreakerEvent::Failure),
            Outcome::Late(_) => None,
        };
        let is_half_open = entry.breaker.state() == BreakerState::HalfOpen;
        if let (Some(event), Some(plan), true) = (event, &self.plan.breaker, is_half_open) {
            let why = format!("a probe found: {detail}");
            let now = report.ended;
            self.is_touched |= drive(entry, event, now, plan, why, &mut self.happenings);
        }
        let name = entry.endpoint.name.clone();
        let happening = match (before, report.state) {
            (before, now) if before == now => None,
            (_, HealthState::Down) if before == HealthState::Unknown => {
                Some(Happening::warning("down", detail.clone()))
            }
            (_, HealthState::Down) => {
                let why = format!("{detail} ({} times in a row)", plan.fall);
                Some(Happening::warning("down", why))
            }
            (HealthState::Unknown, HealthState::Up) => Some(Happening::news("up", detail.clone())),
            (_, HealthState::Up) => {
                let why = format!("{detail} ({} times in a row)", plan.rise);
                Some(Happening::news("up", why))
            }
            (_, HealthState::Unknown) => None,
        };
        self.is_touched |= happening.is_some() || self.mode == Mode::LastResort;
        if let Some(happening) = happening {
            let took = Some(report.took);
            self.happenings
                .push((Some(name), Happening { took, ..happening }));
        }
        entry.last_probe = Some(LastProbe {
            is_success: report.outcome.is_success(),
            detail,
            took: report.took,
            ended: report.ended,
        });
    }

    /// Looks at the words that workers have left about an endpoint.
    pub(super) fn look_at(&mut self, position: usize, now: Instant) {
        self.is_touched |= self.mode == Mode::LastResort;
        let Some(plan) = self.plan.breaker else {
            return;
        };
        let failures = self.entries[position].endpoint.failures();
        // Whether the cluster can spare it takes a look at all others: only for those that fail.
        let is_to_go = failures >= plan.failure_threshold && self.can_spare(position);
        let entry = &mut self.entries[position];
        let (event, why) = match entry.endpoint.trial() {
            TrialState::Succeeded => {
                entry.endpoint.clear_trial();
                (BreakerEvent::Success, "a session was served".to_string())
            }
            TrialState::Failed => {
                entry.endpoint.clear_trial();
                (BreakerEvent::Failure, "the trial failed".to_string())
            }
            TrialState::None | TrialState::Open if is_to_go => {
                let why = format!("sessions in a row that failed on it: {failures}");
                (BreakerEvent::TooManyFailures, why)
            }
            TrialState::None | TrialState::Open => return,
        };
        self.is_touched |= drive(entry, event, now, &plan, why, &mut self.happenings);
    }

    /// Whether an endpoint may be ejected: never the only one, and so many of a tier at a time, or as
    /// many as fail if a later tier can serve.
    fn can_spare(&self, position: usize) -> bool {
        let percent = self.plan.breaker.map_or(0, |plan| plan.max_ejected_percent);
        let tier = self.entries[position].tier();
        let allowed = || self.entries.iter().filter(|entry| entry.is_allowed());
        let beside = || allowed().filter(|entry| entry.tier() == tier);
        let ejected = beside().filter(|entry| entry.breaker.state() != BreakerState::Closed);
        let is_few = (ejected.count() + 1) * 100 <= beside().count() * usize::from(percent);
        let mut later = allowed().filter(|entry| entry.tier() > tier);
        let is_backed = later.any(|entry| entry.standing == Standing::Eligible);
        allowed().count() > 1 && (is_few || is_backed)
    }

    /// When there is something to do even if nothing happens.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Draws the conclusions. Returns whether workers have to be told.
    pub(super) fn settle(&mut self, now: Instant, notes: &mut Vec<Note>) -> bool {
        if !self.is_touched && now < self.deadline {
            return false;
        }
        self.is_touched = false;
        self.open_for_trial(now);
        let mut is_changed = self.settle_standings(now);
        let candidates: Vec<Candidate> = self.entries.iter().map(Entry::candidate).collect();
        let (mode, roles) = standing::elect(&candidates, self.rules());
        for (entry, role) in self.entries.iter_mut().zip(roles) {
            entry.role = role;
        }
        if mode != self.mode {
            self.tell_mode(mode);
            self.mode = mode;
        }
        is_changed |= self.settle_view(now);
        let well = self
            .entries
            .iter()
            .filter(|entry| self.is_picked(entry) && entry.standing == Standing::Eligible);
        let (eligible, endpoints) = (well.count(), self.entries.len());
        notes.extend(self.happenings.drain(..).map(|(subject, happening)| Note {
            cluster: self.plan.name.clone(),
            subject,
            happening,
            eligible,
            endpoints,
        }));
        self.is_running = true;
        is_changed
    }

    /// Whether sessions pick an endpoint.
    pub(super) fn is_picked(&self, entry: &Entry) -> bool {
        matches!(entry.role, Role::Active | Role::LastResort)
    }

    /// How many endpoints sessions pick.
    pub(super) fn eligible_count(&self) -> usize {
        let picked = self.entries.iter().filter(|entry| self.is_picked(entry));
        picked.count()
    }

    /// Moves on those that have been ejected for long enough.
    fn open_for_trial(&mut self, now: Instant) {
        let Some(plan) = self.plan.breaker else {
            return;
        };
        for entry in &mut self.entries {
            if entry.breaker.deadline() <= now {
                let why = "it has been out for long enough".to_string();
                let event = BreakerEvent::Time;
                drive(entry, event, now, &plan, why, &mut self.happenings);
                if self.plan.health.is_none() {
                    entry.endpoint.grant_trial();
                }
            }
        }
    }

    /// Finds out what each endpoint's standing is. Returns whether sessions have to end, or need
    /// no longer.
    fn settle_standings(&mut self, now: Instant) -> bool {
        let mut is_changed = false;
        let mut deadline = Instant::NEVER;
        for entry in &mut self.entries {
            let standing = entry.said(&self.plan).standing();
            let is_back = standing == Standing::Eligible && entry.standing != standing;
            if is_back && self.is_running && self.plan.slow_start.is_some() {
                entry.ramp = Some(now);
            }
            entry.standing = standing;
            is_changed |= entry.settle_eviction(&self.plan, now);
            deadline = deadline
                .min(entry.breaker.deadline())
                .min(entry.next_step(self.plan.slow_start, now));
        }
        self.deadline = deadline;
        is_changed
    }

    fn rules(&self) -> Rules {
        Rules {
            panic_threshold_percent: self.plan.panic_threshold_percent,
            when_none_healthy: self.plan.when_none_healthy(),
        }
    }

    fn tell_mode(&mut self, mode: Mode) {
        let happening = match mode {
            Mode::Normal => Happening::news("normal", "enough endpoints may be picked again"),
            Mode::Panic => Happening::warning(
                "panic",
                format!(
                    "less than {} % of the endpoints are healthy, so health is not looked at",
                    self.plan.panic_threshold_percent
                ),
            ),
            Mode::LastResort => Happening::warning(
                "last resort",
                "no endpoint may be picked; clients get those that failed least",
            ),
            Mode::None => Happening {
                severity: Severity::Outage,
                ..Happening::warning("outage", "no endpoint may be picked; clients are refused")
            },
        };
        self.happenings.push((None, happening));
    }

    /// Makes the view anew if it no longer holds. Returns whether that is so.
    fn settle_view(&mut self, now: Instant) -> bool {
        let slow_start = self.plan.slow_start;
        let entries = self.entries.iter();
        let members: Vec<_> = entries.map(|entry| entry.member(slow_start, now)).collect();
        let is_same = self.view.as_ref().is_some_and(|view| {
            let old = view.candidates.members();
            old.len() == members.len()
                && old.iter().zip(&members).all(|(old, new)| {
                    Arc::ptr_eq(&old.endpoint, &new.endpoint)
                        && (old.weight, old.max_connections, old.role)
                            == (new.weight, new.max_connections, new.role)
                })
        });
        if !is_same {
            self.view = Some(Arc::new(self.make_view(Candidates::new(members))));
        }
        !is_same
    }

    fn make_view(&self, candidates: Candidates) -> ClusterView {
        ClusterView {
            id: self.id,
            name: self.plan.name.clone(),
            policy: self.plan.policy,
            candidates,
            connect: self.plan.options.clone(),
            send_proxy: self.plan.send_proxy.clone(),
            failure_threshold: self.plan.breaker.map(|plan| plan.failure_threshold),
            counters: Some(Arc::clone(&self.counters)),
        }
    }

    /// What workers are to know of it.
    pub(super) fn view(&mut self) -> Arc<ClusterView> {
        match &self.view {
            Some(view) => Arc::clone(view),
            // Never settled: it has no endpoint that may be picked.
            None => Arc::new(self.make_view(Candidates::new(Vec::new()))),
        }
    }

    /// Its endpoints as they are to be probed; none if they are not.
    pub(super) fn targets(&self) -> Vec<Target> {
        let Some(health) = &self.plan.health else {
            return Vec::new();
        };
        let (plan, connect) = (
            Arc::new(health.clone()),
            Arc::new(self.plan.options.clone()),
        );
        let send_proxy = self.plan.send_proxy.as_ref().map(|proxy| proxy.version);
        let entries = self.entries.iter();
        let target = |entry: &Entry| Target {
            id: entry.endpoint.id,
            address: entry.endpoint.address.clone(),
            plan: Arc::clone(&plan),
            place: entry.place,
            connect: Arc::clone(&connect),
            send_proxy,
        };
        entries.map(target).collect()
    }

    /// The endpoints whose sessions have to end.
    pub(super) fn evictions(&self) -> impl Iterator<Item = Eviction> {
        self.entries.iter().filter_map(|entry| entry.eviction)
    }
}

/// Tells a breaker what has happened, and people what comes of it. Returns whether it says
/// something else now.
fn drive(
    entry: &mut Entry,
    event: BreakerEvent,
    now: Instant,
    plan: &BreakerPlan,
    why: String,
    happenings: &mut Vec<(Option<String>, Happening)>,
) -> bool {
    if !entry.breaker.handle(event, now, plan) {
        return false;
    }
    let happening = match entry.breaker.state() {
        BreakerState::Open => {
            entry.endpoint.clear_trial();
            let time = entry.breaker.open_time(plan);
            Happening::warning("ejected", format!("{why}; for {time:?}"))
        }
        BreakerState::HalfOpen => Happening::news("on trial", why),
        BreakerState::Closed => {
            entry.endpoint.count_success();
            Happening::news("readmitted", why)
        }
    };
    let name = entry.endpoint.name.clone();
    happenings.push((Some(name), happening));
    true
}
