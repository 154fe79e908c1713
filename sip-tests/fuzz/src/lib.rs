//! What each fuzz target does with an input. Every function panics where a promise is broken, and
//! does nothing else that could be seen: the fuzzer finds inputs, `tests/corpora.rs` runs through
//! those that are kept.
//!
//! | target | input | what must hold |
//! |---|---|---|
//! | [`framer`] | a datagram | a second, plain reading of the same bytes finds the same head and body |
//! | [`codec`] | a datagram | what was read can be printed and read again; rsip reads the same; no answer carries a foreign header |
//! | [`sdp`] | terms, then a description | what the other side gets is read again, is its own rewriting, and holds nothing off the list |
//! | [`srtp`] | a suite, then a packet | no packet from outside is genuine; ours come back as they were, once, unless a bit has changed |
//! | [`transactions`] | steps | a bounded table, which is empty when time has passed |
//! | [`gateway`] | steps | agent, calls and books: every message sent can be read, each call ends with one record, nothing is left |

pub mod codec;
pub mod framer;
pub mod gateway;
pub mod sdp;
pub mod srtp;
pub mod steps;
pub mod transactions;
