//! RTCP rebuilt by allow list (sip-bridging 4): SR and RR without profile extensions, SDES with a
//! CNAME of ours, BYE without its text. Everything else stays behind and is counted.

use crate::rtp::rtcp::{Part, Parts, kind};

/// Bytes of a rebuilt compound; longer ones are not passed.
pub const MAX_COMPOUND: usize = 1472;
/// SDES item type of the canonical name (RFC 3550 §6.5.1).
const CNAME: u8 = 1;

/// A rebuilt compound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cleaned {
    /// Its bytes in the buffer.
    pub length: usize,
    /// Items and packets kept back; a CNAME that was replaced is not one.
    pub removed: u32,
}

/// Why nothing is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Items kept back with it.
    pub removed: u32,
}

/// Rebuilds `datagram` into `out` with `cname` for every source. Only compounds that begin with a
/// report are taken (RFC 3550 §6.1; reduced-size RTCP is never negotiated).
///
/// # Errors
/// [`Rejected`] where the compound is broken or does not fit.
pub fn clean(
    datagram: &[u8],
    cname: &str,
    out: &mut [u8; MAX_COMPOUND],
) -> Result<Cleaned, Rejected> {
    let mut page = Page {
        out,
        length: 0,
        removed: 0,
    };
    for part in Parts::new(datagram) {
        let written = match part {
            Ok(part) if page.length == 0 && !is_report(&part) => None,
            Ok(part) => page.pass(&part, cname.as_bytes()),
            Err(_) => None,
        };
        if written.is_none() {
            return Err(Rejected {
                removed: page.removed,
            });
        }
    }
    match page.length {
        0 => Err(Rejected { removed: 0 }),
        length => Ok(Cleaned {
            length,
            removed: page.removed,
        }),
    }
}

const fn is_report(part: &Part<'_>) -> bool {
    matches!(part.kind, kind::SENDER_REPORT | kind::RECEIVER_REPORT)
}

struct Page<'o> {
    out: &'o mut [u8; MAX_COMPOUND],
    length: usize,
    removed: u32,
}

impl Page<'_> {
    fn pass(&mut self, part: &Part<'_>, cname: &[u8]) -> Option<()> {
        match part.kind {
            kind::SENDER_REPORT => self.report(part, 24),
            kind::RECEIVER_REPORT => self.report(part, 4),
            kind::SOURCE_DESCRIPTION => self.descriptions(part, cname),
            kind::GOODBYE => self.goodbye(part),
            _ => {
                self.removed = self.removed.saturating_add(1);
                Some(())
            }
        }
    }

    /// `fixed` bytes, then 24 for each report block; what follows is a profile's extension.
    fn report(&mut self, part: &Part<'_>, fixed: usize) -> Option<()> {
        let length = fixed + usize::from(part.count) * 24;
        let body = part.body.get(..length)?;
        if part.body.len() > length {
            self.removed = self.removed.saturating_add(1);
        }
        let at = self.head(part.count, part.kind)?;
        self.put(body)?;
        self.close(at)
    }

    fn goodbye(&mut self, part: &Part<'_>) -> Option<()> {
        let length = usize::from(part.count) * 4;
        let sources = part.body.get(..length)?;
        if part.body.len() > length {
            self.removed = self.removed.saturating_add(1);
        }
        let at = self.head(part.count, part.kind)?;
        self.put(sources)?;
        self.close(at)
    }

    fn descriptions(&mut self, part: &Part<'_>, cname: &[u8]) -> Option<()> {
        let length = u8::try_from(cname.len()).ok()?;
        let at = self.head(part.count, part.kind)?;
        let mut rest = part.body;
        for _ in 0..part.count {
            let (source, items) = rest.split_at_checked(4)?;
            rest = self.count_items(items)?;
            self.put(source)?;
            self.put(&[CNAME, length])?;
            self.put(cname)?;
            // One to four zeros end the chunk on a word.
            let zeros = 4 - (self.length % 4);
            self.put([0; 4].get(..zeros)?)?;
        }
        if !rest.is_empty() {
            self.removed = self.removed.saturating_add(1);
        }
        self.close(at)
    }

    /// Passes over a chunk's items; the rest after its padding.
    fn count_items<'a>(&mut self, items: &'a [u8]) -> Option<&'a [u8]> {
        let mut used = 0;
        loop {
            match *items.get(used..)? {
                [0, ..] => break,
                [item, length, ..] => {
                    if item != CNAME {
                        self.removed = self.removed.saturating_add(1);
                    }
                    used += 2 + usize::from(length);
                }
                _ => return None,
            }
        }
        // The source before the items is one word, so words count from the items on as well.
        items.get((used / 4 + 1) * 4..)
    }

    fn head(&mut self, count: u8, kind: u8) -> Option<usize> {
        let at = self.length;
        self.put(&[0x80 | count, kind, 0, 0])?;
        Some(at)
    }

    fn close(&mut self, at: usize) -> Option<()> {
        let words = u16::try_from((self.length.checked_sub(at)?) / 4 - 1).ok()?;
        let field = self.out.get_mut(at + 2..at + 4)?;
        field.copy_from_slice(&words.to_be_bytes());
        Some(())
    }

    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.length.checked_add(bytes.len())?;
        self.out.get_mut(self.length..end)?.copy_from_slice(bytes);
        self.length = end;
        Some(())
    }
}

#[cfg(test)]
mod tests;
