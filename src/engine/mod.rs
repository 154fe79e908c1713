//! The shell that drives the cores: threads, queues and clocks, and one plain adapter for each
//! neighbour of the call. It knows every layer and decides nothing.
//!
//! ```text
//!   sockets ──► signalling threads ─ Worker ─┬─ sip::agent     (sip_adapter)
//!                     ▲    │                 ├─ call::Call
//!             notices │    │ commands        ├─ media::session (media_adapter) ──► relay threads
//!                     │    ▼                 └─ books          (books_adapter)
//!                 books thread ── Books ── Store
//! ```
//!
//! Each signalling thread has sockets and calls of its own. A message that another one owns goes there
//! by [`handover`]; a new INVITE waits in [`waiting`] until what belongs to calls is done.

pub mod books_adapter;
pub mod books_thread;
pub mod clock;
pub mod digest_memory;
pub mod handover;
pub mod intake;
mod life;
pub mod media_adapter;
pub mod signalling;
pub mod sip_adapter;
mod sources;
mod stream_adapter;
pub mod waiting;
pub mod worker;
