//! What is committed but not yet in the tree, newest first:
//!
//! ```text
//!   active   takes what is committed                       journal: the present file
//!   frozen   on its way to the tree (spread), unchanging   journal: the other file
//!   tree     everything before
//! ```
//! A record is read from the first of them that knows it. At most two generations, each bounded by
//! the size of its journal file.

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

use crate::store::journal::Frame;
use crate::store::record::{self, Head};
use crate::store::{Change, Direction, Key, Table};
use bytes::Bytes;
use hashbrown::HashMap;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// What the tree holds under a key when a generation is spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Was {
    /// Nothing.
    Absent,
    /// A value in so many pieces; 0: a whole one.
    There(u32),
    /// To be looked up: a crash may have cut the spreading short.
    Unknown,
}

impl Was {
    fn of(before: Option<&Bytes>) -> Self {
        match before {
            None => Self::Absent,
            Some(value) if value.len() <= record::PIECE => Self::There(0),
            Some(value) => Self::There(record::piece_count(value.len())),
        }
    }
}

/// A record as a generation leaves it.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Its value; `None` where it is removed.
    pub value: Option<Bytes>,
    /// The commit that wrote it.
    pub commit: u64,
    pub was: Was,
}

impl Row {
    /// Whether there is nothing to do for it in the tree.
    pub fn is_nothing(&self) -> bool {
        self.value.is_none() && self.was == Was::Absent
    }
}

/// The records of a generation. Those of tables that are read by ranges lie in order; the rest, which
/// are asked for by their keys alone while the gateway runs, do not.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    ordered: BTreeMap<Key, Row>,
    keyed: HashMap<Key, Row>,
}

impl Rows {
    /// None yet, and room for as many as another has: growing by doubling would hold up a commit.
    fn with_room_of(other: &Self) -> Self {
        Self {
            ordered: BTreeMap::new(),
            keyed: HashMap::with_capacity(other.keyed.len()),
        }
    }

    pub fn get(&self, key: &Key) -> Option<&Row> {
        if key.table.is_scanned() {
            self.keyed.get(key)
        } else {
            self.ordered.get(key)
        }
    }

    fn get_mut(&mut self, key: &Key) -> Option<&mut Row> {
        if key.table.is_scanned() {
            self.keyed.get_mut(key)
        } else {
            self.ordered.get_mut(key)
        }
    }

    pub fn insert(&mut self, key: Key, row: Row) {
        if key.table.is_scanned() {
            self.keyed.insert(key, row);
        } else {
            self.ordered.insert(key, row);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.ordered.is_empty() && self.keyed.is_empty()
    }

    /// All of them, in order of their keys.
    pub fn in_order(&self) -> Vec<(&Key, &Row)> {
        let mut rows: Vec<_> = self
            .keyed
            .iter()
            .chain(&self.ordered)
            .map(|(key, row)| (beginning(key), key, row))
            .collect();
        rows.sort_unstable_by(|one, other| (one.0, one.1).cmp(&(other.0, other.1)));
        rows.into_iter().map(|(_, key, row)| (key, row)).collect()
    }

    /// Those of a range of one table, in order.
    fn range<'a>(
        &'a self,
        range: &Range<Key>,
    ) -> Box<dyn DoubleEndedIterator<Item = (&'a Key, &'a Row)> + 'a> {
        if !range.start.table.is_scanned() {
            return Box::new(self.ordered.range(range.clone()));
        }
        let mut rows: Vec<_> = self
            .keyed
            .iter()
            .filter(|(key, _)| range.contains(key))
            .collect();
        rows.sort_unstable_by_key(|(key, _)| *key);
        Box::new(rows.into_iter())
    }
}

/// A key's first bytes, for a sort that seldom has to look at the key itself.
fn beginning(key: &Key) -> u128 {
    let bytes = std::iter::once(key.table.number()).chain(key.bytes.iter().copied());
    bytes
        .chain(std::iter::repeat(0))
        .take(16)
        .fold(0, |number, byte| number << 8 | u128::from(byte))
}

/// A generation on its way to the tree, and the head that it leads to.
pub(super) struct Frozen {
    pub rows: Rows,
    pub head: Head,
}

#[derive(Default)]
pub(super) struct Layers {
    active: Rows,
    frozen: Option<Arc<Frozen>>,
}

impl Layers {
    /// Takes in a commit.
    pub fn commit(&mut self, changes: &[Change], commit: u64) {
        for change in changes {
            let value = change.after.clone();
            match self.active.get_mut(&change.key) {
                Some(row) => (row.value, row.commit) = (value, commit),
                None => {
                    let was = Was::of(change.before.as_ref());
                    let row = Row { value, commit, was };
                    self.active.insert(change.key.clone(), row);
                }
            }
        }
    }

    /// Freezes the active generation; false while the one before is still there.
    pub fn freeze(&mut self, head: Head) -> bool {
        if self.frozen.is_some() {
            return false;
        }
        let next = Rows::with_room_of(&self.active);
        let rows = std::mem::replace(&mut self.active, next);
        self.frozen = Some(Arc::new(Frozen { rows, head }));
        true
    }

