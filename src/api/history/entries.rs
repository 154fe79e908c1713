//! Pages of a customer's ledger: the calls that are up, then the entries, newest first.

use super::records::damaged;
use super::{EntryCursor, EntryQuery};
use crate::api::calendar::stamp;
use crate::api::json::Json;
use crate::api::operation::ENTRY_ROW;
use crate::api::parameters::Period;
use crate::books::command::OpenCallRow;
use crate::books::records::{self as stored, Entry, EntryKind};
use crate::domain::{CallId, Credit, CustomerId, UnixMillis};
use crate::store::{Direction, Reader, StoreError, Table};
use chrono_tz::Tz;

/// Entries read from the store at a time. Clocks are stepped and batches mix calls, so that times
/// may stand out of order by a few entries: by no more than this.
const CHUNK: u64 = 256;

/// One row of customer/ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerRow {
    place: EntryCursor,
    time: UnixMillis,
    kind: &'static str,
    credit: Credit,
    balance: Credit,
    call: Option<CallId>,
    blocks: Option<u64>,
}

/// A page.
#[derive(Debug)]
pub struct EntryPage {
    /// Rows, newest first.
    pub rows: Vec<LedgerRow>,
    /// Where the next page goes on, if there is one.
    pub next: Option<EntryCursor>,
}

/// A page of `query.customer`'s ledger; `open` are its calls that are up, `balance` what its newest
/// entry leaves. Blocks on the store.
///
/// # Errors
/// What the store says; [`StoreError::Damaged`] where an entry does not decode.
pub fn page(
    reader: &dyn Reader,
    query: &EntryQuery,
    open: Vec<OpenCallRow>,
    balance: Credit,
) -> Result<EntryPage, StoreError> {
    let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
    let wanted = limit.saturating_add(1);
    let position = match query.after {
        Some(EntryCursor::Posted(position)) => position,
        _ => u64::MAX,
    };
    let posted = posted(reader, query, position, wanted)?;
    let mut rows = match query.after {
        Some(EntryCursor::Posted(_)) => Vec::new(),
        after => open_rows(still_open(open, &posted), balance, query.period, after),
    };
    rows.extend(posted);
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|row| row.place);
    Ok(EntryPage { rows, next })
}

/// A call that ended between the books' answer and the store's has its entry already.
fn still_open(mut open: Vec<OpenCallRow>, posted: &[LedgerRow]) -> Vec<OpenCallRow> {
    open.retain(|call| !posted.iter().any(|row| row.call == Some(call.call_id)));
    open
}

/// Each open call as an entry of kind `open`: what it has posted so far, and the balance after it.
fn open_rows(
    mut open: Vec<OpenCallRow>,
    balance: Credit,
    period: Period,
    after: Option<EntryCursor>,
) -> Vec<LedgerRow> {
    open.sort_unstable_by_key(|call| (call.answered_at, call.call_id));
    let mut balance = balance;
    let mut rows = Vec::with_capacity(open.len());
    for call in open {
        let credit = Credit(call.credit.0.saturating_neg());
        balance = Credit(balance.0.saturating_add(credit.0));
        rows.push(LedgerRow {
            place: EntryCursor::Open(open_key(&call)),
            time: call.answered_at,
            kind: "open",
            credit,
            balance,
            call: Some(call.call_id),
            blocks: Some(call.blocks),
        });
    }
    rows.reverse();
    rows.retain(|row| {
        let unseen = match (row.place, after) {
            (EntryCursor::Open(key), Some(EntryCursor::Open(last))) => key < last,
            _ => true,
        };
        unseen && within(row.time, period)
    });
    rows
}

fn open_key(call: &OpenCallRow) -> [u8; 24] {
    let mut key = [0u8; 24];
    let (time, id) = key.split_at_mut(8);
    time.copy_from_slice(&call.answered_at.0.to_be_bytes());
    id.copy_from_slice(call.call_id.0.as_bytes());
    key
}

