//! Media, without sockets: who may send what where, which ports, what the descriptions say.
//!
//! ```text
//!   call ──MediaCommand──▶ session ──Install(flow)──▶ relay backend
//!                             │                           │ packet
//!                          sdp, ports                     ▼
//!                                                      passage ─▶ gate, rtcp, statistics
//! ```
//!
//! [`passage::Passage`] is one flow's whole treatment of a packet; every backend runs it and adds
//! nothing but the sending.

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

mod content;
pub mod exchange;
pub mod flow;
mod former;
pub mod gate;
pub mod hearing;
pub mod passage;
pub mod ports;
pub mod recording;
pub mod rtcp;
mod secure;
pub mod session;
pub mod settings;

pub use ports::{PortPool, Ports};
pub use session::{Context, Input, Output, Session};
pub use settings::{MediaSource, Network, Settings, Trunk};
