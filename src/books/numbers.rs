//! The pool: reservations, additions, retirement, listing (lease-api 4.5, 4.11).

use super::Books;
use super::batch::Undo;
use super::command::{Answer, Code, NumberRow, NumberState, Outcome, PoolRange, Unreserve};
use super::records::{encode, number_key};
use crate::domain::{CustomerId, CustomerScope, E164};
use crate::lease::Step;
use smallvec::SmallVec;
use std::collections::BTreeSet;

/// Numbers that one request may add: what fits in one commit.
pub const MAX_ADDED: u64 = 1_000_000;
/// Numbers looked at for one page of a list; the next page goes on there.
const MAX_LISTED: usize = 50_000;

impl Books {
    pub(super) fn reserve(&mut self, customer: CustomerId, quantity: u32) -> Outcome {
        if self.ledger.account(customer).is_none() {
            return Err(Code(35));
        }
        let count = usize::try_from(quantity).map_err(|_| Code(11))?;
        let slots = self.leases.pool().draw_general(count).ok_or(Code(11))?;
        self.assign(customer, &slots, Some(customer));
        let shown = |slot: &u32| self.leases.pool().shown(*slot);
        Ok(Answer::Reserved(slots.iter().map(shown).collect()))
    }

    pub(super) fn unreserve(&mut self, customer: CustomerId, what: Unreserve) -> Outcome {
        if self.ledger.account(customer).is_none() {
            return Err(Code(35));
        }
        let pool = self.leases.pool();
        let slots: SmallVec<[u32; 2]> = match what {
            Unreserve::Quantity(quantity) => {
                let count = usize::try_from(quantity).map_err(|_| Code(11))?;
                pool.draw_reserved(customer, count).ok_or(Code(11))?
            }
            Unreserve::Numbers(numbers) => {
                let numbers: BTreeSet<E164> = numbers.into_iter().collect();
                let mut slots = SmallVec::new();
                for number in numbers {
                    let slot = pool.find(number).ok_or(Code(2))?;
                    if pool.reserved_for(slot) != Some(customer) {
                        return Err(Code(2));
                    }
                    if pool.state(slot) != Some(NumberState::Reserved) {
                        return Err(Code(11));
                    }
                    slots.push(slot);
                }
                slots
            }
        };
        self.assign(customer, &slots, None);
        Ok(Answer::Done)
    }

    pub(super) fn add_numbers(&mut self, ranges: &[PoolRange]) -> Outcome {
        let wanted = ranges
            .iter()
            .fold(0u64, |sum, range| sum.saturating_add(range.count()));
        if wanted > MAX_ADDED {
            return Err(Code(2));
        }
        let mut added = 0u64;
        for range in ranges {
            for step in self.leases.add(range) {
                if let Step::Added(first, count) = &step {
                    added = added.saturating_add(u64::from(*count));
                    self.put_added(*first, *count);
                }
                self.batch.undo.push(Undo::Lease(step));
            }
        }
        Ok(Answer::Added(added))
    }

    pub(super) fn retire_number(&mut self, number: E164) -> Outcome {
        let slot = self.leases.pool().find(number).ok_or(Code(2))?;
        if !self.leases.pool().is_retired(slot) {
            let before = self.number_bytes(&[slot]);
            self.batch
                .dirty
                .extend(self.leases.pool().reserved_for(slot));
            let step = self.leases.retire(slot);
            self.batch.undo.push(Undo::Lease(step));
            self.put_numbers(&[slot], before);
        }
        Ok(Answer::Done)
    }

    pub(super) fn list_numbers(
        &self,
        state: Option<NumberState>,
        scope: &CustomerScope,
        from: Option<E164>,
        limit: u32,
    ) -> Answer {
        let limit = usize::try_from(limit.max(1)).unwrap_or(usize::MAX);
        let pool = self.leases.pool();
        let mut rows = Vec::new();
        for (looked_at, slot) in pool.slots_from(from).enumerate() {
            let Some(number) = pool.number(slot) else {
                continue;
            };
            if rows.len() == limit || looked_at == MAX_LISTED {
                return Answer::Numbers {
                    rows,
                    next: Some(number),
                };
            }
            let Some(found) = pool.state(slot) else {
                continue;
            };
            if state.is_none_or(|state| state == found) && self.sees(scope, slot) {
                rows.push(NumberRow {
                    number,
                    shown: pool.shown(slot),
                    state: found,
                    reserved_for: pool.reserved_for(slot),
                });
            }
        }
        Answer::Numbers { rows, next: None }
    }

    /// A client that may not act for all customers sees the numbers that its own have reserved or
    /// leased.
    fn sees(&self, scope: &CustomerScope, slot: u32) -> bool {
        if *scope == CustomerScope::All {
            return true;
        }
        let pool = self.leases.pool();
        let leased_by = pool
            .lease(slot)
            .and_then(|place| self.leases.lease(place))
            .map(|lease| lease.customer);
        [pool.reserved_for(slot), leased_by]
            .into_iter()
            .flatten()
            .any(|customer| scope.allows(customer))
    }

    fn assign(&mut self, customer: CustomerId, slots: &[u32], to: Option<CustomerId>) {
        let before = self.number_bytes(slots);
        for slot in slots {
            let step = self.leases.assign(*slot, to);
            self.batch.undo.push(Undo::Lease(step));
        }
        self.put_numbers(slots, before);
        self.batch.dirty.insert(customer);
    }

    fn put_added(&mut self, first: E164, count: u32) {
        let Some(start) = self.leases.pool().find(first) else {
            return;
        };
        for slot in start..start.saturating_add(count) {
            let record = self.leases.number_record(slot);
            if let (Some(number), Some(record)) = (self.leases.pool().number(slot), record) {
                self.batch
                    .put(number_key(number), None, Some(encode(&record)));
                self.batch.publish.push(slot);
            }
        }
    }
}
