//! What passes of an `a=fmtp` (sip-bridging 4: attributes pass by an allow list). Its text is
//! opaque by RFC 8866 §6.15, so a number or an address could be written into it, in pieces if need
//! be. So it is read by the codec's own registration: names that the codec has, with values of the
//! shape that it gives them. Of a codec that is not in the table only what is too short to be a
//! number passes.
//!
//! What a codec's own parameters could still spell (`mode-set=6,0,1,2,3,4,5`) is the guard's to
//! find: it knows the numbers, and takes such a line out.

use super::codec::Codec;
use super::free_text::count_digits;
use std::borrow::Cow;

/// Longest text that is looked at.
const LONGEST: usize = 255;
/// Most parameters of one line.
const MOST: usize = 24;
/// Digits in a whole line of an unknown codec: one less than the shortest E.164 number.
const MOST_DIGITS: usize = 6;
/// Elements of a list of telephone events.
const MOST_EVENTS: usize = 32;

/// The shape of a value.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// 0 or 1.
    Flag,
    /// A decimal number without leading zeros, this at most.
    Upto(u32),
    /// One of these words.
    Word(&'static [&'static str]),
    /// Decimal numbers, this at most each, none twice.
    Set(u32),
    /// One of these words, or two of them as a range: `nb-swb`.
    Range(&'static [&'static str]),
    /// An audio configuration in hexadecimal digits, so many at most.
    Hex(usize),
    /// Modes of Speex: `3`, `any`, or several in quotes.
    Modes,
}

use Shape::{Flag, Hex, Modes, Range, Set, Upto, Word};

type Row = (&'static str, Shape);

const OPUS: &[Row] = &[
    ("maxplaybackrate", Upto(48_000)),
    ("sprop-maxcapturerate", Upto(48_000)),
    ("maxaveragebitrate", Upto(510_000)),
    ("maxptime", Upto(120)),
    ("minptime", Upto(120)),
    ("ptime", Upto(120)),
    ("stereo", Flag),
    ("sprop-stereo", Flag),
    ("cbr", Flag),
    ("useinbandfec", Flag),
    ("usedtx", Flag),
];
const AMR: &[Row] = &[
    ("octet-align", Flag),
    ("mode-set", Set(8)),
    ("mode-change-period", Upto(2)),
    ("mode-change-capability", Upto(2)),
    ("mode-change-neighbor", Flag),
    ("crc", Flag),
    ("robust-sorting", Flag),
    ("interleaving", Upto(99)),
    ("channels", Upto(6)),
    ("max-red", Upto(65_535)),
    ("maxptime", Upto(1000)),
    ("ptime", Upto(1000)),
];
const SPEEX: &[Row] = &[
    ("mode", Modes),
    ("vbr", Word(&["on", "off", "vad"])),
    ("cng", Word(&["on", "off"])),
    ("penh", Flag),
    ("ptime", Upto(1000)),
];
const ILBC: &[Row] = &[("mode", Word(&["20", "30"]))];
const G729: &[Row] = &[("annexb", Word(&["yes", "no"]))];
const G723: &[Row] = &[
    ("annexa", Word(&["yes", "no"])),
    ("bitrate", Word(&["5.3", "6.3"])),
];
const G722_1: &[Row] = &[("bitrate", Word(&["24000", "32000", "48000"]))];
const WIDE_PCM: &[Row] = &[("mode-set", Set(4))];
const SILK: &[Row] = &[
    ("maxaveragebitrate", Upto(40_000)),
    ("useinbandfec", Flag),
    ("usedtx", Flag),
];
const EVS_RATES: &[&str] = &[
    "5.9", "7.2", "8", "9.6", "13.2", "16.4", "24.4", "32", "48", "64", "96", "128",
];
const EVS_BANDS: &[&str] = &["nb", "wb", "swb", "fb"];
const EVS: &[Row] = &[
    ("br", Range(EVS_RATES)),
    ("br-send", Range(EVS_RATES)),
    ("br-recv", Range(EVS_RATES)),
    ("bw", Range(EVS_BANDS)),
    ("bw-send", Range(EVS_BANDS)),
    ("bw-recv", Range(EVS_BANDS)),
    ("evs-mode-switch", Flag),
    ("hf-only", Flag),
    ("dtx", Flag),
    ("dtx-recv", Flag),
    ("cmr", Word(&["-1", "0", "1"])),
    ("ch-aw-recv", Word(&["-1", "0", "1", "2", "3", "5", "7"])),
    ("ch-send", Upto(6)),
    ("ch-recv", Upto(6)),
    ("mode-set", Set(8)),
    ("mode-change-period", Upto(2)),
    ("mode-change-capability", Upto(2)),
    ("mode-change-neighbor", Flag),
    ("max-red", Upto(65_535)),
    ("maxptime", Upto(1000)),
    ("ptime", Upto(1000)),
];
const LATM: &[Row] = &[
    ("profile-level-id", Upto(255)),
    ("object", Upto(45)),
    ("bitrate", Upto(512_000)),
    ("cpresent", Flag),
    ("sbr-enabled", Flag),
    ("config", Hex(16)),
    ("ptime", Upto(1000)),
];

/// Codecs with parameters of their own, and where those are registered: RFC 7587, 4867, 5574,
/// 3952, 4856, 5577, 5391, 6416; 3GPP TS 26.445 annex A.
const KNOWN: &[(&str, &[Row])] = &[
    ("opus", OPUS),
    ("AMR", AMR),
    ("AMR-WB", AMR),
    ("speex", SPEEX),
    ("iLBC", ILBC),
    ("G729", G729),
    ("G723", G723),
    ("G7221", G722_1),
    ("PCMA-WB", WIDE_PCM),
    ("PCMU-WB", WIDE_PCM),
    ("SILK", SILK),
    ("EVS", EVS),
    ("MP4A-LATM", LATM),
];

/// What may pass of the format parameters `text` of `codec`: as written where all of it may, what
/// is left without the parameters that may not, or nothing.
#[must_use]
pub fn passing<'a>(codec: Option<&Codec<'_>>, text: &'a str) -> Option<Cow<'a, str>> {
    let printable = text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    if text.is_empty() || text.len() > LONGEST || !printable {
        return None;
    }
    let name = codec.map_or("", |codec| codec.name);
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    if is("telephone-event") {
        return are_events(text).then_some(Cow::Borrowed(text));
    }
    if is("red") {
        return is_redundancy(text).then_some(Cow::Borrowed(text));
    }
    match KNOWN.iter().find(|(known, _)| is(known)) {
        Some((_, rows)) => by_table(rows, text),
        None => is_harmless(text).then_some(Cow::Borrowed(text)),
    }
}

/// The parameters between semicolons, empty ones left out.
fn parameters(text: &str) -> impl Iterator<Item = &str> {
    text.split(';').map(str::trim).filter(|one| !one.is_empty())
}

fn by_table<'a>(rows: &[Row], text: &'a str) -> Option<Cow<'a, str>> {
    let may = |parameter: &&str| {
        let Some((name, value)) = parameter.split_once('=') else {
            return false;
        };
        rows.iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name.trim_end()))
            .is_some_and(|(_, shape)| fits(*shape, value.trim_start()))
    };
    if parameters(text).count() > MOST {
        return None;
    }
    if parameters(text).all(|parameter| may(&parameter)) {
        return Some(Cow::Borrowed(text)).filter(|text| parameters(text).next().is_some());
    }
    let kept: Vec<&str> = parameters(text).filter(may).collect();
    (!kept.is_empty()).then(|| Cow::Owned(kept.join(";")))
}

