//! The places that a trunk's requests may go to (RFC 3263 §4.2, §4.3): which goes first, and which
//! rest because they failed.
//!
//! ```text
//!            transport error, 503, timeout, 3 s of silence
//!     +--------+ ---------------------------------------> +---------+
//!     | Usable |                                          | Resting |  goes last
//!     +--------+ <--------------------------------------- +---------+
//!                 probed trunk: OPTIONS to it is answered     |
//!                 other trunk: its rest is over; one call --'
//!                              tries it, and is answered
//! ```
//!
//! A trunk with a single hop has nothing to choose from: whether it is up is for
//! [`crate::call`] to say.

use super::Output;
use super::core::{Core, Timer};
use crate::domain::TrunkId;
use crate::sip::locate::{self, Hop, arrange};
use crate::sip::message::Path;
use smallvec::SmallVec;
use std::time::{Duration, Instant};

/// A hop that has not been heard of for so long after an INVITE has failed (sip-bridging 1).
pub(super) const SILENCE: Duration = Duration::from_secs(3);
/// How long a hop that failed goes last, unless it asks for more by Retry-After.
const REST: Duration = Duration::from_secs(30);
/// How long the one call that tries a rested hop keeps others away, if nothing is heard of it.
const TRIAL: Duration = Duration::from_secs(5);
/// Trunks that are probed less often than this have their hops tried by calls.
const SELDOM: Duration = Duration::from_secs(60);

/// Hops that rest. Only hops of trunks with several are kept, so the trunks bound the table.
#[derive(Debug, Default)]
pub(super) struct Hops {
    resting: Vec<(Path, Rest)>,
}

#[derive(Clone, Copy, Debug)]
struct Rest {
    until: Instant,
    /// An OPTIONS of ours to it is unanswered.
    asked: bool,
}

/// The hops that one call has tried of the trunk that it is being sent by.
#[derive(Debug, Default)]
pub(super) struct Tried {
    trunk: Option<TrunkId>,
    paths: SmallVec<[Path; 2]>,
}

impl Tried {
    /// Notes an attempt.
    pub(super) fn add(&mut self, trunk: TrunkId, path: Path) {
        if self.trunk != Some(trunk) {
            self.trunk = Some(trunk);
            self.paths.clear();
        }
        if self.paths.len() < locate::MOST_HOPS {
            self.paths.push(path);
        }
    }

    fn has(&self, trunk: TrunkId, path: Path) -> bool {
        self.trunk == Some(trunk) && self.paths.contains(&path)
    }
}

impl Core {
    /// The hop that a request to a trunk goes to: of those that were not tried before, one that
    /// does not rest, or else, for a first try, the one whose rest ends first.
    pub(super) fn pick_hop(&mut self, id: TrunkId, tried: &Tried, now: Instant) -> Option<Path> {
        let trunk = self.settings.trunk(id)?;
        let target = trunk.target.as_ref()?;
        if let [only] = target.hops.as_slice() {
            return Some(only.path);
        }
        let watched = is_watched(trunk);
        let v6 = front(&target.hops, &self.hops, watched, now)?
            .path
            .remote
            .is_ipv6();
        let entropy = &mut self.entropy;
        let mut draw = |most: u64| match most.checked_add(1) {
            Some(bound) => entropy.next().checked_rem(bound).unwrap_or(0),
            None => entropy.next(),
        };
        let mut hops = arrange(&target.hops, &mut draw);
        let again = tried.trunk == Some(id);
        hops.retain(|hop| !tried.has(id, hop.path));
        if again {
            hops.retain(|hop| self.hops.usable(hop.path, watched, now));
        }
        // Stable: within a rank the families stand apart, the one that media is set up for first.
        hops.sort_by_key(|hop| {
            let usable = self.hops.usable(hop.path, watched, now);
            let rest = self.hops.until(hop.path).filter(|_| !usable);
            (rest, hop.rank, hop.path.remote.is_ipv6() != v6)
        });
        let path = hops.first()?.path;
        if !watched
            && let Some(rest) = self.hops.rest_mut(path)
            && rest.until <= now
        {
            // This one tries it; the others wait for what it hears.
            rest.until = now + TRIAL;
        }
        Some(path)
    }

    /// Whether a trunk has more than one hop.
    pub(super) fn has_several_hops(&self, id: TrunkId) -> bool {
        let target = self
            .settings
            .trunk(id)
            .and_then(|trunk| trunk.target.as_ref());
        target.is_some_and(|target| target.hops.len() > 1)
    }

    /// A hop failed; `seconds` is the rest that it asked for.
    pub(super) fn hop_failed(&mut self, path: Path, seconds: u32, now: Instant) {
        let rest = match seconds {
            0 => REST,
            seconds => Duration::from_secs(u64::from(seconds)).min(REST),
        };
        let until = now + rest;
        let Some(known) = self.rest_hop(path, until, now) else {
            return;
        };
        if !known {
            self.count("sip_hops", "failed");
        }
        self.emit(Output::HopNews(path, Some(until)));
    }

    /// What another agent's calls have met with: until when a hop rests, or that it does not.
    pub(super) fn hop_news(&mut self, path: Path, until: Option<Instant>, now: Instant) {
        match until {
            Some(until) => {
                self.rest_hop(path, until, now);
            }
            None => {
                self.end_rest(path, now);
            }
        }
    }

