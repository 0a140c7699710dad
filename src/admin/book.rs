//! Figures on their way to Prometheus text.
//!
//! A book lives for one scrape: what is gone since the last one is simply not written again.
//! Counters and gauges go through the exporter's recorder, which knows the format's fine print.
//! Histograms and counters with fractions are written here: the recorder takes single samples
//! only, and whole numbers.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use metrics::{Key, KeyName, Label, Level, Metadata, Recorder, SharedString};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};

use crate::admin::names::{Kind, Metric};
use crate::metric::Histogram;

/// What the text is, for `Content-Type`.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

/// A label's key and value.
pub(super) type Pair<'a> = (&'static str, &'a Arc<str>);

/// The figures of one scrape.
pub(super) struct Book {
    recorder: PrometheusRecorder,
    text: String,
}

impl Book {
    pub(super) fn new() -> Self {
        Self { recorder: PrometheusBuilder::new().build_recorder(), text: String::new() }
    }

    /// Opens a metric for whole numbers.
    pub(super) fn family(&self, metric: &'static Metric) -> Family<'_> {
        let name = KeyName::from_const_str(metric.name);
        let help = SharedString::const_str(metric.help);
        match metric.kind {
            Kind::Counter => self.recorder.describe_counter(name, None, help),
            Kind::Gauge | Kind::Histogram => self.recorder.describe_gauge(name, None, help),
        }
        Family { recorder: &self.recorder, metric }
    }

    /// Writes a counter that has no labels and may have a fraction.
    pub(super) fn seconds(&mut self, metric: &'static Metric, value: f64) {
        self.head(metric);
        self.line(format_args!("{} {value}", metric.name));
    }

    /// Writes all series of a histogram; those with the same labels as one.
    pub(super) fn histograms<'a>(
        &mut self,
        metric: &'static Metric,
        series: impl Iterator<Item = (Vec<Pair<'a>>, &'a Histogram)>,
    ) {
        self.head(metric);
        let mut alike: Vec<(String, Vec<&Histogram>)> = Vec::new();
        let mut places = HashMap::new();
        for (labels, histogram) in series {
            let labels =
                labels.into_iter().map(|(key, value)| format!("{key}=\"{}\"", escape(value)));
            let labels = labels.collect::<Vec<_>>().join(",");
            let place = *places.entry(labels.clone()).or_insert(alike.len());
            match alike.get_mut(place) {
                Some((_, histograms)) => histograms.push(histogram),
                None => alike.push((labels, vec![histogram])),
            }
        }
        for (labels, histograms) in alike {
            self.buckets(metric.name, &labels, &histograms);
        }
    }

    /// Writes one series: the sum of these, of which there is one and whose bounds are the same.
    fn buckets(&mut self, name: &str, labels: &str, histograms: &[&Histogram]) {
        let mut sums: Vec<(f64, u64)> = Vec::new();
        for histogram in histograms {
            for (place, (bound, at_or_below)) in histogram.cumulative().enumerate() {
                match sums.get_mut(place) {
                    Some((_, sum)) => *sum += at_or_below,
                    None => sums.push((bound, at_or_below)),
                }
            }
        }
        let mut count = 0;
        for (bound, at_or_below) in sums {
            let bound = if bound.is_finite() { bound.to_string() } else { "+Inf".to_owned() };
            self.line(format_args!("{name}_bucket{{{labels},le=\"{bound}\"}} {at_or_below}"));
            count = at_or_below;
        }
        let sum: f64 = histograms.iter().map(|histogram| histogram.sum()).sum();
        self.line(format_args!("{name}_sum{{{labels}}} {sum}"));
        self.line(format_args!("{name}_count{{{labels}}} {count}"));
    }

    fn head(&mut self, metric: &Metric) {
        let Metric { name, kind, help } = metric;
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {}", kind.as_str()));
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        self.text.push_str(&line.to_string());
        self.text.push('\n');
    }

    /// The whole text.
    pub(super) fn render(self) -> String {
        let mut text = self.recorder.handle().render();
        text.push_str(&self.text);
        text
    }
}

/// One metric of a [`Book`], to be given its series.
pub(super) struct Family<'a> {
    recorder: &'a PrometheusRecorder,
    metric: &'static Metric,
}

impl Family<'_> {
    /// Writes one series. What is written twice is added up: a backend that has left and another one
    /// that has its name.
    pub(super) fn set(&self, labels: Vec<Label>, value: u64) {
        let key = Key::from_parts(KeyName::from_const_str(self.metric.name), labels);
        match self.metric.kind {
            Kind::Counter => self.recorder.register_counter(&key, &METADATA).increment(value),
            Kind::Gauge | Kind::Histogram => {
                self.recorder.register_gauge(&key, &METADATA).increment(value as f64);
            }
        }
    }
}

/// A label whose value is a name from the file.
pub(super) fn named(key: &'static str, value: &Arc<str>) -> Label {
    Label::new(key, Arc::clone(value))
}

/// A label whose value is a word of a closed list.
pub(super) fn word(key: &'static str, value: &'static str) -> Label {
    Label::from_static_parts(key, value)
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
