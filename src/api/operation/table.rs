//! The table of operations (lease-api 4), each with its parameters in the order of their checks.

use super::{Kind, Operation, Parameter, Shape};
use crate::api::handlers;
use crate::api::settings::Scope;

const fn needed(name: &'static str, kind: Kind, summary: &'static str) -> Parameter {
    Parameter {
        name,
        required: true,
        kind,
        summary,
    }
}

const fn optional(name: &'static str, kind: Kind, summary: &'static str) -> Parameter {
    Parameter {
        name,
        required: false,
        kind,
        summary,
    }
}

const CUSTOMER_ID: Parameter = needed("customer_id", Kind::Integer(1), "The account.");
const REFERENCE_ID: Parameter = needed("reference_id", Kind::Uuid, "The lease.");
const EXPIRY_VALUE: Parameter = needed("expiry_value", Kind::Integer(1), "How many units.");
const EXPIRY_UNIT: Parameter = needed(
    "expiry_unit",
    Kind::Choice(&["years", "months", "days", "hours", "minutes"]),
    "Minutes and hours are elapsed time; days, months and years go by the calendar.",
);
const FROM: Parameter = optional("from", Kind::Stamp, "Not before this.");
const TO: Parameter = optional("to", Kind::Stamp, "Not after this second.");
const LIMIT: Parameter = optional("limit", Kind::Integer(1), "At most so many, up to 1000.");
const CURSOR: Parameter = optional("cursor", Kind::Text, "next_cursor of the page before.");
const SWITCH: Kind = Kind::Choice(&["0", "1"]);
const MCC_TEXT: &str = "Mobile country code.";
const MNC_TEXT: &str = "Mobile network code; goes with the country code.";
const IMSI_TEXT: &str = "Begins with the country and network code where these are given.";

const SINGLE_REQUEST: &[Parameter] = &[
    CUSTOMER_ID,
    needed("phone", Kind::Text, "The subscriber's number."),
    optional("imsi", Kind::Digits(6, 15), IMSI_TEXT),
    optional("mcc", Kind::Digits(3, 3), MCC_TEXT),
    optional("mnc", Kind::Digits(2, 3), MNC_TEXT),
    EXPIRY_VALUE,
    EXPIRY_UNIT,
    optional(
        "cw",
        Kind::Text,
        "Only these numbers may call, comma-separated.",
    ),
];

const GROUP_REQUEST: &[Parameter] = &[
    CUSTOMER_ID,
    needed("phone1", Kind::Text, "The first member's number."),
    optional("imsi1", Kind::Digits(6, 15), IMSI_TEXT),
    optional("mcc1", Kind::Digits(3, 3), MCC_TEXT),
    optional("mnc1", Kind::Digits(2, 3), MNC_TEXT),
    needed("phone2", Kind::Text, "The second member's number."),
    optional("imsi2", Kind::Digits(6, 15), IMSI_TEXT),
    optional("mcc2", Kind::Digits(3, 3), MCC_TEXT),
    optional("mnc2", Kind::Digits(2, 3), MNC_TEXT),
    EXPIRY_VALUE,
    EXPIRY_UNIT,
];

const ACCOUNT_STATUS: Parameter = optional(
    "account_status",
    Kind::Choice(&["1", "2"]),
    "1 active, 2 suspended.",
);
const CHARGE_METHOD: Parameter = optional(
    "charge_method",
    Kind::Choice(&["1", "2"]),
    "1 prepaid, 2 postpaid.",
);
const ENABLE_SINGLE: Parameter = optional(
    "enable_single_service",
    SWITCH,
    "Whether single leases may be made and called.",
);
const BLOCK_SINGLE: Parameter = optional(
    "charge_block_single",
    Kind::Integer(1),
    "Seconds per block on single leases.",
);
const RATE_SINGLE: Parameter = optional(
    "charge_rate_single",
    Kind::Integer(0),
    "Credits per block on single leases.",
);
const ENABLE_GROUP: Parameter = optional(
    "enable_group_service",
    SWITCH,
    "Whether group leases may be made and called.",
);
const BLOCK_GROUP: Parameter = optional(
    "charge_block_group",
    Kind::Integer(1),
    "Seconds per block on group leases.",
);
const RATE_GROUP: Parameter = optional(
    "charge_rate_group",
    Kind::Integer(0),
    "Credits per block on group leases.",
);
const MAX_SINGLE: Parameter = optional(
    "max_lease_single",
    Kind::Integer(0),
    "Single leases at once; 0 = no limit.",
);
const MAX_GROUP: Parameter = optional(
    "max_lease_group",
    Kind::Integer(0),
    "Group leases at once; 0 = no limit.",
);

