//! Messages out of a byte stream (RFC 3261 §18.3): where one ends and the next begins.
//!
//! ```text
//!            CRLF CRLF: Ping (RFC 5626 §3.5.1)
//!            .----.
//!            v    |
//!        .-> Between --first byte--> Head --CRLF CRLF--> Body --Content-Length bytes--.
//!        |                             |                                              |
//!        |                             | no Content-Length, or none that is one;      |
//!        |                             v no SIP; too long                             |
//!        |                           Broken (nothing after it can be told apart)      |
//!        '----------------------------------------------------------------------------'
//! ```

use super::framing::{self, MAX_DATAGRAM, MAX_LINE};
use super::names;
use super::refusal::{Fault, ParseError, Peek, first_line_peek};
use crate::sip::message::Header;
use bytes::Bytes;
use memchr::memmem;

/// What a stream held.
#[derive(Debug)]
pub enum Part {
    /// One whole message, fit for [`super::parse`].
    Message(Bytes),
    /// A keep-alive that wants a CRLF back (RFC 5626 §3.5.1).
    Ping,
    /// The rest of the stream cannot be read: to be answered, if it can be, and closed.
    Broken(ParseError),
}

/// The receiving end of one stream.
#[derive(Debug, Default)]
pub struct Stream {
    /// What is not handed out yet: nothing, but for a message whose rest is still to come.
    pending: Vec<u8>,
    /// Bytes of it that hold no end of a head.
    scanned: usize,
    /// Length of the message under way, once its head has told it.
    length: Option<usize>,
    /// Its first line is one of SIP.
    is_sip: bool,
    /// One CRLF has come since the last message or ping.
    half_ping: bool,
    broken: bool,
}

/// What is at the front of the bytes.
enum Front {
    /// Too little to say.
    Wait,
    /// A CRLF between messages.
    Blank,
    /// A message of that many bytes.
    Whole(usize),
    /// Not to be read.
    Fault(Fault),
}

impl Stream {
    /// Takes what came, in pieces of any size, and hands out what is whole.
    pub fn take(&mut self, input: &[u8], mut each: impl FnMut(Part)) {
        if self.broken {
            return;
        }
        if self.pending.is_empty() {
            let used = self.read(input, &mut each);
            self.pending
                .extend_from_slice(input.get(used..).unwrap_or_default());
        } else {
            let mut whole = std::mem::take(&mut self.pending);
            whole.extend_from_slice(input);
            let used = self.read(&whole, &mut each);
            whole.drain(..used.min(whole.len()));
            self.pending = whole;
        }
        if self.pending.is_empty() || self.broken {
            // An idle connection holds no memory.
            self.pending = Vec::new();
        }
    }

    /// Whether a message has begun whose rest is still to come.
    #[must_use]
    pub fn is_started(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Reads from the front. Returns how many bytes are done with.
    fn read(&mut self, bytes: &[u8], each: &mut impl FnMut(Part)) -> usize {
        let mut used = 0;
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            match self.front(rest) {
                Front::Wait => break,
                Front::Blank => {
                    used += 2;
                    self.half_ping = !self.half_ping;
                    if !self.half_ping {
                        each(Part::Ping);
                    }
                }
                Front::Whole(length) => {
                    let message = rest.get(..length).unwrap_or_default();
                    used += length;
                    self.begin_anew();
                    each(Part::Message(Bytes::copy_from_slice(message)));
                }
                Front::Fault(fault) => {
                    self.broken = true;
                    let end = rest.len().min(MAX_DATAGRAM);
                    let head = Bytes::copy_from_slice(rest.get(..end).unwrap_or_default());
                    each(Part::Broken(ParseError::new(fault, head)));
                    break;
                }
            }
        }
        used
    }

    fn begin_anew(&mut self) {
        self.scanned = 0;
        self.length = None;
        self.is_sip = false;
        self.half_ping = false;
    }

    fn front(&mut self, rest: &[u8]) -> Front {
        if self.scanned == 0 && self.length.is_none() {
            match rest {
                [b'\r', b'\n', ..] => return Front::Blank,
                [b'\r'] => return Front::Wait,
                _ => {}
            }
        }
        let length = match self.length {
            Some(length) => length,
            None => match self.head(rest) {
                Ok(None) => return Front::Wait,
                Ok(Some(length)) => length,
                Err(fault) => return Front::Fault(fault),
            },
        };
        self.length = Some(length);
        if rest.len() < length {
            return Front::Wait;
        }
        Front::Whole(length)
    }

