//! Trunks as calls see them: caps, health, and which one a call goes out by (sip-bridging 1).

use super::caps::Share;
use super::context::SingleCallerId;
use super::event::TrunkNews;
use super::ramp::{Ramp, own_draw};
use crate::domain::TrunkId;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Failures in a row (probes or calls) after which a trunk is down.
pub const DOWN_AFTER: u8 = 3;
/// Successes in a row after which a trunk that was down is up again.
pub const UP_AFTER: u8 = 2;
/// How long a trunk without probes stays down before one call tries it.
const RETRY_DOWN: Duration = Duration::from_secs(30);
/// How long the one call that tries a rested trunk keeps others away, if nothing is heard of it.
const TRIAL: Duration = Duration::from_secs(5);

/// What calls need to know of a configured trunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trunk {
    /// Name, for records.
    pub name: Arc<str>,
    /// Calls may be sent out by it.
    pub outbound: bool,
    /// Lower goes first.
    pub priority: u16,
    /// Share among trunks of one priority; 0 only where all others of the priority are 0 or gone.
    pub weight: u16,
    /// Concurrent calls, both directions; 0: no cap.
    pub max_calls: u32,
    /// New calls a second, both directions; 0: no cap.
    pub max_cps: u32,
    /// It is probed by OPTIONS.
    pub probed: bool,
    /// SDP in provisional responses is passed on.
    pub early_media: bool,
    /// Its own `ring_timeout`.
    pub ring_timeout: Option<Duration>,
    /// Its own `single_caller_id`.
    pub single_caller_id: Option<SingleCallerId>,
    /// A 503's Retry-After is honoured up to this: `max_retry_after`.
    pub max_rest: Duration,
    /// Places that its requests may go to; 0: its name is not resolved, and it is down.
    pub hops: usize,
    /// Those of them that have not failed lately.
    pub usable_hops: usize,
}

impl Default for Trunk {
    fn default() -> Self {
        Self {
            name: Arc::from(""),
            outbound: true,
            priority: 1,
            weight: 1,
            max_calls: 0,
            max_cps: 0,
            probed: false,
            early_media: true,
            ring_timeout: None,
            single_caller_id: None,
            max_rest: Duration::from_secs(30),
            hops: 1,
            usable_hops: 1,
        }
    }
}

/// A worker's trunks by place, with their calls and health. A place is one name's as long as the
/// process lives: running calls are counted there, come what may to the configuration.
#[derive(Debug, Default)]
pub struct Trunks {
    places: Vec<Place>,
    /// Where there are several workers: their caps.
    shared: Option<Share>,
}

#[derive(Debug, Default)]
struct Place {
    /// `None`: it is not configured (any more). Its calls are counted until their end.
    trunk: Option<Trunk>,
    calls: u32,
    rate: Rate,
    health: Health,
}

impl Trunks {
    /// Trunks by place; `None` where a place is empty.
    #[must_use]
    pub fn new(trunks: Vec<Option<Trunk>>) -> Self {
        let mut new = Self::default();
        new.reload(trunks);
        new
    }

    /// Other workers have calls on the same trunks: caps hold for all of them.
    pub fn share(&mut self, shared: Share) {
        self.shared = Some(shared);
    }

    /// Whether there are other workers.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// Whether nothing is held against a trunk: no failure in a row, no rest.
    #[must_use]
    pub fn is_well(&self, id: TrunkId) -> bool {
        self.place(id).is_some_and(|place| place.health.is_well())
    }

    /// New configuration. A place keeps its calls, and its health while it has a trunk that is watched
    /// as before: what takes one that is not probed down would otherwise wait for a probe.
    pub fn reload(&mut self, trunks: Vec<Option<Trunk>>) {
        let places = self.places.len().max(trunks.len());
        self.places.resize_with(places, Place::default);
        let trunks = trunks.into_iter().chain(std::iter::repeat(None));
        for (place, trunk) in self.places.iter_mut().zip(trunks) {
            let probed = |trunk: &Option<Trunk>| trunk.as_ref().map(|trunk| trunk.probed);
            if trunk.is_none() || probed(&trunk) != probed(&place.trunk) {
                place.health = Health::default();
            }
            place.trunk = trunk;
        }
    }

