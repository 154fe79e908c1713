//! What the API answered stays so, across failures and crashes (lease-api 6).

use super::books::Ledger;
use crate::books::command::{Answer, Command, Outcome};
use crate::books::records::EntryKind;
use crate::domain::{CallRecord, CustomerId, ReferenceId, UnixMillis};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A lease that was granted.
#[derive(Clone, Debug)]
struct Granted {
    numbers: Vec<String>,
    /// Who may call each, where that is one alone.
    callers: Vec<Option<String>>,
    expires: UnixMillis,
    at: UnixMillis,
    /// When a release of it was asked for first: since then it may be gone.
    release_asked: Option<UnixMillis>,
    released: Option<UnixMillis>,
}

/// All answers so far.
#[derive(Default)]
pub struct Answers {
    leases: BTreeMap<ReferenceId, Granted>,
    /// Releases that were asked for, maybe before the lease was granted.
    released: BTreeMap<ReferenceId, UnixMillis>,
    customers: BTreeSet<CustomerId>,
    /// Top-ups by their figure, which no two share.
    topups: BTreeMap<i64, CustomerId>,
    refused_topups: BTreeSet<i64>,
    cooldown: Duration,
    /// The wall clock only ever goes on: what ends when can be told.
    steady: bool,
    /// And never leaps over the time for which answers are kept.
    remembers: bool,
}

impl Answers {
    /// None yet. `cooldown`: how long a number rests.
    pub fn new(cooldown: Duration, steady: bool, remembers: bool) -> Self {
        Self {
            cooldown,
            steady,
            remembers,
            ..Self::default()
        }
    }

    /// A command is on its way: from now on it may have been done.
    pub fn asked(&mut self, command: &Command, now: UnixMillis) {
        if let Command::Release { reference, .. } = command {
            let at = *self.released.entry(*reference).or_insert(now);
            if let Some(lease) = self.leases.get_mut(reference) {
                lease.release_asked = Some(at);
            }
        }
    }

