//! SRTP and SRTCP (RFC 3711, RFC 6188, RFC 7714): packets are protected and unprotected in place.
//!
//! ```text
//!   MasterKey ──derive──▶ Transform (RTP), Transform (RTCP)      session keys
//!                            │
//!   packet ──▶ index, replay window of its SSRC ──▶ cipher, tag ──▶ packet
//! ```
//!
//! A [`Sender`] and a [`Receiver`] are the cryptographic contexts of one master key (§3.2.3); what is
//! kept for each SSRC is its rollover counter and its replay window. Keys are shown by nothing here:
//! no `Debug`, no error holds one.

mod cipher;
mod context;
mod derive;
mod index;
mod key;

pub use crate::domain::srtp::Suite;
pub use context::{Fault, MAX_SOURCES, Receiver, Sender};
pub use index::{WINDOW, Window};
pub use key::{MAX_MASTER, MasterKey};

/// Bytes by which a packet grows at most: a tag and an index.
pub const MAX_GROWTH: usize = 20;

#[cfg(test)]
mod tests;
