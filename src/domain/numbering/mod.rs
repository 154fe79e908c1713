//! Reading telephone numbers by the numbering plan (libphonenumber), at the edge.
//!
//! [`Plan`] reads what people and carriers write; [`pool`] has the words for the numbers that are
//! lent out; [`wire`] has the forms that trunks use. A parse costs microseconds: it belongs where
//! text comes in, not on the path of a packet.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::panic
    )
)]

pub mod pool;
pub mod wire;

#[cfg(test)]
mod tests;

pub use pool::{NumberState, NumberStyle, PoolRange};
pub use wire::NumberForm;

use super::E164;
use phonenumber::country;
use phonenumber::metadata::DATABASE;

/// Longest spelling of a number that is looked at; longer ones are no numbers.
const MAX_SPELLING: usize = 40;

/// A numbering plan as configured: default country, allowed targets, emergency numbers
/// (`[numbering]`, lease-api 4.1).
#[derive(Clone, Debug, Default)]
pub struct Plan {
    home: Option<Country>,
    /// Countries that targets may be in; empty: all.
    allowed: Vec<Country>,
    /// Digits as dialled.
    emergency: Vec<Box<str>>,
}

/// A country of the plan.
#[derive(Clone, Debug)]
struct Country {
    id: country::Id,
    code: u16,
    /// Whether no other country shares its calling code, so that the code alone tells it.
    alone: bool,
    national_prefix: Box<str>,
}

impl Country {
    fn find(iso: &str) -> Result<Self, String> {
        let unknown = || format!("`{iso}` is not a country (ISO 3166-1 alpha-2, such as \"MY\")");
        let id: country::Id = iso.parse().map_err(|_| unknown())?;
        let meta = DATABASE.by_id(iso).ok_or_else(unknown)?;
        let code = meta.country_code();
        Ok(Self {
            id,
            code,
            alone: DATABASE.region(&code).is_none_or(|all| all.len() == 1),
            national_prefix: meta.national_prefix().unwrap_or_default().into(),
        })
    }
}

impl Plan {
    /// A plan. No allowed target at all means the default country, or every country where there
    /// is none; `"*"` is every country.
    ///
    /// # Errors
    /// Says which entry is no country, or no number.
    pub fn new(
        default_country: Option<&str>,
        allowed_targets: &[String],
        emergency: &[String],
    ) -> Result<Self, String> {
        let home = default_country.map(Country::find).transpose()?;
        let allowed = if allowed_targets.iter().any(|target| target == "*") {
            Vec::new()
        } else if allowed_targets.is_empty() {
            home.iter().cloned().collect()
        } else {
            let found: Result<Vec<_>, _> = allowed_targets
                .iter()
                .map(|iso| Country::find(iso))
                .collect();
            found?
        };
        let mut numbers = Vec::with_capacity(emergency.len());
        for entry in emergency {
            let digits = without_separators(entry)
                .filter(|s| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit()))
                .ok_or_else(|| format!("`{entry}` is not an emergency number (digits)"))?;
            numbers.push(digits.into_boxed_str());
        }
        Ok(Self {
            home,
            allowed,
            emergency: numbers,
        })
    }

    /// Reads a number as lease-api 4.1 has it: `+`, `00`, bare country code, or the national form
    /// of the default country, which wins; separators are ignored and a leading space is an
    /// undecoded `+`. `None` unless it is valid to the numbering plan. Whether it may be a target
    /// is for [`Self::target_allowed`].
    #[must_use]
    pub fn parse_phone(&self, spelled: &str) -> Option<E164> {
        let spelled = match spelled.strip_prefix(' ') {
            Some(rest) if !rest.trim_start().starts_with('+') => format!("+{}", rest.trim_start()),
            _ => spelled.trim_start().to_owned(),
        };
        let compact = without_separators(&spelled)?;
        if let Some(digits) = compact.strip_prefix('+') {
            return international(digits);
        }
        if let Some(home) = &self.home
            && let Some(number) = national(home, &compact)
        {
            return Some(number);
        }
        match compact.strip_prefix("00") {
            Some(digits) => international(digits),
            None => international(&compact),
        }
    }

    /// Whether calls may be sent to `number`: its country is allowed and it is no emergency
    /// number.
    #[must_use]
    pub fn target_allowed(&self, number: E164) -> bool {
        let digits = number.digits();
        let Some((code, rest)) = split_code(&digits) else {
            return self.allowed.is_empty() && !self.is_emergency(&digits);
        };
        if self.is_emergency(&digits) || self.is_emergency(rest) {
            return false;
        }
        if self.allowed.is_empty() {
            return true;
        }
        let mut candidates = self.allowed.iter().filter(|c| c.code == code).peekable();
        if candidates.peek().is_none() {
            return false;
        }
        // A code of one country decides by itself; a shared one (+1, +7, +44) asks the plan.
        if candidates.clone().any(|c| c.alone) {
            return true;
        }
        let id = phonenumber::parse(None, format!("+{digits}"))
            .ok()
            .and_then(|parsed| parsed.country().id());
        candidates.any(|c| Some(c.id) == id)
    }

    /// Whether `dialled` is an emergency number, compared as dialled (sip-bridging 2).
    #[must_use]
    pub fn is_emergency(&self, dialled: &str) -> bool {
        if self.emergency.is_empty() || dialled.len() > MAX_SPELLING {
            return false;
        }
        without_separators(dialled)
            .is_some_and(|compact| self.emergency.iter().any(|e| **e == *compact))
    }

    /// Digits in which `number` is written inside its own country, for the privacy guard: the
    /// national significant number, and the same after the trunk prefix.
    #[must_use]
    pub fn national_forms(&self, number: E164) -> Vec<String> {
        let digits = number.digits();
        let Some((code, rest)) = split_code(&digits) else {
            return Vec::new();
        };
        let mut forms = vec![rest.to_owned()];
        for region in DATABASE.region(&code).unwrap_or_default() {
            let prefix = DATABASE
                .by_id(region)
                .and_then(|meta| meta.national_prefix())
                .unwrap_or_default();
            let form = format!("{prefix}{rest}");
            if !forms.contains(&form) {
                forms.push(form);
            }
        }
        forms
    }
}

