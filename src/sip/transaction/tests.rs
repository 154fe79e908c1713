//! Tests of the transaction table: each state machine by its drawing, matching, bounds, and two
//! tables that talk over a network that loses, repeats and reorders.

use super::*;
use crate::sip::codec;
use crate::sip::message::{Header, Transport, Writer};
use proptest::prelude::*;
use std::time::{Duration, Instant};

const T1: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(32);
const T4: Duration = Duration::from_secs(5);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn path_of(transport: Transport) -> Path {
    Path {
        transport,
        local: "192.0.2.1:5060".parse().unwrap(),
        remote: "192.0.2.9:5070".parse().unwrap(),
    }
}

/// What a request of the tests is made of.
#[derive(Clone, Copy)]
struct Ask<'a> {
    method: Method,
    branch: &'a str,
    cseq: u32,
    cseq_method: &'a str,
    call_id: &'a str,
    to_tag: &'a str,
}

const INVITE: Ask<'static> = Ask {
    method: Method::Invite,
    branch: "z9hG4bKinvite",
    cseq: 1,
    cseq_method: "INVITE",
    call_id: "one",
    to_tag: "",
};

const BYE: Ask<'static> = Ask {
    method: Method::Bye,
    branch: "z9hG4bKbye",
    cseq: 2,
    cseq_method: "BYE",
    call_id: "one",
    to_tag: ";tag=t",
};

fn bytes_of(ask: Ask<'_>) -> Bytes {
    let mut writer = Writer::request(ask.method, "sip:b@example.com");
    writer.header_fmt(
        Header::Via,
        format_args!("SIP/2.0/UDP 192.0.2.1:5060;branch={};rport", ask.branch),
    );
    writer.header(Header::MaxForwards, "70");
    writer.header(Header::From, "<sip:a@example.com>;tag=f");
    writer.header_fmt(
        Header::To,
        format_args!("<sip:b@example.com>{}", ask.to_tag),
    );
    writer.header(Header::CallId, ask.call_id);
    writer.header_fmt(
        Header::CSeq,
        format_args!("{} {}", ask.cseq, ask.cseq_method),
    );
    writer.finish(None)
}

fn request(ask: Ask<'_>) -> Message {
    codec::parse(bytes_of(ask)).unwrap()
}

fn response_bytes(ask: Ask<'_>, status: u16) -> Bytes {
    Writer::response_to(
        &request(ask),
        status,
        Some("remote"),
        path_of(Transport::Udp),
    )
    .finish(None)
}

fn response(ask: Ask<'_>, status: u16) -> Message {
    codec::parse(response_bytes(ask, status)).unwrap()
}

/// A table, its clock, and what came out of it.
struct Bench {
    table: Transactions,
    now: Instant,
    path: Path,
}

impl Bench {
    fn new(transport: Transport) -> Self {
        Self {
            table: Transactions::default(),
            now: Instant::now(),
            path: path_of(transport),
        }
    }

    fn udp() -> Self {
        Self::new(Transport::Udp)
    }

    fn give(&mut self, input: Input) -> Vec<String> {
        self.table.handle(input, self.now);
        self.drain()
    }

    fn drain(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.table.poll_output())
            .map(|output| shown(&output))
            .collect()
    }

    fn start(&mut self, ask: Ask<'_>) -> TransactionId {
        let id = self.table.next_id();
        let out = self.give(Input::Request {
            id,
            method: ask.method,
            branch: ask.branch.into(),
            bytes: bytes_of(ask),
            path: self.path,
        });
        assert_eq!(out, [format!("send {}", ask.method.as_str())]);
        id
    }

    fn receive(&mut self, message: Message) -> Vec<String> {
        self.give(Input::Receive(message, self.path))
    }

    /// A new server transaction for a request.
    fn serve(&mut self, ask: Ask<'_>) -> TransactionId {
        self.table
            .handle(Input::Receive(request(ask), self.path), self.now);
        let id = match self.table.poll_output() {
            Some(Output::Request { id, .. }) => id,
            other => panic!("{other:?}"),
        };
        assert!(self.table.poll_output().is_none());
        id
    }

    fn respond(&mut self, id: TransactionId, ask: Ask<'_>, status: u16) -> Vec<String> {
        let bytes = response_bytes(ask, status);
        self.give(Input::Respond { id, status, bytes })
    }

    /// Lets time pass, timer by timer; outputs with the milliseconds they came at.
    fn wait(&mut self, time: Duration) -> Vec<(u64, String)> {
        let (from, end) = (self.now, self.now + time);
        let mut seen = Vec::new();
        while let Some(at) = self.table.poll_timeout().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.table.handle_timeout(self.now);
            let millis = u64::try_from((self.now - from).as_millis()).unwrap();
            seen.extend(self.drain().into_iter().map(|line| (millis, line)));
        }
        self.now = end;
        seen
    }

    fn alive(&self) -> (usize, usize) {
        self.table.alive()
    }
}

