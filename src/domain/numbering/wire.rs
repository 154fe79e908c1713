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
    /// A tech prefix before E.164 digits of which `strip` leading ones are left out.
    Prefix(Box<str>, u8),
}

impl Plan {
    /// A number from a trunk's wire, normalised. It need only be 7 to 15 digits, not valid to the
    /// numbering plan (sip-bridging 2). A `+` always means E.164, whatever the form.
    #[must_use]
    pub fn normalise_wire(&self, form: &NumberForm, digits: &str) -> Option<E164> {
        if digits.len() > MAX_SPELLING {
            return None;
        }
        let compact = without_separators(digits)?;
        if let Some(digits) = compact.strip_prefix('+') {
            return E164::from_digits(digits);
        }
        match form {
            NumberForm::PlusE164 | NumberForm::E164 => E164::from_digits(&compact),
            NumberForm::National(iso) => from_national(&Country::find(iso).ok()?, &compact),
            NumberForm::Prefix(prefix, strip) => {
                let rest = compact.strip_prefix(&**prefix)?;
                if *strip == 0 {
                    return E164::from_digits(rest);
                }
                // What was left out can only be the default country's calling code.
                let code = self.home.as_ref()?.code.to_string();
                if code.len() != usize::from(*strip) {
                    return None;
                }
                E164::from_digits(&format!("{code}{rest}"))
            }
        }
    }
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
    /// `number` in this form.
    #[must_use]
    pub fn write(&self, number: E164) -> String {
        let digits = number.digits();
        match self {
            Self::PlusE164 => format!("+{digits}"),
            Self::E164 => digits,
            Self::National(iso) => match (Country::find(iso), split_code(&digits)) {
                (Ok(country), Some((code, rest))) if code == country.code => {
                    format!("{}{rest}", country.national_prefix)
                }
                _ => format!("00{digits}"),
            },
            Self::Prefix(prefix, strip) => {
                let rest = digits.get(usize::from(*strip)..).unwrap_or_default();
                format!("{prefix}{rest}")
            }
        }
    }
}
