//! What may be asked of the books, and what they answer. Parameters are validated before they come
//! here (numbers normalised, expiry computed); the conditions that need state are checked here, in
//! the order of lease-api 4.

use crate::call::event::{BooksEvent, LedgerCommand};
pub use crate::domain::numbering::{NumberState, NumberStyle, PoolRange};
use crate::domain::{
    CallId, CallKey, Credit, Customer, CustomerId, CustomerScope, E164, LeaseKind, Phone,
    ReferenceId, UnixMillis,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Something to do.
#[derive(Clone, Debug)]
pub enum Command {
    /// leasesingle/request.
    LeaseSingle {
        /// Fresh reference, drawn at the edge.
        reference: ReferenceId,
        /// Account.
        customer: CustomerId,
        /// Subscriber.
        phone: Phone,
        /// End of the lease.
        expires: UnixMillis,
        /// Only these may call; empty: anyone.
        whitelist: Vec<E164>,
    },
    /// leasegroup/request.
    LeaseGroup {
        /// Fresh reference, drawn at the edge.
        reference: ReferenceId,
        /// Account.
        customer: CustomerId,
        /// Members.
        phones: [Phone; 2],
        /// End of the lease.
        expires: UnixMillis,
    },
    /// leasesingle/release, leasegroup/release.
    Release {
        /// Kind that the operation names.
        kind: LeaseKind,
        /// Which.
        reference: ReferenceId,
        /// On whose behalf.
        scope: CustomerScope,
    },
    /// leasesingle/query, leasegroup/query.
    QueryLease {
        /// Kind that the operation names.
        kind: LeaseKind,
        /// Which.
        reference: ReferenceId,
        /// On whose behalf.
        scope: CustomerScope,
    },
    /// customer/reserve.
    Reserve {
        /// For whom.
        customer: CustomerId,
        /// How many, all or none.
        quantity: u32,
    },
    /// customer/unreserve.
    Unreserve {
        /// Whose.
        customer: CustomerId,
        /// Which.
        what: Unreserve,
    },
    /// customer/view.
    ViewCustomer(CustomerId),
    /// customer/topup.
    TopUp {
        /// Whose.
        customer: CustomerId,
        /// May be negative.
        credit: Credit,
    },
    /// customer/create. `id`, `date_created` and `date_suspended` are filled in by the books.
    CreateCustomer {
        /// Settings.
        customer: Box<Customer>,
        /// Opening balance.
        opening: Credit,
    },
    /// customer/update.
    UpdateCustomer {
        /// Whose.
        customer: CustomerId,
        /// What changes.
        update: Box<CustomerUpdate>,
    },
    /// numbers/add, and the configured pool at start and reload.
    AddNumbers(Vec<PoolRange>),
    /// numbers/retire.
    RetireNumber(E164),
    /// numbers/list.
    ListNumbers {
        /// State wanted; `None`: all.
        state: Option<NumberState>,
        /// On whose behalf: reservations of others are not shown.
        scope: CustomerScope,
        /// First number of the page.
        from: Option<E164>,
        /// Page size.
        limit: u32,
    },
    /// customer/ledger: what is in memory of it (open calls); entries are read from the store.
    OpenCalls(CustomerId),
    /// Nothing to do but to keep the answer given at the edge under its idempotency key.
    Remember(Code),
}

/// Which reserved numbers go back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreserve {
    /// So many free ones, the longest rested first.
    Quantity(u32),
    /// These; all must be reserved for the customer and free.
    Numbers(Vec<E164>),
}

/// Changes to a customer; `None` leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct CustomerUpdate {
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub suspended: Option<bool>,
    pub charge_method: Option<crate::domain::ChargeMethod>,
    pub enable_single: Option<bool>,
    pub enable_group: Option<bool>,
    pub block_single: Option<u32>,
    pub rate_single: Option<Credit>,
    pub block_group: Option<u32>,
    pub rate_group: Option<Credit>,
    pub max_lease_single: Option<u32>,
    pub max_lease_group: Option<u32>,
}

/// Answer to a [`Command`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A lease as asked for or queried.
    Lease(LeaseAnswer),
    /// Done, nothing to say (release, retire, unreserve).
    Done,
    /// Numbers reserved by this call, as shown.
    Reserved(Vec<String>),
    /// View or update.
    Customer(Box<CustomerAnswer>),
    /// New balance.
    Balance(Credit),
    /// New account.
    Created(CustomerId),
    /// How many numbers were new.
    Added(u64),
    /// A page of the pool: number as shown, its state, who has it reserved.
    Numbers {
        /// Rows.
        rows: Vec<NumberRow>,
        /// Where the next page starts.
        next: Option<E164>,
    },
    /// Calls that are up: id, start, blocks posted, credit posted.
    OpenCalls {
        /// Calls.
        calls: Vec<OpenCallRow>,
        /// Balance that the newest ledger entry leaves, without open calls.
        balance: Credit,
    },
}

/// One row of numbers/list.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct NumberRow {
    pub number: E164,
    pub shown: String,
    pub state: NumberState,
    pub reserved_for: Option<CustomerId>,
}

/// One row of a ledger's open calls.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct OpenCallRow {
    pub call_id: CallId,
    pub answered_at: UnixMillis,
    pub blocks: u64,
    pub credit: Credit,
}

/// A lease in an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseAnswer {
    /// Reference.
    pub reference: ReferenceId,
    /// Account.
    pub customer: CustomerId,
    /// Leased number as shown → the phone as the client wrote it, in the order of the members.
    pub pairs: Vec<(String, String)>,
    /// End.
    pub expires: UnixMillis,
}

/// A customer in an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomerAnswer {
    /// Settings.
    pub customer: Customer,
    /// Balance: entries plus open calls.
    pub balance: Credit,
    /// Whether any number is reserved for it.
    pub has_reserved_number: bool,
}

/// A status code of lease-api section 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Code(pub u16);

/// Outcome of a command.
pub type Outcome = Result<Answer, Code>;

/// Turns an outcome into the bytes that the client gets, so that they can be kept in the same
/// commit. Pure: the same outcome gives the same bytes.
pub trait Render: Send + Sync {
    /// The answer's body.
    fn render(&self, outcome: &Outcome) -> Bytes;
}

/// An idempotency key's use (lease-api 4.9).
#[derive(Clone)]
pub struct Idempotency {
    /// Hash of API client, operation and key.
    pub key: [u8; 16],
    /// Hash of the parameters.
    pub parameters: [u8; 16],
    /// Makes the bytes to keep.
    pub render: Arc<dyn Render>,
}

/// What a request comes back as.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A fresh outcome (durable, if it changed anything).
    Outcome(Outcome),
    /// The kept answer of an earlier request with the same key: code and bytes.
    Kept(Code, Bytes),
}

/// Input to the books from a signalling worker.
#[derive(Debug)]
pub struct CallCommand {
    /// Which worker asks.
    pub worker: u16,
    /// Its key of the call.
    pub key: CallKey,
    /// The call's id.
    pub call_id: CallId,
    /// What.
    pub command: LedgerCommand,
}

impl CallCommand {
    /// Whether a new call asks to be let in.
    #[must_use]
    pub const fn is_admission(&self) -> bool {
        matches!(self.command, LedgerCommand::Admit { .. })
    }
}

/// Output to a signalling worker.
#[derive(Debug)]
pub struct CallNotice {
    /// To which worker.
    pub worker: u16,
    /// Its key of the call.
    pub key: CallKey,
    /// What.
    pub event: BooksEvent,
}
