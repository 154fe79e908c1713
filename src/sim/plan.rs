//! What is to happen in a seed's world: drawn beforehand where it can be.

use super::chance::Chance;
use super::phone::{CalleePlan, CallerPlan, Hold, Timer, UpPlan};
use crate::books::command::{Command, CustomerUpdate, Unreserve};
use crate::domain::srtp::Srtp;
use crate::domain::{
    ChargeMethod, Credit, Customer, CustomerId, CustomerScope, E164, LeaseKind, Phone, ReferenceId,
    Tariff, UnixMillis,
};
use crate::media::settings::MediaSource;
use crate::sip::agent::IdentityPolicy;
use crate::store::memory::{Fault, FaultPlan};
use std::time::Duration;

pub const CUSTOMERS: u64 = 2;
/// Two who lease numbers, and a stranger.
pub const ALICE: &str = "60144445555";
pub const BOB: &str = "60122223333";
pub const STRANGER: &str = "60166667777";
/// Numbers that are lent out: the last digit is drawn.
pub const POOL: u64 = 8;

/// What the world is like in one seed.
#[derive(Clone, Debug)]
pub struct Weather {
    /// Of a hundred datagrams.
    pub loss: u64,
    /// Of a hundred datagrams.
    pub duplication: u64,
    /// Milliseconds, at most.
    pub delay: u64,
    /// Milliseconds, at most.
    pub commit: u64,
    pub faults: FaultPlan,
    /// Somebody sets the wall clock.
    pub clock_steps: bool,
    /// And by how much once more, milliseconds: an hour or a day, while calls are up.
    pub clock_leap: i64,
    /// Carriers whose sound is on IPv6.
    pub ipv6: [bool; 3],
    pub cooldown: Duration,
    pub hang_up_at_end: bool,
    pub calls_per_lease: u32,
    pub single_leased: bool,
    pub last_port: u16,
    pub probes: bool,
    /// Somebody sends what is no SIP, or nearly is.
    pub wild: bool,
    /// Of a hundred datagrams, those that come seconds late.
    pub stragglers: u64,
    pub source: MediaSource,
    /// Calls at once: by the inbound trunk, and by the first outbound one; 0: no cap.
    pub caps: [u32; 2],
    /// How long answers are kept.
    pub keep_answers: Duration,
    /// Callers must prove a password.
    pub proves: bool,
    /// Callees' carriers ask the gateway for its own.
    pub asks: bool,
    /// What calls must present.
    pub identity: IdentityPolicy,
    /// What goes out is signed.
    pub signs: bool,
    /// Refused callers hear why, and others that their credit is about to end.
    pub announces: bool,
    /// The first outbound trunk is a name, and the DNS says now this and now that of it.
    pub named: bool,
    /// Carriers are reached by TCP: nothing is lost, doubled or overtaken.
    pub reliable: bool,
    /// Carriers whose telephones have SRTP, and what their trunks say of it.
    pub srtp: [Srtp; 3],
}

impl Weather {
    /// `late` decides what came to be decided later, so that a seed goes on doing what it did.
    /// And `later` what came after that.
    pub fn new(chance: &mut Chance, late: &mut Chance, later: &mut Chance) -> Self {
        let stormy = chance.percent(50);
        let (loss, duplication) = (chance.below(30), chance.below(10));
        let (faults, per_mille) = (chance.next(), 10 + chance.below(150));
        let mut vouching = Chance::new(!faults);
        let mut weather = Self {
            loss: if stormy { loss } else { 0 },
            duplication: if stormy { duplication } else { 0 },
            delay: 1 + chance.below(80),
            commit: if chance.percent(10) {
                3000
            } else {
                chance.below(30)
            },
            clock_steps: chance.percent(10),
            clock_leap: leap(late),
            ipv6: [late.percent(25), late.percent(25), late.percent(25)],
            faults: match chance.below(10) {
                0..=2 => FaultPlan::from_seed(faults, 400, per_mille),
                3 | 4 => outage(chance),
                _ => FaultPlan::none(),
            },
            cooldown: Duration::from_secs(chance.below(2) * 5),
            hang_up_at_end: chance.percent(30),
            calls_per_lease: u32::from(chance.percent(50)),
            single_leased: chance.percent(20),
            last_port: if chance.percent(10) { 20_007 } else { 20_063 },
            probes: chance.percent(30),
            wild: chance.percent(10),
            stragglers: if stormy { chance.below(3) } else { 0 },
            source: match chance.below(4) {
                0 => MediaSource::Address,
                1 => MediaSource::Latch,
                _ => MediaSource::AddressAndPort,
            },
            caps: [chance.below(40), chance.below(20)].map(|cap| {
                if cap < 4 {
                    u32::try_from(cap).unwrap()
                } else {
                    0
                }
            }),
            keep_answers: Duration::from_secs(if chance.percent(30) { 30 } else { 86_400 }),
            proves: later.percent(15),
            asks: later.percent(15),
            identity: match vouching.below(10) {
                0..=2 => IdentityPolicy::Record,
                3 => IdentityPolicy::Require,
                _ => IdentityPolicy::Off,
            },
            signs: vouching.percent(40),
            announces: vouching.percent(40),
            named: late.percent(40),
            reliable: false,
            srtp: [Srtp::None; 3],
        };
        // The sound of a trunk that is found by name is of the family of the address that was found.
        weather.ipv6[1] &= !weather.named;
        weather
    }
}