/// An output in a line.
fn shown(output: &Output) -> String {
    match output {
        Output::Transmit { bytes, repeat, .. } => {
            let message = codec::parse(bytes.clone()).unwrap();
            let verb = if *repeat { "repeat" } else { "send" };
            match message.status() {
                Some(status) => format!("{verb} {status}"),
                None => format!("{verb} {}", message.method().as_str()),
            }
        }
        Output::Request {
            message, invite, ..
        } => {
            let of = if invite.is_some() {
                " of an invite"
            } else {
                ""
            };
            format!("request {}{of}", message.method().as_str())
        }
        Output::Ack { .. } => "ack".to_owned(),
        Output::Response { message, .. } => format!("response {}", message.status().unwrap()),
        Output::Timeout { .. } => "timeout".to_owned(),
        Output::TransportFailed { .. } => "transport failed".to_owned(),
        Output::Unacknowledged { .. } => "unacknowledged".to_owned(),
        Output::Stray { message, .. } => format!("stray {}", message.status().unwrap()),
    }
}

fn ack(branch: &'static str) -> Message {
    request(Ask {
        method: Method::Ack,
        branch,
        cseq_method: "ACK",
        to_tag: ";tag=remote",
        ..INVITE
    })
}

fn cancel() -> Message {
    request(Ask {
        method: Method::Cancel,
        cseq_method: "CANCEL",
        ..INVITE
    })
}

fn times(seen: &[(u64, String)], what: &str) -> Vec<u64> {
    seen.iter()
        .filter(|(_, line)| line == what)
        .map(|(at, _)| *at)
        .collect()
}

// INVITE client

#[test]
fn timer_a_doubles_and_timer_b_ends() {
    let mut bench = Bench::udp();
    bench.start(INVITE);
    let seen = bench.wait(PATIENCE);
    assert_eq!(
        times(&seen, "repeat INVITE"),
        [500, 1500, 3500, 7500, 15500, 31500]
    );
    assert_eq!(times(&seen, "timeout"), [32000]);
    assert_eq!(bench.alive(), (0, 0));
    assert_eq!(bench.table.counters().invite_timeouts, 1);
    assert_eq!(bench.table.counters().repeats_sent, 6);
}

#[test]
fn reliable_transports_do_not_repeat_an_invite() {
    let mut bench = Bench::new(Transport::Tcp);
    bench.start(INVITE);
    assert_eq!(bench.wait(PATIENCE), [(32000, "timeout".to_owned())]);
}

#[test]
fn a_provisional_stops_both_timers() {
    let mut bench = Bench::udp();
    bench.start(INVITE);
    assert_eq!(bench.receive(response(INVITE, 100)), ["response 100"]);
    assert_eq!(bench.receive(response(INVITE, 180)), ["response 180"]);
    assert_eq!(bench.receive(response(INVITE, 180)), ["response 180"]);
    assert_eq!(bench.wait(PATIENCE * 10), []);
    assert_eq!(bench.alive(), (1, 0));
}

