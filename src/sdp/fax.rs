//! T.38 fax over UDPTL (RFC 3362, ITU-T T.38 Annex D): its media line, and the attributes that pass.

use super::parse::Media;
use std::io::Write;

/// Attributes that pass, with the shape of their values. Others, `T38VendorInfo` say, do not.
const ATTRIBUTES: [(&str, Shape); 13] = [
    ("T38FaxVersion", Shape::Number),
    ("T38MaxBitRate", Shape::Number),
    ("T38FaxFillBitRemoval", Shape::Switch),
    ("T38FaxTranscodingMMR", Shape::Switch),
    ("T38FaxTranscodingJBIG", Shape::Switch),
    (
        "T38FaxRateManagement",
        Shape::Word(&["localTCF", "transferredTCF"]),
    ),
    ("T38FaxMaxBuffer", Shape::Number),
    ("T38FaxMaxDatagram", Shape::Number),
    ("T38FaxMaxIFP", Shape::Number),
    (
        "T38FaxUdpEC",
        Shape::Word(&["t38UDPNoEC", "t38UDPRedundancy", "t38UDPFEC"]),
    ),
    ("T38FaxUdpECDepth", Shape::Depth),
    ("T38FaxUdpFECMaxSpan", Shape::Number),
    (
        "T38ModemType",
        Shape::Word(&["t38G3FaxOnly", "t38G3AndV34"]),
    ),
];

#[derive(Clone, Copy)]
enum Shape {
    /// Six digits at most: no telephone number.
    Number,
    /// Nothing, or 0 or 1, as older agents write it.
    Switch,
    /// One of these.
    Word(&'static [&'static str]),
    /// One or two short numbers.
    Depth,
}

/// One attribute that passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    name: &'static str,
    value: &'a str,
}

impl<'a> Attribute<'a> {
    /// From an `a=` line's name and value; `None` where it does not pass.
    #[must_use]
    pub fn read(name: &str, value: &'a str) -> Option<Self> {
        let (name, shape) = ATTRIBUTES
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        let value = match shape {
            Shape::Number => value,
            Shape::Switch if value.is_empty() => value,
            Shape::Switch => Some(value).filter(|value| matches!(*value, "0" | "1"))?,
            Shape::Word(words) => words.iter().find(|word| word.eq_ignore_ascii_case(value))?,
            Shape::Depth => {
                let mut numbers = value.split(' ').filter(|word| !word.is_empty());
                let short = |word: &str| is_number(word) && word.len() <= 2;
                let sound = numbers.clone().count() <= 2 && numbers.all(short);
                Some(value).filter(|_| sound)?
            }
        };
        let sound = !matches!(shape, Shape::Number) || is_number(value);
        sound.then_some(Self { name, value })
    }

    /// Writes its line.
    pub(super) fn write(&self, out: &mut Vec<u8>) -> std::io::Result<()> {
        if self.value.is_empty() {
            write!(out, "a={}\r\n", self.name)
        } else {
            write!(out, "a={}:{}\r\n", self.name, self.value)
        }
    }
}

fn is_number(text: &str) -> bool {
    (1..=6).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl Media<'_> {
    /// Whether this is T.38 over UDPTL.
    #[must_use]
    pub fn is_fax(&self) -> bool {
        self.kind.eq_ignore_ascii_case("image")
            && self.protocol.eq_ignore_ascii_case("udptl")
            && self.port_count == 1
            && self
                .formats
                .iter()
                .any(|format| format.eq_ignore_ascii_case("t38"))
    }
}

/// Writes the line of a fax at `port` (0: ended or refused) and, where it has one, its attributes.
pub(super) fn write(out: &mut Vec<u8>, media: &Media<'_>, port: u16) -> std::io::Result<()> {
    write!(out, "m=image {port} udptl t38\r\n")?;
    if port != 0 {
        for attribute in &media.fax {
            attribute.write(out)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_pass_by_their_shape() {
        let mut out = Vec::new();
        for (name, value) in [
            ("T38FaxVersion", "0"),
            ("t38maxbitrate", "14400"),
            ("T38FaxFillBitRemoval", ""),
            ("T38FaxTranscodingMMR", "0"),
            ("T38FaxRateManagement", "transferredtcf"),
            ("T38FaxUdpEC", "t38UDPRedundancy"),
            ("T38FaxUdpECDepth", "3 1"),
        ] {
            Attribute::read(name, value)
                .unwrap()
                .write(&mut out)
                .unwrap();
        }
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "a=T38FaxVersion:0\r\na=T38MaxBitRate:14400\r\na=T38FaxFillBitRemoval\r\n\
             a=T38FaxTranscodingMMR:0\r\na=T38FaxRateManagement:transferredTCF\r\n\
             a=T38FaxUdpEC:t38UDPRedundancy\r\na=T38FaxUdpECDepth:3 1\r\n"
        );
        for (name, value) in [
            ("T38VendorInfo", "0 0 60123456789"),
            ("T38MaxBitRate", "60123456789"),
            ("T38MaxBitRate", ""),
            ("T38FaxFillBitRemoval", "60123456789"),
            ("T38FaxUdpEC", "60123456789"),
            ("T38FaxUdpECDepth", "60 12 34"),
            ("T38FaxUdpECDepth", "601 1"),
            ("X", "1"),
        ] {
            assert_eq!(Attribute::read(name, value), None, "{name}:{value}");
        }
    }
}