/// What trunks say of SRTP: their telephones have it where it is not nothing.
pub fn srtp(seed: u64) -> [Srtp; 3] {
    let mut chance = Chance::new(seed.wrapping_add(4 << 48));
    [(); 3].map(|()| match chance.below(10) {
        0 | 1 => Srtp::Offered,
        2 => Srtp::Required,
        _ => Srtp::None,
    })
}

impl Weather {
    /// Whether nobody sets the wall clock.
    pub fn is_steady(&self) -> bool {
        !self.clock_steps && self.clock_leap == 0
    }

    /// Whether the wall clock never leaps over the time for which answers are kept.
    pub fn keeps_answers(&self) -> bool {
        let leap = Duration::from_millis(self.clock_leap.unsigned_abs());
        self.is_steady() || self.keep_answers > leap + Duration::from_secs(600)
    }
}

/// How far a clock is set by somebody who means it.
fn leap(chance: &mut Chance) -> i64 {
    let leaps = [3_600_000, -3_600_000, 86_400_000, -86_400_000];
    let place = usize::try_from(chance.below(4)).unwrap();
    if chance.percent(10) { leaps[place] } else { 0 }
}

/// A disk that is full, or fails, for a while.
fn outage(chance: &mut Chance) -> FaultPlan {
    let first = chance.below(80);
    let fault = match chance.below(3) {
        0 => Fault::Full,
        1 => Fault::Spent,
        _ => Fault::Fail,
    };
    let last = first + 2 + chance.below(40);
    (first..last).fold(FaultPlan::none(), |plan, commit| plan.with(commit, fault))
}

/// A customer, prepaid or not, rich or poor.
pub fn customer(chance: &mut Chance) -> Command {
    let block = 1 + small(chance, 12);
    let rate = Credit(i64::from(small(chance, 50)));
    let tariff = Tariff {
        block_seconds: block,
        rate,
    };
    let prepaid = chance.percent(70);
    let customer = Customer {
        id: CustomerId(0),
        first_name: "Sim".into(),
        last_name: "Customer".into(),
        suspended: false,
        charge_method: if prepaid {
            ChargeMethod::Prepaid
        } else {
            ChargeMethod::Postpaid
        },
        enable_single: true,
        enable_group: true,
        tariff_single: tariff,
        tariff_group: tariff,
        max_lease_single: 0,
        max_lease_group: 0,
        date_created: UnixMillis(0),
        date_suspended: None,
    };
    let opening = Credit(i64::from(small(chance, 800)));
    Command::CreateCustomer {
        customer: Box::new(customer),
        opening,
    }
}

/// A lease that ends within two minutes of `now`.
pub fn lease(chance: &mut Chance, now: UnixMillis) -> Command {
    let reference = ReferenceId(uuid::Uuid::from_u64_pair(chance.next(), chance.next()));
    let customer = any_customer(chance);
    let life = if chance.percent(20) { 15_000 } else { 100_000 };
    let expires = now.plus(Duration::from_millis(5_000 + chance.below(life)));
    if chance.percent(50) {
        let to = if chance.percent(75) { BOB } else { ALICE };
        let whitelist = if chance.percent(15) {
            vec![number(STRANGER)]
        } else {
            Vec::new()
        };
        Command::LeaseSingle {
            reference,
            customer,
            phone: phone(to),
            expires,
            whitelist,
        }
    } else {
        let phones = [phone(ALICE), phone(BOB)];
        Command::LeaseGroup {
            reference,
            customer,
            phones,
            expires,
        }
    }
}

