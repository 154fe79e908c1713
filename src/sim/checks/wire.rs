//! What each call did on the wire, as seen at the gateway's socket: the gateway's own clock and
//! nothing of its own.

use super::super::text::{cseq, header, method, status, tag};
use crate::domain::CallRecord;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// 64×T1 (RFC 3261 §13.3.1.4).
const GIVE_UP: Duration = Duration::from_secs(32);

/// One leg.
#[derive(Clone, Debug, Default)]
pub struct Leg {
    /// Its INVITE came (caller) or went (callee).
    pub invited: bool,
    /// CSeq of the caller's INVITE, the latest where one was asked for a password.
    first: u32,
    /// The first 200 to its INVITE: sent to a caller, received from a callee.
    pub answered_at: Option<Instant>,
    /// To-tag of that 200.
    winner: String,
    /// When an ACK of the 200 or a BYE came from the caller first.
    pub acknowledged_at: Option<Instant>,
    /// First BYE of the dialog that was answered, sent or received.
    pub ended_at: Option<Instant>,
    /// Everything that was sent to it.
    pub sent: Vec<String>,
    /// Who the callee was shown.
    pub shown: String,
}

/// Legs by life of the gateway and Call-ID.
#[derive(Default)]
pub struct Wire {
    pub legs: BTreeMap<(u64, String), Leg>,
    pub life: u64,
}

impl Wire {
    /// The gateway's socket got a datagram.
    pub fn received(&mut self, text: &str, from_caller: bool, now: Instant) {
        let (number, kind) = cseq(text);
        let leg = self.leg(text);
        if let Some(status) = status(text) {
            if kind == "INVITE" && status / 100 == 2 && !from_caller && leg.answered_at.is_none() {
                leg.answered_at = Some(now);
                tag(header(text, "To")).clone_into(&mut leg.winner);
            }
            return;
        }
        match method(text) {
            "INVITE" if tag(header(text, "To")).is_empty() => {
                leg.invited = true;
                leg.first = leg.first.max(number);
            }
            "ACK"
                if number == leg.first
                    && from_caller
                    && leg.answered_at.is_some()
                    && tag(header(text, "To")) == leg.winner =>
            {
                leg.acknowledged_at.get_or_insert(now);
            }
            "BYE" => {
                let own = if from_caller {
                    tag(header(text, "To"))
                } else {
                    tag(header(text, "From"))
                };
                if leg.answered_at.is_some() && own == leg.winner {
                    if from_caller {
                        leg.acknowledged_at.get_or_insert(now);
                    }
                    leg.ended_at.get_or_insert(now);
                }
            }
            _ => {}
        }
    }

    /// The gateway sends a datagram.
    pub fn sent(&mut self, text: &str, to_caller: bool, now: Instant) {
        let (number, kind) = cseq(text);
        let leg = self.leg(text);
        leg.sent.push(text.to_owned());
        if let Some(status) = status(text) {
            if to_caller
                && kind == "INVITE"
                && number == leg.first
                && status == 200
                && leg.answered_at.is_none()
            {
                leg.answered_at = Some(now);
                tag(header(text, "To")).clone_into(&mut leg.winner);
            }
            return;
        }
        match method(text) {
            "INVITE" if tag(header(text, "To")).is_empty() => {
                leg.invited = true;
                leg.shown = super::super::text::digits(header(text, "From"));
            }
            "BYE" => {
                let own = if to_caller {
                    tag(header(text, "From"))
                } else {
                    tag(header(text, "To"))
                };
                if leg.answered_at.is_some() && own == leg.winner {
                    leg.ended_at.get_or_insert(now);
                }
            }
            _ => {}
        }
    }

    pub fn caller_leg(&self, record: &CallRecord) -> Option<&Leg> {
        let id = record.caller_leg_call_id.to_string();
        self.legs.get(&(self.life, id))
    }

    pub fn callee_leg(&self, record: &CallRecord) -> Option<&Leg> {
        let id = record.callee_leg_call_id.to_string();
        self.legs.get(&(self.life, id))
    }