const CREATE: &[Parameter] = &[
    needed("first_name", Kind::Text, "Given name."),
    needed("last_name", Kind::Text, "Family name."),
    ACCOUNT_STATUS,
    optional(
        "account_credit",
        Kind::Integer(i64::MIN),
        "Opening balance.",
    ),
    CHARGE_METHOD,
    ENABLE_SINGLE,
    BLOCK_SINGLE,
    RATE_SINGLE,
    ENABLE_GROUP,
    BLOCK_GROUP,
    RATE_GROUP,
    MAX_SINGLE,
    MAX_GROUP,
];

const UPDATE: &[Parameter] = &[
    CUSTOMER_ID,
    optional("first_name", Kind::Text, "Given name."),
    optional("last_name", Kind::Text, "Family name."),
    ACCOUNT_STATUS,
    optional(
        "account_credit",
        Kind::Integer(i64::MIN),
        "Refused: use customer/topup.",
    ),
    CHARGE_METHOD,
    ENABLE_SINGLE,
    BLOCK_SINGLE,
    RATE_SINGLE,
    ENABLE_GROUP,
    BLOCK_GROUP,
    RATE_GROUP,
    MAX_SINGLE,
    MAX_GROUP,
];

const RECORD_CUSTOMER: Parameter =
    optional("customer_id", Kind::Integer(1), "Calls of this account.");
const RECORD_REFERENCE: Parameter = optional(
    "reference_id",
    Kind::Uuid,
    "Calls of this lease, ended or not.",
);

