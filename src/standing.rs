//! Who wins: whether an endpoint may be picked, of what its operator, its breaker and its probes say,
//! and which endpoints a cluster picks then.
//!
//! Strongest first: the operator (disabled, draining, weight 0), the breaker, the probes. What is
//! not known yet does not count against an endpoint.
#![forbid(unsafe_code)]

use serde::Serialize;

use crate::balance::Role;
use crate::breaker::BreakerState;
use crate::health::HealthState;
use crate::plan::failure::WhenNoneHealthy;

/// What an operator wants of an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AdminState {
    /// It may be picked.
    #[default]
    Enabled,
    /// It is not picked; its sessions may end by themselves.
    Draining,
    /// It is not picked; its sessions go as the cluster says.
    Disabled,
}

impl AdminState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Enabled, Self::Draining, Self::Disabled];

    /// Its name in the interface.
    pub fn word(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Draining => "draining",
            Self::Disabled => "disabled",
        }
    }
}

/// All that is said about an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// By its operator.
    pub admin: AdminState,
    /// By its operator too: its share, 0 means never picked.
    pub weight: u32,
    /// By sessions that failed on it.
    pub breaker: BreakerState,
    /// By its probes.
    pub health: HealthState,
    /// Who tries it once it has been ejected for long enough.
    pub trial_by: TrialBy,
}

/// Who tries an endpoint that has been ejected for long enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrialBy {
    /// One session: there are no probes.
    #[default]
    Session,
    /// A probe, so that no client is risked.
    Probe,
}

/// Whether an endpoint may be picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may.
    Eligible,
    /// By one session, to see how it goes.
    Trial,
    /// It may not.
    Out(Reason),
}

/// Why an endpoint may not be picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its operator has disabled it.
    Disabled,
    /// Its operator lets its sessions end.
    Draining,
    /// Its weight is 0.
    NoWeight,
    /// Its breaker has opened.
    Ejected,
    /// Its probes fail.
    Unhealthy,
}

impl Reason {
    /// Its name in logs and in the admin interface.
    pub fn word(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Draining => "draining",
            Self::NoWeight => "weight_0",
            Self::Ejected => "ejected",
            Self::Unhealthy => "unhealthy",
        }
    }

    /// Whether it is the operator's will, which nothing overrules.
    pub fn is_of_operator(self) -> bool {
        matches!(self, Self::Disabled | Self::Draining | Self::NoWeight)
    }
}

impl Said {
    /// Whether the endpoint may be picked.
    pub fn standing(&self) -> Standing {
        match (self.admin, self.breaker, self.health) {
            (AdminState::Disabled, _, _) => Standing::Out(Reason::Disabled),
            (AdminState::Draining, _, _) => Standing::Out(Reason::Draining),
            (AdminState::Enabled, _, _) if self.weight == 0 => Standing::Out(Reason::NoWeight),
            (_, BreakerState::Open, _) => Standing::Out(Reason::Ejected),
            (_, _, HealthState::Down) => Standing::Out(Reason::Unhealthy),
            (_, BreakerState::HalfOpen, _) => match self.trial_by {
                TrialBy::Session => Standing::Trial,
                TrialBy::Probe => Standing::Out(Reason::Ejected),
            },
            (_, BreakerState::Closed, HealthState::Up | HealthState::Unknown) => Standing::Eligible,
        }
    }
}

/// An endpoint among those of its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Whether it may be picked.
    pub standing: Standing,
    /// Endpoints of a greater tier are picked only if none of a smaller one may be.
    pub tier: u32,
    /// How often it has failed since it last served, by probes and sessions together.
    pub failures: u64,
}

impl Candidate {
    fn is_allowed(&self) -> bool {
        !matches!(self.standing, Standing::Out(reason) if reason.is_of_operator())
    }
}

/// How a cluster chooses at present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Among the endpoints that may be picked.
    #[default]
    Normal,
    /// Among all of a tier, because too few of them are healthy.
    Panic,
    /// None may be picked, so those that failed least are.
    LastResort,
    /// None may be picked, and none is.
    None,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 4] = [Self::Normal, Self::Panic, Self::LastResort, Self::None];

    /// Its name in logs, metrics and the admin interface.
    pub fn word(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Panic => "panic",
            Self::LastResort => "last_resort",
            Self::None => "none",
        }
    }
}

/// What a cluster does when few or none of its endpoints may be picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// If less than so many per cent of a tier's endpoints may be picked, all are.
    pub panic_threshold_percent: u8,
    /// If none may be.
    pub when_none_healthy: WhenNoneHealthy,
}

/// Gives each endpoint its role.
///
/// Those of the smallest tier that has one which may be picked are; where none has, the rules say
/// what happens. Endpoints on trial are tried as long as no better tier is in use.
pub fn elect(candidates: &[Candidate], rules: Rules) -> (Mode, Vec<Role>) {
    let eligible = candidates
        .iter()
        .filter(|candidate| candidate.standing == Standing::Eligible);
    let in_use = eligible.map(|candidate| candidate.tier).min();
    let allowed = candidates.iter().filter(|candidate| candidate.is_allowed());
    let tier = in_use.or_else(|| allowed.map(|candidate| candidate.tier).min());
    let Some(tier) = tier else {
        return (Mode::None, vec![Role::Out; candidates.len()]);
    };
    let mode = if is_panic(candidates, tier, rules.panic_threshold_percent) {
        Mode::Panic
    } else if in_use.is_some() {
        Mode::Normal
    } else if rules.when_none_healthy == WhenNoneHealthy::TryLeastFailed {
        Mode::LastResort
    } else {
        Mode::None
    };
    let fewest = candidates
        .iter()
        .filter(|candidate| candidate.is_allowed())
        .map(|candidate| candidate.failures)
        .min();
    let role = |candidate: &Candidate| match (mode, candidate.standing) {
        (_, Standing::Out(reason)) if reason.is_of_operator() => Role::Out,
        (Mode::LastResort, _) if Some(candidate.failures) == fewest => Role::LastResort,
        (_, Standing::Trial) if in_use.is_none_or(|tier| candidate.tier <= tier) => Role::Trial,
        (Mode::Normal | Mode::Panic, Standing::Eligible) if candidate.tier == tier => Role::Active,
        (Mode::Panic, Standing::Out(Reason::Unhealthy)) if candidate.tier == tier => Role::Active,
        (Mode::Panic, Standing::Out(_)) if candidate.tier == tier => Role::LastResort,
        _ => Role::Out,
    };
    (mode, candidates.iter().map(role).collect())
}

/// Whether less than so many per cent of a tier's endpoints may be picked.
fn is_panic(candidates: &[Candidate], tier: u32, threshold_percent: u8) -> bool {
    let allowed = || {
        let of_tier = candidates.iter().filter(|one| one.tier == tier);
        of_tier.filter(|one| one.is_allowed())
    };
    let healthy = allowed().filter(|one| one.standing == Standing::Eligible);
    healthy.count() * 100 < usize::from(threshold_percent) * allowed().count()
}

#[cfg(test)]
mod tests;
