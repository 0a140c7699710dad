//! The Prometheus text, taken apart as far as the tests ask.

use std::collections::BTreeMap;

/// One scrape.
pub(crate) struct Metrics {
    /// As it came.
    pub(crate) text: String,
    samples: Vec<Sample>,
}

/// One line.
#[derive(Debug)]
pub(crate) struct Sample {
    /// Metric name.
    pub(crate) name: String,
    /// Labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// Value.
    pub(crate) value: f64,
}

impl Metrics {
    /// Fails the test at a line that is no metric.
    #[track_caller]
    pub(crate) fn parse(text: String) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let samples = lines
            .map(|line| sample(line).unwrap_or_else(|| panic!("not a metric line: {line}")))
            .collect();
        Self { text, samples }
    }

    /// All lines of a metric (without the `evenkeel_` prefix) that have these labels.
    pub(crate) fn find(&self, name: &str, labels: &[(&str, &str)]) -> Vec<&Sample> {
        let full = format!("evenkeel_{name}");
        let fits = |sample: &&Sample| {
            let has = |(key, value): &(&str, &str)| {
                sample.labels.get(*key).is_some_and(|found| found == value)
            };
            sample.name == full && labels.iter().all(has)
        };
        self.samples.iter().filter(fits).collect()
    }

    /// The sum over [`find`](Self::find); nothing found is 0.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        // The sum of nothing is a negative zero.
        self.find(name, labels).iter().map(|sample| sample.value).sum::<f64>() + 0.0
    }

    /// As [`sum`](Self::sum), for what is a count.
    pub(crate) fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let sum = self.sum(name, labels);
        assert!(sum >= 0.0 && sum.fract() == 0.0, "{name} is no count: {sum}");
        // A float holds every count a test reaches, and the line above saw that it is whole.
        format!("{sum:.0}").parse().unwrap()
    }

    /// Whether there is a series of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.samples.iter().any(|s| s.name == name)
    }

    /// Label names of a metric's first series.
    pub(crate) fn label_names(&self, name: &str) -> Option<Vec<&str>> {
        let sample = self.samples.iter().find(|s| s.name == format!("evenkeel_{name}"))?;
        Some(sample.labels.keys().map(String::as_str).collect())
    }
}

fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((name, rest)) = series.split_once('{') else {
        return Some(Sample { name: series.into(), labels: BTreeMap::new(), value });
    };
    let mut labels = BTreeMap::new();
    let mut rest = rest.strip_suffix('}')?;
    while let Some((key, quoted)) = rest.split_once("=\"") {
        let (found, after) = quoted.split_once('"')?;
        labels.insert(key.trim_start_matches(',').into(), found.into());
        rest = after;
    }
    Some(Sample { name: name.into(), labels, value })
}

#[test]
fn a_scrape_is_taken_apart() {
    let metrics = Metrics::parse(
        "# TYPE evenkeel_a counter\nevenkeel_a{x=\"1\",y=\"q\"} 3\nevenkeel_a{x=\"2\"} 4\nup 1\n"
            .into(),
    );
    assert_eq!(metrics.count("a", &[]), 7);
    assert_eq!(metrics.count("a", &[("x", "1")]), 3);
    assert!(metrics.has("up"));
}
