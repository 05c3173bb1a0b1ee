//! What is concluded from an endpoint's probes.
#![forbid(unsafe_code)]

/// What an endpoint's probes say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HealthState {
    /// No probe has ended yet.
    #[default]
    Unknown,
    /// It answers.
    Up,
    /// It does not.
    Down,
}