/// `spelled` without space, `-`, `.`, `(`, `)`; `None` where anything else than digits and one
/// leading `+` remains, or where it is too long to be a number.
fn without_separators(spelled: &str) -> Option<String> {
    if spelled.len() > MAX_SPELLING {
        return None;
    }
    let mut compact = String::with_capacity(spelled.len());
    for c in spelled.chars() {
        match c {
            '0'..='9' => compact.push(c),
            '+' if compact.is_empty() => compact.push(c),
            ' ' | '-' | '.' | '(' | ')' => {}
            _ => return None,
        }
    }
    Some(compact)
}

/// Digits that begin with a country code, if they are a valid number.
fn international(digits: &str) -> Option<E164> {
    if !(7..=18).contains(&digits.len()) || digits.starts_with('0') {
        return None;
    }
    let parsed = phonenumber::parse(None, format!("+{digits}")).ok()?;
    valid(&parsed)
}

/// Digits of the calling code of a country (ISO code).
#[must_use]
pub fn calling_code(iso: &str) -> Option<String> {
    Some(Country::find(iso).ok()?.code.to_string())
}

/// Digits in the national form of `home`, if they are a valid number there.
fn national(home: &Country, digits: &str) -> Option<E164> {
    if !(3..=17).contains(&digits.len()) {
        return None;
    }
    let parsed = phonenumber::parse(Some(home.id), digits).ok()?;
    if parsed.code().value() != home.code {
        return None;
    }
    valid(&parsed)
}

fn valid(parsed: &phonenumber::PhoneNumber) -> Option<E164> {
    let (code, national) = (parsed.code().value(), parsed.national().to_string());
    if parsed.extension().is_some() || !(is_ordinary(code, &national) || parsed.is_valid()) {
        return None;
    }
    E164::from_digits(&format!("{code}{national}"))
}

/// Whether the plan of a country that has `code` for itself knows the number as a mobile or a fixed
/// one, as nearly all are. The library's own answer tries every kind of number first.
fn is_ordinary(code: u16, national: &str) -> bool {
    let regions = DATABASE.region(&code).unwrap_or_default();
    let [region] = regions.as_slice() else {
        return false;
    };
    DATABASE.by_id(*region).is_some_and(|meta| {
        let plan = meta.descriptors();
        let kinds = [plan.mobile(), plan.fixed_line()];
        plan.general().is_match(national)
            && kinds
                .into_iter()
                .flatten()
                .any(|kind| kind.is_match(national))
    })
}

/// A number's calling code and the digits after it. Calling codes are prefix-free (ITU-T E.164).
fn split_code(digits: &str) -> Option<(u16, &str)> {
    (1..=3).find_map(|length| {
        let (code, rest) = digits.split_at_checked(length)?;
        let code: u16 = code.parse().ok()?;
        DATABASE.region(&code).map(|_| (code, rest))
    })
}
