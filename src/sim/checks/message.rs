//! Every message that the gateway sends is one: framed as RFC 3261 wants it, one final response a
//! request, sequence numbers that rise, descriptions that change their version with their content
//! (RFC 3264 §8).

use super::super::text::{body, cseq, header, method, status, tag};
use std::collections::{BTreeMap, BTreeSet};

type Checked = Result<(), String>;

/// What was sent before.
#[derive(Default)]
pub struct Messages {
    /// Final status by Call-ID, CSeq and branch of the request.
    finals: BTreeMap<(String, u32, String, String), u16>,
    /// Branches and their CSeq by Call-ID and the tags of a dialog.
    sequences: BTreeMap<(String, String, String), BTreeMap<String, u32>>,
    /// What was sent, by its hash: to be repeated it may be.
    sent: BTreeSet<u64>,
    /// Descriptions by Call-ID and our tag, then by their version.
    descriptions: BTreeMap<(String, String), BTreeMap<u64, String>>,
}

/// Headers that stand once or never.
const SINGLE: [&str; 10] = [
    "From",
    "To",
    "Call-ID",
    "CSeq",
    "Max-Forwards",
    "Content-Length",
    "Content-Type",
    "Contact",
    "User-Agent",
    "P-Asserted-Identity",
];

impl Messages {
    /// The gateway starts anew and knows of nothing.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// The gateway sends this.
    pub fn sent(&mut self, text: &str) -> Checked {
        if !self
            .sent
            .insert(xxhash_rust::xxh3::xxh3_64(text.as_bytes()))
        {
            return Ok(());
        }
        framed(text)?;
        let result = match status(text) {
            Some(status) => self.response(status, text),
            None => self.request(text),
        };
        result?;
        self.description(text)
    }

    fn response(&mut self, status: u16, text: &str) -> Checked {
        if status > 100 && tag(header(text, "To")).is_empty() {
            return Err(format!("a {status} without a To-tag"));
        }
        // Load is shed without a memory: the next copy may be taken.
        let shed = status == 503 && !header(text, "Retry-After").is_empty();
        if status < 200 || shed {
            return Ok(());
        }
        let (number, method) = cseq(text);
        let key = (
            header(text, "Call-ID").to_owned(),
            number,
            method.to_owned(),
            header(text, "Via").to_owned(),
        );
        match self.finals.insert(key, status) {
            Some(before) if before != status => Err(format!(
                "{method} {number} of {} got {before} and {status}",
                header(text, "Call-ID")
            )),
            _ => Ok(()),
        }
    }

    fn request(&mut self, text: &str) -> Checked {
        if header(text, "Max-Forwards").is_empty() {
            return Err("a request without Max-Forwards".to_owned());
        }
        let (number, kind) = cseq(text);
        if kind != method(text) {
            return Err(format!("a {} with a CSeq of {kind}", method(text)));
        }
        if matches!(kind, "ACK" | "CANCEL") {
            return Ok(());
        }
        let key = (
            header(text, "Call-ID").to_owned(),
            tag(header(text, "From")).to_owned(),
            tag(header(text, "To")).to_owned(),
        );
        let via = header(text, "Via").to_owned();
        let branches = self.sequences.entry(key).or_default();
        let before = branches.values().max().copied().unwrap_or(0);
        match branches.insert(via, number) {
            // A 2xx that comes again after its call is gone is ended again, by what it says itself.
            None if number <= before && kind != "BYE" => Err(format!(
                "{kind} {number} of {} after a request {before}",
                header(text, "Call-ID")
            )),
            _ => Ok(()),
        }
    }

    fn description(&mut self, text: &str) -> Checked {
        let content = body(text);
        if !header(text, "Content-Type").contains("sdp") {
            return if content.is_empty() || header(text, "Content-Type").contains("dtmf") {
                Ok(())
            } else {
                Err("a body of no type".to_owned())
            };
        }
        let line = |prefix: &str| content.lines().find_map(|line| line.strip_prefix(prefix));
        let origin: Vec<&str> = line("o=").unwrap_or_default().split(' ').collect();
        let version = origin.get(2).and_then(|version| version.parse().ok());
        let at = origin.get(3..).unwrap_or_default().join(" ");
        let (Some(version), "IN IP4 10.0.0.3" | "IN IP6 fd00::3") = (version, at.as_str()) else {
            return Err(format!("a description from {origin:?}"));
        };
        // Of the family that the other side can send to, nowhere included.
        let connection = line("c=").unwrap_or_default();
        let nowhere = match at.starts_with("IN IP4") {
            true => "IN IP4 0.0.0.0",
            false => "IN IP6 ::",
        };
        if connection != at && connection != nowhere {
            return Err(format!("a description of {at} with sound at {connection}"));
        }
        let own = match status(text) {
            Some(_) => tag(header(text, "To")),
            None => tag(header(text, "From")),
        };
        let key = (header(text, "Call-ID").to_owned(), own.to_owned());
        // One that was refused is followed by the one in force, which has its version of old.
        let known = self.descriptions.entry(key).or_default();
        let last = known.keys().last().copied().unwrap_or(0);
        match known.insert(version, content.to_owned()) {
            Some(was) if was != content => Err(format!("two descriptions of version {version}")),
            None if version < last => Err(format!(
                "a description changed from version {last} to {version}"
            )),
            _ => Ok(()),
        }
    }
}

fn framed(text: &str) -> Checked {
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return Err("a message without an end of its headers".to_owned());
    };
    let length = header(text, "Content-Length");
    if length != body.len().to_string() {
        return Err(format!("a body of {} and a length of {length}", body.len()));
    }
    let mut seen: Vec<&str> = Vec::new();
    for line in head.split("\r\n").skip(1) {
        let Some((name, value)) = line.split_once(": ") else {
            return Err(format!("a header line {line:?}"));
        };
        if value.trim().is_empty() || line.contains(['\r', '\n', '\0']) {
            return Err(format!("a header line {line:?}"));
        }
        if SINGLE.contains(&name) && seen.contains(&name) {
            return Err(format!("two headers {name}"));
        }
        seen.push(name);
    }
    match ["From", "To", "Call-ID", "CSeq", "Via"]
        .iter()
        .find(|name| !seen.contains(name))
    {
        Some(missing) => Err(format!("a message without {missing}")),
        None => Ok(()),
    }
}
