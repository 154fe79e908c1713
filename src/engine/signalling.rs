//! The signalling thread: sockets, queues and clocks around one [`Worker`].
//!
//! One turn of the loop: wait until something is ready; take a bounded amount from each source in
//! a fixed order (controls, relay, books, other workers, sockets, timers, new INVITEs); hand out what
//! came of it in batches. No source can starve another.

use super::clock;
use super::handover::{Handed, Handover};
use super::intake::Intake;
use super::sources::Sources;
use super::stream_adapter::Arrivals;
use super::worker::{Output, Update, Worker};
use crate::books::command::{CallCommand, CallNotice};
use crate::call::event::BooksEvent;
use crate::domain::{CallKey, CallRecord, Now, Passport, Verdict};
use crate::sip::locate;
use crate::sip::message::{Path, Transport};
use crate::transport::poll::Bell;
use crate::transport::stream::{Streams, Tls};
use crate::transport::udp::{UdpEndpoint, UdpSender};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;

/// Batches of datagrams taken from one socket in a turn.
const BATCHES_A_TURN: usize = 8;
/// Notices of the books taken in a turn.
const NOTICES_A_TURN: usize = 256;
/// Verdicts on passports taken in a turn.
const VERDICTS_A_TURN: usize = 64;
/// Batches of other workers taken in a turn.
const HANDED_A_TURN: usize = 8;

/// Rounds of failed paths that are told of in a turn: each may make the worker try another.
const FAILURES_A_TURN: usize = 4;

/// Where messages are logged (DEBUG).
pub(super) const MESSAGES: &str = "leasebridge::sip";

/// What the rest of the process tells a signalling thread.
pub enum Control {
    /// No new calls.
    Drain,
    /// End every call now.
    EndCalls,
    /// New configuration.
    Reload(Box<Update>),
    /// Where a trunk's requests go, as the DNS has it.
    Hops(Box<(locate::Target, Vec<locate::Hop>)>),
    /// New certificates and rules of TLS.
    Certificates(Box<Tls>),
    /// Stop the thread, whatever is up.
    Stop,
}

/// Where the thread puts what it counts. All calls are cheap and none waits.
pub trait Meter: Send {
    /// A call ended (refused ones too).
    fn ended(&self, record: &CallRecord);
    /// Something happened: name and label.
    fn count(&self, name: &'static str, label: &'static str);
    /// A datagram came.
    fn received(&self, message: &[u8]);
    /// A datagram went.
    fn sent(&self, message: &[u8]);
    /// New INVITEs that wait, how often the thread fell behind so far, and what it handed over since
    /// the last time to a worker that took nothing.
    fn line(&self, waiting: usize, began: u64, lost: u64);
    /// Figures of the moment, about once a second.
    fn observe(&self, worker: &Worker, endpoints: &[UdpSender], streams: &Streams);
}

/// The books as the thread reaches them.
pub trait BooksQueue: Send {
    /// Hands commands over. Where the books take no more, `refused` has what the call is to be told
    /// instead.
    fn offer(&self, commands: &mut Vec<CallCommand>, refused: &mut VecDeque<CallNotice>);
}

/// Who checks passports, off this thread.
pub trait Verifier: Send {
    /// Hands a question over; its answer comes by [`Signalling::verdicts`]. False where it takes no
    /// more: the call goes on as if no answer came.
    fn ask(&self, key: CallKey, passport: Box<Passport>) -> bool;
}

/// What came of a call's passport, and who signed it.
pub type Judgement = (CallKey, Verdict, Box<str>);

/// What a signalling thread is made of. Whoever puts something into one of its queues rings its bell
/// ([`Handover::bell`]).
pub struct Signalling {
    /// The worker.
    pub worker: Worker,
    /// Its sockets: those that it sends by, and reads first.
    pub endpoints: Vec<UdpEndpoint>,
    /// The way to the other workers.
    pub handover: Handover,
    /// Its connections.
    pub streams: Streams,
    /// The books.
    pub books: Box<dyn BooksQueue>,
    /// From the books.
    pub notices: mpsc::UnboundedReceiver<CallNotice>,
    /// Who checks passports.
    pub verifier: Box<dyn Verifier>,
    /// What came of them; never more than were asked for.
    pub verdicts: mpsc::UnboundedReceiver<Judgement>,
    /// From the rest of the process.
    pub control: mpsc::Receiver<Control>,
    /// Readable when the relay has something to report.
    pub relay_ready: OwnedFd,
    /// Counters.
    pub meter: Box<dyn Meter>,
    /// Calls up, for whoever waits for the drain.
    pub calls_up: Arc<std::sync::atomic::AtomicUsize>,
}

