//! The lease book's directory as the signalling workers read it.

use super::{Dialled, Lookup};
use crate::domain::E164;
use crate::lease::Directory;

impl Lookup for Directory {
    fn lookup(&self, number: E164) -> Dialled {
        match self.get(number) {
            None => Dialled::Unknown,
            Some(None) => Dialled::NotLeased,
            Some(Some(leased)) => Dialled::Leased {
                kind: leased.kind,
                customer: leased.customer,
                only_caller: leased.only_caller,
                whitelist: leased.whitelist,
            },
        }
    }

    fn whitelisted(&self, number: E164, caller: Option<E164>) -> bool {
        match self.get(number) {
            Some(Some(leased)) if leased.whitelist => {
                caller.is_some_and(|caller| self.on_whitelist(number, caller))
            }
            Some(Some(_)) => true,
            _ => false,
        }
    }
}
