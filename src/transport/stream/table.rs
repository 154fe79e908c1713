//! The connections of a thread, by number, by path, and by who has how many.

use super::Paths;
use super::connection::Connection;
use crate::sip::message::{Path, Transport};
use hashbrown::HashMap;
use std::net::IpAddr;
use std::time::Instant;

/// A number: the place below, how often it was used above, so that news of a connection that is
/// gone is no other's.
fn number(place: u32, uses: u32) -> u64 {
    u64::from(uses & 0x7fff_ffff) << 32 | u64::from(place)
}

#[derive(Default)]
struct Slot {
    uses: u32,
    armed: Option<Instant>,
    connection: Option<Box<Connection>>,
}

/// Whose share a connection is taken from: an address, but a /64 of IPv6, of which one customer has
/// all addresses.
fn site(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into()),
        v4 => v4,
    }
}

#[derive(Default)]
pub(super) struct Table {
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_path: HashMap<Path, u64>,
    /// Connections that came, by site.
    accepted: HashMap<IpAddr, usize>,
    /// And by trunk, of those that have a share.
    by_trunk: HashMap<u16, usize>,
    came: usize,
    strangers: usize,
    len: usize,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn strangers(&self) -> usize {
        self.strangers
    }

    /// Connections that came.
    pub(super) fn came(&self) -> usize {
        self.came
    }

    pub(super) fn accepted_from(&self, address: IpAddr) -> usize {
        self.accepted.get(&site(address)).copied().unwrap_or(0)
    }

    pub(super) fn accepted_of(&self, trunk: u16) -> usize {
        self.by_trunk.get(&trunk).copied().unwrap_or(0)
    }

    pub(super) fn count(&self, transport: Transport) -> usize {
        self.each()
            .filter(|one| one.paths.first().is_some_and(|p| p.transport == transport))
            .count()
    }

    pub(super) fn waiting(&self) -> usize {
        self.each().map(Connection::waiting).sum()
    }

    fn each(&self) -> impl Iterator<Item = &Connection> {
        self.slots
            .iter()
            .filter_map(|slot| slot.connection.as_deref())
    }

    /// Numbers of those that are meant.
    pub(super) fn numbers(&self, meant: impl Fn(&Connection) -> bool) -> Vec<u64> {
        let all = self.slots.iter().zip(0_u32..);
        all.filter(|(slot, _)| slot.connection.as_deref().is_some_and(&meant))
            .map(|(slot, place)| number(place, slot.uses))
            .collect()
    }

    pub(super) fn find(&self, path: Path) -> Option<u64> {
        self.by_path.get(&path).copied()
    }

    fn slot(&mut self, number: u64) -> Option<&mut Slot> {
        let place = usize::try_from(number & u64::from(u32::MAX)).ok()?;
        let slot = self.slots.get_mut(place)?;
        (u64::from(slot.uses & 0x7fff_ffff) == number >> 32).then_some(slot)
    }

    pub(super) fn get(&mut self, number: u64) -> Option<&mut Connection> {
        self.slot(number)?.connection.as_deref_mut()
    }

    pub(super) fn look(&self, number: u64) -> Option<&Connection> {
        let place = usize::try_from(number & u64::from(u32::MAX)).ok()?;
        let slot = self.slots.get(place)?;
        (u64::from(slot.uses & 0x7fff_ffff) == number >> 32)
            .then_some(slot)?
            .connection
            .as_deref()
    }

    /// When its deadline is looked at, as far as was noted; `None` if it is gone.
    pub(super) fn armed(&mut self, number: u64) -> Option<Option<Instant>> {
        self.slot(number).map(|slot| slot.armed)
    }

    pub(super) fn arm(&mut self, number: u64, at: Instant) {
        if let Some(slot) = self.slot(number) {
            slot.armed = Some(at);
        }
    }

    pub(super) fn insert(&mut self, connection: Connection) -> u64 {
        let place = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            u32::try_from(self.slots.len().saturating_sub(1)).unwrap_or(u32::MAX)
        });
        let index = usize::try_from(place).unwrap_or(usize::MAX);
        let Some(slot) = self.slots.get_mut(index) else {
            return u64::MAX;
        };
        let number = number(place, slot.uses);
        slot.armed = None;
        for path in &connection.paths {
            self.by_path.insert(*path, number);
        }
        if connection.accepted
            && let Some(path) = connection.paths.first()
        {
            *self.accepted.entry(site(path.remote.ip())).or_insert(0) += 1;
            self.came += 1;
            if let Some(trunk) = connection.trunk {
                *self.by_trunk.entry(trunk).or_insert(0) += 1;
            }
        }
        self.strangers += usize::from(connection.stranger);
        self.len += 1;
        slot.connection = Some(Box::new(connection));
        number
    }

    /// A connection answers to a further path.
    pub(super) fn alias(&mut self, number: u64, path: Path) {
        if self.get(number).is_some_and(|one| one.alias(path)) {
            self.by_path.insert(path, number);
        }
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<Box<Connection>> {
        let slot = self.slot(number)?;
        let connection = slot.connection.take()?;
        slot.uses = slot.uses.wrapping_add(1);
        let place = u32::try_from(number & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        self.free.push(place);
        let paths: &Paths = &connection.paths;
        for path in paths {
            if self.by_path.get(path) == Some(&number) {
                self.by_path.remove(path);
            }
        }
        if connection.accepted
            && let Some(path) = connection.paths.first()
        {
            lower(&mut self.accepted, &site(path.remote.ip()));
            self.came = self.came.saturating_sub(1);
            if let Some(trunk) = connection.trunk {
                lower(&mut self.by_trunk, &trunk);
            }
        }
        self.strangers = self
            .strangers
            .saturating_sub(usize::from(connection.stranger));
        self.len = self.len.saturating_sub(1);
        Some(connection)
    }
}

/// One fewer; none is forgotten.
fn lower<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_of_ipv6_is_a_64() {
        let site = |text: &str| site(text.parse().unwrap());
        assert_eq!(site("2001:db8::1"), site("2001:db8::ffff:0:0:2"));
        assert_ne!(site("2001:db8::1"), site("2001:db8:0:1::1"));
        assert_eq!(site("::ffff:192.0.2.1"), site("192.0.2.1"));
        assert_ne!(site("192.0.2.1"), site("192.0.2.2"));
    }
}
