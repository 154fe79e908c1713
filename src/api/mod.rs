//! The northbound HTTP API (lease-api): what a lease client can see.
//!
//! One request goes down this list, and the first that fails is the answer (lease-api 4):
//!
//! ```text
//!   server      socket, TLS, connection cap and shares, header timeout
//!   dispatch    path and version (3, 4), method, headers (1)
//!   auth        token (14, 13), API client (5)
//!   rate        token bucket (100)
//!   form        body and query (2), then signature (7)
//!   handlers    parameters in the order of their table, then scope and customer rights (6)
//!   books       account exists (35), its status (37), service (6), the operation's own conditions
//!   answer      JSON; kept under the idempotency key in the same commit
//! ```
//!
//! [`operation::OPERATIONS`] is the one table of operations: routing, failure bodies and the OpenAPI
//! document all come from it. Start reading there, then [`dispatch`].
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

pub mod answer;
pub mod auth;
pub mod body;
pub mod calendar;
pub mod cursor;
pub mod dispatch;
pub mod form;
pub mod handlers;
pub mod history;
pub mod idempotency;
pub mod idle;
pub mod json;
pub mod mended;
pub mod metrics;
pub mod neighbours;
pub mod openapi;
pub mod operation;
pub mod origin;
pub mod parameters;
pub mod rate;
pub mod respond;
pub mod route;
pub mod server;
pub mod settings;
pub mod signature;
pub mod slots;
pub mod stall;
pub mod status;

#[cfg(test)]
mod tests;

pub use dispatch::Api;
pub use neighbours::{Beside, BesideAnswer, Books, Clock, SystemClock};
pub use server::Server;
pub use settings::{Client, HttpLimits, LeaseLimit, Scope, Settings, TlsFiles, TokenKey};
