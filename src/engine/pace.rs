//! Whether a thread keeps up with its timers.

use std::time::{Duration, Instant};

/// A turn that starts so long after it was due is late.
const LATE: Duration = Duration::from_millis(200);
/// A turn that starts no later than this is in time: what was behind has been caught up with.
const IN_TIME: Duration = Duration::from_millis(50);
/// For so long every turn must have been late before that is overload. A machine that stood still
/// makes one late turn, however long it stood; after it there is time enough for every call.
const ON_END: Duration = Duration::from_secs(1);

/// The lateness of a loop's turns.
///
/// ```text
///              late for ON_END
///   keeping up ───────────────► overloaded
///       ▲                           │
///       └───────────────────────────┘ a turn in time
/// ```
#[derive(Debug, Default)]
pub struct Pace {
    late_since: Option<Instant>,
    overloaded: bool,
}

impl Pace {
    /// A turn that was due at `due` is taken at `now`. Returns whether the thread is overloaded.
    pub fn turn(&mut self, due: Instant, now: Instant) -> bool {
        let late = now.saturating_duration_since(due);
        if late > LATE {
            let since = *self.late_since.get_or_insert(now);
            self.overloaded |= now.saturating_duration_since(since) >= ON_END;
        } else if late <= IN_TIME || !self.overloaded {
            *self = Self::default();
        }
        self.overloaded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Turns taken `(at, late)` milliseconds: whether each found the thread overloaded.
    fn turns(turns: &[(u64, u64)]) -> Vec<bool> {
        let start = Instant::now();
        let mut pace = Pace::default();
        let turn = |&(at, late): &(u64, u64)| {
            let due = start + Duration::from_millis(at);
            pace.turn(due, due + Duration::from_millis(late))
        };
        turns.iter().map(turn).collect()
    }

    #[test]
    fn a_machine_that_stood_still_is_not_overloaded() {
        assert_eq!(turns(&[(0, 60_000), (60_001, 0)]), [false, false]);
        let hiccups = [
            (0, 900),
            (1_000, 0),
            (2_000, 900),
            (3_000, 100),
            (3_200, 900),
        ];
        assert!(turns(&hiccups).iter().all(|overloaded| !overloaded));
    }

    #[test]
    fn late_for_a_second_is_overload_until_a_turn_is_in_time() {
        let late = [
            (0, 201),
            (500, 250),
            (1_000, 201),
            (1_300, 100),
            (1_500, 50),
        ];
        assert_eq!(turns(&late), [false, false, true, true, false]);
        let again = [(0, 900), (1_000, 900), (2_000, 0), (2_100, 900)];
        assert_eq!(turns(&again), [false, true, false, false]);
    }
}
