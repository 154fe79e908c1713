//! How numbers and the caller's identity are written towards a trunk (sip-bridging 1 and 4).

use crate::call::event::CallerId;
use crate::domain::numbering::NumberForm;
use crate::sip::message::{Header, Writer};

/// From of an anonymous call (RFC 3323 §4.1.1.3).
const ANONYMOUS: &str = "\"Anonymous\" <sip:anonymous@anonymous.invalid>";

/// The caller as one trunk is to see it.
#[derive(Debug)]
pub(super) struct Shown {
    /// From without its tag.
    pub(super) from: String,
    /// P-Asserted-Identity, for a trusted trunk only.
    asserted: Option<String>,
    /// `Privacy: id` goes with it.
    private: bool,
}

impl Shown {
    /// What a trunk sees of a caller ID; `domain` is our own host.
    pub(super) fn new(
        caller: &CallerId,
        (form, trusted): (&NumberForm, bool),
        domain: &str,
    ) -> Self {
        let address = |user: &str| format!("<sip:{}@{domain}>", escaped(user));
        match caller {
            CallerId::Number {
                number: shown,
                display_name,
            } => {
                let address = address(&form.write_identity(*shown));
                Self::named(display_name, address, trusted)
            }
            CallerId::Verbatim { user, display_name } => {
                Self::named(display_name, address(user), trusted)
            }
            CallerId::Withheld(known) => Self {
                from: ANONYMOUS.to_owned(),
                asserted: known
                    .filter(|_| trusted)
                    .map(|known| address(&form.write_identity(known))),
                private: true,
            },
        }
    }

    fn named(display_name: &str, address: String, trusted: bool) -> Self {
        Self {
            from: format!("{}{address}", quoted(display_name)),
            asserted: trusted.then_some(address),
            private: false,
        }
    }

    /// Writes what goes beside From.
    pub(super) fn write(&self, writer: &mut Writer) {
        if let Some(asserted) = &self.asserted {
            writer.header(Header::PAssertedIdentity, asserted);
        }
        if self.private {
            writer.header(Header::Privacy, "id");
        }
    }
}

/// A display name as a quoted string and a space; nothing if it is empty.
fn quoted(name: &str) -> String {
    if name.is_empty() {
        return String::new();
    }
    let mut text = String::with_capacity(name.len().saturating_add(3));
    text.push('"');
    for character in name.chars().filter(|character| !character.is_control()) {
        if matches!(character, '"' | '\\') {
            text.push('\\');
        }
        text.push(character);
    }
    text.push_str("\" ");
    text
}

/// A user part with all percent-encoded that RFC 3261 §25.1 does not let stand (and some more).
pub(super) fn escaped(user: &str) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(user.len());
    for byte in user.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-_.!~*'()+$&=".contains(&byte);
        if plain {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}
