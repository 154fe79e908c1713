//! Any events in any order: the call ends, once, with one record that adds up.

use super::harness::*;
use crate::call::event::Role;
use crate::call::event::{
    BlocksRefusal, BooksEvent, DialFailure, Fork, Input, LedgerCommand, LegEvent, MediaCommand,
    MediaEvent, Output, Refusal, SipCommand,
};
use crate::call::meter::OVERDUE;
use crate::call::{Call, Context, State};
use crate::domain::{CallKey, CallRecord, Presented, Side, TrunkId, Verdict};
use bytes::Bytes;
use proptest::prelude::*;
use std::time::{Duration, Instant};

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    /// Time passes; timers fire, late by so many milliseconds.
    Wait(u64, u64),
    /// The world answers what it was asked, well (true) or badly.
    Reply(bool),
    /// An event out of the blue.
    Leg(Side, LegEvent),
    Books(BooksEvent),
    Media(MediaEvent),
    Shutdown,
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Caller), Just(Side::Callee)]
}

fn body() -> impl Strategy<Value = Option<Bytes>> {
    prop_oneof![Just(None), Just(sdp("body"))]
}

fn failure() -> impl Strategy<Value = LegEvent> {
    let response =
        (300u16..700, 0u32..40).prop_map(|(status, retry_after)| DialFailure::Response {
            cause: cause(status, 0),
            retry_after,
        });
    prop_oneof![
        response,
        Just(DialFailure::Timeout),
        Just(DialFailure::Transport),
        Just(DialFailure::Response {
            cause: cause(503, 0),
            retry_after: 0
        }),
    ]
    .prop_map(LegEvent::Failed)
}

fn leg_event() -> impl Strategy<Value = LegEvent> {
    prop_oneof![
        2 => Just(LegEvent::Trying),
        4 => (0u16..4, 180u16..184, body()).prop_map(|(fork, status, body)| LegEvent::Progress {
            fork: Fork(fork), status, body, reliable: false, muted: false }),
        4 => (0u16..2, body(), any::<bool>()).prop_map(|(fork, body, muted)| LegEvent::Progress {
            fork: Fork(fork), status: 183, body, reliable: true, muted }),
        3 => (0u16..2).prop_map(|fork| LegEvent::EarlyOffered(Fork(fork), Bytes::from_static(b"offer"))),
        4 => (0u16..2, body()).prop_map(|(fork, body)| LegEvent::EarlyReanswered(Fork(fork), body)),
        2 => (0u16..2).prop_map(|fork| LegEvent::EarlyUnanswered(Fork(fork), cause(504, 0))),
        5 => (0u16..4, body()).prop_map(|(fork, body)| LegEvent::Answered { fork: Fork(fork), body }),
        2 => failure(),
        5 => body().prop_map(LegEvent::Confirmed),
        1 => Just(LegEvent::Unconfirmed),
        1 => Just(LegEvent::Cancelled(cause(0, 16))),
        4 => body().prop_map(LegEvent::Offered),
        4 => body().prop_map(LegEvent::Reanswered),
        2 => body().prop_map(LegEvent::OfferConfirmed),
        2 => Just(LegEvent::Unanswered(cause(488, 0))),
        1 => Just(LegEvent::Ended(cause(0, 16))),
        1 => Just(LegEvent::Lost(cause(0, 0))),
        1 => Just(LegEvent::Dtmf("application/dtmf".into(), Bytes::from_static(b"1"))),
    ]
}

fn books_event() -> impl Strategy<Value = BooksEvent> {
    prop_oneof![
        Just(BooksEvent::Refused(Refusal::NoCredit)),
        Just(BooksEvent::AnswerFailed),
        (0u64..4).prop_map(BooksEvent::BlocksHeld),
        Just(BooksEvent::BlocksRefused(BlocksRefusal::NoCredit)),
        Just(BooksEvent::BlocksRefused(BlocksRefusal::Store)),
        Just(BooksEvent::LeaseEnded { hang_up: false }),
        Just(BooksEvent::LeaseEnded { hang_up: true }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u64..100_000, prop_oneof![4 => Just(0u64), 1 => 0u64..400])
            .prop_map(|(by, late)| Step::Wait(by, late)),
        20 => prop::bool::weighted(0.95).prop_map(Step::Reply),
        12 => (side(), leg_event()).prop_map(|(side, event)| Step::Leg(side, event)),
        12 => leg_event().prop_map(|event| Step::Leg(
            match event {
                LegEvent::Confirmed(_) | LegEvent::Unconfirmed | LegEvent::Cancelled(_) => Side::Caller,
                _ => Side::Callee,
            },
            event,
        )),
        1 => books_event().prop_map(Step::Books),
        1 => prop_oneof![
            Just(MediaEvent::Silent), Just(MediaEvent::Undescribed), Just(MediaEvent::Unrouted), Just(MediaEvent::Played)
        ].prop_map(Step::Media),
        1 => Just(Step::Shutdown),
    ]
}