#[test]
fn a_success_is_reported_each_time_until_timer_m() {
    for provisional in [false, true] {
        let mut bench = Bench::udp();
        bench.start(INVITE);
        if provisional {
            bench.receive(response(INVITE, 180));
        }
        assert_eq!(bench.receive(response(INVITE, 200)), ["response 200"]);
        assert_eq!(bench.receive(response(INVITE, 200)), ["response 200"]);
        // Not in RFC 6026's drawing: neither a late provisional nor a late failure is anything.
        assert!(bench.receive(response(INVITE, 180)).is_empty());
        assert!(bench.receive(response(INVITE, 486)).is_empty());
        assert_eq!(bench.wait(PATIENCE - ms(1)), []);
        assert_eq!(bench.alive(), (1, 0));
        bench.wait(ms(1));
        assert_eq!(bench.alive(), (0, 0));
        assert_eq!(bench.receive(response(INVITE, 200)), ["stray 200"]);
    }
}

#[test]
fn a_failure_is_acked_by_the_transaction_until_timer_d() {
    for provisional in [false, true] {
        let mut bench = Bench::udp();
        bench.start(INVITE);
        if provisional {
            bench.receive(response(INVITE, 180));
        }
        assert_eq!(
            bench.receive(response(INVITE, 486)),
            ["send ACK", "response 486"]
        );
        assert_eq!(bench.receive(response(INVITE, 486)), ["repeat ACK"]);
        // Another fork's answer is no business of the transaction's, but not lost either.
        assert_eq!(bench.receive(response(INVITE, 200)), ["stray 200"]);
        assert_eq!(bench.receive(response(INVITE, 200)), ["stray 200"]);
        assert!(bench.receive(response(INVITE, 180)).is_empty());
        assert_eq!(bench.wait(PATIENCE - ms(1)), []);
        assert_eq!(bench.alive(), (1, 0));
        bench.wait(ms(1));
        assert_eq!(bench.alive(), (0, 0));
    }
}

#[test]
fn the_ack_has_the_invites_branch_and_the_responses_tag() {
    let mut bench = Bench::udp();
    bench.start(INVITE);
    bench
        .table
        .handle(Input::Receive(response(INVITE, 404), bench.path), bench.now);
    let Some(Output::Transmit {
        bytes,
        path,
        repeat,
    }) = bench.table.poll_output()
    else {
        panic!("no ACK");
    };
    assert_eq!((path, repeat), (bench.path, false));
    let ack = codec::parse(bytes).unwrap();
    assert_eq!(ack.method(), Method::Ack);
    assert_eq!(ack.top_via().branch, Some(INVITE.branch));
    assert_eq!((ack.to_tag(), ack.cseq()), ("remote", 1));
}

#[test]
fn timer_d_is_zero_on_reliable_transports() {
    let mut bench = Bench::new(Transport::Tcp);
    bench.start(INVITE);
    assert_eq!(
        bench.receive(response(INVITE, 486)),
        ["send ACK", "response 486"]
    );
    assert_eq!(bench.alive(), (0, 0));
}

#[test]
fn a_failed_path_fails_what_has_no_response() {
    let mut bench = Bench::udp();
    bench.start(INVITE);
    bench.start(BYE);
    let answered = Ask {
        branch: "z9hG4bKother",
        ..INVITE
    };
    bench.start(answered);
    bench.receive(response(answered, 100));
    let elsewhere = Path {
        remote: "192.0.2.10:5070".parse().unwrap(),
        ..bench.path
    };
    assert!(bench.give(Input::PathFailed(elsewhere)).is_empty());
    let path = bench.path;
    assert_eq!(
        bench.give(Input::PathFailed(path)),
        ["transport failed", "transport failed"]
    );
    assert_eq!(bench.alive(), (1, 0));
    assert!(bench.give(Input::PathFailed(path)).is_empty());
    assert_eq!(bench.table.counters().transport_failures, 2);
}

#[test]
fn a_detached_invite_reports_only_a_success_and_runs_out() {
    let mut bench = Bench::udp();
    let id = bench.start(INVITE);
    bench.receive(response(INVITE, 180));
    assert!(bench.give(Input::Detach { id }).is_empty());
    assert!(bench.receive(response(INVITE, 180)).is_empty());
    assert_eq!(bench.receive(response(INVITE, 200)), ["stray 200"]);
    assert_eq!(bench.receive(response(INVITE, 200)), ["stray 200"]);
    bench.wait(PATIENCE);
    assert_eq!(bench.alive(), (0, 0));
}

