//! What a signalling thread waits for: its queues (by a bell), the relay, connections, and the UDP
//! sockets whose turn to be read is this thread's.
//!
//! ```text
//!   worker 0  reads TURN datagrams of a socket ──► worker 1 reads as many ──► … ──► worker 0
//! ```
//!
//! Each socket is read by one thread at a time, and by all in turns: what one peer sends by one socket
//! loads all of them alike. The socket goes to the next one behind what was read from it
//! ([`super::handover::Handover::pass`]), so the order of its messages is kept. A peer that is silent
//! costs nothing: turns are counted in datagrams.

use crate::transport::poll::{Bell, Poller, Ready, Trigger};
use crate::transport::udp::UdpReader;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// Datagrams of a socket that one thread reads before it is the next one's turn: some tens of
/// milliseconds at a thousand calls a second.
pub const TURN: usize = 256;
/// How soon it is tried again to watch a socket that the kernel had no memory to watch.
const TRY_AGAIN: Duration = Duration::from_millis(10);

const BELL: u64 = u64::MAX;
const RELAY: u64 = u64::MAX - 1;
const STREAMS: u64 = u64::MAX - 2;

/// A socket whose turn it is.
pub(super) struct Reading {
    pub(super) reader: UdpReader,
    /// Datagrams taken in this turn.
    pub(super) taken: usize,
    ready: bool,
    watched: bool,
}

impl Reading {
    /// Whether something waits to be read; asked once after each wait.
    pub(super) fn take_ready(&mut self) -> bool {
        std::mem::take(&mut self.ready)
    }
}

/// All of it.
pub(super) struct Sources {
    poller: Poller,
    ready: Ready,
    relay_ready: OwnedFd,
    relay: bool,
    streams: bool,
    /// By token; empty places are taken again.
    readings: Vec<Option<Reading>>,
}

impl Sources {
    /// Watches the bell, the relay and the connections.
    pub(super) fn new(
        bell: &Arc<Bell>,
        relay_ready: OwnedFd,
        streams: &impl AsRawFd,
    ) -> io::Result<Self> {
        let poller = Poller::new()?;
        poller.watch(&**bell, BELL, Trigger::Edge)?;
        poller.watch(&relay_ready, RELAY, Trigger::Level)?;
        poller.watch(streams, STREAMS, Trigger::Level)?;
        Ok(Self {
            poller,
            ready: Ready::default(),
            relay_ready,
            relay: false,
            streams: true,
            readings: Vec::new(),
        })
    }

    /// It is this thread's turn to read that socket.
    pub(super) fn adopt(&mut self, reader: UdpReader) {
        let free = self.readings.iter().position(Option::is_none);
        let place = free.unwrap_or(self.readings.len());
        if free.is_none() {
            self.readings.push(None);
        }
        let reading = Reading {
            reader,
            taken: 0,
            ready: false,
            watched: false,
        };
        if let Some(slot) = self.readings.get_mut(place) {
            *slot = Some(reading);
        }
        self.watch();
    }

    /// Watches the sockets that are not watched yet.
    fn watch(&mut self) {
        for (token, reading) in (0u64..).zip(&mut self.readings) {
            if let Some(reading) = reading.as_mut().filter(|reading| !reading.watched) {
                let watched = self.poller.watch(&reading.reader, token, Trigger::Level);
                reading.watched = watched.is_ok();
                reading.ready = !reading.watched;
            }
        }
    }

    /// The sockets whose turn it is, for reading; those that have had theirs are taken out by
    /// [`Self::release`].
    pub(super) fn readings(&mut self) -> impl Iterator<Item = &mut Reading> {
        self.readings.iter_mut().flatten()
    }

    /// A socket that this thread has read enough of.
    pub(super) fn release(&mut self) -> Option<UdpReader> {
        let had = |reading: &mut Reading| reading.taken >= TURN;
        let mut places = self.readings.iter_mut();
        let reading = places.find_map(|place| place.take_if(had))?;
        if reading.watched {
            // It is open, and watched here: there is nothing that could fail.
            let _ = self.poller.forget(&reading.reader);
        }
        Some(reading.reader)
    }

