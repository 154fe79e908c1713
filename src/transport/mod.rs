//! Sockets that carry SIP.

pub mod poll;
pub mod resolver;
mod stamp;
pub mod stream;
pub mod udp;
