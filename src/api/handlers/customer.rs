//! Customers: view, top-up, create, update (lease-api 4.6 to 4.8).

use super::{Edge, Work};
use crate::api::parameters::Parameters;
use crate::api::status::CREDIT;
use crate::books::command::{Code, Command, CustomerUpdate};
use crate::domain::{ChargeMethod, Credit, Customer, CustomerId, Tariff, UnixMillis};

const FIRST_NAME: Code = Code(20);
const LAST_NAME: Code = Code(21);
const ACCOUNT_STATUS: Code = Code(22);
const ACCOUNT_CREDIT: Code = Code(23);
const CHARGE_METHOD: Code = Code(24);
const ENABLE_SINGLE: Code = Code(25);
const BLOCK_SINGLE: Code = Code(26);
const RATE_SINGLE: Code = Code(27);
const ENABLE_GROUP: Code = Code(28);
const BLOCK_GROUP: Code = Code(29);
const RATE_GROUP: Code = Code(30);
const MAX_SINGLE: Code = Code(31);
const MAX_GROUP: Code = Code(32);

/// Longest name, in characters.
const MAX_NAME: usize = 100;

/// customer/view.
///
/// # Errors
/// See lease-api 4.6.
pub fn view(edge: &Edge<'_>, given: &Parameters<'_>) -> Result<Work, Code> {
    let customer = given.customer()?;
    edge.permit_for(customer)?;
    Ok(Work::Books(Command::ViewCustomer(customer)))
}

/// customer/topup.
///
/// # Errors
/// See lease-api 4.7.
pub fn topup(edge: &Edge<'_>, given: &Parameters<'_>) -> Result<Work, Code> {
    let customer = given.customer()?;
    let credit = given
        .signed("credit", Credit::TOPUP_LIMIT, CREDIT)?
        .ok_or(CREDIT)?;
    edge.permit_for(customer)?;
    Ok(Work::Books(Command::TopUp {
        customer,
        credit: Credit(credit),
    }))
}

/// customer/create.
///
/// # Errors
/// See lease-api 4.8.
pub fn create(edge: &Edge<'_>, given: &Parameters<'_>) -> Result<Work, Code> {
    let (given, opening) = given_fields(given, Needed::Names)?;
    edge.permit_for_all()?;
    let default = edge.settings.default_tariff;
    let customer = Customer {
        id: CustomerId(0),
        first_name: given.first_name.unwrap_or_default(),
        last_name: given.last_name.unwrap_or_default(),
        suspended: given.suspended.unwrap_or(false),
        charge_method: given.charge_method.unwrap_or(ChargeMethod::Prepaid),
        enable_single: given.enable_single.unwrap_or(true),
        enable_group: given.enable_group.unwrap_or(true),
        tariff_single: Tariff {
            block_seconds: given.block_single.unwrap_or(default.block_seconds),
            rate: given.rate_single.unwrap_or(default.rate),
        },
        tariff_group: Tariff {
            block_seconds: given.block_group.unwrap_or(default.block_seconds),
            rate: given.rate_group.unwrap_or(default.rate),
        },
        max_lease_single: given.max_lease_single.unwrap_or(0),
        max_lease_group: given.max_lease_group.unwrap_or(0),
        // The books fill in id and dates.
        date_created: UnixMillis(0),
        date_suspended: None,
    };
    let opening = opening.unwrap_or(Credit::ZERO);
    Ok(Work::Books(Command::CreateCustomer {
        customer: Box::new(customer),
        opening,
    }))
}

/// customer/update.
///
/// # Errors
/// See lease-api 4.8.
pub fn update(edge: &Edge<'_>, given: &Parameters<'_>) -> Result<Work, Code> {
    let customer = given.customer()?;
    let (update, _) = given_fields(given, Needed::Nothing)?;
    edge.permit_for(customer)?;
    Ok(Work::Books(Command::UpdateCustomer {
        customer,
        update: Box::new(update),
    }))
}

/// What must be there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needed {
    /// A new customer: both names, and a credit may be given.
    Names,
    /// A change: any subset, but no credit.
    Nothing,
}

/// The fields of customer/create and update, in their order, and the opening balance.
fn given_fields(
    given: &Parameters<'_>,
    needed: Needed,
) -> Result<(CustomerUpdate, Option<Credit>), Code> {
    let first_name = name(given, "first_name", needed, FIRST_NAME)?;
    let last_name = name(given, "last_name", needed, LAST_NAME)?;
    let suspended = given.choice("account_status", ["1", "2"], ACCOUNT_STATUS)?;
    let credit = given.signed("account_credit", Credit::BALANCE_LIMIT, ACCOUNT_CREDIT)?;
    if credit.is_some() && needed == Needed::Nothing {
        return Err(ACCOUNT_CREDIT);
    }
    let postpaid = given.choice("charge_method", ["1", "2"], CHARGE_METHOD)?;
    let update = CustomerUpdate {
        first_name,
        last_name,
        suspended,
        charge_method: postpaid.map(|yes| {
            if yes {
                ChargeMethod::Postpaid
            } else {
                ChargeMethod::Prepaid
            }
        }),
        enable_single: given.choice("enable_single_service", ["0", "1"], ENABLE_SINGLE)?,
        block_single: given.small("charge_block_single", 1, BLOCK_SINGLE)?,
        rate_single: rate(given, "charge_rate_single", RATE_SINGLE)?,
        enable_group: given.choice("enable_group_service", ["0", "1"], ENABLE_GROUP)?,
        block_group: given.small("charge_block_group", 1, BLOCK_GROUP)?,
        rate_group: rate(given, "charge_rate_group", RATE_GROUP)?,
        max_lease_single: given.small("max_lease_single", 0, MAX_SINGLE)?,
        max_lease_group: given.small("max_lease_group", 0, MAX_GROUP)?,
    };
    Ok((update, credit.map(Credit)))
}

fn name(
    given: &Parameters<'_>,
    parameter: &str,
    needed: Needed,
    wrong: Code,
) -> Result<Option<String>, Code> {
    match given.text(parameter) {
        None if needed == Needed::Names => Err(wrong),
        None => Ok(None),
        Some(name) => {
            let fits = name.chars().count() <= MAX_NAME
                && !name.chars().any(char::is_control)
                && !name.trim().is_empty();
            if fits {
                Ok(Some(name.to_owned()))
            } else {
                Err(wrong)
            }
        }
    }
}

/// Bounded as a top-up is, so that no block can cost more than an account can be given.
fn rate(given: &Parameters<'_>, parameter: &str, wrong: Code) -> Result<Option<Credit>, Code> {
    let most = Credit::TOPUP_LIMIT.unsigned_abs();
    let value = given.between(parameter, 0, most, wrong)?;
    value
        .map(|value| i64::try_from(value).map(Credit).map_err(|_| wrong))
        .transpose()
}