    /// How many places there are.
    #[must_use]
    pub fn places(&self) -> usize {
        self.places.len()
    }

    /// The trunk at a place.
    #[must_use]
    pub fn get(&self, id: TrunkId) -> Option<&Trunk> {
        self.place(id)?.trunk.as_ref()
    }

    /// Counts a call that came by `id`; false where its caps are reached (nothing is counted then).
    /// A call that was counted is [`Self::release`]d once.
    pub fn admit(&mut self, id: TrunkId, now: Instant) -> bool {
        self.place(id).is_some_and(|place| place.below_caps(now)) && self.take(id, now)
    }

    /// Counts a call on `id`; false where the caps of all workers are reached.
    fn take(&mut self, id: TrunkId, now: Instant) -> bool {
        if let (Some(shared), Some(trunk)) = (&self.shared, self.get(id))
            && !shared.take(id, trunk, now)
        {
            return false;
        }
        let place = self.place_mut(id);
        place.map(|place| place.take(now)).is_some()
    }

    /// Chooses a trunk to dial by, and counts the call on it: the lowest priority that has one up,
    /// below its caps and not in `tried`; there by weight, `random` deciding.
    pub fn choose(&mut self, tried: &[TrunkId], random: u64, now: Instant) -> Option<TrunkId> {
        // One that has just come back takes a part of its load, where another can take the rest.
        let takes = |id: TrunkId| {
            let ramp = self.place(id).map(|place| place.health.ramp);
            ramp.is_none_or(|ramp| ramp.takes(own_draw(random, id.0), now))
        };
        let gentle = self.rows(tried, now).any(|(id, ..)| takes(id));
        let rows = || {
            self.rows(tried, now)
                .filter(|(id, ..)| !gentle || takes(*id))
        };
        let priority = rows().map(|(_, priority, _)| priority).min()?;
        let fitting = || rows().filter(|(_, p, _)| *p == priority);
        let total: u64 = fitting().map(|(_, _, weight)| u64::from(weight)).sum();
        let chosen = if total == 0 {
            let count = u64::try_from(fitting().count()).unwrap_or(1).max(1);
            fitting().nth(usize::try_from(random % count).unwrap_or(0))
        } else {
            let mut left = random % total;
            fitting().find(|(_, _, weight)| {
                let weight = u64::from(*weight);
                let hit = left < weight;
                left = left.saturating_sub(weight);
                hit
            })
        };
        let (id, _, _) = chosen?;
        if !self.take(id, now) {
            // Another worker was quicker: one that is left.
            let tried = [tried, &[id]].concat();
            return self.choose(&tried, random, now);
        }
        self.place_mut(id)?.health.trial(now);
        Some(id)
    }

    /// Whether [`Self::choose`] would find one.
    #[must_use]
    pub fn has_another(&self, tried: &[TrunkId], now: Instant) -> bool {
        self.rows(tried, now).next().is_some()
    }

    /// A call counted on `id` is over, or was sent elsewhere.
    pub fn release(&mut self, id: TrunkId) {
        if let Some(place) = self.place_mut(id) {
            place.calls = place.calls.saturating_sub(1);
        }
        if let Some(shared) = &self.shared {
            shared.release(id);
        }
    }

    /// What a call learnt about a trunk.
    pub fn news(&mut self, id: TrunkId, news: TrunkNews, now: Instant) {
        let Some((trunk, health)) = self.configured(id) else {
            return;
        };
        match news {
            TrunkNews::Alive => health.succeeded(now),
            TrunkNews::Dead => health.failed(trunk.probed, now),
            TrunkNews::Rest(seconds) => {
                let rest = Duration::from_secs(u64::from(seconds)).min(trunk.max_rest);
                health.rest(rest, now);
            }
        }
    }

