//! `Idempotency-Key` (lease-api 4.9): what the books keep an answer under.

use super::answer::Rendering;
use super::form::Form;
use super::status::HEADER;
use crate::books::command::{Code, Idempotency};
use ring::digest;
use std::sync::Arc;
use warp::http::HeaderMap;

/// Longest key, in characters.
const MAX_KEY: usize = 255;

/// The key of a request, if it has one.
///
/// # Errors
/// Status 1: empty, too long, given twice, or with characters that cannot be seen.
pub fn key(headers: &HeaderMap) -> Result<Option<&[u8]>, Code> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let key = value.as_bytes();
    let fits = (1..=MAX_KEY).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic);
    if fits && values.next().is_none() {
        Ok(Some(key))
    } else {
        Err(HEADER)
    }
}

/// What the books need to keep the answer of `client`'s request, or to give the kept one again.
/// `ts` and `sign` differ when a signed request is sent again and are left out of the comparison; so
/// is what is empty, which counts as absent (lease-api 1). The form is sorted: order does not matter.
#[must_use]
pub fn keep(client: &str, key: &[u8], form: &Form<'_>, rendering: Rendering) -> Idempotency {
    let mut name = Hash::new();
    name.part(client.as_bytes());
    name.part(rendering.operation.group.as_bytes());
    name.part(rendering.operation.name.as_bytes());
    name.part(key);
    let mut parameters = Hash::new();
    for (name, value) in form
        .iter()
        .filter(|(name, value)| !value.is_empty() && !matches!(*name, "ts" | "sign"))
    {
        parameters.part(name.as_bytes());
        parameters.part(value.as_bytes());
    }
    Idempotency {
        key: name.finish(),
        parameters: parameters.finish(),
        render: Arc::new(rendering),
    }
}

/// SHA-256 over parts, each behind its length so that none can run into the next.
struct Hash(digest::Context);

impl Hash {
    fn new() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }

    fn part(&mut self, bytes: &[u8]) {
        self.0
            .update(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
        self.0.update(bytes);
    }

    fn finish(self) -> [u8; 16] {
        let digest = self.0.finish();
        let mut short = [0u8; 16];
        for (to, from) in short.iter_mut().zip(digest.as_ref()) {
            *to = *from;
        }
        short
    }
}
