//! SIP over TCP and TLS: every connection of one signalling thread, driven on that thread.
//!
//! Nothing waits here, and no task stands behind a connection: the thread watches one descriptor
//! (an epoll of all sockets), takes a bounded amount from those that have something, and hands
//! whole messages on. The shape is that of [`super::udp::UdpEndpoint`].
//!
//! A [`Path`] of a connection has *our listening address* as its local end, whichever side made it:
//! that is what Via and Contact name. Its remote end is the peer's end of the connection, or the
//! place that was dialled.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::panic
    )
)]

mod complaint;
mod connection;
mod dialling;
mod ending;
mod epoll;
mod table;
#[cfg(test)]
mod tests;
mod tls;

pub use ending::Ending;
pub use tls::{Identity, PeerTls, Tls, TlsSettings};

use crate::sip::codec::ParseError;
use crate::sip::message::{Path, Transport};
use bytes::Bytes;
use complaint::Complaints;
use connection::{Connection, State, is_answered, is_final};
use dialling::Backoffs;
use epoll::{Epoll, Interest};
use smallvec::SmallVec;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};
use table::Table;

/// Bytes read from one connection at once.
const SCRATCH: usize = 64 * 1024;
/// Batches of connections with news in a turn.
const ROUNDS_A_TURN: usize = 4;
/// Connections taken from one listener in a turn.
const ACCEPTS_A_TURN: usize = 32;
/// Connections that may wait to be taken.
const LISTEN_BACKLOG: i32 = 1024;
/// Pause after a failed accept (no descriptors left, say), so that it is not tried in a frenzy.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a peer may take to close after our last word.
const LINGER: Duration = Duration::from_secs(2);
/// No request stays unanswered for longer (timer C, RFC 3261 §16.6).
const OWED_FOR: Duration = Duration::from_secs(200);
/// Listeners have numbers from here; connections have theirs below.
const LISTENERS: u64 = 1 << 63;

/// Bounds and times.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections in all.
    pub connections: usize,
    /// Of these, connections that came: what is left is for those that are dialled.
    pub accepted: usize,
    /// Connections that came of one trunk that must leave room for others.
    pub per_trunk: usize,
    /// Connections of one address of a trunk (one /64 of IPv6).
    pub per_address: usize,
    /// Connections of one address that no trunk lists, where such are taken at all.
    pub per_stranger: usize,
    /// Connections of all such addresses.
    pub strangers: usize,
    /// From the first try to a connection.
    pub connect_timeout: Duration,
    /// From a connection to agreement on TLS.
    pub handshake_timeout: Duration,
    /// From a connection to its first message, and from a message's first byte to its last.
    pub header_timeout: Duration,
    /// A connection on which nothing passes is closed after this.
    pub idle_timeout: Duration,
    /// Bytes that may wait for a peer that does not read.
    pub backlog: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            accepted: 768,
            per_trunk: 384,
            per_address: 256,
            per_stranger: 4,
            strangers: 64,
            connect_timeout: Duration::from_secs(3),
            handshake_timeout: Duration::from_secs(5),
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(600),
            backlog: 512 * 1024,
        }
    }
}

/// Who wants to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A trunk, or a party of a call.
    Known,
    /// Nobody that is known, but it gets an answer.
    Stranger,
    /// Nobody that is known: closed at once.
    Unwanted,
}

/// Where what comes goes to.
pub trait Receiver {
    /// Who is at an address.
    fn standing(&mut self, address: IpAddr) -> Standing;
    /// The trunk at an address, if it must leave room for others.
    fn trunk(&mut self, _address: IpAddr) -> Option<u16> {
        None
    }
    /// A whole message came.
    fn message(&mut self, bytes: Bytes, path: Path);
    /// What came is no message, and nothing that follows it can be told apart.
    fn broken(&mut self, error: ParseError, path: Path);
}

struct Listener {
    socket: TcpListener,
    transport: Transport,
    local: SocketAddr,
}

