//! SIP over UDP: batches in, batches out, and the errors that ICMP brings back.

use super::stamp;
use bytes::Bytes;
use smallvec::SmallVec;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Datagrams taken by one system call.
pub const BATCH: usize = 32;
/// Largest datagram that UDP can carry, and a byte, so that nothing is cut unseen.
const DATAGRAM: usize = 65_536;
/// Datagrams that may wait for a full socket buffer; beyond it they are dropped and counted, as the
/// network would.
const BACKLOG: usize = 4096;
/// Asked of the kernel for each direction, so that a burst waits in a buffer instead of being lost.
const SOCKET_BUFFER: usize = 8 << 20;

/// One bound socket, in two halves: whoever sends by it need not be who reads it.
#[derive(Debug)]
pub struct UdpEndpoint {
    /// Sends.
    pub sender: UdpSender,
    /// Reads.
    pub reader: UdpReader,
}

/// The half that sends.
pub struct UdpSender {
    socket: Arc<Bound>,
    backlog: VecDeque<(Bytes, SocketAddr)>,
    counters: Counters,
}

/// The half that reads.
pub struct UdpReader {
    socket: Arc<Bound>,
    buffers: Box<[u8]>,
}

struct Bound {
    socket: UdpSocket,
    local: SocketAddr,
    /// The kernel has said that ICMP errors wait to be taken.
    unreachable: AtomicBool,
}

impl Bound {
    fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    fn has_failed(&self) {
        self.unreachable.store(true, Ordering::Relaxed);
    }
}

/// What one endpoint has sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams dropped because the backlog was full, or because the kernel refused them.
    pub dropped: u64,
}

impl std::fmt::Debug for UdpSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("UdpSender").field(&self.local()).finish()
    }
}

impl std::fmt::Debug for UdpReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("UdpReader").field(&self.local()).finish()
    }
}

impl AsRawFd for UdpReader {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.fd()
    }
}

impl UdpEndpoint {
    /// Binds `local`, non-blocking, with large buffers and ICMP errors reported (`IP_RECVERR`).
    ///
    /// # Errors
    /// The socket's.
    pub fn bind(local: SocketAddr) -> io::Result<Self> {
        Self::bind_one(local, false)
    }

    /// As many sockets on one address, each of which gets its part of what comes (`SO_REUSEPORT`: a
    /// peer's address and port always meet the same one). One alone is bound as by [`Self::bind`].
    ///
    /// # Errors
    /// The sockets'.
    pub fn bind_group(local: SocketAddr, count: usize) -> io::Result<Vec<Self>> {
        if count <= 1 {
            return Self::bind(local).map(|one| vec![one]);
        }
        // Sockets that share an address let others of the same user in. If some process has it
        // already, that is an error as for one socket.
        let local = Self::bind(local)?.local();
        (0..count).map(|_| Self::bind_one(local, true)).collect()
    }

    fn bind_one(local: SocketAddr, shared: bool) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
        if local.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        set_buffers(&socket);
        report_icmp(&socket, local.is_ipv6())?;
        stamp::ask(&socket)?;
        socket.set_nonblocking(true)?;
        if shared {
            socket.set_reuse_port(true)?;
        }
        socket.bind(&SockAddr::from(local))?;
        let socket: UdpSocket = socket.into();
        let local = socket.local_addr()?;
        let socket = Arc::new(Bound {
            socket,
            local,
            unreachable: AtomicBool::new(false),
        });
        Ok(Self {
            sender: UdpSender {
                socket: Arc::clone(&socket),
                backlog: VecDeque::new(),
                counters: Counters::default(),
            },
            reader: UdpReader {
                socket,
                buffers: vec![0; BATCH * DATAGRAM].into_boxed_slice(),
            },
        })
    }

    /// The address that is bound.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.sender.local()
    }
}

