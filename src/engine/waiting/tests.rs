//! The queue by itself, and a model of a worker that has so much time and no more.

use super::*;
use std::collections::BTreeMap;

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn take(waiting: &mut Waiting<u32>, now: Instant) -> Option<Fate<u32>> {
    waiting.next(now, true, |_| true)
}

#[test]
fn who_waits_a_little_is_served_in_order() {
    let start = Instant::now();
    let mut waiting = Waiting::default();
    for n in 0..3 {
        waiting.push(u64::from(n), start, n);
    }
    assert!(waiting.holds(2) && !waiting.holds(7));
    let now = start + millis(200);
    for n in 0..3 {
        assert_eq!(take(&mut waiting, now), Some(Fate::Serve(n)));
    }
    assert_eq!(take(&mut waiting, now), None);
    assert!(!waiting.holds(2));
}

/// However long it stood still: soon after, nobody waits.
#[test]
fn a_machine_that_stood_still_refuses_nobody() {
    let start = Instant::now();
    let mut waiting = Waiting::default();
    for round in 0..10_u32 {
        let came = start + millis(10_000) * round;
        let now = came + millis(5000);
        for n in 0..100 {
            waiting.push(0, came, n);
        }
        for n in 0..100 {
            let now = now + millis(u64::from(n));
            assert_eq!(take(&mut waiting, now), Some(Fate::Serve(n)));
        }
        assert_eq!(take(&mut waiting, now + millis(100)), None);
    }
    assert_eq!(waiting.began(), 0);
}

#[test]
fn what_must_not_be_refused_is_served_late() {
    let start = Instant::now();
    let mut waiting = Waiting::default();
    for n in 0..3 {
        waiting.push(0, start, n);
    }
    assert_eq!(take(&mut waiting, start + millis(51)), Some(Fate::Serve(0)));
    let now = start + millis(51) + INTERVAL;
    assert_eq!(take(&mut waiting, now), Some(Fate::Refuse(1)));
    // A CANCEL, say.
    assert_eq!(waiting.next(now, true, |_| false), Some(Fate::Serve(2)));
}

#[test]
fn behind_is_who_is_late_on_end_until_nobody_waits() {
    let start = Instant::now();
    let mut waiting = Waiting::default();
    let mut serve = |at: u64, came: u64| {
        waiting.push(0, start + millis(came), 0);
        let served = matches!(take(&mut waiting, start + millis(at)), Some(Fate::Serve(_)));
        (served, waiting.is_behind())
    };
    assert_eq!(serve(100, 0), (true, false));
    assert_eq!(serve(200, 140), (true, false));
    assert_eq!(serve(250, 190), (false, true));
    assert_eq!(serve(300, 260), (true, true));
    assert_eq!(take(&mut waiting, start + millis(301)), None);
    assert!(!waiting.is_behind());
    assert_eq!(waiting.began(), 1);
}

#[test]
fn the_line_is_bounded_by_refusing_from_its_front() {
    let start = Instant::now();
    let mut waiting = Waiting::default();
    for n in 0..u32::try_from(MOST).unwrap() + 2 {
        waiting.push(0, start, n);
    }
    assert_eq!(take(&mut waiting, start), Some(Fate::Refuse(0)));
    assert_eq!(take(&mut waiting, start), Some(Fate::Refuse(1)));
    assert_eq!(take(&mut waiting, start), Some(Fate::Serve(2)));
}

#[test]
fn without_room_only_refusals_go_on() {
    let start = Instant::now();
    let mut waiting = Waiting::default();
    waiting.push(0, start, 1);
    assert_eq!(waiting.next(start + millis(60), false, |_| true), None);
    assert_eq!(waiting.len(), 1);
    let late = start + millis(60) + INTERVAL;
    assert_eq!(waiting.next(late, false, |_| true), Some(Fate::Refuse(1)));
}

/// A worker as the engine runs it: it reads all that came, works off what belongs to calls, then
/// serves new INVITEs by their fate. Times in microseconds.
struct Model {
    /// Work of an INVITE that is served, in the INVITE itself, and in each of the messages after it.
    invite: u64,
    inside: u64,
    /// Work of one that is refused, with its ACK.
    refusal: u64,
    /// The processor is there for `slice` of each `period`.
    slice: u64,
    period: u64,
}

/// Messages of a call after its INVITE, and how far apart they are.
const INSIDE: u64 = 6;
const APART: u64 = 60_000;
/// A caller sends his INVITE again after this, while he has no answer (T1), and gives up after three.
const REPEAT: u64 = 500_000;

#[derive(Debug, Default)]
struct Outcome {
    /// Calls whose INVITE was answered before it was repeated.
    good: u64,
    refused: u64,
    /// Work spent on INVITEs whose callers had gone on.
    late: u64,
    longest_line: usize,
    /// Longest that a message of a call had to wait, beyond a slice that was not there.
    worst_inside: u64,
}

impl Model {
    fn capacity(&self) -> f64 {
        let call = self.invite + INSIDE * self.inside;
        1e6 / call as f64 * self.slice as f64 / self.period as f64
    }

