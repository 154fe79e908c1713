//! What a message is matched by.

use crate::sip::message::{Header, Message, Method, Via};
use smallvec::SmallVec;

/// A matching key, built on the stack; the table keeps a copy in each transaction.
pub(super) type Key = SmallVec<[u8; 128]>;

/// Branches of RFC 3261 begin so.
const MAGIC_COOKIE: &str = "z9hG4bK";

/// Client transactions: branch, sent-by and method (RFC 3261 §17.1.3).
pub(super) fn client(method: Method, branch: &str, via: &Via<'_>) -> Key {
    let mut key = Key::new();
    put(&mut key, "C");
    put(&mut key, method.as_str());
    put(&mut key, branch);
    put_sent_by(&mut key, via);
    key
}

/// Server transactions: branch, sent-by and method (RFC 3261 §17.2.3). `method` is INVITE for an
/// ACK, and for the INVITE that a CANCEL is for (§9.2).
///
/// Without the cookie, the fields that RFC 2543 compares: Request-URI, From tag, Call-ID, CSeq
/// number and topmost Via. The To tag is left out: an ACK has the one that our response gave.
pub(super) fn server(method: Method, message: &Message) -> Key {
    let via = message.top_via();
    let mut key = Key::new();
    let cookie = |branch: &&str| {
        branch
            .get(..MAGIC_COOKIE.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(MAGIC_COOKIE))
            && branch.len() > MAGIC_COOKIE.len()
    };
    match via.branch.filter(cookie) {
        Some(branch) => {
            put(&mut key, "S");
            put(&mut key, method.as_str());
            put(&mut key, branch);
            put_sent_by(&mut key, &via);
        }
        None => {
            put(&mut key, "O");
            put(&mut key, method.as_str());
            put(&mut key, message.uri());
            put(&mut key, message.from_tag());
            put(&mut key, message.call_id());
            key.extend_from_slice(&message.cseq().to_be_bytes());
            put(&mut key, message.get(Header::Via).unwrap_or_default());
        }
    }
    key
}

/// What merged requests have in common (RFC 3261 §8.2.2.2); `None` for one inside a dialog, which
/// cannot be merged.
pub(super) fn merge(message: &Message) -> Option<Key> {
    if !message.to_tag().is_empty() || message.method() == Method::Cancel {
        return None;
    }
    let mut key = Key::new();
    put(&mut key, message.method().as_str());
    put(&mut key, message.from_tag());
    put(&mut key, message.call_id());
    key.extend_from_slice(&message.cseq().to_be_bytes());
    Some(key)
}

/// Hosts are compared in any case.
fn put_sent_by(key: &mut Key, via: &Via<'_>) {
    key.extend(via.host.bytes().map(|byte| byte.to_ascii_lowercase()));
    key.push(0);
    key.extend_from_slice(&via.port.unwrap_or_default().to_be_bytes());
}

/// No field of a parsed message holds a NUL, so it separates.
fn put(key: &mut Key, text: &str) {
    key.extend_from_slice(text.as_bytes());
    key.push(0);
}
