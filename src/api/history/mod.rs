//! What memory does not hold: call records and ledger entries, read from the store (lease-api 4.10).
//! Keys end in time and id, so that a page is one range read backwards and its cursor a key.

pub mod entries;
pub mod export;
pub mod records;
pub mod show;

use super::cursor;
use super::parameters::Period;
use super::status::PARAMETER;
use crate::books::command::Code;
use crate::domain::{CustomerId, CustomerScope, ReferenceId};

/// Letter of cdr/query's cursors.
pub const RECORD_CURSOR: char = 'r';
const OPEN_CURSOR: char = 'o';
const ENTRY_CURSOR: char = 'e';

/// Time of arrival (8 bytes, big-endian) and call id (16 bytes): what every record's key ends in.
pub type RecordKey = [u8; 24];

/// What cdr/query and cdr/export are to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordQuery {
    /// Of this account alone.
    pub customer: Option<CustomerId>,
    /// Of this lease alone.
    pub reference: Option<ReferenceId>,
    /// That arrived in it.
    pub period: Period,
    /// Rows of a page.
    pub limit: u32,
    /// Older than this one.
    pub before: Option<RecordKey>,
    /// On whose behalf.
    pub scope: CustomerScope,
}

/// Form of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// RFC 4180, with a header line.
    Csv,
    /// One JSON object a line.
    JsonLines,
}

/// What customer/ledger is to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryQuery {
    /// Whose.
    pub customer: CustomerId,
    /// Entries of this time.
    pub period: Period,
    /// Rows of a page.
    pub limit: u32,
    /// The last row of the page before.
    pub after: Option<EntryCursor>,
}

/// Place in a ledger as customer/ledger lists it: calls that are up first, then entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryCursor {
    /// A call that was up: time of answer and call id.
    Open([u8; 24]),
    /// An entry: its position.
    Posted(u64),
}

impl EntryCursor {
    /// Reads a cursor.
    ///
    /// # Errors
    /// Status 2: not one of ours.
    pub fn read(text: &str) -> Result<Self, Code> {
        if text.starts_with(OPEN_CURSOR) {
            return cursor::read::<24>(OPEN_CURSOR, text).map(Self::Open);
        }
        if text.starts_with(ENTRY_CURSOR) {
            let key = cursor::read::<8>(ENTRY_CURSOR, text)?;
            return Ok(Self::Posted(u64::from_be_bytes(key)));
        }
        Err(PARAMETER)
    }

    /// Writes it.
    #[must_use]
    pub fn write(self) -> String {
        match self {
            Self::Open(key) => cursor::write(OPEN_CURSOR, &key),
            Self::Posted(position) => cursor::write(ENTRY_CURSOR, &position.to_be_bytes()),
        }
    }
}