struct Loop {
    worker: Worker,
    endpoints: Vec<UdpSender>,
    streams: Streams,
    sources: Sources,
    books: Box<dyn BooksQueue>,
    verifier: Box<dyn Verifier>,
    meter: Box<dyn Meter>,
    /// For the books, at the end of a turn: they are woken once.
    asked: Vec<CallCommand>,
    refused: VecDeque<CallNotice>,
    intake: Intake,
    /// Whether the last turn left nothing in the sockets.
    read_all: bool,
    observed: Instant,
    /// When new INVITEs were last served.
    served: Instant,
    calls_up: Arc<std::sync::atomic::AtomicUsize>,
}

impl Signalling {
    /// Runs until [`Control::Stop`], or until every sender of controls is gone.
    ///
    /// # Errors
    /// The kernel's.
    pub fn run(self) -> std::io::Result<()> {
        let Self {
            worker,
            endpoints,
            handover,
            streams,
            books,
            notices,
            verifier,
            verdicts,
            control,
            relay_ready,
            meter,
            calls_up,
        } = self;
        let bell = Arc::clone(handover.bell());
        let mut sources = Sources::new(&bell, relay_ready, &streams)?;
        let endpoints = endpoints.into_iter().map(|endpoint| {
            sources.adopt(endpoint.reader);
            endpoint.sender
        });
        let this = Loop {
            worker,
            endpoints: endpoints.collect(),
            streams,
            sources,
            books,
            verifier,
            meter,
            asked: Vec::new(),
            refused: VecDeque::new(),
            intake: Intake::new(handover),
            read_all: true,
            observed: clock::now().mono,
            served: clock::now().mono,
            calls_up,
        };
        let queues = Queues {
            notices,
            verdicts,
            control,
        };
        this.run(queues, &bell)
    }
}

/// What others put something into.
struct Queues {
    notices: mpsc::UnboundedReceiver<CallNotice>,
    verdicts: mpsc::UnboundedReceiver<Judgement>,
    control: mpsc::Receiver<Control>,
}

impl Queues {
    fn are_empty(&self) -> bool {
        self.control.is_empty() && self.notices.is_empty() && self.verdicts.is_empty()
    }
}

impl Loop {
    fn run(mut self, mut queues: Queues, bell: &Bell) -> std::io::Result<()> {
        self.worker.start(clock::now());
        self.turn();
        loop {
            let due = self.due();
            bell.doze();
            let timeout = if queues.are_empty() && self.intake.handover.is_empty() {
                due.saturating_duration_since(clock::now().mono)
            } else {
                Duration::ZERO
            };
            self.sources.wait(timeout)?;
            bell.rise();
            if !self.queues(&mut queues) {
                return Ok(());
            }
            self.handed();
            self.sockets();
            self.turn();
        }
    }

    /// Takes what others put into the queues, bounded. False: it is to end.
    fn queues(&mut self, queues: &mut Queues) -> bool {
        loop {
            match queues.control.try_recv() {
                Ok(Control::Stop) | Err(TryRecvError::Disconnected) => return false,
                Ok(message) => self.control(message, clock::now()),
                Err(TryRecvError::Empty) => break,
            }
        }
        if self.sources.take_relay() {
            self.worker.relay_events(clock::now());
        }
        for _ in 0..NOTICES_A_TURN {
            match queues.notices.try_recv() {
                Ok(notice) => self.notice(notice, clock::now()),
                Err(TryRecvError::Disconnected) => return false,
                Err(TryRecvError::Empty) => break,
            }
        }
        for _ in 0..VERDICTS_A_TURN {
            let Ok((key, verdict, signer)) = queues.verdicts.try_recv() else {
                break;
            };
            self.worker.verdict(key, verdict, signer, clock::now());
        }
        true
    }

    /// When the next turn must come without anybody asking for it.
    fn due(&self) -> Instant {
        if self.streams.has_failures() {
            return clock::now().mono;
        }
        let second = self.observed + Duration::from_secs(1);
        let line = self.intake.due(self.served);
        let streams = self.streams.poll_timeout();
        let times = [self.worker.poll_timeout(), line, streams];
        times.into_iter().flatten().fold(second, Instant::min)
    }

