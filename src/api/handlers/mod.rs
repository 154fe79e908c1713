//! One function an operation, by resource: parameters in the order of their table, then scope and
//! customer rights (lease-api 4). They ask nobody but the directory and change nothing; what is left
//! to do is a [`Work`].

pub mod cdr;
pub mod customer;
pub mod lease;
pub mod ledger;
pub mod numbers;

use super::history::{EntryQuery, Format, RecordQuery};
use super::operation::Operation;
use super::settings::{Client, Settings};
use super::status::{AUTHORIZATION, PHONE_FORMAT};
use crate::books::command::{Code, Command};
use crate::books::{Dialled, Lookup};
use crate::domain::{CustomerId, CustomerScope, E164, ReferenceId, UnixMillis};

/// What a handler knows besides the parameters.
#[derive(Clone, Copy)]
pub struct Edge<'a> {
    /// Configuration.
    pub settings: &'a Settings,
    /// Who asks.
    pub client: &'a Client,
    /// The operation.
    pub operation: &'static Operation,
    /// The directory: which numbers are our own.
    pub pool: &'a dyn Lookup,
    /// Now.
    pub now: UnixMillis,
    /// A reference for a new lease, freshly drawn.
    pub reference: ReferenceId,
}

/// What is left to do once parameters and rights are good.
#[derive(Clone, Debug)]
pub enum Work {
    /// Ask the books.
    Books(Command),
    /// Read a page of call records.
    Records(RecordQuery),
    /// Stream call records.
    Export(RecordQuery, Format),
    /// Read a page of a ledger.
    Entries(EntryQuery),
}

impl Edge<'_> {
    /// The client has the operation's scope.
    ///
    /// # Errors
    /// Status 6.
    pub fn permit(&self) -> Result<(), Code> {
        if self.client.may(self.operation.scope) {
            Ok(())
        } else {
            Err(AUTHORIZATION)
        }
    }

    /// The client has the operation's scope and may act for `customer`.
    ///
    /// # Errors
    /// Status 6.
    pub fn permit_for(&self, customer: CustomerId) -> Result<(), Code> {
        self.permit()?;
        if self.client.customers.allows(customer) {
            Ok(())
        } else {
            Err(AUTHORIZATION)
        }
    }

    /// The client has the operation's scope and may act for every customer.
    ///
    /// # Errors
    /// Status 6.
    pub fn permit_for_all(&self) -> Result<(), Code> {
        self.permit()?;
        match self.client.customers {
            CustomerScope::All => Ok(()),
            CustomerScope::Only(_) => Err(AUTHORIZATION),
        }
    }

    /// A subscriber's number: valid, in an allowed country, no emergency number, not our own.
    ///
    /// # Errors
    /// Status 8.
    pub fn target(&self, spelled: &str) -> Result<E164, Code> {
        let number = self
            .settings
            .plan
            .parse_phone(spelled)
            .ok_or(PHONE_FORMAT)?;
        let ours = self.pool.lookup(number) != Dialled::Unknown;
        if ours || !self.settings.plan.target_allowed(number) {
            return Err(PHONE_FORMAT);
        }
        Ok(number)
    }
}
