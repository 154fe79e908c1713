//! Values as they are written in the file, and the parsers that make them. A parser's error says
//! what was expected; the reader adds where, and what was found.

use super::reader::{Found, Value};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// A secret: never shown, not by `Debug` either.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps it.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The secret itself, for the one who uses it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A block of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    /// Its first address.
    pub address: IpAddr,
    /// How many leading bits count.
    pub length: u8,
}

impl Cidr {
    /// Whether `address` is in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        masked(address, self.length) == Some(self.address)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// A range of UDP ports, both ends in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// First port; even.
    pub first: u16,
    /// Last port; odd.
    pub last: u16,
}

impl PortRange {
    /// How many ports there are.
    #[must_use]
    pub fn ports(&self) -> u64 {
        u64::from(self.last.saturating_sub(self.first)) + 1
    }

    /// Whether `port` is among them.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

/// `true`, `false`.
pub(super) fn boolean(value: &Value<'_>) -> Result<bool, String> {
    match &value.found {
        Found::Bool(flag) => Some(*flag),
        Found::Text(text) if value.hidden => text.parse().ok(),
        _ => None,
    }
    .ok_or_else(|| "true or false".to_owned())
}

/// An integer between two bounds.
pub(super) fn integer<T>(least: T, most: T) -> impl Fn(&Value<'_>) -> Result<T, String>
where
    T: TryFrom<i64> + fmt::Display + Copy + PartialOrd,
{
    move |value| {
        let number: Option<i64> = match &value.found {
            Found::Integer(number) => Some(*number),
            Found::Text(text) if value.hidden => text.parse().ok(),
            _ => None,
        };
        number
            .and_then(|number| T::try_from(number).ok())
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| format!("an integer from {least} to {most}"))
    }
}

/// Text, not empty.
pub(super) fn text(value: &Value<'_>) -> Result<String, String> {
    let found = value.text().filter(|text| !text.is_empty());
    found
        .map(str::to_owned)
        .ok_or_else(|| "a text that is not empty".to_owned())
}

/// One of a few words.
pub(super) fn word<T: Copy>(
    words: &'static [(&'static str, T)],
) -> impl Fn(&Value<'_>) -> Result<T, String> {
    move |value| {
        let text = value.text();
        words
            .iter()
            .find(|(word, _)| Some(*word) == text)
            .map(|(_, meant)| *meant)
            .ok_or_else(|| {
                let words: Vec<String> = words
                    .iter()
                    .map(|(word, _)| format!("\"{word}\""))
                    .collect();
                words.join(" or ")
            })
    }
}

/// A name that is safe as a metric's label and in a log: letters, digits, `-`, `_`, `.`.
pub(super) fn name(value: &Value<'_>) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    value
        .text()
        .filter(|text| (1..=63).contains(&text.len()) && text.chars().all(good))
        .map(str::to_owned)
        .ok_or_else(|| "a name of 1 to 63 letters, digits, `-`, `_`, `.`".to_owned())
}

/// A duration (`"30s"`), between two bounds.
pub(super) fn duration(
    least: Duration,
    most: Duration,
) -> impl Fn(&Value<'_>) -> Result<Duration, String> {
    move |value| {
        value
            .text()
            .and_then(parse_duration)
            .filter(|length| (least..=most).contains(length))
            .ok_or_else(|| {
                format!(
                    "a duration from \"{}\" to \"{}\" (ms, s, m, h, d, w, y)",
                    show_duration(least),
                    show_duration(most)
                )
            })
    }
}

/// `"30s"`, `"1h30m"`: numbers with a unit each: `ms`, `s`, `m`, `h`, `d` (24 h), `w`, `y` (365
/// days; where a span is counted in years, whole ones are meant by the calendar).
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let unit_end = tail
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(unit_end)?;
        let count: u64 = number.parse().ok()?;
        let part = match unit {
            "ms" => Duration::from_millis(count),
            _ => Duration::from_secs(count.checked_mul(unit_seconds(unit)?)?),
        };
        total = total.checked_add(part)?;
        rest = tail;
    }
    Some(total)
}

fn unit_seconds(unit: &str) -> Option<u64> {
    Some(match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        "y" => 365 * 86_400,
        _ => return None,
    })
}

/// As [`parse_duration`] reads it, in its largest even unit.
#[must_use]
pub fn show_duration(length: Duration) -> String {
    if length.subsec_millis() != 0 {
        return format!("{}ms", length.as_millis());
    }
    let seconds = length.as_secs();
    for unit in ["y", "w", "d", "h", "m"] {
        if let Some(size) = unit_seconds(unit)
            && seconds >= size
            && seconds.is_multiple_of(size)
        {
            return format!("{}{unit}", seconds / size);
        }
    }
    format!("{seconds}s")
}

/// `"200/s"`: so many a second.
pub(super) fn rate(value: &Value<'_>) -> Result<u32, String> {
    value
        .text()
        .and_then(|text| text.strip_suffix("/s"))
        .and_then(|number| number.trim().parse().ok())
        .filter(|number| (1..=1_000_000).contains(number))
        .ok_or_else(|| "a rate from \"1/s\" to \"1000000/s\"".to_owned())
}

