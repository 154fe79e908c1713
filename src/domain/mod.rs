//! Values that every layer speaks of. No I/O, no clock.

pub mod credit;
pub mod customer;
pub mod ids;
pub mod network;
pub mod number;
pub mod numbering;
pub mod record;
pub mod srtp;
pub mod time;
pub mod vouching;

pub use credit::Credit;
pub use customer::{ChargeMethod, Customer, CustomerScope, Tariff};
pub use ids::{CallId, CallKey, CustomerId, ReferenceId, Side, TrunkId};
pub use number::{E164, LeaseKind, Masked, Phone};
pub use record::{CallQuality, CallRecord, EndedBy, MediaFigures, MediaQuality, Reported};
pub use time::{Now, UnixMillis};
pub use vouching::{Attestation, Passport, Presented, Verdict, Vouching};
