//! A look at a message that is not read: what decides which worker it belongs to, and whether it
//! may wait (RFC 3261 §7.3). It costs a search for line ends; nothing is checked and nothing copied.

use super::framing::{MAX_HEADERS, leading_blank};
use super::refusal::{Peek, first_line_peek};
use crate::sip::dialog::Tag;
use crate::sip::message::Method;
use memchr::{memchr, memchr2, memchr3};

/// What a glance shows. The parser may still refuse the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance<'a> {
    /// What the first line looks like.
    pub first: Peek,
    /// Call-ID, if it was found.
    pub call_id: Option<&'a [u8]>,
    /// To, with what is folded onto it, if it was found.
    to: Option<&'a [u8]>,
}

impl<'a> Glance<'a> {
    /// Call-ID of an INVITE that belongs to no dialog (its To has no tag). `None` for anything else,
    /// and where it cannot be told so cheaply.
    #[must_use]
    pub fn new_call(&self) -> Option<&'a [u8]> {
        if self.first != Peek::Request(Method::Invite) {
            return None;
        }
        self.outside_dialog()
    }

    /// Call-ID of a request that belongs to no dialog, as far as can be told.
    #[must_use]
    pub fn outside_dialog(&self) -> Option<&'a [u8]> {
        let tagged = tag_of(self.to?).is_some();
        self.call_id.filter(|_| !tagged)
    }

    /// Tag of To, as written.
    #[must_use]
    pub fn to_tag(&self) -> Option<&'a [u8]> {
        tag_of(self.to?)
    }
}

const fn is_white(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Value of the header parameter `tag`: what looks like one in the display name, in the URI, in a
/// quoted value or as the end of another name is none, as it is none to the parser.
fn tag_of(value: &[u8]) -> Option<&[u8]> {
    let mut at = 0;
    while let Some(step) = memchr3(b';', b'<', b'"', value.get(at..)?) {
        at += step;
        let rest = value.get(at..)?;
        at += match rest.first()? {
            b'<' => memchr(b'>', rest)?,
            b'"' => quoted(rest)?,
            _ => match parameter(rest.get(1..)?) {
                Some(tag) => return Some(tag),
                None => 1,
            },
        };
    }
    None
}

/// Length of a quoted string (RFC 3261 §25.1).
fn quoted(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += memchr2(b'"', b'\\', text.get(at..)?)?;
        match text.get(at)? {
            b'"' => return Some(at + 1),
            _ => at += 2,
        }
    }
}

/// The value, if the parameter that begins here is `tag`.
fn parameter(text: &[u8]) -> Option<&[u8]> {
    let text = text.trim_ascii_start();
    let (name, rest) = text.split_at_checked(3)?;
    let rest = rest.trim_ascii_start().strip_prefix(b"=")?;
    if !name.eq_ignore_ascii_case(b"tag") {
        return None;
    }
    let value = rest.trim_ascii_start();
    let end = value
        .iter()
        .position(|byte| *byte == b';' || is_white(*byte));
    value.get(..end.unwrap_or(value.len()))
}

/// What a response to one of our requests must repeat, beside its branch (RFC 3261 §8.2.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// CSeq's number.
    pub cseq: u32,
    /// Our tag in From; `None` where it is none of ours.
    pub tag: Option<Tag>,
}

/// The same of a request that we wrote: each header stands once, in full, on a line.
#[must_use]
pub fn asked(request: &[u8]) -> Option<Asked> {
    let line = |name: &[u8]| {
        let at = memchr::memmem::find(request, name)?;
        let value = request.get(at + name.len()..)?;
        value.get(..memchr(b'\r', value)?)
    };
    let text = |bytes| std::str::from_utf8(bytes).ok();
    let cseq = line(b"\r\nCSeq: ").and_then(text)?;
    let tag = line(b"\r\nFrom: ").and_then(tag_of).and_then(text);
    Some(Asked {
        cseq: cseq.split(' ').next()?.parse().ok()?,
        tag: tag.and_then(Tag::read),
    })
}

