//! Which counts of which nonces have been used (RFC 7616 §3.4, `nc`): a window for each nonce that
//! has proved a password, and a bound on how many there are.

use std::collections::BTreeMap;

/// Counts below the highest that may still come, out of order.
const WIDTH: u32 = 64;

/// The nonces in use, by when they were made.
#[derive(Debug)]
pub(super) struct Window {
    /// Most that are remembered.
    most: usize,
    used: BTreeMap<(u64, u64), Counts>,
    /// Nonces made up to then are no longer told from replays.
    floor: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Counts {
    highest: u32,
    /// Bit n: `highest - n` has come.
    seen: u64,
}

/// What a count is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It has not come before.
    First,
    /// It has, or nobody can say any more.
    Again,
    /// The nonce is older than what is remembered.
    Forgotten,
}

impl Window {
    /// Of so many nonces.
    pub(super) const fn new(most: usize) -> Self {
        Self {
            most,
            used: BTreeMap::new(),
            floor: None,
        }
    }

    /// Takes one use of a nonce that has proved to be right, and says whether it is the first.
    pub(super) fn take(&mut self, (made, id): (u64, u64), count: u32, horizon: u64) -> Use {
        self.used = self.used.split_off(&(horizon, 0));
        if self.floor.is_some_and(|floor| made <= floor) {
            return Use::Forgotten;
        }
        if let Some(counts) = self.used.get_mut(&(made, id)) {
            return counts.take(count);
        }
        self.used.insert(
            (made, id),
            Counts {
                highest: count,
                seen: 1,
            },
        );
        if self.used.len() > self.most
            && let Some(((oldest, _), _)) = self.used.pop_first()
        {
            self.floor = Some(oldest);
            return if oldest >= made {
                Use::Forgotten
            } else {
                Use::First
            };
        }
        Use::First
    }

    /// How many nonces are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.used.len()
    }
}

impl Counts {
    fn take(&mut self, count: u32) -> Use {
        if count > self.highest {
            let shift = count.saturating_sub(self.highest);
            self.seen = self.seen.checked_shl(shift).unwrap_or(0) | 1;
            self.highest = count;
            return Use::First;
        }
        let behind = self.highest.saturating_sub(count);
        let bit = 1u64.checked_shl(behind).unwrap_or(0);
        if behind >= WIDTH || self.seen & bit != 0 {
            return Use::Again;
        }
        self.seen |= bit;
        Use::First
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 1000;

    #[test]
    fn counts_come_once_in_any_order_within_the_window() {
        let mut window = Window::new(MOST);
        let mut take = |count| window.take((5, 1), count, 0);
        assert_eq!(take(1), Use::First);
        assert_eq!(take(1), Use::Again);
        assert_eq!(take(4), Use::First);
        assert_eq!(take(2), Use::First);
        assert_eq!(take(2), Use::Again);
        assert_eq!(take(100), Use::First);
        assert_eq!(take(37), Use::First);
        assert_eq!(take(36), Use::Again); // too far behind to say
        assert_eq!(take(u32::MAX), Use::First);
        assert_eq!(take(u32::MAX), Use::Again);
        assert_eq!(take(100), Use::Again);
    }

    #[test]
    fn what_is_forgotten_for_want_of_room_is_not_believed() {
        let mut window = Window::new(MOST);
        for made in 0..=MOST as u64 {
            assert_eq!(window.take((made, 9), 1, 0), Use::First);
        }
        assert_eq!(window.len(), MOST);
        assert_eq!(window.take((0, 9), 1, 0), Use::Forgotten);
        assert_eq!(window.take((0, 8), 1, 0), Use::Forgotten);
        assert_eq!(window.take((1, 9), 1, 0), Use::Again);
    }

    #[test]
    fn what_has_expired_takes_no_room() {
        let mut window = Window::new(MOST);
        window.take((10, 1), 1, 0);
        window.take((20, 1), 1, 0);
        window.take((30, 1), 1, 25);
        assert_eq!(window.len(), 1);
    }
}
