//! Typed readers of parameters: each says what it wants and which status it is if it is not that.

use super::calendar::{self, Repeated};
use super::form::Form;
use super::operation::Operation;
use super::status::{CUSTOMER, PARAMETER, REFERENCE};
use crate::books::command::Code;
use crate::domain::{CustomerId, ReferenceId, UnixMillis};
use chrono_tz::Tz;
use uuid::Uuid;

/// Rows of a page where `limit` is not given, and at most (lease-api 4.10).
pub const DEFAULT_LIMIT: u32 = 100;
/// See [`DEFAULT_LIMIT`].
pub const MAX_LIMIT: u32 = 1000;

/// The parameters of one request to one operation.
#[derive(Clone, Copy, Debug)]
pub struct Parameters<'a> {
    form: &'a Form<'a>,
    operation: &'static Operation,
}

impl<'a> Parameters<'a> {
    /// Of `form`, as `operation` names them.
    #[must_use]
    pub fn new(form: &'a Form<'a>, operation: &'static Operation) -> Self {
        Self { form, operation }
    }

    /// A value; empty counts as absent.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&'a str> {
        // What a handler reads stands in the table, and so in the OpenAPI document.
        debug_assert!(
            self.operation.has_parameter(name),
            "{name} is not in the table"
        );
        self.form.get(name)
    }

    /// A number without a sign; more than fits counts as the most that does.
    ///
    /// # Errors
    /// `wrong` where it is there but is not digits alone.
    pub fn number(&self, name: &str, wrong: Code) -> Result<Option<u64>, Code> {
        self.text(name)
            .map(|value| unsigned(value).ok_or(wrong))
            .transpose()
    }

    /// A number from `from` to `to`.
    ///
    /// # Errors
    /// `wrong` where it is there and anything else.
    pub fn between(
        &self,
        name: &str,
        from: u64,
        to: u64,
        wrong: Code,
    ) -> Result<Option<u64>, Code> {
        match self.number(name, wrong)? {
            Some(value) if (from..=to).contains(&value) => Ok(Some(value)),
            Some(_) => Err(wrong),
            None => Ok(None),
        }
    }

    /// As [`Self::between`], for what is kept in 32 bits.
    ///
    /// # Errors
    /// `wrong` where it is there and anything else.
    pub fn small(&self, name: &str, from: u32, wrong: Code) -> Result<Option<u32>, Code> {
        let value = self.between(name, u64::from(from), u64::from(u32::MAX), wrong)?;
        value
            .map(|value| u32::try_from(value).map_err(|_| wrong))
            .transpose()
    }

    /// An integer that may be negative, within `limit` either way.
    ///
    /// # Errors
    /// `wrong` where it is there and anything else.
    pub fn signed(&self, name: &str, limit: i64, wrong: Code) -> Result<Option<i64>, Code> {
        let Some(value) = self.text(name) else {
            return Ok(None);
        };
        let (negative, digits) = value
            .strip_prefix('-')
            .map_or((false, value), |rest| (true, rest));
        let size = unsigned(digits).ok_or(wrong)?;
        let size = i64::try_from(size)
            .ok()
            .filter(|size| *size <= limit)
            .ok_or(wrong)?;
        Ok(Some(if negative { -size } else { size }))
    }

    /// One of two words for false and true (`0` and `1`, `1` and `2`).
    ///
    /// # Errors
    /// `wrong` where it is there and neither.
    pub fn choice(&self, name: &str, words: [&str; 2], wrong: Code) -> Result<Option<bool>, Code> {
        let [no, yes] = words;
        match self.text(name) {
            None => Ok(None),
            Some(value) if value == no => Ok(Some(false)),
            Some(value) if value == yes => Ok(Some(true)),
            Some(_) => Err(wrong),
        }
    }

    /// Digits alone, so many.
    ///
    /// # Errors
    /// `wrong` where it is there and anything else.
    pub fn digits(
        &self,
        name: &str,
        lengths: std::ops::RangeInclusive<usize>,
        wrong: Code,
    ) -> Result<Option<&'a str>, Code> {
        match self.text(name) {
            None => Ok(None),
            Some(value)
                if lengths.contains(&value.len()) && value.bytes().all(|b| b.is_ascii_digit()) =>
            {
                Ok(Some(value))
            }
            Some(_) => Err(wrong),
        }
    }

    /// `customer_id`, where it must be there.
    ///
    /// # Errors
    /// Status 33.
    pub fn customer(&self) -> Result<CustomerId, Code> {
        self.customer_if_any()?.ok_or(CUSTOMER)
    }

    /// `customer_id`, where it may be there. Ids are consecutive from 1, so that a number too large
    /// for one is a well-formed id that no account has (35): the largest stands for them all.
    ///
    /// # Errors
    /// Status 33 where it is there and no positive integer.
    pub fn customer_if_any(&self) -> Result<Option<CustomerId>, Code> {
        match self.number("customer_id", CUSTOMER)? {
            Some(0) => Err(CUSTOMER),
            Some(id) => Ok(Some(CustomerId(u32::try_from(id).unwrap_or(u32::MAX)))),
            None => Ok(None),
        }
    }

    /// `reference_id`, where it must be there.
    ///
    /// # Errors
    /// Status 19.
    pub fn reference(&self) -> Result<ReferenceId, Code> {
        self.reference_if_any()?.ok_or(REFERENCE)
    }

    /// `reference_id`, where it may be there: a UUID with hyphens, in either case.
    ///
    /// # Errors
    /// Status 19 where it is there and anything else.
    pub fn reference_if_any(&self) -> Result<Option<ReferenceId>, Code> {
        let Some(value) = self.text("reference_id") else {
            return Ok(None);
        };
        if value.len() != 36 {
            return Err(REFERENCE);
        }
        Uuid::try_parse(value)
            .map(|uuid| Some(ReferenceId(uuid)))
            .map_err(|_| REFERENCE)
    }

    /// `from` and `to` as instants, both inclusive: `to` means the whole second.
    ///
    /// # Errors
    /// Status 2: not a stamp.
    pub fn period(&self, zone: Tz) -> Result<Period, Code> {
        let read = |name, repeated| {
            self.text(name)
                .map(|text| calendar::parse_stamp(text, zone, repeated).ok_or(PARAMETER))
                .transpose()
        };
        let from = read("from", Repeated::First)?.unwrap_or(UnixMillis(0));
        let to = read("to", Repeated::Last)?.map_or(UnixMillis(u64::MAX), |second| {
            UnixMillis(second.0.saturating_add(999))
        });
        Ok(Period { from, to })
    }

    /// `limit`.
    ///
    /// # Errors
    /// Status 2: not from 1 to 1000.
    pub fn limit(&self) -> Result<u32, Code> {
        let limit = self.between("limit", 1, u64::from(MAX_LIMIT), PARAMETER)?;
        Ok(limit
            .and_then(|limit| u32::try_from(limit).ok())
            .unwrap_or(DEFAULT_LIMIT))
    }
}