#[test]
fn a_detached_invite_acks_its_failure_in_silence() {
    let mut bench = Bench::udp();
    let id = bench.start(INVITE);
    bench.give(Input::Detach { id });
    assert_eq!(bench.receive(response(INVITE, 487)), ["send ACK"]);
    bench.wait(PATIENCE);
    assert_eq!(bench.alive(), (0, 0));
}

#[test]
fn a_detached_invite_without_an_answer_ends() {
    for early in [true, false] {
        let mut bench = Bench::udp();
        let id = bench.start(INVITE);
        if early {
            bench.give(Input::Detach { id });
        }
        bench.receive(response(INVITE, 180));
        if !early {
            bench.wait(PATIENCE);
            bench.give(Input::Detach { id });
        }
        assert_eq!(bench.wait(PATIENCE - ms(1)), []);
        assert_eq!(bench.alive(), (1, 0));
        bench.wait(ms(1));
        assert_eq!(bench.alive(), (0, 0));
        assert_eq!(bench.table.counters().abandoned, 1);
    }
    let mut silent = Bench::udp();
    let id = silent.start(INVITE);
    silent.give(Input::Detach { id });
    assert_eq!(times(&silent.wait(PATIENCE), "timeout"), [0; 0]);
    assert_eq!(silent.alive(), (0, 0));
}

// Non-INVITE client

#[test]
fn timer_e_doubles_up_to_t2_and_timer_f_ends() {
    let mut bench = Bench::udp();
    bench.start(BYE);
    let seen = bench.wait(PATIENCE);
    assert_eq!(
        times(&seen, "repeat BYE"),
        [
            500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500
        ]
    );
    assert_eq!(times(&seen, "timeout"), [32000]);
    assert_eq!(bench.alive(), (0, 0));
    assert_eq!(bench.table.counters().other_timeouts, 1);
}

#[test]
fn a_provisional_slows_timer_e_and_leaves_timer_f() {
    let mut bench = Bench::udp();
    bench.start(BYE);
    assert_eq!(bench.receive(response(BYE, 100)), ["response 100"]);
    let seen = bench.wait(PATIENCE);
    assert_eq!(
        times(&seen, "repeat BYE"),
        [500, 4500, 8500, 12500, 16500, 20500, 24500, 28500]
    );
    assert_eq!(times(&seen, "timeout"), [32000]);
}

#[test]
fn a_final_response_ends_the_request_and_timer_k_absorbs() {
    let mut bench = Bench::udp();
    bench.start(BYE);
    assert_eq!(bench.receive(response(BYE, 200)), ["response 200"]);
    assert!(bench.receive(response(BYE, 200)).is_empty());
    assert_eq!(bench.table.counters().repeats_absorbed, 1);
    assert_eq!(bench.wait(T4 - ms(1)), []);
    assert_eq!(bench.alive(), (1, 0));
    bench.wait(ms(1));
    assert_eq!(bench.alive(), (0, 0));
    assert_eq!(bench.receive(response(BYE, 200)), ["stray 200"]);
}

#[test]
fn reliable_transports_end_a_request_at_once() {
    let mut bench = Bench::new(Transport::Tls);
    bench.start(BYE);
    assert_eq!(bench.wait(PATIENCE - ms(1)), []);
    assert_eq!(bench.receive(response(BYE, 481)), ["response 481"]);
    assert_eq!(bench.alive(), (0, 0));
}

// INVITE server

#[test]
fn a_repeated_invite_gets_the_last_provisional() {
    let mut bench = Bench::udp();
    let id = bench.serve(INVITE);
    assert!(bench.receive(request(INVITE)).is_empty());
    assert_eq!(bench.respond(id, INVITE, 100), ["send 100"]);
    assert_eq!(bench.receive(request(INVITE)), ["repeat 100"]);
    assert_eq!(bench.respond(id, INVITE, 183), ["send 183"]);
    assert_eq!(bench.receive(request(INVITE)), ["repeat 183"]);
    assert_eq!(bench.table.counters().repeats_absorbed, 3);
    assert_eq!(bench.wait(PATIENCE * 4), []);
    assert_eq!(bench.alive(), (0, 1));
}

