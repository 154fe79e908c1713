//! One connection: bytes in and out, TLS between if there is some.
//!
//! ```text
//!   dialled --> Connecting --(tls)--> Handshaking --> Open --unframed--> Ending --flushed--> Lingering --> gone
//!   accepted ---------------(tls)------^  |            ^ |                                        ^
//!         '--------------------(tcp)------)------------' '-- peer, error, backlog, time ----------)--> gone
//! ```
//!
//! `Ending` reads no more and sends what is owed; `Lingering` has sent it and waits for the peer to
//! close, lest a reset overtakes the last answer.

use super::Receiver;
use super::ending::Ending;
use super::epoll::Interest;
use crate::sip::codec::{ParseError, Part, Stream};
use crate::sip::message::Path;
use bytes::Bytes;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

/// Pieces of one write.
const PIECES: usize = 16;
/// Most records that TLS is given at once.
const TLS_BUFFER: usize = 64 * 1024;
/// Reads of one TLS connection in a turn.
const TLS_READS: usize = 8;
/// Bytes that are sent for one keep-alive (RFC 5626 §3.5.1).
const PONG: &[u8] = b"\r\n";
/// Paths beside its own that one connection answers to.
const MOST_ALIASES: usize = 8;

/// Where it is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Connecting,
    Handshaking,
    Open,
    Ending,
    Lingering,
}

/// TLS of a connection.
pub(super) struct Session {
    pub(super) tls: rustls::Connection,
    /// Names of which the peer's certificate must have one; empty: any that its authority signed.
    pub(super) peer_names: std::sync::Arc<[Box<str>]>,
    /// Who is there; nobody that is known where it is empty.
    pub(super) trunk: std::sync::Arc<str>,
    /// The peer must show a certificate.
    pub(super) required: bool,
}

pub(super) struct Connection {
    socket: TcpStream,
    session: Option<Box<Session>>,
    pub(super) state: State,
    /// Its own path, then others that its far end is known by.
    pub(super) paths: SmallVec<[Path; 1]>,
    pub(super) accepted: bool,
    /// Its address was no trunk's when it came.
    pub(super) stranger: bool,
    /// The trunk that has one fewer for it.
    pub(super) trunk: Option<u16>,
    stream: Stream,
    out: VecDeque<Bytes>,
    waiting: usize,
    /// Bytes of the first one that have gone.
    gone: usize,
    pub(super) watched: Interest,
    pub(super) dirty: bool,
    /// When it came to be, and when something whole last passed.
    pub(super) since: Instant,
    pub(super) active: Instant,
    /// When the message under way began.
    pub(super) started: Option<Instant>,
    /// A whole message has come.
    pub(super) heard: bool,
    /// Requests that have no final answer yet, as far as it is seen here.
    pub(super) owed: u32,
    /// Why TLS was not agreed on.
    pub(super) why: Option<Box<str>>,
}