    /// Length of the message whose head is at the front, or `None` while the head is not whole.
    fn head(&mut self, rest: &[u8]) -> Result<Option<usize>, Fault> {
        if !self.is_sip {
            let end = memmem::find(
                rest.get(..rest.len().min(MAX_LINE + 2)).unwrap_or(rest),
                CRLF,
            );
            match end {
                None if rest.len() >= MAX_LINE + 2 => return Err(Fault::LineTooLong),
                None => return Ok(None),
                // Whoever speaks something else (TLS, HTTP) is told apart by its first line.
                Some(end)
                    if first_line_peek(rest.get(..end).unwrap_or_default()) == Peek::Garbage =>
                {
                    return Err(Fault::StartLine);
                }
                Some(_) => self.is_sip = true,
            }
        }
        let window = rest.get(..rest.len().min(MAX_DATAGRAM)).unwrap_or(rest);
        let from = self.scanned.saturating_sub(END.len() - 1);
        let found = window
            .get(from..)
            .and_then(|unread| memmem::find(unread, END));
        let Some(found) = found else {
            self.scanned = window.len();
            if rest.len() >= MAX_DATAGRAM {
                return Err(Fault::TooLong);
            }
            return Ok(None);
        };
        let head = from + found + END.len();
        let body = content_length(rest.get(..head).unwrap_or_default())?;
        match head.checked_add(body) {
            Some(length) if length <= MAX_DATAGRAM => Ok(Some(length)),
            _ => Err(Fault::TooLong),
        }
    }
}

const CRLF: &[u8] = b"\r\n";
const END: &[u8] = b"\r\n\r\n";