#[test]
fn a_success_is_sent_once_and_the_invite_absorbed_until_timer_l() {
    let mut bench = Bench::udp();
    let id = bench.serve(INVITE);
    bench.respond(id, INVITE, 180);
    assert_eq!(bench.respond(id, INVITE, 200), ["send 200"]);
    assert!(bench.receive(request(INVITE)).is_empty());
    assert_eq!(bench.receive(ack(INVITE.branch)), ["ack"]);
    assert_eq!(bench.receive(ack("z9hG4bKack")), ["ack"]);
    assert_eq!(bench.respond(id, INVITE, 200), ["repeat 200"]);
    assert!(bench.respond(id, INVITE, 500).is_empty());
    assert_eq!(bench.wait(PATIENCE - ms(1)), []);
    assert_eq!(bench.alive(), (0, 1));
    bench.wait(ms(1));
    assert_eq!(bench.alive(), (0, 0));
}

#[test]
fn a_failure_is_repeated_by_timer_g_until_timer_h() {
    let mut bench = Bench::udp();
    let id = bench.serve(INVITE);
    assert_eq!(bench.respond(id, INVITE, 486), ["send 486"]);
    let seen = bench.wait(PATIENCE);
    assert_eq!(
        times(&seen, "repeat 486"),
        [
            500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500
        ]
    );
    assert_eq!(times(&seen, "unacknowledged"), [32000]);
    assert_eq!(bench.alive(), (0, 0));
    assert_eq!(bench.table.counters().unacknowledged, 1);
}

#[test]
fn an_ack_confirms_a_failure_and_timer_i_absorbs() {
    let mut bench = Bench::udp();
    let id = bench.serve(INVITE);
    assert!(bench.receive(ack(INVITE.branch)).is_empty(), "too early");
    bench.respond(id, INVITE, 404);
    assert_eq!(bench.receive(request(INVITE)), ["repeat 404"]);
    assert!(bench.receive(ack(INVITE.branch)).is_empty());
    assert!(bench.receive(ack(INVITE.branch)).is_empty());
    assert!(bench.receive(request(INVITE)).is_empty());
    assert_eq!(bench.wait(T4 - ms(1)), []);
    assert_eq!(bench.alive(), (0, 1));
    bench.wait(ms(1));
    assert_eq!(bench.alive(), (0, 0));
}

#[test]
fn reliable_transports_repeat_no_failure_but_wait_for_the_ack() {
    let mut bench = Bench::new(Transport::Tcp);
    let id = bench.serve(INVITE);
    bench.respond(id, INVITE, 404);
    assert_eq!(bench.wait(PATIENCE - ms(1)), []);
    assert!(bench.receive(ack(INVITE.branch)).is_empty());
    assert_eq!(bench.alive(), (0, 0));
}

// Non-INVITE server

#[test]
fn a_repeated_request_gets_the_last_response_until_timer_j() {
    let mut bench = Bench::udp();
    let id = bench.serve(BYE);
    assert!(bench.receive(request(BYE)).is_empty());
    assert_eq!(bench.respond(id, BYE, 100), ["send 100"]);
    assert_eq!(bench.receive(request(BYE)), ["repeat 100"]);
    assert_eq!(bench.respond(id, BYE, 200), ["send 200"]);
    assert_eq!(bench.receive(request(BYE)), ["repeat 200"]);
    assert!(bench.respond(id, BYE, 500).is_empty());
    assert_eq!(bench.table.counters().late_commands, 1);
    assert_eq!(bench.wait(PATIENCE - ms(1)), []);
    assert_eq!(bench.alive(), (0, 1));
    bench.wait(ms(1));
    assert_eq!(bench.alive(), (0, 0));
    assert!(bench.respond(id, BYE, 200).is_empty());
}

#[test]
fn timer_j_is_zero_on_reliable_transports() {
    let mut bench = Bench::new(Transport::Tcp);
    let id = bench.serve(BYE);
    assert_eq!(bench.respond(id, BYE, 200), ["send 200"]);
    assert_eq!(bench.alive(), (0, 0));
}

#[test]
fn a_request_that_nobody_answers_is_given_up() {
    let mut bench = Bench::udp();
    bench.serve(BYE);
    assert_eq!(bench.wait(PATIENCE), []);
    assert_eq!(bench.alive(), (0, 0));
    assert_eq!(bench.table.counters().abandoned, 1);
}

