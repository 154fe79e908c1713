//! SIP (RFC 3261): messages, transactions, dialogs, and the user agent that speaks for both legs.
//!
//! Layers, lowest first: [`message`] and [`codec`] (bytes to messages and back), [`transaction`]
//! (RFC 3261 §17, RFC 6026), [`dialog`] (RFC 3261 §12, RFC 6337), [`agent`] (user agent core: what
//! RFC 3261 leaves to the transaction user), [`steering`] (which worker a call is), [`guard`] (the last look at every byte that leaves).

pub mod agent;
pub mod codec;
pub mod dialog;
pub mod guard;
pub mod message;
pub mod steering;
pub mod transaction;