    fn control(&mut self, control: Control, now: Now) {
        match control {
            Control::Drain => self.worker.draining(true, now),
            Control::EndCalls => self.worker.end_calls(now),
            Control::Reload(update) => self.worker.reload(*update, now),
            Control::Hops(found) => {
                let (target, hops) = &*found;
                let addresses: Vec<_> = hops.iter().map(|hop| hop.path.remote.ip()).collect();
                self.streams.locate(&target.host, &addresses);
                self.worker.hops(found, now);
            }
            Control::Certificates(tls) => self.streams.reload(*tls, now.mono),
            Control::Stop => {}
        }
    }

    /// Takes what the sockets have, bounded.
    fn sockets(&mut self) {
        let now = clock::now();
        self.read_all = true;
        let (worker, meter, intake) = (&mut self.worker, &self.meter, &mut self.intake);
        for reading in self.sources.readings() {
            if !reading.take_ready() {
                continue;
            }
            let local = reading.reader.local();
            let path = |remote| Path {
                transport: Transport::Udp,
                local,
                remote,
            };
            let mut empty = false;
            for _ in 0..BATCHES_A_TURN {
                let taken = reading.reader.receive_waited(|bytes, remote, waited| {
                    meter.received(&bytes);
                    tracing::debug!(target: MESSAGES, %remote, message = kind(&bytes), length = bytes.len(), "received");
                    let since = now.mono.checked_sub(waited).unwrap_or(now.mono);
                    intake.message(worker, (bytes, path(remote)), since, now);
                });
                match taken {
                    Ok(count) => {
                        reading.taken = reading.taken.saturating_add(count);
                        empty = count < crate::transport::udp::BATCH;
                    }
                    Err(error) => {
                        tracing::warn!(%local, %error, "receiving SIP failed");
                        empty = true;
                    }
                }
                if empty {
                    break;
                }
            }
            self.read_all &= empty;
            if empty {
                reading.reader.failures(|remote| {
                    worker.path_failed(path(remote), now);
                    // The kernel tells one of the sockets, not the one that sent.
                    intake.handover.tell(&Handed::Failed(path(remote)));
                });
            }
        }
        self.pass_sockets();
        if self.sources.take_streams() {
            self.connections(now);
        }
    }

    /// Sockets that this thread has read enough of are the next one's to read.
    fn pass_sockets(&mut self) {
        let handover = &mut self.intake.handover;
        if handover.is_alone() {
            return;
        }
        let mut kept = Vec::new();
        while let Some(reader) = self.sources.release() {
            kept.extend(handover.pass(reader));
        }
        for reader in kept {
            self.sources.adopt(reader);
        }
    }

    /// Takes what the connections have, bounded.
    fn connections(&mut self, now: Now) {
        let mut arrivals = Arrivals {
            worker: &mut self.worker,
            meter: &*self.meter,
            intake: &mut self.intake,
            now,
        };
        // What is left is told of again.
        self.streams.receive(&mut arrivals, now.mono);
        self.stream_news(now);
    }

    /// Connections that failed, and why.
    fn stream_news(&mut self, now: Now) {
        let (streams, worker) = (&mut self.streams, &mut self.worker);
        let handover = &mut self.intake.handover;
        streams.failures(|path| {
            worker.path_failed(path, now);
            // Others may have sent on it.
            handover.tell(&Handed::Failed(path));
        });
        let meter = &self.meter;
        streams.counted(|ending, count| {
            for _ in 0..count {
                meter.count("sip_connection", ending);
            }
        });
    }

    /// Timers, then everything that the cores want done outside.
    fn turn(&mut self) {
        let now = clock::now();
        if self.worker.poll_timeout().is_some_and(|at| at <= now.mono) {
            self.worker.handle_timeout(now);
        }
        self.intake
            .serve(&mut self.worker, self.read_all, clock::now);
        self.served = clock::now().mono;
        self.outputs(now);
        self.streams.handle_timeout(now.mono);
        // A path that failed at once is another's turn at once: the next trunk's, say.
        for _ in 0..FAILURES_A_TURN {
            if !self.streams.has_failures() {
                break;
            }
            self.stream_news(now);
            self.outputs(now);
        }
        // The relay first: who is told where to send his sound may do so at once.
        self.worker.flush_relay(now.mono);
        for endpoint in &mut self.endpoints {
            endpoint.flush();
        }
        self.streams.flush(now.mono);
        let lost = self.intake.handover.flush();
        self.calls_up
            .store(self.worker.calls(), std::sync::atomic::Ordering::Relaxed);
        let second = now.mono.saturating_duration_since(self.observed) >= Duration::from_secs(1);
        if second || lost > 0 {
            let (waiting, began) = self.intake.line();
            self.meter.line(waiting, began, lost);
        }
        if second {
            self.observed = now.mono;
            self.meter
                .observe(&self.worker, &self.endpoints, &self.streams);
        }
    }

