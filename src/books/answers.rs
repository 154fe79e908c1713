//! Kept answers: the same request with the same idempotency key gets the same bytes (lease-api
//! 4.9), across crashes.

use super::Books;
use super::command::{Code, Idempotency, Outcome, Reply};
use super::records::{
    KeptAnswer, answer_expiry_key, answer_key, decode, encode, read_answer_expiry_key,
};
use crate::domain::{Now, UnixMillis};
use crate::store::{Key, Table};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Answers remembered after their commit, for requests whose read of the store came before it.
const RECENT_LIMIT: usize = 4096;

/// Codes that are no final answers.
const NOT_KEPT: [u16; 3] = [38, 99, 100];

/// What memory holds of the kept answers; the answers themselves are in the store.
#[derive(Debug, Default)]
pub(super) struct Answers {
    expiry: BTreeSet<(UnixMillis, [u8; 16])>,
    recent: BTreeMap<[u8; 16], KeptAnswer>,
    recent_order: VecDeque<[u8; 16]>,
}

/// What is known of an idempotency key.
pub(super) enum Known {
    /// Nothing that still counts.
    No,
    /// It was answered, in this batch.
    Uncommitted(Reply),
    /// It was answered.
    Durable(Reply),
}

impl Answers {
    pub fn len(&self) -> usize {
        self.expiry.len()
    }

    pub fn load(&mut self, expires: UnixMillis, hash: [u8; 16]) {
        self.expiry.insert((expires, hash));
    }

    /// After a commit that holds `answers` and removes `forgotten`.
    pub fn committed(
        &mut self,
        answers: BTreeMap<[u8; 16], KeptAnswer>,
        forgotten: &[(UnixMillis, [u8; 16])],
    ) {
        for row in forgotten {
            self.expiry.remove(row);
            self.recent.remove(&row.1);
        }
        for (hash, answer) in answers {
            self.expiry.insert((answer.expires, hash));
            if self.recent.insert(hash, answer).is_none() {
                self.recent_order.push_back(hash);
            }
            if self.recent_order.len() > RECENT_LIMIT
                && let Some(oldest) = self.recent_order.pop_front()
            {
                self.recent.remove(&oldest);
            }
        }
    }
}

impl Books {
    /// Keys of up to `limit` kept answers whose time is over. The shell reads what the store has
    /// under each and hands it to [`Self::forget_answer`].
    #[must_use]
    pub fn stale_answers(&self, now: Now, limit: usize) -> Vec<Key> {
        let stale = self.answers.expiry.iter();
        stale
            .take_while(|(expires, _)| *expires <= now.wall)
            .filter(|row| !self.batch.forgotten.contains(row))
            .take(limit)
            .map(|(_, hash)| answer_key(hash))
            .collect()
    }

    /// Removes a kept answer whose time is over, with its row in the expiry index. `stored` is
    /// what the store has under `key`.
    pub fn forget_answer(&mut self, key: &Key, stored: Option<Bytes>, now: Now) {
        let Ok(hash) = <[u8; 16]>::try_from(&*key.bytes) else {
            return;
        };
        if key.table != Table::Answer || self.batch.touches(key) {
            return;
        }
        let rows: Vec<_> = self
            .answers
            .expiry
            .iter()
            .take_while(|(expires, _)| *expires <= now.wall)
            .filter(|(_, other)| *other == hash)
            .copied()
            .collect();
        let kept = stored
            .as_deref()
            .and_then(|bytes| decode::<KeptAnswer>(bytes).ok());
        if stored.is_some() && kept.is_none_or(|kept| kept.expires <= now.wall) {
            self.batch.put(key.clone(), stored, None);
        }
        for row in rows {
            self.forget_row(row);
        }
    }

    /// Whether a request was answered already.
    pub(super) fn kept_answer(
        &self,
        idempotency: &Idempotency,
        kept: Option<&Bytes>,
        now: Now,
    ) -> Known {
        if let Some(answer) = self.batch.answers.get(&idempotency.key) {
            return Known::Uncommitted(same(answer, idempotency));
        }
        if let Some(answer) = self.answers.recent.get(&idempotency.key)
            && answer.expires > now.wall
        {
            return Known::Durable(same(answer, idempotency));
        }
        let Some(bytes) = kept else {
            return Known::No;
        };
        match decode::<KeptAnswer>(bytes) {
            Ok(answer) if answer.expires > now.wall => Known::Durable(same(&answer, idempotency)),
            Ok(_) => Known::No,
            // What it said is lost: doing it again might do it twice.
            Err(_) => Known::Durable(Reply::Outcome(Err(super::INTERNAL))),
        }
    }

    /// Keeps an answer with the batch; false where its code is not final.
    pub(super) fn keep_answer(
        &mut self,
        idempotency: &Idempotency,
        outcome: &Outcome,
        body: Bytes,
        kept: Option<&Bytes>,
        now: Now,
    ) -> bool {
        let code = outcome.as_ref().err().map_or(0, |code| code.0);
        if NOT_KEPT.contains(&code) {
            return false;
        }
        let answer = KeptAnswer {
            parameters: idempotency.parameters,
            code,
            body,
            expires: now.wall.plus(self.settings.keep_answers),
        };
        let hash = idempotency.key;
        // An answer whose time is over may still be stored; what replaces it must say so.
        let stale = self.answers.recent.get(&hash).map(encode).or(kept.cloned());
        if let Some(old) = stale
            .as_deref()
            .and_then(|bytes| decode::<KeptAnswer>(bytes).ok())
        {
            self.forget_row((old.expires, hash));
        }
        self.batch
            .put(answer_key(&hash), stale, Some(encode(&answer)));
        self.batch.put(
            answer_expiry_key(answer.expires, &hash),
            None,
            Some(Bytes::new()),
        );
        self.batch.answers.insert(hash, answer);
        true
    }

    /// A row of the start scan.
    pub(super) fn load_answer_expiry(&mut self, key: &[u8]) -> Result<(), String> {
        let (expires, hash) = read_answer_expiry_key(key).ok_or("its key is none")?;
        self.answers.load(expires, hash);
        Ok(())
    }

    fn forget_row(&mut self, (expires, hash): (UnixMillis, [u8; 16])) {
        if !self.answers.expiry.contains(&(expires, hash)) {
            return;
        }
        let key = answer_expiry_key(expires, &hash);
        self.batch.put(key, Some(Bytes::new()), None);
        self.batch.forgotten.push((expires, hash));
    }
}

fn same(answer: &KeptAnswer, idempotency: &Idempotency) -> Reply {
    if answer.parameters == idempotency.parameters {
        Reply::Kept(Code(answer.code), answer.body.clone())
    } else {
        Reply::Outcome(Err(Code(2)))
    }
}
