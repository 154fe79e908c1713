//! From the layers' own counters to the metrics.

use crate::api::dispatch::Api;
use crate::api::metrics::BUCKETS_MICROS;
use crate::api::neighbours::{self, BesideAnswer};
use crate::config::Config;
use crate::domain::{CallRecord, TrunkId};
use crate::engine::books_thread::BooksHandle;
use crate::engine::clock;
use crate::engine::signalling::Meter;
use crate::engine::worker::Worker;
use crate::media::flow::DropReason;
use crate::observe::catalogue as rows;
use crate::observe::worker::WorkerFigures;
use crate::observe::{Buckets, Endpoints, Health, Metrics, Sink};
use crate::relay::metrics::RelayMetrics;
use crate::sip::message::Transport;
use crate::transport::stream::Streams;
use crate::transport::udp::UdpSender;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Metrics and health, as the API serves them beside itself.
pub struct Beside(pub Endpoints);

impl neighbours::Beside for Beside {
    fn get(&self, path: &str) -> Option<BesideAnswer> {
        let answer = self.0.get(path)?;
        Some(BesideAnswer {
            status: answer.status,
            content_type: answer.content_type,
            body: answer.body.into(),
        })
    }
}

/// What a signalling thread counts.
pub struct WorkerMeter {
    /// The first worker speaks for all where all know the same: which trunks are up.
    first: bool,
    metrics: Metrics,
    health: Arc<Health>,
    figures: Arc<WorkerFigures>,
    trunks: Arc<TrunkFigures>,
    ports: Arc<PortFigures>,
}

#[derive(Default)]
struct TrunkFigures {
    rows: Mutex<Vec<TrunkRow>>,
}

struct TrunkRow {
    name: String,
    outbound: bool,
    up: bool,
    calls: u32,
}

/// Ports of each address, with the name of its network.
struct PortFigures(Vec<(String, [AtomicU64; 3])>);

impl PortFigures {
    fn new(config: &Config) -> Self {
        let name = |network: usize| config.media.networks.get(network).cloned();
        let addresses = config.media.addresses.iter();
        let figures =
            addresses.map(|one| (name(one.network).unwrap_or_default(), <[_; 3]>::default()));
        Self(figures.collect())
    }
}

impl WorkerMeter {
    /// Counts into `metrics`; figures of several workers are summed there.
    pub fn new(config: &Config, metrics: &Metrics, health: &Arc<Health>, index: u16) -> Self {
        let this = Self {
            first: index == 0,
            metrics: metrics.clone(),
            health: Arc::clone(health),
            figures: Arc::default(),
            trunks: Arc::default(),
            ports: Arc::new(PortFigures::new(config)),
        };
        metrics.add_source(this.figures.clone());
        let (trunks, first) = (Arc::clone(&this.trunks), this.first);
        metrics.add_source(Arc::new(move |sink: &mut Sink| {
            for row in trunks
                .rows
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .iter()
            {
                sink.add(&rows::TRUNK_CALLS, &[&row.name], u64::from(row.calls));
                if row.outbound && first {
                    sink.add(&rows::TRUNK_UP, &[&row.name], u64::from(row.up));
                }
            }
        }));
        let ports = Arc::clone(&this.ports);
        metrics.add_source(Arc::new(move |sink: &mut Sink| {
            for (network, figures) in &ports.0 {
                for (state, figure) in ["used", "free", "bad"].iter().zip(figures) {
                    let labels = [network.as_str(), state];
                    sink.add(&rows::MEDIA_PORTS, &labels, figure.load(Ordering::Relaxed));
                }
            }
        }));
        this
    }

    fn trunks(&self, worker: &Worker) {
        let now = clock::now().mono;
        let trunks = worker.trunks();
        let mut rows = Vec::new();
        for place in 0..trunks.places() {
            let id = TrunkId(u16::try_from(place).unwrap_or(u16::MAX));
            if let Some(trunk) = trunks.get(id) {
                rows.push(TrunkRow {
                    name: trunk.name.to_string(),
                    outbound: trunk.outbound,
                    up: trunks.is_up(id, now),
                    calls: trunks.calls(id),
                });
            }
        }
        if self.first {
            self.health
                .set_trunks_up(rows.iter().filter(|row| row.outbound && row.up).count());
        }
        *self
            .trunks
            .rows
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = rows;
    }
}

impl Meter for WorkerMeter {
    fn ended(&self, record: &CallRecord) {
        self.metrics.call_ended(record);
    }

    fn count(&self, name: &'static str, label: &'static str) {
        match name {
            "guard_hits" => self.metrics.sip_guard_hit(),
            "announcements" => self.metrics.announcement(label, "played"),
            "announcements_refused" => self.metrics.announcement(label, "refused"),
            _ => self.metrics.sip_event(name, label),
        }
    }

    fn received(&self, message: &[u8]) {
        self.figures.received(message);
    }

    fn sent(&self, message: &[u8]) {
        self.figures.sent(message);
    }

    fn line(&self, waiting: usize, began: u64, lost: u64) {
        let waiting = u64::try_from(waiting).unwrap_or(u64::MAX);
        self.figures.line(waiting, began, lost);
    }

    fn observe(&self, worker: &Worker, endpoints: &[UdpSender], streams: &Streams) {
        let alive = worker.agent().alive();
        let counters = worker.agent().counters();
        self.figures
            .set_repeats(counters.repeats_sent, counters.repeats_absorbed);
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        self.figures.set_alive(
            count(worker.calls()),
            count(alive.client_transactions + alive.server_transactions),
            count(alive.dialogs),
        );
        let waiting: usize = endpoints.iter().map(UdpSender::waiting).sum();
        self.figures.set_queue(count(waiting));
        self.figures.set_connections(
            count(streams.connections(Transport::Tcp)),
            count(streams.connections(Transport::Tls)),
            count(streams.waiting()),
        );
        for (ports, (_, figures)) in worker.ports().counts().zip(&self.ports.0) {
            let states = [ports.used, ports.free, ports.retired];
            for (pairs, figure) in states.into_iter().zip(figures) {
                figure.store(2 * count(pairs), Ordering::Relaxed);
            }
        }
        self.trunks(worker);
    }
}