/// What the call was seen to do.
#[derive(Default)]
struct Seen {
    durable: bool,
    /// An offer before the answer was answered, or is about to be: the 200 may go without.
    agreed_early: bool,
    finals: u32,
    accepted: Option<Instant>,
    /// First BYE either way, or loss: paid time is over.
    ended: Option<Instant>,
    acknowledged: bool,
    /// Over, and the ACK may still come.
    awaits_ack: bool,
    dials: u32,
    callee_open: bool,
    opened: u32,
    media_refused: u32,
    media_closed: u32,
    finished: u32,
    records: Vec<CallRecord>,
    held: u64,
    asked: u64,
    /// When it was asked for last.
    asked_at: Option<Instant>,
    /// The books have refused for good.
    refused: bool,
    pending: Vec<Output>,
}

struct Run {
    bench: Bench,
    seen: Seen,
    prepaid: bool,
    block: Duration,
}

impl Run {
    fn new(block_seconds: u32, prepaid: bool, offer: bool, group: bool) -> Self {
        let mut bench = if group { Bench::group() } else { Bench::new() };
        bench.admission.prepaid = prepaid;
        bench.admission.tariff.block_seconds = block_seconds;
        bench.settings.credit_warning = Duration::from_secs(3);
        bench.settings.announcements.credit_exhausted = Some(Duration::from_secs(3));
        let mut run = Self {
            bench,
            seen: Seen::default(),
            prepaid,
            block: Duration::from_secs(u64::from(block_seconds)),
        };
        let mut invite = invite();
        if !offer {
            invite.offer = None;
        }
        if group {
            invite.presented = Some(Presented {
                passport: Ok(Box::new(super::vouching::passport(CALLER, LEASED))),
                required: prepaid,
            });
        }
        run.handle(Input::Invite(Box::new(invite)));
        run
    }

