//! Verification of passports off the call path: certificates are fetched by HTTPS, believed if they
//! lead to a root, and kept for a while. One thread for all of it, so that no fetch, slow server or
//! signature is ever waited for where calls are handled.
//!
//! ```text
//!   ask --> known? -- yes --> check --> verdict
//!             | no
//!             v
//!          being fetched? -- yes --> wait with the others
//!             | no
//!             v
//!          fetch (https, allowed host, public address, bounded) --> chain --> cache --> check all
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

mod address;
mod cache;
mod fetch;
#[cfg(test)]
mod tests;

use crate::domain::{CallKey, Passport, Verdict};
use crate::sip::passport::{Credential, Roots, certificates};
use cache::{Cache, Known};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Questions that wait for the thread.
const MOST_QUESTIONS: usize = 1024;
/// Fetches under way.
const MOST_FETCHES: usize = 32;
/// Questions that wait for one fetch.
const MOST_WAITING: usize = 256;

/// What verification is configured with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whom certificates of signers must lead to.
    pub roots: Roots,
    /// How long a fetch may take, from the look-up of the host to the last byte.
    pub fetch_timeout: Duration,
    /// Certificates, in PEM, that the servers' own must lead to.
    pub fetch_ca: String,
    /// Hosts that certificates are fetched from; empty: any.
    pub hosts: Vec<String>,
    /// Private addresses may be fetched from too.
    pub private: bool,
}

/// What came of a passport: the call's key, the verdict, the signer's provider code.
pub type Judgement = (CallKey, Verdict, Box<str>);

/// Where the answers of one asker go.
pub type Answers = Arc<dyn Fn(Judgement) + Send + Sync>;

/// Counts something: event and detail.
pub type Count = Box<dyn Fn(&'static str, &'static str) + Send>;

enum Message {
    Ask(Question),
    Reload(Option<Box<Settings>>),
}

struct Question {
    key: CallKey,
    passport: Box<Passport>,
    answers: Answers,
}

/// The way to the thread.
#[derive(Clone, Debug)]
pub struct Handle(mpsc::Sender<Message>);

impl Handle {
    /// Asks about a passport; false where too many ask.
    #[must_use]
    pub fn ask(&self, key: CallKey, passport: Box<Passport>, answers: &Answers) -> bool {
        let question = Question {
            key,
            passport,
            answers: Arc::clone(answers),
        };
        self.0.try_send(Message::Ask(question)).is_ok()
    }

    /// Takes new settings; `None`: nothing can be verified any more. What was fetched is forgotten.
    pub fn reload(&self, settings: Option<Settings>) {
        let message = Message::Reload(settings.map(Box::new));
        // A full queue empties at once: the thread never waits.
        let _ = self.0.blocking_send(message);
    }
}

/// Starts the thread. It ends with the last handle.
///
/// # Errors
/// What cannot be started.
pub fn start(settings: Option<Settings>, count: Count) -> Result<Handle, String> {
    let (sender, messages) = mpsc::channel(MOST_QUESTIONS);
    let mut verifier = Verifier::new(count);
    verifier.configure(settings)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(8)
        .build()
        .map_err(|error| format!("the verification of callers: {error}"))?;
    std::thread::Builder::new()
        .name("identity".to_owned())
        .spawn(move || runtime.block_on(verifier.run(messages)))
        .map_err(|error| format!("the verification of callers: {error}"))?;
    Ok(Handle(sender))
}

/// Whether settings can be used.
///
/// # Errors
/// Why not.
pub fn check(settings: &Settings) -> Result<(), String> {
    fetch::client(&settings.fetch_ca).map(|_| ())
}

struct Verifier {
    /// Settings and how to reach servers, where anything is to be verified.
    source: Option<Arc<Source>>,
    cache: Cache,
    waiting: HashMap<Box<str>, Vec<Question>>,
    count: Count,
}

struct Source {
    settings: Settings,
    client: Arc<rustls::ClientConfig>,
}

type Fetched = (Box<str>, Arc<Source>, Result<fetch::Body, fetch::Failure>);

