//! Call records: query and export (lease-api 4.10).

use super::{Edge, Work};
use crate::api::cursor;
use crate::api::history::{Format, RECORD_CURSOR, RecordQuery};
use crate::api::parameters::Parameters;
use crate::api::status::{AUTHORIZATION, PARAMETER};
use crate::books::command::Code;

/// cdr/query.
///
/// # Errors
/// See lease-api 4.10.
pub fn query(edge: &Edge<'_>, given: &Parameters<'_>) -> Result<Work, Code> {
    let query = read(edge, given)?;
    permit(edge, &query)?;
    Ok(Work::Records(query))
}

/// cdr/export.
///
/// # Errors
/// See lease-api 4.10.
pub fn export(edge: &Edge<'_>, given: &Parameters<'_>) -> Result<Work, Code> {
    let query = read(edge, given)?;
    let format = match given.text("format") {
        None | Some("csv") => Format::Csv,
        Some("jsonl") => Format::JsonLines,
        Some(_) => return Err(PARAMETER),
    };
    permit(edge, &query)?;
    Ok(Work::Export(query, format))
}

fn read(edge: &Edge<'_>, given: &Parameters<'_>) -> Result<RecordQuery, Code> {
    let customer = given.customer_if_any()?;
    let reference = given.reference_if_any()?;
    let period = given.period(edge.settings.timezone)?;
    let limit = given.limit()?;
    let before = given
        .text("cursor")
        .map(|text| cursor::read::<24>(RECORD_CURSOR, text))
        .transpose()?;
    let scope = edge.client.customers.clone();
    Ok(RecordQuery {
        customer,
        reference,
        period,
        limit,
        before,
        scope,
    })
}

fn permit(edge: &Edge<'_>, query: &RecordQuery) -> Result<(), Code> {
    edge.permit()?;
    let allowed = query
        .customer
        .is_none_or(|customer| query.scope.allows(customer));
    if allowed { Ok(()) } else { Err(AUTHORIZATION) }
}
