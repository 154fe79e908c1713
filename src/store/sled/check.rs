//! The start scan: every record against its checksum, and all of them against the head.
//!
//! ```text
//!   reading thread ── reads, checks, sums ──▶ rows, bounded ──▶ caller's thread: `each`
//!   history thread ── reads, checks, sums
//! ```
//! Reading is most of a start's time; so what is done with the rows goes on beside it, and so do the
//! tables that nothing is done with.

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

use super::engine::{Engine, damaged, gather, guarded_item};
use crate::store::record::{self, Body, Head, Sealed, Space, Sum};
use crate::store::{StoreError, Table, Visit};
use bytes::Bytes;
use std::sync::mpsc::{SyncSender, sync_channel};

/// Rows handed over at a time, and how many such loads may wait.
const LOAD: usize = 512;
const LOADS: usize = 16;

/// What is done with each record of a walk.
type Each<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), StoreError> + 'a;

/// A checked record on its way to the caller.
struct Row {
    table: Table,
    key: ::sled::IVec,
    value: Value,
}

enum Value {
    /// As stored, still sealed.
    Sealed(::sled::IVec),
    /// Put together from pieces.
    Gathered(Bytes),
}

/// Reads everything (or everything but history) and holds it against the head.
pub(super) fn verify(
    engine: &Engine,
    head: &Head,
    history: bool,
    each: &mut Visit<'_>,
) -> Result<(), StoreError> {
    let (reported, silent): (Vec<Table>, Vec<Table>) = Table::ALL
        .into_iter()
        .filter(|table| table.is_scanned() || history)
        .partition(|&table| table.is_scanned() || table == Table::Entry);
    std::thread::scope(|scope| {
        let (send, receive) = sync_channel::<Vec<Row>>(LOADS);
        let reading = scope.spawn(|| {
            let mut rows = Rows {
                waiting: Vec::with_capacity(LOAD),
                send,
            };
            for table in reported {
                verify_table(engine, head, table, &mut |row| rows.push(row))?;
            }
            rows.hand_over();
            verify_rest(engine, head)
        });
        let beside = scope.spawn(|| {
            for table in silent {
                verify_table(engine, head, table, &mut |_| {})?;
            }
            Ok(())
        });
        for row in receive.into_iter().flatten() {
            let value = match &row.value {
                Value::Gathered(value) => value,
                Value::Sealed(stored) => match Sealed::split(stored).map(|sealed| sealed.body()) {
                    Some(Body::Whole(value)) => value,
                    _ => &[],
                },
            };
            each(row.table, row.key.get(1..).unwrap_or_default(), value);
        }
        joined(reading.join()).and(joined(beside.join()))
    })
}

fn joined(ended: std::thread::Result<Result<(), StoreError>>) -> Result<(), StoreError> {
    ended.unwrap_or_else(|_| {
        Err(StoreError::Failed(
            "a reading thread ended in a panic".into(),
        ))
    })
}

struct Rows {
    waiting: Vec<Row>,
    send: SyncSender<Vec<Row>>,
}

impl Rows {
    fn push(&mut self, row: Row) {
        self.waiting.push(row);
        if self.waiting.len() >= LOAD {
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        let load = std::mem::replace(&mut self.waiting, Vec::with_capacity(LOAD));
        // The receiver waits until this end is gone.
        let _ = self.send.send(load);
    }
}

/// Checks one table, hands its rows on, and compares their sum with the head's.
fn verify_table(
    engine: &Engine,
    head: &Head,
    table: Table,
    hand_on: &mut dyn FnMut(Row),
) -> Result<(), StoreError> {
    let mut found = Sum::default();
    let (from, to) = ([table.number()], [table.number().saturating_add(1)]);
    let mut iter = engine.tree.range(&from[..]..&to[..]);
    while let Some((key, stored)) = guarded_item(|| iter.next())? {
        let sealed = Sealed::split(&stored).ok_or_else(|| damaged(&key, "not a sealed value"))?;
        if sealed.commit > head.commit {
            let (of, newest) = (sealed.commit, head.commit);
            let what = format!("of commit {of}, but {newest} is the newest");
            return Err(damaged(&key, &what));
        }
        let gathered = match sealed.body() {
            Body::Whole(_) => None,
            Body::Pieces(length) => Some(
                gather(engine, &key, length)?
                    .ok_or_else(|| damaged(&key, "a piece of the value is missing"))?,
            ),
        };
        let value = match (sealed.body(), &gathered) {
            (Body::Whole(value), _) => value,
            (_, Some(gathered)) => gathered,
            _ => &[],
        };
        if !sealed.vouches_for(&key, value) {
            return Err(damaged(&key, "checksum mismatch"));
        }
        found.add(&key, value);
        let value = gathered.map_or_else(|| Value::Sealed(stored.clone()), Value::Gathered);
        hand_on(Row { table, key, value });
    }
    compare(&format!("table {table:?}"), found, head.table(table))
}

/// Checks what lies outside the tables.
fn verify_rest(engine: &Engine, head: &Head) -> Result<(), StoreError> {
    let mut pieces = Sum::default();
    let mut foreign = None;
    let (first, after) = ([Table::Meta.number()], [Table::AnswerExpiry.number() + 1]);
    walk(engine, &after, None, &mut |key, value| {
        match record::space(key) {
            Space::Piece => pieces.add(key, value),
            _ => foreign = Some(key.to_vec()),
        }
        Ok(())
    })?;
    walk(engine, &[], Some(&first), &mut |key, _| {
        if record::space(key) != Space::Head {
            foreign = Some(key.to_vec());
        }
        Ok(())
    })?;
    if let Some(key) = foreign {
        return Err(damaged(&key, "a record that is none of ours"));
    }
    compare("pieces of long values", pieces, head.pieces())
}

pub(super) fn compare(what: &str, found: Sum, wanted: Sum) -> Result<(), StoreError> {
    if found == wanted {
        return Ok(());
    }
    Err(StoreError::Damaged(if found.count == wanted.count {
        format!(
            "{what}: all {} records are whole, but one or more are not the newest",
            found.count
        )
    } else {
        format!(
            "{what}: {} records where there should be {}",
            found.count, wanted.count
        )
    }))
}

fn walk(
    engine: &Engine,
    from: &[u8],
    to: Option<&[u8]>,
    each: &mut Each<'_>,
) -> Result<(), StoreError> {
    let mut iter = match to {
        Some(to) => engine.tree.range(from..to),
        None => engine.tree.range(from..),
    };
    while let Some((key, stored)) = guarded_item(|| iter.next())? {
        each(&key, &stored)?;
    }
    Ok(())
}
