//! Sockets that carry SIP.

pub mod resolver;
pub mod udp;
