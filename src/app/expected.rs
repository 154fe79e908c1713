//! Rows of the metrics that are known before anything happens: trunks and outcomes of calls.

use crate::call::cause::Reason;
use crate::config::{Config, Trunk};
use crate::domain::LeaseKind;
use crate::observe::Metrics;

/// Pairs of an inbound and an outbound trunk that get all of their rows beforehand. With more, the
/// page would be mostly noughts: then each pair has its completed calls alone.
const PAIRS: usize = 64;

/// Puts the rows of the calls that `config` lets come at nought. Rows stay when a trunk goes.
pub fn expect(metrics: &Metrics, config: &Config) {
    let inbound = || {
        config
            .trunks
            .iter()
            .filter(|trunk| trunk.direction.brings())
    };
    let outbound = || config.trunks.iter().filter(|trunk| trunk.direction.takes());
    for out in outbound() {
        metrics.expect_trunk_out(&out.name);
    }
    let all = inbound().count().saturating_mul(outbound().count()) <= PAIRS;
    for from in inbound() {
        for to in outbound() {
            dialled(metrics, from, to, all);
        }
        refused(metrics, from);
    }
}

/// Calls that were dialled: how they may end.
fn dialled(metrics: &Metrics, from: &Trunk, to: &Trunk, all: bool) {
    for kind in [LeaseKind::Single, LeaseKind::Group] {
        let outcomes =
            names(|reason| reason < Reason::SipRefused && (all || reason == Reason::Completed));
        metrics.expect_calls(&from.name, &to.name, Some(kind), outcomes);
    }
}

/// Calls that nobody was dialled for.
fn refused(metrics: &Metrics, from: &Trunk) {
    for kind in [None, Some(LeaseKind::Single), Some(LeaseKind::Group)] {
        let outcomes = names(|reason| reason >= Reason::SipRefused);
        metrics.expect_calls(&from.name, "", kind, outcomes);
    }
}

/// Reason names; refusals stand last in the table.
fn names(wanted: impl Fn(Reason) -> bool) -> impl Iterator<Item = &'static str> {
    Reason::ALL
        .into_iter()
        .filter(move |reason| wanted(*reason))
        .map(Reason::name)
}
