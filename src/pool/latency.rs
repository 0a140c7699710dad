//! A peak-sensitive moving average of connect times, in one word.
//!
//! A slow sample counts at once, quick ones bring it down gradually, and silence lets it fade, so
//! that a backend nobody picks gets another chance (peak EWMA, as in Finagle's load balancers).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long it takes the past to lose its weight, in milliseconds.
const FADE_MS: f32 = 10_000.0;

/// Microseconds as `f32` bits below, milliseconds of the last sample above.
#[derive(Debug, Default)]
pub(super) struct PeakEwma(AtomicU64);

impl PeakEwma {
    /// Takes in a sample; `now` is milliseconds on any steady clock.
    pub(super) fn observe(&self, took: Duration, now: u64) {
        let sample = took.as_secs_f32() * 1e6;
        let word = self.0.load(Ordering::Relaxed);
        let (was, keep) = (value(word), weight(word, now));
        let next = if sample > was { sample } else { was * keep + sample * (1.0 - keep) };
        let stamp = (now & u64::from(u32::MAX)) << 32;
        // Two workers may overwrite each other's sample; the average does not mind.
        self.0.store(stamp | u64::from(next.to_bits()), Ordering::Relaxed);
    }

    /// Starts anew.
    pub(super) fn forget(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// The average in microseconds as of `now`; 0 before the first sample.
    pub(super) fn at(&self, now: u64) -> f32 {
        let word = self.0.load(Ordering::Relaxed);
        value(word) * weight(word, now)
    }
}

fn value(word: u64) -> f32 {
    f32::from_bits((word & u64::from(u32::MAX)) as u32)
}

fn weight(word: u64, now: u64) -> f32 {
    let age = (now as u32).wrapping_sub((word >> 32) as u32);
    // A sample of another worker may be a moment ahead of this one's clock.
    if age > u32::MAX / 2 { 1.0 } else { (-(age as f32) / FADE_MS).exp() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_sample_counts_at_once_and_fades() {
        let average = PeakEwma::default();
        average.observe(Duration::from_millis(1), 0);
        average.observe(Duration::from_millis(50), 10);
        assert!((average.at(10) - 50_000.0).abs() < 1.0);
        average.observe(Duration::from_millis(1), 1_010);
        let after = average.at(1_010);
        assert!((1_000.0..50_000.0).contains(&after), "{after}");
        assert!(average.at(60_000) < 500.0);
    }
}
