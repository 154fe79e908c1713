//! What an operation is. The `table` of them all is what routing, failure bodies and the OpenAPI
//! document come from, so that they cannot disagree.

mod table;

pub use table::OPERATIONS;

use super::handlers::{Edge, Work};
use super::parameters::Parameters;
use super::settings::Scope;
use crate::books::command::Code;

/// Reads an operation's parameters and the caller's rights; what is left to do comes back.
pub type Prepare = fn(&Edge<'_>, &Parameters<'_>) -> Result<Work, Code>;

/// One operation.
#[derive(Debug)]
pub struct Operation {
    /// First part of its name.
    pub group: &'static str,
    /// Second part of its name.
    pub name: &'static str,
    /// What it does, one line.
    pub summary: &'static str,
    /// What a client needs for it.
    pub scope: Scope,
    /// Whether it changes anything: whether `Idempotency-Key` counts (lease-api 4.9).
    pub changes: bool,
    /// Its parameters, in the order in which they are checked.
    pub parameters: &'static [Parameter],
    /// What it answers.
    pub shape: Shape,
    /// Its handler.
    pub prepare: Prepare,
}

impl Operation {
    /// `/api/v1/<group>/<name>`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/api/v1/{}/{}", self.group, self.name)
    }

    /// `<group>/<name>`, its label in metrics and logs.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{}/{}", self.group, self.name)
    }

    /// Whether it has a parameter called `name`.
    #[must_use]
    pub fn has_parameter(&self, name: &str) -> bool {
        self.parameters
            .iter()
            .any(|parameter| parameter.name == name)
    }
}

/// The operation at `<group>/<name>` and its place in [`OPERATIONS`].
#[must_use]
pub fn find(group: &str, name: &str) -> Option<(usize, &'static Operation)> {
    OPERATIONS
        .iter()
        .enumerate()
        .find(|(_, op)| op.group == group && op.name == name)
}

/// One parameter.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// Whether it must be there.
    pub required: bool,
    /// What its value looks like.
    pub kind: Kind,
    /// What it means, one line.
    pub summary: &'static str,
}

/// What a parameter's value looks like.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Any text.
    Text,
    /// An integer from this on.
    Integer(i64),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Digits, so many.
    Digits(u8, u8),
    /// A UUID.
    Uuid,
    /// A stamp in the configured zone.
    Stamp,
}

/// What an operation answers beside `status` and `description`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Nothing.
    Done,
    /// A new lease.
    Lease,
    /// A lease as it is.
    LeaseQuery,
    /// Numbers just reserved.
    Reserved,
    /// A customer.
    Customer,
    /// A new customer's id.
    Created,
    /// A balance.
    Balance,
    /// How many numbers were new.
    Added,
    /// A page of the pool.
    Numbers,
    /// A page of call records.
    Records,
    /// A stream of call records; only a failure is JSON.
    Export,
    /// A page of a ledger.
    Entries,
}

/// One member of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub kind: FieldKind,
}

/// What a member of an answer is, which is also what it is when empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// `""`
    Text,
    /// `{}`
    Object,
    /// `[]` of strings
    Texts,
    /// `[]` of objects with these members, all strings
    Rows(&'static [&'static str]),
}

const fn text(name: &'static str) -> Field {
    Field {
        name,
        kind: FieldKind::Text,
    }
}

const LEASE_INFO: Field = Field {
    name: "lease_info",
    kind: FieldKind::Object,
};

/// Members of a row of numbers/list.
pub const NUMBER_ROW: &[&str] = &["number", "state", "customer_id"];

/// Members of a row of customer/ledger (lease-api 4.10).
pub const ENTRY_ROW: &[&str] = &[
    "entry_id", "time", "kind", "credit", "balance", "call_id", "blocks",
];

/// Members of a call record, and the CSV's header (lease-api 4.10).
pub const RECORD_ROW: &[&str] = &[
    "call_id",
    "reference_id",
    "customer_id",
    "lease_kind",
    "caller",
    "callee",
    "leased_number",
    "shown_number",
    "trunk_in",
    "trunk_out",
    "received_at",
    "ringing_at",
    "answered_at",
    "ended_at",
    "duration_seconds",
    "blocks",
    "block_seconds",
    "rate",
    "charge",
    "ended_by",
    "reason",
    "sip_code",
    "q850_cause",
    "to_callee_packets",
    "to_callee_lost",
    "to_callee_jitter_ms",
    "to_caller_packets",
    "to_caller_lost",
    "to_caller_jitter_ms",
    "guard_hits",
    "identity",
    "attestation",
    "signer",
    "origid",
    "to_callee_mos",
    "to_callee_round_trip_ms",
    "to_callee_reported_lost",
    "to_callee_reported_jitter_ms",
    "to_caller_mos",
    "to_caller_round_trip_ms",
    "to_caller_reported_lost",
    "to_caller_reported_jitter_ms",
];

impl Shape {
    /// Its members after `status` and `description`, in order.
    #[must_use]
    pub const fn fields(self) -> &'static [Field] {
        match self {
            Self::Done | Self::Export => &[],
            Self::Lease => const { &[text("reference_id"), LEASE_INFO, text("expire")] },
            Self::LeaseQuery => {
                const {
                    &[
                        text("reference_id"),
                        LEASE_INFO,
                        text("expire"),
                        text("customer_id"),
                    ]
                }
            }
            Self::Reserved => {
                const {
                    &[Field {
                        name: "reserved_numbers",
                        kind: FieldKind::Texts,
                    }]
                }
            }
            Self::Customer => CUSTOMER_FIELDS,
            Self::Created => const { &[text("customer_id")] },
            Self::Balance => const { &[text("balance")] },
            Self::Added => const { &[text("added")] },
            Self::Numbers => const { &[rows("numbers", NUMBER_ROW), text("next_cursor")] },
            Self::Records => const { &[rows("records", RECORD_ROW), text("next_cursor")] },
            Self::Entries => const { &[rows("entries", ENTRY_ROW), text("next_cursor")] },
        }
    }
}

const fn rows(name: &'static str, members: &'static [&'static str]) -> Field {
    Field {
        name,
        kind: FieldKind::Rows(members),
    }
}

/// The published order of customer/view (lease-api 4.6).
const CUSTOMER_FIELDS: &[Field] = &[
    text("customer_id"),
    text("first_name"),
    text("last_name"),
    text("account_status"),
    text("account_credit"),
    text("charge_method"),
    text("enable_single_service"),
    text("charge_block_single"),
    text("charge_rate_single"),
    text("enable_group_service"),
    text("charge_block_group"),
    text("charge_rate_group"),
    text("max_lease_single"),
    text("max_lease_group"),
    text("has_reserved_number"),
    text("date_created"),
    text("date_suspend"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_found_by_its_name_alone() {
        for (place, operation) in OPERATIONS.iter().enumerate() {
            let (found, _) = find(operation.group, operation.name).unwrap();
            assert_eq!(found, place, "{} stands twice", operation.label());
            let mut names: Vec<_> = operation.parameters.iter().map(|p| p.name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), operation.parameters.len());
        }
        assert!(find("leasesingle", "view").is_none());
    }
}
