//! Where there is too much history to read at every start, it is read beside the running gateway:
//! slowly, once, up to the commit that was the newest at start.

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

use super::Shared;
use super::check::compare;
use super::engine::{damaged, guarded_item, open_value};
use crate::store::record::{Head, Sealed, Sum};
use crate::store::{StoreError, Table};
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Rows read at a time, and the rest after them: a quarter of a million rows a second at most.
const ROWS: usize = 512;
const REST: Duration = Duration::from_millis(2);
/// The engine is closed after a failure: looked at again after this.
const CLOSED_REST: Duration = Duration::from_millis(500);

/// A check under way, or done.
pub(super) struct HistoryCheck {
    stop: Arc<AtomicBool>,
    fault: Arc<Mutex<Option<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl HistoryCheck {
    /// Begins to read what `head` speaks of.
    pub fn start(shared: Arc<Shared>, head: Head) -> Result<Self, StoreError> {
        let stop = Arc::new(AtomicBool::new(false));
        let fault = Arc::new(Mutex::new(None));
        let (stopped, found) = (Arc::clone(&stop), Arc::clone(&fault));
        let thread = std::thread::Builder::new()
            .name("history".into())
            .spawn(move || {
                if let Err(error) = check(&shared, &head, &stopped) {
                    *found.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
                }
            })
            .map_err(|error| StoreError::Failed(format!("no thread to read history: {error}")))?;
        Ok(Self {
            stop,
            fault,
            thread: Some(thread),
        })
    }

    /// What was found, if anything is wrong.
    pub fn fault(&self) -> Option<String> {
        self.fault
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits until all has been read.
    #[cfg(test)]
    pub fn finish(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for HistoryCheck {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn check(shared: &Shared, head: &Head, stop: &AtomicBool) -> Result<(), StoreError> {
    for table in Table::ALL.into_iter().filter(|table| !table.is_scanned()) {
        let mut found = Sum::default();
        let mut after = vec![table.number()];
        loop {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            match read_some(shared, table, &after, head.commit, &mut found) {
                Ok(Some(last)) => after = last,
                Ok(None) => break,
                Err(StoreError::Failed(_)) => std::thread::sleep(CLOSED_REST),
                Err(error) => return Err(error),
            }
            std::thread::sleep(REST);
        }
        if !shared.history_shrank() {
            compare(&format!("table {table:?}"), found, head.table(table))?;
        }
    }
    Ok(())
}

/// Reads on after a key; returns the last key read, `None` at the table's end.
fn read_some(
    shared: &Shared,
    table: Table,
    after: &[u8],
    newest: u64,
    found: &mut Sum,
) -> Result<Option<Vec<u8>>, StoreError> {
    let end = [table.number().saturating_add(1)];
    let bounds = (Bound::Excluded(after), Bound::Excluded(&end[..]));
    // Counted only once all of them are read: a failure in between has them read again.
    let mut sum = *found;
    let mut last = None;
    shared.with(|engine| {
        let mut iter = engine.tree.range::<&[u8], _>(bounds);
        for _ in 0..ROWS {
            let Some((key, stored)) = guarded_item(|| iter.next())? else {
                break;
            };
            let sealed =
                Sealed::split(&stored).ok_or_else(|| damaged(&key, "not a sealed value"))?;
            if sealed.commit <= newest
                && let Some(value) = open_value(engine, &key, &stored)?
            {
                sum.add(&key, &value);
            }
            last = Some(key.to_vec());
        }
        Ok::<(), StoreError>(())
    })?;
    *found = sum;
    Ok(last)
}
