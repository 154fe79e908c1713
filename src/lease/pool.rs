//! The numbers that are lent out.
//!
//! ```text
//!              occupy                vacate               rest over, no call up
//!   ┌── Free ─────────▶ Leased ─────────────▶ Resting ───────────────────────┐
//!   │    ▲                                       │ rest over, a call is up   │
//!   │    │              last call ends           ▼                           │
//!   │    ├──────────────────────────────────── Held                          │
//!   │    └───────────────────────────────────────────────────────────────────┘
//!   └─ retire (from anywhere; a lease keeps the number to its end) ─▶ Retired
//! ```
//!
//! Free numbers are sorted by how long they have rested: never leased ones first, in the order of
//! numbers, then by stamp. Stamps are microseconds of wall clock made strictly increasing, so that
//! a clock that is set back changes no order; how long a number has rested is measured by the
//! monotonic clock.

use super::slab::Slab;
use crate::domain::numbering::{NumberState, NumberStyle, PoolRange};
use crate::domain::{CustomerId, E164, Now, ReferenceId, UnixMillis};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// A pool number as it is stored, by packed E.164.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumberRecord {
    /// How it is shown.
    pub style: NumberStyle,
    /// Whose reservation it belongs to.
    pub reserved_for: Option<CustomerId>,
    /// Never leased again.
    pub retired: bool,
    /// Stamp of its last lease's end: microseconds since 1970, made unique; 0 = never leased.
    pub rested_since: u64,
    /// The lease that holds it: what makes two nodes that lease it conflict.
    pub lease: Option<ReferenceId>,
}

/// Where a number is in the diagram above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Free,
    Leased,
    Resting,
    Held,
    Retired,
}

/// A number in memory.
#[derive(Debug)]
struct Slot {
    number: u64,
    /// See [`NumberRecord::rested_since`].
    stamp: u64,
    /// Lease's place, [`NONE`] if none; while loading, a fingerprint of its reference.
    lease: u32,
    /// Customer id, 0 for the general pool.
    reserved_for: u32,
    style: u16,
    /// Calls up that were dialled to it.
    calls: u16,
    /// Calls up on its lease, ended or not: it is not leased again before they end.
    pins: u16,
    place: Place,
    retired: bool,
}

const NONE: u32 = u32::MAX;

/// Numbers in the order in which they are to be leased.
type FreeSet = BTreeSet<(u64, u64)>;

/// Consecutive numbers in consecutive slots.
#[derive(Clone, Copy, Debug)]
struct Run {
    slot: u32,
    len: u32,
}

/// A customer's reservation.
#[derive(Debug, Default)]
struct Reservation {
    /// Numbers reserved, leased ones included.
    total: u64,
    free: FreeSet,
}

/// Numbers by state, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Free in the general pool.
    pub free: u64,
    /// Leased.
    pub leased: u64,
    /// Reserved and free.
    pub reserved: u64,
    /// Resting, or held back by a call.
    pub resting: u64,
    /// Retired and not leased.
    pub retired: u64,
}

/// The pool.
#[derive(Debug)]
pub struct Pool {
    slots: Slab<Slot>,
    /// By first number.
    runs: BTreeMap<u64, Run>,
    styles: Vec<NumberStyle>,
    general: FreeSet,
    reservations: BTreeMap<CustomerId, Reservation>,
    /// By stamp, which is the order in which they began to rest.
    resting: BTreeMap<(u64, u32), Instant>,
    cooldown: Duration,
    last_stamp: u64,
    figures: Figures,
}

impl Pool {
    /// An empty pool.
    #[must_use]
    pub fn new(cooldown: Duration) -> Self {
        Self {
            slots: Slab::default(),
            runs: BTreeMap::new(),
            styles: Vec::new(),
            general: FreeSet::new(),
            reservations: BTreeMap::new(),
            resting: BTreeMap::new(),
            cooldown,
            last_stamp: 0,
            figures: Figures::default(),
        }
    }

    /// Changes how long numbers rest.
    pub fn set_cooldown(&mut self, cooldown: Duration) {
        self.cooldown = cooldown;
    }

    /// Numbers in the pool.
    #[must_use]
    pub fn len(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.len() == 0
    }