    fn with<T>(
        &mut self,
        act: impl FnOnce(&mut Call, &mut Context<'_>, crate::domain::Now) -> T,
    ) -> T {
        let bench = &mut self.bench;
        let mut context = Context {
            settings: &bench.settings,
            trunks: &mut bench.trunks,
            directory: &bench.world,
            numbering: &bench.world,
            random: bench.random,
        };
        let now = bench.now;
        let result = act(&mut bench.call, &mut context, now);
        while let Some(output) = self.bench.call.poll_output() {
            self.observe(output);
        }
        result
    }

    fn handle(&mut self, input: Input) {
        // The SIP layer reports nothing of a leg that is gone, and nothing twice that ends one.
        let state = self.bench.call.state();
        if state == State::Over {
            return;
        }
        let hopeless = matches!(
            input,
            Input::Shutdown | Input::Leg(Side::Caller, LegEvent::Unconfirmed | LegEvent::Lost(_))
        );
        match &input {
            Input::Leg(Side::Caller, LegEvent::Confirmed(_) | LegEvent::Ended(_))
                if self.seen.awaits_ack =>
            {
                self.seen.acknowledged = true;
                self.seen.awaits_ack = false;
            }
            Input::Leg(Side::Caller, LegEvent::Confirmed(_)) if state == State::Answered => {
                self.seen.acknowledged = true;
            }
            Input::Leg(side, LegEvent::Ended(_))
                if matches!(state, State::Answered | State::Up) =>
            {
                self.seen.acknowledged |= *side == Side::Caller;
            }
            Input::Media(MediaEvent::Refused(_)) if state == State::AwaitingMedia => {
                self.seen.media_refused = 1;
            }
            Input::Media(MediaEvent::Unannounced) if state == State::Announcing => {
                self.seen.media_refused = 1;
            }
            Input::Books(BooksEvent::AnswerDurable) => self.seen.durable = true,
            Input::Books(BooksEvent::BlocksHeld(count)) if self.running() => {
                self.seen.held = self.seen.held.max(*count);
            }
            _ => {}
        }
        let running = self.seen.accepted.is_some();
        let refused = matches!(input, Input::Books(BooksEvent::BlocksRefused(_)))
            && self.running()
            && self.seen.asked > self.seen.held;
        if refused {
            self.seen.asked = 0;
        }
        self.with(|call, context, now| call.handle(input, now, context));
        // Unless it asks again, it has been told for good.
        self.seen.refused |= refused && self.seen.asked == 0;
        self.note_end(running);
        self.seen.awaits_ack &= !hopeless && self.seen.records.is_empty();
    }

    fn running(&self) -> bool {
        matches!(self.bench.call.state(), State::Answered | State::Up)
    }

    fn fire(&mut self) {
        let running = self.seen.accepted.is_some();
        self.with(|call, context, now| call.handle_timeout(now, context));
        self.note_end(running);
        self.seen.awaits_ack &= self.seen.records.is_empty();
    }

    fn note_end(&mut self, running: bool) {
        let over = matches!(self.bench.call.state(), State::Ending | State::Over);
        if running && over && self.seen.ended.is_none() {
            self.seen.ended = Some(self.bench.now.mono);
            self.seen.awaits_ack = !self.seen.acknowledged;
        }
    }

    fn observe(&mut self, output: Output) {
        let seen = &mut self.seen;
        assert_eq!(seen.finished, 0, "output after the last");
        match &output {
            Output::Sip(SipCommand::Accept { body, .. }) => {
                assert!(seen.durable, "200 before it was durable");
                assert!(body.is_some() || seen.agreed_early, "200 without SDP");
                seen.finals += 1;
                seen.accepted = Some(self.bench.now.mono);
                seen.held = seen.held.max(1);
            }
            Output::Sip(SipCommand::EarlyAnswer(..) | SipCommand::EarlyReoffer(..))
            | Output::Media(MediaCommand::Describe {
                from: Side::Callee,
                role: Role::Offer,
                ..
            }) => seen.agreed_early = true,
            Output::Sip(SipCommand::Reject { cause, .. }) => {
                assert!((300..700).contains(&cause.sip));
                seen.finals += 1;
            }
            Output::Sip(SipCommand::Progress { .. }) => assert_eq!(seen.finals, 0),
            Output::Sip(SipCommand::Dial(_)) => {
                assert!(!seen.callee_open, "two attempts at once");
                seen.callee_open = true;
                seen.dials += 1;
            }
            Output::Sip(SipCommand::Cancel(_)) => {
                assert!(seen.callee_open, "CANCEL of nothing");
                seen.callee_open = false;
            }
            Output::Sip(SipCommand::Bye(..)) => {}
            Output::Media(MediaCommand::Open { .. } | MediaCommand::Announce { .. }) => {
                seen.opened += 1;
            }
            Output::Media(MediaCommand::Warn(_)) => {
                assert!(self.prepaid && seen.accepted.is_some() && seen.ended.is_none());
            }
            Output::Media(MediaCommand::Close) => seen.media_closed += 1,
            Output::Ledger(LedgerCommand::Hold(count)) => {
                assert!(*count > seen.held);
                seen.asked = seen.asked.max(*count);
                seen.asked_at = Some(self.bench.now.mono);
            }
            Output::Ledger(LedgerCommand::Close(record)) => seen.records.push((**record).clone()),
            Output::Trunk(trunk, news) => {
                self.bench.trunks.news(*trunk, *news, self.bench.now.mono);
            }
            Output::Finished => seen.finished += 1,
            _ => {}
        }
        assert!(seen.finals <= 1, "two final responses to one INVITE");
        self.seen.pending.push(output);
    }

    /// Answers the oldest thing that was asked.
    fn reply(&mut self, well: bool) {
        while !self.seen.pending.is_empty() {
            let output = self.seen.pending.remove(0);
            if let Some(input) = self.answer(output, well) {
                self.handle(input);
                return;
            }
        }
    }

    fn answer(&self, output: Output, well: bool) -> Option<Input> {
        Some(match output {
            Output::Ledger(LedgerCommand::Admit { .. }) if well => {
                Input::Books(BooksEvent::Admitted(Box::new(self.bench.admission.clone())))
            }
            Output::Ledger(LedgerCommand::Admit { .. }) => {
                let refusal = if self.prepaid {
                    Refusal::NoCredit
                } else {
                    Refusal::LeaseBusy
                };
                Input::Books(BooksEvent::Refused(refusal))
            }
            Output::Ledger(LedgerCommand::Answer(_)) if well => {
                Input::Books(BooksEvent::AnswerDurable)
            }
            Output::Ledger(LedgerCommand::Answer(_)) => Input::Books(BooksEvent::AnswerFailed),
            Output::Ledger(LedgerCommand::Hold(count)) if well => {
                Input::Books(BooksEvent::BlocksHeld(count))
            }
            Output::Ledger(LedgerCommand::Hold(_)) => {
                Input::Books(BooksEvent::BlocksRefused(BlocksRefusal::NoCredit))
            }
            Output::Ledger(LedgerCommand::Look(count)) => {
                Input::Books(BooksEvent::Covered(if well { count } else { 1 }))
            }
            Output::Ledger(LedgerCommand::Close(_)) => Input::Books(BooksEvent::Recorded),
            Output::Verify(_) if well => Input::Verdict(Verdict::Valid, "".into()),
            Output::Verify(_) => Input::Verdict(Verdict::Invalid, "".into()),
            Output::Media(MediaCommand::Open { .. }) if well => Input::Media(MediaEvent::Opened),
            Output::Media(MediaCommand::Open { .. }) => {
                Input::Media(MediaEvent::Refused(Refusal::NoPort))
            }
            Output::Media(MediaCommand::Describe { body, .. }) if well => {
                Input::Media(MediaEvent::Described(body))
            }
            Output::Media(MediaCommand::Describe { .. }) => Input::Media(MediaEvent::Undescribed),
            Output::Media(MediaCommand::Announce { offer, .. }) if well => {
                Input::Media(MediaEvent::Announcing(offer))
            }
            Output::Media(MediaCommand::Announce { .. }) => Input::Media(MediaEvent::Unannounced),
            Output::Media(MediaCommand::Close) => figures(),
            _ => return None,
        })
    }

    fn wait(&mut self, millis: u64, late: u64) {
        let end = self.bench.now.mono + Duration::from_millis(millis);
        let mut fired = 0;
        while let Some(at) = self.bench.call.poll_timeout().filter(|at| *at <= end) {
            let now = self.bench.now.mono;
            self.bench.set(at.max(now) + Duration::from_millis(late));
            self.fire();
            fired += 1;
            assert!(fired < 1_000, "a timer that never ends");
            self.check_holds(late);
        }
        if end > self.bench.now.mono {
            self.bench.set(end);
        }
        self.check_holds(late);
    }

    /// While a call is up, what is held covers the time so far, but for the grace that a postpaid
    /// call gives to books that have not answered yet: from the end of what is held, or from when they
    /// were asked where that was later, because their answer before was late.
    fn check_holds(&self, late: u64) {
        let (Some(start), None) = (self.seen.accepted, self.seen.ended) else {
            return;
        };
        let elapsed = self.bench.now.mono - start;
        let held = self.block * u32::try_from(self.seen.held).unwrap();
        // One late timer asks, the next one ends: each may be late.
        let slack = Duration::from_millis(2 * late + 1);
        let asked = self
            .seen
            .asked_at
            .map_or(Duration::ZERO, |asked| asked - start);
        let most = if self.bench.admission.prepaid {
            held
        } else {
            held.max(asked) + OVERDUE
        };
        assert!(elapsed <= most + slack, "{elapsed:?} with {held:?} held");
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Wait(by, late) => self.wait(by, late),
            Step::Reply(well) => self.reply(well),
            Step::Leg(side, event) => {
                if side == Side::Callee {
                    // Only an attempt under way can fail, and it ends with that.
                    let failed = matches!(event, LegEvent::Failed(_) | LegEvent::Lost(_));
                    let dialling =
                        matches!(self.bench.call.state(), State::Dialling | State::Ringing);
                    if !self.seen.callee_open {
                        return;
                    }
                    if failed && dialling {
                        self.seen.callee_open = false;
                    }
                }
                self.handle(Input::Leg(side, event));
            }
            Step::Books(event) => {
                // The books answer a hold only if one was asked for.
                if let BooksEvent::BlocksHeld(count) = &event
                    && *count > self.seen.asked
                {
                    return;
                }
                self.handle(Input::Books(event));
            }
            Step::Media(event) => self.handle(Input::Media(event)),
            Step::Shutdown => self.handle(Input::Shutdown),
        }
    }

