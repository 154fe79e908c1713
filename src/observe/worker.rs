//! Figures of one signalling worker: counted by it, read by anybody.

use super::catalogue;
use super::source::{Sink, Source};
use std::sync::atomic::{AtomicU64, Ordering};

/// Kinds of SIP messages that are told apart.
const MESSAGES: [&str; 14] = [
    "INVITE",
    "ACK",
    "BYE",
    "CANCEL",
    "OPTIONS",
    "INFO",
    "other",
    "1xx",
    "2xx",
    "3xx",
    "4xx",
    "5xx",
    "6xx",
    "keepalive",
];

/// Place of a message in [`MESSAGES`], by its first bytes.
fn place(message: &[u8]) -> usize {
    if let Some(status) = message.strip_prefix(b"SIP/2.0 ") {
        return match status.first() {
            Some(class @ b'1'..=b'6') => 7 + usize::from(class - b'1'),
            _ => 6,
        };
    }
    match message.split(|byte| *byte == b' ').next() {
        Some(b"INVITE") => 0,
        Some(b"ACK") => 1,
        Some(b"BYE") => 2,
        Some(b"CANCEL") => 3,
        Some(b"OPTIONS") => 4,
        Some(b"INFO") => 5,
        _ if message.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0)) => 13,
        _ => 6,
    }
}

type PerMessage = [AtomicU64; MESSAGES.len()];

/// The figures. One writer, any number of readers; figures of one moment need not fit together.
#[derive(Debug, Default)]
pub struct WorkerFigures {
    received: PerMessage,
    sent: PerMessage,
    repeats_sent: AtomicU64,
    repeats_absorbed: AtomicU64,
    calls: AtomicU64,
    transactions: AtomicU64,
    dialogs: AtomicU64,
    queue: AtomicU64,
    waiting: AtomicU64,
    behind: AtomicU64,
    lost: AtomicU64,
    tcp: AtomicU64,
    tls: AtomicU64,
    unsent: AtomicU64,
}

impl WorkerFigures {
    /// A datagram came.
    pub fn received(&self, message: &[u8]) {
        count(&self.received, message);
    }

    /// A datagram went.
    pub fn sent(&self, message: &[u8]) {
        count(&self.sent, message);
    }

    /// Repeats so far: sent by our timers, and received and absorbed.
    pub fn set_repeats(&self, sent: u64, absorbed: u64) {
        self.repeats_sent.store(sent, Ordering::Relaxed);
        self.repeats_absorbed.store(absorbed, Ordering::Relaxed);
    }

    /// What is alive now.
    pub fn set_alive(&self, calls: u64, transactions: u64, dialogs: u64) {
        self.calls.store(calls, Ordering::Relaxed);
        self.transactions.store(transactions, Ordering::Relaxed);
        self.dialogs.store(dialogs, Ordering::Relaxed);
    }

    /// Calls alive now.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Entries that wait for the worker now.
    pub fn set_queue(&self, depth: u64) {
        self.queue.store(depth, Ordering::Relaxed);
    }

    /// Connections that carry SIP now, and bytes that wait for their peers to read.
    pub fn set_connections(&self, tcp: u64, tls: u64, unsent: u64) {
        self.tcp.store(tcp, Ordering::Relaxed);
        self.tls.store(tls, Ordering::Relaxed);
        self.unsent.store(unsent, Ordering::Relaxed);
    }

    /// New INVITEs that wait now, how often the worker fell behind so far, and messages that were
    /// lost since the last time because another worker took nothing.
    pub fn line(&self, waiting: u64, behind: u64, lost: u64) {
        self.waiting.store(waiting, Ordering::Relaxed);
        self.behind.store(behind, Ordering::Relaxed);
        self.lost.fetch_add(lost, Ordering::Relaxed);
    }
}

fn count(counters: &PerMessage, message: &[u8]) {
    if let Some(counter) = counters.get(place(message)) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Source for WorkerFigures {
    fn collect(&self, sink: &mut Sink) {
        for (direction, counters) in [("received", &self.received), ("sent", &self.sent)] {
            for (message, counter) in MESSAGES.iter().zip(counters) {
                let labels = [direction, *message];
                let count = counter.load(Ordering::Relaxed);
                sink.add(&catalogue::SIP_MESSAGES, &labels, count);
            }
        }
        let repeats = [
            ("sent", &self.repeats_sent),
            ("received", &self.repeats_absorbed),
        ];
        for (direction, counter) in repeats {
            let count = counter.load(Ordering::Relaxed);
            sink.add(&catalogue::SIP_REPEATS, &[direction], count);
        }
        let load = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        sink.add(&catalogue::CALLS_UP, &[], load(&self.calls));
        sink.add(&catalogue::SIP_TRANSACTIONS, &[], load(&self.transactions));
        sink.add(&catalogue::SIP_DIALOGS, &[], load(&self.dialogs));
        sink.add(&catalogue::QUEUE_DEPTH, &["worker"], load(&self.queue));
        sink.add(&catalogue::SIP_CONNECTIONS, &["tcp"], load(&self.tcp));
        sink.add(&catalogue::SIP_CONNECTIONS, &["tls"], load(&self.tls));
        sink.add(&catalogue::SIP_UNSENT, &[], load(&self.unsent));
        sink.add(&catalogue::QUEUE_DEPTH, &["invites"], load(&self.waiting));
        sink.add(
            &catalogue::REFUSED,
            &["worker_overload"],
            load(&self.behind),
        );
        sink.add(&catalogue::REFUSED, &["worker_handover"], load(&self.lost));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_apart_by_their_first_bytes() {
        let name = |message: &[u8]| MESSAGES[place(message)];
        assert_eq!(name(b"INVITE sip:a SIP/2.0\r\n"), "INVITE");
        assert_eq!(name(b"ACK sip:a SIP/2.0\r\n"), "ACK");
        assert_eq!(name(b"BYE sip:a SIP/2.0\r\n"), "BYE");
        assert_eq!(name(b"CANCEL sip:a SIP/2.0\r\n"), "CANCEL");
        assert_eq!(name(b"OPTIONS sip:a SIP/2.0\r\n"), "OPTIONS");
        assert_eq!(name(b"INFO sip:a SIP/2.0\r\n"), "INFO");
        assert_eq!(name(b"REGISTER sip:a SIP/2.0\r\n"), "other");
        assert_eq!(name(b"INVITEX sip:a SIP/2.0\r\n"), "other");
        assert_eq!(name(b"SIP/2.0 100 Trying\r\n"), "1xx");
        assert_eq!(name(b"SIP/2.0 200 OK\r\n"), "2xx");
        assert_eq!(name(b"SIP/2.0 603 Decline\r\n"), "6xx");
        assert_eq!(name(b"SIP/2.0 999 ?\r\n"), "other");
        assert_eq!(name(b"SIP/2.0 "), "other");
        assert_eq!(name(b"\r\n\r\n"), "keepalive");
        assert_eq!(name(b""), "keepalive");
    }
}