/// Looks at a message.
#[must_use]
pub fn glance(datagram: &[u8]) -> Glance<'_> {
    let mut found = Glance {
        first: first_line_peek(datagram),
        call_id: None,
        to: None,
    };
    if !matches!(found.first, Peek::Request(_) | Peek::Response) {
        return found;
    }
    let mut rest = datagram.get(leading_blank(datagram)..).unwrap_or_default();
    for _ in 0..=MAX_HEADERS {
        let Some(end) = memchr(b'\n', rest) else {
            break;
        };
        rest = rest.get(end + 1..).unwrap_or_default();
        match rest.first() {
            Some(b'C' | b'c' | b'I' | b'i') if found.call_id.is_none() => {
                found.call_id = value(rest, b"call-id", b'i').and_then(word);
            }
            Some(b'T' | b't') if found.to.is_none() => {
                found.to = value(rest, b"to", b't').map(folded);
            }
            Some(b'\r' | b'\n') | None => break,
            _ => {}
        }
        if found.call_id.is_some() && found.to.is_some() {
            break;
        }
    }
    found
}

/// What follows the colon, if the line has that name, in full or compact.
fn value<'a>(line: &'a [u8], full: &[u8], compact: u8) -> Option<&'a [u8]> {
    let rest = match line.split_at_checked(full.len()) {
        Some((name, rest)) if name.eq_ignore_ascii_case(full) => rest,
        _ => match line.split_first() {
            Some((name, rest)) if name.eq_ignore_ascii_case(&compact) => rest,
            _ => return None,
        },
    };
    let colon = rest
        .iter()
        .position(|byte| !matches!(byte, b' ' | b'\t'))
        .filter(|at| rest.get(*at) == Some(&b':'))?;
    rest.get(colon + 1..)
}

/// The first word of a value. It may stand on a folded line (RFC 3261 §7.3.1).
fn word(value: &[u8]) -> Option<&[u8]> {
    let white = |byte: &u8| is_white(*byte);
    let value = folded(value);
    let start = value.iter().position(|byte| !white(byte))?;
    let word = value.get(start..)?;
    let end = word.iter().position(white).unwrap_or(word.len());
    word.get(..end)
}

