//! What is going to happen, as far as it is decided beforehand.

use super::super::plan::{self, CUSTOMERS};
use super::{Event, Request, World};
use crate::books::command::Command;
use crate::domain::LeaseKind;
use std::time::{Duration, Instant};

impl World {
    pub(super) fn plan(&mut self) {
        let start = self.origin + Duration::from_secs(1);
        for _ in 0..CUSTOMERS {
            let command = plan::customer(&mut self.chance);
            self.ask_at(start, command);
        }
        let wall = self.now().wall;
        for index in 0..2 + self.chance.below(4) {
            let command = plan::lease(&mut self.chance, wall);
            self.ask_at(start + Duration::from_millis(50 * (index + 1)), command);
        }
        for index in 0..self.chance.below(12) {
            let when = start + Duration::from_millis(self.chance.below(60_000));
            let unique = 100 + i64::try_from(index).unwrap();
            let wall = wall.plus(when - self.origin);
            let command = plan::other(&mut self.chance, wall, &self.references, unique);
            self.ask_at(when, command);
        }
        for _ in 0..1 + self.chance.below(10) {
            let when = start + Duration::from_millis(1000 + self.chance.below(30_000));
            let plan = plan::caller(&mut self.chance);
            self.at(when, Event::Call(plan));
        }
        self.planned_until = start + Duration::from_secs(60);
        self.at(start, Event::Sound);
        let disasters = [
            (25, Event::Crash),
            (8, Event::Crash),
            (10, Event::Reload),
            (4, Event::EndCalls),
            (4, Event::Unreachable(1)),
            (4, Event::Unreachable(0)),
        ];
        for (percent, event) in disasters {
            let when = start + Duration::from_millis(self.chance.below(40_000));
            if self.chance.percent(percent) {
                self.at(when, event);
            }
        }
        if self.chance.percent(5) {
            let when = start + Duration::from_millis(self.chance.below(20_000));
            let after = when + Duration::from_secs(5);
            if self.chance.percent(50) {
                self.at(when, Event::Drain(true));
                self.at(after, Event::Drain(false));
            } else {
                self.at(when, Event::Overload(true));
                self.at(after, Event::Overload(false));
            }
        }
        if self.weather.clock_steps {
            for _ in 0..1 + self.chance.below(2) {
                let when = start + Duration::from_millis(self.chance.below(50_000));
                let shift = i64::try_from(self.chance.below(120_000)).unwrap() - 60_000;
                self.at(when, Event::Clock(shift));
            }
        }
        self.plan_names(start);
        if self.weather.clock_leap != 0 {
            let when = start + Duration::from_millis(self.late.below(50_000));
            self.at(when, Event::Clock(self.weather.clock_leap));
            // And somebody notices.
            let mended = self.planned_until + Duration::from_secs(30);
            self.at(mended, Event::Clock(-self.weather.clock_leap));
        }
    }

    /// What the DNS says of the first outbound trunk's name, and when.
    fn plan_names(&mut self, start: Instant) {
        let changes = if self.weather.named {
            2 + self.late.below(6)
        } else {
            0
        };
        for _ in 0..changes {
            let when = start + Duration::from_millis(self.late.below(40_000));
            let choice = self.late.below(5);
            self.at(when, Event::Dns(choice));
        }
    }

    pub(super) fn ask_at(&mut self, when: Instant, command: Command) {
        match &command {
            Command::LeaseSingle { reference, .. } => {
                self.references.push((LeaseKind::Single, *reference));
            }
            Command::LeaseGroup { reference, .. } => {
                self.references.push((LeaseKind::Group, *reference));
            }
            _ => {}
        }
        let key = self.chance.next().to_be_bytes();
        let keyed = self.chance.percent(60) && !is_read(&command);
        let request = Request {
            command,
            key: keyed.then(|| [key, key].concat().try_into().unwrap()),
            tries: 0,
        };
        // Some clients are impatient: they ask twice.
        if keyed && self.chance.percent(20) {
            let pause = Duration::from_millis(self.chance.below(30));
            self.at(when + pause, Event::Request(request.clone()));
        }
        self.at(when, Event::Request(request));
    }
}

pub(super) fn is_read(command: &Command) -> bool {
    matches!(
        command,
        Command::QueryLease { .. } | Command::ViewCustomer(_) | Command::ListNumbers { .. }
    )
}
