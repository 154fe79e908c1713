//! The end: what must not be left over.

use super::super::checks::books::Ledger;
use super::super::phone::State;
use super::{Checked, World};
use crate::domain::{CallRecord, TrunkId};
use crate::media::settings::MediaSource;
use std::collections::BTreeMap;

impl World {
    /// Probes of trunks would go on for ever.
    pub(super) fn stop_probing(&mut self) {
        let now = self.now();
        if self.probing && self.now > self.planned_until {
            self.probing = false;
            self.weather.probes = false;
            if let Some(node) = &mut self.node {
                node.reload(false, now);
            }
        }
    }

    pub(super) fn finish(&mut self) -> Checked {
        let now = self.now().wall;
        let node = self.node.as_ref().ok_or("the gateway did not come back")?;
        let ports = node.worker.ports().count();
        let alive = node.worker.agent().alive();
        let figures = node.books.figures();
        if node.worker.calls() > 0 || figures.calls > 0 || figures.open_calls > 0 {
            return Err(format!("calls are left: {figures:?}"));
        }
        if alive != crate::sip::agent::Alive::default() {
            return Err(format!("SIP is left: {alive:?}"));
        }
        if !node.is_settled() {
            return Err("changes are left that nobody commits".to_owned());
        }
        if ports.used > 0 || ports.refused_returns > 0 || node.relay.flows() > 0 {
            return Err(format!("ports are left: {ports:?}"));
        }
        let trunks = node.worker.trunks();
        for place in 0..3 {
            let id = TrunkId(place);
            if trunks.calls(id) > 0 {
                return Err(format!("trunk {place} still counts {}", trunks.calls(id)));
            }
        }
        self.nobody_is_left_alone()?;
        self.every_call_has_its_record()?;
        self.nobody_heard_others()?;
        let found = Ledger::read(&self.store)?;
        if found != self.ledger {
            return Err("the store is not what was committed".to_owned());
        }
        self.answers.kept(&self.ledger, now)
    }

    /// Every telephone knows that its calls are over, and nothing that one asked stays unanswered.
    fn nobody_is_left_alone(&self) -> Checked {
        let excused = self.weather.wild || self.cut_off || self.summary.of("crashes") > 0;
        // A callee whose offer is not answered for want of the caller's ACK gets none either.
        let ignored = self.phones.iter().any(|phones| phones.seen.ignored > 0);
        let calm = !excused && !ignored && self.weather.loss <= 10;
        for phones in &self.phones {
            if !phones.idle() {
                return Err(format!("{} is not idle", phones.address));
            }
            if calm && phones.seen.unanswered > 0 {
                return Err(format!("{} got no answer", phones.address));
            }
            for (id, line) in &phones.lines {
                if !excused && line.state == State::Up {
                    return Err(format!("{id} is still up at {}", phones.address));
                }
                // Where the first answer is lost, the gateway may choose the second.
                let chosen = self.weather.loss == 0;
                if calm && chosen && !line.losers.is_empty() && line.state != State::Vanished {
                    return Err(format!("{id}: a fork that lost was never ended"));
                }
            }
        }
        Ok(())
    }

    pub(super) fn every_call_has_its_record(&self) -> Checked {
        if self.weather.wild {
            return Ok(());
        }
        for (id, count) in &self.invites {
            if *count != 1 || self.records_of(id).count() == 0 {
                return Err(format!(
                    "{id}: ended {count} times, {} records",
                    self.records_of(id).count()
                ));
            }
        }
        let mut answered: BTreeMap<&str, usize> = BTreeMap::new();
        for ((_, id), leg) in &self.wire.legs {
            if leg.answered_at.is_some() && leg.invited && id.contains("@10.1.") {
                *answered.entry(id).or_default() += 1;
            }
        }
        for (id, count) in answered {
            let records = self
                .records_of(id)
                .filter(|record| record.answered_at.is_some())
                .count();
            if records < count {
                return Err(format!(
                    "{id} was up {count} times and has {records} records"
                ));
            }
        }
        Ok(())
    }

    pub(super) fn records_of<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a CallRecord> {
        let records = self.records.iter();
        records.filter(move |record| &*record.caller_leg_call_id == id)
    }

    /// Where the port counts, that is: all telephones of a carrier have one address.
    pub(super) fn nobody_heard_others(&self) -> Checked {
        if self.weather.wild || self.weather.source != MediaSource::AddressAndPort {
            return Ok(());
        }
        for (life, caller, callee) in &self.heard {
            let others = self.records.iter().filter(|record| {
                (&*record.caller_leg_call_id == caller) != (&*record.callee_leg_call_id == callee)
            });
            let mut lives = others.filter(|record| {
                let key = (*life, record.caller_leg_call_id.to_string());
                self.wire.legs.contains_key(&key)
            });
            if let Some(record) = lives.find(|record| &*record.callee_leg_call_id == callee) {
                return Err(format!("{caller} was heard on call {}", record.call_id));
            }
        }
        Ok(())
    }
}