    /// Ends whatever is left and looks at the whole.
    fn finish(mut self) {
        self.handle(Input::Shutdown);
        for _ in 0..200 {
            self.reply(true);
        }
        self.wait(20_000, 0);
        for _ in 0..20 {
            self.reply(true);
        }
        assert_eq!(self.bench.call.state(), State::Over);
        assert_eq!(self.bench.call.poll_timeout(), None);
        let seen = &self.seen;
        assert_eq!(seen.finished, 1);
        assert_eq!(seen.records.len(), 1, "one record");
        assert!(seen.opened <= 1);
        assert_eq!(seen.media_closed, seen.opened - seen.media_refused);
        for trunk in 0..3 {
            assert_eq!(self.bench.trunks.calls(TrunkId(trunk)), 0);
        }
        self.check_record();
    }

    fn check_record(&self) {
        let seen = &self.seen;
        let record = &seen.records[0];
        assert_eq!(record.answered_at.is_some(), seen.accepted.is_some());
        assert_eq!(
            record.charge.0,
            100 * i64::try_from(record.blocks).unwrap() * i64::from(record.rate.0 != 0)
        );
        let (Some(start), Some(end), true) = (seen.accepted, seen.ended, seen.acknowledged) else {
            assert_eq!((record.blocks, record.duration_millis), (0, 0));
            return;
        };
        assert_eq!(record.sip_code, 200);
        let held = self.block * u32::try_from(seen.held).unwrap();
        let mut elapsed = (end - start).min(self.bench.settings.max_duration);
        if seen.refused {
            elapsed = elapsed.min(held);
        }
        let begun = elapsed.as_nanos().div_ceil(self.block.as_nanos()).max(1);
        let mut expected = u64::try_from(begun).unwrap();
        if self.prepaid {
            expected = expected.min(seen.held);
        }
        assert_eq!(record.blocks, expected);
        let blocks = u128::from(record.blocks);
        let millis = u128::from(record.duration_millis);
        assert!(millis <= blocks * self.block.as_millis());
        assert!(blocks == 1 || millis + 1 > (blocks - 1) * self.block.as_millis());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1500) })]

    #[test]
    fn any_sequence_ends_with_one_record_that_adds_up(
        block in prop_oneof![Just(1u32), Just(2), Just(5), Just(60)],
        prepaid: bool,
        offer in prop::bool::weighted(0.8),
        group: bool,
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let mut run = Run::new(block, prepaid, offer, group);
        for step in steps {
            run.step(step);
        }
        run.finish();
    }

    /// The same with a world that mostly behaves, so that most calls come up.
    #[test]
    fn calls_that_come_up(
        block in prop_oneof![Just(1u32), Just(3), Just(7), Just(60)],
        prepaid: bool,
        offer: bool,
        steps in prop::collection::vec(step(), 0..40),
    ) {
        let mut run = Run::new(block, prepaid, offer, false);
        for _ in 0..3 {
            run.reply(true);
        }
        run.handle(Input::Leg(Side::Callee, LegEvent::Answered { fork: Fork(0), body: sdp("a") }));
        for _ in 0..12 {
            run.reply(true);
        }
        prop_assert!(run.seen.accepted.is_some());
        run.handle(Input::Leg(Side::Caller, LegEvent::Confirmed(sdp("b"))));
        run.reply(true);
        prop_assert_eq!(run.bench.call.state(), State::Up);
        for step in steps {
            run.step(step);
        }
        run.finish();
    }
}

#[test]
fn a_call_key_is_kept() {
    assert_eq!(Call::new(CallKey(9)).key(), CallKey(9));
}
