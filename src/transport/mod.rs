//! Sockets that carry SIP.

pub mod stream;
pub mod udp;
