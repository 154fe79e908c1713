//! Loss, repetition and delay of every message, by chance: the agent always comes to rest.

use super::*;
use proptest::prelude::*;

/// A network that treats each datagram as the next figure says, and two peers that do what a
/// plain user agent does.
struct Network {
    world: World,
    fates: std::vec::IntoIter<u8>,
    /// Datagrams on their way to a peer.
    late: VecDeque<Message>,
    key: Option<CallKey>,
    caller: End,
    accepted: bool,
    answered_invites: u32,
}

impl Network {
    fn fate(&mut self) -> u8 {
        self.fates.next().unwrap_or(0) % 8
    }

    /// To the agent: 1 loses, 2 doubles.
    fn send(&mut self, from: &str, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        let copies = match self.fate() {
            1 => 0,
            2 => 2,
            _ => 1,
        };
        for _ in 0..copies {
            self.world.receive(from, bytes.clone());
        }
    }

    /// One round: what the agent sent reaches the peers, what it said is acted upon.
    fn round(&mut self) {
        while let Some((bytes, path)) = self.world.sent.pop_front() {
            let fate = self.fate();
            let Ok(message) = codec::parse(bytes) else {
                panic!()
            };
            match fate {
                1 => continue,
                3 => self.late.push_back(message),
                _ if path.remote == address(CALLER) => self.caller_gets(&message),
                _ => self.callee_gets(&message),
            }
        }
        if let Some(message) = self.late.pop_front() {
            if message.call_id() == self.caller.call_id {
                self.caller_gets(&message);
            } else {
                self.callee_gets(&message);
            }
        }
        while let Some(said) = self.world.said.pop_front() {
            self.act(said);
        }
    }

    fn caller_gets(&mut self, message: &Message) {
        match (message.method(), message.status()) {
            (Method::Invite, Some(200)) => {
                self.caller.learn(message);
                let ack = self.caller.ack();
                self.send(CALLER, ack);
            }
            (Method::Invite, Some(300..)) => {
                let ack = self.caller.ack_failure(message);
                self.send(CALLER, ack);
            }
            (Method::Bye, None) => self.send(CALLER, respond(message, 200, "")),
            _ => {}
        }
    }

    fn callee_gets(&mut self, message: &Message) {
        match (message.method(), message.status()) {
            (Method::Invite, None) => {
                self.answered_invites += 1;
                self.send(CALLEE, respond(message, 180, "bob"));
                self.send(CALLEE, respond(message, 200, "bob").sdp(CALLEE_SDP));
            }
            (Method::Bye | Method::Cancel, None) => {
                self.send(CALLEE, respond(message, 200, "bob"));
            }
            _ => {}
        }
    }

    fn act(&mut self, said: Output) {
        match said {
            Output::Invite(key, invite) => {
                assert_eq!(invite.refused, None);
                assert!(self.key.replace(key).is_none(), "one call");
                self.world.command(key, SipCommand::Dial(Box::new(dial())));
            }
            Output::Event(key, side, event) => match event {
                LegEvent::Progress { fork, status, .. } => {
                    let progress = SipCommand::Progress {
                        fork,
                        status,
                        body: None,
                    };
                    self.world.command(key, progress);
                }
                LegEvent::Answered { fork, .. } => {
                    assert!(!std::mem::replace(&mut self.accepted, true), "one answer");
                    self.world
                        .command(key, SipCommand::Confirm(Side::Callee, None));
                    let body = Some(OFFER.into());
                    self.world.command(key, SipCommand::Accept { fork, body });
                }
                LegEvent::Failed(_) => {
                    let cause = cause(480, 0);
                    self.world.command(
                        key,
                        SipCommand::Reject {
                            cause,
                            retry_after: 0,
                        },
                    );
                }
                LegEvent::Unconfirmed | LegEvent::Lost(_) | LegEvent::Ended(_) => {
                    let cause = cause(0, 16);
                    self.world.command(key, SipCommand::Bye(side, cause));
                    self.world
                        .command(key, SipCommand::Bye(side.other(), cause));
                }
                _ => {}
            },
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn whatever_is_lost_the_agent_comes_to_rest(
        fates in proptest::collection::vec(any::<u8>(), 0..80),
        hang_up_after in 0u64..40,
    ) {
        let mut network = Network {
            world: World::new(),
            fates: fates.into_iter(),
            late: VecDeque::new(),
            key: None,
            caller: End::caller(),
            accepted: false,
            answered_invites: 0,
        };
        let invite: Bytes = network.caller.invite().into();
        for step in 0..80 {
            if step < 6 && network.key.is_none() {
                network.send(CALLER, invite.clone());
            }
            if step == hang_up_after && let Some(key) = network.key {
                network.world.command(key, SipCommand::Cancel(cause(0, 16)));
                network.world.command(key, SipCommand::Bye(Side::Caller, cause(0, 16)));
            }
            network.round();
            network.world.pass_millis(500);
        }
        if let Some(key) = network.key {
            network.world.command(key, SipCommand::Cancel(cause(0, 16)));
            network.world.command(key, SipCommand::Bye(Side::Caller, cause(0, 16)));
        }
        network.world.assert_empty();
    }

    #[test]
    fn any_datagram_is_taken(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        at in 0usize..900, with in any::<u8>(),
    ) {
        let mut world = World::new();
        world.receive(CALLER, bytes);
        let mut invite = Bytes::from(End::caller().invite()).to_vec();
        if let Some(byte) = invite.get_mut(at) {
            *byte = with;
        }
        world.receive(CALLER, invite);
        world.pass(Duration::from_secs(1));
    }
}