    /// A fresh answer.
    pub fn answered(
        &mut self,
        command: &Command,
        outcome: &Outcome,
        ledger: &Ledger,
        now: UnixMillis,
    ) -> Result<(), String> {
        match (command, outcome) {
            (_, Ok(Answer::Lease(lease))) if !matches!(command, Command::QueryLease { .. }) => {
                let digits = |(shown, _): &(String, String)| shown.replace('+', "");
                let numbers: Vec<String> = lease.pairs.iter().map(digits).collect();
                let callers = match command {
                    Command::LeaseGroup { phones, .. } => {
                        let others = phones.iter().rev();
                        others.map(|phone| Some(phone.number.digits())).collect()
                    }
                    _ => vec![None],
                };
                let granted = Granted {
                    numbers,
                    callers,
                    expires: lease.expires,
                    at: now,
                    release_asked: self.released.get(&lease.reference).copied(),
                    released: None,
                };
                self.granted(lease.reference, granted)
            }
            (Command::QueryLease { reference, .. }, Err(code)) => {
                let running = self
                    .leases
                    .get(reference)
                    .is_some_and(|lease| lease.release_asked.is_none() && lease.expires > now);
                if running && self.steady && code.0 == 10 {
                    return Err(format!("lease {reference} is running and not found"));
                }
                Ok(())
            }
            (Command::Release { reference, .. }, Ok(_)) => {
                if let Some(lease) = self.leases.get_mut(reference) {
                    lease.released.get_or_insert(now);
                }
                if ledger.leases.contains_key(reference) {
                    return Err(format!(
                        "lease {reference} was released and is still stored"
                    ));
                }
                Ok(())
            }
            (Command::CreateCustomer { .. }, Ok(Answer::Created(id))) => {
                if !self.customers.insert(*id) {
                    return Err(format!("customer {id} was created twice"));
                }
                Ok(())
            }
            (Command::TopUp { customer, credit }, Ok(_)) => {
                self.topups.insert(credit.0, *customer);
                self.kept(ledger, now)
            }
            (Command::TopUp { credit, .. }, Err(_)) => {
                self.refused_topups.insert(credit.0);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The answer of an earlier request with the same key: it was done, once.
    pub fn answered_again(
        &mut self,
        command: &Command,
        ledger: &Ledger,
        now: UnixMillis,
    ) -> Result<(), String> {
        if let Command::TopUp { customer, credit } = command {
            self.refused_topups.remove(&credit.0);
            self.topups.insert(credit.0, *customer);
        }
        self.kept(ledger, now)
    }

    fn granted(&mut self, reference: ReferenceId, granted: Granted) -> Result<(), String> {
        let (numbers, now) = (&granted.numbers, granted.at);
        for (other, lease) in &self.leases {
            let end = lease.release_asked.unwrap_or(lease.expires);
            let free = end.min(lease.expires).plus(self.cooldown);
            if let Some(number) = lease.numbers.iter().find(|n| numbers.contains(n))
                && free > now
                && self.steady
            {
                return Err(format!(
                    "number {number} is leased twice: to {other} (until {}) and to {reference}",
                    free.0
                ));
            }
        }
        self.leases.insert(reference, granted);
        Ok(())
    }

    /// Numbers that are leased now, and who may call each, where that is one alone.
    pub fn leased(&self, now: UnixMillis) -> Vec<(&str, Option<String>)> {
        let running = self.leases.values().filter(|lease| lease.expires > now);
        running
            .flat_map(|lease| {
                let callers = lease.callers.iter().cloned();
                lease.numbers.iter().map(String::as_str).zip(callers)
            })
            .collect()
    }

    /// Everything that was answered is in the store, once; nothing that was refused is.
    pub fn kept(&self, ledger: &Ledger, now: UnixMillis) -> Result<(), String> {
        for (reference, lease) in &self.leases {
            let stored = ledger.leases.get(reference);
            if lease.released.is_some() && stored.is_some() {
                return Err(format!("lease {reference} was released and is back"));
            }
            if lease.release_asked.is_none() && lease.expires > now && self.steady {
                let stored = stored.ok_or(format!("lease {reference} was granted and is lost"))?;
                let numbers = stored.members.iter().map(|m| m.number.digits());
                if !numbers.eq(lease.numbers.iter().cloned()) {
                    return Err(format!("lease {reference} has other numbers now"));
                }
            }
        }
        for customer in &self.customers {
            if !ledger.accounts.contains_key(customer) {
                return Err(format!("customer {customer} was created and is lost"));
            }
        }
        let count = |figure: i64| {
            let found = ledger
                .entries
                .values()
                .filter(|entry| entry.kind == EntryKind::Topup && entry.credit.0 == figure);
            found.count()
        };
        for (figure, customer) in &self.topups {
            let times = count(*figure);
            if times == 0 || (times > 1 && self.remembers) {
                return Err(format!(
                    "a top-up of {figure} for {customer} was done {} times",
                    count(*figure)
                ));
            }
        }
        match self.refused_topups.iter().find(|f| count(**f) != 0) {
            Some(figure) => Err(format!("a top-up of {figure} was refused and done")),
            None => Ok(()),
        }
    }

    /// A call's end agrees with the leases as they were answered.
    pub fn ended(&self, record: &CallRecord) -> Result<(), String> {
        if let Some(reference) = record.reference_id
            && let Some(lease) = self.leases.get(&reference)
            && let Some(released) = lease.released
            && record.received_at > released
            && self.steady
        {
            return Err(format!(
                "a call reached lease {reference} after its release"
            ));
        }
        if !matches!(&*record.reason, "no_lease" | "unknown_number") {
            return Ok(());
        }
        let dialled = record.leased_number.replace('+', "");
        let running = self.leases.iter().find(|(_, lease)| {
            lease.numbers.contains(&dialled)
                && lease.at <= record.received_at
                && lease.expires > record.ended_at
                && lease.release_asked.is_none()
                && self.steady
        });
        match running {
            Some((reference, _)) => Err(format!(
                "a call to {dialled} was refused ({}) though lease {reference} is running",
                record.reason
            )),
            None => Ok(()),
        }
    }
}
