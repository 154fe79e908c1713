//! Between the call and the books: the directory read without asking, commands and their replies.

use super::worker::{Output, Worker};
use crate::books::command::CallCommand;
use crate::books::{self, Lookup};
use crate::call::event::LedgerCommand;
use crate::call::{self, Numbering};
use crate::domain::numbering::{NumberForm, Plan};
use crate::domain::{CallKey, E164, TrunkId};
use std::sync::Arc;

/// The books' directory and the numbering plan, as the call reads them.
#[derive(Clone)]
pub struct Directory {
    /// The lease book's public face.
    pub leases: Arc<dyn Lookup>,
    /// The plan.
    pub plan: Arc<Plan>,
    /// Number form of each trunk, by place.
    pub forms: Vec<NumberForm>,
    /// Emergency numbers that single trunks add to the plan's, by place.
    pub emergency: Vec<Vec<Box<str>>>,
}

impl call::Directory for Directory {
    fn lookup(&self, number: E164) -> call::Dialled {
        match self.leases.lookup(number) {
            books::Dialled::Unknown => call::Dialled::Unknown,
            books::Dialled::NotLeased => call::Dialled::NotLeased,
            books::Dialled::Leased {
                kind,
                customer,
                only_caller,
                whitelist,
            } => call::Dialled::Leased {
                kind,
                customer,
                only_caller,
                whitelist,
            },
        }
    }

    fn whitelisted(&self, number: E164, caller: Option<E164>) -> bool {
        self.leases.whitelisted(number, caller)
    }
}

impl Numbering for Directory {
    fn normalise(&self, trunk: TrunkId, digits: &str) -> Option<E164> {
        let form = self.forms.get(usize::from(trunk.0))?;
        self.plan.normalise_wire(form, digits)
    }

    fn normalise_identity(&self, trunk: TrunkId, digits: &str) -> Option<E164> {
        let form = self.forms.get(usize::from(trunk.0))?;
        self.plan.normalise_identity(form, digits)
    }

    fn can_dial(&self, trunk: TrunkId, number: E164) -> bool {
        let form = self.forms.get(usize::from(trunk.0));
        form.is_some_and(|form| form.write(number).is_some())
    }

    fn is_emergency(&self, trunk: TrunkId, dialled: &str) -> bool {
        let own = self.emergency.get(usize::from(trunk.0));
        self.plan.is_emergency(dialled)
            || own.is_some_and(|list| list.iter().any(|number| **number == *dialled))
    }

    fn national(&self, number: E164) -> Vec<Box<str>> {
        self.plan
            .national_forms(number)
            .into_iter()
            .map(Into::into)
            .collect()
    }
}

impl Worker {
    pub(super) fn ask_books(&mut self, key: CallKey, command: LedgerCommand) {
        let Some(entry) = self.calls.get(&key) else {
            return;
        };
        if let LedgerCommand::Close(record) = &command {
            self.outputs.push_back(Output::Ended(record.clone()));
        }
        let command = CallCommand {
            worker: self.parts.index,
            key,
            call_id: entry.id,
            command,
        };
        self.outputs.push_back(Output::Books(command));
    }
}
