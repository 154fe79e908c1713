//! Customers: whose leases and whose money.

use super::{Credit, CustomerId, LeaseKind, UnixMillis};
use serde::{Deserialize, Serialize};

/// When a customer pays (lease-api 4.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChargeMethod {
    /// Credit is held before it is spent.
    Prepaid,
    /// The balance may go negative.
    Postpaid,
}

/// Price of one kind of call, fixed for a call at its admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tariff {
    /// Seconds per block, from 1.
    pub block_seconds: u32,
    /// Credits per block begun, from 0.
    pub rate: Credit,
}

/// One customer's settings (lease-api 4.6, 4.8). Its money is the ledger's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    /// Account number.
    pub id: CustomerId,
    /// Given name.
    pub first_name: String,
    /// Family name.
    pub last_name: String,
    /// Suspended accounts get no new leases and no new calls.
    pub suspended: bool,
    /// Prepaid or postpaid.
    pub charge_method: ChargeMethod,
    /// Whether single leases may be made and called.
    pub enable_single: bool,
    /// Whether group leases may be made and called.
    pub enable_group: bool,
    /// Price of calls to single leases.
    pub tariff_single: Tariff,
    /// Price of calls on group leases.
    pub tariff_group: Tariff,
    /// Concurrent single leases; 0 = no limit.
    pub max_lease_single: u32,
    /// Concurrent group leases; 0 = no limit.
    pub max_lease_group: u32,
    /// Created at.
    pub date_created: UnixMillis,
    /// Latest suspension, if ever; kept on reactivation.
    pub date_suspended: Option<UnixMillis>,
}

impl Customer {
    /// Price of a call on a lease of `kind`.
    #[must_use]
    pub fn tariff(&self, kind: LeaseKind) -> Tariff {
        match kind {
            LeaseKind::Single => self.tariff_single,
            LeaseKind::Group => self.tariff_group,
        }
    }

    /// Whether the service of `kind` is enabled.
    #[must_use]
    pub fn enabled(&self, kind: LeaseKind) -> bool {
        match kind {
            LeaseKind::Single => self.enable_single,
            LeaseKind::Group => self.enable_group,
        }
    }
}

/// The customers that an API client may act for (lease-api 2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CustomerScope {
    /// Every customer.
    All,
    /// Those listed, sorted.
    Only(Vec<CustomerId>),
}

impl CustomerScope {
    /// Whether `customer` is among them.
    #[must_use]
    pub fn allows(&self, customer: CustomerId) -> bool {
        match self {
            Self::All => true,
            Self::Only(ids) => ids.binary_search(&customer).is_ok(),
        }
    }
}