impl UdpReader {
    /// The address that is bound.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.socket.local
    }

    /// The kernel has said that there is an error to take: [`Self::failures`] looks.
    pub fn has_failed(&self) {
        self.socket.has_failed();
    }

    /// Takes up to one batch of datagrams. Returns how many there were; fewer than a batch means
    /// that the socket is empty.
    ///
    /// # Errors
    /// The socket's, but for those that only report an ICMP error of an earlier datagram.
    pub fn receive(&mut self, mut each: impl FnMut(Bytes, SocketAddr)) -> io::Result<usize> {
        self.receive_waited(|bytes, remote, _| each(bytes, remote))
    }

    /// As [`Self::receive`], with how long each datagram has waited since the kernel took it from the
    /// network (zero where the kernel does not say).
    ///
    /// # Errors
    /// As [`Self::receive`].
    pub fn receive_waited(
        &mut self,
        mut each: impl FnMut(Bytes, SocketAddr, Duration),
    ) -> io::Result<usize> {
        // SAFETY: all-zero bytes are valid values of these plain C structures.
        let mut names: [libc::sockaddr_storage; BATCH] = unsafe { std::mem::zeroed() };
        // SAFETY: as above.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
        let mut vectors: [libc::iovec; BATCH] = [libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        }; BATCH];
        let mut stamps = [stamp::Room::EMPTY; BATCH];
        let slots = self.buffers.chunks_exact_mut(DATAGRAM);
        for ((((header, vector), name), stamp), slot) in headers
            .iter_mut()
            .zip(&mut vectors)
            .zip(&mut names)
            .zip(&mut stamps)
            .zip(slots)
        {
            stamp.offer(&mut header.msg_hdr);
            *vector = libc::iovec {
                iov_base: slot.as_mut_ptr().cast(),
                iov_len: slot.len(),
            };
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = std::ptr::from_mut(name).cast();
            header.msg_hdr.msg_namelen = NAME_LENGTH;
        }
        let mut told = 0;
        let count = loop {
            // SAFETY: every header points to a live vector, name and buffer of the given lengths.
            let count = unsafe {
                libc::recvmmsg(
                    self.socket.fd(),
                    headers.as_mut_ptr(),
                    BATCH as u32,
                    libc::MSG_DONTWAIT,
                    std::ptr::null_mut(),
                )
            };
            if let Ok(count) = usize::try_from(count) {
                break count;
            }
            let error = io::Error::last_os_error();
            if reports_peer(&error) {
                self.socket.has_failed();
            }
            match error.kind() {
                io::ErrorKind::WouldBlock => return Ok(0),
                // Each is told once; what waits behind it is still to be taken.
                _ if reports_peer(&error) && told < BATCH => told += 1,
                _ if reports_peer(&error) => return Ok(0),
                _ => return Err(error),
            }
        };
        let clock = stamp::Clock::read();
        let slots = self.buffers.chunks_exact(DATAGRAM);
        for ((header, name), slot) in headers.iter().zip(&names).zip(slots).take(count) {
            let length = usize::try_from(header.msg_len).unwrap_or(0);
            if let (Some(data), Some(remote)) = (slot.get(..length), address(name)) {
                let waited = clock.since(&header.msg_hdr);
                each(Bytes::copy_from_slice(data), remote, waited);
            }
        }
        Ok(count)
    }

    /// Takes the ICMP errors that came back: the addresses that could not be reached. Costs nothing
    /// unless [`Self::receive`], [`UdpSender::flush`] or [`Self::has_failed`] was told that there are
    /// some, as the first of them is after an error came.
    pub fn failures(&mut self, mut each: impl FnMut(SocketAddr)) {
        if !self.socket.unreachable.load(Ordering::Relaxed) {
            return;
        }
        for _ in 0..BATCH {
            // SAFETY: all-zero bytes are valid values of these plain C structures.
            let mut name: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
            let mut control = [0u8; 512];
            // SAFETY: as above.
            let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
            header.msg_name = std::ptr::from_mut(&mut name).cast();
            header.msg_namelen = NAME_LENGTH;
            header.msg_control = control.as_mut_ptr().cast();
            header.msg_controllen = control.len();
            // SAFETY: the header points to live buffers of the given lengths.
            let got = unsafe {
                libc::recvmsg(
                    self.socket.fd(),
                    &raw mut header,
                    libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT,
                )
            };
            if got < 0 {
                self.socket.unreachable.store(false, Ordering::Relaxed);
                return;
            }
            if let Some(remote) = address(&name) {
                each(remote);
            }
        }
    }
}