    /// Waits until something has come, at most `timeout`.
    pub(super) fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        self.watch();
        let mut readings = self.readings.iter().flatten();
        let unwatched = readings.any(|reading| !reading.watched);
        let timeout = if unwatched {
            timeout.min(TRY_AGAIN)
        } else {
            timeout
        };
        self.poller.wait(&mut self.ready, timeout)?;
        for (token, failed) in self.ready.tokens() {
            match token {
                BELL => {}
                RELAY => self.relay = true,
                STREAMS => self.streams = true,
                place => {
                    let place = usize::try_from(place).unwrap_or(usize::MAX);
                    if let Some(Some(reading)) = self.readings.get_mut(place) {
                        reading.ready = true;
                        if failed {
                            reading.reader.has_failed();
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether the relay has something to report.
    pub(super) fn take_relay(&mut self) -> bool {
        let ready = std::mem::take(&mut self.relay);
        if ready {
            let mut value = [0u8; 8];
            let fd = self.relay_ready.as_raw_fd();
            // SAFETY: eight bytes at a live buffer; the descriptor is open.
            unsafe { libc::read(fd, value.as_mut_ptr().cast(), value.len()) };
        }
        ready
    }

    /// Whether a connection has something to say.
    pub(super) fn take_streams(&mut self) -> bool {
        std::mem::take(&mut self.streams)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::udp::UdpEndpoint;
    use std::net::UdpSocket;

    const LONG: Duration = Duration::from_secs(20);

    fn sources(bell: &Arc<Bell>) -> (Sources, OwnedFd) {
        let (relay, rings) = std::os::unix::net::UnixStream::pair().unwrap();
        let streams = Poller::new().unwrap();
        let made = Sources::new(bell, relay.into(), &streams).unwrap();
        (made, rings.into())
    }

    fn read(sources: &mut Sources) -> Vec<u8> {
        let mut got = Vec::new();
        for reading in sources.readings() {
            if reading.take_ready() {
                let taken = reading.reader.receive(|bytes, _| got.extend(bytes));
                reading.taken += taken.unwrap();
            }
        }
        got
    }

    #[test]
    fn a_socket_is_read_by_turns_and_what_waits_in_it_is_the_next_ones() {
        let bell = Arc::new(Bell::new().unwrap());
        let ((mut one, _rings), (mut two, _others)) = (sources(&bell), sources(&bell));
        let endpoint = UdpEndpoint::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let (local, peer) = (endpoint.local(), UdpSocket::bind("127.0.0.1:0").unwrap());
        one.adopt(endpoint.reader);
        let mut got = 0;
        while got < TURN {
            assert!(one.release().is_none());
            for _ in 0..8 {
                peer.send_to(b"x", local).unwrap();
            }
            one.wait(LONG).unwrap();
            got += read(&mut one).len();
        }
        peer.send_to(b"y", local).unwrap();
        let reader = one.release().unwrap();
        one.wait(Duration::ZERO).unwrap();
        assert_eq!(read(&mut one), b"");
        two.adopt(reader);
        two.wait(LONG).unwrap();
        assert_eq!(read(&mut two), b"y");
        assert!(two.release().is_none());
    }

    #[test]
    fn each_source_is_told_apart() {
        let bell = Arc::new(Bell::new().unwrap());
        let (mut sources, rings) = sources(&bell);
        assert!(sources.take_streams(), "looked at once at the start");
        bell.doze();
        bell.ring();
        sources.wait(LONG).unwrap();
        assert!(!sources.take_relay() && !sources.take_streams());
        let mut rings = std::os::unix::net::UnixStream::from(rings);
        std::io::Write::write_all(&mut rings, &[0; 8]).unwrap();
        sources.wait(LONG).unwrap();
        assert!(sources.take_relay());
        sources.wait(Duration::ZERO).unwrap();
        assert!(!sources.take_relay());
    }
}
