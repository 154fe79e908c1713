//! SIP (RFC 3261): messages, transactions, dialogs, and the user agent that speaks for both legs.
//!
//! Layers, lowest first: [`message`] and [`codec`] (bytes to messages and back), [`transaction`]
//! (RFC 3261 §17, RFC 6026), [`dialog`] (RFC 3261 §12, RFC 6337), [`digest`] (RFC 3261 §22),
//! [`passport`] (RFC 8224: who vouches for a caller), [`agent`] (user agent core: what RFC 3261
//! leaves to the transaction user), [`guard`] (the last look at every byte that leaves); beside them
//! [`locate`] (where requests go, RFC 3263) and [`steering`] (which worker a call is).

pub mod agent;
pub mod codec;
pub mod dialog;
pub mod digest;
pub mod guard;
pub mod locate;
pub mod message;
pub mod passport;
pub mod steering;
pub mod transaction;
