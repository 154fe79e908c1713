//! What the transactions report, handed to the call that it is for.

use super::compose::{self, Refusal};
use super::core::Owner;
use super::identity;
use super::legs::Legs;
use super::looping;
use super::probe;
use super::refresh;
use super::screening;
use super::settings::Reliability;
use super::sources::Source;
use super::strays;
use super::vouching;
use super::{Agent, Output, RETRY_AFTER};
use crate::call::event::Invite;
use crate::domain::{CallId, Now, Side};
use crate::sip::dialog::{Tag, reliable};
use crate::sip::message::{Header, Message, Method, Path, Transport};
use crate::sip::transaction::{self, TransactionId};
use bytes::Bytes;
use std::time::Instant;

impl Agent {
    pub(super) fn drain(&mut self, now: Now) {
        while let Some(output) = self.core.transactions.poll_output() {
            match output {
                transaction::Output::Transmit {
                    bytes,
                    path,
                    repeat,
                } => self.transmit(bytes, path, repeat),
                transaction::Output::Request {
                    id,
                    message,
                    path,
                    invite,
                } => self.on_request((id, message, path), invite, now),
                transaction::Output::Ack { message, path } => self.on_ack(&message, path, now.mono),
                transaction::Output::Response { id, message } => {
                    self.on_response(id, &message, now.mono);
                }
                transaction::Output::Timeout { id } => self.on_no_response(id, 408, now.mono),
                transaction::Output::TransportFailed { id } => {
                    self.on_no_response(id, 503, now.mono);
                }
                transaction::Output::Unacknowledged { .. } => {
                    self.core.count("sip_unacknowledged", "failure");
                }
                transaction::Output::Stray { message, path } => {
                    self.on_stray(&message, path, now.mono);
                }
            }
        }
    }

    /// Everything that legs send has passed the guard already; what the transaction layer made by
    /// itself, the ACK of a failure, passes it here.
    fn transmit(&mut self, bytes: Bytes, path: Path, repeat: bool) {
        if bytes.starts_with(b"ACK ")
            && let Some((key, side, to)) = &self.failing
            && let Some(legs) = self.calls.get(*key)
            && !legs.may_pass(&bytes, *side, to)
        {
            let text = "ACK: message withheld";
            return self.core.emit(Output::GuardHit(*key, text.into()));
        }
        if repeat {
            self.core.count("sip_repeats", "transaction");
        }
        self.core.emit(Output::Transmit(bytes, path));
    }

    fn on_request(
        &mut self,
        (id, message, path): (TransactionId, Message, Path),
        invite: Option<TransactionId>,
        now: Now,
    ) {
        if message.method() == Method::Cancel {
            return self.on_cancel((id, &message, path), invite, now.mono);
        }
        if !message.to_tag().is_empty() {
            let place =
                Tag::read(message.to_tag()).and_then(|tag| self.core.dialogs.get(&tag).copied());
            let Some((key, side)) = place else {
                return self.refuse((id, &message, path), &Refusal::of(481), now.mono);
            };
            // RFC 3262 §7.2.
            if message.method() == Method::Prack && message.get(Header::RAck).is_none() {
                let refusal = screening::malformed("Missing RAck Header");
                return self.refuse((id, &message, path), &refusal, now.mono);
            }
            return self.in_call(key, now.mono, |legs, core, now| {
                legs.on_request(side, (id, message, path), core, now);
            });
        }
        if !self.is_proven((id, &message, path), now.mono) {
            return;
        }
        match message.method() {
            Method::Invite => self.on_invite((id, message, path), now),
            Method::Options => self.on_options((id, &message, path), now.mono),
            Method::Bye | Method::Info | Method::Prack | Method::Update => {
                self.refuse((id, &message, path), &Refusal::of(481), now.mono);
            }
            other => self.refuse((id, &message, path), &screening::not_ours(other), now.mono),
        }
    }