impl Connection {
    pub(super) fn new(
        socket: TcpStream,
        path: Path,
        state: State,
        session: Option<Box<Session>>,
        now: Instant,
    ) -> Self {
        Self {
            socket,
            session,
            state,
            paths: smallvec::smallvec![path],
            accepted: false,
            stranger: false,
            trunk: None,
            stream: Stream::default(),
            out: VecDeque::new(),
            waiting: 0,
            gone: 0,
            watched: Interest::default(),
            dirty: false,
            since: now,
            active: now,
            started: None,
            heard: false,
            owed: 0,
            why: None,
        }
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Answers to a further path; false if there are too many.
    pub(super) fn alias(&mut self, path: Path) -> bool {
        if self.paths.len() > MOST_ALIASES {
            return false;
        }
        self.paths.push(path);
        true
    }

    /// The trunk at the far end, as far as it was known when TLS began.
    pub(super) fn trunk(&self) -> Option<&str> {
        self.session.as_ref().map(|session| &*session.trunk)
    }

    /// Whether it came by TLS and need not show a certificate.
    pub(super) fn is_unproven(&self) -> bool {
        let session = self.session.as_ref();
        self.accepted && session.is_some_and(|session| !session.required)
    }

    /// Bytes that wait to be sent.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// What it is to be watched for.
    pub(super) fn wanted(&self) -> Interest {
        let tls_writes = self
            .session
            .as_ref()
            .is_some_and(|session| session.tls.wants_write());
        Interest {
            read: !matches!(self.state, State::Connecting | State::Ending),
            write: self.state == State::Connecting
                || tls_writes
                || (self.waiting > 0 && matches!(self.state, State::Open | State::Ending)),
        }
    }

    /// Adds something to send.
    pub(super) fn queue(&mut self, bytes: Bytes) {
        self.waiting = self.waiting.saturating_add(bytes.len());
        self.out.push_back(bytes);
    }

    /// The socket is connected, or is not.
    pub(super) fn connected(&mut self, now: Instant) -> Result<(), Ending> {
        match self.socket.take_error() {
            Ok(None) => {}
            Ok(Some(_)) | Err(_) => return Err(Ending::Refused),
        }
        if self.socket.peer_addr().is_err() {
            return Ok(()); // not yet
        }
        self.since = now;
        self.active = now;
        self.state = match self.session {
            Some(_) => State::Handshaking,
            None => State::Open,
        };
        Ok(())
    }

    /// Reads what there is, within bounds.
    pub(super) fn read(
        &mut self,
        scratch: &mut [u8],
        receiver: &mut dyn Receiver,
        now: Instant,
    ) -> Result<(), Ending> {
        match self.state {
            State::Connecting | State::Ending => return Ok(()),
            State::Lingering => {
                return match self.socket.read(scratch) {
                    Ok(0) => Err(Ending::Unframed),
                    Err(error) if !passes(&error) => Err(Ending::Unframed),
                    _ => Ok(()),
                };
            }
            State::Handshaking | State::Open => {}
        }
        if self.session.is_some() {
            return self.read_tls(scratch, receiver, now);
        }
        match self.socket.read(scratch) {
            Ok(0) => Err(Ending::Peer),
            Ok(count) => {
                let input = scratch.get(..count).unwrap_or_default();
                self.take(input, receiver, now);
                Ok(())
            }
            Err(error) if passes(&error) => Ok(()),
            Err(_) => Err(Ending::Broken),
        }
    }

    fn read_tls(
        &mut self,
        scratch: &mut [u8],
        receiver: &mut dyn Receiver,
        now: Instant,
    ) -> Result<(), Ending> {
        for _ in 0..TLS_READS {
            let Some(session) = &mut self.session else {
                return Ok(());
            };
            let ended = match session.tls.read_tls(&mut self.socket) {
                Ok(count) => count == 0,
                Err(error) if passes(&error) => return Ok(()),
                Err(_) => return Err(Ending::Broken),
            };
            if let Err(error) = session.tls.process_new_packets() {
                self.why = Some(error.to_string().into());
                // The alert that says why goes out, if there is room.
                let _ = session.tls.write_tls(&mut self.socket);
                // With TLS 1.3 a client learns only now that its certificate was not liked.
                return Err(if self.heard {
                    Ending::Broken
                } else {
                    Ending::Handshake
                });
            }
            self.dirty |= session.tls.wants_write();
            if self.state == State::Handshaking && !session.tls.is_handshaking() {
                if !super::tls::is_named(&session.tls, &session.peer_names) {
                    self.why = Some("its certificate has none of tls.peer_names".into());
                    return Err(Ending::Handshake);
                }
                self.state = State::Open;
                self.dirty = true;
                self.since = now;
                self.active = now;
            }
            while self.state == State::Open {
                let Some(session) = &mut self.session else {
                    break;
                };
                match session.tls.reader().read(scratch) {
                    Ok(0) => return Err(Ending::Peer),
                    Ok(count) => {
                        let input = scratch.get(..count).unwrap_or_default();
                        self.take(input, receiver, now);
                    }
                    Err(error) if passes(&error) => break,
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                        return Err(Ending::Peer);
                    }
                    Err(_) => return Err(Ending::Broken),
                }
            }
            if ended {
                return Err(if self.state == State::Handshaking {
                    Ending::Handshake
                } else {
                    Ending::Peer
                });
            }
        }
        Ok(())
    }

