//! A call with the world around it scripted: books and media answer at once unless told not to,
//! and everything that the call asks for is kept as one line of text each.

use crate::call::cause::Reason;
use crate::call::event::{
    Admission, BooksEvent, CallerId, Cause, Fork, Identity, Input, Invite, LedgerCommand, LegEvent,
    MediaCommand, MediaEvent, Output, SipCommand,
};
use crate::call::routing::{Trunk, Trunks};
use crate::call::{Call, Context, Dialled, Directory, Numbering, Settings, State};
use crate::domain::{
    CallId, CallKey, CallQuality, CallRecord, Credit, CustomerId, E164, LeaseKind, MediaFigures,
    MediaQuality, Now, ReferenceId, Side, Tariff, TrunkId, UnixMillis,
};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub const CALLER: &str = "60111111111";
pub const CALLEE: &str = "60122222222";
pub const LEASED: &str = "60388880001";
pub const SHOWN: &str = "60388880002";
pub const EMERGENCY: &str = "999";

pub fn number(digits: &str) -> E164 {
    E164::from_digits(digits).unwrap()
}

pub fn sdp(text: &str) -> Option<Bytes> {
    Some(Bytes::copy_from_slice(text.as_bytes()))
}

pub fn cause(sip: u16, q850: u8) -> Cause {
    Cause { sip, q850 }
}

/// The directory and numbering plan.
#[derive(Default)]
pub struct World {
    pub numbers: BTreeMap<u64, Dialled>,
    pub whitelist: Vec<E164>,
    /// Trunks whose number form cannot write the callee.
    pub unfit: Vec<TrunkId>,
}

impl Directory for World {
    fn lookup(&self, number: E164) -> Dialled {
        self.numbers
            .get(&number.packed())
            .copied()
            .unwrap_or(Dialled::Unknown)
    }
    fn whitelisted(&self, _: E164, caller: Option<E164>) -> bool {
        caller.is_some_and(|caller| self.whitelist.contains(&caller))
    }
}

impl Numbering for World {
    fn normalise(&self, _: TrunkId, digits: &str) -> Option<E164> {
        E164::from_digits(digits.strip_prefix('+').unwrap_or(digits))
    }
    fn normalise_identity(&self, trunk: TrunkId, digits: &str) -> Option<E164> {
        self.normalise(trunk, digits)
    }
    fn can_dial(&self, trunk: TrunkId, _: E164) -> bool {
        !self.unfit.contains(&trunk)
    }
    fn is_emergency(&self, _: TrunkId, dialled: &str) -> bool {
        dialled == EMERGENCY
    }
    fn national(&self, number: E164) -> Vec<Box<str>> {
        let digits = number.digits();
        vec![format!("0{}", &digits[2..]).into()]
    }
}

/// What is answered at once.
#[derive(Clone, Copy)]
pub struct Auto {
    pub admit: bool,
    pub open: bool,
    pub describe: bool,
    pub durable: bool,
    pub hold: bool,
    pub figures: bool,
    pub recorded: bool,
}

pub struct Bench {
    pub call: Call,
    pub trunks: Trunks,
    pub settings: Settings,
    pub world: World,
    pub admission: Admission,
    pub auto: Auto,
    pub now: Now,
    pub start: Instant,
    pub records: Vec<CallRecord>,
    pub drafts: Vec<CallRecord>,
    pub random: u64,
    /// Of each dial, whether offers before the answer may pass.
    pub early_offers: Vec<bool>,
    lines: Vec<String>,
}

pub fn trunk(name: &str, priority: u16) -> Trunk {
    Trunk {
        name: Arc::from(name),
        priority,
        ..Trunk::default()
    }
}

pub fn trunks() -> Vec<Option<Trunk>> {
    let inbound = Trunk {
        outbound: false,
        ..trunk("in", 1)
    };
    vec![
        Some(inbound),
        Some(trunk("out1", 1)),
        Some(trunk("out2", 2)),
    ]
}

pub fn invite() -> Invite {
    Invite {
        call_id: CallId(uuid::Uuid::from_u128(7)),
        trunk: TrunkId(0),
        leg_call_id: "leg-a".into(),
        dialled: format!("+{LEASED}").into(),
        identity: Identity {
            user: format!("+{CALLER}").into(),
            display_name: "Ann".into(),
            withheld: false,
            asserted: false,
        },
        max_forwards: 69,
        offer: sdp("offer"),
        refused: None,
        presented: None,
    }
}

