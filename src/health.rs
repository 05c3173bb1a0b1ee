//! What is concluded from an endpoint's probes.
//!
//! ```text
//!                 a success            `fall` failures in a row
//!   Unknown ------------------->  Up  --------------------------->  Down
//!      |                           ^                                 | ^
//!      |                           +---- `rise` successes in a row --+ |
//!      +---------------------- a failure ------------------------------+
//! ```
//!
//! A probe whose result came late says something about this host, not about the endpoint: it is
//! ignored altogether, and does not end a row either.
#![forbid(unsafe_code)]

#[cfg(test)]
mod tests;

/// What an endpoint's probes say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HealthState {
    /// No probe has ended yet.
    #[default]
    Unknown,
    /// It answers.
    Up,
    /// It does not.
    Down,
}

impl HealthState {
    /// The state as one word, for logs and statistics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// What is concluded so far, and how many results in a row speak for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Health {
    state: HealthState,
    /// In a row, up to the last result that counted.
    successes: u32,
    /// Likewise; one of the two is 0.
    failures: u32,
    rise: u32,
    fall: u32,
}

impl Health {
    /// Begins with nothing known. Less than one result in a row never changes anything, so 0 is
    /// taken as 1.
    pub fn new(rise: u32, fall: u32) -> Self {
        Self {
            state: HealthState::Unknown,
            successes: 0,
            failures: 0,
            rise: rise.max(1),
            fall: fall.max(1),
        }
    }

    /// Takes in that a probe succeeded. Returns whether the state changed.
    pub fn handle_success(&mut self) -> bool {
        self.failures = 0;
        self.successes = self.successes.saturating_add(1);
        let is_enough = match self.state {
            HealthState::Unknown => true,
            HealthState::Up => false,
            HealthState::Down => self.successes >= self.rise,
        };
        if is_enough {
            self.state = HealthState::Up;
        }
        is_enough
    }

    /// Takes in that a probe failed. Returns whether the state changed.
    pub fn handle_failure(&mut self) -> bool {
        self.successes = 0;
        self.failures = self.failures.saturating_add(1);
        let is_enough = match self.state {
            HealthState::Unknown => true,
            HealthState::Up => self.failures >= self.fall,
            HealthState::Down => false,
        };
        if is_enough {
            self.state = HealthState::Down;
        }
        is_enough
    }

    /// Takes in that a probe's result came too late to count. Returns whether the state changed,
    /// which it never does.
    pub fn handle_late(&mut self) -> bool {
        false
    }

    /// What is concluded.
    pub fn state(&self) -> HealthState {
        self.state
    }

    /// The failures in a row up to the last result that counted.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether the last result was otherwise than the state, or nothing is known yet: then it is
    /// worth asking sooner.
    pub fn is_changing(&self) -> bool {
        match self.state {
            HealthState::Unknown => true,
            HealthState::Up => self.failures > 0,
            HealthState::Down => self.successes > 0,
        }
    }
}
