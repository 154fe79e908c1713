//! Whole calls through the call core alone: what the state machine costs beside SIP, media and
//! books.

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use leasebridge::call::event::{
    Admission, BooksEvent, Cause, Fork, Identity, Input, Invite, LedgerCommand, LegEvent,
    MediaCommand, MediaEvent, Output,
};
use leasebridge::call::routing::{Trunk, Trunks};
use leasebridge::call::{Call, Context, Dialled, Directory, Numbering, Settings, State};
use leasebridge::domain::{
    CallId, CallKey, Credit, CustomerId, E164, LeaseKind, MediaFigures, Now, ReferenceId, Side,
    Tariff, TrunkId, UnixMillis,
};
use std::hint::black_box;
use std::time::Instant;

const SDP: &[u8] = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
    m=audio 20000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n";

struct World;

impl Directory for World {
    fn lookup(&self, _: E164) -> Dialled {
        Dialled::Leased {
            kind: LeaseKind::Single,
            customer: CustomerId(1),
            only_caller: None,
            whitelist: false,
        }
    }
    fn whitelisted(&self, _: E164, _: Option<E164>) -> bool {
        true
    }
}

impl Numbering for World {
    fn normalise(&self, _: TrunkId, digits: &str) -> Option<E164> {
        E164::from_digits(digits.strip_prefix('+').unwrap_or(digits))
    }
    fn normalise_identity(&self, trunk: TrunkId, digits: &str) -> Option<E164> {
        self.normalise(trunk, digits)
    }
    fn can_dial(&self, _: TrunkId, _: E164) -> bool {
        true
    }
    fn is_emergency(&self, _: TrunkId, dialled: &str) -> bool {
        dialled == "999"
    }
    fn national(&self, _: E164) -> Vec<Box<str>> {
        vec!["0122222222".into()]
    }
}

struct Bench {
    settings: Settings,
    trunks: Trunks,
    now: Now,
}

impl Bench {
    fn new() -> Self {
        let trunk = |outbound| {
            Some(Trunk {
                outbound,
                ..Trunk::default()
            })
        };
        Self {
            settings: Settings::default(),
            trunks: Trunks::new(vec![trunk(false), trunk(true)]),
            now: Now {
                mono: Instant::now(),
                wall: UnixMillis(1),
            },
        }
    }

    /// Gives an input, and the answers of books and media that it leads to.
    fn feed(&mut self, call: &mut Call, input: Input) {
        let mut next = Some(input);
        while let Some(input) = next.take() {
            let mut context = Context {
                settings: &self.settings,
                trunks: &mut self.trunks,
                directory: &World,
                numbering: &World,
                random: 7,
            };
            call.handle(input, self.now, &mut context);
            while let Some(output) = call.poll_output() {
                next = next.or(reply(black_box(output)));
            }
        }
    }

    fn call(&mut self) -> Call {
        let mut call = Call::new(CallKey(1));
        self.feed(&mut call, Input::Invite(Box::new(invite())));
        let callee = |event| Input::Leg(Side::Callee, event);
        self.feed(&mut call, callee(LegEvent::Trying));
        let ringing = LegEvent::Progress {
            fork: Fork(0),
            status: 180,
            body: None,
            reliable: false,
            muted: false,
        };
        self.feed(&mut call, callee(ringing));
        let answered = LegEvent::Answered {
            fork: Fork(0),
            body: Some(Bytes::from_static(SDP)),
        };
        self.feed(&mut call, callee(answered));
        let ack = Input::Leg(Side::Caller, LegEvent::Confirmed(None));
        self.feed(&mut call, ack);
        assert_eq!(call.state(), State::Up);
        call
    }
}

fn invite() -> Invite {
    Invite {
        call_id: CallId(uuid::Uuid::nil()),
        trunk: TrunkId(0),
        leg_call_id: "abcdefghijklmnop@carrier.example".into(),
        dialled: "+60388880001".into(),
        identity: Identity {
            user: "+60111111111".into(),
            ..Identity::default()
        },
        max_forwards: 69,
        offer: Some(Bytes::from_static(SDP)),
        refused: None,
        presented: None,
    }
}

fn reply(output: Output) -> Option<Input> {
    Some(match output {
        Output::Ledger(LedgerCommand::Admit { .. }) => {
            Input::Books(BooksEvent::Admitted(Box::new(Admission {
                reference: ReferenceId(uuid::Uuid::nil()),
                customer: CustomerId(1),
                kind: LeaseKind::Single,
                callee: E164::from_packed(60_122_222_222)?,
                shown: None,
                tariff: Tariff {
                    block_seconds: 60,
                    rate: Credit(100),
                },
                prepaid: true,
                callee_spelling: "012-222 2222".into(),
                caller_spelling: "".into(),
            })))
        }
        Output::Ledger(LedgerCommand::Answer(_)) => Input::Books(BooksEvent::AnswerDurable),
        Output::Ledger(LedgerCommand::Close(_)) => Input::Books(BooksEvent::Recorded),
        Output::Media(MediaCommand::Open { .. }) => Input::Media(MediaEvent::Opened),
        Output::Media(MediaCommand::Describe { body, .. }) => {
            Input::Media(MediaEvent::Described(body))
        }
        Output::Media(MediaCommand::Close) => Input::Media(MediaEvent::Closed {
            to_callee: MediaFigures::default(),
            to_caller: MediaFigures::default(),
            quality: leasebridge::domain::CallQuality::default(),
            guard_hits: 0,
        }),
        _ => return None,
    })
}

fn calls(criterion: &mut Criterion) {
    let mut bench = Bench::new();
    criterion.bench_function("call/answered_and_ended", |bencher| {
        bencher.iter(|| {
            let mut call = bench.call();
            let bye = LegEvent::Ended(Cause { sip: 0, q850: 16 });
            bench.feed(&mut call, Input::Leg(Side::Caller, bye));
            assert_eq!(call.state(), State::Over);
        });
    });
    let mut bench = Bench::new();
    let mut call = bench.call();
    criterion.bench_function("call/hold_and_resume", |bencher| {
        bencher.iter(|| {
            for (by, other) in [(Side::Caller, Side::Callee), (Side::Callee, Side::Caller)] {
                let offer = LegEvent::Offered(Some(Bytes::from_static(SDP)));
                bench.feed(&mut call, Input::Leg(by, offer));
                let answer = LegEvent::Reanswered(Some(Bytes::from_static(SDP)));
                bench.feed(&mut call, Input::Leg(other, answer));
            }
        });
    });
}

criterion_group!(benches, calls);
criterion_main!(benches);
