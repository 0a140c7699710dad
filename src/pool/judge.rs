//! Turns single probe results into a backend's health: `rise`, `fall`, and the role at once.

use crate::pool::standing::Health;

/// What one probe says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Answers as it should.
    Up,
    /// Works, in the other role.
    Standby,
    /// Works, too far behind.
    Lagging,
    /// Does not answer as it should.
    Failed,
}

/// The memory of one backend's probes. Its owner is the pool's monitor.
#[derive(Debug, Clone)]
pub struct Judge {
    rise: u32,
    fall: u32,
    health: Health,
    /// Results in a row that speak against the present health.
    streak: u32,
}

impl Judge {
    /// A judge who has seen nothing; `rise` and `fall` are at least 1.
    pub fn new(rise: u32, fall: u32) -> Self {
        Self { rise, fall, health: Health::Unknown, streak: 0 }
    }

    /// The same memory under other rules.
    pub fn set_rules(&mut self, rise: u32, fall: u32) {
        (self.rise, self.fall) = (rise, fall);
    }

    /// A judge by the same rules who has been told `health`, and after it `streak` results in a row
    /// that speak against it.
    #[must_use]
    pub fn told(&self, health: Health, streak: u32) -> Self {
        Self { health, streak, ..self.clone() }
    }

    /// Results in a row that speak against the present health.
    pub fn streak(&self) -> u32 {
        self.streak
    }

    /// The health as judged so far.
    pub fn health(&self) -> Health {
        self.health
    }

    /// The name has no address, or has one again; the next probe then decides alone.
    pub fn resolved(&mut self, has_address: bool) {
        if has_address && self.health == Health::Unresolved {
            self.health = Health::Unknown;
        } else if !has_address {
            self.health = Health::Unresolved;
        }
        self.streak = 0;
    }

    /// Takes in one result and gives the health that follows from it.
    ///
    /// The first result decides alone. Then `rise` good ones in a row bring a backend up and `fall`
    /// bad ones take it down; between healthy states every single result counts.
    pub fn observe(&mut self, verdict: Verdict) -> Health {
        let told = match verdict {
            Verdict::Up => Health::Up,
            Verdict::Standby => Health::Standby,
            Verdict::Lagging => Health::Lagging,
            Verdict::Failed => Health::Down,
        };
        if told.is_healthy() == self.health.is_healthy() && self.health != Health::Unknown {
            self.streak = 0;
            self.health = told;
            return told;
        }
        self.streak += 1;
        let needed = match self.health {
            Health::Unknown | Health::Unresolved => 1,
            Health::Down => self.rise,
            Health::Up | Health::Standby | Health::Lagging => self.fall,
        };
        if self.streak >= needed {
            self.streak = 0;
            self.health = told;
        }
        self.health
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Failed, Standby, Up};

    fn after(judge: &mut Judge, verdicts: &[Verdict]) -> Health {
        verdicts.iter().fold(judge.health(), |_, verdict| judge.observe(*verdict))
    }

    #[test]
    fn the_first_result_decides_alone() {
        assert_eq!(Judge::new(2, 3).observe(Up), Health::Up);
        assert_eq!(Judge::new(2, 3).observe(Failed), Health::Down);
    }

    #[test]
    fn results_must_be_consecutive() {
        let mut judge = Judge::new(2, 3);
        assert_eq!(after(&mut judge, &[Up, Failed, Failed, Up, Failed, Failed]), Health::Up);
        assert_eq!(after(&mut judge, &[Failed]), Health::Down);
        assert_eq!(after(&mut judge, &[Up, Failed, Up]), Health::Down);
        assert_eq!(after(&mut judge, &[Up]), Health::Up);
    }

    #[test]
    fn a_role_follows_each_single_result() {
        let mut judge = Judge::new(2, 3);
        assert_eq!(after(&mut judge, &[Up, Standby]), Health::Standby);
        assert_eq!(after(&mut judge, &[Up]), Health::Up);
        assert_eq!(after(&mut judge, &[Failed, Failed, Failed, Standby]), Health::Down);
        assert_eq!(after(&mut judge, &[Up]), Health::Up);
    }

    #[test]
    fn a_name_that_resolves_again_is_judged_anew() {
        let mut judge = Judge::new(2, 3);
        judge.resolved(false);
        assert_eq!(judge.health(), Health::Unresolved);
        judge.resolved(true);
        assert_eq!(judge.observe(Up), Health::Up);
    }
}
