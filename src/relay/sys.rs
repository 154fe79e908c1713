//! The system calls of the relay, each in a small safe function.

// The casts are of constants and of sizes of socket addresses.
#![allow(clippy::cast_possible_truncation)]

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// Events taken from one wait.
pub const BATCH: usize = 64;

/// A bound UDP socket that takes one address family only; what it sends carries the code point
/// `dscp` (RFC 2474), RTCP as RTP.
pub fn bind_udp(address: SocketAddr, receive_buffer: usize, dscp: u8) -> io::Result<OwnedFd> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // The upper six bits; the lower two are for congestion notification (RFC 3168). A mark that the
    // system refuses costs no call.
    let class = u32::from(dscp) << 2;
    let _ = if address.is_ipv6() {
        socket.set_tclass_v6(class)
    } else {
        socket.set_tos_v4(class)
    };
    // The system's bound may be lower; what it gives is what there is.
    let _ = socket.set_recv_buffer_size(receive_buffer);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// An event counter that wakes whoever waits for it.
#[derive(Debug)]
pub struct Waker(OwnedFd);

impl Waker {
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointer is involved.
        let fd = check(unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) })?;
        // SAFETY: the descriptor is fresh and owned by nobody else.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Wakes. A counter that is full is awake already.
    pub fn wake(&self) {
        let one = 1u64;
        // SAFETY: the pointer is to eight readable bytes.
        let _ = unsafe { libc::write(self.fd(), (&raw const one).cast(), size_of::<u64>()) };
    }

    /// Takes all wakes so far.
    pub fn drain(&self) {
        let mut count = 0u64;
        // SAFETY: the pointer is to eight writable bytes.
        let _ = unsafe { libc::read(self.fd(), (&raw mut count).cast(), size_of::<u64>()) };
    }

    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// An epoll instance.
#[derive(Debug)]
pub struct Poller(OwnedFd);

/// Room for the events of one wait.
pub struct Events {
    list: [libc::epoll_event; BATCH],
    count: usize,
}

impl Events {
    pub const fn new() -> Self {
        Self {
            list: [libc::epoll_event { events: 0, u64: 0 }; BATCH],
            count: 0,
        }
    }

    /// The tokens that are ready.
    pub fn tokens(&self) -> impl Iterator<Item = u64> + '_ {
        self.list.iter().take(self.count).map(|event| event.u64)
    }
}

impl Poller {
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointer is involved.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the descriptor is fresh and owned by nobody else.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Reports `token` whenever `fd` is readable.
    pub fn add(&self, fd: RawFd, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: token,
        };
        // SAFETY: the pointer is to a whole event, which the call only reads.
        let result =
            unsafe { libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event) };
        check(result).map(drop)
    }

    /// Waits for events, at most `timeout`; forever where there is none.
    pub fn wait(&self, events: &mut Events, timeout: Option<Duration>) {
        let millis = match timeout {
            Some(timeout) => i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX),
            None => -1,
        };
        // SAFETY: the list holds BATCH events, which the call may write.
        let count = unsafe {
            libc::epoll_wait(
                self.0.as_raw_fd(),
                events.list.as_mut_ptr(),
                BATCH as libc::c_int,
                millis,
            )
        };
        // An interrupted wait is one without events.
        events.count = usize::try_from(count).unwrap_or(0);
    }
}

/// What a receive brought.
pub enum Received {
    /// A packet of so many bytes, from there.
    Packet(usize, SocketAddr),
    /// A packet that is longer than the buffer.
    TooLong,
    /// Nothing waits, or the socket has an error to tell.
    Nothing,
}

/// Room for an address of either family.
#[repr(C)]
union Name {
    family: libc::sa_family_t,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

/// Takes one packet without waiting.
#[inline]
pub fn receive(fd: RawFd, buffer: &mut [u8]) -> Received {
    let mut name = MaybeUninit::<Name>::uninit();
    let mut length = size_of::<Name>() as libc::socklen_t;
    // SAFETY: the buffer and the name are writable for the lengths given. MSG_TRUNC makes the
    // result the packet's own length, which may be larger than the buffer.
    let result = unsafe {
        libc::recvfrom(
            fd,
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            libc::MSG_DONTWAIT | libc::MSG_TRUNC,
            name.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    let Ok(count) = usize::try_from(result) else {
        return Received::Nothing;
    };
    if count > buffer.len() {
        return Received::TooLong;
    }
    // SAFETY: the kernel wrote `length` bytes of an address of the socket's own family.
    match unsafe { read_name(&name, length) } {
        Some(source) => Received::Packet(count, source),
        None => Received::Nothing,
    }
}

/// # Safety
/// `length` bytes of `name` must be initialised.
#[inline]
unsafe fn read_name(name: &MaybeUninit<Name>, length: libc::socklen_t) -> Option<SocketAddr> {
    let length = length as usize;
    if length < size_of::<libc::sa_family_t>() {
        return None;
    }
    // SAFETY: the family's bytes are initialised.
    let family = unsafe { (*name.as_ptr()).family };
    if libc::c_int::from(family) == libc::AF_INET && length >= size_of::<libc::sockaddr_in>() {
        // SAFETY: a whole sockaddr_in is initialised.
        let v4 = unsafe { (*name.as_ptr()).v4 };
        let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
        return Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into());
    }
    if libc::c_int::from(family) == libc::AF_INET6 && length >= size_of::<libc::sockaddr_in6>() {
        // SAFETY: a whole sockaddr_in6 is initialised.
        let v6 = unsafe { (*name.as_ptr()).v6 };
        let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
        return Some(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), 0, 0).into());
    }
    None
}

/// Sends one packet without waiting.
#[inline]
pub fn send(fd: RawFd, bytes: &[u8], to: SocketAddr) -> bool {
    let result = match to {
        SocketAddr::V4(to) => {
            let name = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: to.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from(*to.ip()).to_be(),
                },
                sin_zero: [0; 8],
            };
            send_to(fd, bytes, &name)
        }
        SocketAddr::V6(to) => {
            let name = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: to.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr {
                    s6_addr: to.ip().octets(),
                },
                sin6_scope_id: to.scope_id(),
            };
            send_to(fd, bytes, &name)
        }
    };
    usize::try_from(result).is_ok_and(|sent| sent == bytes.len())
}

#[inline]
fn send_to<T>(fd: RawFd, bytes: &[u8], name: &T) -> isize {
    // SAFETY: the bytes and the name are readable for the lengths given; T is a socket address.
    unsafe {
        libc::sendto(
            fd,
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_DONTWAIT,
            std::ptr::from_ref(name).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    }
}

/// Keeps the calling thread on one processor.
pub fn pin(cpu: usize) -> io::Result<()> {
    if cpu >= libc::CPU_SETSIZE as usize {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: a set of zeros is an empty set; CPU_SET stays inside it as checked above; the call
    // reads as many bytes as the set has.
    let result = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    check(result).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_carries_its_mark() {
        let four = bind_udp("127.0.0.1:0".parse().unwrap(), 65_536, 46).unwrap();
        let four = Socket::from(four);
        assert_eq!(four.tos_v4().unwrap(), 46 << 2);
        assert!(four.recv_buffer_size().unwrap() >= 65_536);
        let six = bind_udp("[::1]:0".parse().unwrap(), 65_536, 10).unwrap();
        assert_eq!(Socket::from(six).tclass_v6().unwrap(), 10 << 2);
    }
}
