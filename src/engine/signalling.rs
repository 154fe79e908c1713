//! The signalling thread: sockets, queues and clocks around one [`Worker`].
//!
//! One turn of the loop: wait until something is ready; take a bounded amount from each source in
//! a fixed order (relay, books, sockets, timers); hand out what came of it in batches. No source
//! can starve another.

use super::clock;
use super::pace::Pace;
use super::stream_adapter::Arrivals;
use super::worker::{Output, Update, Worker};
use crate::books::command::{CallCommand, CallNotice};
use crate::domain::{CallRecord, Now};
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
const BATCHES_A_TURN: usize = 2;
/// Notices of the books taken in a turn.
const NOTICES_A_TURN: usize = 256;

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
    /// New calls are refused for a while, because the thread does not keep up.
    fn shed(&self);
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

/// What a signalling thread is made of.
pub struct Signalling {
    /// The worker.
    pub worker: Worker,
    /// Its sockets.
    pub endpoints: Vec<UdpEndpoint>,
    /// Its connections.
    pub streams: Streams,
    /// The books.
    pub books: Box<dyn BooksQueue>,
    /// From the books.
    pub notices: mpsc::UnboundedReceiver<CallNotice>,
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
    meter: Box<dyn Meter>,
    refused: VecDeque<CallNotice>,
    pace: Pace,
    overloaded: bool,
    observed: Instant,
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
            streams,
            books,
            mut notices,
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
            meter,
            refused: VecDeque::new(),
            pace: Pace::default(),
            overloaded: false,
            observed: clock::now().mono,
            calls_up,
        };
        let mut batch = Vec::new();
        let now = clock::now();
        this.worker.start(now);
        this.turn(now.mono);
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
                    let now = clock::now();
                    for notice in batch.drain(..) {
                        this.worker.notice(notice, now);
                    }
                }
                () = any_readable(&this.endpoints) => {}
                _ = this.streams.readable() => {}
                () = tokio::time::sleep_until(due.into()) => {}
            }
            this.sockets();
            this.turn(due);
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
        let worker = self.worker.poll_timeout().unwrap_or(second);
        let streams = self.streams.get_ref().poll_timeout().unwrap_or(second);
        second.min(worker).min(streams)
    }

    fn control(&mut self, control: Control, now: Now) {
        match control {
            Control::Drain => self.worker.draining(true, now),
            Control::EndCalls => self.worker.end_calls(now),
            Control::Reload(update) => self.worker.reload(*update, now),
            Control::Certificates(tls) => self.streams.get_mut().reload(*tls),
            Control::Stop => {}
        }
    }

    /// Takes what the sockets have, bounded.
    fn sockets(&mut self) {
        let now = clock::now();
        for endpoint in &mut self.endpoints {
            let mut empty = false;
            let local = endpoint.get_ref().local();
            for _ in 0..BATCHES_A_TURN {
                let (worker, meter) = (&mut self.worker, &self.meter);
                let taken = endpoint.get_mut().receive(|bytes, remote| {
                    meter.received(&bytes);
                    tracing::debug!(target: MESSAGES, %remote, message = kind(&bytes), length = bytes.len(), "received");
                    worker.datagram(
                        bytes,
                        Path {
                            transport: Transport::Udp,
                            local,
                            remote,
                        },
                        now,
                    );
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
            let worker = &mut self.worker;
            if empty {
                endpoint.get_mut().failures(|remote| {
                    worker.path_failed(
                        Path {
                            transport: Transport::Udp,
                            local,
                            remote,
                        },
                        now,
                    );
                });
                clear_readiness(endpoint, NEWS);
            }
        }
        let mut arrivals = Arrivals {
            worker: &mut self.worker,
            meter: &*self.meter,
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
        streams.failures(|path| worker.path_failed(path, now));
        let meter = &self.meter;
        streams.counted(|ending, count| {
            for _ in 0..count {
                meter.count("sip_connection", ending);
            }
        });
    }

    /// Timers, then everything that the cores want done outside.
    fn turn(&mut self, due: Instant) {
        let now = clock::now();
        if self.worker.poll_timeout().is_some_and(|at| at <= now.mono) {
            self.worker.handle_timeout(now);
        }
        self.shed(due, now);
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
        self.calls_up
            .store(self.worker.calls(), std::sync::atomic::Ordering::Relaxed);
        if now.mono.saturating_duration_since(self.observed) >= Duration::from_secs(1) {
            self.observed = now.mono;
            let endpoints: Vec<&UdpEndpoint> =
                self.endpoints.iter().map(AsyncFd::get_ref).collect();
            self.meter
                .observe(&self.worker, &endpoints, self.streams.get_ref());
        }
    }

    fn shed(&mut self, due: Instant, now: Now) {
        let overloaded = self.pace.turn(due, now.mono);
        if overloaded != self.overloaded {
            self.overloaded = overloaded;
            if overloaded {
                self.meter.shed();
            }
            self.worker.overloaded(overloaded, now);
        }
    }

    fn outputs(&mut self, now: Now) {
        loop {
            while let Some(output) = self.worker.poll_output() {
                match output {
                    Output::Transmit(bytes, path) => self.transmit(bytes, path, now.mono),
                    Output::Books(command) => self.ask(command),
                    Output::Ended(record) => self.meter.ended(&record),
                    Output::Count(name, label) => self.meter.count(name, label),
                }
            }
            // A refusal for want of room in the queue is an answer of the books like any other.
            let Some(notice) = self.refused.pop_front() else {
                return;
            };
            self.worker.notice(notice, now);
        }
    }

    fn transmit(&mut self, bytes: bytes::Bytes, path: Path, now: Instant) {
        if path.transport != Transport::Udp {
            self.meter.sent(&bytes);
            let remote = path.remote;
            tracing::debug!(target: MESSAGES, %remote, message = kind(&bytes), length = bytes.len(), "sent");
            return self.streams.get_mut().queue(bytes, path, now);
        }
        let endpoint = self
            .endpoints
            .iter_mut()
            .find(|one| one.get_ref().local() == path.local);
        match endpoint {
            Some(endpoint) => {
                self.meter.sent(&bytes);
                let remote = path.remote;
                tracing::debug!(target: MESSAGES, %remote, message = kind(&bytes), length = bytes.len(), "sent");
                endpoint.get_mut().queue(bytes, path.remote);
            }
            None => self.meter.count("unsendable", "no such socket"),
        }
    }

    fn ask(&mut self, command: CallCommand) {
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
