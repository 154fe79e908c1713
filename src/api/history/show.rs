//! A call record as strings, in the order of [`RECORD_ROW`] (lease-api 4.10).

use crate::api::calendar::rfc3339;
use crate::api::json::Json;
use crate::api::operation::RECORD_ROW;
use crate::domain::{
    Attestation, CallRecord, E164, EndedBy, LeaseKind, MediaFigures, MediaQuality, UnixMillis,
    Vouching,
};

/// The fields of `record`, in the order of [`RECORD_ROW`]. A call that belongs to no customer has no
/// price, and says so by empty fields.
#[must_use]
pub fn fields(record: &CallRecord) -> [String; 42] {
    let priced = record.customer_id.is_some();
    let price = |text: String| if priced { text } else { String::new() };
    let [callee_packets, callee_lost, callee_jitter] = media(&record.to_callee);
    let [identity, attestation, signer, origid] = vouching(record.vouching.as_ref());
    let [caller_packets, caller_lost, caller_jitter] = media(&record.to_caller);
    let heard = record.quality.unwrap_or_default();
    let [callee_mos, callee_trip, callee_missed, callee_wobble] = quality(&heard.to_callee);
    let [caller_mos, caller_trip, caller_missed, caller_wobble] = quality(&heard.to_caller);
    [
        record.call_id.to_string(),
        record
            .reference_id
            .map(|id| id.to_string())
            .unwrap_or_default(),
        record
            .customer_id
            .map(|id| id.to_string())
            .unwrap_or_default(),
        record.lease_kind.map(kind).unwrap_or_default().to_owned(),
        number(record.caller),
        number(record.callee),
        record.leased_number.to_string(),
        record.shown_number.to_string(),
        record.trunk_in.to_string(),
        record.trunk_out.to_string(),
        rfc3339(record.received_at),
        time(record.ringing_at),
        time(record.answered_at),
        rfc3339(record.ended_at),
        // Rounded up, so that blocks are the whole quotient of the two figures shown.
        record.duration_millis.div_ceil(1000).to_string(),
        price(record.blocks.to_string()),
        price(record.block_seconds.to_string()),
        price(record.rate.to_string()),
        price(record.charge.to_string()),
        ended_by(record.ended_by).to_owned(),
        record.reason.to_string(),
        record.sip_code.to_string(),
        if record.q850_cause == 0 {
            String::new()
        } else {
            record.q850_cause.to_string()
        },
        callee_packets,
        callee_lost,
        callee_jitter,
        caller_packets,
        caller_lost,
        caller_jitter,
        record.guard_hits.to_string(),
        identity,
        attestation,
        signer,
        origid,
        callee_mos,
        callee_trip,
        callee_missed,
        callee_wobble,
        caller_mos,
        caller_trip,
        caller_missed,
        caller_wobble,
    ]
}

/// Writes `record` as a JSON object.
pub fn write_json(record: &CallRecord, json: &mut Json) {
    json.begin_object();
    for (name, value) in RECORD_ROW.iter().zip(&fields(record)) {
        json.member(name, value);
    }
    json.end_object();
}

/// A cell that no spreadsheet takes for a formula: callers dial what they like, and the string is in
/// the record. A number with its sign, `+60123456789` say, is as it is.
#[must_use]
pub fn inert(cell: String) -> String {
    let Some(rest) = cell.strip_prefix(['=', '+', '-', '@', '\t', '\r', '\n']) else {
        return cell;
    };
    let signed = cell.starts_with(['+', '-']);
    let digits = rest.bytes().all(|byte| byte.is_ascii_digit());
    if signed && digits && !rest.is_empty() {
        cell
    } else {
        format!("'{cell}")
    }
}

