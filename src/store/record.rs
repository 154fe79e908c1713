//! How records lie in an engine that promises less than we do: each with the number of the commit
//! that wrote it and a checksum, and beside them one *head* that says how many there are of each
//! table and what they add up to. So what was lost, altered, rolled back or slipped in is found at
//! start, whatever the engine thinks of it.
//!
//! ```text
//!   sealed value   checksum u64 · commit u64 · kind u8 · body          (integers big-endian)
//!                  kind 0: body = the value
//!                  kind 1: body = length u32; the value lies in pieces beside
//!   head           magic · schema u32 · commit u64 · 12 × (count u64 · sum u128) · checksum u64
//! ```

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::panic
    )
)]

use super::Table;
use bytes::Bytes;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed, xxh3_128_with_seed};

/// Version of the layout that this build writes.
pub const SCHEMA: u32 = 2;
/// A value longer than this lies in pieces: sled would move a page of such values out to files of
/// its own, which it never syncs.
pub const PIECE: usize = 4096;
/// Longest value; longer ones are refused.
pub const VALUE_LIMIT: usize = 16 * 1024 * 1024;
/// Longest key, its table's byte included; longer ones are refused.
pub const KEY_LIMIT: usize = 255;

/// Number of head's key.
const HEAD_SPACE: u8 = 0;
/// First byte of the keys of pieces.
const PIECE_SPACE: u8 = 0xC0;
const MAGIC: [u8; 8] = *b"lbstore\x02";
const KIND_WHOLE: u8 = 0;
const KIND_PIECES: u8 = 1;
const SEAL_BYTES: usize = 17;
/// Length of a stored head.
pub const HEAD_BYTES: usize = 8 + 4 + 8 + SLOTS * 24 + 8;
/// One sum for each table, by its number; 0 is for pieces.
const SLOTS: usize = 12;

/// Key of the head record.
pub const HEAD_KEY: [u8; 5] = [HEAD_SPACE, b'h', b'e', b'a', b'd'];

/// The stored form of a key: table, then bytes.
#[must_use]
pub fn stored_key(table: Table, bytes: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(bytes.len().saturating_add(1));
    key.push(table.number());
    key.extend_from_slice(bytes);
    key
}

/// The key of one piece of the value stored under `key`.
#[must_use]
pub fn piece_key(key: &[u8], index: u32) -> Vec<u8> {
    let mut piece = Vec::with_capacity(key.len().saturating_add(6));
    piece.push(PIECE_SPACE);
    piece.push(u8::try_from(key.len()).unwrap_or(u8::MAX));
    piece.extend_from_slice(key);
    piece.extend_from_slice(&index.to_be_bytes());
    piece
}

/// What a stored key belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// The head.
    Head,
    /// A table's record.
    Record(Table),
    /// A piece of a long value.
    Piece,
    /// Nothing that we ever wrote.
    Foreign,
}

/// What `key` belongs to.
#[must_use]
pub fn space(key: &[u8]) -> Space {
    match key.first() {
        Some(&HEAD_SPACE) if key == HEAD_KEY => Space::Head,
        Some(&PIECE_SPACE) => Space::Piece,
        Some(&number) => Table::from_number(number).map_or(Space::Foreign, Space::Record),
        None => Space::Foreign,
    }
}

/// A stored value, opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed<'a> {
    checksum: u64,
    kind: u8,
    /// The commit that wrote it.
    pub commit: u64,
    body: &'a [u8],
}

/// Where an opened value's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// Here.
    Whole(&'a [u8]),
    /// In pieces, so many bytes in all.
    Pieces(usize),
}

impl<'a> Sealed<'a> {
    /// Splits a stored value. `None` where it is too short or of no known kind.
    #[must_use]
    pub fn split(stored: &'a [u8]) -> Option<Self> {
        let (checksum, rest) = stored.split_first_chunk::<8>()?;
        let (commit, rest) = rest.split_first_chunk::<8>()?;
        let (&kind, body) = rest.split_first()?;
        let sealed = Self {
            checksum: u64::from_be_bytes(*checksum),
            kind,
            commit: u64::from_be_bytes(*commit),
            body,
        };
        let known = match kind {
            KIND_WHOLE => true,
            KIND_PIECES => body.len() == 4,
            _ => false,
        };
        known.then_some(sealed)
    }

    /// Where the value is.
    #[must_use]
    pub fn body(&self) -> Body<'a> {
        match (self.kind, self.body.first_chunk::<4>()) {
            (KIND_PIECES, Some(length)) => {
                Body::Pieces(usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX))
            }
            _ => Body::Whole(self.body),
        }
    }

    /// Whether the checksum says that `value` under `key` is what that commit wrote.
    #[must_use]
    pub fn vouches_for(&self, key: &[u8], value: &[u8]) -> bool {
        checksum(key, self.commit, self.kind, value) == self.checksum
    }
}

