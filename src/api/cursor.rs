//! Cursors (lease-api 4.10): the key of the last row given out, in hexadecimal behind a letter that
//! says of which list. Opaque to clients; a bad one is status 2.

use super::status::PARAMETER;
use crate::books::command::Code;

/// Writes a cursor of list `letter`.
#[must_use]
pub fn write(letter: char, key: &[u8]) -> String {
    let mut text = String::with_capacity(1 + key.len() * 2);
    text.push(letter);
    for byte in key {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// Reads a cursor of list `letter` with a key of `N` bytes.
///
/// # Errors
/// Status 2: not one of ours.
pub fn read<const N: usize>(letter: char, cursor: &str) -> Result<[u8; N], Code> {
    let digits = cursor.strip_prefix(letter).ok_or(PARAMETER)?;
    if digits.len() != N * 2
        || !digits
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    {
        return Err(PARAMETER);
    }
    let mut key = [0u8; N];
    for (place, byte) in key.iter_mut().enumerate() {
        let pair = digits.get(place * 2..place * 2 + 2).ok_or(PARAMETER)?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| PARAMETER)?;
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cursor_reads_back(key in any::<[u8; 24]>()) {
            prop_assert_eq!(read::<24>('r', &write('r', &key)), Ok(key));
            prop_assert_eq!(read::<24>('n', &write('r', &key)), Err(PARAMETER));
            prop_assert_eq!(read::<8>('r', &write('r', &key)), Err(PARAMETER));
        }

        #[test]
        fn nothing_else_is_read(text in ".*") {
            if let Ok(key) = read::<8>('r', &text) {
                prop_assert_eq!(write('r', &key), text);
            }
        }
    }
}