/// A value up to the end of its line, with the lines that are folded onto it.
fn folded(value: &[u8]) -> &[u8] {
    let mut at = 0;
    loop {
        let tail = value.get(at..).unwrap_or_default();
        let Some(end) = memchr(b'\n', tail) else {
            return value;
        };
        at += end + 1;
        if !matches!(value.get(at), Some(b' ' | b'\t')) {
            return value.get(..at).unwrap_or(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn a_call_id_is_found_as_the_parser_finds_it() {
        let spellings = [
            "Call-ID: abc@d",
            "CALL-ID :\tabc@d ",
            "i:abc@d",
            "I : abc@d",
            "Call-ID:\r\n abc@d",
            "call-id: \r\n\t abc@d  ",
        ];
        for spelling in spellings {
            let text = format!(
                "BYE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\nContact: <sip:x@y>\r\n\
                 Max-Forwards: 70\r\nTo: <sip:a@b>;tag=q\r\nFrom: <sip:c@d>;tag=1\r\n{spelling}\r\n\
                 CSeq: 1 BYE\r\n\r\n"
            );
            let seen = glance(text.as_bytes());
            assert_eq!(seen.call_id, Some(b"abc@d".as_slice()), "{spelling:?}");
            let parsed = super::super::parse(Bytes::from(text)).unwrap();
            assert_eq!(parsed.call_id(), "abc@d", "{spelling:?}");
        }
    }

    #[test]
    fn a_tag_in_to_makes_the_difference() {
        let new = b"INVITE sip:a@b SIP/2.0\r\nt: <sip:a@b>\r\nI : abc@d \r\n\r\n";
        assert_eq!(glance(new).new_call(), Some(b"abc@d".as_slice()));
        assert_eq!(glance(new).to_tag(), None);
        let inside =
            b"INVITE sip:a@b SIP/2.0\r\nTo: <sip:a@b>\r\n ;Tag=x;y\r\nCall-ID: abc\r\n\r\n";
        assert_eq!(glance(inside).new_call(), None);
        assert_eq!(glance(inside).to_tag(), Some(b"x".as_slice()));
        assert_eq!(glance(inside).call_id, Some(b"abc".as_slice()));
        assert_eq!(glance(b"INVITE sip:a@b SIP/2.0\r\n\r\n").new_call(), None);
        let cancel = b"CANCEL sip:a@b SIP/2.0\r\nTo: <sip:a@b>\r\nCall-ID: abc\r\n\r\n";
        assert_eq!(glance(cancel).new_call(), None);
    }

    /// What only looks like a tag let a new INVITE pass by the line and by draining.
    #[test]
    fn a_tag_is_seen_where_the_parser_sees_one() {
        let cases = [
            ("<sip:a@b>", None),
            ("<sip:a@b>;etag=aa", None),
            ("<sip:a@b;tag=aa>", None),
            ("<sip:a@b;xtag=aa>", None),
            ("<sip:tag=aa@b>", None),
            ("\"tag=aa\" <sip:a@b>", None),
            ("\"a;tag=aa\" <sip:a@b>", None),
            (r#""\";tag=aa" <sip:a@b>"#, None),
            (r#""\\" <sip:a@b>;tag=aa"#, Some("aa")),
            ("tag <sip:a@b>", None),
            ("<sip:a@b>;x=\";tag=aa\"", None),
            ("<sip:a@b>;x=\"<\";tag=aa", Some("aa")),
            ("<sip:a@b>;x=tag;y=1", None),
            ("<sip:a@b>;x=1;tag=aa", Some("aa")),
            ("<sip:a@b>;;tag=aa;x", Some("aa")),
            ("<sip:a@b> ; TAG = aa ;x", Some("aa")),
            ("<sip:a@b>\r\n ;tag\r\n =\r\n aa", Some("aa")),
            ("sip:a@b;tag=aa", Some("aa")),
            ("sip:a@b;etag=aa", None),
            ("\"<\" <sip:a@b>;tag=aa", Some("aa")),
        ];
        for (to, wanted) in cases {
            let text = format!(
                "INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\nTo: {to}\r\n\
                 Call-ID: abc\r\nMax-Forwards: 70\r\nFrom: <sip:c@d>;tag=1\r\nCSeq: 1 INVITE\r\n\r\n"
            );
            let seen = glance(text.as_bytes());
            let tag = seen.to_tag().and_then(|tag| std::str::from_utf8(tag).ok());
            assert_eq!(tag, wanted, "{to}");
            assert_eq!(seen.new_call().is_some(), wanted.is_none(), "{to}");
            let parsed = super::super::parse(Bytes::from(text)).unwrap();
            assert_eq!(parsed.to_tag(), wanted.unwrap_or_default(), "{to}");
        }
    }

    proptest::proptest! {
        /// Of whatever the parser reads, the glance sees the same tag.
        #[test]
        fn the_glance_and_the_parser_agree(parts in proptest::collection::vec(0usize..18, 0..9)) {
            const PARTS: [&str; 18] = [
                "<sip:a@b>", "sip:a@b", "\"", "\\", ";", "tag=aa", ";tag=", "x", "=", " ", "\r\n ",
                "<", ">", ";etag=1", ";x=\"", "\";tag=b", "TAG", "joe",
            ];
            let to: String = parts.iter().filter_map(|part| PARTS.get(*part)).copied().collect();
            let text = format!(
                "INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\nTo: {to}\r\n\
                 Call-ID: abc\r\nMax-Forwards: 70\r\nFrom: <sip:c@d>;tag=1\r\nCSeq: 1 INVITE\r\n\r\n"
            );
            let seen = glance(text.as_bytes()).to_tag().unwrap_or_default().to_vec();
            if let Ok(parsed) = super::super::parse(Bytes::from(text)) {
                assert_eq!(parsed.to_tag().as_bytes(), seen, "{to:?}");
            }
        }
    }

    #[test]
    fn nothing_is_looked_for_below_the_head() {
        let body = b"INVITE sip:a@b SIP/2.0\r\nTo: <sip:a@b>\r\n\r\nCall-ID: abc\r\n\r\n";
        assert_eq!(glance(body).call_id, None);
        for odd in [b"\r\n\r\n".as_slice(), b"", b"\0\0", b"Call-ID: a\r\n"] {
            assert_eq!(glance(odd).call_id, None);
        }
    }
}
