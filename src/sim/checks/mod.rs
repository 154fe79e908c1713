//! The promises, checked from outside: against what the store was given, what went over the wire
//! and what the API answered. Nothing here asks the gateway what it thinks of itself.
//!
//! - `books`: what the store has adds up, after every commit;
//! - `wire`: what every call did on the wire, and what it must have cost;
//! - `message`: whether what is sent is SIP;
//! - `privacy`: what never may be said to whom;
//! - `api`: what was answered stays so.

pub mod api;
pub mod books;
pub mod message;
pub mod privacy;
pub mod wire;