    /// An OPTIONS probe was answered (`true`), or was not.
    pub fn probe(&mut self, id: TrunkId, answered: bool, now: Instant) {
        if let Some((trunk, health)) = self.configured(id) {
            if answered {
                health.answered_probe(now);
            } else {
                health.failed(trunk.probed, now);
            }
        }
    }

    /// How many places a trunk's requests may go to, and how many of them have not failed lately.
    pub fn hops(&mut self, id: TrunkId, total: usize, usable: usize) {
        if let Some((trunk, _)) = self.configured(id) {
            trunk.hops = total;
            trunk.usable_hops = usable;
        }
    }

    /// Whether a call that one hop of a trunk failed may find another there.
    #[must_use]
    pub fn has_another_hop(&self, id: TrunkId) -> bool {
        let trunk = self.get(id);
        trunk.is_some_and(|trunk| trunk.hops > 1 && trunk.usable_hops > 0)
    }

    /// Whether `id` may be dialled by now, caps aside.
    #[must_use]
    pub fn is_up(&self, id: TrunkId, now: Instant) -> bool {
        self.place(id).is_some_and(|place| place.is_up(now))
    }

    /// Whether any outbound trunk is up: readiness.
    #[must_use]
    pub fn any_up(&self, now: Instant) -> bool {
        self.places.iter().any(|place| place.is_up(now))
    }

    /// Calls counted on `id` now.
    #[must_use]
    pub fn calls(&self, id: TrunkId) -> u32 {
        self.place(id).map_or(0, |place| place.calls)
    }

    /// Trunks that a call may go out by: place, priority, weight.
    fn rows<'a>(
        &'a self,
        tried: &'a [TrunkId],
        now: Instant,
    ) -> impl Iterator<Item = (TrunkId, u16, u16)> + 'a {
        self.places
            .iter()
            .enumerate()
            .filter_map(move |(index, place)| {
                let id = TrunkId(u16::try_from(index).ok()?);
                let trunk = place.trunk.as_ref()?;
                let fit = !tried.contains(&id)
                    && place.is_up(now)
                    && place.below_caps(now)
                    && self
                        .shared
                        .as_ref()
                        .is_none_or(|all| all.allows(id, trunk, now));
                fit.then_some((id, trunk.priority, trunk.weight))
            })
    }

    fn place(&self, id: TrunkId) -> Option<&Place> {
        self.places.get(usize::from(id.0))
    }

    fn place_mut(&mut self, id: TrunkId) -> Option<&mut Place> {
        self.places.get_mut(usize::from(id.0))
    }

    /// A trunk that is configured now, and its health.
    fn configured(&mut self, id: TrunkId) -> Option<(&mut Trunk, &mut Health)> {
        let Place { trunk, health, .. } = self.place_mut(id)?;
        Some((trunk.as_mut()?, health))
    }
}

impl Place {
    fn is_up(&self, now: Instant) -> bool {
        let reachable = |trunk: &Trunk| trunk.outbound && trunk.hops > 0;
        let outbound = self.trunk.as_ref().is_some_and(reachable);
        outbound && self.health.usable(now)
    }

    /// An empty place takes no call.
    fn below_caps(&self, now: Instant) -> bool {
        self.trunk.as_ref().is_some_and(|trunk| {
            (trunk.max_calls == 0 || self.calls < trunk.max_calls)
                && self.rate.allows(trunk.max_cps, now)
        })
    }

    fn take(&mut self, now: Instant) {
        self.calls = self.calls.saturating_add(1);
        if let Some(trunk) = &self.trunk {
            self.rate.take(trunk.max_cps, now);
        }
    }
}

