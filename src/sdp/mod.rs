//! Session descriptions (RFC 8866): a bounded parser of untrusted bodies, and a writer that lets
//! pass what an allow list names and nothing else (sip-bridging 4 and 5).
//!
//! ```text
//!   body ──parse──▶ Description ──acceptable audio line──▶ rewrite(Terms) ──▶ body for the other side
//! ```
//!
//! Nothing of the origin, the names, the addresses or the unknown attributes of one side reaches
//! the other: the writer starts from an empty page.

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

pub mod codec;
pub mod crypto;
pub mod fax;
pub mod free_text;
pub mod parameters;
pub mod parse;
pub mod pauses;
pub mod rewrite;
pub mod shape;

pub use codec::{Codec, CodecList};
pub use crypto::{Crypto, OwnCrypto};
pub use parse::{Address, Description, Direction, Fault, Media, parse};
pub use rewrite::{Terms, rewrite};
pub use shape::{Line, Protocol, Shape};
