//! The framer: finds the lines of a head in one pass, within bounds, before anything is read.

use super::refusal::Fault;
use bytes::{Bytes, BytesMut};
use memchr::memchr3;
use smallvec::SmallVec;
use std::ops::Range;

/// Longest datagram read, bytes (issue bound: 64 KiB).
pub const MAX_DATAGRAM: usize = 65_535;
/// Header lines that a message may have.
pub const MAX_HEADERS: usize = 128;
/// Longest header line, unfolded, and longest start line, bytes.
pub const MAX_LINE: usize = 4096;

/// A part of a head. Heads are shorter than 64 KiB, so two octets each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    start: u16,
    len: u16,
}

impl Span {
    /// From positions; empty if they cannot be (they always can: see [`MAX_DATAGRAM`]).
    fn new(start: usize, end: usize) -> Self {
        let len = u16::try_from(end.saturating_sub(start));
        match (u16::try_from(start), len) {
            (Ok(start), Ok(len)) => Self { start, len },
            _ => Self::default(),
        }
    }

    /// Where `part`, a slice of `whole`, lies in it.
    pub(super) fn of(whole: &str, part: &str) -> Self {
        let start = part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr());
        if start > whole.len() {
            return Self::default();
        }
        Self::new(start, start.saturating_add(part.len()))
    }

    /// As a range of byte positions.
    pub(super) fn range(self) -> Range<usize> {
        let start = usize::from(self.start);
        start..start + usize::from(self.len)
    }
}

/// A framed message: its head in one buffer, its lines, and where the body begins.
pub(super) struct Frame {
    /// Start line and header lines, unfolded, valid UTF-8. The received buffer itself unless
    /// something had to be mended.
    pub(super) head: Bytes,
    /// The head as it came, if it was mended.
    pub(super) original: Option<Bytes>,
    /// Start line first; without line ends.
    pub(super) lines: SmallVec<[Span; 32]>,
    /// Offset in the datagram.
    pub(super) body_start: usize,
}

/// Finds the lines of a head.
///
/// Empty lines before the start line are passed over (RFC 3261 §7.5). A line that begins with
/// space or tab goes on the one before (§7.3.1). A CR or LF that is not part of a CRLF, and a NUL
/// that is not escaped by a backslash, are refused.
pub(super) fn frame(datagram: &Bytes) -> Result<Frame, Fault> {
    if datagram.len() > MAX_DATAGRAM {
        return Err(Fault::TooLong);
    }
    let bytes: &[u8] = datagram;
    let begin = leading_blank(bytes);
    if begin == bytes.len() {
        return Err(Fault::Keepalive);
    }
    let mut lines: SmallVec<[Span; 32]> = SmallVec::new();
    let (mut line_start, mut at, mut mend) = (begin, begin, false);
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let offset = memchr3(b'\r', b'\n', 0, rest).ok_or(Fault::Truncated)?;
        let (here, after) = (at + offset, rest.get(offset..).unwrap_or_default());
        match after {
            [b'\r', b'\n', following @ ..] => {
                let end_of_head = here == line_start;
                if here.saturating_sub(line_start) > MAX_LINE {
                    return Err(Fault::LineTooLong);
                }
                at = here + 2;
                if end_of_head {
                    return finish(datagram, begin, line_start, at, lines, mend);
                }
                if matches!(following.first(), Some(b' ' | b'\t')) && !lines.is_empty() {
                    mend = true;
                    continue;
                }
                if lines.len() > MAX_HEADERS {
                    return Err(Fault::TooManyHeaders);
                }
                lines.push(Span::new(line_start - begin, here - begin));
                line_start = at;
            }
            [0, ..] if here > 0 && bytes.get(here - 1) == Some(&b'\\') => {
                mend = true;
                at = here + 1;
            }
            _ => return Err(Fault::ControlCharacter),
        }
    }
}

fn finish(
    datagram: &Bytes,
    begin: usize,
    end: usize,
    body_start: usize,
    lines: SmallVec<[Span; 32]>,
    mend: bool,
) -> Result<Frame, Fault> {
    let head = datagram.slice(begin..end);
    let (head, original) = if mend || std::str::from_utf8(&head).is_err() {
        (mended(&head, &lines), Some(head))
    } else {
        (head, None)
    };
    Ok(Frame {
        head,
        original,
        lines,
        body_start,
    })
}

/// Stands for a byte that was mended. No token, URI, branch or Call-ID may hold it, so that what is
/// compared or sent to is never something that its sender did not write.
pub(super) const MENDED: u8 = 0x7f;

/// A copy of the head, of the same length: line ends inside a folded line become spaces, an
/// escaped NUL and bytes that are not UTF-8 (some peers write display names in Latin-1) become
/// [`MENDED`].
fn mended(head: &[u8], lines: &[Span]) -> Bytes {
    let mut copy = BytesMut::from(head);
    for line in lines {
        if let Some(line) = copy.get_mut(line.range()) {
            for byte in line {
                match *byte {
                    b'\r' | b'\n' => *byte = b' ',
                    0 => *byte = MENDED,
                    _ => {}
                }
            }
        }
    }
    let mut valid_to = 0;
    while let Some(rest) = copy.get(valid_to..) {
        let Err(error) = std::str::from_utf8(rest) else {
            break;
        };
        let bad = valid_to + error.valid_up_to();
        let length = error.error_len().unwrap_or(copy.len() - bad);
        valid_to = bad + length;
        if let Some(part) = copy.get_mut(bad..valid_to) {
            part.fill(MENDED);
        }
    }
    copy.freeze()
}

/// A mended head as it is kept: in these values, display names by what else was checked of them,
/// an underscore stands for what was mended.
pub(super) fn readable(head: &Bytes, original: &[u8], values: [Span; 2]) -> Bytes {
    let mut copy = BytesMut::from(&head[..]);
    for value in values {
        let bytes = copy.get_mut(value.range()).unwrap_or_default();
        let came = original.get(value.range()).unwrap_or_default();
        for (byte, came) in bytes.iter_mut().zip(came) {
            if *byte == MENDED && *came != MENDED {
                *byte = b'_';
            }
        }
    }
    copy.freeze()
}

/// Length of the CRLFs at the front (keep-alives: RFC 5626 §3.5.1).
pub(super) fn leading_blank(bytes: &[u8]) -> usize {
    let mut at = 0;
    while bytes.get(at..at + 2) == Some(b"\r\n") {
        at += 2;
    }
    at
}