/// Every operation.
pub static OPERATIONS: &[Operation] = &[
    Operation {
        group: "leasesingle",
        name: "request",
        summary: "Leases a number to one subscriber.",
        scope: Scope::Lease,
        changes: true,
        parameters: SINGLE_REQUEST,
        shape: Shape::Lease,
        prepare: handlers::lease::single_request,
    },
    Operation {
        group: "leasegroup",
        name: "request",
        summary: "Leases two numbers to two subscribers who reach only each other.",
        scope: Scope::Lease,
        changes: true,
        parameters: GROUP_REQUEST,
        shape: Shape::Lease,
        prepare: handlers::lease::group_request,
    },
    Operation {
        group: "leasesingle",
        name: "release",
        summary: "Ends a single lease.",
        scope: Scope::Lease,
        changes: true,
        parameters: &[REFERENCE_ID],
        shape: Shape::Done,
        prepare: handlers::lease::single_release,
    },
    Operation {
        group: "leasegroup",
        name: "release",
        summary: "Ends a group lease.",
        scope: Scope::Lease,
        changes: true,
        parameters: &[REFERENCE_ID],
        shape: Shape::Done,
        prepare: handlers::lease::group_release,
    },
    Operation {
        group: "leasesingle",
        name: "query",
        summary: "Shows a single lease.",
        scope: Scope::Lease,
        changes: false,
        parameters: &[REFERENCE_ID],
        shape: Shape::LeaseQuery,
        prepare: handlers::lease::single_query,
    },
    Operation {
        group: "leasegroup",
        name: "query",
        summary: "Shows a group lease.",
        scope: Scope::Lease,
        changes: false,
        parameters: &[REFERENCE_ID],
        shape: Shape::LeaseQuery,
        prepare: handlers::lease::group_query,
    },
    Operation {
        group: "customer",
        name: "reserve",
        summary: "Takes free numbers from the general pool for one customer, all or none.",
        scope: Scope::Numbers,
        changes: true,
        parameters: &[
            CUSTOMER_ID,
            needed("quantity", Kind::Integer(1), "How many."),
        ],
        shape: Shape::Reserved,
        prepare: handlers::numbers::reserve,
    },
    Operation {
        group: "customer",
        name: "unreserve",
        summary: "Gives free reserved numbers back to the general pool.",
        scope: Scope::Numbers,
        changes: true,
        parameters: &[
            CUSTOMER_ID,
            optional("quantity", Kind::Integer(1), "How many; or else numbers."),
            optional(
                "numbers",
                Kind::Text,
                "Which, comma-separated; or else quantity.",
            ),
        ],
        shape: Shape::Done,
        prepare: handlers::numbers::unreserve,
    },
    Operation {
        group: "customer",
        name: "view",
        summary: "Shows a customer.",
        scope: Scope::CustomerRead,
        changes: false,
        parameters: &[CUSTOMER_ID],
        shape: Shape::Customer,
        prepare: handlers::customer::view,
    },
    Operation {
        group: "customer",
        name: "topup",
        summary: "Adds credit to a customer's balance, or takes it off.",
        scope: Scope::CustomerWrite,
        changes: true,
        parameters: &[
            CUSTOMER_ID,
            needed(
                "credit",
                Kind::Integer(-1_000_000_000_000_000),
                "Up to 10^15 either way.",
            ),
        ],
        shape: Shape::Balance,
        prepare: handlers::customer::topup,
    },
    Operation {
        group: "customer",
        name: "create",
        summary: "Makes a customer.",
        scope: Scope::CustomerWrite,
        changes: true,
        parameters: CREATE,
        shape: Shape::Created,
        prepare: handlers::customer::create,
    },
    Operation {
        group: "customer",
        name: "update",
        summary: "Changes a customer's settings.",
        scope: Scope::CustomerWrite,
        changes: true,
        parameters: UPDATE,
        shape: Shape::Customer,
        prepare: handlers::customer::update,
    },
    Operation {
        group: "customer",
        name: "ledger",
        summary: "Lists a customer's ledger, newest first.",
        scope: Scope::CustomerRead,
        changes: false,
        parameters: &[CUSTOMER_ID, FROM, TO, LIMIT, CURSOR],
        shape: Shape::Entries,
        prepare: handlers::ledger::ledger,
    },
    Operation {
        group: "cdr",
        name: "query",
        summary: "Lists call records, newest first.",
        scope: Scope::Cdr,
        changes: false,
        parameters: &[RECORD_CUSTOMER, RECORD_REFERENCE, FROM, TO, LIMIT, CURSOR],
        shape: Shape::Records,
        prepare: handlers::cdr::query,
    },
    Operation {
        group: "cdr",
        name: "export",
        summary: "Streams call records as CSV or JSON Lines, newest first; limit does not end it.",
        scope: Scope::Cdr,
        changes: false,
        parameters: &[
            RECORD_CUSTOMER,
            RECORD_REFERENCE,
            FROM,
            TO,
            LIMIT,
            CURSOR,
            optional(
                "format",
                Kind::Choice(&["csv", "jsonl"]),
                "csv where not given.",
            ),
        ],
        shape: Shape::Export,
        prepare: handlers::cdr::export,
    },
    Operation {
        group: "numbers",
        name: "add",
        summary: "Adds numbers to the pool.",
        scope: Scope::Numbers,
        changes: true,
        parameters: &[needed(
            "numbers",
            Kind::Text,
            "Numbers and ranges, comma-separated.",
        )],
        shape: Shape::Added,
        prepare: handlers::numbers::add,
    },
    Operation {
        group: "numbers",
        name: "retire",
        summary: "Takes a number out of the pool for good; a running lease keeps it to its end.",
        scope: Scope::Numbers,
        changes: true,
        parameters: &[needed("number", Kind::Text, "Which.")],
        shape: Shape::Done,
        prepare: handlers::numbers::retire,
    },
    Operation {
        group: "numbers",
        name: "list",
        summary: "Lists the pool.",
        scope: Scope::Numbers,
        changes: false,
        parameters: &[
            optional(
                "state",
                Kind::Choice(&["free", "leased", "reserved", "resting", "retired"]),
                "Only numbers in this state.",
            ),
            LIMIT,
            CURSOR,
        ],
        shape: Shape::Numbers,
        prepare: handlers::numbers::list,
    },
];
