//! Protected values in pieces: in a line of format parameters (`a=fmtp`), where the codec's own
//! words may stand between them, as in `maxplaybackrate=601;maxptime=277`.

use super::scan::{Pattern, Watch};
use smallvec::SmallVec;
use std::net::IpAddr;

/// How a line of format parameters begins.
pub(super) const BEGINNING: &[u8] = b"a=fmtp:";

/// Whether a protected value comes about if all that is no digit is left out of the parameters in
/// `line`: a number from the beginning of a run of digits to the end of one, an IPv4 address as its
/// four figures, as one figure or in hexadecimal digits, an IPv6 address in hexadecimal digits.
pub(super) fn stand_in(line: &[u8], watch: &Watch<'_>) -> bool {
    let value = line.strip_prefix(BEGINNING).unwrap_or(line);
    let payload_type = value.iter().position(|byte| *byte == b' ');
    let value = payload_type.and_then(|at| value.get(at..)).unwrap_or(value);
    let runs: SmallVec<[&[u8]; 16]> = value
        .split(|byte| !byte.is_ascii_digit())
        .filter(|run| !run.is_empty())
        .collect();
    watch.patterns().iter().any(|pattern| match pattern {
        Pattern::Number(digits) => is_joined(&runs, digits.as_bytes()),
        Pattern::Address(text) => text
            .parse()
            .is_ok_and(|address| is_address(&runs, value, address)),
    })
}

/// Whether some runs, one after the other, are these digits.
fn is_joined(runs: &[&[u8]], digits: &[u8]) -> bool {
    (0..runs.len()).any(|first| {
        let mut left = digits;
        for run in runs.iter().skip(first) {
            match left.strip_prefix(*run) {
                Some([]) => return true,
                Some(rest) => left = rest,
                None => return false,
            }
        }
        false
    })
}

fn is_address(runs: &[&[u8]], value: &[u8], address: IpAddr) -> bool {
    let hexadecimal = |octets: &[u8]| {
        let wanted = octets.iter().flat_map(|octet| [octet >> 4, octet & 15]);
        let wanted: SmallVec<[u8; 32]> = wanted.collect();
        let figures = value.iter().filter(|byte| byte.is_ascii_alphanumeric());
        let figures: SmallVec<[u8; 64]> = figures.map(|byte| figure(*byte)).collect();
        figures.windows(wanted.len()).any(|part| *part == *wanted)
    };
    match address {
        IpAddr::V4(address) => {
            let octets = address.octets();
            let figures = |part: &[&[u8]]| {
                let values = part.iter().map(|run| decimal(run));
                values.eq(octets.iter().map(|octet| Some(u32::from(*octet))))
            };
            runs.windows(octets.len()).any(figures)
                || runs
                    .iter()
                    .any(|run| decimal(run) == Some(address.to_bits()))
                || hexadecimal(&octets)
        }
        IpAddr::V6(address) => hexadecimal(&address.octets()),
    }
}

fn decimal(run: &[u8]) -> Option<u32> {
    std::str::from_utf8(run).ok()?.parse().ok()
}

/// Value of a hexadecimal digit; 16 for any other letter.
fn figure(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        b'A'..=b'F' => byte - b'A' + 10,
        _ => 16,
    }
}