    /// Bytes of the peer.
    fn take(&mut self, input: &[u8], receiver: &mut dyn Receiver, now: Instant) {
        let Some(path) = self.paths.first().copied() else {
            return;
        };
        let (mut ping, mut whole, mut owed) = (false, false, self.owed);
        let mut broken: Option<ParseError> = None;
        self.stream.take(input, |part| match part {
            Part::Message(bytes) => {
                whole = true;
                if is_final(&bytes) {
                    owed = owed.saturating_sub(1);
                } else if is_answered(&bytes) {
                    owed = owed.saturating_add(1);
                }
                receiver.message(bytes, path);
            }
            Part::Ping => ping = true,
            Part::Broken(error) => broken = Some(error),
        });
        self.owed = owed;
        self.heard |= whole;
        if whole || ping {
            self.active = now;
            self.started = None;
        }
        if self.stream.is_started() {
            self.started.get_or_insert(now);
        } else {
            self.started = None;
        }
        if ping {
            // One for all that came at once.
            self.queue(Bytes::from_static(PONG));
            self.dirty = true;
        }
        if let Some(error) = broken {
            self.state = State::Ending;
            self.started = None;
            self.since = now;
            // It ends when its answer has gone, or soon without one.
            receiver.broken(error, path);
        }
    }

    /// Sends what waits, as far as there is room.
    pub(super) fn write(&mut self, now: Instant) -> Result<(), Ending> {
        if self.state == State::Connecting {
            return Ok(());
        }
        let sent = if self.session.is_some() {
            self.write_tls()
        } else {
            self.write_plain()
        };
        match sent {
            Ok(()) => {}
            Err(error) if passes(&error) => {}
            Err(_) => return Err(Ending::Broken),
        }
        if self.state == State::Ending && self.waiting == 0 {
            if let Some(session) = &mut self.session {
                session.tls.send_close_notify();
                let _ = session.tls.write_tls(&mut self.socket);
            }
            let _ = self.socket.shutdown(Shutdown::Write);
            self.state = State::Lingering;
            self.since = now;
        }
        Ok(())
    }

    fn write_plain(&mut self) -> io::Result<()> {
        while self.waiting > 0 {
            let mut pieces: SmallVec<[IoSlice<'_>; PIECES]> = SmallVec::new();
            for (place, bytes) in self.out.iter().take(PIECES).enumerate() {
                let from = if place == 0 { self.gone } else { 0 };
                pieces.push(IoSlice::new(bytes.get(from..).unwrap_or_default()));
            }
            let count = self.socket.write_vectored(&pieces)?;
            drop(pieces);
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.sent(count);
        }
        Ok(())
    }

    fn write_tls(&mut self) -> io::Result<()> {
        loop {
            let mut taken = 0;
            if let (Some(session), Some(first)) = (&mut self.session, self.out.front())
                && matches!(self.state, State::Open | State::Ending)
            {
                let rest = first.get(self.gone..).unwrap_or_default();
                taken = session.tls.writer().write(rest)?;
            }
            self.sent(taken);
            let more = self.waiting > 0 && taken > 0;
            let Some(session) = &mut self.session else {
                return Ok(());
            };
            if more {
                continue; // several messages to a record's write
            }
            let mut wrote = false;
            while session.tls.wants_write() {
                wrote = true;
                if session.tls.write_tls(&mut self.socket)? == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
            }
            if self.waiting == 0 || self.state == State::Handshaking || !(wrote || taken > 0) {
                return Ok(());
            }
        }
    }

    /// So many bytes of what waits have gone.
    fn sent(&mut self, mut count: usize) {
        self.waiting = self.waiting.saturating_sub(count);
        while let Some(first) = self.out.front() {
            let rest = first.len().saturating_sub(self.gone);
            if count < rest {
                self.gone = self.gone.saturating_add(count);
                return;
            }
            count = count.saturating_sub(rest);
            self.gone = 0;
            self.out.pop_front();
            if count == 0 {
                return;
            }
        }
    }

    /// Says goodbye, as far as that goes without waiting.
    pub(super) fn close(&mut self) {
        if let Some(session) = &mut self.session {
            session.tls.send_close_notify();
            let _ = session.tls.write_tls(&mut self.socket);
        }
    }
}

/// TLS with bounded buffers.
pub(super) fn bounded(mut tls: rustls::Connection) -> rustls::Connection {
    tls.set_buffer_limit(Some(TLS_BUFFER));
    tls
}

/// Whether a message is a request that gets an answer.
pub(super) fn is_answered(message: &[u8]) -> bool {
    !message.starts_with(b"SIP/2.0 ") && !message.starts_with(b"ACK ")
}

/// Whether a message is a final response.
pub(super) fn is_final(message: &[u8]) -> bool {
    message
        .strip_prefix(b"SIP/2.0 ")
        .is_some_and(|rest| rest.first() != Some(&b'1'))
}

/// Whether the socket only has nothing now.
fn passes(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
