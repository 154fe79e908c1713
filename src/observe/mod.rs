//! What can be seen from outside: metrics, logs, health (operations, "Endpoints beside the API",
//! "Logs"). Nothing here is global: whoever counts holds a handle.
//!
//! Two ways lead into `/metrics`. What happens once a call is *pushed* into [`Metrics`]. What
//! happens once a message or packet is counted where it happens, in plain atomics of that layer,
//! and *pulled* through [`Source`] when somebody asks; so the cores and the relay know nothing of
//! this module. [`catalogue`] lists every metric there is.

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

pub mod catalogue;
mod endpoints;
mod health;
pub mod listener;
pub mod log;
mod metrics;
mod process;
mod source;
pub mod worker;

pub use endpoints::{Answer, Endpoints};
pub use health::Health;
pub use metrics::Metrics;
pub use source::{Buckets, Sink, Source};