impl UdpSender {
    /// The address that is bound.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.socket.local
    }

    /// Datagrams that wait for room in the socket's buffer.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.backlog.len()
    }

    /// What has been counted so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Queues a datagram for [`Self::flush`].
    pub fn queue(&mut self, bytes: Bytes, remote: SocketAddr) {
        if self.backlog.len() >= BACKLOG {
            self.counters.dropped += 1;
            return;
        }
        self.backlog.push_back((bytes, remote));
    }

    /// Sends what is queued. Returns whether all of it left; if not, the socket's buffer is full.
    pub fn flush(&mut self) -> bool {
        while !self.backlog.is_empty() {
            match self.send_batch() {
                Ok(0) => return false,
                Ok(sent) => {
                    self.counters.sent += sent as u64;
                    self.backlog.drain(..sent);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                // An earlier datagram's ICMP error, told once: the datagram is still to be sent.
                Err(error) if reports_peer(&error) => self.socket.has_failed(),
                Err(_) => {
                    self.counters.dropped += 1;
                    self.backlog.pop_front();
                }
            }
        }
        true
    }

    fn send_batch(&mut self) -> io::Result<usize> {
        // SAFETY: all-zero bytes are valid values of this plain C structure.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
        let mut vectors: [libc::iovec; BATCH] = [libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        }; BATCH];
        let names: SmallVec<[SockAddr; 4]> = self
            .backlog
            .iter()
            .take(BATCH)
            .map(|(_, remote)| SockAddr::from(*remote))
            .collect();
        let count = names.len();
        for (((header, vector), name), (bytes, _)) in headers
            .iter_mut()
            .zip(&mut vectors)
            .zip(&names)
            .zip(&self.backlog)
        {
            *vector = libc::iovec {
                iov_base: bytes.as_ptr().cast_mut().cast(),
                iov_len: bytes.len(),
            };
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = name.as_ptr().cast_mut().cast();
            header.msg_hdr.msg_namelen = name.len();
        }
        // SAFETY: the first `count` headers point to live vectors, names and bytes; the kernel
        // only reads them.
        let sent = unsafe {
            libc::sendmmsg(
                self.socket.fd(),
                headers.as_mut_ptr(),
                u32::try_from(count).unwrap_or(0),
                libc::MSG_DONTWAIT,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

const NAME_LENGTH: libc::socklen_t = size_of::<libc::sockaddr_storage>() as libc::socklen_t;

/// Whether the error is about a peer that an earlier datagram could not reach, not about us.
fn reports_peer(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNREFUSED
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::EHOSTDOWN
                | libc::EPROTO
                | libc::ENOPROTOOPT
        )
    )
}

fn set_buffers(socket: &Socket) {
    // The *FORCE variants pass the system's limit where we have the privilege; without it the
    // plain ones get as much as is allowed. Either way the socket works.
    for (force, plain) in [
        (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF),
        (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF),
    ] {
        let size = libc::c_int::try_from(SOCKET_BUFFER).unwrap_or(libc::c_int::MAX);
        if set_option(socket, libc::SOL_SOCKET, force, size).is_err() {
            let _ = set_option(socket, libc::SOL_SOCKET, plain, size);
        }
    }
}

fn report_icmp(socket: &Socket, v6: bool) -> io::Result<()> {
    if v6 {
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1)
    } else {
        set_option(socket, libc::IPPROTO_IP, libc::IP_RECVERR, 1)
    }
}

