//! The transaction table under a sequence of messages, commands and time.

use super::codec::path;
use super::steps::Steps;
use bytes::Bytes;
use leasebridge::sip::codec;
use leasebridge::sip::message::{Method, Path};
use leasebridge::sip::transaction::{Input, Output, Settings, TransactionId, Transactions};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Small enough to be reached.
const MOST: usize = 12;
/// Steps of one input.
const MOST_STEPS: usize = 400;
/// What one step may send: a path that fails ends all that is on it, and so does the longest wait,
/// in which each of the few sends what it has a few times.
const MOST_OUTPUTS: usize = 40 * MOST;

const METHODS: [(Method, &str); 6] = [
    (Method::Invite, "INVITE"),
    (Method::Options, "OPTIONS"),
    (Method::Bye, "BYE"),
    (Method::Cancel, "CANCEL"),
    (Method::Ack, "ACK"),
    (Method::Info, "INFO"),
];
const STATUSES: [u16; 8] = [100, 180, 183, 200, 202, 302, 486, 603];
const WAITS: [u64; 8] = [0, 1, 100, 500, 4_000, 5_000, 32_000, 33_000];

struct World {
    table: Transactions,
    now: Instant,
    /// Client transactions that were begun, and not yet reported as over.
    ours: Vec<(TransactionId, Method)>,
    /// Server transactions reported.
    theirs: Vec<TransactionId>,
    seen: BTreeSet<TransactionId>,
}

pub fn run(input: &[u8]) {
    let mut steps = Steps::new(input);
    let settings = Settings {
        max_transactions: MOST,
        ..Settings::default()
    };
    let mut world = World {
        table: Transactions::new(settings),
        now: Instant::now(),
        ours: Vec::new(),
        theirs: Vec::new(),
        seen: BTreeSet::new(),
    };
    for _ in 0..MOST_STEPS {
        if steps.is_over() {
            break;
        }
        world.step(&mut steps);
        let (clients, servers) = world.table.alive();
        assert!(
            clients + servers <= MOST,
            "the table has outgrown its bound"
        );
    }
    // An INVITE waits for its user, however long that takes.
    for id in std::mem::take(&mut world.theirs) {
        world.handle(Input::Respond {
            id,
            status: 487,
            bytes: Bytes::from_static(b"SIP/2.0 487 Request Terminated\r\n\r\n"),
        });
    }
    // So does ours, once it has heard that it is worked on.
    for (id, _) in world.ours.clone() {
        world.handle(Input::Detach { id });
    }
    // 64*T1 to be answered or acknowledged, and as long again for what is repeated.
    for _ in 0..3 {
        world.wait(Duration::from_secs(40));
    }
    assert_eq!(world.table.alive(), (0, 0), "transactions are left");
    assert_eq!(world.table.poll_timeout(), None, "a timer is left");
}

impl World {
    fn step(&mut self, steps: &mut Steps<'_>) {
        match steps.below(8) {
            0 | 1 => self.receive_request(steps),
            2 => self.receive_response(steps),
            3 => self.request(steps),
            4 => self.respond(steps),
            5 => {
                if let Some((id, _)) = self.chosen(steps) {
                    self.handle(Input::Detach { id });
                }
            }
            6 => self.handle(Input::PathFailed(place(steps))),
            _ => {
                let wait = Duration::from_millis(steps.pick(&WAITS));
                self.wait(wait);
            }
        }
    }

    fn receive_request(&mut self, steps: &mut Steps<'_>) {
        let (_, method) = steps.pick(&METHODS);
        let branch = steps.below(6);
        let cookie = steps.pick(&["z9hG4bK", "", "Z9HG4BK"]);
        let (call, tag, cseq) = (steps.below(2), steps.below(2), steps.below(3));
        let to = steps.pick(&["", ";tag=b"]);
        let rport = steps.pick(&["", ";rport"]);
        let text = format!(
            "{method} sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h{};branch={cookie}{branch}{rport}\r\n\
             From: <sip:c@d>;tag={tag}\r\nTo: <sip:a@b>{to}\r\nCall-ID: {call}\r\n\
             CSeq: {cseq} {method}\r\nMax-Forwards: 70\r\n\r\n",
            steps.below(2)
        );
        if let Ok(message) = codec::parse(Bytes::from(text)) {
            self.handle(Input::Receive(message, place(steps)));
        }
    }