/// A token bucket that holds one second's calls, kept as one instant: when it will be full again
/// (the virtual scheduling form of the generic cell rate algorithm, ITU-T I.371).
#[derive(Debug, Default)]
struct Rate {
    full_at: Option<Instant>,
}

impl Rate {
    fn allows(&self, per_second: u32, now: Instant) -> bool {
        if per_second == 0 {
            return true;
        }
        let missing = self.missing(now);
        missing + Self::cost(per_second) <= Duration::from_secs(1)
    }

    fn take(&mut self, per_second: u32, now: Instant) {
        if per_second > 0 {
            self.full_at = now.checked_add(self.missing(now) + Self::cost(per_second));
        }
    }

    fn missing(&self, now: Instant) -> Duration {
        self.full_at
            .map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
    }

    fn cost(per_second: u32) -> Duration {
        Duration::from_secs(1) / per_second.max(1)
    }
}

/// Whether a trunk answers.
///
/// ```text
///                 DOWN_AFTER failures in a row
///      +------+ --------------------------------> +------+
///      |  Up  |                                   | Down | <- probed: UP_AFTER probes answered;
///      +------+ <-------------------------------- +------+    not probed: rests, then one call
///        |  ^        UP_AFTER successes in a row              tries it, and its answer is enough
///   503+ |  | the one call that tries it hears anything
///  Retry |  |
///  After v  |
///      +---------+
///      | Resting | until its time; then one call may go, the others wait for what it hears
///      +---------+
/// ```
#[derive(Debug, Default)]
struct Health {
    failures: u8,
    successes: u8,
    down: bool,
    /// Until when nothing is sent; afterwards one call tries.
    rest_until: Option<Instant>,
    /// Until when the call that tries keeps others away.
    trial_until: Option<Instant>,
    /// How much of its load it takes since it came back.
    ramp: Ramp,
}

impl Health {
    fn is_well(&self) -> bool {
        self.failures == 0 && !self.down && self.rest_until.is_none() && self.trial_until.is_none()
    }

    fn usable(&self, now: Instant) -> bool {
        match self.rest_until {
            Some(until) => now >= until && self.trial_until.is_none_or(|until| now >= until),
            None => !self.down,
        }
    }

    /// A call was sent: if the trunk had rested, this is the one that tries it.
    fn trial(&mut self, now: Instant) {
        if self.rest_until.is_some() {
            self.trial_until = now.checked_add(TRIAL);
        }
    }

    fn succeeded(&mut self, now: Instant) {
        self.failures = 0;
        if self.trial_until.take().is_some() {
            *self = Self::back(now);
            return;
        }
        self.successes = self.successes.saturating_add(1);
        if self.down && self.successes >= UP_AFTER {
            *self = Self::back(now);
        }
    }

    /// It is up again.
    fn back(now: Instant) -> Self {
        Self {
            ramp: Ramp::begin(now),
            ..Self::default()
        }
    }

    /// A probe that is answered says nothing about the calls that a Retry-After put off.
    fn answered_probe(&mut self, now: Instant) {
        self.failures = 0;
        self.successes = self.successes.saturating_add(1);
        if self.down && self.successes >= UP_AFTER {
            *self = Self::back(now);
        }
    }

    fn failed(&mut self, probed: bool, now: Instant) {
        self.successes = 0;
        self.failures = self.failures.saturating_add(1);
        let tried = self.trial_until.take().is_some();
        if self.failures >= DOWN_AFTER || tried {
            self.down = true;
        }
        // Without probes nothing but a call can find out that it is back.
        if self.down && (!probed || tried) {
            self.rest_until = now.checked_add(RETRY_DOWN);
        } else if self.down {
            self.rest_until = None;
        }
    }

    fn rest(&mut self, rest: Duration, now: Instant) {
        self.failures = 0;
        self.trial_until = None;
        self.rest_until = if rest.is_zero() {
            None
        } else {
            now.checked_add(rest)
        };
    }
}
