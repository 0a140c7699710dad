//! What is counted of a listener's TLS.

use std::time::Duration;

use crate::config::TlsVersion;
use crate::metric::{Counter, Figure, Gauge, Histogram, LATENCY};

/// How a handshake ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handshaken {
    /// Both sides may send.
    Ok,
    /// One of them said no, or left.
    Failed,
    /// It took too long.
    Timeout,
}

impl Handshaken {
    /// All of them, in the order of their index.
    pub const ALL: [Self; 3] = [Self::Ok, Self::Failed, Self::Timeout];

    /// The word in labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
        }
    }
}

/// Versions a handshake may have come to; `None` = to none.
const VERSIONS: [Option<TlsVersion>; 3] = [Some(TlsVersion::V1_2), Some(TlsVersion::V1_3), None];

/// The counters of one listener.
#[derive(Debug)]
pub struct Figures {
    handshakes: [[Counter; 3]; 3],
    resumed: [Counter; 2],
    /// How long handshakes took that succeeded.
    pub duration: Histogram,
    /// Handshakes that have begun and not ended.
    pub active: Gauge,
    /// Certificates replaced.
    pub replaced: Counter,
    /// Certificates that could not be used, so that the old ones were kept.
    pub refused: Counter,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            handshakes: Default::default(),
            resumed: Default::default(),
            duration: Histogram::new(LATENCY),
            active: Gauge::default(),
            replaced: Counter::default(),
            refused: Counter::default(),
        }
    }
}

impl Figures {
    /// Counts a handshake that succeeded.
    pub fn shaken(&self, version: Option<TlsVersion>, is_resumed: bool, took: Duration) {
        self.count(version, Handshaken::Ok);
        self.duration.record(took);
        let resumed = version.and_then(|version| self.resumed.get(version as usize));
        if let Some(resumed) = resumed.filter(|_| is_resumed) {
            resumed.increment();
        }
    }

    /// Counts how a handshake ended that came to this version.
    pub fn count(&self, version: Option<TlsVersion>, how: Handshaken) {
        let row = version.map_or(2, |version| version as usize);
        if let Some(counter) = self.handshakes.get(row).and_then(|row| row.get(how as usize)) {
            counter.increment();
        }
    }

    /// Handshakes by version (`"1.2"`, `"1.3"`, `"none"`) and outcome.
    pub fn handshakes(&self) -> impl Iterator<Item = (&'static str, Handshaken, u64)> + '_ {
        VERSIONS.iter().zip(&self.handshakes).flat_map(|(version, row)| {
            let version = version.map_or("none", TlsVersion::as_str);
            Handshaken::ALL.iter().zip(row).map(move |(how, count)| (version, *how, count.get()))
        })
    }

    /// Sessions that went on with the secrets of an earlier one, by version.
    pub fn resumed(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let versions = VERSIONS.iter().flatten();
        versions.zip(&self.resumed).map(|(version, count)| (version.as_str(), count.get()))
    }

    /// Certificates that were replaced (`"ok"`) or refused, by outcome.
    pub fn reloads(&self) -> [(&'static str, u64); 2] {
        [("ok", self.replaced.get()), ("refused", self.refused.get())]
    }

    /// Shows all that only rises, each by a name that stays.
    pub fn figures(&self, see: &mut dyn FnMut(&str, Figure<'_>)) {
        see("duration", Figure::Durations(&self.duration));
        see("replaced", Figure::Count(&self.replaced));
        see("refused", Figure::Count(&self.refused));
        for (version, row) in VERSIONS.iter().zip(&self.handshakes) {
            let version = version.map_or("none", TlsVersion::as_str);
            for (how, counter) in Handshaken::ALL.iter().zip(row) {
                see(&format!("handshakes {version} {}", how.as_str()), Figure::Count(counter));
            }
        }
        for (version, counter) in VERSIONS.iter().flatten().zip(&self.resumed) {
            see(&format!("resumed {}", version.as_str()), Figure::Count(counter));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshakes_are_counted_where_they_belong_and_all_else_is_zero() {
        let figures = Figures::default();
        figures.shaken(Some(TlsVersion::V1_3), true, Duration::from_millis(1));
        figures.shaken(Some(TlsVersion::V1_2), false, Duration::from_millis(1));
        figures.count(None, Handshaken::Timeout);
        let counted: Vec<_> = figures.handshakes().filter(|(_, _, count)| *count > 0).collect();
        let ok = Handshaken::Ok;
        assert_eq!(counted, [("1.2", ok, 1), ("1.3", ok, 1), ("none", Handshaken::Timeout, 1)]);
        assert_eq!(figures.handshakes().count(), 9);
        assert_eq!(figures.resumed().collect::<Vec<_>>(), [("1.2", 0), ("1.3", 1)]);
    }
}