/// The Content-Length of a head: on a stream there must be one (RFC 3261 §20.14), and only one,
/// or the end of the message is anybody's guess.
fn content_length(head: &[u8]) -> Result<usize, Fault> {
    let frame = framing::frame(&Bytes::copy_from_slice(head))?;
    let mut found = None;
    for line in frame.lines.iter().skip(1) {
        let line = frame.head.get(line.range()).unwrap_or_default();
        if !matches!(line.first(), Some(b'c' | b'C' | b'l' | b'L')) {
            continue;
        }
        let Some(colon) = memchr::memchr(b':', line) else {
            continue;
        };
        let name = line.get(..colon).unwrap_or_default().trim_ascii_end();
        let is_length = std::str::from_utf8(name)
            .is_ok_and(|name| names::header(name) == Header::ContentLength);
        if !is_length {
            continue;
        }
        let value = line.get(colon + 1..).unwrap_or_default().trim_ascii();
        let digits = !value.is_empty() && value.len() <= 10 && value.iter().all(u8::is_ascii_digit);
        let value = std::str::from_utf8(value).ok().filter(|_| digits);
        let length = value
            .and_then(|value| value.parse::<usize>().ok())
            .ok_or(Fault::Malformed(Header::ContentLength))?;
        if found.replace(length).is_some() {
            return Err(Fault::Repeated(Header::ContentLength));
        }
    }
    found.ok_or(Fault::Missing(Header::ContentLength))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(method: &str, body: &str) -> String {
        format!(
            "{method} sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bKa\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    /// What a stream gives, as text, when its bytes come in pieces that end at `cuts`.
    fn parts(bytes: &[u8], cuts: &[usize]) -> Vec<String> {
        let (mut stream, mut all, mut from) = (Stream::default(), Vec::new(), 0);
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
        ends.push(bytes.len());
        ends.sort_unstable();
        for end in ends {
            stream.take(&bytes[from..end], |part| {
                all.push(match part {
                    Part::Message(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                    Part::Ping => "ping".to_owned(),
                    Part::Broken(error) => format!("broken: {error}"),
                });
            });
            from = end;
        }
        all
    }

    #[test]
    fn messages_are_told_apart_by_their_content_length() {
        let (one, two) = (message("INVITE", "v=0\r\n\r\n"), message("BYE", ""));
        let bytes = format!("{one}{two}\r\n{one}");
        assert_eq!(parts(bytes.as_bytes(), &[]), [&*one, &two, &one]);
        let every: Vec<usize> = (0..bytes.len()).collect();
        assert_eq!(parts(bytes.as_bytes(), &every), [&*one, &two, &one]);
    }

    #[test]
    fn a_double_line_end_is_a_ping_and_a_single_one_nothing() {
        let one = message("OPTIONS", "");
        let bytes = format!("\r\n{one}\r\n\r\n{one}\r\n\r\n\r\n\r\n\r\n");
        assert_eq!(
            parts(bytes.as_bytes(), &[]),
            [&*one, "ping", &one, "ping", "ping"]
        );
    }

    #[test]
    fn a_message_without_its_length_ends_the_stream() {
        let missing = "OPTIONS sip:a@b SIP/2.0\r\nVia: x\r\n\r\n";
        let after = message("BYE", "");
        let told = |text: &str| parts(format!("{text}{after}").as_bytes(), &[]);
        assert_eq!(told(missing), ["broken: Missing Content-Length Header"]);
        for wrong in ["-1", "x", "", "1x", "99999999999"] {
            let text = format!("OPTIONS sip:a@b SIP/2.0\r\nl: {wrong}\r\n\r\n");
            assert_eq!(told(&text), ["broken: Malformed Content-Length Header"]);
        }
        let twice = "OPTIONS sip:a@b SIP/2.0\r\nl: 0\r\nContent-Length : 0\r\n\r\n";
        assert_eq!(told(twice), ["broken: Repeated Content-Length Header"]);
        let bare = "OPTIONS sip:a@b SIP/2.0\r\nl: 0\nX: y\r\n\r\n";
        assert_eq!(told(bare), ["broken: Control Character in Header"]);
    }

    #[test]
    fn the_length_may_be_folded_and_its_name_short() {
        let folded = "BYE sip:a@b SIP/2.0\r\nX: 1\r\nL:\r\n 2\r\n\r\nab";
        assert_eq!(parts(folded.as_bytes(), &[9]), [folded]);
    }

    #[test]
    fn what_is_no_sip_is_known_by_its_first_line() {
        let told = ["broken: Malformed Start Line"];
        assert_eq!(parts(b"GET / HTTP/1.1\r\n", &[]), told);
        let long = vec![b'a'; MAX_LINE + 2];
        assert_eq!(parts(&long, &[]), ["broken: Header Line Too Long"]);
    }

    #[test]
    fn nothing_longer_than_a_datagram_is_gathered() {
        let announced = "BYE sip:a@b SIP/2.0\r\nl: 70000\r\n\r\n";
        assert_eq!(
            parts(announced.as_bytes(), &[]),
            ["broken: Message Too Long"]
        );
        let mut endless = b"BYE sip:a@b SIP/2.0\r\n".to_vec();
        while endless.len() < MAX_DATAGRAM {
            endless.extend_from_slice(b"X: y\r\n");
        }
        for cuts in [vec![], vec![100, 60_000]] {
            assert_eq!(parts(&endless, &cuts), ["broken: Message Too Long"]);
        }
    }

    #[test]
    fn an_idle_stream_holds_nothing() {
        let mut stream = Stream::default();
        let bytes = message("BYE", "");
        let (front, back) = bytes.as_bytes().split_at(20);
        stream.take(front, |part| panic!("{part:?}"));
        assert!(stream.is_started());
        stream.take(back, |_| ());
        assert!(!stream.is_started());
        assert_eq!(stream.pending.capacity(), 0);
    }

    proptest! {
        /// Where the network cuts a stream says nothing of what is in it.
        #[test]
        fn any_chopping_gives_the_same(
            pieces in prop::collection::vec(prop_oneof![
                4 => "[ -~\r\n]{0,60}".prop_map(|body| message("INVITE", &body)),
                2 => Just("\r\n".to_owned()),
                1 => Just("\r".to_owned()),
                1 => Just("OPTIONS sip:a@b SIP/2.0\r\nVia: x\r\n\r\n".to_owned()),
                1 => "[a-zA-Z0-9 :/.\r\n\0]{0,80}",
                1 => Just(format!("BYE sip:a@b SIP/2.0\r\nX: {}", "y\r\n ".repeat(20_000))),
            ], 0..6),
            cuts in prop::collection::vec(any::<usize>(), 0..40),
        ) {
            let bytes = pieces.concat().into_bytes();
            prop_assert_eq!(parts(&bytes, &cuts), parts(&bytes, &[]));
        }
    }
}
