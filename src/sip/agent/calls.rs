//! The agent's calls by their keys: a slab, so that a look-up is an index and a check.

use super::legs::Legs;
use crate::domain::CallKey;

/// Bits of a key that say where the call is; those above say which of the calls that were there.
const PLACE_BITS: u32 = 32;

/// All calls of one agent.
#[derive(Debug, Default)]
pub(super) struct Calls {
    slots: Vec<Slot>,
    free: Vec<u32>,
    alive: usize,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    call: Option<Box<Legs>>,
}

impl Calls {
    /// The key that the next call gets: [`Calls::insert`] must follow. `None` if there are too
    /// many.
    pub(super) fn next_key(&mut self) -> Option<CallKey> {
        let place = match self.free.last() {
            Some(place) => *place,
            None => {
                let place = u32::try_from(self.slots.len()).ok()?;
                self.slots.push(Slot::default());
                self.free.push(place);
                place
            }
        };
        let slot = self.slots.get_mut(usize::try_from(place).ok()?)?;
        slot.generation = slot.generation.wrapping_add(1);
        let generation = u64::from(slot.generation);
        Some(CallKey((generation << PLACE_BITS) | u64::from(place)))
    }

    /// Puts a call where its key says.
    pub(super) fn insert(&mut self, key: CallKey, legs: Legs) {
        if let Some(slot) = self.slot(key) {
            slot.call = Some(Box::new(legs));
            self.free.pop();
            self.alive = self.alive.saturating_add(1);
        }
    }

    /// A call.
    pub(super) fn get(&mut self, key: CallKey) -> Option<&mut Legs> {
        self.slot(key)?.call.as_deref_mut()
    }

    /// Forgets a call.
    pub(super) fn remove(&mut self, key: CallKey) -> Option<Box<Legs>> {
        let call = self.slot(key)?.call.take()?;
        self.free.push(u32::try_from(key.0 & 0xffff_ffff).ok()?);
        self.alive = self.alive.saturating_sub(1);
        Some(call)
    }

    /// How many there are.
    pub(super) fn alive(&self) -> usize {
        self.alive
    }

    fn slot(&mut self, key: CallKey) -> Option<&mut Slot> {
        let place = usize::try_from(key.0 & 0xffff_ffff).ok()?;
        let slot = self.slots.get_mut(place)?;
        (u64::from(slot.generation) == key.0 >> PLACE_BITS).then_some(slot)
    }
}
