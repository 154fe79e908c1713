//! When the kernel took a datagram from the network (`SO_TIMESTAMPNS`): by it is known how long it
//! has waited in the socket's buffer.

use super::udp::set_option;
use socket2::Socket;
use std::io;
use std::mem::size_of;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Room for one stamp as a control message. Aligned as the kernel's header is.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct Room([u8; 64]);

impl Room {
    /// Nothing yet.
    pub(super) const EMPTY: Self = Self([0; 64]);

    /// Lets the kernel write here. The header must not be used beyond the room's life.
    pub(super) fn offer(&mut self, header: &mut libc::msghdr) {
        header.msg_control = self.0.as_mut_ptr().cast();
        header.msg_controllen = self.0.len() as _;
    }
}

/// Asks for stamps.
pub(super) fn ask(socket: &Socket) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)
}

/// The clock that stamps are of.
pub(super) struct Clock(Duration);

impl Clock {
    /// Reads it.
    pub(super) fn read() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self(since.unwrap_or_default())
    }

    /// How long ago the stamp of a received message is; zero if it has none.
    pub(super) fn since(&self, header: &libc::msghdr) -> Duration {
        let stamp = stamp_of(header);
        stamp.map_or(Duration::ZERO, |stamp| self.0.saturating_sub(stamp))
    }
}

fn stamp_of(header: &libc::msghdr) -> Option<Duration> {
    // SAFETY: the kernel has filled the header's control buffer, which is alive, and its length.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !message.is_null() {
        // SAFETY: the macros give whole headers inside the control buffer or null.
        let (level, kind, length) = unsafe {
            let head = &*message;
            (head.cmsg_level, head.cmsg_type, head.cmsg_len)
        };
        // SAFETY: a length for a payload of that size, no memory is touched.
        let wanted = unsafe { libc::CMSG_LEN(size_of::<libc::timespec>() as libc::c_uint) };
        let is_stamp = level == libc::SOL_SOCKET && kind == libc::SCM_TIMESTAMPNS;
        if is_stamp && length >= wanted as usize {
            // SAFETY: the payload is a timespec, as level, type and length say; it may lie anyhow.
            let at: libc::timespec =
                unsafe { std::ptr::read_unaligned(libc::CMSG_DATA(message).cast()) };
            let seconds = u64::try_from(at.tv_sec).ok()?;
            let nanos = u32::try_from(at.tv_nsec).ok()?;
            return Some(Duration::new(seconds, nanos.min(999_999_999)));
        }
        // SAFETY: as for the first.
        message = unsafe { libc::CMSG_NXTHDR(header, message) };
    }
    None
}