/// From one instant to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// First.
    pub from: UnixMillis,
    /// Last.
    pub to: UnixMillis,
}

/// Digits alone; more than fits counts as the most that does.
fn unsigned(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::super::operation::find;
    use super::*;

    fn read<T>(body: &str, get: impl Fn(&Parameters<'_>) -> T) -> T {
        let form = Form::parse("", body.as_bytes()).unwrap();
        let (_, operation) = find("customer", "update").unwrap();
        get(&Parameters::new(&form, operation))
    }

    #[test]
    fn customer_ids() {
        let customer = |body: &str| read(body, |p| p.customer());
        assert_eq!(customer("customer_id=1"), Ok(CustomerId(1)));
        assert_eq!(
            customer("customer_id=99999999999999999999999"),
            Ok(CustomerId(u32::MAX))
        );
        for body in [
            "",
            "customer_id=",
            "customer_id=0",
            "customer_id=-1",
            "customer_id=%2B1",
            "customer_id=1.0",
            "customer_id=one",
            "customer_id=%D9%A1",
        ] {
            assert_eq!(customer(body), Err(CUSTOMER), "{body}");
        }
    }

    #[test]
    fn signed_figures() {
        let credit = |body: &str| read(body, |p| p.signed("account_credit", 1000, PARAMETER));
        assert_eq!(credit("account_credit=-1000"), Ok(Some(-1000)));
        assert_eq!(credit("account_credit=0"), Ok(Some(0)));
        assert_eq!(credit("a=1"), Ok(None));
        for value in [
            "1001",
            "-1001",
            "--1",
            "+1",
            "1e3",
            "-",
            "99999999999999999999",
            "1.5",
        ] {
            assert_eq!(
                credit(&format!("account_credit={value}")),
                Err(PARAMETER),
                "{value}"
            );
        }
    }

    #[test]
    #[should_panic(expected = "is not in the table")]
    fn a_parameter_that_is_not_in_the_table_is_a_fault_of_ours() {
        read("", |p| p.text("surprise").map(str::len));
    }
}
