//! The framer against a plain reading of the same bytes: line by line, with copies, as one would
//! write it who does not count microseconds.

use bytes::Bytes;
use leasebridge::sip::codec::{self, Fault, MAX_DATAGRAM, MAX_HEADERS, MAX_LINE, Peek};
use leasebridge::sip::message::Header;

/// A head as it is understood line by line, and where the body begins.
pub(super) struct Plain {
    pub(super) lines: Vec<Vec<u8>>,
    pub(super) body: usize,
}

/// `None` where it must be refused.
pub(super) fn plain(datagram: &[u8]) -> Option<Plain> {
    if datagram.len() > MAX_DATAGRAM {
        return None;
    }
    let mut at = 0;
    while datagram[at..].starts_with(b"\r\n") {
        at += 2;
    }
    let mut lines: Vec<Vec<u8>> = Vec::new();
    loop {
        let length = datagram[at..].windows(2).position(|pair| pair == b"\r\n")?;
        let line = &datagram[at..at + length];
        at += length + 2;
        if line.is_empty() {
            return Some(Plain { lines, body: at });
        }
        let escaped = |place: usize| place > 0 && line[place - 1] == b'\\';
        for (place, byte) in line.iter().enumerate() {
            match byte {
                b'\r' | b'\n' => return None,
                0 if !escaped(place) => return None,
                _ => {}
            }
        }
        match lines.last_mut() {
            Some(last) if lines_fold(line) => {
                last.extend_from_slice(b"  ");
                last.extend_from_slice(line);
            }
            _ => lines.push(line.to_vec()),
        }
        if lines.len() > MAX_HEADERS + 1 || lines.last().is_some_and(|line| line.len() > MAX_LINE) {
            return None;
        }
    }
}

fn lines_fold(line: &[u8]) -> bool {
    matches!(line.first(), Some(b' ' | b'\t'))
}

/// The value of the first header line of that name.
fn value(plain: &Plain, names: &[&str]) -> Option<String> {
    plain.lines.iter().skip(1).find_map(|line| {
        let text = String::from_utf8_lossy(line);
        let (name, value) = text.split_once(':')?;
        let name = name.trim_matches([' ', '\t']);
        names
            .iter()
            .any(|known| known.eq_ignore_ascii_case(name))
            .then(|| value.trim_matches([' ', '\t']).to_owned())
    })
}

pub fn run(input: &[u8]) {
    let datagram = Bytes::copy_from_slice(input);
    let peek = codec::first_line_peek(input);
    match codec::parse(datagram) {
        Ok(message) => {
            let plain = plain(input).expect("what the plain reading refuses was read");
            assert_eq!(matches!(peek, Peek::Response), message.status().is_some());
            if message.status().is_none() {
                assert_eq!(
                    peek,
                    Peek::Request(message.method()),
                    "the quick look is another's"
                );
            }
            let body = &input[plain.body..];
            assert!(body.starts_with(message.body()), "not the datagram's body");
            match value(&plain, &["Content-Length", "l"]) {
                None => assert_eq!(message.body().len(), body.len()),
                Some(length) => assert_eq!(length.parse(), Ok(message.body().len())),
            }
            let call_id = value(&plain, &["Call-ID", "i"]).expect("a Call-ID");
            assert_eq!(call_id, message.call_id());
            let cseq = value(&plain, &["CSeq"]).expect("a CSeq");
            let number = cseq.split([' ', '\t']).next().unwrap_or_default();
            assert_eq!(number.parse(), Ok(message.cseq()));
            for header in [
                Header::Via,
                Header::From,
                Header::To,
                Header::Contact,
                Header::Route,
            ] {
                for value in message.all(header) {
                    assert!(!value.contains(['\r', '\n', '\0']), "{value:?}");
                }
            }
        }
        Err(error) => {
            assert!(error.peek() == peek);
            let framing = matches!(
                error.fault(),
                Fault::ControlCharacter
                    | Fault::LineTooLong
                    | Fault::Truncated
                    | Fault::TooLong
                    | Fault::Keepalive
            );
            let head = plain(input).filter(|plain| !plain.lines.is_empty());
            assert!(
                !framing || head.is_none(),
                "{error:?}: the plain reading has no fault"
            );
        }
    }
}
