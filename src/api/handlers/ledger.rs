//! A customer's ledger (lease-api 4.10).

use super::{Edge, Work};
use crate::api::history::{EntryCursor, EntryQuery};
use crate::api::parameters::Parameters;
use crate::books::command::Code;

/// customer/ledger.
///
/// # Errors
/// See lease-api 4.10.
pub fn ledger(edge: &Edge<'_>, given: &Parameters<'_>) -> Result<Work, Code> {
    let customer = given.customer()?;
    let period = given.period(edge.settings.timezone)?;
    let limit = given.limit()?;
    let after = given.text("cursor").map(EntryCursor::read).transpose()?;
    edge.permit_for(customer)?;
    Ok(Work::Entries(EntryQuery {
        customer,
        period,
        limit,
        after,
    }))
}