/// The relay's figures.
pub fn observe_relay(metrics: &Metrics, relay: RelayMetrics) {
    let before = AtomicU64::new(0);
    let pushed = metrics.clone();
    metrics.add_source(Arc::new(move |sink: &mut Sink| {
        let now = relay.snapshot();
        sink.add(&rows::MEDIA_FLOWS, &[], now.flows);
        sink.add(&rows::MEDIA_PACKETS, &["all"], now.packets);
        sink.add(&rows::MEDIA_BYTES, &["all"], now.bytes);
        for (reason, count) in DropReason::ALL.iter().zip(now.dropped) {
            sink.add(&rows::MEDIA_DROPPED, &[reason.label()], count);
        }
        sink.add(&rows::REFUSED, &["relay_queue"], now.queue_full);
        let seen = before.swap(now.removed_items, Ordering::Relaxed);
        pushed.rtcp_guard_hits(now.removed_items.saturating_sub(seen));
    }));
}

/// The books' and the store's figures, and their part in readiness.
pub fn observe_books(metrics: &Metrics, health: &Arc<Health>, handle: &BooksHandle) {
    let asked = handle.clone();
    health.ask_store(move || asked.is_ready());
    let handle = handle.clone();
    metrics.add_source(Arc::new(move |sink: &mut Sink| {
        let figures = handle.metrics();
        let times: Vec<(Option<u64>, u64)> = figures.commit_micros.buckets().collect();
        let buckets = buckets(&times, figures.commit_micros.sum());
        sink.add_buckets(&rows::COMMIT_SECONDS, &[], &buckets);
        sink.add(&rows::STORE_CHANGES, &[], figures.changes.get());
        let failed = [
            &figures.commits_full,
            &figures.commits_failed,
            &figures.commits_conflicting,
        ];
        sink.add(
            &rows::STORE_FAILURES,
            &[],
            failed.iter().map(|figure| figure.get()).sum(),
        );
        sink.add(&rows::STORE_BYTES, &[], figures.store_bytes.get());
        sink.add(&rows::STORE_FAULTS, &[], figures.store_faults.get());
        sink.add(
            &rows::QUEUE_DEPTH,
            &["books_requests"],
            figures.requests_waiting.get(),
        );
        sink.add(
            &rows::QUEUE_DEPTH,
            &["books_calls"],
            figures.calls_waiting.get(),
        );
        sink.add(
            &rows::REFUSED,
            &["books_requests"],
            figures.requests_refused.get(),
        );
        sink.add(
            &rows::REFUSED,
            &["books_calls"],
            figures.calls_refused.get(),
        );
        let books = figures.books();
        let states = [
            ("free", books.numbers.free),
            ("leased", books.numbers.leased),
            ("reserved", books.numbers.reserved),
            ("resting", books.numbers.resting),
            ("retired", books.numbers.retired),
        ];
        for (state, count) in states {
            sink.add(&rows::NUMBERS, &[state], count);
        }
        sink.add(&rows::LEASES, &["single"], books.leases.single.into());
        sink.add(&rows::LEASES, &["group"], books.leases.group.into());
        sink.add(&rows::LEDGER_CHECKS, &[], figures.ledger_checks.get());
        sink.add(
            &rows::LEDGER_MISMATCHES,
            &[],
            figures.ledger_mismatches.get(),
        );
    }));
}

/// The API's figures.
pub fn observe_api(metrics: &Metrics, api: &Api<BooksHandle>) {
    let figures = api.metrics();
    metrics.add_source(Arc::new(move |sink: &mut Sink| {
        for (operation, code, count) in figures.requests() {
            sink.add(
                &rows::HTTP_REQUESTS,
                &[&operation, &code.to_string()],
                count,
            );
        }
        for (operation, histogram) in figures.durations() {
            let bounds = BUCKETS_MICROS
                .iter()
                .map(|bound| Some(*bound))
                .chain([None]);
            let counts: Vec<_> = bounds.zip(histogram.counts()).collect();
            let buckets = buckets(&counts, histogram.sum_micros());
            sink.add_buckets(&rows::HTTP_SECONDS, &[&operation], &buckets);
        }
        let load = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        sink.add(&rows::HTTP_CONNECTIONS, &[], load(&figures.connections));
        sink.add(
            &rows::REFUSED,
            &["http_connections"],
            load(&figures.connections_refused),
        );
        sink.add(
            &rows::REFUSED,
            &["http_connections_per_address"],
            load(&figures.shares_refused),
        );
        sink.add(
            &rows::HTTP_HANDSHAKES_FAILED,
            &[],
            load(&figures.handshakes_failed),
        );
        sink.add(&rows::HTTP_STALLED, &[], load(&figures.stalled));
    }));
}

#[allow(clippy::cast_precision_loss)]
fn buckets(counts: &[(Option<u64>, u64)], sum_micros: u64) -> Buckets {
    let seconds = |micros: u64| micros as f64 / 1e6;
    Buckets {
        counts: counts
            .iter()
            .filter_map(|(bound, count)| Some((seconds((*bound)?), *count)))
            .collect(),
        above: counts
            .iter()
            .filter(|(bound, _)| bound.is_none())
            .map(|(_, count)| count)
            .sum(),
        sum: seconds(sum_micros),
    }
}
