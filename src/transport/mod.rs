//! Sockets that carry SIP.

mod stamp;
pub mod udp;
