//! The registry: what is pushed, and the sources of what is pulled.

use super::catalogue::{self, Kind, Row};
use super::source::{Sink, Source};
use crate::domain::{CallRecord, LeaseKind, MediaFigures, MediaQuality, UnixMillis};
use prometheus::{Encoder, HistogramVec, IntCounterVec, Registry, TextEncoder};
use prometheus::{HistogramOpts, Opts};
use std::sync::{Arc, Mutex, PoisonError};

/// The metrics of one gateway; clones are handles to the same.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    pushed: Pushed,
    sources: Mutex<Vec<Arc<dyn Source>>>,
}

struct Pushed {
    calls: IntCounterVec,
    ringing: HistogramVec,
    answer: HistogramVec,
    duration: HistogramVec,
    blocks: IntCounterVec,
    credits: IntCounterVec,
    guard_hits: IntCounterVec,
    sip_events: IntCounterVec,
    announcements: IntCounterVec,
    loss: HistogramVec,
    jitter: HistogramVec,
    mos: HistogramVec,
    round_trip: HistogramVec,
}

impl Metrics {
    /// All at nought, with the process's own figures as first source.
    ///
    /// # Errors
    /// Two rows of the catalogue contradict each other.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let pushed = Pushed {
            calls: counters(&registry, &catalogue::CALLS)?,
            ringing: histograms(&registry, &catalogue::RINGING)?,
            answer: histograms(&registry, &catalogue::ANSWER)?,
            duration: histograms(&registry, &catalogue::DURATION)?,
            blocks: counters(&registry, &catalogue::BLOCKS)?,
            credits: counters(&registry, &catalogue::CREDITS)?,
            guard_hits: counters(&registry, &catalogue::GUARD_HITS)?,
            sip_events: counters(&registry, &catalogue::SIP_EVENTS)?,
            announcements: counters(&registry, &catalogue::ANNOUNCEMENTS)?,
            loss: histograms(&registry, &catalogue::MEDIA_LOSS)?,
            jitter: histograms(&registry, &catalogue::MEDIA_JITTER)?,
            mos: histograms(&registry, &catalogue::MEDIA_MOS)?,
            round_trip: histograms(&registry, &catalogue::MEDIA_ROUND_TRIP)?,
        };
        pushed.begin();
        let metrics = Self(Arc::new(Inner {
            registry,
            pushed,
            sources: Mutex::new(Vec::new()),
        }));
        metrics.add_source(Arc::new(super::process::collect));
        Ok(metrics)
    }

    /// Adds a source to be asked whenever the metrics are read.
    pub fn add_source(&self, source: Arc<dyn Source>) {
        let mut sources = self
            .0
            .sources
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        sources.push(source);
    }

    /// Calls that these labels fit may come: their rows are there from now on, at nought. A counter
    /// that appears with its first event hides that event from `rate()` and `increase()`.
    pub fn expect_calls(
        &self,
        trunk_in: &str,
        trunk_out: &str,
        kind: Option<LeaseKind>,
        outcomes: impl IntoIterator<Item = &'static str>,
    ) {
        for outcome in outcomes {
            let labels = [trunk_in, trunk_out, kind_label(kind), outcome];
            self.0.pushed.calls.with_label_values(&labels);
        }
        if !trunk_out.is_empty() {
            self.0.pushed.expect_media(trunk_in, trunk_out);
        }
    }

    /// Calls may be sent out by this trunk: as [`Self::expect_calls`] for their times.
    pub fn expect_trunk_out(&self, trunk_out: &str) {
        let pushed = &self.0.pushed;
        for times in [&pushed.ringing, &pushed.answer, &pushed.duration] {
            times.with_label_values(&[trunk_out]);
        }
    }

    /// A call ended; all there is to count of it stands in its record.
    pub fn call_ended(&self, record: &CallRecord) {
        let pushed = &self.0.pushed;
        let kind = kind_label(record.lease_kind);
        let labels = [&*record.trunk_in, &*record.trunk_out, kind, &*record.reason];
        pushed.calls.with_label_values(&labels).inc();
        if let Some(vouching) = &record.vouching {
            self.sip_event("identity", vouching.verdict.name());
        }
        let trunk = [&*record.trunk_out];
        let since = |then: UnixMillis| then.since(record.received_at).as_secs_f64();
        if let Some(ringing_at) = record.ringing_at {
            let ringing = pushed.ringing.with_label_values(&trunk);
            ringing.observe(since(ringing_at));
        }
        if let Some(answered_at) = record.answered_at {
            pushed
                .answer
                .with_label_values(&trunk)
                .observe(since(answered_at));
            let length = std::time::Duration::from_millis(record.duration_millis);
            let duration = pushed.duration.with_label_values(&trunk);
            duration.observe(length.as_secs_f64());
            let quality = record.quality.unwrap_or_default();
            let (trunk_in, trunk_out) = (&*record.trunk_in, &*record.trunk_out);
            let to_callee = [TO_CALLEE, trunk_in];
            self.media(to_callee, &record.to_callee, &quality.to_callee);
            self.round_trip([TO_CALLEE, trunk_out], &quality.to_callee);
            let to_caller = [TO_CALLER, trunk_out];
            self.media(to_caller, &record.to_caller, &quality.to_caller);
            self.round_trip([TO_CALLER, trunk_in], &quality.to_caller);
        }
        if record.blocks > 0 {
            pushed
                .blocks
                .with_label_values(&[kind])
                .inc_by(record.blocks);
            let charge = u64::try_from(record.charge.0).unwrap_or(0);
            pushed.credits.with_label_values(&[kind]).inc_by(charge);
        }
    }

    /// The guard kept something in a SIP message from the other side.
    pub fn sip_guard_hit(&self) {
        self.0.pushed.guard_hits.with_label_values(&["sip"]).inc();
    }

    /// A recording for a caller came to this: `played` or `refused`.
    pub fn announcement(&self, which: &str, outcome: &str) {
        let counters = &self.0.pushed.announcements;
        counters.with_label_values(&[which, outcome]).inc();
    }

    /// So many RTCP items were kept from the other side.
    pub fn rtcp_guard_hits(&self, count: u64) {
        if count > 0 {
            let hits = self.0.pushed.guard_hits.with_label_values(&["rtcp"]);
            hits.inc_by(count);
        }
    }

    /// Something the SIP layer counts by name. Both come from its code, never from a message.
    pub fn sip_event(&self, event: &'static str, detail: &'static str) {
        let events = &self.0.pushed.sip_events;
        events.with_label_values(&[event, detail]).inc();
    }

    /// `labels`: the direction, and the trunk that the sound came by.
    #[allow(clippy::cast_precision_loss)]
    fn media(&self, labels: [&str; 2], figures: &MediaFigures, quality: &MediaQuality) {
        let expected = figures.packets.saturating_add(figures.lost);
        if expected == 0 {
            return;
        }
        let pushed = &self.0.pushed;
        let loss = figures.lost as f64 / expected as f64;
        let jitter = f64::from(figures.jitter_micros) / 1e6;
        pushed.loss.with_label_values(&labels).observe(loss);
        pushed.jitter.with_label_values(&labels).observe(jitter);
        if let Some(score) = quality.score_hundredths {
            let mos = pushed.mos.with_label_values(&labels);
            mos.observe(f64::from(score) / 100.0);
        }
    }

    /// `labels`: the direction, and the trunk at its end.
    fn round_trip(&self, labels: [&str; 2], quality: &MediaQuality) {
        if let Some(micros) = quality.round_trip_micros {
            let trip = self.0.pushed.round_trip.with_label_values(&labels);
            trip.observe(f64::from(micros) / 1e6);
        }
    }

    /// The Prometheus text of this moment.
    ///
    /// # Errors
    /// A figure that the format cannot hold.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        let sources = {
            let sources = self
                .0
                .sources
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            sources.clone()
        };
        let mut sink = Sink::default();
        for source in sources {
            source.collect(&mut sink);
        }
        let mut families = self.0.registry.gather();
        families.extend(sink.families());
        let mut text = Vec::with_capacity(16 * 1024);
        TextEncoder::new().encode(&families, &mut text)?;
        String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))
    }
}

