//! What the gateway says, and whether it may.

use super::super::checks::privacy;
use super::super::checks::wire::is_caller_side;
use super::super::node::{CARRIERS, DEAD, GATEWAY, Said, addr};
use super::super::text;
use super::{Broken, Checked, Event, World};
use crate::books::Ticket;
use crate::books::command::{Answer, Command, Outcome, Reply};
use crate::domain::{CallRecord, ChargeMethod, LeaseKind};
use crate::store::Change;
use bytes::Bytes;
use std::net::SocketAddr;
use std::time::Duration;

impl World {
    pub(super) fn hear(&mut self, said: Vec<Said>) -> Checked {
        for one in said {
            match one {
                Said::Transmit(bytes, path) => self.transmitted(bytes, path.remote)?,
                Said::Reply(ticket, reply, settled) => self.replied(ticket, &reply, settled)?,
                Said::Ended(record) => self.call_ended(&record)?,
                Said::GuardHit => self.summary.count("guard_hits"),
                Said::Committed(batch) => {
                    self.summary.count("commits");
                    self.committed(&batch)?;
                }
                Said::Failed => {
                    self.summary.count("failed_commits");
                    self.faulted = true;
                }
                Said::Stopped(batch) => self.uncertain = Some(batch),
            }
        }
        let imbalance = self
            .node
            .as_ref()
            .map_or(0, |n| n.books.figures().ledger_imbalance);
        if imbalance != 0 {
            return Err(format!("the ledger is out of balance by {imbalance}"));
        }
        Ok(())
    }

    pub(super) fn transmitted(&mut self, bytes: Bytes, to: SocketAddr) -> Checked {
        let mut text = String::from_utf8_lossy(&bytes).into_owned();
        let id = text::header(&text, "Call-ID").to_owned();
        self.summary.sent(&bytes);
        if self.broken == Some(Broken::Leak) && text.starts_with("SIP/2.0 18") {
            let other = "60122223333 60144445555";
            text = text.replacen("\r\nCSeq:", &format!("\r\nX-Leak: {other}\r\nCSeq:"), 1);
        }
        let caller = is_caller_side(to);
        if caller && text::status(&text) == Some(401) && text::cseq(&text) == (2, "INVITE") {
            // Another process asked: the nonce is stale, and the telephone gives up.
            self.invites.retain(|call, count| *call != id || *count > 0);
        }
        self.wire.sent(&text, caller, self.now);
        if !self.weather.wild {
            let fault = self.messages.sent(&text);
            fault.map_err(|fault| format!("{fault}: {text:?}"))?;
        }
        if caller && !self.weather.wild {
            let own = id.split(['.', '@']).nth(1).unwrap_or_default();
            privacy::to_caller(text.as_bytes(), own)?;
        } else if !caller && (CARRIERS.contains(&to.to_string().as_str()) || to == addr(DEAD)) {
            if to == addr(DEAD) && text.starts_with("INVITE") {
                self.summary.count("to_a_dead_hop");
            }
            privacy::to_callee(text.as_bytes())?;
        } else if !caller && !self.weather.wild {
            // A Contact that was mangled on its way is nobody's.
            return Err(format!("a message to {to}, where nobody is"));
        }
        self.send(addr(GATEWAY), to, bytes);
        Ok(())
    }

    pub(super) fn replied(&mut self, ticket: Ticket, reply: &Reply, settled: bool) -> Checked {
        let now = self.now().wall;
        if ticket == Ticket(0) {
            if matches!(reply, Reply::Outcome(Err(_))) {
                self.at(self.now + Duration::from_secs(1), Event::Pool);
            }
            return Ok(());
        }
        let Some(request) = self.requests.remove(&ticket) else {
            return Err("an answer to nobody".to_owned());
        };
        match reply {
            Reply::Outcome(Err(code)) if code.0 == 99 && request.key.is_some() => {
                self.ask_again(request);
                Ok(())
            }
            Reply::Outcome(outcome) => {
                let outcome = self.tampered(outcome.clone());
                if matches!(&outcome, Ok(Answer::Lease(_))) {
                    self.summary.count("leases");
                }
                let command = &request.command;
                if settled && matches!(command, Command::ViewCustomer(_)) {
                    self.is_balance(&outcome)?;
                }
                self.answers.answered(command, &outcome, &self.ledger, now)
            }
            Reply::Kept(code, _) if code.0 == 0 => {
                self.summary.count("again");
                let command = &request.command;
                self.answers.answered_again(command, &self.ledger, now)
            }
            Reply::Kept(..) => Ok(()),
        }
    }

