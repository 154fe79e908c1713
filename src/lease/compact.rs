//! A lease in memory: what ten million of them can afford.

use super::pool::Pool;
use super::{LeaseRecord, Member};
use crate::domain::numbering::NumberStyle;
use crate::domain::{CustomerId, E164, LeaseKind, Phone, ReferenceId, UnixMillis};
use smallvec::SmallVec;
use std::collections::BTreeMap;

/// A running lease.
#[derive(Debug)]
pub struct Lease {
    /// Its reference.
    pub reference: ReferenceId,
    /// Its end.
    pub expires: UnixMillis,
    phone: E164,
    /// What most leases do not have.
    rare: Option<Box<Rare>>,
    /// Whose it is.
    pub customer: CustomerId,
    slot: u32,
    spelling: u16,
    /// Its kind.
    pub kind: LeaseKind,
}

#[derive(Debug, Default)]
struct Rare {
    /// Group: slot, phone and its spelling.
    second: Option<(u32, Phone)>,
    whitelist: Box<[E164]>,
    /// The first phone's spelling, where [`Spellings`] has no style for it.
    spelled: Option<Box<str>>,
}

impl Lease {
    /// `None` where a member's number is not in the pool, or there is none.
    pub fn new(
        reference: ReferenceId,
        record: &LeaseRecord,
        pool: &Pool,
        spellings: &mut Spellings,
    ) -> Option<Self> {
        let first = record.members.first()?;
        let slot = pool.find(first.number)?;
        let spelling = spellings.style(&first.phone);
        let second = match record.members.get(1) {
            Some(member) => Some((pool.find(member.number)?, member.phone.clone())),
            None => None,
        };
        let rare = Rare {
            second,
            whitelist: record.whitelist.clone().into_boxed_slice(),
            spelled: spelling.is_none().then(|| first.phone.spelling.clone()),
        };
        let common = rare.second.is_none() && rare.whitelist.is_empty() && rare.spelled.is_none();
        Some(Self {
            reference,
            expires: record.expires,
            phone: first.phone.number,
            rare: (!common).then(|| Box::new(rare)),
            customer: record.customer,
            slot,
            spelling: spelling.unwrap_or(0),
            kind: record.kind,
        })
    }

    /// As it is stored.
    pub fn record(&self, pool: &Pool, spellings: &Spellings) -> Option<LeaseRecord> {
        let mut members = SmallVec::new();
        for slot in self.slots() {
            members.push(Member {
                number: pool.number(slot)?,
                phone: self.phone_at(slot, spellings)?,
            });
        }
        Some(LeaseRecord {
            customer: self.customer,
            kind: self.kind,
            expires: self.expires,
            members,
            whitelist: self.whitelist().to_vec(),
        })
    }

    /// Its numbers' slots.
    #[must_use]
    pub fn slots(&self) -> SmallVec<[u32; 2]> {
        let mut slots = SmallVec::new();
        slots.push(self.slot);
        if let Some((slot, _)) = self.second() {
            slots.push(*slot);
        }
        slots
    }

    /// Its members' phones.
    #[must_use]
    pub fn phones(&self) -> SmallVec<[E164; 2]> {
        let mut phones = SmallVec::new();
        phones.push(self.phone);
        if let Some((_, phone)) = self.second() {
            phones.push(phone.number);
        }
        phones
    }

    /// Who may call a single lease; empty: anyone.
    #[must_use]
    pub fn whitelist(&self) -> &[E164] {
        self.rare.as_ref().map_or(&[], |rare| &rare.whitelist)
    }

    /// The number of the subscriber whom `slot` stands for.
    #[must_use]
    pub fn target_at(&self, slot: u32) -> Option<E164> {
        if slot == self.slot {
            return Some(self.phone);
        }
        match self.second() {
            Some((second, phone)) if *second == slot => Some(phone.number),
            _ => None,
        }
    }

    /// Group: the other member's slot and phone, seen from `slot`.
    #[must_use]
    pub fn other_member(&self, slot: u32) -> Option<(u32, E164)> {
        let (second, phone) = self.second()?;
        if slot == *second {
            Some((self.slot, self.phone))
        } else {
            Some((*second, phone.number))
        }
    }

    /// The subscriber whom `slot` stands for, with the client's spelling.
    pub fn phone_at(&self, slot: u32, spellings: &Spellings) -> Option<Phone> {
        if slot == self.slot {
            let spelled = self.rare.as_ref().and_then(|rare| rare.spelled.clone());
            return Some(Phone {
                number: self.phone,
                spelling: match spelled {
                    Some(spelled) => spelled,
                    None => spellings.show(self.spelling, self.phone)?,
                },
            });
        }
        self.second()
            .filter(|(second, _)| *second == slot)
            .map(|(_, phone)| phone.clone())
    }

    fn second(&self) -> Option<&(u32, Phone)> {
        self.rare.as_ref()?.second.as_ref()
    }
}

/// Most styles kept; clients that write otherwise cost a string a lease.
const MAX_STYLES: u16 = 256;

/// The few ways in which clients write numbers without separators, so that a lease keeps two
/// bytes of its phone's spelling instead of a string.
#[derive(Debug, Default)]
pub struct Spellings {
    styles: Vec<NumberStyle>,
    places: BTreeMap<NumberStyle, u16>,
}

impl Spellings {
    fn style(&mut self, phone: &Phone) -> Option<u16> {
        let style = NumberStyle::of(phone.number, &phone.spelling)?;
        if style.show(phone.number) != *phone.spelling {
            return None;
        }
        self.place(style)
    }

    /// The place of a style, which is kept from now on; `None` when there are too many.
    pub fn place(&mut self, style: NumberStyle) -> Option<u16> {
        if let Some(place) = self.places.get(&style) {
            return Some(*place);
        }
        let place = u16::try_from(self.styles.len())
            .ok()
            .filter(|place| *place < MAX_STYLES)?;
        self.styles.push(style.clone());
        self.places.insert(style, place);
        Some(place)
    }

    fn show(&self, place: u16, number: E164) -> Option<Box<str>> {
        self.styles
            .get(usize::from(place))
            .map(|style| style.show(number).into_boxed_str())
    }
}