pub(super) fn set_option(
    socket: &Socket,
    level: i32,
    name: i32,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the option's value is a live c_int of the given length.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(&value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn address(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that the storage holds a sockaddr_in, which is smaller.
            let v4 = unsafe { &*std::ptr::from_ref(name).cast::<libc::sockaddr_in>() };
            let ip = std::net::Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddr::new(ip.into(), u16::from_be(v4.sin_port)))
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that the storage holds a sockaddr_in6, which is smaller.
            let v6 = unsafe { &*std::ptr::from_ref(name).cast::<libc::sockaddr_in6>() };
            let ip = std::net::Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some(SocketAddr::new(ip.into(), u16::from_be(v6.sin6_port)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(local: &str) -> (UdpEndpoint, UdpSocket) {
        let endpoint = UdpEndpoint::bind(local.parse().unwrap()).unwrap();
        let peer = UdpSocket::bind(local).unwrap();
        peer.set_read_timeout(Some(std::time::Duration::from_secs(5)))
            .unwrap();
        (endpoint, peer)
    }

    fn wait_readable(endpoint: &UdpEndpoint) {
        let mut poll = libc::pollfd {
            fd: endpoint.reader.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one live pollfd.
        assert_eq!(unsafe { libc::poll(&raw mut poll, 1, 5000) }, 1);
    }

    #[test]
    fn batches_pass_both_ways_v4_and_v6() {
        for local in ["127.0.0.1:0", "[::1]:0"] {
            let (mut endpoint, peer) = pair(local);
            for n in 0..100u8 {
                peer.send_to(&[n; 3], endpoint.local()).unwrap();
            }
            let mut got = Vec::new();
            while got.len() < 100 {
                wait_readable(&endpoint);
                endpoint
                    .reader
                    .receive(|bytes, from| got.push((bytes, from)))
                    .unwrap();
            }
            for (n, (bytes, from)) in got.into_iter().enumerate() {
                assert_eq!(bytes, vec![u8::try_from(n).unwrap(); 3]);
                assert_eq!(from, peer.local_addr().unwrap());
                endpoint.sender.queue(bytes, from);
            }
            assert!(endpoint.sender.flush());
            let mut buffer = [0; 16];
            for n in 0..100u8 {
                assert_eq!(peer.recv(&mut buffer).unwrap(), 3);
                assert_eq!(buffer[0], n);
            }
            assert_eq!(
                endpoint.sender.counters(),
                Counters {
                    sent: 100,
                    dropped: 0
                }
            );
        }
    }

    #[test]
    fn an_unreachable_peer_is_reported_and_others_still_get_theirs() {
        let (mut endpoint, peer) = pair("127.0.0.1:0");
        let gone = UdpSocket::bind("127.0.0.1:0").unwrap();
        let nobody = gone.local_addr().unwrap();
        drop(gone);
        endpoint.sender.queue(Bytes::from_static(b"x"), nobody);
        assert!(endpoint.sender.flush());
        let mut failed = Vec::new();
        while failed.is_empty() {
            let mut poll = libc::pollfd {
                fd: endpoint.reader.as_raw_fd(),
                events: 0,
                revents: 0,
            };
            // SAFETY: one live pollfd.
            assert_eq!(unsafe { libc::poll(&raw mut poll, 1, 5000) }, 1);
            assert_eq!(endpoint.reader.receive(|_, _| ()).unwrap(), 0);
            endpoint.reader.failures(|remote| failed.push(remote));
        }
        assert_eq!(failed, [nobody]);
        endpoint
            .reader
            .failures(|remote| panic!("{remote} was reported twice"));
        endpoint
            .sender
            .queue(Bytes::from_static(b"y"), peer.local_addr().unwrap());
        assert!(endpoint.sender.flush());
        let mut buffer = [0; 16];
        assert_eq!(peer.recv(&mut buffer).unwrap(), 1);
    }

    #[test]
    fn what_waits_behind_an_error_is_taken_with_it() {
        let (mut endpoint, peer) = pair("127.0.0.1:0");
        let gone = UdpSocket::bind("127.0.0.1:0").unwrap();
        let nobody = gone.local_addr().unwrap();
        drop(gone);
        endpoint.sender.queue(Bytes::from_static(b"x"), nobody);
        assert!(endpoint.sender.flush());
        peer.send_to(b"behind", endpoint.local()).unwrap();
        wait_readable(&endpoint);
        let mut got = Vec::new();
        let count = endpoint.reader.receive(|bytes, _| got.push(bytes)).unwrap();
        assert_eq!((count, got), (1, vec![Bytes::from_static(b"behind")]));
    }

    #[test]
    fn how_long_a_datagram_has_waited_is_known() {
        for local in ["127.0.0.1:0", "[::1]:0"] {
            let (mut endpoint, peer) = pair(local);
            let before = std::time::Instant::now();
            peer.send_to(b"x", endpoint.local()).unwrap();
            wait_readable(&endpoint);
            // Busy, so that something has passed; how much is the clock's to say.
            while before.elapsed() < Duration::from_millis(5) {}
            let mut waits = Vec::new();
            endpoint
                .reader
                .receive_waited(|_, _, waited| waits.push(waited))
                .unwrap();
            let passed = before.elapsed();
            assert_eq!(waits.len(), 1);
            assert!(waits[0] > Duration::ZERO && waits[0] <= passed + Duration::from_millis(1));
        }
    }

    #[test]
    fn a_group_shares_an_address_and_keeps_strangers_out() {
        let mut group = UdpEndpoint::bind_group("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        let local = group[0].local();
        assert_eq!(group[1].local(), local);
        assert!(UdpEndpoint::bind(local).is_err());
        assert!(UdpEndpoint::bind_group(local, 2).is_err());
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        for n in 0..20u8 {
            peer.send_to(&[n], local).unwrap();
        }
        // One peer's all meet one socket, in order.
        let mut got: Vec<Vec<u8>> = vec![Vec::new(), Vec::new()];
        while got.iter().map(Vec::len).sum::<usize>() < 20 {
            for (endpoint, got) in group.iter_mut().zip(&mut got) {
                endpoint
                    .reader
                    .receive(|bytes, _| got.push(bytes[0]))
                    .unwrap();
            }
        }
        got.sort();
        assert!(got[0].is_empty());
        assert_eq!(got[1], (0..20).collect::<Vec<u8>>());
    }

    #[test]
    fn the_backlog_is_bounded() {
        let (mut endpoint, peer) = pair("127.0.0.1:0");
        for _ in 0..BACKLOG + 7 {
            endpoint
                .sender
                .queue(Bytes::from_static(b"z"), peer.local_addr().unwrap());
        }
        assert_eq!(endpoint.sender.counters().dropped, 7);
    }
}