/// The stored form of `value`, and the pieces it lies in if it is long.
#[must_use]
pub fn seal(key: &[u8], commit: u64, value: &[u8]) -> (Vec<u8>, Vec<Bytes>) {
    let long = value.len() > PIECE;
    let kind = if long { KIND_PIECES } else { KIND_WHOLE };
    let mut stored = Vec::with_capacity(SEAL_BYTES.saturating_add(value.len().min(PIECE)));
    stored.extend_from_slice(&checksum(key, commit, kind, value).to_be_bytes());
    stored.extend_from_slice(&commit.to_be_bytes());
    stored.push(kind);
    if !long {
        stored.extend_from_slice(value);
        return (stored, Vec::new());
    }
    let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
    stored.extend_from_slice(&length.to_be_bytes());
    let pieces = value.chunks(PIECE).map(Bytes::copy_from_slice).collect();
    (stored, pieces)
}

/// The pieces that a value lies in, with their keys; none for a short one.
fn pieces_of<'a>(key: &'a [u8], value: &'a [u8]) -> impl Iterator<Item = (Vec<u8>, &'a [u8])> {
    let pieces = (value.len() > PIECE).then(|| value.chunks(PIECE));
    (0u32..)
        .zip(pieces.into_iter().flatten())
        .map(|(index, piece)| (piece_key(key, index), piece))
}

/// How many pieces a value of this length lies in.
#[must_use]
pub fn piece_count(length: usize) -> u32 {
    u32::try_from(length.div_ceil(PIECE)).unwrap_or(u32::MAX)
}

fn checksum(key: &[u8], commit: u64, kind: u8, value: &[u8]) -> u64 {
    let seed = xxh3_64_with_seed(key, commit).wrapping_add(u64::from(kind));
    xxh3_64_with_seed(value, seed)
}

/// What a set of records adds up to, in whatever order they came and went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// How many there are.
    pub count: u64,
    digest: u128,
}

impl Sum {
    /// Counts a record in.
    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        self.count = self.count.wrapping_add(1);
        self.digest = self.digest.wrapping_add(record_digest(key, value));
    }

    /// Counts a record out.
    pub fn remove(&mut self, key: &[u8], value: &[u8]) {
        self.count = self.count.wrapping_sub(1);
        self.digest = self.digest.wrapping_sub(record_digest(key, value));
    }
}

fn record_digest(key: &[u8], value: &[u8]) -> u128 {
    xxh3_128_with_seed(value, xxh3_64(key))
}

/// The record that says what all the others should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The newest commit; 0 for an empty store.
    pub commit: u64,
    sums: [Sum; SLOTS],
}

impl Default for Head {
    fn default() -> Self {
        Self::empty()
    }
}

/// Why a head does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadFault {
    /// It is not a head, or its checksum is wrong.
    Broken,
    /// It is one of another schema.
    Schema(u32),
}

impl Head {
    /// Of a store without records.
    #[must_use]
    pub const fn empty() -> Self {
        Self {
            commit: 0,
            sums: [Sum {
                count: 0,
                digest: 0,
            }; SLOTS],
        }
    }

    /// The sum of a table's records.
    #[must_use]
    pub fn table(&self, table: Table) -> Sum {
        let slot = usize::from(table.number());
        self.sums.get(slot).copied().unwrap_or_default()
    }

    /// The sum of all pieces.
    #[must_use]
    pub fn pieces(&self) -> Sum {
        self.sums.first().copied().unwrap_or_default()
    }

    /// The sum of a table's records, to change it.
    pub fn table_mut(&mut self, table: Table) -> Option<&mut Sum> {
        self.sums.get_mut(usize::from(table.number()))
    }

    /// The sum of all pieces, to change it.
    pub fn pieces_mut(&mut self) -> Option<&mut Sum> {
        self.sums.first_mut()
    }

    /// Counts a change of one record, with the pieces that its values lie in.
    pub fn count(
        &mut self,
        table: Table,
        key: &[u8],
        before: Option<&Bytes>,
        after: Option<&Bytes>,
    ) {
        if let Some(before) = before {
            if let Some(sum) = self.table_mut(table) {
                sum.remove(key, before);
            }
            for (at, piece) in pieces_of(key, before) {
                if let Some(sum) = self.pieces_mut() {
                    sum.remove(&at, piece);
                }
            }
        }
        if let Some(after) = after {
            if let Some(sum) = self.table_mut(table) {
                sum.add(key, after);
            }
            for (at, piece) in pieces_of(key, after) {
                if let Some(sum) = self.pieces_mut() {
                    sum.add(&at, piece);
                }
            }
        }
    }

