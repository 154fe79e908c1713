//! HTTP parameters (lease-api 1): a URL-encoded body, the URL's query merged in, each name once.

use super::status::{PARAMETER, Refusal};
use std::borrow::Cow;

/// Body and query together may be this long (lease-api 1), in bytes.
pub const MAX_FORM_BYTES: usize = 16 * 1024;
/// More parameters than any operation has; more are refused rather than sorted.
const MAX_PARAMETERS: usize = 128;

/// The parameters of one request, sorted by name, decoded.
#[derive(Debug, Default)]
pub struct Form<'a> {
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Form<'a> {
    /// Reads `body` and `query`.
    ///
    /// # Errors
    /// Status 2: a name twice, a broken percent sign, bytes that are not UTF-8 once decoded, too
    /// many parameters; with HTTP 413 where the two together are too long.
    pub fn parse(query: &'a str, body: &'a [u8]) -> Result<Self, Refusal> {
        if query.len().saturating_add(body.len()) > MAX_FORM_BYTES {
            return Err(Refusal::with_http(PARAMETER, 413));
        }
        let mut pairs = Vec::with_capacity(8);
        read_pairs(query.as_bytes(), &mut pairs)?;
        read_pairs(body, &mut pairs)?;
        pairs.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let twice = pairs
            .iter()
            .zip(pairs.iter().skip(1))
            .any(|(a, b)| a.0 == b.0);
        if twice {
            return Err(PARAMETER.into());
        }
        Ok(Self { pairs })
    }

    /// The value of `name`; an empty one counts as absent.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let place = self
            .pairs
            .binary_search_by(|(key, _)| key.as_ref().cmp(name))
            .ok()?;
        let (_, value) = self.pairs.get(place)?;
        (!value.is_empty()).then_some(value.as_ref())
    }

    /// All parameters, sorted by name, empty ones included.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs
            .iter()
            .map(|(name, value)| (name.as_ref(), value.as_ref()))
    }
}

fn read_pairs<'a>(
    input: &'a [u8],
    pairs: &mut Vec<(Cow<'a, str>, Cow<'a, str>)>,
) -> Result<(), Refusal> {
    for piece in input.split(|byte| *byte == b'&') {
        if piece.is_empty() {
            continue;
        }
        if pairs.len() >= MAX_PARAMETERS {
            return Err(PARAMETER.into());
        }
        let mut halves = piece.splitn(2, |byte| *byte == b'=');
        let name = decode(halves.next().unwrap_or_default())?;
        let value = decode(halves.next().unwrap_or_default())?;
        pairs.push((name, value));
    }
    Ok(())
}

/// `+` is a space, `%XX` a byte; the result must be UTF-8.
fn decode(input: &[u8]) -> Result<Cow<'_, str>, Refusal> {
    if !input.iter().any(|byte| matches!(byte, b'+' | b'%')) {
        return std::str::from_utf8(input)
            .map(Cow::Borrowed)
            .map_err(|_| PARAMETER.into());
    }
    let mut out = Vec::with_capacity(input.len());
    let mut bytes = input.iter().copied();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => match (bytes.next().and_then(hex), bytes.next().and_then(hex)) {
                (Some(high), Some(low)) => high << 4 | low,
                _ => return Err(PARAMETER.into()),
            },
            plain => plain,
        });
    }
    String::from_utf8(out)
        .map(Cow::Owned)
        .map_err(|_| PARAMETER.into())
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn query_and_body_are_one() {
        let form = Form::parse("a=1&b=", b"c=x%20y+z&&d").unwrap();
        assert_eq!(form.get("a"), Some("1"));
        assert_eq!(form.get("b"), None, "empty counts as absent");
        assert_eq!(form.get("c"), Some("x y z"));
        assert_eq!(form.get("d"), None);
        let names: Vec<_> = form.iter().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(names, ["a", "b", "c", "d"], "but it is signed");
    }

    #[test]
    fn what_is_not_a_form_is_status_2() {
        for (query, body) in [
            ("a=1", &b"a=1"[..]),
            ("", b"a=1&b=2&a="),
            ("", b"a=%zz"),
            ("", b"a=%4"),
            ("", b"a=%ff"),
            ("", b"a=\xff"),
            ("%61=1", b"a=2"),
        ] {
            assert_eq!(Form::parse(query, body).unwrap_err(), PARAMETER.into());
        }
        let many: String = (0..200).map(|n| format!("p{n}=&")).collect();
        assert_eq!(
            Form::parse("", many.as_bytes()).unwrap_err(),
            PARAMETER.into()
        );
        let long = vec![b'a'; MAX_FORM_BYTES + 1];
        assert_eq!(Form::parse("", &long).unwrap_err().http, Some(413));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(query in ".{0,64}", body in proptest::collection::vec(any::<u8>(), 0..512)) {
            if let Ok(form) = Form::parse(&query, &body) {
                for (name, value) in form.iter() {
                    let wanted = (!value.is_empty()).then_some(value);
                    prop_assert_eq!(form.get(name), wanted);
                }
            }
        }
    }
}