impl Bench {
    pub fn new() -> Self {
        let start = Instant::now();
        let mut world = World::default();
        world.numbers.insert(
            number(LEASED).packed(),
            Dialled::Leased {
                kind: LeaseKind::Single,
                customer: CustomerId(1),
                only_caller: None,
                whitelist: false,
            },
        );
        world
            .numbers
            .insert(number("60388880009").packed(), Dialled::NotLeased);
        Self {
            call: Call::new(CallKey(1)),
            trunks: Trunks::new(trunks()),
            settings: Settings::default(),
            world,
            admission: Admission {
                reference: ReferenceId(uuid::Uuid::from_u128(9)),
                customer: CustomerId(1),
                kind: LeaseKind::Single,
                callee: number(CALLEE),
                shown: None,
                tariff: Tariff {
                    block_seconds: 60,
                    rate: Credit(100),
                },
                prepaid: true,
                callee_spelling: "012-222 2222".into(),
                caller_spelling: "".into(),
            },
            auto: Auto {
                admit: true,
                open: true,
                describe: true,
                durable: true,
                hold: true,
                figures: true,
                recorded: true,
            },
            now: Now {
                mono: start,
                wall: UnixMillis(1_000_000),
            },
            start,
            records: Vec::new(),
            drafts: Vec::new(),
            random: 0,
            early_offers: Vec::new(),
            lines: Vec::new(),
        }
    }

    /// A group lease: the caller is the other member.
    pub fn group() -> Self {
        let mut bench = Self::new();
        bench.world.numbers.insert(
            number(LEASED).packed(),
            Dialled::Leased {
                kind: LeaseKind::Group,
                customer: CustomerId(1),
                only_caller: Some(number(CALLER)),
                whitelist: false,
            },
        );
        bench.admission.kind = LeaseKind::Group;
        bench.admission.shown = Some(number(SHOWN));
        bench.admission.caller_spelling = "011 1111 1111".into();
        bench
    }

    pub fn feed(&mut self, input: Input) {
        let mut queue = VecDeque::from([input]);
        while let Some(input) = queue.pop_front() {
            let mut context = Context {
                settings: &self.settings,
                trunks: &mut self.trunks,
                directory: &self.world,
                numbering: &self.world,
                random: self.random,
            };
            self.call.handle(input, self.now, &mut context);
            self.drain(&mut queue);
        }
    }

    fn drain(&mut self, queue: &mut VecDeque<Input>) {
        while let Some(output) = self.call.poll_output() {
            self.lines.push(line(&output));
            if let Output::Sip(SipCommand::Dial(dial)) = &output {
                self.early_offers.push(dial.early_offers);
            }
            if let Some(reply) = self.reply(output) {
                queue.push_back(reply);
            }
        }
    }

    fn reply(&mut self, output: Output) -> Option<Input> {
        let auto = self.auto;
        let (wanted, input) = match output {
            Output::Ledger(LedgerCommand::Admit { .. }) => (
                auto.admit,
                Input::Books(BooksEvent::Admitted(Box::new(self.admission.clone()))),
            ),
            Output::Ledger(LedgerCommand::Answer(draft)) => {
                self.drafts.push(*draft);
                (auto.durable, Input::Books(BooksEvent::AnswerDurable))
            }
            Output::Ledger(LedgerCommand::Hold(count)) => {
                (auto.hold, Input::Books(BooksEvent::BlocksHeld(count)))
            }
            Output::Ledger(LedgerCommand::Close(record)) => {
                self.records.push(*record);
                (auto.recorded, Input::Books(BooksEvent::Recorded))
            }
            Output::Media(MediaCommand::Open { .. }) => {
                (auto.open, Input::Media(MediaEvent::Opened))
            }
            Output::Media(MediaCommand::Describe { body, .. }) => {
                let text = format!("~{}", String::from_utf8_lossy(&body));
                (
                    auto.describe,
                    Input::Media(MediaEvent::Described(Bytes::from(text))),
                )
            }
            Output::Media(MediaCommand::Close) => (auto.figures, figures()),
            Output::Trunk(trunk, news) => {
                self.trunks.news(trunk, news, self.now.mono);
                return None;
            }
            _ => return None,
        };
        wanted.then_some(input)
    }

    pub fn leg(&mut self, side: Side, event: LegEvent) {
        self.feed(Input::Leg(side, event));
    }

    pub fn callee(&mut self, event: LegEvent) {
        self.leg(Side::Callee, event);
    }

    pub fn caller(&mut self, event: LegEvent) {
        self.leg(Side::Caller, event);
    }

