//! `name=value, name="quoted value"`: the parameters that challenges and credentials are made of
//! (RFC 3261 §25.1 `auth-param`, RFC 7235 §2.1).

use smallvec::SmallVec;
use std::borrow::Cow;

/// Most parameters of one challenge or of credentials.
const MOST: usize = 24;

/// Longest value, in bytes.
const LONGEST: usize = 512;

/// Why a text is no list of parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// Not of that form.
    Malformed,
    /// One name stands twice.
    Repeated,
    /// Too many, or too long.
    TooLong,
}

/// Parameters by name, each at most once.
#[derive(Debug, Default)]
pub(super) struct Parameters<'a> {
    all: SmallVec<[(&'a str, Cow<'a, str>); 12]>,
}

impl<'a> Parameters<'a> {
    /// Reads all of `text`.
    pub(super) fn read(text: &'a str) -> Result<Self, Wrong> {
        let (parameters, rest) = Self::read_some(text)?;
        if rest.is_empty() {
            Ok(parameters)
        } else {
            Err(Wrong::Malformed)
        }
    }

    /// Reads up to where another challenge begins (`Digest` after a comma, RFC 7235 §4.1), and
    /// gives back what is left.
    pub(super) fn read_some(text: &'a str) -> Result<(Self, &'a str), Wrong> {
        let mut parameters = Self::default();
        let mut rest = blank(text);
        while !rest.is_empty() {
            let (name, after) = token(rest);
            let after_name = blank(after);
            let Some(value) = after_name.strip_prefix('=') else {
                // A scheme: it is followed by space, and a parameter by "=".
                let scheme = !name.is_empty() && after.len() > after_name.len();
                return if scheme && !parameters.all.is_empty() {
                    Ok((parameters, rest))
                } else {
                    Err(Wrong::Malformed)
                };
            };
            let (value, after) = value_of(blank(value))?;
            if name.is_empty() {
                return Err(Wrong::Malformed);
            }
            parameters.add(name, value)?;
            rest = blank(after);
            match rest.strip_prefix(',') {
                Some(more) => rest = blank(more),
                None if rest.is_empty() => {}
                None => return Err(Wrong::Malformed),
            }
        }
        Ok((parameters, rest))
    }

    fn add(&mut self, name: &'a str, value: Cow<'a, str>) -> Result<(), Wrong> {
        if self.get(name).is_some() {
            return Err(Wrong::Repeated);
        }
        if self.all.len() >= MOST || value.len() > LONGEST {
            return Err(Wrong::TooLong);
        }
        self.all.push((name, value));
        Ok(())
    }

    /// A value, its quotes and escapes taken off. Names are compared in any case.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let mut all = self.all.iter();
        let (_, value) = all.find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(value)
    }
}

/// The text after a scheme and the white space that follows it; `None` for another scheme. Schemes
/// are compared in any case.
pub(super) fn after_scheme<'a>(text: &'a str, scheme: &str) -> Option<&'a str> {
    let text = blank(text);
    let (found, rest) = token(text);
    let parameters = blank(rest);
    (found.eq_ignore_ascii_case(scheme) && parameters.len() < rest.len()).then_some(parameters)
}

fn blank(text: &str) -> &str {
    text.trim_start_matches([' ', '\t', '\r', '\n'])
}

/// A token and what follows it.
fn token(text: &str) -> (&str, &str) {
    let part = |c: char| c.is_ascii_alphanumeric() || "-.!%*_+`'~".contains(c);
    let end = text.find(|c: char| !part(c)).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// A token or quoted string, and what follows it.
fn value_of(text: &str) -> Result<(Cow<'_, str>, &str), Wrong> {
    let Some(quoted) = text.strip_prefix('"') else {
        return match token(text) {
            ("", _) => Err(Wrong::Malformed),
            (value, rest) => Ok((Cow::Borrowed(value), rest)),
        };
    };
    let mut plain = String::new();
    let mut escaped = false;
    let mut simple = true;
    for (at, character) in quoted.char_indices() {
        match character {
            _ if character.is_control() && character != '\t' => return Err(Wrong::Malformed),
            _ if escaped => {
                plain.push(character);
                escaped = false;
            }
            '\\' => {
                if simple {
                    plain.push_str(quoted.get(..at).unwrap_or_default());
                }
                simple = false;
                escaped = true;
            }
            '"' => {
                let rest = quoted.get(at.saturating_add(1)..).unwrap_or_default();
                let value = if simple {
                    Cow::Borrowed(quoted.get(..at).unwrap_or_default())
                } else {
                    Cow::Owned(plain)
                };
                return Ok((value, rest));
            }
            _ if !simple => plain.push(character),
            _ => {}
        }
        if plain.len() > LONGEST {
            return Err(Wrong::TooLong);
        }
    }
    Err(Wrong::Malformed)
}

/// A text as a quoted string has it between its quotes.
pub(super) fn escaped(text: &str) -> Cow<'_, str> {
    if text.contains(['"', '\\']) {
        Cow::Owned(text.replace('\\', "\\\\").replace('"', "\\\""))
    } else {
        Cow::Borrowed(text)
    }
}
