//! The gateway's lives: how it starts, crashes and is asked again.

use super::super::checks::books::Ledger;
use super::super::node::Node;
use super::super::relay::SharedRelay;
use super::{Broken, Checked, Event, Request, World};
use crate::books::Ticket;
use crate::books::command::{Idempotency, Outcome, Render};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

impl World {
    pub(super) fn boot(&mut self) -> Checked {
        let relay = SharedRelay::new(self.broken == Some(Broken::PortLeak));
        let fault = match self.broken {
            Some(Broken::Ledger(fault)) => Some(fault),
            _ => None,
        };
        self.store_is_as_left()?;
        let now = self.now();
        let node = Node::boot(
            &mut self.store,
            &self.weather,
            &mut self.chance,
            relay,
            fault,
            now,
        )?;
        match node {
            Ok(mut node) => {
                // Nothing was said to calls that are gone; what a crash left is closed first.
                let said = node.turn(&mut self.store, now)?;
                node.request(Ticket(0), Node::pool(), None);
                self.node = Some(node);
                self.hear(said)?;
                self.wire.life += 1;
                self.messages.forget();
                self.crashed_at = None;
                self.invites.clear();
                self.draining = false;
                self.overloaded = false;
                if !self.ledger.open.is_empty() {
                    return Err("a call of an earlier life is still open".to_owned());
                }
                self.answers.kept(&self.ledger, now.wall)
            }
            Err(said) => {
                self.hear(said)?;
                self.faulted = true;
                self.crash();
                Ok(())
            }
        }
    }

    /// What the new process finds is what the old one was told is durable.
    pub(super) fn store_is_as_left(&mut self) -> Checked {
        let found = Ledger::read(&self.store)?;
        if let Some(batch) = self.uncertain.take()
            && found != self.ledger
        {
            self.committed(&batch)?;
        }
        if found != self.ledger {
            return Err("the store does not have what was committed, or more".to_owned());
        }
        if self.crashed_at.is_some() {
            let open = self.ledger.open.iter();
            self.left_open = open.map(|(call, open)| (*call, open.prepared)).collect();
        }
        Ok(())
    }

    pub(super) fn crash(&mut self) {
        self.node = None;
        self.summary.count("crashes");
        self.crashed_at.get_or_insert(self.now);
        self.store = self.store.restart();
        for (_, request) in std::mem::take(&mut self.requests) {
            self.ask_again(request);
        }
        let pause = Duration::from_millis(100 + self.chance.below(3000));
        self.at(self.now + pause, Event::Restart);
    }

    /// The last request got no final answer.
    pub(super) fn ask_again(&mut self, mut request: Request) {
        request.tries += 1;
        if request.key.is_some() && request.tries < 6 {
            let pause = Duration::from_millis(500 + self.chance.below(3000));
            self.at(self.now + pause, Event::Request(request));
        }
    }

    pub(super) fn request(&mut self, request: Request) {
        let now = self.now().wall;
        let Some(node) = &mut self.node else {
            return self.ask_again(request);
        };
        self.counter += 1;
        let ticket = Ticket(self.counter);
        self.answers.asked(&request.command, now);
        let idempotency = request.key.map(|key| Idempotency {
            key,
            parameters: key,
            render: Arc::new(AsText),
        });
        node.request(ticket, request.command.clone(), idempotency);
        self.requests.insert(ticket, request);
    }
}

/// The bytes of an answer, for those who ask again.
struct AsText;

impl Render for AsText {
    fn render(&self, outcome: &Outcome) -> Bytes {
        Bytes::from(format!("{outcome:?}"))
    }
}
