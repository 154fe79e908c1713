//! Every metric: name, kind, labels, meaning. `docs/metrics.md` has the same rows with a word on
//! use; a test compares the two. Names are `leasebridge_*` with base units; no label ever holds a
//! subscriber's number.

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Goes both ways.
    Gauge,
    /// Counts by size, with upper bounds in base units.
    Histogram(&'static [f64]),
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Full name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Row {
    row(name, Kind::Counter, labels, help)
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Row {
    row(name, Kind::Gauge, labels, help)
}

const fn row(
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
) -> Row {
    Row {
        name,
        kind,
        labels,
        help,
    }
}

/// Set-up times: from what a machine answers to what a person lets ring.
const SETUP: Kind = Kind::Histogram(&[
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0,
]);
/// Lengths of calls.
const LENGTH: Kind = Kind::Histogram(&[
    1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0,
]);
const LOSS: Kind = Kind::Histogram(&[0.0, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5]);
const JITTER: Kind = Kind::Histogram(&[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5]);
const ROUND_TRIP: Kind =
    Kind::Histogram(&[0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 1.0]);
const MOS: Kind = Kind::Histogram(&[1.5, 2.0, 2.5, 3.0, 3.5, 3.8, 4.0, 4.2, 4.4, 4.5]);
/// Work of the machine itself. Pulled histograms bring their own bounds.
const WORK: Kind = Kind::Histogram(&[]);

// Calls.
/// Ended calls, refused ones too.
pub const CALLS: Row = counter(
    "leasebridge_calls_total",
    &["trunk_in", "trunk_out", "kind", "outcome"],
    "Calls that ended, by the trunks they used, lease kind and our reason name.",
);
/// Calls that are up or being set up.
pub const CALLS_UP: Row = gauge(
    "leasebridge_calls_up",
    &[],
    "Calls that exist now, from the INVITE to the record.",
);
/// Time to ringing.
pub const RINGING: Row = row(
    "leasebridge_call_ringing_seconds",
    SETUP,
    &["trunk_out"],
    "From the INVITE's arrival to the first 18x sent to the caller.",
);
/// Time to answer.
pub const ANSWER: Row = row(
    "leasebridge_call_answer_seconds",
    SETUP,
    &["trunk_out"],
    "From the INVITE's arrival to the 200 sent to the caller.",
);
/// Length of answered calls.
pub const DURATION: Row = row(
    "leasebridge_call_duration_seconds",
    LENGTH,
    &["trunk_out"],
    "Charged time of answered calls.",
);
/// Blocks charged.
pub const BLOCKS: Row = counter(
    "leasebridge_charged_blocks_total",
    &["kind"],
    "Blocks charged to calls that ended.",
);
/// Credits charged.
pub const CREDITS: Row = counter(
    "leasebridge_charged_credits_total",
    &["kind"],
    "Credits charged to calls that ended.",
);
/// Guard hits.
pub const GUARD_HITS: Row = counter(
    "leasebridge_guard_hits_total",
    &["part"],
    "What the privacy guard kept from the other side, in SIP messages and in RTCP.",
);

// SIP.
/// Messages.
pub const SIP_MESSAGES: Row = counter(
    "leasebridge_sip_messages_total",
    &["direction", "message"],
    "SIP messages by direction and by method or class of response.",
);
/// Repeats.
pub const SIP_REPEATS: Row = counter(
    "leasebridge_sip_retransmissions_total",
    &["direction"],
    "SIP messages that repeat an earlier one: sent again, or received again and absorbed.",
);
/// Transactions alive.
pub const SIP_TRANSACTIONS: Row = gauge(
    "leasebridge_sip_transactions",
    &[],
    "SIP transactions alive now.",
);
/// Dialogs alive.
pub const SIP_DIALOGS: Row = gauge("leasebridge_sip_dialogs", &[], "SIP dialogs alive now.");
/// Connections.
pub const SIP_CONNECTIONS: Row = gauge(
    "leasebridge_sip_connections",
    &["transport"],
    "Connections that carry SIP now.",
);
/// Bytes that peers have not read.
pub const SIP_UNSENT: Row = gauge(
    "leasebridge_sip_unsent_bytes",
    &[],
    "Bytes of SIP that wait for the peers of connections to read.",
);
/// Events worth a count.
pub const SIP_EVENTS: Row = counter(
    "leasebridge_sip_events_total",
    &["event", "detail"],
    "Messages dropped, refused or found odd by the SIP layer, by reason.",
);
/// Recordings for callers.
pub const ANNOUNCEMENTS: Row = counter(
    "leasebridge_announcements_total",
    &["announcement", "outcome"],
    "Announcements and credit warnings: played, or refused for want of a port or a codec.",
);
/// Every label of [`ANNOUNCEMENTS`]: each is there from the start.
pub const ANNOUNCEMENT_LABELS: [&str; 4] = [
    "no_lease",
    "not_allowed",
    "credit_exhausted",
    "credit_warning",
];
/// Trunks up.
pub const TRUNK_UP: Row = gauge(
    "leasebridge_trunk_up",
    &["trunk"],
    "Whether the outbound trunk may be given calls (1) or is down or resting (0).",
);
/// Calls on a trunk.
pub const TRUNK_CALLS: Row = gauge(
    "leasebridge_trunk_calls",
    &["trunk"],
    "Calls on the trunk now, towards its cap.",
);

// Media.
/// Ports.
pub const MEDIA_PORTS: Row = gauge(
    "leasebridge_media_ports",
    &["network", "state"],
    "Media ports by state: used, free, bad (could not be bound).",
);
/// Flows.
pub const MEDIA_FLOWS: Row = gauge(
    "leasebridge_media_flows",
    &[],
    "Flows installed in the relay now.",
);
/// Packets relayed.
pub const MEDIA_PACKETS: Row = counter(
    "leasebridge_media_packets_total",
    &["protocol"],
    "Packets relayed, RTP and RTCP together (`all`).",
);
/// Bytes relayed.
pub const MEDIA_BYTES: Row = counter(
    "leasebridge_media_bytes_total",
    &["protocol"],
    "Bytes of UDP payload relayed.",
);
/// Packets dropped.
pub const MEDIA_DROPPED: Row = counter(
    "leasebridge_media_dropped_total",
    &["reason"],
    "Packets that came to a media port and were not passed on.",
);
/// Loss by call.
pub const MEDIA_LOSS: Row = row(
    "leasebridge_media_loss_ratio",
    LOSS,
    &["direction", "trunk"],
    "Share of packets missing on their way to us, by ended call and the trunk they came by.",
);
/// Jitter by call.
pub const MEDIA_JITTER: Row = row(
    "leasebridge_media_jitter_seconds",
    JITTER,
    &["direction", "trunk"],
    "Interarrival jitter (RFC 3550 A.8) at the end, by ended call and the trunk it came by.",
);
/// MOS by call.
pub const MEDIA_MOS: Row = row(
    "leasebridge_media_mos",
    MOS,
    &["direction", "trunk"],
    "Mean opinion score (G.107) of the whole way, by ended call and the trunk the sound came by.",
);
/// Round trips by call.
pub const MEDIA_ROUND_TRIP: Row = row(
    "leasebridge_media_round_trip_seconds",
    ROUND_TRIP,
    &["direction", "trunk"],
    "From us to the receiving end and back (RFC 3550 6.4), by ended call and the trunk at that end.",
);

// Books and API.
/// Pool.
pub const NUMBERS: Row = gauge(
    "leasebridge_numbers",
    &["state"],
    "Numbers of the pool by state: free, leased, reserved, resting, retired.",
);
/// Leases.
pub const LEASES: Row = gauge("leasebridge_leases", &["kind"], "Leases that run now.");
/// API requests.
pub const HTTP_REQUESTS: Row = counter(
    "leasebridge_http_requests_total",
    &["operation", "status"],
    "API requests by operation and status code of the API.",
);
/// Time of API requests.
pub const HTTP_SECONDS: Row = row(
    "leasebridge_http_request_seconds",
    WORK,
    &["operation"],
    "Time from a request's head to its answer.",
);
/// Connections.
pub const HTTP_CONNECTIONS: Row = gauge(
    "leasebridge_http_connections",
    &[],
    "HTTP connections open now.",
);
/// TLS that did not come to be.
pub const HTTP_HANDSHAKES_FAILED: Row = counter(
    "leasebridge_http_handshakes_failed_total",
    &[],
    "TLS handshakes that failed or took too long.",
);
/// Clients that take nothing of an answer.
pub const HTTP_STALLED: Row = counter(
    "leasebridge_http_stalled_total",
    &[],
    "Connections closed because the client took nothing of an answer for 60 s.",
);
/// Commits.
pub const COMMIT_SECONDS: Row = row(
    "leasebridge_store_commit_seconds",
    WORK,
    &[],
    "Time of a commit, from the batch's start to its being durable.",
);
/// Changes.
pub const STORE_CHANGES: Row = counter(
    "leasebridge_store_changes_total",
    &[],
    "Records changed by commits.",
);
/// Failed commits.
pub const STORE_FAILURES: Row = counter(
    "leasebridge_store_failures_total",
    &[],
    "Commits that failed; nothing of them was answered as done.",
);
/// Size.
pub const STORE_BYTES: Row = gauge(
    "leasebridge_store_size_bytes",
    &[],
    "Bytes of the store on disk.",
);
/// Damage found while it runs.
pub const STORE_FAULTS: Row = gauge(
    "leasebridge_store_faults",
    &[],
    "1 once something is wrong with the store that does not mend itself, else 0.",
);
/// The data directory.
pub const DATA_DIRECTORY: Row = gauge(
    "leasebridge_data_directory_present",
    &[],
    "1 while node.data_dir holds the files that are open, 0 once they were deleted or moved.",
);
/// Queues.
pub const QUEUE_DEPTH: Row = gauge(
    "leasebridge_queue_depth",
    &["queue"],
    "Entries waiting in a queue between threads.",
);
/// Bounds.
pub const REFUSED: Row = counter(
    "leasebridge_refused_total",
    &["bound"],
    "What each bound refused: full queues, full tables, too many connections.",
);
/// Ledger checks.
pub const LEDGER_CHECKS: Row = counter(
    "leasebridge_ledger_checks_total",
    &[],
    "Comparisons of a balance with the sum of its entries and open calls.",
);
/// Ledger mismatches.
pub const LEDGER_MISMATCHES: Row = counter(
    "leasebridge_ledger_mismatches_total",
    &[],
    "Comparisons that did not agree. Anything but 0 is an alarm.",
);

// The process.
/// Readiness.
pub const READY: Row = gauge(
    "leasebridge_ready",
    &[],
    "Whether traffic may be sent here (1) or not (0): as /readyz.",
);
/// Lost log lines.
pub const LOG_DROPPED: Row = counter(
    "leasebridge_log_lines_dropped_total",
    &[],
    "Log lines lost because their reader was slower than they came.",
);
/// Descriptors.
pub const OPEN_DESCRIPTORS: Row = gauge(
    "leasebridge_open_descriptors",
    &[],
    "File descriptors open now.",
);
/// Limit of descriptors.
pub const MAX_DESCRIPTORS: Row = gauge(
    "leasebridge_max_descriptors",
    &[],
    "File descriptors that may be open (soft limit).",
);
/// Memory.
pub const MEMORY: Row = gauge(
    "leasebridge_resident_memory_bytes",
    &[],
    "Resident memory of the process.",
);
/// CPU.
pub const CPU_SECONDS: Row = counter(
    "leasebridge_cpu_seconds_total",
    &[],
    "Processor time used, user and system.",
);
/// Threads.
pub const THREADS: Row = gauge("leasebridge_threads", &[], "Threads of the process.");
/// Certificates.
pub const CERTIFICATE_EXPIRY: Row = gauge(
    "leasebridge_certificate_expiry_timestamp_seconds",
    &["certificate"],
    "When a certificate that we show ends, in Unix time.",
);
/// Version.
pub const BUILD: Row = gauge(
    "leasebridge_build_info",
    &["version"],
    "Always 1; its label says which version runs.",
);

/// Every event and detail of [`SIP_EVENTS`]; docs/metrics.md says what each means, a test compares
/// this with the code that counts.
pub const SIP_EVENT_LABELS: &[(&str, &str)] = &[
    ("sip_dropped", "unknown-source"),
    ("sip_dropped", "garbage"),
    ("sip_dropped", "keepalive"),
    ("sip_dropped", "malformed-response"),
    ("sip_dropped", "stray-response"),
    ("sip_dropped", "foreign-response"),
    ("sip_dropped", "unfit-response"),
    ("sip_dropped", "foreign-dialog"),
    ("sip_dropped", "shed-ack"),
    ("sip_dropped", "refused-ack"),
    ("sip_refused", "unknown-source"),
    ("sip_refused", "no-certificate"),
    ("sip_refused", "malformed"),
    ("sip_refused", "screening"),
    ("sip_refused", "draining"),
    ("sip_refused", "overloaded"),
    ("sip_refused", "table-full"),
    ("sip_refused", "foreign-dialog"),
    ("sip_digest", "challenged"),
    ("sip_digest", "accepted"),
    ("sip_digest", "malformed"),
    ("sip_digest", "wrong"),
    ("sip_digest", "stale"),
    ("sip_digest", "replayed"),
    ("sip_digest", "guessing"),
    ("sip_login", "answered"),
    ("sip_login", "refused"),
    ("sip_login", "foreign-realm"),
    ("sip_unacknowledged", "failure"),
    ("sip_repeats", "transaction"),
    ("sip_repeats", "invite-2xx"),
    ("sip_repeats", "provisional"),
    ("sip_bounds", "caller-forks"),
    ("sip_bounds", "callee-forks"),
    ("sip_bounds", "lost-forks"),
    ("sip_bounds", "provisionals"),
    ("sip_bounds", "acks"),
    ("sip_bounds", "peers"),
    ("sip_bounds", "strays"),
    ("sip_bounds", "info"),
    ("identity", "valid"),
    ("identity", "missing"),
    ("identity", "stale"),
    ("identity", "unavailable"),
    ("identity", "untrusted"),
    ("identity", "invalid"),
    ("identity_fetch", "cached"),
    ("identity_fetch", "fetched"),
    ("identity_fetch", "forbidden"),
    ("identity_fetch", "unreachable"),
    ("identity_fetch", "refused"),
    ("identity_fetch", "late"),
    ("identity_bounds", "questions"),
    ("identity_bounds", "waiting"),
    ("identity_bounds", "fetches"),
    ("identity_bounds", "cache"),
    ("sip_hops", "failed"),
    ("sip_hops", "back"),
    ("dns", "answered"),
    ("dns", "nothing"),
    ("dns", "failed"),
    ("dns", "cut"),
    ("sip_bounds", "parting"),
    ("sip_session_timers", "refreshed"),
    ("sip_session_timers", "expired"),
    ("sip_connection", "peer"),
    ("sip_connection", "broken"),
    ("sip_connection", "refused"),
    ("sip_connection", "connect-timeout"),
    ("sip_connection", "backoff"),
    ("sip_connection", "handshake"),
    ("sip_connection", "handshake-timeout"),
    ("sip_connection", "header-timeout"),
    ("sip_connection", "idle"),
    ("sip_connection", "backlog"),
    ("sip_connection", "unframed"),
    ("sip_connection", "full"),
    ("sip_connection", "share"),
    ("sip_connection", "stranger"),
    ("sip_connection", "no-way"),
    ("books_queue_full", ""),
    ("unsendable", "no such socket"),
];

/// All of them.
pub const ALL: &[Row] = &[
    CALLS,
    CALLS_UP,
    RINGING,
    ANSWER,
    DURATION,
    BLOCKS,
    CREDITS,
    GUARD_HITS,
    SIP_MESSAGES,
    SIP_REPEATS,
    SIP_TRANSACTIONS,
    SIP_DIALOGS,
    SIP_CONNECTIONS,
    SIP_UNSENT,
    SIP_EVENTS,
    ANNOUNCEMENTS,
    TRUNK_UP,
    TRUNK_CALLS,
    MEDIA_PORTS,
    MEDIA_FLOWS,
    MEDIA_PACKETS,
    MEDIA_BYTES,
    MEDIA_DROPPED,
    MEDIA_LOSS,
    MEDIA_JITTER,
    MEDIA_MOS,
    MEDIA_ROUND_TRIP,
    NUMBERS,
    LEASES,
    HTTP_REQUESTS,
    HTTP_SECONDS,
    HTTP_CONNECTIONS,
    HTTP_HANDSHAKES_FAILED,
    HTTP_STALLED,
    COMMIT_SECONDS,
    STORE_CHANGES,
    STORE_FAILURES,
    STORE_BYTES,
    STORE_FAULTS,
    DATA_DIRECTORY,
    QUEUE_DEPTH,
    REFUSED,
    LEDGER_CHECKS,
    LEDGER_MISMATCHES,
    READY,
    LOG_DROPPED,
    OPEN_DESCRIPTORS,
    MAX_DESCRIPTORS,
    MEMORY,
    CPU_SECONDS,
    THREADS,
    CERTIFICATE_EXPIRY,
    BUILD,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_the_conventions() {
        for row in ALL {
            assert!(row.name.starts_with("leasebridge_"), "{}", row.name);
            let counts = row.name.ends_with("_total");
            assert_eq!(counts, row.kind == Kind::Counter, "{}", row.name);
            assert!(row.help.ends_with('.'), "{}", row.name);
        }
        let mut names: Vec<_> = ALL.iter().map(|row| row.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }
}