    /// An INVITE outside any dialog: a call, if only for its record.
    fn on_invite(&mut self, (id, message, path): (TransactionId, Message, Path), now: Now) {
        let Source::Inbound(trunk) = self.core.sources.find(path.remote.ip()) else {
            return self.refuse((id, &message, path), &Refusal::of(403), now.mono);
        };
        let hash = self.hash(message.call_id().as_bytes());
        let screened = match screening::invite(&message) {
            // RFC 3261 §8.2.2.2: the same INVITE by another way.
            Ok(_) if self.core.transactions.is_merged(id) => Err(screening::merged()),
            Ok(_) if looping::is_ours(&message, &self.core) => Err(looping::looped()),
            other => other,
        };
        let settings = self.core.settings.trunk(trunk);
        let screened = screened.and_then(|screened| match settings {
            Some(trunk)
                if trunk.reliable == Reliability::Off && reliable::is_required(&message) =>
            {
                Err(screening::unreliable())
            }
            Some(trunk) if trunk.tls_only && path.transport != Transport::Tls => {
                Err(screening::overheard())
            }
            _ => Ok(screened),
        });
        let policy = self.core.settings.session_policy(Some(trunk));
        let screened = screened.and_then(|screened| {
            refresh::screen(&message, policy)?;
            Ok(screened)
        });
        let Some(key) = self.calls.next_key() else {
            return self.refuse((id, &message, path), &Refusal::of(503), now.mono);
        };
        let settings = self.core.settings.trunk(trunk);
        let trusted = settings.is_some_and(|trunk| trunk.trusted);
        let policy = settings.map(|trunk| trunk.identity).unwrap_or_default();
        let max_age = self.core.settings.passport_max_age;
        let mut invite = Invite {
            call_id: self.draw_call_id(now),
            trunk,
            leg_call_id: message.call_id().into(),
            dialled: screening::dialled(&message).into(),
            identity: identity::read(&message, trusted),
            max_forwards: 0,
            offer: None,
            refused: None,
            presented: vouching::presented(&message, policy, max_age, now),
        };
        let peer = Output::Peer(key, Side::Caller, path.remote.ip());
        let mut legs = Legs::new(key, (id, message, path), hash, &mut self.core, now.mono);
        match screened {
            Ok(screened) => {
                invite.offer = screened.offer;
                invite.max_forwards = screened.max_forwards;
                self.invites.insert(hash, key);
                self.calls.insert(key, legs);
                self.core.emit(Output::Invite(key, Box::new(invite)));
                self.core.emit(peer);
            }
            Err(refusal) => {
                invite.refused = Some(refusal.cause());
                self.core.count("sip_refused", "screening");
                self.core.emit(Output::Invite(key, Box::new(invite)));
                legs.refuse(&refusal, &mut self.core, now.mono);
                legs.unregister(&mut self.core, now.mono);
            }
        }
    }

    fn draw_call_id(&mut self, now: Now) -> CallId {
        let mut random = [0u8; 10];
        let draws = [self.core.entropy.next(), self.core.entropy.next()];
        let bytes = draws.iter().flat_map(|draw| draw.to_le_bytes());
        for (place, byte) in random.iter_mut().zip(bytes) {
            *place = byte;
        }
        let builder = uuid::Builder::from_unix_timestamp_millis(now.wall.0, &random);
        CallId(builder.into_uuid())
    }

    fn on_options(&mut self, (id, message, path): (TransactionId, &Message, Path), now: Instant) {
        let unfit = if !screening::scheme_is_ours(message.uri()) {
            Some(Refusal::of(416))
        } else if let Some(refusal) = screening::unsupported(message) {
            Some(refusal)
        } else if self.draining {
            let seconds = RETRY_AFTER.saturating_add(self.core.below(RETRY_AFTER));
            Some(Refusal {
                retry_after: u32::try_from(seconds).unwrap_or(1),
                ..Refusal::of(503)
            })
        } else {
            None
        };
        if let Some(refusal) = unfit {
            return self.refuse((id, message, path), &refusal, now);
        }
        let tag = Tag::draw(&mut *self.core.entropy);
        let mut writer = compose::response(message, path, 200, Some(tag));
        writer.header(Header::Allow, compose::ALLOW);
        writer.header(Header::Accept, compose::ACCEPT);
        writer.header(Header::Supported, compose::SUPPORTED);
        self.respond(id, 200, writer.finish(None), now);
    }