/// All connections of a signalling thread.
pub struct Streams {
    epoll: Epoll,
    listeners: Vec<Listener>,
    table: Table,
    tls: Tls,
    limits: Limits,
    backoffs: Backoffs,
    deadlines: BTreeSet<(Instant, u64)>,
    dirty: Vec<u64>,
    failed: VecDeque<Path>,
    complaints: Complaints,
    counts: [u64; Ending::ALL.len()],
    scratch: Box<[u8]>,
}

impl AsRawFd for Streams {
    fn as_raw_fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }
}

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streams")
            .field("connections", &self.table.len())
            .finish_non_exhaustive()
    }
}

impl Streams {
    /// Without listeners or connections.
    ///
    /// # Errors
    /// The system's.
    pub fn new(limits: Limits, tls: Tls) -> io::Result<Self> {
        Ok(Self {
            epoll: Epoll::new()?,
            listeners: Vec::new(),
            table: Table::default(),
            tls,
            limits,
            backoffs: Backoffs::default(),
            deadlines: BTreeSet::new(),
            dirty: Vec::new(),
            failed: VecDeque::new(),
            complaints: Complaints::default(),
            counts: [0; Ending::ALL.len()],
            scratch: vec![0; SCRATCH].into_boxed_slice(),
        })
    }

    /// Listens on an address, `shared` with other workers or alone. Gives back the one that is bound.
    ///
    /// # Errors
    /// The socket's.
    pub fn listen(
        &mut self,
        transport: Transport,
        local: SocketAddr,
        shared: bool,
    ) -> io::Result<SocketAddr> {
        let socket = Socket::new(
            Domain::for_address(local),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        if local.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // Connections of the process before may still be in TIME_WAIT.
        socket.set_reuse_address(true)?;
        if shared {
            socket.set_reuse_port(true)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::from(local))?;
        socket.listen(LISTEN_BACKLOG)?;
        let socket: TcpListener = socket.into();
        let local = socket.local_addr()?;
        let number = LISTENERS | u64::try_from(self.listeners.len()).unwrap_or(0);
        let interest = Interest {
            read: true,
            write: false,
        };
        self.epoll.add(socket.as_raw_fd(), number, interest)?;
        self.listeners.push(Listener {
            socket,
            transport,
            local,
        });
        Ok(local)
    }

    /// Puts other certificates and rules in force: connections from now on use them. Those that
    /// are there stay, but for those that were not asked for a certificate which is required now.
    pub fn reload(&mut self, mut tls: Tls, now: Instant) {
        tls.keep_located(&self.tls);
        self.tls = tls;
        self.backoffs = Backoffs::default();
        let tls = &self.tls;
        let unproven = self.table.numbers(|connection| {
            let from = connection.paths.first().map(|path| path.remote.ip());
            connection.is_unproven() && from.is_some_and(|from| tls.requires(from))
        });
        for number in unproven {
            if let Some(connection) = self.table.get(number) {
                connection.why = Some("a certificate is required now".into());
            }
            self.end(number, Ending::Handshake, now);
        }
    }

    /// A target has been found at other addresses: connections there are its.
    pub fn locate(&mut self, host: &str, addresses: &[IpAddr]) {
        self.tls.locate(host, addresses);
    }

    /// Connections that are there.
    #[must_use]
    pub fn connections(&self, transport: Transport) -> usize {
        self.table.count(transport)
    }

    /// Bytes that wait to be sent.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.table.waiting()
    }

