//! A bound that shows how it was reckoned: a sum of keys of the file with their values.

use std::fmt;
use std::time::Duration;

use crate::config::units::write_duration;

/// A bound, as the sum of what it consists of. Without parts it is no time at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::config) struct Sum {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Plain(Term),
    /// The smaller of the two.
    Capped(Vec<Term>, Term),
}

/// A key of the file with its value, so many times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) struct Term {
    key: &'static str,
    value: Duration,
    factors: Vec<Factor>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Factor {
    /// A key that is a number.
    Key(&'static str, u32),
    Number(u32),
    /// In tenths.
    Tenths(u32),
}

impl Term {
    pub(super) fn of(key: &'static str, value: Duration) -> Self {
        Self { key, value, factors: Vec::new() }
    }

    pub(super) fn by(mut self, key: &'static str, number: u32) -> Self {
        self.factors.push(Factor::Key(key, number));
        self
    }

    pub(super) fn times(mut self, number: u32) -> Self {
        if number != 1 {
            self.factors.push(Factor::Number(number));
        }
        self
    }

    pub(super) fn tenths(mut self, number: u32) -> Self {
        self.factors.push(Factor::Tenths(number));
        self
    }

    pub(super) fn total(&self) -> Duration {
        self.factors.iter().fold(self.value, |value, factor| match factor {
            Factor::Key(_, number) | Factor::Number(number) => value.saturating_mul(*number),
            Factor::Tenths(number) => value.saturating_mul(*number) / 10,
        })
    }
}

impl Sum {
    pub(super) fn of(term: Term) -> Self {
        Self::default().plus(term)
    }

    pub(super) fn plus(mut self, term: Term) -> Self {
        if !term.total().is_zero() {
            self.parts.push(Part::Plain(term));
        }
        self
    }

    /// Adds all of `terms`, but no more than `cap`, which is named only where it matters.
    pub(super) fn plus_capped(mut self, mut terms: Vec<Term>, cap: Term) -> Self {
        terms.retain(|term| !term.total().is_zero());
        if total(&terms) > cap.total() {
            self.parts.push(Part::Capped(terms, cap));
        } else {
            self.parts.extend(terms.into_iter().map(Part::Plain));
        }
        self
    }

    /// What it comes to.
    pub(in crate::config) fn total(&self) -> Duration {
        self.parts.iter().map(Part::total).fold(Duration::ZERO, Duration::saturating_add)
    }
}

impl Part {
    fn total(&self) -> Duration {
        match self {
            Self::Plain(term) => term.total(),
            Self::Capped(terms, cap) => total(terms).min(cap.total()),
        }
    }
}

fn total(terms: &[Term]) -> Duration {
    terms.iter().map(Term::total).fold(Duration::ZERO, Duration::saturating_add)
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, part) in self.parts.iter().enumerate() {
            f.write_str(if number == 0 { "" } else { " + " })?;
            match part {
                Part::Plain(term) => term.fmt(f)?,
                Part::Capped(terms, cap) => {
                    let terms: Vec<String> = terms.iter().map(Term::to_string).collect();
                    write!(f, "min({}, {cap})", terms.join(" + "))?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key, write_duration(self.value))?;
        for factor in &self.factors {
            match factor {
                Factor::Key(key, number) => write!(f, " × {key} {number}")?,
                Factor::Number(number) => write!(f, " × {number}")?,
                Factor::Tenths(number) => write!(f, " × {}.{}", number / 10, number % 10)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::units;

    /// Reckons what a printed formula says, as an operator would.
    pub(in crate::config::explain) fn reckon(formula: &str) -> Duration {
        if formula.is_empty() {
            return Duration::ZERO;
        }
        let mut sum = Duration::ZERO;
        let mut rest = formula;
        while let Some(from) = rest.find("min(") {
            let to = from + rest[from..].find(')').unwrap();
            let (terms, cap) = rest[from + 4..to].rsplit_once(", ").unwrap();
            sum += reckon(rest[..from].trim_end_matches(" + "));
            sum += reckon(terms).min(reckon(cap));
            rest = rest[to + 1..].trim_start_matches(" + ");
        }
        rest.split(" + ").filter(|term| !term.is_empty()).fold(sum, |sum, term| sum + product(term))
    }

    fn product(term: &str) -> Duration {
        let last = |factor: &str| factor.rsplit(' ').next().unwrap().to_owned();
        let mut factors = term.split(" × ");
        let value = units::duration(&last(factors.next().unwrap())).unwrap();
        factors.fold(value, |value, factor| value.mul_f64(last(factor).parse().unwrap()))
    }

    fn ms(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    #[test]
    fn a_sum_shows_its_parts_and_leaves_out_what_is_nothing() {
        let sum = Sum::of(Term::of("interval", ms(2000)).by("fall", 3))
            .plus(Term::of("backoff", ms(0)).times(2))
            .plus(Term::of("timeout", ms(1000)).times(1));
        assert_eq!(sum.to_string(), "interval 2s × fall 3 + timeout 1s");
        assert_eq!(sum.total(), ms(7000));
        assert_eq!(Sum::of(Term::of("max_lifetime", ms(10_000)).tenths(11)).total(), ms(11_000));
    }

    #[test]
    fn a_cap_is_named_where_it_matters() {
        let of = |cap| {
            let terms = vec![Term::of("connect_timeout", ms(1000)).by("attempts", 3)];
            Sum::default().plus_capped(terms, Term::of("window", ms(cap)))
        };
        assert_eq!(of(3000).to_string(), "connect_timeout 1s × attempts 3");
        let short = of(2500).plus(Term::of("queue.timeout", ms(5000)));
        let formula = "min(connect_timeout 1s × attempts 3, window 2s500ms) + queue.timeout 5s";
        assert_eq!((short.to_string().as_str(), short.total()), (formula, ms(7500)));
        assert_eq!(reckon(formula), ms(7500));
    }

    proptest! {
        #[test]
        fn what_is_printed_comes_to_the_total(
            terms in prop::collection::vec((0_u64..100_000, 1_u32..50), 1..5),
            cap in 1_u64..100_000,
            plain in 0_u64..100_000,
        ) {
            let terms = terms.iter().map(|(value, n)| Term::of("a", ms(*value)).by("b", *n));
            let sum = Sum::of(Term::of("c", ms(plain)).times(2))
                .plus_capped(terms.collect(), Term::of("d", ms(cap)))
                .plus(Term::of("e", ms(plain)));
            prop_assert_eq!(reckon(&sum.to_string()), sum.total(), "{}", sum);
        }
    }
}
