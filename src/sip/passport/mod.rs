//! PASSporTs (RFC 8225) in the Identity header (RFC 8224), with SHAKEN's claims (RFC 8588): reading,
//! signing, and what a certificate says of both. Nothing here reads a clock or fetches anything.
//!
//! ```text
//!   inbound    Identity -- read --> Passport -- (its certificate is fetched by `identity`) --.
//!                 \ missing, stale, malformed: a verdict at once                             |
//!                                   chain -- Credential::from_chain -- check <---------------'
//!   outbound   shown number, dialled number -- Signer::sign --> Identity
//! ```
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

mod authority;
mod credential;
mod read;
mod sign;
#[cfg(test)]
pub(crate) mod tests;

pub use credential::{Credential, Roots, certificates, is_for_numbers};
pub use read::{payload, read};
pub use sign::{Claims, Signer};

/// Media type of a PASSporT's header (RFC 8225 §4.1).
const TYPE: &str = "passport";

/// The one algorithm (RFC 8225 §4.2).
const ALGORITHM: &str = "ES256";

/// SHAKEN's extension (RFC 8588 §3).
const SHAKEN: &str = "shaken";