impl Verifier {
    fn new(count: Count) -> Self {
        Self {
            source: None,
            cache: Cache::default(),
            waiting: HashMap::new(),
            count,
        }
    }

    fn configure(&mut self, settings: Option<Settings>) -> Result<(), String> {
        self.cache = Cache::default();
        self.source = match settings {
            Some(settings) => Some(Arc::new(Source {
                client: fetch::client(&settings.fetch_ca)?,
                settings,
            })),
            None => None,
        };
        Ok(())
    }

    async fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        let mut fetches: JoinSet<Fetched> = JoinSet::new();
        loop {
            tokio::select! {
                message = messages.recv() => match message {
                    Some(Message::Ask(question)) => self.on_question(question, &mut fetches),
                    Some(Message::Reload(settings)) => {
                        if let Err(error) = self.configure(settings.map(|boxed| *boxed)) {
                            tracing::error!(%error, "callers cannot be verified");
                        }
                    }
                    None => return,
                },
                Some(fetched) = fetches.join_next() => {
                    if let Ok((url, source, result)) = fetched {
                        self.on_fetched(&url, &source, result);
                    }
                }
            }
        }
    }

    fn on_question(&mut self, question: Question, fetches: &mut JoinSet<Fetched>) {
        let Some(source) = &self.source else {
            return answer(question, &Known::Failed(Verdict::Unavailable));
        };
        let url = question.passport.certificate.clone();
        if let Some(known) = self.cache.get(&url, Instant::now()) {
            (self.count)("identity_fetch", "cached");
            return answer(question, known);
        }
        if let Some(waiting) = self.waiting.get_mut(&url) {
            if waiting.len() < MOST_WAITING {
                return waiting.push(question);
            }
            (self.count)("identity_bounds", "waiting");
            return answer(question, &Known::Failed(Verdict::Unavailable));
        }
        if fetches.len() >= MOST_FETCHES {
            (self.count)("identity_bounds", "fetches");
            return answer(question, &Known::Failed(Verdict::Unavailable));
        }
        self.waiting.insert(url.clone(), vec![question]);
        let source = Arc::clone(source);
        fetches.spawn(async move {
            let fetching = fetch::fetch(&url, &source.settings, Arc::clone(&source.client));
            let result = tokio::time::timeout(source.settings.fetch_timeout, fetching).await;
            let result = result.unwrap_or(Err(fetch::Failure::Late));
            (url, source, result)
        });
    }

    fn on_fetched(
        &mut self,
        url: &str,
        source: &Source,
        result: Result<fetch::Body, fetch::Failure>,
    ) {
        let (known, keep) = match result {
            Ok(body) => {
                (self.count)("identity_fetch", "fetched");
                let chain = certificates(&body.bytes);
                let roots = &source.settings.roots;
                match Credential::from_chain(&chain, roots, unix_seconds()) {
                    Ok(credential) => (Known::Good(Box::new(credential)), body.keep),
                    Err(verdict) => (Known::Failed(verdict), cache::KEEP_FAILURE),
                }
            }
            Err(failure) => {
                (self.count)("identity_fetch", failure.name());
                tracing::debug!(
                    reason = failure.name(),
                    "a caller's certificate was not fetched"
                );
                (Known::Failed(Verdict::Unavailable), cache::KEEP_FAILURE)
            }
        };
        for question in self.waiting.remove(url).unwrap_or_default() {
            answer(question, &known);
        }
        // What was asked of settings that are no longer in force is answered, but not kept.
        let current = self.source.as_deref();
        if current.is_some_and(|current| std::ptr::eq(current, source))
            && !self.cache.put(url, known, keep, Instant::now())
        {
            (self.count)("identity_bounds", "cache");
        }
    }
}

fn answer(question: Question, known: &Known) {
    let (verdict, signer) = match known {
        Known::Good(credential) => {
            let verdict = credential.check(&question.passport, unix_seconds());
            (verdict, credential.provider())
        }
        Known::Failed(verdict) => (*verdict, ""),
    };
    (question.answers)((question.key, verdict, signer.into()));
}

fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