/// Anything else that an API client may ask for. `references`: leases asked for before.
/// `unique`: no other top-up has this figure.
pub fn other(
    chance: &mut Chance,
    now: UnixMillis,
    references: &[(LeaseKind, ReferenceId)],
    unique: i64,
) -> Command {
    let customer = any_customer(chance);
    match chance.below(11) {
        0 | 1 => Command::TopUp {
            customer,
            credit: Credit(if chance.percent(70) { unique } else { -unique }),
        },
        2 => Command::UpdateCustomer {
            customer,
            update: Box::new(CustomerUpdate {
                suspended: chance.percent(50).then(|| chance.percent(50)),
                first_name: Some("Renamed".into()),
                enable_group: chance.percent(10).then_some(false),
                rate_single: chance.percent(50).then_some(Credit(7)),
                block_group: chance.percent(50).then_some(3),
                ..Default::default()
            }),
        },
        3 => Command::Reserve {
            customer,
            quantity: 1 + small(chance, 2),
        },
        4 => Command::Unreserve {
            customer,
            what: Unreserve::Quantity(1),
        },
        5 => Command::ViewCustomer(customer),
        6 => Command::RetireNumber(number(&pool_number(chance))),
        7..=9 if !references.is_empty() => {
            let place = usize::try_from(chance.below(references.len() as u64)).unwrap();
            let (kind, reference) = references[place];
            let scope = CustomerScope::All;
            if chance.percent(70) {
                Command::Release {
                    kind,
                    reference,
                    scope,
                }
            } else {
                Command::QueryLease {
                    kind,
                    reference,
                    scope,
                }
            }
        }
        _ => lease(chance, now),
    }
}

/// What a caller does.
pub fn caller(chance: &mut Chance) -> CallerPlan {
    let numbers = [ALICE, ALICE, BOB, BOB, STRANGER];
    let up = up(chance);
    CallerPlan {
        number: numbers[usize::try_from(chance.below(5)).unwrap()].to_owned(),
        withheld: chance.percent(10),
        cancel_after: chance.maybe_millis(15, 6000),
        never_ack: chance.percent(4),
        delayed_offer: chance.percent(10),
        up: UpPlan {
            timer: if chance.percent(2) {
                Timer::Hurries
            } else {
                up.timer
            },
            ..up
        },
    }
}

/// What a callee does.
pub fn callee(chance: &mut Chance) -> CalleePlan {
    let codes = [404, 486, 480, 503, 603, 302, 500, 408, 401];
    let code = codes[usize::try_from(chance.below(9)).unwrap()];
    CalleePlan {
        refuse: chance.percent(12).then_some(code),
        forks: u8::try_from(chance.below(4)).unwrap(),
        second_answer: chance.percent(10),
        early_media: chance.percent(30),
        trying: chance.percent(50),
        answer_after: chance.maybe_millis(92, 5000),
        dead: chance.percent(4),
        up: up(chance),
    }
}

fn up(chance: &mut Chance) -> UpPlan {
    let holds = [
        Hold::SendOnly,
        Hold::Inactive,
        Hold::ZeroAddress,
        Hold::Empty,
    ];
    let timers = [
        Timer::None,
        Timer::None,
        Timer::Refreshes,
        Timer::Refreshes,
        Timer::Watches,
        Timer::Watches,
        Timer::None,
        Timer::Forgets,
    ];
    let odd = ["INFO", "INFO", "REFER", "UPDATE", "OPTIONS", "MESSAGE"];
    UpPlan {
        hang_up_after: chance.maybe_millis(60, 30_000),
        hold_after: chance.maybe_millis(20, 8000),
        hold: holds[usize::try_from(chance.below(4)).unwrap()],
        vanish_after: chance.maybe_millis(4, 8000),
        silent: chance.percent(8),
        odd_after: chance.maybe_millis(10, 8000),
        odd: odd[usize::try_from(chance.below(6)).unwrap()],
        timer: timers[usize::try_from(chance.below(8)).unwrap()],
    }
}

/// One of the numbers that are lent out, or one that is not.
pub fn pool_number(chance: &mut Chance) -> String {
    format!("6038888{:04}", chance.below(POOL + 1))
}

pub fn number(digits: &str) -> E164 {
    E164::from_digits(digits).unwrap()
}

fn phone(digits: &str) -> Phone {
    Phone {
        number: number(digits),
        spelling: format!("+{digits}").into(),
    }
}

fn any_customer(chance: &mut Chance) -> CustomerId {
    CustomerId(1 + small(chance, CUSTOMERS))
}

fn small(chance: &mut Chance, bound: u64) -> u32 {
    u32::try_from(chance.below(bound)).unwrap()
}