    /// Numbers by state.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.figures
    }

    /// A number's slot.
    #[must_use]
    pub fn find(&self, number: E164) -> Option<u32> {
        let (first, run) = self.runs.range(..=number.packed()).next_back()?;
        let offset = u32::try_from(number.packed() - first).ok()?;
        (offset < run.len).then(|| run.slot.saturating_add(offset))
    }

    /// A slot's number.
    #[must_use]
    pub fn number(&self, slot: u32) -> Option<E164> {
        E164::from_packed(self.slots.get(slot)?.number)
    }

    /// A number as it is shown.
    #[must_use]
    pub fn shown(&self, slot: u32) -> String {
        let style = self
            .slots
            .get(slot)
            .and_then(|s| self.styles.get(usize::from(s.style)));
        match (style, self.number(slot)) {
            (Some(style), Some(number)) => style.show(number),
            _ => String::new(),
        }
    }

    /// The place of the lease that holds a number.
    #[must_use]
    pub fn lease(&self, slot: u32) -> Option<u32> {
        let slot = self.slots.get(slot)?;
        (slot.place == Place::Leased).then_some(slot.lease)
    }

    /// A number's state.
    #[must_use]
    pub fn state(&self, slot: u32) -> Option<NumberState> {
        let slot = self.slots.get(slot)?;
        Some(match slot.place {
            Place::Free if slot.reserved_for != 0 => NumberState::Reserved,
            Place::Free => NumberState::Free,
            Place::Leased => NumberState::Leased,
            Place::Resting | Place::Held => NumberState::Resting,
            Place::Retired => NumberState::Retired,
        })
    }

    /// Whether a number is out of use, now or once its lease ends.
    #[must_use]
    pub fn is_retired(&self, slot: u32) -> bool {
        self.slots.get(slot).is_some_and(|slot| slot.retired)
    }

    /// Whose reservation a number belongs to.
    #[must_use]
    pub fn reserved_for(&self, slot: u32) -> Option<CustomerId> {
        customer(self.slots.get(slot)?.reserved_for)
    }

    /// Whether a customer has any number reserved, leased or not.
    #[must_use]
    pub fn has_reserved(&self, customer: CustomerId) -> bool {
        self.reservations.contains_key(&customer)
    }

    /// A number as it is stored, but for the lease that holds it.
    #[must_use]
    pub fn record(&self, slot: u32) -> Option<NumberRecord> {
        let slot = self.slots.get(slot)?;
        Some(NumberRecord {
            style: self.styles.get(usize::from(slot.style))?.clone(),
            reserved_for: customer(slot.reserved_for),
            retired: slot.retired,
            rested_since: slot.stamp,
            lease: None,
        })
    }

    /// Slots in the order of numbers, from `from` on.
    pub fn slots_from(&self, from: Option<E164>) -> impl Iterator<Item = u32> + '_ {
        let from = from.map_or(0, E164::packed);
        let start = self
            .runs
            .range(..=from)
            .next_back()
            .map_or(from, |(first, _)| *first);
        self.runs.range(start..).flat_map(move |(first, run)| {
            let skip = u32::try_from(from.saturating_sub(*first)).unwrap_or(u32::MAX);
            run.slot.saturating_add(skip)..run.slot.saturating_add(run.len)
        })
    }

    /// The `count` numbers that a lease of `customer` is to have: of its reservation alone where
    /// there is one (lease-api 4.1). `None` if there are not so many.
    #[must_use]
    pub fn draw(&self, customer: CustomerId, count: usize) -> Option<SmallVec<[u32; 2]>> {
        let set = match self.reservations.get(&customer) {
            Some(reservation) => &reservation.free,
            None => &self.general,
        };
        self.first_of(set, count)
    }

    /// The `count` longest-rested free numbers of the general pool.
    #[must_use]
    pub fn draw_general(&self, count: usize) -> Option<SmallVec<[u32; 2]>> {
        self.first_of(&self.general, count)
    }

    /// The `count` longest-rested free numbers of a reservation.
    #[must_use]
    pub fn draw_reserved(&self, customer: CustomerId, count: usize) -> Option<SmallVec<[u32; 2]>> {
        self.first_of(&self.reservations.get(&customer)?.free, count)
    }

    fn first_of(&self, set: &FreeSet, count: usize) -> Option<SmallVec<[u32; 2]>> {
        if set.len() < count {
            return None;
        }
        set.iter()
            .take(count)
            .map(|(_, number)| self.find(E164::from_packed(*number)?))
            .collect()
    }

    /// Calls up that were dialled to a number.
    #[must_use]
    pub fn calls(&self, slot: u32) -> u32 {
        self.slots.get(slot).map_or(0, |slot| u32::from(slot.calls))
    }

    /// A call to `dialled` begins; `all` are the numbers of its lease.
    pub fn call_begins(&mut self, dialled: u32, all: &[u32]) {
        if let Some(slot) = self.slots.get_mut(dialled) {
            slot.calls = slot.calls.saturating_add(1);
        }
        for at in all {
            let Some(slot) = self.slots.get_mut(*at) else {
                continue;
            };
            slot.pins = slot.pins.saturating_add(1);
            if slot.place == Place::Free {
                self.put(*at, Place::Held);
            }
        }
    }

    /// It ends.
    pub fn call_ends(&mut self, dialled: u32, all: &[u32]) {
        if let Some(slot) = self.slots.get_mut(dialled) {
            slot.calls = slot.calls.saturating_sub(1);
        }
        for at in all {
            let Some(slot) = self.slots.get_mut(*at) else {
                continue;
            };
            slot.pins = slot.pins.saturating_sub(1);
            if slot.pins == 0 && slot.place == Place::Held {
                self.put(*at, Place::Free);
            }
        }
    }

    /// When the next number has rested enough.
    #[must_use]
    pub fn next_rested(&self) -> Option<Instant> {
        let (_, since) = self.resting.first_key_value()?;
        since.checked_add(self.cooldown)
    }

    /// Frees up to `budget` numbers that have rested enough.
    pub fn rest(&mut self, now: Instant, budget: usize) {
        for _ in 0..budget {
            let Some((key, since)) = self.resting.first_key_value().map(|(k, v)| (*k, *v)) else {
                return;
            };
            if now.saturating_duration_since(since) < self.cooldown {
                return;
            }
            self.resting.remove(&key);
            let Some(slot) = self.slots.get(key.1) else {
                continue;
            };
            // Retired while it rested: nothing to do but to forget the entry.
            if slot.place == Place::Resting {
                let pinned = slot.pins > 0;
                self.put(key.1, if pinned { Place::Held } else { Place::Free });
            }
        }
    }

    /// Bytes allocated, but for free sets.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.slots.memory() + self.runs.len() * 2 * size_of::<(u64, Run)>()
    }

    pub(super) fn add(&mut self, range: &PoolRange) -> Vec<(E164, u32)> {
        let Some(style) = self.style(&range.style) else {
            return Vec::new();
        };
        let mut added = Vec::new();
        let mut from = range.first.packed();
        let last = range.last.packed();
        while from <= last {
            if let Some((first, run)) = self.runs.range(..=from).next_back()
                && from - first < u64::from(run.len)
            {
                from = first + u64::from(run.len);
                continue;
            }
            let to = match self.runs.range(from..).next() {
                Some((next, _)) => last.min(next - 1),
                None => last,
            };
            let Some((first, count)) = self.append(from, to, style) else {
                break;
            };
            added.push((first, count));
            from = to + 1;
        }
        added
    }

    /// Appends numbers none of which is there yet, as free ones.
    fn append(&mut self, from: u64, to: u64, style: u16) -> Option<(E164, u32)> {
        let first = E164::from_packed(from)?;
        let count = u32::try_from(to - from + 1).ok()?;
        let start = self.len();
        start.checked_add(count)?;
        self.extend_runs(from, start, count);
        for (place, number) in (start..).zip(from..=to) {
            self.slots.insert(Slot {
                number,
                stamp: 0,
                lease: NONE,
                reserved_for: 0,
                style,
                calls: 0,
                pins: 0,
                place: Place::Retired,
                retired: false,
            })?;
            self.figures.retired += 1;
            self.put(place, Place::Free);
        }
        Some((first, count))
    }

    fn extend_runs(&mut self, from: u64, place: u32, count: u32) {
        if let Some((first, run)) = self.runs.range_mut(..from).next_back()
            && first + u64::from(run.len) == from
            && run.slot.checked_add(run.len) == Some(place)
            && let Some(len) = run.len.checked_add(count)
        {
            run.len = len;
            return;
        }
        self.runs.insert(
            from,
            Run {
                slot: place,
                len: count,
            },
        );
    }

    /// Takes back the latest [`Self::append`].
    pub(super) fn remove_last(&mut self, first: E164, count: u32) {
        for _ in 0..count {
            let Some(last) = self.len().checked_sub(1) else {
                return;
            };
            self.put(last, Place::Retired);
            self.figures.retired -= 1;
            self.slots.pop();
        }
        if self.runs.remove(&first.packed()).is_none()
            && let Some((_, run)) = self.runs.range_mut(..first.packed()).next_back()
        {
            run.len = run.len.saturating_sub(count);
        }
    }

    pub(super) fn occupy(&mut self, at: u32, lease: u32) {
        self.put(at, Place::Leased);
        if let Some(slot) = self.slots.get_mut(at) {
            slot.lease = lease;
        }
    }

    /// Takes [`Self::occupy`] back.
    pub(super) fn unoccupy(&mut self, at: u32) {
        if let Some(slot) = self.slots.get_mut(at) {
            slot.lease = NONE;
        }
        self.put(at, Place::Free);
    }

    /// A lease of a number ends; returns its stamp before.
    pub(super) fn vacate(&mut self, at: u32, now: Now) -> u64 {
        let stamp = self
            .last_stamp
            .saturating_add(1)
            .max(now.wall.0.saturating_mul(1000));
        self.last_stamp = stamp;
        let Some(slot) = self.slots.get_mut(at) else {
            return 0;
        };
        slot.lease = NONE;
        let before = slot.stamp;
        slot.stamp = stamp;
        if slot.retired {
            self.put(at, Place::Retired);
            return before;
        }
        self.put(at, Place::Resting);
        self.resting.insert((stamp, at), now.mono);
        if self.cooldown.is_zero() {
            self.rest(now.mono, usize::MAX);
        }
        before
    }

    /// Takes [`Self::vacate`] back, up to [`Self::occupy`].
    pub(super) fn unvacate(&mut self, at: u32, stamp: u64) {
        self.put(at, Place::Leased);
        if let Some(slot) = self.slots.get_mut(at) {
            slot.stamp = stamp;
        }
    }

    /// Moves a number to a reservation or to the general pool; returns where it was.
    pub(super) fn assign(&mut self, at: u32, to: Option<CustomerId>) -> Option<CustomerId> {
        let place = self.slots.get(at)?.place;
        // Out of the set it is in, into the one where it belongs then.
        if place == Place::Free {
            self.put(at, Place::Held);
        }
        let slot = self.slots.get_mut(at)?;
        let before = customer(slot.reserved_for);
        slot.reserved_for = to.map_or(0, |customer| customer.0);
        if let Some(before) = before
            && let Some(reservation) = self.reservations.get_mut(&before)
        {
            reservation.total = reservation.total.saturating_sub(1);
            if reservation.total == 0 {
                self.reservations.remove(&before);
            }
        }
        if let Some(to) = to {
            self.reservations.entry(to).or_default().total += 1;
        }
        if place == Place::Free {
            self.put(at, Place::Free);
        }
        before
    }

    pub(super) fn retire(&mut self, at: u32) -> Option<CustomerId> {
        let before = self.assign(at, None);
        let slot = self.slots.get_mut(at)?;
        slot.retired = true;
        if slot.place != Place::Leased {
            // A resting number keeps its entry in `resting`, so that this can be taken back.
            self.put_keeping_rest(at, Place::Retired);
        }
        before
    }

    /// Takes [`Self::retire`] back.
    pub(super) fn unretire(&mut self, at: u32, reserved_for: Option<CustomerId>) {
        let Some(slot) = self.slots.get_mut(at) else {
            return;
        };
        slot.retired = false;
        let (place, pinned, key) = (slot.place, slot.pins > 0, (slot.stamp, at));
        if place == Place::Retired {
            let back = if self.resting.contains_key(&key) {
                Place::Resting
            } else if pinned {
                Place::Held
            } else {
                Place::Free
            };
            self.put_keeping_rest(at, back);
        }
        self.assign(at, reserved_for);
    }

    pub(super) fn load(&mut self, number: E164, record: &NumberRecord) -> Result<(), String> {
        if self.find(number).is_some() {
            return Err(format!("number {number:?} is there twice"));
        }
        let style = self
            .style(&record.style)
            .ok_or("more spellings of pool numbers than can be kept")?;
        let at = self.len();
        self.append(number.packed(), number.packed(), style)
            .ok_or("more numbers than can be kept")?;
        self.assign(at, record.reserved_for);
        let place = if record.lease.is_some() {
            Place::Leased
        } else if record.retired {
            Place::Retired
        } else {
            Place::Held
        };
        self.put(at, place);
        if let Some(slot) = self.slots.get_mut(at) {
            slot.retired = record.retired;
            slot.stamp = record.rested_since;
            slot.lease = record.lease.as_ref().map_or(NONE, fingerprint);
        }
        self.last_stamp = self.last_stamp.max(record.rested_since);
        Ok(())
    }

    /// While loading: whether a number says that `reference` holds it. Only once.
    pub(super) fn claim(&mut self, at: u32, reference: ReferenceId) -> bool {
        let Some(slot) = self.slots.get_mut(at) else {
            return false;
        };
        let claimed = slot.place == Place::Leased && slot.lease == fingerprint(&reference);
        if claimed {
            slot.lease = NONE;
            self.put(at, Place::Held);
        }
        claimed
    }

    /// After loading: every number that no lease holds rests from its stamp on, or is free.
    pub(super) fn loaded(&mut self, now: Now) -> Result<(), String> {
        for at in 0..self.len() {
            let Some(slot) = self.slots.get(at) else {
                continue;
            };
            if slot.place == Place::Leased && slot.lease >= FINGERPRINT {
                return Err(format!(
                    "number {:?} is held by a lease that is not there",
                    self.number(at)
                ));
            }
            if slot.place != Place::Held {
                continue;
            }
            let stamp = slot.stamp;
            if stamp == 0 {
                self.put(at, Place::Free);
                continue;
            }
            // A stamp in the future is a clock that was set back: it has not rested at all.
            let rested = now.wall.since(UnixMillis(stamp / 1000)).min(self.cooldown);
            let since = now.mono.checked_sub(rested).unwrap_or(now.mono);
            self.put(at, Place::Resting);
            self.resting.insert((stamp, at), since);
        }
        self.rest(now.mono, usize::MAX);
        Ok(())
    }

    /// Moves a number in the diagram, in every set and count.
    fn put(&mut self, at: u32, to: Place) {
        if let Some(slot) = self.slots.get(at) {
            self.resting.remove(&(slot.stamp, at));
        }
        self.put_keeping_rest(at, to);
    }

    fn put_keeping_rest(&mut self, at: u32, to: Place) {
        let Some(slot) = self.slots.get_mut(at) else {
            return;
        };
        let from = std::mem::replace(&mut slot.place, to);
        let key = (slot.stamp, slot.number);
        let owner = customer(slot.reserved_for);
        if let Some(count) = count_mut(&mut self.figures, from, owner) {
            *count = count.saturating_sub(1);
        }
        if let Some(count) = count_mut(&mut self.figures, to, owner) {
            *count = count.saturating_add(1);
        }
        if from == Place::Free
            && let Some(set) = self.free_set(owner)
        {
            set.remove(&key);
        }
        if to == Place::Free
            && let Some(set) = self.free_set(owner)
        {
            set.insert(key);
        }
    }

    fn free_set(&mut self, owner: Option<CustomerId>) -> Option<&mut FreeSet> {
        match owner {
            Some(customer) => self
                .reservations
                .get_mut(&customer)
                .map(|reservation| &mut reservation.free),
            None => Some(&mut self.general),
        }
    }

    fn style(&mut self, style: &NumberStyle) -> Option<u16> {
        if let Some(place) = self.styles.iter().position(|other| other == style) {
            return u16::try_from(place).ok();
        }
        let place = u16::try_from(self.styles.len()).ok()?;
        self.styles.push(style.clone());
        Some(place)
    }
}

fn customer(id: u32) -> Option<CustomerId> {
    (id != 0).then_some(CustomerId(id))
}

fn count_mut(figures: &mut Figures, place: Place, owner: Option<CustomerId>) -> Option<&mut u64> {
    Some(match place {
        Place::Free if owner.is_some() => &mut figures.reserved,
        Place::Free => &mut figures.free,
        Place::Leased => &mut figures.leased,
        Place::Resting | Place::Held => &mut figures.resting,
        Place::Retired => &mut figures.retired,
    })
}

/// Places of leases are below this while loading; fingerprints are not.
const FINGERPRINT: u32 = 1 << 31;

fn fingerprint(reference: &ReferenceId) -> u32 {
    let (_, low) = reference.0.as_u64_pair();
    u32::try_from(low & u64::from(u32::MAX)).unwrap_or(0) | FINGERPRINT
}
