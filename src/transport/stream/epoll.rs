//! The kernel's list of connections that have something to say.

use crate::transport::poll::Poller;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

/// Sockets told of by one call.
pub(super) const BATCH: usize = 64;

/// What a socket is watched for, or has to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Interest {
    /// There is something to read, or its end.
    pub(super) read: bool,
    /// There is room to write, or the connection is made.
    pub(super) write: bool,
}

impl Interest {
    fn bits(self) -> u32 {
        let mut bits = 0;
        if self.read {
            bits |= libc::EPOLLIN | libc::EPOLLRDHUP;
        }
        if self.write {
            bits |= libc::EPOLLOUT;
        }
        bits.cast_unsigned()
    }
}

/// One epoll instance, level-triggered.
pub(super) struct Epoll {
    poller: Poller,
    events: Vec<libc::epoll_event>,
}

impl AsRawFd for Epoll {
    fn as_raw_fd(&self) -> RawFd {
        self.poller.as_raw_fd()
    }
}

impl Epoll {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            poller: Poller::new()?,
            events: vec![libc::epoll_event { events: 0, u64: 0 }; BATCH],
        })
    }

    /// Watches a socket under a number. It is watched until it is closed.
    pub(super) fn add(&self, socket: RawFd, number: u64, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, socket, number, interest)
    }

    /// Watches it for something else.
    pub(super) fn change(&self, socket: RawFd, number: u64, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, socket, number, interest)
    }

    fn control(&self, what: i32, socket: RawFd, number: u64, interest: Interest) -> io::Result<()> {
        let watched = (number, interest.bits());
        self.poller.control(what, &socket, watched)
    }

    /// The numbers of sockets that have something to say now, at most [`BATCH`]. Does not wait.
    pub(super) fn ready(&mut self) -> smallvec::SmallVec<[(u64, Interest); BATCH]> {
        let room = i32::try_from(self.events.len()).unwrap_or(0);
        // SAFETY: `room` live events at the pointer.
        let count =
            unsafe { libc::epoll_wait(self.as_raw_fd(), self.events.as_mut_ptr(), room, 0) };
        let count = usize::try_from(count).unwrap_or(0);
        let trouble = libc::EPOLLERR | libc::EPOLLHUP;
        let read = (libc::EPOLLIN | libc::EPOLLRDHUP | trouble).cast_unsigned();
        let write = (libc::EPOLLOUT | trouble).cast_unsigned();
        self.events
            .iter()
            .take(count)
            .map(|event| {
                let (bits, number) = (event.events, event.u64);
                let says = Interest {
                    read: bits & read != 0,
                    write: bits & write != 0,
                };
                (number, says)
            })
            .collect()
    }
}