/// `"64MiB"`: a size in bytes.
pub(super) fn size(least: u64, most: u64) -> impl Fn(&Value<'_>) -> Result<u64, String> {
    move |value| {
        value
            .text()
            .and_then(parse_size)
            .filter(|bytes| (least..=most).contains(bytes))
            .ok_or_else(|| {
                let mib = 1 << 20;
                format!(
                    "a size from \"{}MiB\" to \"{}MiB\"",
                    least / mib,
                    most / mib
                )
            })
    }
}

fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = [("KiB", 1_u64 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)]
        .into_iter()
        .find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)))?;
    number.trim().parse::<u64>().ok()?.checked_mul(unit)
}

/// An IP address.
pub(super) fn address(value: &Value<'_>) -> Result<IpAddr, String> {
    value
        .text()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| "an IP address".to_owned())
}

/// Address and port.
pub(super) fn socket(value: &Value<'_>) -> Result<SocketAddr, String> {
    value
        .text()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| "an address and port (\"127.0.0.1:8080\", \"[::1]:8080\")".to_owned())
}

/// `"192.0.2.0/24"`, or one address.
pub(super) fn cidr(value: &Value<'_>) -> Result<Cidr, String> {
    let wrong = || "an address or block (\"192.0.2.0/24\", \"2001:db8::/32\")".to_owned();
    let text = value.text().ok_or_else(wrong)?;
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let widest = if address.is_ipv4() { 32 } else { 128 };
    let length = match length {
        Some(length) => length.parse().map_err(|_| wrong())?,
        None => widest,
    };
    let first = masked(address, length).ok_or_else(wrong)?;
    if first == address {
        Ok(Cidr { address, length })
    } else {
        Err(format!("the block's first address (\"{first}/{length}\")"))
    }
}

fn masked(address: IpAddr, length: u8) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => {
            let spare = 32_u32.checked_sub(u32::from(length))?;
            let mask = u32::MAX.checked_shl(spare).unwrap_or(0);
            Some(IpAddr::V4((u32::from(v4) & mask).into()))
        }
        IpAddr::V6(v6) => {
            let spare = 128_u32.checked_sub(u32::from(length))?;
            let mask = u128::MAX.checked_shl(spare).unwrap_or(0);
            Some(IpAddr::V6((u128::from(v6) & mask).into()))
        }
    }
}

/// `"20000-29999"`: whole pairs, the first port even.
pub(super) fn port_range(value: &Value<'_>) -> Result<PortRange, String> {
    let wrong =
        || "a range of port pairs, first even, last odd, from 1024 (\"20000-29999\")".to_owned();
    let text = value.text().ok_or_else(wrong)?;
    let (first, last) = text.split_once('-').ok_or_else(wrong)?;
    let first: u16 = first.trim().parse().map_err(|_| wrong())?;
    let last: u16 = last.trim().parse().map_err(|_| wrong())?;
    if first < 1024 || !first.is_multiple_of(2) || last.is_multiple_of(2) || last < first {
        return Err(wrong());
    }
    Ok(PortRange { first, last })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read_by_unit() {
        let seconds = |text| parse_duration(text).map(|length| length.as_secs());
        assert_eq!(seconds("30s"), Some(30));
        assert_eq!(seconds("1h30m"), Some(5_400));
        assert_eq!(seconds("5y"), Some(5 * 365 * 86_400));
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        for wrong in [
            "",
            "30",
            "s",
            "30 s",
            "-1s",
            "1x",
            "99999999999999999999s",
            "1s2",
        ] {
            assert_eq!(parse_duration(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn sizes_need_a_unit() {
        assert_eq!(parse_size("64MiB"), Some(64 << 20));
        assert_eq!(parse_size("64"), None);
        assert_eq!(parse_size("99999999999999999GiB"), None);
    }

    #[test]
    fn blocks_hold_their_addresses() {
        let block = Cidr {
            address: "10.0.0.0".parse().unwrap(),
            length: 8,
        };
        assert!(block.contains("10.255.0.1".parse().unwrap()));
        assert!(!block.contains("11.0.0.1".parse().unwrap()));
        assert!(!block.contains("::1".parse().unwrap()));
        let all = Cidr {
            address: "::".parse().unwrap(),
            length: 0,
        };
        assert!(all.contains("2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn a_secret_is_not_shown() {
        let secret = Secret::new("hunter2".to_owned());
        assert!(!format!("{secret:?}").contains("hunter2"));
        assert_eq!(secret.expose(), "hunter2");
    }

    proptest! {
        #[test]
        fn a_shown_duration_reads_back(millis in 0_u64..400_000_000_000) {
            let length = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&show_duration(length)), Some(length));
        }

        #[test]
        fn no_text_makes_a_parser_panic(text in "\\PC{0,40}") {
            let _ = parse_duration(&text);
            let _ = parse_size(&text);
        }
    }
}