    /// Puts in place what a start has read of the journal.
    pub fn replay(&mut self, frames: Vec<Frame>) {
        let Some(head) = frames.last().map(|frame| frame.head) else {
            return;
        };
        let mut rows = Rows::default();
        for Frame { head, rows: read } in frames {
            for (key, value) in read {
                let (commit, was) = (head.commit, Was::Unknown);
                rows.insert(key, Row { value, commit, was });
            }
        }
        self.frozen = Some(Arc::new(Frozen { rows, head }));
    }

    pub fn frozen(&self) -> Option<Arc<Frozen>> {
        self.frozen.clone()
    }

    /// The frozen generation lies in the tree, durably.
    pub fn thaw(&mut self) {
        self.frozen = None;
    }

    /// Whether all that is committed lies in the tree.
    pub fn is_empty(&self) -> bool {
        self.active.is_empty() && self.frozen.is_none()
    }

    /// What the generations know of a record; `None` where the tree is to be asked.
    pub fn get(&self, key: &Key) -> Option<&Row> {
        let frozen = || self.frozen.as_ref().and_then(|frozen| frozen.rows.get(key));
        self.active.get(key).or_else(frozen)
    }

    /// The records in a range that the generations know of, removed ones too, up to the `limit`th
    /// that is there.
    pub fn range(&self, range: &Range<Key>, direction: Direction, limit: usize) -> Known {
        let none = Rows::default();
        let frozen = self.frozen.as_ref().map_or(&none, |frozen| &frozen.rows);
        let item = |(key, row): (&Key, &Row)| (key.clone(), row.value.clone());
        let (newer, older) = (self.active.range(range), frozen.range(range));
        match direction {
            Direction::Forward => known(
                Merge::new(newer.map(item), older.map(item), direction),
                limit,
            ),
            Direction::Backward => known(
                Merge::new(newer.rev().map(item), older.rev().map(item), direction),
                limit,
            ),
        }
    }
}

/// Records of a range in its order, removed ones among them.
pub(super) type Known = Vec<(Key, Option<Bytes>)>;

fn known(merged: impl Iterator<Item = (Key, Option<Bytes>)>, limit: usize) -> Known {
    let mut there = 0usize;
    merged
        .take_while(|(_, value)| {
            let wanted = there < limit;
            there = there.saturating_add(usize::from(value.is_some()));
            wanted
        })
        .collect()
}

/// Two orderly sequences in one; of two items with one key the newer's.
pub(super) struct Merge<N: Iterator, O: Iterator> {
    newer: std::iter::Peekable<N>,
    older: std::iter::Peekable<O>,
    direction: Direction,
}

impl<V, N, O> Merge<N, O>
where
    N: Iterator<Item = (Key, V)>,
    O: Iterator<Item = (Key, V)>,
{
    pub fn new(newer: N, older: O, direction: Direction) -> Self {
        Self {
            newer: newer.peekable(),
            older: older.peekable(),
            direction,
        }
    }
}

impl<V, N, O> Iterator for Merge<N, O>
where
    N: Iterator<Item = (Key, V)>,
    O: Iterator<Item = (Key, V)>,
{
    type Item = (Key, V);

    fn next(&mut self) -> Option<Self::Item> {
        let (Some((newer, _)), Some((older, _))) = (self.newer.peek(), self.older.peek()) else {
            return self.newer.next().or_else(|| self.older.next());
        };
        let order = match self.direction {
            Direction::Forward => newer.cmp(older),
            Direction::Backward => older.cmp(newer),
        };
        if order == Ordering::Equal {
            self.older.next();
        }
        if order == Ordering::Greater {
            self.older.next()
        } else {
            self.newer.next()
        }
    }
}

/// The bounds of a range of a table's keys.
pub(super) fn bounds(table: Table, from: &[u8], to: &[u8]) -> Range<Key> {
    let key = |bytes: &[u8]| Key {
        table,
        bytes: Bytes::copy_from_slice(bytes),
    };
    key(from)..key(to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row() -> Row {
        let (value, was) = (Some(Bytes::new()), Was::Absent);
        Row {
            value,
            commit: 1,
            was,
        }
    }

    proptest! {
        /// Whatever tables and keys of whatever lengths: one order, the tree's.
        #[test]
        fn rows_come_in_the_order_of_stored_keys(
            keys in proptest::collection::vec(
                (0usize..11, proptest::collection::vec(0u8..3, 0..20)), 0..40,
            ),
        ) {
            let mut rows = Rows::default();
            for (table, bytes) in keys {
                let key = Key { table: Table::ALL[table], bytes: bytes.into() };
                rows.insert(key, row());
            }
            let stored = |key: &Key| record::stored_key(key.table, &key.bytes);
            let found: Vec<_> = rows.in_order().iter().map(|(key, _)| stored(key)).collect();
            prop_assert!(found.is_sorted_by(|one, other| one < other));
            for table in Table::ALL {
                let range = bounds(table, &[0, 1], &[1, 1]);
                let found: Vec<_> = rows.range(&range).map(|(key, _)| key.clone()).collect();
                let wanted: Vec<_> = rows
                    .in_order()
                    .into_iter()
                    .map(|(key, _)| key.clone())
                    .filter(|key| range.contains(key))
                    .collect();
                prop_assert_eq!(found, wanted);
            }
        }
    }
}