    /// Its stored form.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES);
        self.encode_into(&mut bytes);
        bytes
    }

    /// Appends its stored form.
    pub fn encode_into(&self, bytes: &mut Vec<u8>) {
        let start = bytes.len();
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&SCHEMA.to_be_bytes());
        bytes.extend_from_slice(&self.commit.to_be_bytes());
        for sum in &self.sums {
            bytes.extend_from_slice(&sum.count.to_be_bytes());
            bytes.extend_from_slice(&sum.digest.to_be_bytes());
        }
        let checksum = xxh3_64(bytes.get(start..).unwrap_or_default());
        bytes.extend_from_slice(&checksum.to_be_bytes());
    }

    /// Reads a stored head.
    ///
    /// # Errors
    /// [`HeadFault`].
    pub fn decode(stored: &[u8]) -> Result<Self, HeadFault> {
        Self::read(stored).unwrap_or(Err(HeadFault::Broken))
    }

    fn read(stored: &[u8]) -> Option<Result<Self, HeadFault>> {
        let (content, checksum) = stored.split_last_chunk::<8>()?;
        let (magic, rest) = content.split_first_chunk::<8>()?;
        let (schema, rest) = rest.split_first_chunk::<4>()?;
        let schema = u32::from_be_bytes(*schema);
        if *magic != MAGIC || xxh3_64(content) != u64::from_be_bytes(*checksum) {
            return None;
        }
        if schema != SCHEMA {
            return Some(Err(HeadFault::Schema(schema)));
        }
        let (commit, mut rest) = rest.split_first_chunk::<8>()?;
        let mut head = Self {
            commit: u64::from_be_bytes(*commit),
            ..Self::empty()
        };
        for sum in &mut head.sums {
            let (count, after) = rest.split_first_chunk::<8>()?;
            let (digest, after) = after.split_first_chunk::<16>()?;
            sum.count = u64::from_be_bytes(*count);
            sum.digest = u128::from_be_bytes(*digest);
            rest = after;
        }
        rest.is_empty().then_some(Ok(head))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_sealed_value_opens_as_it_was(key in proptest::collection::vec(any::<u8>(), 1..40),
                                          commit in any::<u64>(),
                                          value in proptest::collection::vec(any::<u8>(), 0..10_000)) {
            let (stored, pieces) = seal(&key, commit, &value);
            let sealed = Sealed::split(&stored).unwrap();
            prop_assert_eq!(sealed.commit, commit);
            let whole = match sealed.body() {
                Body::Whole(body) => { prop_assert!(pieces.is_empty()); body.to_vec() }
                Body::Pieces(length) => {
                    prop_assert_eq!(length, value.len());
                    prop_assert_eq!(piece_count(length) as usize, pieces.len());
                    pieces.concat()
                }
            };
            prop_assert_eq!(&whole, &value);
            prop_assert!(sealed.vouches_for(&key, &whole));
        }

        #[test]
        fn any_flipped_bit_is_seen(commit in any::<u64>(), value in proptest::collection::vec(any::<u8>(), 0..200),
                                   at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let key = [4u8, 9, 9];
            let (mut stored, _) = seal(&key, commit, &value);
            let at = at.index(stored.len());
            stored[at] ^= 1 << bit;
            let seen = match Sealed::split(&stored) {
                None => true,
                Some(sealed) => match sealed.body() {
                    Body::Whole(body) => !sealed.vouches_for(&key, body),
                    Body::Pieces(_) => !sealed.vouches_for(&key, &value),
                },
            };
            prop_assert!(seen);
        }

        #[test]
        fn sums_forget_the_order(records in proptest::collection::vec((any::<[u8; 4]>(), any::<[u8; 3]>()), 0..20)) {
            let mut forwards = Sum::default();
            let mut backwards = Sum::default();
            records.iter().for_each(|(key, value)| forwards.add(key, value));
            records.iter().rev().for_each(|(key, value)| backwards.add(key, value));
            prop_assert_eq!(forwards, backwards);
            records.iter().for_each(|(key, value)| forwards.remove(key, value));
            prop_assert_eq!(forwards, Sum::default());
        }
    }

    #[test]
    fn a_head_opens_as_it_was_and_not_when_altered() {
        let mut head = Head {
            commit: 77,
            ..Head::empty()
        };
        head.table_mut(Table::Lease).unwrap().add(b"k", b"v");
        head.pieces_mut().unwrap().add(b"p", b"q");
        let stored = head.encode();
        assert_eq!(stored.len(), HEAD_BYTES);
        assert_eq!(Head::decode(&stored), Ok(head));
        for at in 0..stored.len() {
            let mut altered = stored.clone();
            altered[at] ^= 0x10;
            assert_eq!(Head::decode(&altered), Err(HeadFault::Broken), "byte {at}");
        }
        assert_eq!(Head::decode(&[]), Err(HeadFault::Broken));
    }

    #[test]
    fn keys_know_where_they_belong() {
        assert_eq!(space(&HEAD_KEY), Space::Head);
        assert_eq!(
            space(&stored_key(Table::Entry, b"x")),
            Space::Record(Table::Entry)
        );
        assert_eq!(
            space(&piece_key(&stored_key(Table::Answer, b"x"), 3)),
            Space::Piece
        );
        assert_eq!(space(&[]), Space::Foreign);
        assert_eq!(space(&[0, 1]), Space::Foreign);
        assert_eq!(space(&[12, 1]), Space::Foreign);
    }
}
