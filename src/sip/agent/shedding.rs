//! Refusing a new INVITE unread, under overload and while draining (sip-bridging 2). A repeated
//! INVITE, or one inside a dialog, must not be answered 503: that would end a call.
//!
//! What is shed leaves nothing behind, so the same INVITE must get the same To tag each time (RFC
//! 3261 §8.2.7): the tag is a hash of the Call-ID. By it the ACK that comes back is known, and
//! dropped as cheaply as the INVITE was.

use super::{Agent, Output, RETRY_AFTER};
use crate::sip::codec::{self, glance};
use crate::sip::dialog::Tag;
use crate::sip::message::{Header, Message, Method, Path};
use std::time::{Duration, Instant};

/// So long after the last 503 ACKs are looked at for its tag (RFC 3261 §17.1.1.2: 64*T1).
const ACKS_FOR: Duration = Duration::from_secs(32);

impl Agent {
    /// Why new INVITEs are refused now, if they are.
    pub(super) fn shedding(&self, waited: bool) -> Option<&'static str> {
        if self.draining {
            return Some("draining");
        }
        if waited {
            return Some("overloaded");
        }
        let full = self.core.transactions.is_full();
        full.then_some("table-full")
    }

    /// What [`Self::may_be_shed`] says, of an INVITE that has been read: nothing that a glance does
    /// not see gets past it.
    pub(super) fn is_new_call(&self, message: &Message) -> bool {
        message.method() == Method::Invite
            && message.to_tag().is_empty()
            && !self
                .invites
                .contains_key(&self.hash(message.call_id().as_bytes()))
    }

    /// Call-ID of a new INVITE that may be shed: it belongs to no dialog and repeats nothing.
    pub(super) fn may_be_shed<'a>(&self, datagram: &'a [u8]) -> Option<&'a [u8]> {
        let call_id = glance(datagram).new_call()?;
        (!self.invites.contains_key(&self.hash(call_id))).then_some(call_id)
    }

    /// 503 with Retry-After, unread (sip-bridging 2).
    pub(super) fn shed(
        &mut self,
        datagram: &[u8],
        (call_id, reason): (&[u8], &'static str),
        path: Path,
        now: Instant,
    ) {
        self.core.count("sip_refused", reason);
        self.last_shed = Some(now);
        let seconds = RETRY_AFTER
            .saturating_add(self.core.below(RETRY_AFTER))
            .to_string();
        let tag = self.shed_tag(call_id).to_string();
        let extra = [
            (Header::RetryAfter, seconds.as_str()),
            (Header::Reason, "Q.850;cause=42"),
        ];
        let refusal = codec::refuse(datagram, 503, codec::phrase(503), &extra, &tag, path);
        if let Some((bytes, path)) = refusal {
            self.core.emit(Output::Transmit(bytes, path));
        }
    }

    /// Whether an ACK is to a 503 of ours that left nothing behind.
    pub(super) fn is_ack_of_shed(&self, datagram: &[u8], now: Instant) -> bool {
        let recent = |at| now.saturating_duration_since(at) < ACKS_FOR;
        if !self.last_shed.is_some_and(recent) {
            return false;
        }
        let seen = glance(datagram);
        let tag = seen
            .to_tag()
            .and_then(|tag| std::str::from_utf8(tag).ok())
            .and_then(Tag::read);
        match (seen.call_id, tag) {
            (Some(call_id), Some(tag)) => tag == self.shed_tag(call_id),
            _ => false,
        }
    }

    fn shed_tag(&self, call_id: &[u8]) -> Tag {
        Tag(self.hash(call_id).rotate_left(17) ^ self.seed)
    }
}