    /// A balance in an answer is entries plus open calls, once nothing is under way.
    pub(super) fn is_balance(&self, outcome: &Outcome) -> Checked {
        if let Ok(Answer::Customer(answer)) = outcome {
            let balance = self.ledger.balance(answer.customer.id);
            if balance != answer.balance.0 {
                return Err(format!(
                    "{} was told a balance of {}; it is {balance}",
                    answer.customer.id, answer.balance
                ));
            }
        }
        Ok(())
    }

    pub(super) fn tampered(&self, mut outcome: Outcome) -> Outcome {
        if let Ok(Answer::Lease(lease)) = &mut outcome
            && self.broken == Some(Broken::DoubleLease)
        {
            for (number, _) in &mut lease.pairs {
                number.clone_from(&"+60388880000".to_owned());
            }
        }
        outcome
    }

    pub(super) fn call_ended(&mut self, record: &CallRecord) -> Checked {
        if !self.ended.insert(record.call_id) {
            return Err(format!("call {} ended twice", record.call_id));
        }
        self.summary.reason(&record.reason);
        if let Some(vouching) = &record.vouching {
            self.summary.count(vouching.verdict.name());
        }
        if record.answered_at.is_some() {
            self.summary.count("answered");
        } else {
            self.summary.count("refused");
        }
        if self.loud {
            println!("{:9.3} ended: {record:?}", self.seconds());
        }
        if self.weather.wild {
            return Ok(());
        }
        let Some(count) = self.invites.get_mut(&*record.caller_leg_call_id) else {
            return Err(format!("call {} began without an INVITE", record.call_id));
        };
        *count += 1;
        if *count > 1 {
            return Err(format!("{} was two calls", record.caller_leg_call_id));
        }
        self.answers.ended(record)
    }

    pub(super) fn committed(&mut self, batch: &[Change]) -> Checked {
        if self.broken == Some(Broken::LostCommit) && self.summary.of("commits") % 10 == 9 {
            return Ok(());
        }
        for call in self.ledger.committed(batch)? {
            let Some(record) = self.ledger.records.get(&call).cloned() else {
                continue;
            };
            if self.broken == Some(Broken::LostRecord) && record.blocks == 0 {
                continue;
            }
            self.summary.add("charged", record.blocks);
            let left = self.left_open.remove(&call);
            let crashed = (&*record.reason == "crash").then_some(());
            let crashed = crashed.and(self.crashed_at.zip(left));
            self.summary.add("recovered", u64::from(crashed.is_some()));
            if !self.weather.wild {
                let exact = !self.faulted && self.weather.commit < 100;
                let patient = !self.hurried && !self.cut_off;
                // Nobody's method of charging is changed here.
                let account = record
                    .customer_id
                    .and_then(|id| self.ledger.accounts.get(&id));
                let prepaid = account
                    .is_some_and(|account| account.customer.charge_method == ChargeMethod::Prepaid);
                let known = (exact, patient, prepaid);
                self.wire.agrees(&record, known, crashed)?;
                self.is_private(&record)?;
            }
            self.records.push(record);
        }
        Ok(())
    }

    /// Nothing that was sent to the callee said who calls, where that is hidden; and what it was
    /// shown is what the record says.
    pub(super) fn is_private(&self, record: &CallRecord) -> Checked {
        let Some(leg) = self.wire.callee_leg(record) else {
            return Ok(());
        };
        let hidden = self.weather.single_leased && record.lease_kind == Some(LeaseKind::Single);
        for text in &leg.sent {
            privacy::to_callee_of(record, hidden, text.as_bytes())?;
        }
        let shown = record.shown_number.replace('+', "");
        let group = record.lease_kind == Some(LeaseKind::Group);
        if group && (leg.shown != shown || !shown.starts_with("6038888")) {
            return Err(format!("the callee was shown {}, not {shown}", leg.shown));
        }
        Ok(())
    }
}