// Matching

#[test]
fn a_cancel_names_its_invite() {
    let mut bench = Bench::udp();
    assert_eq!(bench.receive(cancel()), ["request CANCEL"]);
    let mut bench = Bench::udp();
    bench.serve(INVITE);
    assert_eq!(bench.receive(cancel()), ["request CANCEL of an invite"]);
    assert!(bench.receive(cancel()).is_empty(), "repeated");
    assert_eq!(bench.alive(), (0, 2));
}

#[test]
fn an_ack_without_a_transaction_is_for_a_success() {
    let mut bench = Bench::udp();
    assert_eq!(bench.receive(ack("z9hG4bKnobody")), ["ack"]);
}

#[test]
fn a_response_is_matched_by_branch_sent_by_and_method() {
    let mut bench = Bench::udp();
    bench.start(INVITE);
    let cancel = Ask {
        method: Method::Cancel,
        cseq_method: "CANCEL",
        ..INVITE
    };
    bench.start(cancel);
    let other = Ask {
        branch: "z9hG4bKunknown",
        ..INVITE
    };
    assert_eq!(bench.receive(response(other, 200)), ["stray 200"]);
    let bytes = String::from_utf8(response_bytes(INVITE, 200).to_vec()).unwrap();
    let foreign = bytes.replace("192.0.2.1:5060", "192.0.2.1:5061");
    assert_eq!(
        bench.receive(codec::parse(foreign.into()).unwrap()),
        ["stray 200"]
    );
    assert_eq!(bench.receive(response(cancel, 200)), ["response 200"]);
    assert_eq!(
        bench.receive(response(INVITE, 487)),
        ["send ACK", "response 487"]
    );
    assert_eq!(bench.table.counters().strays, 2);
}

#[test]
fn a_request_is_matched_by_branch_sent_by_and_method() {
    let mut bench = Bench::udp();
    bench.serve(INVITE);
    let bytes = String::from_utf8(bytes_of(INVITE).to_vec()).unwrap();
    let foreign = bytes.replace("192.0.2.1:5060", "pbx.example:5060");
    assert_eq!(
        bench.receive(codec::parse(foreign.clone().into()).unwrap()),
        ["request INVITE"]
    );
    let shouted = foreign.replace("pbx.example", "PBX.Example");
    assert!(
        bench
            .receive(codec::parse(shouted.into()).unwrap())
            .is_empty()
    );
    assert_eq!(
        bench.receive(request(Ask {
            branch: "z9hG4bKnew",
            ..INVITE
        })),
        ["request INVITE"]
    );
}

#[test]
fn peers_of_rfc_2543_are_matched_by_their_fields() {
    let old = Ask {
        branch: "1",
        ..INVITE
    };
    let mut bench = Bench::udp();
    let id = bench.serve(old);
    assert!(bench.receive(request(old)).is_empty());
    let cancel = Ask {
        method: Method::Cancel,
        cseq_method: "CANCEL",
        ..old
    };
    assert_eq!(
        bench.receive(request(cancel)),
        ["request CANCEL of an invite"]
    );
    assert_eq!(
        bench.receive(request(Ask { cseq: 2, ..old })),
        ["request INVITE"]
    );
    bench.respond(id, old, 487);
    let ack = Ask {
        method: Method::Ack,
        cseq_method: "ACK",
        to_tag: ";tag=remote",
        ..old
    };
    assert!(bench.receive(request(ack)).is_empty());
    assert_eq!(times(&bench.wait(T4), "repeat 487"), [0; 0]);
}

#[test]
fn merged_requests_are_marked_until_the_first_has_failed() {
    let mut bench = Bench::udp();
    let first = bench.serve(INVITE);
    let second = bench.serve(Ask {
        branch: "z9hG4bKfork",
        ..INVITE
    });
    assert!(!bench.table.is_merged(first));
    assert!(bench.table.is_merged(second));
    let other = bench.serve(Ask {
        branch: "z9hG4bKx",
        call_id: "two",
        ..INVITE
    });
    assert!(!bench.table.is_merged(other));
    let dialog = Ask {
        to_tag: ";tag=t",
        ..INVITE
    };
    let inside = bench.serve(Ask {
        branch: "z9hG4bKy",
        ..dialog
    });
    assert!(!bench.table.is_merged(inside));
    bench.respond(second, INVITE, 482);
    bench.respond(first, INVITE, 503);
    let next_route = bench.serve(Ask {
        branch: "z9hG4bKroute",
        ..INVITE
    });
    assert!(!bench.table.is_merged(next_route));
}