impl Pushed {
    /// What is known beforehand of labels, at nought, so that the first event is seen as a rise.
    fn begin(&self) {
        for part in ["sip", "rtcp"] {
            self.guard_hits.with_label_values(&[part]);
        }
        for kind in [LeaseKind::Single, LeaseKind::Group] {
            let kind = kind_label(Some(kind));
            self.blocks.with_label_values(&[kind]);
            self.credits.with_label_values(&[kind]);
        }
        for (event, detail) in catalogue::SIP_EVENT_LABELS {
            self.sip_events.with_label_values(&[event, detail]);
        }
        for announcement in catalogue::ANNOUNCEMENT_LABELS {
            for outcome in ["played", "refused"] {
                let labels = [announcement, outcome];
                self.announcements.with_label_values(&labels);
            }
        }
    }

    /// Media of calls that come by `trunk_in` and go out by `trunk_out`, at nought.
    fn expect_media(&self, trunk_in: &str, trunk_out: &str) {
        for (direction, from, to) in [
            (TO_CALLEE, trunk_in, trunk_out),
            (TO_CALLER, trunk_out, trunk_in),
        ] {
            for quality in [&self.loss, &self.jitter, &self.mos] {
                quality.with_label_values(&[direction, from]);
            }
            self.round_trip.with_label_values(&[direction, to]);
        }
    }
}

const TO_CALLEE: &str = "to_callee";
const TO_CALLER: &str = "to_caller";

fn kind_label(kind: Option<LeaseKind>) -> &'static str {
    match kind {
        Some(LeaseKind::Single) => "single",
        Some(LeaseKind::Group) => "group",
        None => "none",
    }
}

fn counters(registry: &Registry, row: &Row) -> Result<IntCounterVec, prometheus::Error> {
    let counters = IntCounterVec::new(Opts::new(row.name, row.help), row.labels)?;
    registry.register(Box::new(counters.clone()))?;
    Ok(counters)
}

fn histograms(registry: &Registry, row: &Row) -> Result<HistogramVec, prometheus::Error> {
    let mut options = HistogramOpts::new(row.name, row.help);
    if let Kind::Histogram(bounds) = row.kind {
        options = options.buckets(bounds.to_vec());
    }
    let histograms = HistogramVec::new(options, row.labels)?;
    registry.register(Box::new(histograms.clone()))?;
    Ok(histograms)
}

#[cfg(test)]
mod tests;
