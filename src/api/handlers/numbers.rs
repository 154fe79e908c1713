//! The pool and reservations (lease-api 4.5, 4.11).

use super::{Edge, Work};
use crate::api::cursor;
use crate::api::parameters::Parameters;
use crate::api::status::{PARAMETER, PHONE_FORMAT, QUANTITY};
use crate::books::command::{Code, Command, NumberState, Unreserve};
use crate::domain::{CustomerScope, E164};

/// Letter of numbers/list's cursors.
pub const CURSOR_LETTER: char = 'n';

/// customer/reserve.
///
/// # Errors
/// See lease-api 4.5.
pub fn reserve(edge: &Edge<'_>, given: &Parameters<'_>) -> Result<Work, Code> {
    let customer = given.customer()?;
    let quantity = quantity(given)?.ok_or(QUANTITY)?;
    edge.permit_for(customer)?;
    Ok(Work::Books(Command::Reserve { customer, quantity }))
}

/// customer/unreserve: `quantity` or `numbers`, one of the two.
///
/// # Errors
/// See lease-api 4.11.
pub fn unreserve(edge: &Edge<'_>, given: &Parameters<'_>) -> Result<Work, Code> {
    let customer = given.customer()?;
    let quantity = quantity(given)?;
    let numbers = given
        .text("numbers")
        .map(|list| numbers(edge, list))
        .transpose()?;
    let what = match (quantity, numbers) {
        (Some(quantity), None) => Unreserve::Quantity(quantity),
        (None, Some(numbers)) => Unreserve::Numbers(numbers),
        _ => return Err(QUANTITY),
    };
    edge.permit_for(customer)?;
    Ok(Work::Books(Command::Unreserve { customer, what }))
}

/// numbers/add.
///
/// # Errors
/// See lease-api 4.11.
pub fn add(edge: &Edge<'_>, given: &Parameters<'_>) -> Result<Work, Code> {
    let list = given.text("numbers").ok_or(PARAMETER)?;
    let mut ranges = Vec::new();
    for item in list.split(',') {
        let range = edge.settings.plan.parse_pool_entry(item.trim());
        ranges.push(range.map_err(|_| PHONE_FORMAT)?);
    }
    edge.permit_for_all()?;
    Ok(Work::Books(Command::AddNumbers(ranges)))
}

/// numbers/retire.
///
/// # Errors
/// See lease-api 4.11.
pub fn retire(edge: &Edge<'_>, given: &Parameters<'_>) -> Result<Work, Code> {
    let number = one(edge, given.text("number").ok_or(PARAMETER)?)?;
    edge.permit_for_all()?;
    Ok(Work::Books(Command::RetireNumber(number)))
}

/// numbers/list.
///
/// # Errors
/// See lease-api 4.11.
pub fn list(edge: &Edge<'_>, given: &Parameters<'_>) -> Result<Work, Code> {
    let state = given.text("state").map(state).transpose()?;
    let limit = given.limit()?;
    let from = given.text("cursor").map(first_of_page).transpose()?;
    edge.permit()?;
    let scope: CustomerScope = edge.client.customers.clone();
    Ok(Work::Books(Command::ListNumbers {
        state,
        scope,
        from,
        limit,
    }))
}

/// A state's name in numbers/list.
#[must_use]
pub const fn state_name(state: NumberState) -> &'static str {
    match state {
        NumberState::Free => "free",
        NumberState::Leased => "leased",
        NumberState::Reserved => "reserved",
        NumberState::Resting => "resting",
        NumberState::Retired => "retired",
    }
}

fn state(name: &str) -> Result<NumberState, Code> {
    [
        NumberState::Free,
        NumberState::Leased,
        NumberState::Reserved,
        NumberState::Resting,
        NumberState::Retired,
    ]
    .into_iter()
    .find(|state| state_name(*state) == name)
    .ok_or(PARAMETER)
}

fn first_of_page(text: &str) -> Result<E164, Code> {
    let key = cursor::read::<8>(CURSOR_LETTER, text)?;
    E164::from_packed(u64::from_be_bytes(key)).ok_or(PARAMETER)
}

/// More than there can be numbers counts as too many, not as malformed.
fn quantity(given: &Parameters<'_>) -> Result<Option<u32>, Code> {
    let quantity = given.between("quantity", 1, u64::MAX, QUANTITY)?;
    Ok(quantity.map(|quantity| u32::try_from(quantity).unwrap_or(u32::MAX)))
}

fn numbers(edge: &Edge<'_>, list: &str) -> Result<Vec<E164>, Code> {
    let mut numbers = Vec::new();
    for item in list.split(',') {
        numbers.push(one(edge, item)?);
    }
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

/// A number of the pool, read as the pool's own entries are: it need not be one that a numbering
/// plan has assigned.
fn one(edge: &Edge<'_>, spelled: &str) -> Result<E164, Code> {
    let range = edge
        .settings
        .plan
        .parse_pool_entry(spelled.trim())
        .map_err(|_| PHONE_FORMAT)?;
    if range.first == range.last {
        Ok(range.first)
    } else {
        Err(PHONE_FORMAT)
    }
}