#[test]
fn responses_go_by_rport_or_sent_by() {
    let mut bench = Bench::udp();
    let id = bench.serve(INVITE);
    let plain = String::from_utf8(bytes_of(BYE).to_vec())
        .unwrap()
        .replace(";rport", "");
    bench.table.handle(
        Input::Receive(codec::parse(plain.into()).unwrap(), bench.path),
        bench.now,
    );
    let Some(Output::Request {
        id: other, path, ..
    }) = bench.table.poll_output()
    else {
        panic!("no request");
    };
    assert_eq!(path, bench.path);
    for (id, port) in [(id, 5070), (other, 5060)] {
        let bytes = response_bytes(INVITE, 404);
        bench.table.handle(
            Input::Respond {
                id,
                status: 404,
                bytes,
            },
            bench.now,
        );
        match bench.table.poll_output() {
            Some(Output::Transmit { path, .. }) => assert_eq!(path.remote.port(), port),
            other => panic!("{other:?}"),
        }
    }
}

// Bounds

#[test]
fn a_full_table_refuses_and_counts() {
    let settings = Settings {
        max_transactions: 1,
        ..Settings::default()
    };
    let mut bench = Bench {
        table: Transactions::new(settings),
        ..Bench::udp()
    };
    let id = bench.serve(INVITE);
    assert!(bench.receive(request(BYE)).is_empty());
    assert!(
        bench.receive(request(INVITE)).is_empty(),
        "a repeat is no new transaction"
    );
    let client = bench.table.next_id();
    let out = bench.give(Input::Request {
        id: client,
        method: Method::Bye,
        branch: BYE.branch.into(),
        bytes: bytes_of(BYE),
        path: path_of(Transport::Udp),
    });
    assert_eq!(out, ["transport failed"]);
    assert_eq!(bench.table.counters().refused, 2);
    assert!(bench.table.is_alive(id) && !bench.table.is_alive(client));
}

#[test]
fn one_timeout_call_is_bounded_and_the_rest_follows_at_once() {
    let mut bench = Bench::udp();
    for number in 0..2000 {
        let branch = format!("z9hG4bKn{number}");
        bench.start(Ask {
            branch: &branch,
            ..BYE
        });
    }
    bench.now += T1;
    bench.table.handle_timeout(bench.now);
    assert!(bench.drain().len() < 2000);
    assert!(bench.table.poll_timeout().unwrap() <= bench.now);
    assert_eq!(bench.wait(Duration::ZERO).len() + 512, 2000);
}

#[test]
fn sends_outside_transactions_pass_through() {
    let mut bench = Bench::udp();
    let path = bench.path;
    let bytes = response_bytes(INVITE, 200);
    assert_eq!(bench.give(Input::Send { bytes, path }), ["send 200"]);
    assert_eq!(bench.alive(), (0, 0));
    assert_eq!(bench.table.poll_timeout(), None);
}

// Two tables

/// Two tables and a network between them; the second one answers by `plan`.
struct Pair {
    tables: [Transactions; 2],
    now: Instant,
    /// In flight: when, sequence number, to whom, what.
    wire: std::collections::BTreeMap<(Instant, u64), (usize, Bytes)>,
    sent: u64,
    /// What befalls each datagram, in turn: lost, or copies with delays in milliseconds.
    fates: Vec<Vec<u64>>,
    plan: Vec<(u16, u16)>,
    answered: usize,
    /// Final responses reported, by transaction: failures, and successes of other requests.
    finals: std::collections::BTreeMap<TransactionId, usize>,
}

