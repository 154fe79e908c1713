//! The signalling thread: sockets, queues and clocks around one [`Worker`].
//!
//! One turn of the loop: wait until something is ready; take a bounded amount from each source in
//! a fixed order (relay, books, other workers, sockets, timers, new INVITEs); hand out what came of it
//! in batches. No source can starve another.

use super::clock;
use super::handover::{Batch, Handed, Handover};
use super::intake::Intake;
use super::stream_adapter::Arrivals;
use super::worker::{Output, Update, Worker};
use crate::books::command::{CallCommand, CallNotice};
use crate::call::event::BooksEvent;
use crate::domain::{CallKey, CallRecord, Now, Passport, Verdict};
use crate::sip::locate;
use crate::sip::message::{Path, Transport};
use crate::transport::stream::{Streams, Tls};
use crate::transport::udp::UdpEndpoint;
use std::collections::VecDeque;
use std::future::Future as _;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

/// Batches of datagrams taken from one socket in a turn.
const BATCHES_A_TURN: usize = 8;
/// Notices of the books taken in a turn.
const NOTICES_A_TURN: usize = 256;
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
    fn observe(&self, worker: &Worker, endpoints: &[&UdpEndpoint], streams: &Streams);
}

/// The books as the thread reaches them.
pub trait BooksQueue: Send {
    /// Hands a command over.
    ///
    /// # Errors
    /// The books take no more: what the call is to be told instead.
    fn offer(&self, command: CallCommand) -> Result<(), Box<CallNotice>>;
}

/// Who checks passports, off this thread.
pub trait Verifier: Send {
    /// Hands a question over; its answer comes by [`Signalling::verdicts`]. False where it takes no
    /// more: the call goes on as if no answer came.
    fn ask(&self, key: CallKey, passport: Box<Passport>) -> bool;
}

/// What came of a call's passport, and who signed it.
pub type Judgement = (CallKey, Verdict, Box<str>);

/// What a signalling thread is made of.
pub struct Signalling {
    /// The worker.
    pub worker: Worker,
    /// Its sockets.
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
    endpoints: Vec<AsyncFd<UdpEndpoint>>,
    streams: AsyncFd<Streams>,
    books: Box<dyn BooksQueue>,
    verifier: Box<dyn Verifier>,
    meter: Box<dyn Meter>,
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
    /// The reactor's.
    pub async fn run(self) -> std::io::Result<()> {
        let Self {
            worker,
            endpoints,
            handover,
            streams,
            books,
            mut notices,
            verifier,
            mut verdicts,
            mut control,
            relay_ready,
            meter,
            calls_up,
        } = self;
        let relay_ready = register(relay_ready, Interest::READABLE)?;
        let endpoints = endpoints
            .into_iter()
            .map(|endpoint| register(endpoint, NEWS))
            .collect::<Result<Vec<_>, _>>()?;
        let mut this = Loop {
            worker,
            endpoints,
            streams: register(streams, Interest::READABLE)?,
            books,
            verifier,
            meter,
            refused: VecDeque::new(),
            intake: Intake::new(handover),
            read_all: true,
            observed: clock::now().mono,
            served: clock::now().mono,
            calls_up,
        };
        let (mut batch, mut handed) = (Vec::new(), Vec::new());
        let now = clock::now();
        this.worker.start(now);
        this.turn();
        loop {
            let due = this.due();
            tokio::select! {
                biased;
                message = control.recv() => match message {
                    None | Some(Control::Stop) => return Ok(()),
                    Some(message) => this.control(message, clock::now()),
                },
                ready = relay_ready.readable() => {
                    let mut ready = ready?;
                    drain_counter(relay_ready.get_ref());
                    ready.clear_ready();
                    this.worker.relay_events(clock::now());
                }
                count = notices.recv_many(&mut batch, NOTICES_A_TURN) => {
                    if count == 0 {
                        return Ok(());
                    }
                    this.notices(&mut batch);
                }
                Some((key, verdict, signer)) = verdicts.recv() => {
                    this.worker.verdict(key, verdict, signer, clock::now());
                }
                () = this.intake.handover.receive(&mut handed, HANDED_A_TURN) => {}
                () = any_readable(&this.endpoints) => {}
                _ = this.streams.readable() => {}
                () = tokio::time::sleep_until(due.into()) => {}
            }
            this.handed(&mut handed);
            this.sockets();
            this.turn();
        }
    }
}

