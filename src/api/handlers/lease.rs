//! Leases: request, release, query (lease-api 4.1 to 4.4).

use super::{Edge, Work};
use crate::api::calendar::{self, Unit};
use crate::api::parameters::Parameters;
use crate::api::status::{
    EXPIRY_UNIT, EXPIRY_VALUE, IMSI, MCC, MNC, PHONE, PHONE_FORMAT, WHITELIST,
};
use crate::books::command::{Code, Command};
use crate::domain::{E164, LeaseKind, Phone, UnixMillis};

/// leasesingle/request.
///
/// # Errors
/// See lease-api 4.1.
pub fn single_request(edge: &Edge<'_>, given: &Parameters<'_>) -> Result<Work, Code> {
    let customer = given.customer()?;
    let member = member(edge, given, ["phone", "imsi", "mcc", "mnc"])?;
    let length = length(given)?;
    let whitelist = whitelist(edge, given)?;
    member.ties()?;
    let expires = length.end(edge)?;
    edge.permit_for(customer)?;
    let reference = edge.reference;
    let phone = member.phone;
    Ok(Work::Books(Command::LeaseSingle {
        reference,
        customer,
        phone,
        expires,
        whitelist,
    }))
}

/// leasegroup/request.
///
/// # Errors
/// See lease-api 4.2.
pub fn group_request(edge: &Edge<'_>, given: &Parameters<'_>) -> Result<Work, Code> {
    let customer = given.customer()?;
    let first = member(edge, given, ["phone1", "imsi1", "mcc1", "mnc1"])?;
    let second = member(edge, given, ["phone2", "imsi2", "mcc2", "mnc2"])?;
    let length = length(given)?;
    first.ties()?;
    second.ties()?;
    if first.phone.number == second.phone.number {
        return Err(PHONE);
    }
    let expires = length.end(edge)?;
    edge.permit_for(customer)?;
    let reference = edge.reference;
    let phones = [first.phone, second.phone];
    Ok(Work::Books(Command::LeaseGroup {
        reference,
        customer,
        phones,
        expires,
    }))
}

/// leasesingle/release.
///
/// # Errors
/// See lease-api 4.3.
pub fn single_release(edge: &Edge<'_>, given: &Parameters<'_>) -> Result<Work, Code> {
    release(edge, given, LeaseKind::Single)
}

/// leasegroup/release.
///
/// # Errors
/// See lease-api 4.3.
pub fn group_release(edge: &Edge<'_>, given: &Parameters<'_>) -> Result<Work, Code> {
    release(edge, given, LeaseKind::Group)
}

/// leasesingle/query.
///
/// # Errors
/// See lease-api 4.4.
pub fn single_query(edge: &Edge<'_>, given: &Parameters<'_>) -> Result<Work, Code> {
    query(edge, given, LeaseKind::Single)
}

/// leasegroup/query.
///
/// # Errors
/// See lease-api 4.4.
pub fn group_query(edge: &Edge<'_>, given: &Parameters<'_>) -> Result<Work, Code> {
    query(edge, given, LeaseKind::Group)
}

fn release(edge: &Edge<'_>, given: &Parameters<'_>, kind: LeaseKind) -> Result<Work, Code> {
    let reference = given.reference()?;
    edge.permit()?;
    let scope = edge.client.customers.clone();
    Ok(Work::Books(Command::Release {
        kind,
        reference,
        scope,
    }))
}

fn query(edge: &Edge<'_>, given: &Parameters<'_>, kind: LeaseKind) -> Result<Work, Code> {
    let reference = given.reference()?;
    edge.permit()?;
    let scope = edge.client.customers.clone();
    Ok(Work::Books(Command::QueryLease {
        kind,
        reference,
        scope,
    }))
}

/// A subscriber as given: the number, and the network identity that is only checked.
struct Member<'a> {
    phone: Phone,
    imsi: Option<&'a str>,
    mcc: Option<&'a str>,
    mnc: Option<&'a str>,
}

fn member<'a>(
    edge: &Edge<'_>,
    given: &Parameters<'a>,
    names: [&str; 4],
) -> Result<Member<'a>, Code> {
    let [phone, imsi, mcc, mnc] = names;
    let phone = subscriber(edge, given.text(phone).ok_or(PHONE)?)?;
    Ok(Member {
        phone,
        imsi: given.digits(imsi, 6..=15, IMSI)?,
        mcc: given.digits(mcc, 3..=3, MCC)?,
        mnc: given.digits(mnc, 2..=3, MNC)?,
    })
}

impl Member<'_> {
    /// The rules that tie imsi, mcc and mnc together.
    fn ties(&self) -> Result<(), Code> {
        match (self.imsi, self.mcc, self.mnc) {
            (_, None, Some(_)) => Err(MCC),
            (_, Some(_), None) => Err(MNC),
            (Some(imsi), Some(mcc), Some(mnc)) => {
                let begins = imsi
                    .strip_prefix(mcc)
                    .is_some_and(|rest| rest.starts_with(mnc));
                if begins { Ok(()) } else { Err(IMSI) }
            }
            _ => Ok(()),
        }
    }
}

/// A leading space is an undecoded `+`, which is what the client wrote and gets back.
fn subscriber(edge: &Edge<'_>, spelled: &str) -> Result<Phone, Code> {
    let number = edge.target(spelled)?;
    let spelling = match spelled.strip_prefix(' ') {
        Some(rest) => format!("+{}", rest.trim_start()).into(),
        None => spelled.into(),
    };
    Ok(Phone { number, spelling })
}

/// A whitelist holds callers, who may be from anywhere: `allowed_targets` does not bind them.
fn whitelist(edge: &Edge<'_>, given: &Parameters<'_>) -> Result<Vec<E164>, Code> {
    let Some(list) = given.text("cw") else {
        return Ok(Vec::new());
    };
    if list.split(',').count() > edge.settings.max_whitelist {
        return Err(WHITELIST);
    }
    let plan = &edge.settings.plan;
    let mut numbers = Vec::new();
    for item in list.split(',') {
        // A space after the comma is no undecoded `+` where the number is good without.
        let number = plan
            .parse_phone(item)
            .or_else(|| plan.parse_phone(item.trim()));
        numbers.push(number.ok_or(PHONE_FORMAT)?);
    }
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

/// How long a lease is to be.
struct Length {
    count: u64,
    unit: Unit,
}

fn length(given: &Parameters<'_>) -> Result<Length, Code> {
    let count = given
        .between("expiry_value", 1, u64::MAX, EXPIRY_VALUE)?
        .ok_or(EXPIRY_VALUE)?;
    let unit = given
        .text("expiry_unit")
        .and_then(Unit::from_name)
        .ok_or(EXPIRY_UNIT)?;
    Ok(Length { count, unit })
}

impl Length {
    /// The end of a lease made now.
    fn end(&self, edge: &Edge<'_>) -> Result<UnixMillis, Code> {
        let zone = edge.settings.timezone;
        calendar::after(edge.now, self.count, self.unit, zone)
            .filter(|end| edge.settings.max_duration.allows(edge.now, *end, zone))
            .ok_or(EXPIRY_VALUE)
    }
}