    /// What has been counted since it was last asked.
    pub fn counted(&mut self, mut each: impl FnMut(&'static str, u64)) {
        for (ending, count) in Ending::ALL.iter().zip(&mut self.counts) {
            if *count > 0 {
                each(ending.label(), std::mem::take(count));
            }
        }
    }

    /// Takes what has come, bounded. Returns whether there may be more.
    pub fn receive(&mut self, receiver: &mut dyn Receiver, now: Instant) -> bool {
        if self.listeners.is_empty() {
            return false; // UDP alone: nothing can come
        }
        for _ in 0..ROUNDS_A_TURN {
            let ready = self.epoll.ready();
            if ready.is_empty() {
                return false;
            }
            for (number, says) in ready {
                if number & LISTENERS != 0 {
                    self.accept(number & !LISTENERS, receiver, now);
                } else {
                    self.progress(number, says, receiver, now);
                }
            }
        }
        true
    }

    /// Queues a message for [`Self::flush`], on the connection of the path, or on a new one.
    pub fn queue(&mut self, bytes: Bytes, path: Path, now: Instant) {
        let number = match self.table.find(path) {
            Some(number) => number,
            None => match self.dial(&bytes, path, now) {
                Ok(number) => number,
                Err(ending) => {
                    self.count(ending);
                    return self.fail(path);
                }
            },
        };
        let backlog = self.limits.backlog;
        let Some(connection) = self.table.get(number) else {
            return;
        };
        if connection.waiting().saturating_add(bytes.len()) > backlog {
            return self.end(number, Ending::Backlog, now);
        }
        if is_final(&bytes) {
            connection.owed = connection.owed.saturating_sub(1);
        } else if is_answered(&bytes) {
            connection.owed = connection.owed.saturating_add(1);
        }
        connection.active = now;
        connection.queue(bytes);
        self.touch(number);
    }

    /// Sends what is queued, as far as there is room; the rest goes when there is.
    pub fn flush(&mut self, now: Instant) {
        for number in std::mem::take(&mut self.dirty) {
            let Some(connection) = self.table.get(number) else {
                continue;
            };
            connection.dirty = false;
            match connection.write(now) {
                Ok(()) => self.watch(number),
                Err(ending) => self.end(number, ending, now),
            }
        }
    }

    /// The paths that failed since the last time: what was sent there may not have arrived.
    pub fn failures(&mut self, mut each: impl FnMut(Path)) {
        while let Some(path) = self.failed.pop_front() {
            each(path);
        }
    }

    /// Whether [`Self::failures`] has something to say.
    #[must_use]
    pub fn has_failures(&self) -> bool {
        !self.failed.is_empty()
    }

    /// When [`Self::handle_timeout`] wants to be called; it may find nothing to do then.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Closes what has taken too long.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, number)) = self.deadlines.first().copied()
            && at <= now
        {
            self.deadlines.remove(&(at, number));
            if number & LISTENERS != 0 {
                self.resume(number & !LISTENERS);
                continue;
            }
            match self.deadline(number) {
                Some((due, ending)) if due <= now => self.end(number, ending, now),
                Some((due, _)) => {
                    self.deadlines.insert((due, number));
                    self.table.arm(number, due);
                }
                None => {}
            }
        }
    }

    /// When a connection has taken too long, and for what.
    fn deadline(&self, number: u64) -> Option<(Instant, Ending)> {
        let connection = self.table.look(number)?;
        let limits = &self.limits;
        let (since, after, ending) = match connection.state {
            State::Connecting => (
                connection.since,
                limits.connect_timeout,
                Ending::ConnectTimeout,
            ),
            State::Handshaking => (
                connection.since,
                limits.handshake_timeout,
                Ending::HandshakeTimeout,
            ),
            State::Ending | State::Lingering => (connection.since, LINGER, Ending::Unframed),
            State::Open => {
                if let Some(started) = connection.started {
                    (started, limits.header_timeout, Ending::HeaderTimeout)
                } else if connection.accepted && !connection.heard {
                    (
                        connection.since,
                        limits.header_timeout,
                        Ending::HeaderTimeout,
                    )
                } else if connection.owed > 0 {
                    let patience = limits.idle_timeout.max(OWED_FOR);
                    (connection.active, patience, Ending::Idle)
                } else {
                    (connection.active, limits.idle_timeout, Ending::Idle)
                }
            }
        };
        Some((since.checked_add(after)?, ending))
    }

    /// Sees to it that a connection's deadline is looked at in time.
    fn schedule(&mut self, number: u64) {
        let Some((due, _)) = self.deadline(number) else {
            return;
        };
        let Some(armed) = self.table.armed(number) else {
            return;
        };
        // One that has moved back is found out when it comes up.
        let standing = armed.filter(|at| self.deadlines.contains(&(*at, number)));
        if standing.is_some_and(|at| at <= due) {
            return;
        }
        if let Some(at) = standing {
            self.deadlines.remove(&(at, number));
        }
        self.deadlines.insert((due, number));
        self.table.arm(number, due);
    }

