//! What is known of certificates by their URL, for as long as it may be kept.

use crate::domain::Verdict;
use crate::sip::passport::Credential;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Most URLs that are remembered. When they are that many, the one that ends first goes.
const MOST_ENTRIES: usize = 1024;
/// A failure is remembered for so long: a dead server is not asked for every call.
pub(super) const KEEP_FAILURE: Duration = Duration::from_secs(30);

/// What is known of a certificate.
#[derive(Debug)]
pub(super) enum Known {
    /// It may be believed.
    Good(Box<Credential>),
    /// It could not be had, or not be believed.
    Failed(Verdict),
}

#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: HashMap<Box<str>, (Known, Instant)>,
}

impl Cache {
    /// What is known of `url` at `now`.
    pub(super) fn get(&self, url: &str, now: Instant) -> Option<&Known> {
        let (known, until) = self.entries.get(url)?;
        (*until > now).then_some(known)
    }

    /// Remembers something. False where something else had to go for it.
    pub(super) fn put(&mut self, url: &str, known: Known, keep: Duration, now: Instant) -> bool {
        let mut roomy = true;
        if self.entries.len() >= MOST_ENTRIES && !self.entries.contains_key(url) {
            self.entries.retain(|_, (_, until)| *until > now);
            while self.entries.len() >= MOST_ENTRIES {
                roomy = false;
                let first = self.entries.iter().min_by_key(|(_, (_, until))| *until);
                let Some(first) = first.map(|(url, _)| url.clone()) else {
                    break;
                };
                self.entries.remove(&first);
            }
        }
        self.entries.insert(url.into(), (known, now + keep));
        roomy
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}
