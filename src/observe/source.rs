//! Figures that other layers keep in plain atomics and that are read when somebody asks.

use super::catalogue::{ALL, Kind, Row};
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};
use std::collections::BTreeMap;

/// Somebody who has figures. Called from an HTTP thread: must not block on the ones who count.
pub trait Source: Send + Sync {
    /// Puts the figures of this moment into `sink`.
    fn collect(&self, sink: &mut Sink);
}

impl<F: Fn(&mut Sink) + Send + Sync> Source for F {
    fn collect(&self, sink: &mut Sink) {
        self(sink);
    }
}

/// A histogram as a layer keeps it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Buckets {
    /// Upper bound in base units, and how many were at most that and above the bound before.
    pub counts: Vec<(f64, u64)>,
    /// How many were above every bound.
    pub above: u64,
    /// Sum of all, base units.
    pub sum: f64,
}

#[derive(Debug, Default)]
enum Sample {
    #[default]
    Nothing,
    Number(f64),
    Buckets(Buckets),
}

/// Takes figures. The same metric with the same labels from several sources (the shards of one
/// layer) is summed.
#[derive(Debug, Default)]
pub struct Sink {
    samples: BTreeMap<&'static str, BTreeMap<Vec<String>, Sample>>,
}

impl Sink {
    /// A counter or a gauge. `labels` are the values, in the order of the row.
    #[allow(clippy::cast_precision_loss)]
    pub fn add(&mut self, row: &Row, labels: &[&str], value: u64) {
        self.add_real(row, labels, value as f64);
    }

    /// As [`Self::add`] for figures that are no integers.
    pub fn add_real(&mut self, row: &Row, labels: &[&str], value: f64) {
        let sample = self.sample(row, labels);
        *sample = match sample {
            Sample::Number(before) => Sample::Number(*before + value),
            _ => Sample::Number(value),
        };
    }

    /// A histogram. Shards must use the same bounds.
    pub fn add_buckets(&mut self, row: &Row, labels: &[&str], buckets: &Buckets) {
        let sample = self.sample(row, labels);
        if let Sample::Buckets(before) = sample {
            for (total, more) in before.counts.iter_mut().zip(&buckets.counts) {
                total.1 = total.1.saturating_add(more.1);
            }
            before.above = before.above.saturating_add(buckets.above);
            before.sum += buckets.sum;
        } else {
            *sample = Sample::Buckets(buckets.clone());
        }
    }

    fn sample(&mut self, row: &Row, labels: &[&str]) -> &mut Sample {
        debug_assert_eq!(labels.len(), row.labels.len(), "labels of {}", row.name);
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        self.samples
            .entry(row.name)
            .or_default()
            .entry(labels)
            .or_default()
    }

    /// What was put in, as the encoder wants it, in the order of the catalogue.
    pub(super) fn families(self) -> Vec<MetricFamily> {
        let mut samples = self.samples;
        ALL.iter()
            .filter_map(|row| {
                let found = samples.remove(row.name)?;
                let mut family = MetricFamily::default();
                family.set_name(row.name.to_owned());
                family.set_help(row.help.to_owned());
                family.set_field_type(match row.kind {
                    Kind::Counter => MetricType::COUNTER,
                    Kind::Gauge => MetricType::GAUGE,
                    Kind::Histogram(_) => MetricType::HISTOGRAM,
                });
                let metrics = found
                    .into_iter()
                    .map(|(labels, sample)| metric(row, labels, sample));
                family.set_metric(metrics.collect());
                Some(family)
            })
            .collect()
    }
}

fn metric(row: &Row, labels: Vec<String>, sample: Sample) -> Metric {
    let pairs = row.labels.iter().zip(labels).map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value(value);
        pair
    });
    let mut metric = Metric::from_label(pairs.collect());
    match (row.kind, sample) {
        (Kind::Counter, Sample::Number(value)) => {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        }
        (_, Sample::Number(value)) => {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        (_, Sample::Buckets(buckets)) => metric.set_histogram(histogram(&buckets)),
        (_, Sample::Nothing) => {}
    }
    metric
}

fn histogram(buckets: &Buckets) -> Histogram {
    let mut total = 0_u64;
    let mut cumulative = Vec::with_capacity(buckets.counts.len());
    for (bound, count) in &buckets.counts {
        total = total.saturating_add(*count);
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(total);
        cumulative.push(bucket);
    }
    let mut histogram = Histogram::default();
    histogram.set_sample_count(total.saturating_add(buckets.above));
    histogram.set_sample_sum(buckets.sum);
    histogram.set_bucket(cumulative);
    histogram
}
