//! Logs: one line an event, to standard error, through a bounded queue and a thread of their own,
//! so that a slow reader of the log never holds up a call; lines that do not fit are dropped and
//! counted.

use super::catalogue;
use super::source::{Sink, Source};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;
use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

/// Lines that may wait.
const QUEUE: usize = 8_192;
/// How long the end of the process waits for the last lines.
const LAST_LINES: Duration = Duration::from_secs(2);

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Why the log could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter does not parse.
    #[error("log filter: {0}")]
    Filter(String),
    /// Somebody has set up logs in this process before.
    #[error("logs are set up already")]
    Twice,
    /// The thread could not be started.
    #[error("log thread: {0}")]
    Thread(#[from] io::Error),
}

/// The log of the process.
pub struct Log {
    filter: reload::Handle<EnvFilter, Registry>,
    queue: Queue,
}

impl Log {
    /// Starts the log of this process with `filter` (syntax of `tracing`).
    ///
    /// # Errors
    /// See [`LogError`].
    pub fn start(filter: &str, format: Format) -> Result<Self, LogError> {
        let (queue, lines) = Queue::new(QUEUE);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || drain(&lines, &mut io::stderr()))?;
        let (subscriber, log) = subscriber(filter, format, queue)?;
        tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::Twice)?;
        Ok(log)
    }

    /// Changes what is logged.
    ///
    /// # Errors
    /// [`LogError::Filter`]; the old filter stays.
    pub fn set_filter(&self, filter: &str) -> Result<(), LogError> {
        let filter = parse(filter)?;
        self.filter
            .reload(filter)
            .map_err(|error| LogError::Filter(error.to_string()))
    }

    /// Waits, a little, until what was logged so far is written.
    pub fn flush(&self) {
        let (done, wait) = bounded(1);
        if self
            .queue
            .sender
            .send_timeout(Line::Flush(done), LAST_LINES)
            .is_ok()
        {
            let _ = wait.recv_timeout(LAST_LINES);
        }
    }

    /// Counts the lines that were dropped.
    #[must_use]
    pub fn source(&self) -> Arc<dyn Source> {
        let dropped = Arc::clone(&self.queue.dropped);
        Arc::new(move |sink: &mut Sink| {
            let count = dropped.load(Ordering::Relaxed);
            sink.add(&catalogue::LOG_DROPPED, &[], count);
        })
    }
}

fn parse(filter: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::try_new(filter).map_err(|error| LogError::Filter(error.to_string()))
}

fn subscriber(
    filter: &str,
    format: Format,
    queue: Queue,
) -> Result<(impl Subscriber + Send + Sync, Log), LogError> {
    let (filter, handle) = reload::Layer::new(parse(filter)?);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(queue.clone())
        .with_ansi(false);
    let lines = match format {
        Format::Text => lines.boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    let subscriber = Registry::default().with(filter).with(lines);
    Ok((
        subscriber,
        Log {
            filter: handle,
            queue,
        },
    ))
}

enum Line {
    Text(Vec<u8>),
    Flush(Sender<()>),
}

/// Where lines wait for the thread.
#[derive(Clone)]
struct Queue {
    sender: Sender<Line>,
    dropped: Arc<AtomicU64>,
}

impl Queue {
    fn new(bound: usize) -> (Self, Receiver<Line>) {
        let (sender, receiver) = bounded(bound);
        let queue = Self {
            sender,
            dropped: Arc::default(),
        };
        (queue, receiver)
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = &'a Queue;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

/// Each write is one whole line: that is how `tracing_subscriber` writes.
impl Write for &Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.sender.try_send(Line::Text(line.to_vec())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn drain(lines: &Receiver<Line>, output: &mut dyn Write) {
    for line in lines {
        match line {
            // A log that cannot be written has nowhere to say so.
            Line::Text(text) => drop(output.write_all(&text)),
            Line::Flush(done) => {
                let _ = output.flush();
                let _ = done.try_send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::E164;
    use tracing::{debug, info};

    fn logged(format: Format, filter: &str, work: impl FnOnce(&Log)) -> String {
        let (queue, lines) = Queue::new(16);
        let (subscriber, log) = subscriber(filter, format, queue).unwrap();
        tracing::subscriber::with_default(subscriber, || work(&log));
        drop(log);
        let mut output = Vec::new();
        drain(&lines, &mut output);
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn a_line_an_event_with_its_fields() {
        let text = logged(Format::Text, "info", |_| {
            info!(call_id = "c1", "ringing");
            debug!("not this");
        });
        assert_eq!(text.lines().count(), 1);
        assert!(
            text.contains("ringing") && text.contains("call_id=\"c1\""),
            "{text}"
        );
    }

    #[test]
    fn json_lines_parse() {
        let text = logged(Format::Json, "info", |_| info!(call_id = "c1", "ringing"));
        let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!(line["message"], "ringing");
        assert_eq!(line["call_id"], "c1");
    }

    #[test]
    fn the_level_changes_while_running() {
        let text = logged(Format::Text, "info", |log| {
            debug!("before");
            log.set_filter("debug").unwrap();
            debug!("after");
            assert!(log.set_filter("info,=,").is_err() || log.set_filter("a=b=c").is_err());
            debug!("still");
        });
        assert!(!text.contains("before") && text.contains("after"), "{text}");
        assert!(text.contains("still"), "{text}");
    }

    #[test]
    fn a_number_shows_three_digits_only() {
        let number = E164::from_digits("60123456789").unwrap();
        let text = logged(Format::Text, "info", |_| info!(?number, "called"));
        assert!(text.contains("*789") && !text.contains("0123456"), "{text}");
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (queue, lines) = Queue::new(2);
        let (subscriber, log) = subscriber("info", Format::Text, queue).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            for turn in 0..5 {
                info!(turn, "line");
            }
        });
        assert_eq!(lines.len(), 2);
        let mut sink = Sink::default();
        log.source().collect(&mut sink);
        let families = sink.families();
        assert_eq!(families[0].name(), "leasebridge_log_lines_dropped_total");
        let value = families[0].get_metric()[0].get_counter().get_value();
        assert!((value - 3.0).abs() < f64::EPSILON);
    }
}