    pub fn books(&mut self, event: BooksEvent) {
        self.feed(Input::Books(event));
    }

    pub fn media(&mut self, event: MediaEvent) {
        self.feed(Input::Media(event));
    }

    /// Moves the clock, firing every timer on its instant.
    pub fn advance(&mut self, by: Duration) {
        let end = self.now.mono + by;
        let mut fired = 0;
        while let Some(at) = self.call.poll_timeout().filter(|at| *at <= end) {
            self.set(at.max(self.now.mono));
            self.fire();
            fired += 1;
            assert!(fired < 100_000, "a timer that never ends");
        }
        self.set(end);
    }

    /// Moves the clock without firing timers (a worker that was held up).
    pub fn set(&mut self, at: Instant) {
        let by = at.saturating_duration_since(self.now.mono);
        self.now = Now {
            mono: at,
            wall: self.now.wall.plus(by),
        };
    }

    pub fn fire(&mut self) {
        let mut context = Context {
            settings: &self.settings,
            trunks: &mut self.trunks,
            directory: &self.world,
            numbering: &self.world,
            random: self.random,
        };
        self.call.handle_timeout(self.now, &mut context);
        let mut queue = VecDeque::new();
        self.drain(&mut queue);
        for input in queue {
            self.feed(input);
        }
    }

    /// What was asked for since the last look.
    pub fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }

    /// Asserts what was asked for since the last look.
    #[track_caller]
    pub fn expect(&mut self, expected: &[&str]) {
        let lines = self.take();
        assert_eq!(lines, expected, "state {:?}", self.call.state());
    }

    /// Invites and dials; nothing is left to look at.
    pub fn dialled() -> Self {
        Self::new().dial()
    }

    pub fn dial(mut self) -> Self {
        self.feed(Input::Invite(Box::new(invite())));
        assert_eq!(self.call.state(), State::Dialling);
        self.take();
        self
    }

    pub fn ringing() -> Self {
        let mut bench = Self::dialled();
        bench.ring();
        bench.take();
        bench
    }

    pub fn ring(&mut self) {
        self.callee(LegEvent::Progress {
            fork: Fork(0),
            status: 180,
            body: None,
            reliable: false,
            muted: false,
        });
        assert_eq!(self.call.state(), State::Ringing);
    }

    pub fn answer(&mut self) {
        self.callee(LegEvent::Answered {
            fork: Fork(0),
            body: sdp("answer"),
        });
    }

    pub fn answered() -> Self {
        let mut bench = Self::ringing();
        bench.answer();
        assert_eq!(bench.call.state(), State::Answered);
        bench.take();
        bench
    }

    pub fn up() -> Self {
        let mut bench = Self::answered();
        bench.caller(LegEvent::Confirmed(None));
        assert_eq!(bench.call.state(), State::Up);
        bench.take();
        bench
    }

    /// The one record, once the call is over.
    #[track_caller]
    pub fn record(&self) -> &CallRecord {
        assert_eq!(self.call.state(), State::Over);
        assert_eq!(self.records.len(), 1);
        assert_eq!(self.trunks.calls(TrunkId(0)), 0);
        assert_eq!(self.trunks.calls(TrunkId(1)), 0);
        assert_eq!(self.trunks.calls(TrunkId(2)), 0);
        &self.records[0]
    }

    #[track_caller]
    pub fn assert_ended(&self, reason: Reason) {
        assert_eq!(&*self.record().reason, reason.name());
    }
}

pub fn figures() -> Input {
    let direction = |packets| MediaFigures {
        packets,
        ..MediaFigures::default()
    };
    Input::Media(MediaEvent::Closed {
        to_callee: direction(10),
        to_caller: direction(20),
        quality: CallQuality {
            to_caller: MediaQuality {
                score_hundredths: Some(441),
                ..MediaQuality::default()
            },
            ..CallQuality::default()
        },
        guard_hits: 1,
    })
}

fn text(body: Option<&Bytes>) -> String {
    body.map_or_else(
        || "-".to_owned(),
        |body| String::from_utf8_lossy(body).into_owned(),
    )
}

fn side(side: Side) -> &'static str {
    match side {
        Side::Caller => "caller",
        Side::Callee => "callee",
    }
}

fn code(cause: Cause) -> String {
    format!("{}/{}", cause.sip, cause.q850)
}