    /// `seconds` of `load` times the capacity; `controlled`: refuses by the queue, else never.
    fn run(&self, load: f64, seconds: u64, controlled: bool) -> Outcome {
        let origin = Instant::now();
        let at = |micros: u64| origin + Duration::from_micros(micros);
        let gap = 1e6 / (self.capacity() * load);
        let calls = (seconds as f64 * 1e6 / gap) as u64;
        let mut arrivals: BTreeMap<(u64, u64), u32> = (0..calls)
            .map(|n| (((n as f64 * gap) as u64, n), 0))
            .collect();
        let mut inside: BTreeMap<(u64, u64), u64> = BTreeMap::new();
        let mut answered = std::collections::BTreeSet::new();
        let (mut waiting, mut outcome, mut clock) = (Waiting::default(), Outcome::default(), 0_u64);
        let mut serial = 0;
        while clock < seconds * 1_000_000 {
            if clock % self.period >= self.slice {
                clock += self.period - clock % self.period;
            }
            // What belongs to calls goes first.
            while let Some((&(due, key), &left)) = inside.first_key_value() {
                if due > clock {
                    break;
                }
                inside.remove(&(due, key));
                let waited = (clock - due).saturating_sub(self.period - self.slice);
                outcome.worst_inside = outcome.worst_inside.max(waited);
                clock += self.inside;
                if left > 1 {
                    inside.insert((clock + APART, key), left - 1);
                }
            }
            while let Some((&(due, call), &tries)) = arrivals.first_key_value() {
                if due > clock {
                    break;
                }
                arrivals.remove(&(due, call));
                if !answered.contains(&call) {
                    waiting.push(call, at(due), (call, due));
                    if tries < 3 {
                        arrivals.insert((due + (REPEAT << tries), call), tries + 1);
                    }
                }
            }
            outcome.longest_line = outcome.longest_line.max(waiting.len());
            match waiting.next(at(clock), true, |_| controlled) {
                Some(Fate::Serve((call, due))) => {
                    clock += self.invite;
                    if answered.insert(call) && clock - due < REPEAT {
                        outcome.good += 1;
                    } else {
                        outcome.late += 1;
                    }
                    serial += 1;
                    inside.insert((clock + APART, serial), INSIDE);
                }
                Some(Fate::Refuse((call, _))) => {
                    clock += self.refusal;
                    answered.insert(call);
                    outcome.refused += 1;
                }
                None => {
                    let next = [
                        arrivals.first_key_value().map(|(key, _)| key.0),
                        inside.first_key_value().map(|(key, _)| key.0),
                    ];
                    let next = next.into_iter().flatten().min();
                    clock = next.map_or(u64::MAX, |next| next.max(clock + 1));
                }
            }
        }
        outcome
    }

    /// Calls that were well served a second, at each load, as parts of the capacity.
    fn goodput(&self, load: f64) -> (f64, Outcome) {
        let outcome = self.run(load, 12, true);
        (outcome.good as f64 / 12.0 / self.capacity(), outcome)
    }
}

const WHOLE: Model = Model {
    invite: 90,
    inside: 30,
    refusal: 8,
    slice: 100_000,
    period: 100_000,
};
/// A quarter of a processor, as a control group gives it.
const QUARTER: Model = Model {
    slice: 25_000,
    ..WHOLE
};

/// Collapse instead of 503 when a queue grows: beyond its capacity a worker must go on to serve what
/// it can, and refuse the rest while its callers still listen.
#[test]
fn goodput_stays_when_four_times_the_capacity_comes() {
    for (name, model) in [("whole", WHOLE), ("quarter", QUARTER)] {
        for (load, wanted) in [
            (0.5, 0.49),
            (0.9, 0.88),
            (1.0, 0.95),
            (1.2, 0.92),
            (2.0, 0.92),
            (4.0, 0.85),
        ] {
            let (goodput, outcome) = model.goodput(load);
            assert!(
                goodput >= wanted,
                "{name} at {load}: {goodput:.3} {outcome:?}"
            );
            assert_eq!(outcome.late, 0, "{name} at {load}: {outcome:?}");
            assert!(
                outcome.longest_line <= MOST,
                "{name} at {load}: {outcome:?}"
            );
            // Calls that are up feel nothing: no message of theirs waits for new ones.
            assert!(
                outcome.worst_inside < 10_000,
                "{name} at {load}: {outcome:?}"
            );
            if load < 0.95 {
                assert_eq!(outcome.refused, 0, "{name} at {load}: {outcome:?}");
            }
        }
    }
}

/// What the queue is there to prevent, by the same model: without it, callers are served when they
/// have gone on.
#[test]
fn without_refusals_the_model_collapses() {
    let outcome = WHOLE.run(4.0, 12, false);
    let goodput = outcome.good as f64 / 12.0 / WHOLE.capacity();
    assert!(goodput < 0.3, "{goodput:.3} {outcome:?}");
    assert!(outcome.late > outcome.good, "{outcome:?}");
}