    fn progress(&mut self, number: u64, says: Interest, receiver: &mut dyn Receiver, now: Instant) {
        let Some(connection) = self.table.get(number) else {
            return;
        };
        let (mut made, mut outcome) = (false, Ok(()));
        if connection.state == State::Connecting {
            outcome = connection.connected(now);
            made = connection.state != State::Connecting;
        }
        if outcome.is_ok() && says.read {
            outcome = connection.read(&mut self.scratch, receiver, now);
        }
        if outcome.is_ok() && (says.write || made) {
            outcome = connection.write(now);
        }
        let (dirty, path) = (
            std::mem::take(&mut connection.dirty),
            connection.paths.first().copied(),
        );
        if let (true, Some(path)) = (made, path) {
            self.backoffs.succeeded(path.remote);
        }
        match outcome {
            Ok(()) => {
                self.watch(number);
                if dirty {
                    self.touch(number);
                }
            }
            Err(ending) => self.end(number, ending, now),
        }
    }

    /// A connection has something to send.
    fn touch(&mut self, number: u64) {
        if let Some(connection) = self.table.get(number)
            && !std::mem::replace(&mut connection.dirty, true)
        {
            self.dirty.push(number);
        }
        self.schedule(number);
    }

    /// Watches a connection for what it now waits for.
    fn watch(&mut self, number: u64) {
        if let Some(connection) = self.table.get(number) {
            let wanted = connection.wanted();
            if wanted != connection.watched {
                connection.watched = wanted;
                let socket = connection.socket().as_raw_fd();
                let _ = self.epoll.change(socket, number, wanted);
            }
        }
        self.schedule(number);
    }

    fn end(&mut self, number: u64, ending: Ending, now: Instant) {
        if let Some(Some(at)) = self.table.armed(number) {
            self.deadlines.remove(&(at, number));
        }
        let Some(mut connection) = self.table.remove(number) else {
            return;
        };
        connection.close();
        self.count(ending);
        self.complaints.note(&connection, ending, now);
        let dialled = matches!(connection.state, State::Connecting | State::Handshaking);
        for path in &connection.paths {
            self.failed.push_back(*path);
        }
        if let Some(path) = connection.paths.first()
            && dialled
            && !connection.accepted
        {
            self.backoffs.failed(path.remote, now);
        }
        // The socket closes here, and the kernel forgets to watch it.
    }

    fn fail(&mut self, path: Path) {
        self.failed.push_back(path);
    }

    fn count(&mut self, ending: Ending) {
        let place = Ending::ALL.iter().position(|one| *one == ending);
        if let Some(count) = place.and_then(|place| self.counts.get_mut(place)) {
            *count = count.saturating_add(1);
        }
    }

    // ---- connections that come ----

