//! The call: two legs, one bridge, paid time (sip-bridging 2, 3, 4, 7, 8).
//!
//! Start at [`bridge::Call`], above which the state machine is drawn. It is told what happened in
//! the words of [`event`], and says in them what is to be done; it knows no SIP message, no socket,
//! no SDP, no store. Beside it:
//!
//! - [`admission`]: who may call what; [`routing`]: the trunks, and which one a call goes out by;
//! - [`leg`]: one side's progress; [`meter`]: paid time; [`foresight`]: how long credit lasts; [`cause`]: every reason for which a call can
//!   end, with its codes;
//! - `setup`, `announcing`, `answer`, `exchange`, `ending`: the states of [`bridge::Call`] in the order in which a
//!   call passes them.

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

pub mod admission;
pub mod bridge;
pub mod caps;
pub mod cause;
pub mod context;
pub mod event;
pub mod foresight;
pub mod leg;
pub mod meter;
pub mod routing;

mod announcing;
mod answer;
mod early;
mod ending;
mod exchange;
mod ramp;
mod setup;
#[cfg(test)]
mod tests;
mod vouching;

pub use bridge::{Call, State};
pub use context::{Announcements, Context, Dialled, Directory, Numbering, Settings};
