//! Sockets that carry SIP.

pub mod resolver;
mod stamp;
pub mod stream;
pub mod udp;
