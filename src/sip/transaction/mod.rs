//! Transactions (RFC 3261 §17 as corrected by RFC 6026), one table for a worker.
//!
//! One file a state machine, drawn above its type: [`invite_client`](self), `client`,
//! `invite_server`, `server`. [`Transactions`] finds the machine that a message, a command or a
//! timer is for; it does no I/O and reads no clock.

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

mod client;
mod invite_client;
mod invite_server;
mod key;
mod server;
mod table;
mod timer;

#[cfg(test)]
mod tests;

pub use table::Transactions;
pub use timer::Settings;

use super::message::{Message, Method, Path};
use bytes::Bytes;

/// A transaction of this table; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransactionId(pub u64);

/// What the table is told.
// An input lives for one call; a box for each message would cost more than it saves.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub enum Input {
    /// A message came.
    Receive(Message, Path),
    /// A message could not be sent on the path (socket error or ICMP). Every client transaction
    /// on it that has had no response yet fails.
    PathFailed(Path),
    /// Start a client transaction. `bytes` carry a Via with exactly `branch` on top.
    Request {
        /// From [`Transactions::next_id`].
        id: TransactionId,
        /// Its method; not ACK.
        method: Method,
        /// Branch of its topmost Via.
        branch: Box<str>,
        /// The whole message.
        bytes: Bytes,
        /// Where it goes.
        path: Path,
    },
    /// Respond in a server transaction. A 2xx to INVITE is sent once: repeating it until the ACK
    /// is the user agent's work (RFC 6026: state Accepted).
    Respond {
        /// The server transaction.
        id: TransactionId,
        /// Status of `bytes`.
        status: u16,
        /// The whole message.
        bytes: Bytes,
    },
    /// Send outside transactions: ACK to a 2xx, repeats of a 2xx.
    Send {
        /// The whole message.
        bytes: Bytes,
        /// Where it goes.
        path: Path,
    },
    /// Forget a client INVITE transaction's user: nothing more is reported but a 2xx, as
    /// [`Output::Stray`], to be ACKed and ended. It runs out by itself, 64*T1 later at most.
    Detach {
        /// The client transaction.
        id: TransactionId,
    },
}

/// What the table reports and asks for.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub enum Output {
    /// Send these bytes.
    Transmit {
        /// The whole message.
        bytes: Bytes,
        /// Where it goes.
        path: Path,
        /// Whether they were sent before.
        repeat: bool,
    },
    /// A new server transaction: a request other than ACK, or CANCEL (reported as any other; the
    /// INVITE it belongs to is `invite`, if there is one).
    Request {
        /// The new transaction.
        id: TransactionId,
        /// The request.
        message: Message,
        /// Where it came from. (Responses go where RFC 3261 §18.2.2 and RFC 3581 say, by
        /// themselves.)
        path: Path,
        /// Of a CANCEL: the INVITE's transaction.
        invite: Option<TransactionId>,
    },
    /// An ACK that matches no INVITE server transaction's failure: it is for a 2xx.
    Ack {
        /// The ACK.
        message: Message,
        /// Where it came from.
        path: Path,
    },
    /// A response to a client transaction (repeats of provisionals and, in state Accepted, every
    /// further 2xx included: RFC 6026 §7.2). The ACK of a failure is already on its way.
    Response {
        /// The client transaction.
        id: TransactionId,
        /// The response.
        message: Message,
    },
    /// Timer B or F: no final response.
    Timeout {
        /// The client transaction.
        id: TransactionId,
    },
    /// The transport failed under a client transaction.
    TransportFailed {
        /// The client transaction.
        id: TransactionId,
    },
    /// Timer H: no ACK for a final failure (nothing to do but count).
    Unacknowledged {
        /// The INVITE's server transaction.
        id: TransactionId,
    },
    /// A response that matches no transaction: a late 2xx to INVITE is ACKed and ended by the user
    /// agent; everything else is dropped.
    Stray {
        /// The response.
        message: Message,
        /// Where it came from.
        path: Path,
    },
}

/// What the table has counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages sent again: requests by timers A and E, failures by timer G, answers to repeats.
    pub repeats_sent: u64,
    /// Requests and final responses that had come before.
    pub repeats_absorbed: u64,
    /// Transactions not begun because the table was full.
    pub refused: u64,
    /// Timer B: an INVITE without any response.
    pub invite_timeouts: u64,
    /// Timer F: another request without a final response.
    pub other_timeouts: u64,
    /// Timer H: a failure without its ACK.
    pub unacknowledged: u64,
    /// Requests that nobody answered here, or detached INVITEs that nobody answered there.
    pub abandoned: u64,
    /// Client transactions ended by their transport.
    pub transport_failures: u64,
    /// Responses that match no transaction.
    pub strays: u64,
    /// Commands for transactions that are gone.
    pub late_commands: u64,
}
