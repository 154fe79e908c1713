//! The shell that drives the cores: threads, queues and clocks, and one plain adapter for each
//! neighbour of the call. It knows every layer and decides nothing.
//!
//! ```text
//!   sockets ──► signalling thread ── Worker ─┬─ sip::agent     (sip_adapter)
//!                     ▲    │                 ├─ call::Call
//!             notices │    │ commands        ├─ media::session (media_adapter) ──► relay threads
//!                     │    ▼                 └─ books          (books_adapter)
//!                 books thread ── Books ── Store
//! ```

pub mod books_adapter;
pub mod books_thread;
pub mod clock;
pub mod life;
pub mod media_adapter;
pub mod pace;
pub mod signalling;
pub mod sip_adapter;
mod stream_adapter;
pub mod worker;
