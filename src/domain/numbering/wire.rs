//! Numbers as trunks write them (sip-bridging 1, `numbers` of a trunk).

use super::super::E164;
use super::{Country, MAX_SPELLING, Plan, split_code, without_separators};

/// How a number is written on a trunk's wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NumberForm {
    /// `+60123456789`
    PlusE164,
    /// `60123456789`
    E164,
    /// National digits with the trunk prefix, in this country (ISO code); others as `00...`.
    National(Box<str>),
    /// A tech prefix before E.164 digits. The second value is the country code that is left out of
    /// them: empty for none. Only what is dialled has the prefix, not who calls.
    Prefix(Box<str>, Box<str>),
}

impl Plan {
    /// A dialled number from a trunk's wire, normalised. It need only be 7 to 15 digits, not valid
    /// to the numbering plan (sip-bridging 2). A `+` always means E.164, whatever the form.
    #[must_use]
    pub fn normalise_wire(&self, form: &NumberForm, digits: &str) -> Option<E164> {
        let compact = compact(digits)?;
        if let Some(digits) = compact.strip_prefix('+') {
            return E164::from_digits(digits);
        }
        match form {
            NumberForm::PlusE164 | NumberForm::E164 => E164::from_digits(&compact),
            NumberForm::National(iso) => from_national(&Country::find(iso).ok()?, &compact),
            NumberForm::Prefix(prefix, code) => {
                let rest = compact.strip_prefix(&**prefix)?;
                E164::from_digits(&format!("{code}{rest}"))
            }
        }
    }

    /// A caller's number from a trunk's wire, normalised. The tech prefix is a word to the switch
    /// about the number dialled: with most carriers an identity has none, and is E.164 digits. So
    /// digits that are a number as they stand keep what looks like a prefix.
    #[must_use]
    pub fn normalise_identity(&self, form: &NumberForm, digits: &str) -> Option<E164> {
        let NumberForm::Prefix(..) = form else {
            return self.normalise_wire(form, digits);
        };
        let whole = compact(digits)?;
        super::international(&whole)
            .or_else(|| self.normalise_wire(form, digits))
            .or_else(|| E164::from_digits(&whole))
    }
}

/// The digits, perhaps with a `+` before them, without separators.
fn compact(digits: &str) -> Option<String> {
    if digits.len() > MAX_SPELLING {
        return None;
    }
    without_separators(digits)
}

fn from_national(country: &Country, digits: &str) -> Option<E164> {
    let prefix = &*country.national_prefix;
    if let Some(rest) = digits.strip_prefix("00")
        && let Some(number) = E164::from_digits(rest)
    {
        return Some(number);
    }
    let rest = if prefix.is_empty() {
        digits
    } else {
        digits.strip_prefix(prefix).unwrap_or(digits)
    };
    E164::from_digits(&format!("{}{rest}", country.code))
}

impl NumberForm {
    /// `number` as it is dialled in this form; `None` where the form has no way to write it: a
    /// country code is left out, and the number has another one.
    #[must_use]
    pub fn write(&self, number: E164) -> Option<String> {
        match self {
            Self::Prefix(prefix, code) => {
                let digits = number.digits();
                let rest = digits.strip_prefix(&**code)?;
                Some(format!("{prefix}{rest}"))
            }
            _ => Some(self.write_identity(number)),
        }
    }

    /// `number` as a caller is named in this form: without a tech prefix, and whole, so that the
    /// one who is called can call back.
    #[must_use]
    pub fn write_identity(&self, number: E164) -> String {
        let digits = number.digits();
        match self {
            Self::PlusE164 => format!("+{digits}"),
            Self::E164 | Self::Prefix(..) => digits,
            Self::National(iso) => match (Country::find(iso), split_code(&digits)) {
                (Ok(country), Some((code, rest))) if code == country.code => {
                    format!("{}{rest}", country.national_prefix)
                }
                _ => format!("00{digits}"),
            },
        }
    }
}