    /// A record agrees with what was seen. `exact`: nothing has failed that may have cost the
    /// gateway a block. `patient`: nothing kept it from waiting for an ACK that came after the end.
    /// `prepaid`: no store however slow or full lets it run past what is paid (sip-bridging 7).
    /// `crashed`: for a call that a crash ended, when, and how many blocks its open-call record had.
    pub fn agrees(
        &self,
        record: &CallRecord,
        (exact, patient, prepaid): (bool, bool, bool),
        crashed: Option<(Instant, u64)>,
    ) -> Result<(), String> {
        let call = record.call_id;
        let caller = self
            .caller_leg(record)
            .filter(|leg| leg.invited)
            .ok_or_else(|| format!("call {call} came from nowhere"))?;
        let Some(from) = caller.answered_at else {
            if record.answered_at.is_some() && crashed.is_none() {
                return Err(format!("call {call} was answered but no 200 went out"));
            }
            return Ok(());
        };
        let callee = self.callee_leg(record);
        let ended = [
            caller.ended_at,
            callee.and_then(|leg| leg.ended_at),
            crashed.map(|(at, _)| at),
        ];
        let Some(to) = ended.into_iter().flatten().min() else {
            let up = caller.acknowledged_at.is_some() && record.answered_at.is_some();
            return no_bye(record, up);
        };
        // An ACK is one for as long as the 200 is repeated, whatever ended the call meanwhile.
        let acknowledged = caller
            .acknowledged_at
            .filter(|at| at.saturating_duration_since(from) < GIVE_UP);
        let hopeless = !patient && acknowledged.is_some_and(|at| at > to);
        let begun = blocks(to.saturating_duration_since(from), record.block_seconds);
        if let Some((_, prepared)) = crashed {
            let least = if exact { begun } else { begun.min(prepared) };
            let lost = acknowledged.is_some() && record.blocks < least;
            if lost || record.blocks > prepared {
                return Err(format!(
                    "call {call}: a crash left {} of {begun} blocks begun, {prepared} prepared",
                    record.blocks
                ));
            }
            return Ok(());
        }
        if record.answered_at.is_none() {
            return Err(format!(
                "call {call}: a 200 went out and its record has no answer"
            ));
        }
        let due = acknowledged.map_or(0, |_| begun);
        let short = !exact && !prepaid && record.blocks > 0 && record.blocks < due;
        let forgone = hopeless && record.blocks == 0;
        if record.blocks != due && !short && !forgone {
            return Err(format!(
                "call {call} lasted {:?}, which is {due} blocks of {} s, and was charged {} ({})",
                to.saturating_duration_since(from),
                record.block_seconds,
                record.blocks,
                record.reason
            ));
        }
        Ok(())
    }

    fn leg(&mut self, text: &str) -> &mut Leg {
        let id = header(text, "Call-ID").to_owned();
        self.legs.entry((self.life, id)).or_default()
    }
}

/// Blocks begun in a time: at least one (sip-bridging 7).
fn blocks(time: Duration, block_seconds: u32) -> u64 {
    let block = u128::from(block_seconds.max(1)) * 1_000_000_000;
    u64::try_from(time.as_nanos().div_ceil(block))
        .unwrap()
        .max(1)
}

/// Whether an address is on the callers' side.
pub fn is_caller_side(address: SocketAddr) -> bool {
    address.to_string().starts_with("10.1.")
}

/// A record without a BYE on either leg. Where one side had lost the call (481) and the other's BYE
/// waits for the ACK to our 2xx to its re-INVITE (RFC 3261 §15), it ends with the loss.
fn no_bye(record: &CallRecord, up: bool) -> Result<(), String> {
    let (call, reason) = (record.call_id, &record.reason);
    if up && &**reason != "lost" {
        return Err(format!("call {call} was up and no BYE was seen: {reason}"));
    }
    Ok(())
}
