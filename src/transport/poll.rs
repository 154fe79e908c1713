//! How a thread that serves sockets and queues waits for either: one epoll instance, and a bell for
//! whoever puts something into a queue.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::Duration;

/// Events taken by one wait; what is beyond comes with the next.
const BATCH: usize = 32;

/// When an event comes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// As long as there is something to read, or an error to take.
    Level,
    /// Once for each time that something comes.
    Edge,
}

/// An epoll instance.
#[derive(Debug)]
pub struct Poller(OwnedFd);

/// What a wait brought.
pub struct Ready {
    list: [libc::epoll_event; BATCH],
    count: usize,
}

impl Default for Ready {
    fn default() -> Self {
        Self {
            list: [libc::epoll_event { events: 0, u64: 0 }; BATCH],
            count: 0,
        }
    }
}

impl Ready {
    /// Tokens that are ready, and whether there is an error to take (`EPOLLERR`).
    pub fn tokens(&self) -> impl Iterator<Item = (u64, bool)> + '_ {
        let failed = libc::EPOLLERR.cast_unsigned();
        let list = self.list.iter().take(self.count);
        list.map(move |event| (event.u64, event.events & failed != 0))
    }
}

impl AsRawFd for Poller {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Poller {
    /// One that watches nothing.
    ///
    /// # Errors
    /// The kernel's.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers; the result is checked.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: a fresh descriptor that nobody else owns.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Reports `token` when there is something to read.
    ///
    /// # Errors
    /// The kernel's.
    pub fn watch(&self, what: &impl AsRawFd, token: u64, trigger: Trigger) -> io::Result<()> {
        let edge = match trigger {
            Trigger::Level => 0,
            Trigger::Edge => libc::EPOLLET,
        };
        let events = (libc::EPOLLIN | edge).cast_unsigned();
        self.control(libc::EPOLL_CTL_ADD, what, (token, events))
    }

    /// Reports it no more.
    ///
    /// # Errors
    /// The kernel's.
    pub fn forget(&self, what: &impl AsRawFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, what, (0, 0))
    }

    pub(super) fn control(
        &self,
        how: libc::c_int,
        what: &impl AsRawFd,
        (token, events): (u64, u32),
    ) -> io::Result<()> {
        let mut event = libc::epoll_event { events, u64: token };
        let epoll = self.0.as_raw_fd();
        // SAFETY: the event is a live value; the kernel only reads it.
        check(unsafe { libc::epoll_ctl(epoll, how, what.as_raw_fd(), &raw mut event) }).map(drop)
    }

    /// Waits for events, at most `timeout` (rounded up to whole milliseconds).
    ///
    /// # Errors
    /// The kernel's; a wait that a signal ended is one without events.
    pub fn wait(&self, ready: &mut Ready, timeout: Duration) -> io::Result<()> {
        let millis = timeout.as_nanos().div_ceil(1_000_000);
        let millis = libc::c_int::try_from(millis).unwrap_or(libc::c_int::MAX);
        let room = libc::c_int::try_from(BATCH).unwrap_or(0);
        // SAFETY: the list holds BATCH events, which the call may write.
        let count = check(unsafe {
            libc::epoll_wait(self.0.as_raw_fd(), ready.list.as_mut_ptr(), room, millis)
        });
        ready.count = match count {
            Ok(count) => usize::try_from(count).unwrap_or(0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        Ok(())
    }
}

/// Wakes one thread from its wait, for what lies in its queues.
///
/// ```text
///   sender:  put it into the queue;  ring        (a system call only if the thread may sleep)
///   thread:  doze;  look at the queues;  wait;  rise;  take from the queues
/// ```
///
/// The thread says that it dozes before it looks, the sender looks whether it does after it has sent:
/// one of them sees the other.
#[derive(Debug)]
pub struct Bell {
    fd: OwnedFd,
    dozing: AtomicBool,
}

impl AsRawFd for Bell {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl Bell {
    /// One that its thread is to watch, by [`Trigger::Edge`]: then it is never read.
    ///
    /// # Errors
    /// The kernel's.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointer is involved.
        let fd = check(unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) })?;
        Ok(Self {
            // SAFETY: a fresh descriptor that nobody else owns.
            fd: unsafe { OwnedFd::from_raw_fd(fd) },
            dozing: AtomicBool::new(false),
        })
    }

