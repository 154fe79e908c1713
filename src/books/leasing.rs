//! Leases: request, release, query, and their end by time (lease-api 4.1 to 4.4).

use super::batch::{Undo, Waiting};
use super::command::{Answer, Code, LeaseAnswer, Outcome};
use super::records::{LeaseRecord, encode, lease_key, number_key};
use super::{Books, INTERNAL};
use crate::domain::{
    Customer, CustomerId, CustomerScope, E164, LeaseKind, Now, Phone, ReferenceId, UnixMillis,
};
use crate::lease::Member;
use bytes::Bytes;
use smallvec::SmallVec;

/// What a lease is to be.
struct Wish {
    reference: ReferenceId,
    customer: CustomerId,
    kind: LeaseKind,
    phones: SmallVec<[Phone; 2]>,
    expires: UnixMillis,
    whitelist: Vec<E164>,
}

impl Books {
    pub(super) fn lease_single(
        &mut self,
        reference: ReferenceId,
        customer: CustomerId,
        phone: Phone,
        expires: UnixMillis,
        whitelist: Vec<E164>,
        now: Now,
    ) -> Outcome {
        let wish = Wish {
            reference,
            customer,
            kind: LeaseKind::Single,
            phones: SmallVec::from_iter([phone]),
            expires,
            whitelist,
        };
        self.begin_lease(wish, now)
    }

    pub(super) fn lease_group(
        &mut self,
        reference: ReferenceId,
        customer: CustomerId,
        phones: [Phone; 2],
        expires: UnixMillis,
        now: Now,
    ) -> Outcome {
        let wish = Wish {
            reference,
            customer,
            kind: LeaseKind::Group,
            phones: SmallVec::from(phones),
            expires,
            whitelist: Vec::new(),
        };
        self.begin_lease(wish, now)
    }

    pub(super) fn release(
        &mut self,
        kind: LeaseKind,
        reference: ReferenceId,
        scope: &CustomerScope,
        now: Now,
    ) -> Outcome {
        let place = self.running(kind, reference, scope, now)?;
        self.end_lease(place, now).ok_or(INTERNAL)?;
        self.batch.waiting.push(Waiting::LeaseEnded(reference));
        Ok(Answer::Done)
    }

    pub(super) fn query_lease(
        &self,
        kind: LeaseKind,
        reference: ReferenceId,
        scope: &CustomerScope,
        now: Now,
    ) -> Outcome {
        let place = self.running(kind, reference, scope, now)?;
        self.lease_answer(reference, place)
    }

    /// Ends a lease, whether asked to or by time. Returns its reference.
    pub(super) fn end_lease(&mut self, place: u32, now: Now) -> Option<ReferenceId> {
        let lease = self.leases.lease(place)?;
        let (reference, slots) = (lease.reference, lease.slots());
        let before = self.leases.record(place).as_ref().map(encode);
        let numbers = self.number_bytes(&slots);
        let step = self.leases.end(place, now)?;
        self.batch.undo.push(Undo::Lease(step));
        self.batch.put(lease_key(reference), before, None);
        self.put_numbers(&slots, numbers);
        Some(reference)
    }

    /// Numbers as they are stored, before a change.
    pub(super) fn number_bytes(&self, slots: &[u32]) -> Vec<Option<Bytes>> {
        let record = |slot: &u32| self.leases.number_record(*slot).as_ref().map(encode);
        slots.iter().map(record).collect()
    }

    /// Records that numbers have changed from what [`Self::number_bytes`] gave.
    pub(super) fn put_numbers(&mut self, slots: &[u32], before: Vec<Option<Bytes>>) {
        for (slot, before) in slots.iter().zip(before) {
            let Some(number) = self.leases.pool().number(*slot) else {
                continue;
            };
            let after = self.leases.number_record(*slot).as_ref().map(encode);
            self.batch.put(number_key(number), before, after);
            self.batch.publish.push(*slot);
        }
    }

    fn begin_lease(&mut self, wish: Wish, now: Now) -> Outcome {
        self.check_wish(&wish, now)?;
        let slots = self
            .leases
            .pool()
            .draw(wish.customer, wish.phones.len())
            .ok_or(Code(11))?;
        let mut members = SmallVec::new();
        for (slot, phone) in slots.iter().zip(wish.phones) {
            let number = self.leases.pool().number(*slot).ok_or(INTERNAL)?;
            members.push(Member { number, phone });
        }
        let record = LeaseRecord {
            customer: wish.customer,
            kind: wish.kind,
            expires: wish.expires,
            members,
            whitelist: wish.whitelist,
        };
        let numbers = self.number_bytes(&slots);
        // `None` is a reference drawn twice.
        let step = self.leases.begin(wish.reference, &record).ok_or(INTERNAL)?;
        self.batch.undo.push(Undo::Lease(step));
        let key = lease_key(wish.reference);
        self.batch.put(key, None, Some(encode(&record)));
        self.put_numbers(&slots, numbers);
        let place = self.leases.find(&wish.reference).ok_or(INTERNAL)?;
        self.lease_answer(wish.reference, place)
    }

    /// The conditions of lease-api 4 and 4.1, in their order.
    fn check_wish(&self, wish: &Wish, now: Now) -> Result<(), Code> {
        let ours = |phone: &Phone| self.leases.pool().find(phone.number).is_some();
        if wish.phones.iter().any(ours) {
            return Err(Code(8));
        }
        if wish.expires <= now.wall {
            return Err(Code(41));
        }
        let customer = self.active_customer(wish.customer)?;
        if !customer.enabled(wish.kind) {
            return Err(Code(6));
        }
        let (limit, code) = match wish.kind {
            LeaseKind::Single => (customer.max_lease_single, Code(39)),
            LeaseKind::Group => (customer.max_lease_group, Code(40)),
        };
        if limit != 0 && self.leases.holdings(wish.customer).of(wish.kind) >= limit {
            return Err(code);
        }
        let limit = self.settings.max_per_phone;
        let full = |phone: &Phone| self.leases.leases_of_phone(phone.number) >= limit;
        if limit != 0 && wish.phones.iter().any(full) {
            return Err(Code(12));
        }
        Ok(())
    }

    /// An account that exists (35) and is active (37).
    fn active_customer(&self, customer: CustomerId) -> Result<&Customer, Code> {
        let account = self.ledger.account(customer).ok_or(Code(35))?;
        let customer = account.customer();
        if customer.suspended {
            return Err(Code(37));
        }
        Ok(customer)
    }

    /// A running lease that the client may act on; anything else is 10.
    fn running(
        &self,
        kind: LeaseKind,
        reference: ReferenceId,
        scope: &CustomerScope,
        now: Now,
    ) -> Result<u32, Code> {
        let place = self.leases.find(&reference).ok_or(Code(10))?;
        let lease = self.leases.lease(place).ok_or(Code(10))?;
        let running =
            lease.kind == kind && lease.expires > now.wall && scope.allows(lease.customer);
        running.then_some(place).ok_or(Code(10))
    }

    fn lease_answer(&self, reference: ReferenceId, place: u32) -> Outcome {
        let lease = self.leases.lease(place).ok_or(INTERNAL)?;
        let mut pairs = Vec::with_capacity(2);
        for slot in lease.slots() {
            let phone = self.leases.spelling(lease, slot).ok_or(INTERNAL)?;
            pairs.push((self.leases.pool().shown(slot), phone.spelling.into_string()));
        }
        Ok(Answer::Lease(LeaseAnswer {
            reference,
            customer: lease.customer,
            pairs,
            expires: lease.expires,
        }))
    }
}