/// Writes one line of CSV (RFC 4180).
pub fn write_csv<'a>(fields: impl Iterator<Item = &'a str>, out: &mut Vec<u8>) {
    for (place, field) in fields.enumerate() {
        if place > 0 {
            out.push(b',');
        }
        if field.contains([',', '"', '\r', '\n']) {
            out.push(b'"');
            out.extend_from_slice(field.replace('"', "\"\"").as_bytes());
            out.push(b'"');
        } else {
            out.extend_from_slice(field.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn media(figures: &MediaFigures) -> [String; 3] {
    [
        figures.packets.to_string(),
        figures.lost.to_string(),
        milliseconds(figures.jitter_micros),
    ]
}

/// Score, round trip, and what the receiving end reported; empty what is not known.
fn quality(quality: &MediaQuality) -> [String; 4] {
    let score = quality.score_hundredths;
    let score = score.map(|score| format!("{}.{:02}", score / 100, score % 100));
    let reported = quality.reported;
    [
        score,
        quality.round_trip_micros.map(milliseconds),
        reported.map(|reported| reported.lost.to_string()),
        reported.map(|reported| milliseconds(reported.jitter_micros)),
    ]
    .map(Option::unwrap_or_default)
}

fn milliseconds(micros: u32) -> String {
    format!("{}.{:03}", micros / 1000, micros % 1000)
}

/// Who vouched for the caller; all empty where nobody asked.
fn vouching(vouching: Option<&Vouching>) -> [String; 4] {
    vouching.map_or_else(Default::default, |vouching| {
        let attestation = vouching.attestation.map_or("", Attestation::letter);
        [
            vouching.verdict.name().to_owned(),
            attestation.to_owned(),
            vouching.signer.to_string(),
            vouching.origin.to_string(),
        ]
    })
}

fn number(number: Option<E164>) -> String {
    number.map(|number| number.to_string()).unwrap_or_default()
}

fn time(at: Option<UnixMillis>) -> String {
    at.map(rfc3339).unwrap_or_default()
}

const fn kind(kind: LeaseKind) -> &'static str {
    match kind {
        LeaseKind::Single => "single",
        LeaseKind::Group => "group",
    }
}

const fn ended_by(who: EndedBy) -> &'static str {
    match who {
        EndedBy::Caller => "caller",
        EndedBy::Callee => "callee",
        EndedBy::Gateway => "gateway",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Reported;

    #[test]
    fn csv_quotes_what_must_be() {
        let mut out = Vec::new();
        write_csv(
            ["plain", "", "a,b", "say \"hi\"", "two\r\nlines", "+6012"].into_iter(),
            &mut out,
        );
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "plain,,\"a,b\",\"say \"\"hi\"\"\",\"two\r\nlines\",+6012\r\n"
        );
    }

    #[test]
    fn no_cell_is_a_formula() {
        for (cell, shown) in [
            ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
            ("@SUM(1)", "'@SUM(1)"),
            ("+60388880000", "+60388880000"),
            ("-100", "-100"),
            ("+1+1", "'+1+1"),
            ("+", "'+"),
            ("-1.5", "'-1.5"),
            ("\t=1", "'\t=1"),
            ("0388880000", "0388880000"),
            (
                "60388880000;phone-context=+60",
                "60388880000;phone-context=+60",
            ),
            ("", ""),
        ] {
            assert_eq!(inert(cell.to_owned()), shown);
        }
    }

    #[test]
    fn who_vouched_for_the_caller_is_shown() {
        assert_eq!(vouching(None), ["", "", "", ""]);
        let none = Vouching::bare(crate::domain::Verdict::Missing);
        assert_eq!(vouching(Some(&none)), ["missing", "", "", ""]);
        let some = Vouching {
            verdict: crate::domain::Verdict::Valid,
            attestation: Some(Attestation::Partial),
            origin: "trace".into(),
            signer: "1234".into(),
        };
        assert_eq!(vouching(Some(&some)), ["valid", "B", "1234", "trace"]);
    }

    #[test]
    fn jitter_is_in_milliseconds() {
        let figures = MediaFigures {
            packets: 9,
            lost: 1,
            jitter_micros: 12_034,
            ..MediaFigures::default()
        };
        assert_eq!(media(&figures), ["9", "1", "12.034"]);
    }

    #[test]
    fn what_is_not_known_of_the_sound_is_empty() {
        assert_eq!(quality(&MediaQuality::default()), ["", "", "", ""]);
        let known = MediaQuality {
            score_hundredths: Some(405),
            round_trip_micros: Some(20_500),
            reported: Some(Reported {
                lost: 3,
                jitter_micros: 7,
            }),
        };
        assert_eq!(quality(&known), ["4.05", "20.500", "3", "0.007"]);
    }
}