/// One output as one line.
pub fn line(output: &Output) -> String {
    match output {
        Output::Sip(command) => sip_line(command),
        Output::Media(command) => media_line(command),
        Output::Ledger(LedgerCommand::Admit { dialled, caller }) => format!(
            "admit {} by {}",
            dialled.digits(),
            caller.map_or_else(|| "-".to_owned(), E164::digits)
        ),
        Output::Ledger(LedgerCommand::Answer(_)) => "answer".to_owned(),
        Output::Ledger(LedgerCommand::Hold(count)) => format!("hold {count}"),
        Output::Ledger(LedgerCommand::Look(count)) => format!("look {count}"),
        Output::Ledger(LedgerCommand::Close(record)) => {
            format!("record {} {}", record.reason, record.blocks)
        }
        Output::Trunk(id, news) => format!("trunk {} {news:?}", id.0),
        Output::Verify(_) => "verify".to_owned(),
        Output::Finished => "finished".to_owned(),
    }
}

fn sip_line(command: &SipCommand) -> String {
    match command {
        SipCommand::Progress { fork, status, body } => {
            format!("progress f{} {status} {}", fork.0, text(body.as_ref()))
        }
        SipCommand::Accept { fork, body } => format!("accept f{} {}", fork.0, text(body.as_ref())),
        SipCommand::Reject {
            cause,
            retry_after: 0,
        } => format!("reject {}", code(*cause)),
        SipCommand::Reject { cause, retry_after } => {
            format!("reject {} retry {retry_after}", code(*cause))
        }
        SipCommand::Protect(to, set) => format!("protect {} {}", side(*to), set.join(",")),
        SipCommand::Dial(dial) => {
            let caller_id = match &dial.caller_id {
                CallerId::Number {
                    number,
                    display_name,
                } => format!("{} '{display_name}'", number.digits()),
                CallerId::Verbatim { user, display_name } => format!("{user} '{display_name}'"),
                CallerId::Withheld(number) => {
                    format!("withheld {}", number.map_or_else(String::new, E164::digits))
                }
            };
            format!(
                "dial {} {} as {caller_id} mf {} {}",
                dial.trunk.0,
                dial.number.digits(),
                dial.max_forwards,
                text(dial.body.as_ref())
            )
        }
        SipCommand::Cancel(cause) => format!("cancel {}", code(*cause)),
        SipCommand::Confirm(to, body) => format!("confirm {} {}", side(*to), text(body.as_ref())),
        SipCommand::Reoffer(to, body) => format!("reoffer {} {}", side(*to), text(body.as_ref())),
        SipCommand::AnswerOffer(to, body) => {
            format!("answer-offer {} {}", side(*to), text(body.as_ref()))
        }
        SipCommand::RefuseOffer(to, cause) => format!("refuse {} {}", side(*to), code(*cause)),
        SipCommand::EarlyReoffer(to, fork, body) => {
            format!(
                "early-reoffer {} f{} {}",
                side(*to),
                fork.0,
                text(Some(body))
            )
        }
        SipCommand::EarlyAnswer(to, fork, body) => {
            format!(
                "early-answer {} f{} {}",
                side(*to),
                fork.0,
                text(Some(body))
            )
        }
        SipCommand::EarlyRefuse(to, fork, cause) => {
            format!("early-refuse {} f{} {}", side(*to), fork.0, code(*cause))
        }
        SipCommand::Bye(to, cause) => format!("bye {} {}", side(*to), code(*cause)),
        SipCommand::Dtmf(to, kind, body) => {
            format!("dtmf {} {kind} {}", side(*to), text(Some(body)))
        }
    }
}

fn media_line(command: &MediaCommand) -> String {
    match command {
        MediaCommand::Open { trunk, offer } => {
            format!("open {} {}", trunk.0, text(offer.as_ref()))
        }
        MediaCommand::Route(trunk) => format!("route {}", trunk.0),
        MediaCommand::Describe {
            from,
            fork,
            role,
            body,
        } => format!(
            "describe {} f{} {role:?} {}",
            side(*from),
            fork.0,
            text(Some(body))
        ),
        MediaCommand::Select(fork) => format!("select f{}", fork.0),
        MediaCommand::Rollback => "rollback".to_owned(),
        MediaCommand::Start => "start".to_owned(),
        MediaCommand::Announce {
            trunk,
            offer,
            which,
        } => {
            format!(
                "announce {} {} {}",
                trunk.0,
                which.name(),
                text(Some(offer))
            )
        }
        MediaCommand::Warn(warn) => format!("warn {warn}"),
        MediaCommand::Close => "close".to_owned(),
    }
}