fn fits(shape: Shape, value: &str) -> bool {
    match shape {
        Flag => matches!(value, "0" | "1"),
        Upto(most) => is_upto(value, most),
        Word(words) => is_word(value, words),
        Set(most) => is_set(value, most),
        Range(words) => match value.split_once('-') {
            Some((low, high)) => is_word(low, words) && is_word(high, words),
            None => is_word(value, words),
        },
        Hex(most) => value.len() <= most && is_hex(value),
        Modes => {
            let bare = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
            bare.map_or(is_mode(value), |modes| {
                let modes = || modes.split(',').map(str::trim);
                modes().count() <= 3 && modes().all(is_mode)
            })
        }
    }
}

fn is_word(value: &str, words: &[&str]) -> bool {
    words.iter().any(|word| word.eq_ignore_ascii_case(value))
}

fn is_hex(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_mode(value: &str) -> bool {
    value == "any" || is_upto(value, 10)
}

fn is_upto(value: &str, most: u32) -> bool {
    number(value).is_some_and(|number| number <= most)
}

/// A decimal number as it is usually written: no sign, no zeros in front.
fn number(value: &str) -> Option<u32> {
    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
    let usual = value == "0" || !value.starts_with('0');
    if digits && usual {
        value.parse().ok()
    } else {
        None
    }
}

fn is_set(value: &str, most: u32) -> bool {
    let mut seen = 0u32;
    value.split(',').all(|element| {
        let Some(element) = number(element.trim()).filter(|element| *element <= most.min(31))
        else {
            return false;
        };
        let bit = 1 << element;
        let first = seen & bit == 0;
        seen |= bit;
        first
    })
}

/// Events of RFC 4733 §2.4.1: numbers to 255 and ranges of them.
fn are_events(text: &str) -> bool {
    let event = |text: &str| number(text.trim()).filter(|event| *event <= 255);
    let element = |text: &str| match text.split_once('-') {
        Some((low, high)) => match (event(low), event(high)) {
            (Some(low), Some(high)) => low < high,
            _ => false,
        },
        None => event(text).is_some(),
    };
    text.split(',').count() <= MOST_EVENTS && text.split(',').all(element)
}

/// Payload types of RFC 2198 §5, primary and redundant: `98/98/98`. More than four are never seen.
fn is_redundancy(text: &str) -> bool {
    text.split('/').count() <= 4 && text.split('/').all(|payload| is_upto(payload, 127))
}

/// Parameters of a codec that nobody here knows: names and words of letters, and numbers so short
/// that all of them together make no telephone number. Digits and letters do not stand mixed:
/// that is how an address looks in hexadecimal.
fn is_harmless(text: &str) -> bool {
    let letters = |text: &str, most: usize| {
        !text.is_empty()
            && text.len() <= most
            && text.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-')
    };
    let value = |value: &str| letters(value, 12) || is_upto(value, 99_999);
    let parameter = |parameter: &str| match parameter.split_once('=') {
        Some((name, text)) => letters(name.trim_end(), 24) && value(text.trim_start()),
        None => value(parameter),
    };
    count_digits(text) <= MOST_DIGITS
        && (1..=MOST).contains(&parameters(text).count())
        && parameters(text).all(parameter)
}

#[cfg(test)]
mod tests;
