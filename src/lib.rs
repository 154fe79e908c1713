//! leasebridge: a gateway that lends out temporary phone numbers and connects the calls.
//!
//! Modules stand here in layer order; imports point downwards only, and `tidy` checks that they do.
//!
//! ```text
//!   cli, app                                    composition root, commands, demo
//!   engine, api                                 shells: threads, sockets, HTTP
//!   observe, identity, store, relay, transport  I/O behind small traits
//!   books                                       lease book + ledger + idempotency as one core
//!   call, lease, ledger, media, sip::agent      cores: decide everything, touch nothing
//!   sip, sdp, rtp                               protocols
//!   config, domain                              values
//! ```
//!
//! Start reading at [`call`], whose state machine is drawn above its type; then [`books`], where
//! numbers are lent and money is kept; then [`engine`], which joins them to the world.

pub mod app;
pub mod cli;

pub mod api;
pub mod engine;

pub mod identity;
pub mod observe;
pub mod relay;
pub mod store;
pub mod transport;

pub mod books;

pub mod call;
pub mod lease;
pub mod ledger;
pub mod media;

pub mod rtp;
pub mod sdp;
pub mod sip;

pub mod config;
pub mod domain;

#[cfg(test)]
mod sim;
#[cfg(test)]
mod tidy;