/// Up to `limit` entries of the period before `position`, newest first.
fn posted(
    reader: &dyn Reader,
    query: &EntryQuery,
    position: u64,
    limit: usize,
) -> Result<Vec<LedgerRow>, StoreError> {
    let mut end = position;
    if query.period.to.0 != u64::MAX {
        let last = last_until(reader, query.customer, query.period.to)?;
        end = end.min(last.saturating_add(CHUNK));
    }
    let mut rows = Vec::new();
    while rows.len() < limit {
        let chunk = before(reader, query.customer, end)?;
        let Some((oldest, _)) = chunk.last() else {
            break;
        };
        end = *oldest;
        let past = chunk
            .iter()
            .all(|(_, entry)| entry.time < query.period.from);
        let fits = chunk
            .into_iter()
            .filter(|(_, entry)| within(entry.time, query.period));
        rows.extend(fits.map(|(position, entry)| row(position, &entry)));
        if past {
            break;
        }
    }
    rows.truncate(limit);
    Ok(rows)
}

/// The entries before `end`, newest first, a chunk of them.
fn before(
    reader: &dyn Reader,
    customer: CustomerId,
    end: u64,
) -> Result<Vec<(u64, Entry)>, StoreError> {
    let found = reader.range(
        Table::Entry,
        &key(customer, 0),
        &key(customer, end),
        Direction::Backward,
        usize::try_from(CHUNK).unwrap_or(usize::MAX),
    )?;
    found
        .iter()
        .map(|(key, value)| decode(key, value))
        .collect()
}

/// Position of the last entry not after `time`, by halving; 0 where there is none.
fn last_until(
    reader: &dyn Reader,
    customer: CustomerId,
    time: UnixMillis,
) -> Result<u64, StoreError> {
    let Some((mut high, _)) = before(reader, customer, u64::MAX)?.into_iter().next() else {
        return Ok(0);
    };
    let mut low = 0;
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        let found = reader.range(
            Table::Entry,
            &key(customer, middle),
            &key(customer, u64::MAX),
            Direction::Forward,
            1,
        )?;
        let first = found
            .first()
            .map(|(key, value)| decode(key, value))
            .transpose()?;
        if first.is_some_and(|(_, entry)| entry.time <= time) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    Ok(low)
}

fn key(customer: CustomerId, position: u64) -> Vec<u8> {
    [&customer.0.to_be_bytes()[..], &position.to_be_bytes()[..]].concat()
}

fn decode(key: &[u8], value: &[u8]) -> Result<(u64, Entry), StoreError> {
    let position = key.get(4..).and_then(|end| <[u8; 8]>::try_from(end).ok());
    let position = position.ok_or_else(|| damaged(Table::Entry, key, "its length"))?;
    let entry = stored::decode(value).map_err(|error| damaged(Table::Entry, key, &error))?;
    Ok((u64::from_be_bytes(position), entry))
}

fn row(position: u64, entry: &Entry) -> LedgerRow {
    LedgerRow {
        place: EntryCursor::Posted(position),
        time: entry.time,
        kind: match entry.kind {
            EntryKind::Opening => "opening",
            EntryKind::Topup => "topup",
            EntryKind::Charge => "charge",
        },
        credit: entry.credit,
        balance: entry.balance,
        call: entry.call_id,
        blocks: entry.call_id.map(|_| entry.blocks),
    }
}

fn within(time: UnixMillis, period: Period) -> bool {
    (period.from..=period.to).contains(&time)
}

/// Writes a row as a JSON object, in the order of [`ENTRY_ROW`].
pub fn write_json(row: &LedgerRow, zone: Tz, json: &mut Json) {
    let values = [
        match row.place {
            EntryCursor::Posted(position) => position.to_string(),
            EntryCursor::Open(_) => String::new(),
        },
        stamp(row.time, zone),
        row.kind.to_owned(),
        row.credit.to_string(),
        row.balance.to_string(),
        row.call.map(|call| call.to_string()).unwrap_or_default(),
        row.blocks
            .map(|blocks| blocks.to_string())
            .unwrap_or_default(),
    ];
    json.begin_object();
    for (name, value) in ENTRY_ROW.iter().zip(&values) {
        json.member(name, value);
    }
    json.end_object();
}