    /// Whether it rested before; `None`: it is no hop of ours.
    fn rest_hop(&mut self, path: Path, until: Instant, now: Instant) -> Option<bool> {
        let trunks = self.trunks_by(path);
        if trunks.is_empty() {
            return None;
        }
        let asked = false;
        let known = self
            .hops
            .rest_mut(path)
            .map(|rest| *rest = Rest { until, asked });
        if known.is_none() {
            self.hops.resting.push((path, Rest { until, asked }));
        }
        for id in trunks {
            self.arm(until, Timer::Hops(id));
            self.tell_hops(id, now);
        }
        Some(known.is_some())
    }

    /// Something was heard of a hop.
    pub(super) fn hop_heard(&mut self, path: Path, now: Instant) {
        if self.end_rest(path, now) {
            self.count("sip_hops", "back");
            self.emit(Output::HopNews(path, None));
        }
    }

    /// Whether it rested.
    fn end_rest(&mut self, path: Path, now: Instant) -> bool {
        let before = self.hops.resting.len();
        self.hops.resting.retain(|(of, _)| *of != path);
        if self.hops.resting.len() == before {
            return false;
        }
        for id in self.trunks_by(path) {
            self.tell_hops(id, now);
        }
        true
    }

    /// What the DNS says of a target now; calls that are up keep the addresses that they have.
    pub(super) fn take_hops(&mut self, target: &locate::Target, hops: &[Hop], now: Instant) {
        let mut found: SmallVec<[TrunkId; 4]> = SmallVec::new();
        for trunk in self.settings.trunks.iter_mut().flatten() {
            let Some(own) = &mut trunk.target else {
                continue;
            };
            if own.name.as_ref() == Some(target) && own.hops != hops {
                own.hops = hops.iter().copied().take(locate::MOST_HOPS).collect();
                found.push(trunk.id);
            }
        }
        if found.is_empty() {
            return;
        }
        self.sources.configure(&self.settings);
        self.forget_hops();
        for id in found {
            self.tell_hops(id, now);
        }
    }

    /// Says of each trunk how many hops it has.
    pub(super) fn tell_all_hops(&mut self, now: Instant) {
        self.forget_hops();
        let trunks = self.settings.trunks.iter().flatten();
        let ids: Vec<TrunkId> = trunks.map(|trunk| trunk.id).collect();
        for id in ids {
            self.tell_hops(id, now);
        }
    }

    /// Says how many hops a trunk has, and how many do not rest.
    pub(super) fn tell_hops(&mut self, id: TrunkId, now: Instant) {
        let Some(trunk) = self.settings.trunk(id) else {
            return;
        };
        let Some(target) = &trunk.target else { return };
        let watched = is_watched(trunk);
        let several = target.hops.len() > 1;
        let usable = |hop: &&Hop| !several || self.hops.usable(hop.path, watched, now);
        let front = front(&target.hops, &self.hops, watched, now);
        let output = Output::TrunkHops {
            trunk: id,
            total: target.hops.len(),
            usable: target.hops.iter().filter(usable).count(),
            // What an address is, the settings say already.
            v6: front
                .filter(|_| target.name.is_some())
                .map(|hop| hop.path.remote.is_ipv6()),
        };
        self.emit(output);
    }

    /// A hop of a probed trunk whose rest is over, to be asked whether it is back.
    pub(super) fn rested_hop(&mut self, id: TrunkId, now: Instant) -> Option<Path> {
        let trunk = self.settings.trunk(id)?;
        let target = trunk.target.as_ref()?;
        let hops = &mut self.hops;
        let due = |hop: &&Hop| {
            let rest = hops.rest(hop.path);
            rest.is_some_and(|rest| rest.until <= now && !rest.asked)
        };
        let path = target.hops.iter().find(due)?.path;
        hops.rest_mut(path)?.asked = true;
        Some(path)
    }

    /// Trunks with several hops of which this is one.
    fn trunks_by(&self, path: Path) -> SmallVec<[TrunkId; 4]> {
        let trunks = self.settings.trunks.iter().flatten();
        let by = |trunk: &&super::Trunk| {
            let target = trunk.target.as_ref();
            target.is_some_and(|target| {
                target.hops.len() > 1 && target.hops.iter().any(|hop| hop.path == path)
            })
        };
        trunks.filter(by).map(|trunk| trunk.id).collect()
    }

    /// Forgets rests of hops that no trunk has any more.
    fn forget_hops(&mut self) {
        let mut resting = std::mem::take(&mut self.hops.resting);
        resting.retain(|(path, _)| !self.trunks_by(*path).is_empty());
        self.hops.resting = resting;
    }
}

impl Hops {
    fn rest(&self, path: Path) -> Option<&Rest> {
        let mut resting = self.resting.iter();
        resting.find(|(of, _)| *of == path).map(|(_, rest)| rest)
    }

    fn rest_mut(&mut self, path: Path) -> Option<&mut Rest> {
        let mut resting = self.resting.iter_mut();
        resting.find(|(of, _)| *of == path).map(|(_, rest)| rest)
    }

    fn until(&self, path: Path) -> Option<Instant> {
        self.rest(path).map(|rest| rest.until)
    }

    fn usable(&self, path: Path, watched: bool, now: Instant) -> bool {
        let until = self.until(path);
        until.is_none_or(|until| !watched && until <= now)
    }
}

/// The hop that a call would go to, weights aside.
fn front<'a>(hops: &'a [Hop], resting: &Hops, watched: bool, now: Instant) -> Option<&'a Hop> {
    let usable = hops
        .iter()
        .find(|hop| resting.usable(hop.path, watched, now));
    usable.or_else(|| hops.iter().min_by_key(|hop| resting.until(hop.path)))
}

/// Whether OPTIONS finds out that a hop is back.
fn is_watched(trunk: &super::Trunk) -> bool {
    !trunk.options_interval.is_zero() && trunk.options_interval <= SELDOM
}