impl Pair {
    fn drain(&mut self, who: usize) {
        while let Some(output) = self.tables[who].poll_output() {
            match output {
                Output::Transmit { bytes, .. } => self.post(1 - who, &bytes),
                Output::Request {
                    id, message, path, ..
                } => {
                    let (first, last) = self.plan[self.answered % self.plan.len()];
                    self.answered += 1;
                    // Only a request other than INVITE may be left to run out.
                    let last = match (last, message.method()) {
                        (0, Method::Invite) => 500,
                        (last, _) => last,
                    };
                    for status in [first, last].into_iter().filter(|status| *status > 0) {
                        let bytes = Writer::response_to(&message, status, Some("remote"), path);
                        let bytes = bytes.finish(None);
                        self.tables[who].handle(Input::Respond { id, status, bytes }, self.now);
                    }
                }
                Output::Response { id, message } => {
                    let status = message.status().unwrap();
                    if status >= 300 || (status >= 200 && message.method() != Method::Invite) {
                        *self.finals.entry(id).or_default() += 1;
                    } else if status < 200 {
                        // As a user agent does that has given up waiting.
                        self.tables[who].handle(Input::Detach { id }, self.now);
                    }
                }
                _ => {}
            }
        }
    }

    fn post(&mut self, to: usize, bytes: &Bytes) {
        let number = usize::try_from(self.sent).unwrap() % self.fates.len();
        for (copy, delay) in self.fates[number].clone().into_iter().enumerate() {
            self.sent += 1;
            let at = self.now + ms(delay + u64::try_from(copy).unwrap());
            self.wire.insert((at, self.sent), (to, bytes.clone()));
        }
        self.sent += 1;
    }

    /// The next thing that happens, if anything is left to.
    fn step(&mut self) -> bool {
        let timer = self
            .tables
            .iter()
            .filter_map(Transactions::poll_timeout)
            .min();
        let arrival = self.wire.keys().next().copied();
        match (timer, arrival) {
            (None, None) => return false,
            (Some(at), None) => self.expire(at),
            (Some(at), Some((arrives, _))) if at <= arrives => self.expire(at),
            (_, Some(key)) => {
                self.now = self.now.max(key.0);
                let (to, bytes) = self.wire.remove(&key).unwrap();
                let message = codec::parse(bytes).unwrap();
                let path = path_of(Transport::Udp);
                self.tables[to].handle(Input::Receive(message, path), self.now);
                self.drain(to);
            }
        }
        true
    }

    fn expire(&mut self, at: Instant) {
        self.now = self.now.max(at);
        for who in 0..2 {
            self.tables[who].handle_timeout(self.now);
            self.drain(who);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever the network does, nothing is left once the longest timers have run, and a request
    /// that was answered is answered once.
    #[test]
    fn nothing_is_left_behind(
        fates in proptest::collection::vec(proptest::collection::vec(0u64..3000, 0..3), 1..24),
        plan in proptest::collection::vec(
            (proptest::sample::select(vec![0u16, 100, 180]),
             proptest::sample::select(vec![0u16, 200, 302, 486, 503])), 1..6),
        asks in proptest::collection::vec(any::<bool>(), 1..12),
    ) {
        let start = Instant::now();
        let mut pair = Pair {
            tables: [Transactions::default(), Transactions::default()],
            now: start,
            wire: std::collections::BTreeMap::new(),
            sent: 0,
            fates,
            plan,
            answered: 0,
            finals: std::collections::BTreeMap::new(),
        };
        for (number, invite) in asks.iter().enumerate() {
            let branch = format!("z9hG4bKask{number}");
            let ask = Ask { branch: &branch, ..if *invite { INVITE } else { BYE } };
            let id = pair.tables[0].next_id();
            pair.tables[0].handle(Input::Request {
                id,
                method: ask.method,
                branch: ask.branch.into(),
                bytes: bytes_of(ask),
                path: path_of(Transport::Udp),
            }, pair.now);
            pair.drain(0);
        }
        let mut steps = 0;
        while pair.step() {
            steps += 1;
            prop_assert!(steps < 20_000, "it never ends");
        }
        prop_assert_eq!(pair.tables[0].alive(), (0, 0));
        prop_assert_eq!(pair.tables[1].alive(), (0, 0));
        prop_assert!(pair.finals.values().all(|count| *count == 1));
        prop_assert!(pair.now - start <= PATIENCE * 5);
    }
}