    /// Something was put into one of the queues.
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.dozing.load(Ordering::Relaxed) && self.dozing.swap(false, Ordering::SeqCst) {
            let one = 1u64;
            // A counter that is full (after 2^64 wakes) would be the only failure.
            // SAFETY: the pointer is to eight readable bytes.
            let _ = unsafe { libc::write(self.fd.as_raw_fd(), (&raw const one).cast(), 8) };
        }
    }

    /// The thread is about to wait; it looks at its queues once more after this.
    pub fn doze(&self) {
        self.dozing.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// The thread is at its queues, or is about to be: nobody need ring.
    pub fn rise(&self) {
        self.dozing.store(false, Ordering::SeqCst);
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::sync::{Arc, mpsc};

    const LONG: Duration = Duration::from_secs(20);

    fn tokens(poller: &Poller, timeout: Duration) -> Vec<(u64, bool)> {
        let mut ready = Ready::default();
        poller.wait(&mut ready, timeout).unwrap();
        ready.tokens().collect()
    }

    #[test]
    fn a_socket_is_told_of_until_it_is_read_or_forgotten() {
        let poller = Poller::new().unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        poller.watch(&socket, 7, Trigger::Level).unwrap();
        assert_eq!(tokens(&poller, Duration::ZERO), []);
        socket.send_to(b"x", socket.local_addr().unwrap()).unwrap();
        assert_eq!(tokens(&poller, LONG), [(7, false)]);
        assert_eq!(tokens(&poller, LONG), [(7, false)]);
        poller.forget(&socket).unwrap();
        assert_eq!(tokens(&poller, Duration::ZERO), []);
        // Whoever watches it next is told of what came before.
        let next = Poller::new().unwrap();
        next.watch(&socket, 8, Trigger::Level).unwrap();
        assert_eq!(tokens(&next, LONG), [(8, false)]);
    }

    #[test]
    fn a_bell_rings_once_for_a_thread_that_dozes() {
        let (poller, bell) = (Poller::new().unwrap(), Bell::new().unwrap());
        poller.watch(&bell, 1, Trigger::Edge).unwrap();
        bell.ring();
        assert_eq!(tokens(&poller, Duration::ZERO), []);
        for _ in 0..3 {
            bell.doze();
            bell.ring();
            bell.ring();
            assert_eq!(tokens(&poller, LONG), [(1, false)]);
            assert_eq!(tokens(&poller, Duration::ZERO), []);
        }
        bell.doze();
        bell.rise();
        bell.ring();
        assert_eq!(tokens(&poller, Duration::ZERO), []);
    }

    #[test]
    fn nothing_that_is_sent_is_slept_over() {
        const MANY: u32 = 20_000;
        let (poller, bell) = (Poller::new().unwrap(), Arc::new(Bell::new().unwrap()));
        poller.watch(&*bell, 1, Trigger::Edge).unwrap();
        let (sender, queue) = mpsc::channel();
        let (back, answers) = mpsc::channel();
        let rung = Arc::clone(&bell);
        // Each is sent only when the one before was taken, so that the thread dozes in between.
        let other = std::thread::spawn(move || {
            for n in 0..MANY {
                sender.send(n).unwrap();
                rung.ring();
                assert_eq!(answers.recv().unwrap(), n);
            }
        });
        let mut waits = 0;
        for n in 0..MANY {
            let got = loop {
                bell.doze();
                if let Ok(got) = queue.try_recv() {
                    break got;
                }
                assert_ne!(tokens(&poller, LONG), [], "slept over {n}");
                waits += 1;
            };
            bell.rise();
            assert_eq!(got, n);
            back.send(n).unwrap();
        }
        other.join().unwrap();
        assert!(waits <= 2 * MANY);
    }
}