    fn on_cancel(
        &mut self,
        (id, message, path): (TransactionId, &Message, Path),
        invite: Option<TransactionId>,
        now: Instant,
    ) {
        let Some(invite) = invite else {
            return self.refuse((id, message, path), &Refusal::of(481), now);
        };
        if let Some(Owner::Invited(key)) = self.core.owners.get(&invite).copied() {
            return self.in_call(key, now, |legs, core, now| {
                legs.on_cancel((id, message, path), core, now);
            });
        }
        // The INVITE has its final response, or is a re-INVITE, which is soon answered: 200, and
        // no effect (RFC 3261 §9.2).
        let tag = Tag::draw(&mut *self.core.entropy);
        let bytes = compose::response(message, path, 200, Some(tag)).finish(None);
        self.respond(id, 200, bytes, now);
    }

    fn on_ack(&mut self, message: &Message, path: Path, now: Instant) {
        let place =
            Tag::read(message.to_tag()).and_then(|tag| self.core.dialogs.get(&tag).copied());
        if let Some((key, side)) = place {
            self.in_call(key, now, |legs, core, now| {
                legs.on_ack(side, message, path, core, now);
            });
        }
    }

    fn on_response(&mut self, id: TransactionId, message: &Message, now: Instant) {
        let Some(owner) = self.core.owners.get(&id).copied() else {
            return;
        };
        if self.resubmits((id, owner), message, now) {
            return;
        }
        let last = message.status().is_some_and(|status| status >= 200);
        match owner {
            Owner::Probe(trunk) => {
                if last {
                    self.core.owners.remove(&id);
                }
                self.probes
                    .on_response((trunk, id), message, &mut self.core, now);
            }
            Owner::HopProbe(path) => {
                if last {
                    self.core.owners.remove(&id);
                    let there = !matches!(message.status(), Some(408 | 503));
                    probe::on_hop(path, there, &mut self.core, now);
                }
            }
            Owner::Cancel | Owner::Stray | Owner::Invited(_) => {
                if last {
                    self.core.owners.remove(&id);
                }
            }
            Owner::Dial(key)
            | Owner::Reinvite(key, _)
            | Owner::Bye(key, _)
            | Owner::Prack(key)
            | Owner::Inside(key, _)
            | Owner::Refresh(key, _)
            | Owner::Loser(key) => {
                if last && self.calls.get(key).is_none() {
                    self.core.owners.remove(&id); // an INFO that outlived its call
                }
                self.in_call(key, now, |legs, core, now| {
                    legs.on_response((id, owner), message, core, now);
                });
            }
        }
    }

    fn on_no_response(&mut self, id: TransactionId, sip: u16, now: Instant) {
        self.core.logins.forget(id);
        let Some(owner) = self.core.owners.remove(&id) else {
            return;
        };
        match owner {
            Owner::Probe(trunk) => {
                self.probes
                    .on_result((trunk, id), false, &mut self.core, now);
            }
            Owner::HopProbe(path) => probe::on_hop(path, false, &mut self.core, now),
            Owner::Cancel | Owner::Stray | Owner::Invited(_) => {}
            Owner::Dial(key)
            | Owner::Reinvite(key, _)
            | Owner::Bye(key, _)
            | Owner::Prack(key)
            | Owner::Inside(key, _)
            | Owner::Refresh(key, _)
            | Owner::Loser(key) => self.in_call(key, now, |legs, core, now| {
                legs.on_no_response((id, owner), sip, core, now);
            }),
        }
    }

    /// A response outside any transaction: of a call that is there, a 2xx that comes again or of
    /// another fork; of one that is gone, a 2xx that came too late. It gets ACK and BYE.
    fn on_stray(&mut self, message: &Message, path: Path, now: Instant) {
        let success = message.status().is_some_and(|s| (200..300).contains(&s));
        let tag = Tag::read(message.from_tag());
        let Some(tag) = tag.filter(|_| success && message.method() == Method::Invite) else {
            return self.core.count("sip_dropped", "stray-response");
        };
        match self.core.dialogs.get(&tag).copied() {
            Some((key, side)) => self.in_call(key, now, |legs, core, now| {
                legs.on_late_success(side, message, path, core, now);
            }),
            None => strays::release(message, tag, path, &mut self.core, now),
        }
    }
}
