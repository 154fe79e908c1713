//! Who may have a connection: so many in all, and of these a share for each source address, so that
//! one that holds its connections open shuts nobody else out.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The slots of a server. The table of sources has an entry for each source that has a connection,
/// and so never more than there are slots.
#[derive(Debug)]
pub struct Slots {
    most: usize,
    /// Of one source; 0: all.
    share: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    by_source: HashMap<IpAddr, usize>,
}

/// Which bound was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// All slots are taken.
    All,
    /// The source has its share.
    Share,
}

/// One connection's slot; given back when it is dropped.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Slots>,
    source: Option<IpAddr>,
}

impl Slots {
    /// `most` connections, `share` of them for one source (0: no share).
    #[must_use]
    pub fn new(most: usize, share: usize) -> Arc<Self> {
        Arc::new(Self {
            most: most.max(1),
            share,
            taken: Mutex::default(),
        })
    }

    /// A slot for a connection from `peer`; `shared`: many come by this address (a trusted proxy),
    /// and it has no share.
    ///
    /// # Errors
    /// The bound that is reached.
    pub fn take(self: &Arc<Self>, peer: IpAddr, shared: bool) -> Result<Slot, Bound> {
        let source = Some(source(peer)).filter(|_| self.share > 0 && !shared);
        let mut taken = self.taken();
        if taken.total >= self.most {
            return Err(Bound::All);
        }
        if let Some(source) = source {
            let count = taken.by_source.entry(source).or_default();
            if *count >= self.share {
                return Err(Bound::Share);
            }
            *count += 1;
        }
        taken.total += 1;
        Ok(Slot {
            slots: Arc::clone(self),
            source,
        })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.taken();
        taken.total = taken.total.saturating_sub(1);
        if let Some(source) = self.source
            && let Some(count) = taken.by_source.get_mut(&source)
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.by_source.remove(&source);
            }
        }
    }
}

/// Who is meant by an address: an IPv6 host has a whole /64 of them.
fn source(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(four) => IpAddr::V4(four),
        IpAddr::V6(six) => IpAddr::V6(Ipv6Addr::from_bits(six.to_bits() & (u128::MAX << 64))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_source_has_its_share_and_leaves_the_rest_to_others() {
        let slots = Slots::new(4, 2);
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        let first = slots.take(one, false).unwrap();
        let _second = slots.take(one, false).unwrap();
        assert_eq!(slots.take(one, false).unwrap_err(), Bound::Share);
        // The same address written as IPv6 is the same source.
        let mapped = address("::ffff:192.0.2.1");
        assert_eq!(slots.take(mapped, false).unwrap_err(), Bound::Share);
        drop(first);
        let _again = slots.take(one, false).unwrap();
        let _others = [(); 2].map(|()| slots.take(other, false).unwrap());
        let third = address("192.0.2.3");
        assert_eq!(slots.take(third, false).unwrap_err(), Bound::All);
    }

    #[test]
    fn a_network_of_ipv6_is_one_source() {
        let slots = Slots::new(10, 1);
        let _first = slots.take(address("2001:db8::1"), false).unwrap();
        let same = address("2001:db8::ffff");
        assert_eq!(slots.take(same, false).unwrap_err(), Bound::Share);
        assert!(slots.take(address("2001:db8:0:1::1"), false).is_ok());
    }

    #[test]
    fn nothing_is_kept_of_a_source_that_is_gone() {
        let slots = Slots::new(10, 1);
        drop(slots.take(address("192.0.2.1"), false).unwrap());
        assert!(slots.taken().by_source.is_empty());
        assert_eq!(slots.taken().total, 0);
    }

    #[test]
    fn a_proxy_and_a_server_without_shares_have_all() {
        let slots = Slots::new(3, 1);
        let peer = address("192.0.2.1");
        let held = [(); 3].map(|()| slots.take(peer, true).unwrap());
        assert_eq!(slots.take(peer, true).unwrap_err(), Bound::All);
        drop(held);
        let slots = Slots::new(2, 0);
        let _held = [(); 2].map(|()| slots.take(peer, false).unwrap());
        assert_eq!(slots.take(peer, false).unwrap_err(), Bound::All);
    }
}