    fn receive_response(&mut self, steps: &mut Steps<'_>) {
        let status = steps.pick(&STATUSES);
        let (_, method) = steps.pick(&METHODS);
        let branch = self.chosen(steps).map_or(0, |(id, _)| id.0);
        let tag = steps.below(3);
        let text = format!(
            "SIP/2.0 {status} X\r\nVia: SIP/2.0/UDP us;branch=z9hG4bKours{branch}\r\n\
             From: <sip:c@d>;tag=1\r\nTo: <sip:a@b>;tag={tag}\r\nCall-ID: ours\r\n\
             CSeq: 1 {method}\r\n\r\n"
        );
        if let Ok(message) = codec::parse(Bytes::from(text)) {
            self.handle(Input::Receive(message, place(steps)));
        }
    }

    fn request(&mut self, steps: &mut Steps<'_>) {
        let (method, name) = steps.pick(&METHODS);
        if method == Method::Ack {
            return; // is no transaction
        }
        let id = self.table.next_id();
        let branch = format!("z9hG4bKours{}", id.0);
        let text = format!(
            "{name} sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP us;branch={branch}\r\n\
             From: <sip:c@d>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: ours\r\nCSeq: 1 {name}\r\n\
             Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        );
        self.ours.push((id, method));
        self.handle(Input::Request {
            id,
            method,
            branch: branch.into(),
            bytes: Bytes::from(text),
            path: place(steps),
        });
    }

    fn respond(&mut self, steps: &mut Steps<'_>) {
        let status = steps.pick(&STATUSES);
        let id = match self.theirs.len() {
            0 => TransactionId(steps.byte().into()),
            count => self.theirs[steps.below(count)],
        };
        self.handle(Input::Respond {
            id,
            status,
            bytes: Bytes::from_static(b"SIP/2.0 200 OK\r\n\r\n"),
        });
    }

    fn chosen(&self, steps: &mut Steps<'_>) -> Option<(TransactionId, Method)> {
        let count = self.ours.len();
        (count > 0).then(|| self.ours[steps.below(count)])
    }

    fn handle(&mut self, input: Input) {
        self.table.handle(input, self.now);
        self.collect();
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        let mut rounds = 0;
        while let Some(at) = self.table.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.table.handle_timeout(self.now);
            self.collect();
            rounds += 1;
            assert!(rounds < 10_000, "time stands still");
        }
        self.now = end;
    }

    fn collect(&mut self) {
        let mut count = 0;
        while let Some(output) = self.table.poll_output() {
            count += 1;
            assert!(count <= MOST_OUTPUTS, "one input says too much");
            match output {
                Output::Request { id, invite, .. } => {
                    assert!(self.seen.insert(id), "one id for two transactions");
                    assert!(invite.is_none_or(|invite| self.seen.contains(&invite)));
                    self.theirs.push(id);
                }
                Output::Response { id, .. } => {
                    assert!(
                        self.ours.iter().any(|(ours, _)| *ours == id),
                        "whose response?"
                    );
                }
                Output::Timeout { id } | Output::TransportFailed { id } => {
                    let before = self.ours.len();
                    self.ours.retain(|(ours, _)| *ours != id);
                    assert_eq!(self.ours.len() + 1, before, "over twice, or never begun");
                }
                Output::Transmit { bytes, .. } => assert!(!bytes.is_empty()),
                Output::Ack { .. } | Output::Unacknowledged { .. } | Output::Stray { .. } => {}
            }
        }
    }
}

fn place(steps: &mut Steps<'_>) -> Path {
    let host = steps.pick(&[7u8, 8]);
    Path {
        remote: ([192, 0, 2, host], 5060).into(),
        ..path()
    }
}