impl Loop {
    /// When the next turn must come without anybody asking for it.
    fn due(&self) -> Instant {
        if self.streams.get_ref().has_failures() {
            return clock::now().mono;
        }
        let second = self.observed + Duration::from_secs(1);
        let line = self.intake.due(self.served);
        let streams = self.streams.get_ref().poll_timeout();
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
                self.streams.get_mut().locate(&target.host, &addresses);
                self.worker.hops(found, now);
            }
            Control::Certificates(tls) => self.streams.get_mut().reload(*tls, now.mono),
            Control::Stop => {}
        }
    }

    /// Takes what the sockets have, bounded.
    fn sockets(&mut self) {
        let now = clock::now();
        self.read_all = true;
        for endpoint in &mut self.endpoints {
            let mut empty = false;
            let local = endpoint.get_ref().local();
            for _ in 0..BATCHES_A_TURN {
                let (worker, meter, intake) = (&mut self.worker, &self.meter, &mut self.intake);
                let taken = endpoint.get_mut().receive_waited(|bytes, remote, waited| {
                    meter.received(&bytes);
                    tracing::debug!(target: MESSAGES, %remote, message = kind(&bytes), length = bytes.len(), "received");
                    let path = Path {
                        transport: Transport::Udp,
                        local,
                        remote,
                    };
                    let since = now.mono.checked_sub(waited).unwrap_or(now.mono);
                    intake.message(worker, (bytes, path), since, now);
                });
                match taken {
                    Ok(count) if count < crate::transport::udp::BATCH => empty = true,
                    Ok(_) => {}
                    Err(error) => {
                        tracing::warn!(%local, %error, "receiving SIP failed");
                        empty = true;
                    }
                }
                if empty {
                    break;
                }
            }
            let (worker, handover) = (&mut self.worker, &mut self.intake.handover);
            self.read_all &= empty;
            if empty {
                endpoint.get_mut().failures(|remote| {
                    let path = Path {
                        transport: Transport::Udp,
                        local,
                        remote,
                    };
                    worker.path_failed(path, now);
                    // The kernel tells one of the sockets, not the one that sent.
                    handover.tell(&Handed::Failed(path));
                });
                clear_readiness(endpoint, NEWS);
            }
        }
        let mut arrivals = Arrivals {
            worker: &mut self.worker,
            meter: &*self.meter,
            intake: &mut self.intake,
            now,
        };
        if !self.streams.get_mut().receive(&mut arrivals, now.mono) {
            clear_readiness(&self.streams, Interest::READABLE);
        }
        self.stream_news(now);
    }

    /// Connections that failed, and why.
    fn stream_news(&mut self, now: Now) {
        let (streams, worker) = (self.streams.get_mut(), &mut self.worker);
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
        self.streams.get_mut().handle_timeout(now.mono);
        // A path that failed at once is another's turn at once: the next trunk's, say.
        for _ in 0..FAILURES_A_TURN {
            if !self.streams.get_ref().has_failures() {
                break;
            }
            self.stream_news(now);
            self.outputs(now);
        }
        // The relay first: who is told where to send his sound may do so at once.
        self.worker.flush_relay(now.mono);
        for endpoint in &mut self.endpoints {
            endpoint.get_mut().flush();
        }
        self.streams.get_mut().flush(now.mono);
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
            let endpoints: Vec<&UdpEndpoint> =
                self.endpoints.iter().map(AsyncFd::get_ref).collect();
            self.meter
                .observe(&self.worker, &endpoints, self.streams.get_ref());
        }
    }

    fn notices(&mut self, batch: &mut Vec<CallNotice>) {
        let now = clock::now();
        for notice in batch.drain(..) {
            self.notice(notice, now);
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
    fn handed(&mut self, batches: &mut Vec<Batch>) {
        // Whatever woke this turn.
        self.intake.handover.take(batches, HANDED_A_TURN);
        let mut transmits = Vec::new();
        for batch in batches.drain(..) {
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
                    Output::Heard(trunk, heard) => {
                        self.intake.handover.tell(&Handed::Heard(trunk, heard));
                    }
                }
            }
            // A refusal for want of room in the queue is an answer of the books like any other.
            let Some(notice) = self.refused.pop_front() else {
                return;
            };
            self.notice(notice, now);
        }
    }

    fn transmit(&mut self, bytes: bytes::Bytes, path: Path, now: Instant) {
        if let Some(owner) = self.intake.handover.owner(&path) {
            let handed = Handed::Transmit(bytes, path);
            return self.intake.handover.give(owner, handed);
        }
        let datagram = path.transport == Transport::Udp;
        let mut endpoints = self.endpoints.iter_mut();
        let endpoint = endpoints.find(|one| datagram && one.get_ref().local() == path.local);
        if datagram && endpoint.is_none() {
            return self.meter.count("unsendable", "no such socket");
        }
        self.meter.sent(&bytes);
        let remote = path.remote;
        tracing::debug!(target: MESSAGES, %remote, message = kind(&bytes), length = bytes.len(), "sent");
        match endpoint {
            Some(endpoint) => endpoint.get_mut().queue(bytes, remote),
            None => self.streams.get_mut().queue(bytes, path, now),
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
        if let Err(notice) = self.books.offer(command) {
            self.meter.count("books_queue_full", "");
            self.refused.push_back(*notice);
        }
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

fn register<T: AsRawFd>(what: T, interest: Interest) -> std::io::Result<AsyncFd<T>> {
    // SAFETY: both kinds that are registered here own their descriptor and never change it.
    let registered = unsafe { AsyncFd::register_with_interest(what, interest) };
    registered.map_err(std::io::Error::from)
}

/// What a socket has to say: datagrams, or an ICMP error that came back.
const NEWS: Interest = Interest::READABLE.add(Interest::ERROR);

/// Ready when one of the sockets is.
async fn any_readable(endpoints: &[AsyncFd<UdpEndpoint>]) {
    let Some((first, rest)) = endpoints.split_first() else {
        return std::future::pending().await;
    };
    if rest.is_empty() {
        let _ = first.ready(NEWS).await;
    } else {
        tokio::select! {
            _ = first.ready(NEWS) => {}
            () = Box::pin(any_readable(rest)) => {}
        }
    }
}

/// Tells the reactor that the socket was found empty.
fn clear_readiness<T: AsRawFd>(endpoint: &AsyncFd<T>, interest: Interest) {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let ready = std::pin::pin!(endpoint.ready(interest));
    if let std::task::Poll::Ready(Ok(mut guard)) = ready.poll(&mut context) {
        guard.clear_ready();
    }
}

/// Resets an eventfd.
fn drain_counter(fd: &OwnedFd) {
    let mut value = [0u8; 8];
    // SAFETY: eight bytes at a live buffer; the descriptor is open.
    unsafe { libc::read(fd.as_raw_fd(), value.as_mut_ptr().cast(), value.len()) };
}

impl BooksQueue for super::books_thread::BooksHandle {
    fn offer(&self, command: CallCommand) -> Result<(), Box<CallNotice>> {
        self.call(command)
    }
}
