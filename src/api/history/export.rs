//! cdr/export: every record that a query asks for, page by page, as a stream. A page is read only
//! when the client has taken the one before, and a failure breaks the stream off, so that a part is
//! never taken for the whole.

use super::records::{self, RecordPage};
use super::{Format, RecordQuery, show};
use crate::api::json::Json;
use crate::api::operation::RECORD_ROW;
use crate::store::{Reader, StoreError};
use bytes::Bytes;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// Records read at a time.
const PAGE: usize = 500;
/// Pages that may wait for the client.
const QUEUE: usize = 2;
/// A client that takes nothing for so long has gone.
const STALL: Duration = Duration::from_secs(60);

/// The body of an export.
#[derive(Debug)]
pub struct ExportStream {
    pages: mpsc::Receiver<Result<Page, StoreError>>,
    /// The last page, or a failure, has come.
    over: bool,
}

/// A part of the body.
#[derive(Debug)]
struct Page {
    text: Bytes,
    last: bool,
}

impl warp::Stream for ExportStream {
    type Item = Result<Bytes, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        let page = ready!(self.pages.poll_recv(context));
        // Without its last page it was given up, and must not look whole.
        let given_up = || Err(StoreError::Failed("the client took nothing".to_owned()));
        let page = page.unwrap_or_else(given_up);
        self.over = page.as_ref().map_or(true, |page| page.last);
        Poll::Ready(Some(page.map(|page| page.text)))
    }
}

/// Starts an export; `permit` is given back when it ends.
#[must_use]
pub fn start(
    reader: Arc<dyn Reader>,
    query: RecordQuery,
    format: Format,
    permit: OwnedSemaphorePermit,
) -> ExportStream {
    start_with(reader, query, format, permit, STALL)
}

/// [`start`], with so much patience for a client that takes nothing.
pub(in crate::api) fn start_with(
    reader: Arc<dyn Reader>,
    query: RecordQuery,
    format: Format,
    permit: OwnedSemaphorePermit,
    stall: Duration,
) -> ExportStream {
    let (sender, pages) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        feed(reader, query, format, sender, stall).await;
        drop(permit);
    });
    ExportStream { pages, over: false }
}

async fn feed(
    reader: Arc<dyn Reader>,
    query: RecordQuery,
    format: Format,
    sender: mpsc::Sender<Result<Page, StoreError>>,
    stall: Duration,
) {
    let mut before = query.before;
    let mut first = true;
    loop {
        let (source, asked) = (Arc::clone(&reader), query.clone());
        let read = move || records::page(source.as_ref(), &asked, before, PAGE);
        let page = match tokio::task::spawn_blocking(read).await {
            Ok(page) => page,
            Err(_) => Err(StoreError::Failed("the read was broken off".to_owned())),
        };
        let (page, next) = match page {
            Ok(page) => {
                let (text, last) = (write(&page, format, first), page.next.is_none());
                (Ok(Page { text, last }), page.next)
            }
            Err(error) => {
                tracing::error!(%error, "an export broke off");
                (Err(error), None)
            }
        };
        let gone = !matches!(
            tokio::time::timeout(stall, sender.send(page)).await,
            Ok(Ok(()))
        );
        if gone || next.is_none() {
            return;
        }
        before = next;
        first = false;
    }
}

fn write(page: &RecordPage, format: Format, first: bool) -> Bytes {
    match format {
        Format::Csv => {
            let mut out = Vec::new();
            if first {
                show::write_csv(RECORD_ROW.iter().copied(), &mut out);
            }
            for record in &page.records {
                let fields = show::fields(record).map(show::inert);
                show::write_csv(fields.iter().map(String::as_str), &mut out);
            }
            Bytes::from(out)
        }
        Format::JsonLines => {
            let mut json = Json::new();
            for record in &page.records {
                show::write_json(record, &mut json);
                json.line_feed();
            }
            json.into_bytes()
        }
    }
}
