//! RTP and RTCP packets.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::panic
    )
)]

pub mod extension;
pub mod g711;
pub mod packet;
pub mod quality;
pub mod reports;
pub mod rtcp;
pub mod srtp;
pub mod statistics;

pub use packet::Header;
pub use statistics::Stream;
