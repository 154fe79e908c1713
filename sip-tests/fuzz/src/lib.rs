//! What each fuzz target does with an input. Every function panics where a promise is broken, and
//! does nothing else that could be seen: the fuzzer finds inputs, `tests/corpora.rs` runs through
//! those that are kept.
//!
//! | target | input | what must hold |
//! |---|---|---|
//! | [`framer`] | a datagram | a second, plain reading of the same bytes finds the same head and body |
//! | [`codec`] | a datagram | what was read can be printed and read again; rsip reads the same; no answer carries a foreign header |
//! | [`stream`] | cuts, then pieces of a stream | the same messages and verdict however it is cut, each a part of it, and a bound on what is held |
//! | [`digest`] | challenges, credentials, or steps | what was read is printed and read again; only what our login made is accepted, and once |
//! | [`passport`] | Identity headers, a certificate's body or list | what is read stands in the header; only what we signed is valid; a list covers its numbers |
//! | [`sdp`] | terms, then a description | what the other side gets is read again, is its own rewriting, and holds nothing off the list |
//! | [`srtp`] | a suite, then a packet | no packet from outside is genuine; ours come back as they were, once, unless a bit has changed |
//! | [`media`] | steps | only who is described is heard, and the figures stay in their bounds |
//! | [`transactions`] | steps | a bounded table, which is empty when time has passed |
//! | [`gateway`] | steps | agent, calls and books: every message sent can be read, each call ends with one record, nothing is left |

pub mod codec;
pub mod digest;
pub mod framer;
pub mod gateway;
pub mod media;
pub mod passport;
pub mod sdp;
pub mod srtp;
pub mod steps;
pub mod stream;
pub mod transactions;