    fn accept(&mut self, place: u64, receiver: &mut dyn Receiver, now: Instant) {
        let Some(index) = usize::try_from(place).ok() else {
            return;
        };
        for _ in 0..ACCEPTS_A_TURN {
            let Some(listener) = self.listeners.get(index) else {
                return;
            };
            let (transport, local) = (listener.transport, listener.local);
            match listener.socket.accept() {
                Ok((socket, remote)) => {
                    let path = Path {
                        transport,
                        local,
                        remote,
                    };
                    if let Err(ending) = self.admit(socket, path, receiver, now) {
                        self.count(ending);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::warn!(%local, %error, "accepting a SIP connection failed");
                    return self.pause(place, now);
                }
            }
        }
    }

    /// Leaves a listener alone for a moment.
    fn pause(&mut self, place: u64, now: Instant) {
        let index = usize::try_from(place).unwrap_or(usize::MAX);
        if let Some(listener) = self.listeners.get(index) {
            let until = now + ACCEPT_PAUSE;
            let socket = listener.socket.as_raw_fd();
            let number = LISTENERS | place;
            let _ = self.epoll.change(socket, number, Interest::default());
            self.deadlines.insert((until, number));
        }
    }

    fn resume(&mut self, place: u64) {
        let index = usize::try_from(place).unwrap_or(usize::MAX);
        if let Some(listener) = self.listeners.get(index) {
            let interest = Interest {
                read: true,
                write: false,
            };
            let socket = listener.socket.as_raw_fd();
            let _ = self.epoll.change(socket, LISTENERS | place, interest);
        }
    }

    /// Lets a connection in, if there is room for one from there.
    fn admit(
        &mut self,
        socket: TcpStream,
        path: Path,
        receiver: &mut dyn Receiver,
        now: Instant,
    ) -> Result<(), Ending> {
        let address = path.remote.ip();
        let standing = receiver.standing(address);
        if standing == Standing::Unwanted {
            return Err(Ending::Stranger);
        }
        let limits = &self.limits;
        if self.table.len() >= limits.connections || self.table.came() >= limits.accepted {
            return Err(Ending::Full);
        }
        let trunk = receiver.trunk(address);
        if trunk.is_some_and(|trunk| self.table.accepted_of(trunk) >= limits.per_trunk) {
            return Err(Ending::Share);
        }
        let stranger = standing == Standing::Stranger;
        let share = if stranger {
            self.limits.per_stranger
        } else {
            self.limits.per_address
        };
        if self.table.accepted_from(address) >= share
            || (stranger && self.table.strangers() >= self.limits.strangers)
        {
            return Err(Ending::Share);
        }
        socket.set_nonblocking(true).map_err(|_| Ending::Broken)?;
        // Messages are small and whole: waiting for more to send only adds delay.
        let _ = socket.set_nodelay(true);
        let (state, session) = match path.transport {
            Transport::Tls => {
                let session = self.tls.accept(address).ok_or(Ending::NoWay)?;
                (State::Handshaking, Some(session))
            }
            _ => (State::Open, None),
        };
        let mut connection = Connection::new(socket, path, state, session, now);
        connection.accepted = true;
        connection.stranger = stranger;
        connection.trunk = trunk;
        self.enter(connection)
    }

    /// Puts a connection into the table and under watch.
    fn enter(&mut self, mut connection: Connection) -> Result<(), Ending> {
        connection.watched = connection.wanted();
        let (socket, interest) = (connection.socket().as_raw_fd(), connection.watched);
        let number = self.table.insert(connection);
        if self.epoll.add(socket, number, interest).is_err() {
            self.table.remove(number);
            return Err(Ending::Broken);
        }
        self.schedule(number);
        Ok(())
    }

    // ---- connections that are made ----

    /// A connection for a message whose path has none: one that is there for where it must go, or
    /// a new one.
    fn dial(&mut self, bytes: &[u8], path: Path, now: Instant) -> Result<u64, Ending> {
        let to = Path {
            remote: dialling::destination(bytes, path),
            ..path
        };
        let number = match self.table.find(to) {
            Some(number) => number,
            None => self.connect(to, now)?,
        };
        if to != path {
            self.table.alias(number, path);
        }
        Ok(number)
    }

    fn connect(&mut self, path: Path, now: Instant) -> Result<u64, Ending> {
        let hears = |one: &&Listener| one.transport == path.transport && one.local == path.local;
        let listener = self.listeners.iter().find(hears).ok_or(Ending::NoWay)?;
        let from = SocketAddr::new(listener.local.ip(), 0);
        if self.backoffs.forbid(path.remote, now) {
            return Err(Ending::Backoff);
        }
        if self.table.len() >= self.limits.connections {
            return Err(Ending::Full);
        }
        let session = match path.transport {
            Transport::Tls => Some(self.tls.dial(path.remote.ip()).ok_or(Ending::NoWay)?),
            _ => None,
        };
        let socket = dialling::connect(from, path.remote).map_err(|_| {
            self.backoffs.failed(path.remote, now);
            Ending::Refused
        })?;
        let connection = Connection::new(socket, path, State::Connecting, session, now);
        self.enter(connection)?;
        self.table.find(path).ok_or(Ending::Broken)
    }
}

/// Paths of one connection.
type Paths = SmallVec<[Path; 1]>;