    fn notice(&mut self, notice: CallNotice, now: Now) {
        if matches!(
            notice.event,
            BooksEvent::Admitted(_) | BooksEvent::Refused(_)
        ) {
            self.intake.answered();
        }
        self.worker.notice(notice, now);
    }

    /// What other workers handed over.
    fn handed(&mut self) {
        if self.intake.handover.is_empty() {
            return;
        }
        let mut batches = Vec::new();
        self.intake.handover.take(&mut batches, HANDED_A_TURN);
        let mut transmits = Vec::new();
        for mut batch in batches {
            if let Some(reader) = batch.reader() {
                self.sources.adopt(reader);
            }
            let mut transmit = |bytes, path| transmits.push((bytes, path));
            self.intake
                .open(&mut self.worker, batch, clock::now(), &mut transmit);
        }
        let now = clock::now().mono;
        for (bytes, path) in transmits {
            self.transmit(bytes, path, now);
        }
    }

    fn outputs(&mut self, now: Now) {
        loop {
            while let Some(output) = self.worker.poll_output() {
                match output {
                    Output::Transmit(bytes, path) => self.transmit(bytes, path, now.mono),
                    Output::Books(command) => self.ask(command),
                    Output::Verify(key, passport) => self.verify(key, passport, now),
                    Output::Ended(record) => self.meter.ended(&record),
                    Output::Count(name, label) => self.meter.count(name, label),
                    Output::HopNews(path, until) => {
                        let news = Handed::HopNews(path, until);
                        self.intake.handover.tell(&news);
                    }
                    Output::Heard(trunk, heard) => {
                        self.intake.handover.tell(&Handed::Heard(trunk, heard));
                    }
                }
            }
            self.books.offer(&mut self.asked, &mut self.refused);
            // A refusal for want of room in the queue is an answer of the books like any other.
            if self.refused.is_empty() {
                return;
            }
            for notice in std::mem::take(&mut self.refused) {
                self.meter.count("books_queue_full", "");
                self.notice(notice, now);
            }
        }
    }

    fn transmit(&mut self, bytes: bytes::Bytes, path: Path, now: Instant) {
        if let Some(owner) = self.intake.handover.owner(&path) {
            let handed = Handed::Transmit(bytes, path);
            return self.intake.handover.give(owner, handed);
        }
        let datagram = path.transport == Transport::Udp;
        let mut endpoints = self.endpoints.iter_mut();
        let endpoint = endpoints.find(|one| datagram && one.local() == path.local);
        if datagram && endpoint.is_none() {
            return self.meter.count("unsendable", "no such socket");
        }
        self.meter.sent(&bytes);
        let remote = path.remote;
        tracing::debug!(target: MESSAGES, %remote, message = kind(&bytes), length = bytes.len(), "sent");
        match endpoint {
            Some(endpoint) => endpoint.queue(bytes, remote),
            None => self.streams.queue(bytes, path, now),
        }
    }

    fn verify(&mut self, key: CallKey, passport: Box<Passport>, now: Now) {
        if !self.verifier.ask(key, passport) {
            self.meter.count("identity_bounds", "questions");
            let signer = Box::from("");
            self.worker.verdict(key, Verdict::Unavailable, signer, now);
        }
    }

    fn ask(&mut self, command: CallCommand) {
        if command.is_admission() {
            self.intake.asked();
        }
        self.asked.push(command);
    }
}

/// A message's method or status code for the log. Nothing else of it: all the rest may hold numbers.
pub(super) fn kind(message: &[u8]) -> &str {
    let status = message
        .strip_prefix(b"SIP/2.0 ")
        .and_then(|rest| rest.get(..3));
    let word = match status {
        Some(code) => code.iter().all(u8::is_ascii_digit).then_some(code),
        None => message
            .split(|byte| *byte == b' ')
            .next()
            .filter(|word| word.len() <= 9 && word.iter().all(u8::is_ascii_uppercase)),
    };
    word.and_then(|word| std::str::from_utf8(word).ok())
        .unwrap_or("?")
}

impl BooksQueue for super::books_thread::BooksHandle {
    fn offer(&self, commands: &mut Vec<CallCommand>, refused: &mut VecDeque<CallNotice>) {
        if !commands.is_empty() {
            self.calls(commands.drain(..), |notice| refused.push_back(notice));
        }
    }
}
