//! The JSON of an answer (lease-api 1): `status`, `description`, then the operation's own members in
//! their published order, empty on failure.

use super::calendar::{NEVER, stamp};
use super::cursor;
use super::handlers::numbers::{CURSOR_LETTER, state_name};
use super::history::entries::{self, EntryPage};
use super::history::records::RecordPage;
use super::history::{RECORD_CURSOR, show};
use super::json::Json;
use super::operation::{FieldKind, NUMBER_ROW, Operation, Shape};
use super::status::{INTERNAL, OK, status};
use crate::books::command::{
    Answer, Code, CustomerAnswer, LeaseAnswer, NumberRow, Outcome, Render,
};
use crate::domain::{ChargeMethod, E164};
use bytes::Bytes;
use chrono_tz::Tz;

/// Turns outcomes of one operation into bytes; also what the books keep idempotent answers with.
#[derive(Clone, Copy, Debug)]
pub struct Rendering {
    /// The operation.
    pub operation: &'static Operation,
    /// Zone of its stamps.
    pub zone: Tz,
}

impl Render for Rendering {
    fn render(&self, outcome: &Outcome) -> Bytes {
        match outcome {
            Ok(answer) if fits(self.operation.shape, answer) => self.success(answer),
            Ok(_) => failure(Some(self.operation), INTERNAL),
            Err(code) => failure(Some(self.operation), *code),
        }
    }
}

impl Rendering {
    /// Status of `outcome`: an answer that is not this operation's is a fault of ours.
    #[must_use]
    pub fn code(&self, outcome: &Outcome) -> Code {
        match outcome {
            Ok(answer) if fits(self.operation.shape, answer) => OK,
            Ok(_) => INTERNAL,
            Err(code) => Code(status(*code).code),
        }
    }

    fn success(&self, answer: &Answer) -> Bytes {
        let mut json = begin(OK);
        match answer {
            Answer::Lease(lease) => self.lease(lease, &mut json),
            Answer::Customer(customer) => self.customer(customer, &mut json),
            Answer::Reserved(numbers) => {
                json.name("reserved_numbers");
                json.begin_list();
                numbers.iter().for_each(|number| json.string(number));
                json.end_list();
            }
            Answer::Balance(balance) => json.shown("balance", balance),
            Answer::Created(id) => json.shown("customer_id", id),
            Answer::Added(count) => json.shown("added", count),
            Answer::Numbers { rows, next } => number_rows(rows, *next, &mut json),
            Answer::Done | Answer::OpenCalls { .. } => {}
        }
        json.end_object();
        json.into_bytes()
    }

    fn lease(&self, lease: &LeaseAnswer, json: &mut Json) {
        json.shown("reference_id", lease.reference);
        json.name("lease_info");
        json.begin_object();
        for (leased, phone) in &lease.pairs {
            json.member(leased, phone);
        }
        json.end_object();
        json.member("expire", &stamp(lease.expires, self.zone));
        if self.operation.shape == Shape::LeaseQuery {
            json.shown("customer_id", lease.customer);
        }
    }

    fn customer(&self, answer: &CustomerAnswer, json: &mut Json) {
        let customer = &answer.customer;
        json.shown("customer_id", customer.id);
        json.member("first_name", &customer.first_name);
        json.member("last_name", &customer.last_name);
        json.member("account_status", if customer.suspended { "2" } else { "1" });
        json.shown("account_credit", answer.balance);
        json.member(
            "charge_method",
            match customer.charge_method {
                ChargeMethod::Prepaid => "1",
                ChargeMethod::Postpaid => "2",
            },
        );
        json.member("enable_single_service", switch(customer.enable_single));
        json.shown("charge_block_single", customer.tariff_single.block_seconds);
        json.shown("charge_rate_single", customer.tariff_single.rate);
        json.member("enable_group_service", switch(customer.enable_group));
        json.shown("charge_block_group", customer.tariff_group.block_seconds);
        json.shown("charge_rate_group", customer.tariff_group.rate);
        json.shown("max_lease_single", customer.max_lease_single);
        json.shown("max_lease_group", customer.max_lease_group);
        json.member("has_reserved_number", switch(answer.has_reserved_number));
        json.member("date_created", &stamp(customer.date_created, self.zone));
        let suspended = customer.date_suspended.map(|at| stamp(at, self.zone));
        json.member("date_suspend", suspended.as_deref().unwrap_or(NEVER));
    }

    /// A page of a ledger.
    #[must_use]
    pub fn entries(&self, page: &EntryPage) -> Bytes {
        let mut json = begin(OK);
        json.name("entries");
        json.begin_list();
        for row in &page.rows {
            entries::write_json(row, self.zone, &mut json);
        }
        json.end_list();
        let next = page.next.map(|cursor| cursor.write()).unwrap_or_default();
        json.member("next_cursor", &next);
        json.end_object();
        json.into_bytes()
    }
}

/// A page of call records.
#[must_use]
pub fn records(page: &RecordPage) -> Bytes {
    let mut json = begin(OK);
    json.name("records");
    json.begin_list();
    for record in &page.records {
        show::write_json(record, &mut json);
    }
    json.end_list();
    let next = page
        .next
        .map(|key| cursor::write(RECORD_CURSOR, &key))
        .unwrap_or_default();
    json.member("next_cursor", &next);
    json.end_object();
    json.into_bytes()
}

/// A failure: the operation's own members are there and empty.
#[must_use]
pub fn failure(operation: Option<&Operation>, code: Code) -> Bytes {
    let mut json = begin(code);
    for field in operation
        .map(|operation| operation.shape.fields())
        .unwrap_or_default()
    {
        json.name(field.name);
        match field.kind {
            FieldKind::Text => json.string(""),
            FieldKind::Object => {
                json.begin_object();
                json.end_object();
            }
            FieldKind::Texts | FieldKind::Rows(_) => {
                json.begin_list();
                json.end_list();
            }
        }
    }
    json.end_object();
    json.into_bytes()
}

fn begin(code: Code) -> Json {
    let row = status(code);
    let mut json = Json::new();
    json.begin_object();
    json.name("status");
    json.integer(row.code);
    json.member("description", row.description);
    json
}

fn number_rows(rows: &[NumberRow], next: Option<E164>, json: &mut Json) {
    json.name("numbers");
    json.begin_list();
    for row in rows {
        let customer = row
            .reserved_for
            .map(|id| id.to_string())
            .unwrap_or_default();
        json.begin_object();
        for (name, value) in NUMBER_ROW
            .iter()
            .zip([&row.shown, state_name(row.state), &customer])
        {
            json.member(name, value);
        }
        json.end_object();
    }
    json.end_list();
    let next = next.map(|number| cursor::write(CURSOR_LETTER, &number.packed().to_be_bytes()));
    json.member("next_cursor", &next.unwrap_or_default());
}

const fn switch(on: bool) -> &'static str {
    if on { "1" } else { "0" }
}

const fn fits(shape: Shape, answer: &Answer) -> bool {
    matches!(
        (shape, answer),
        (Shape::Lease | Shape::LeaseQuery, Answer::Lease(_))
            | (Shape::Done, Answer::Done)
            | (Shape::Reserved, Answer::Reserved(_))
            | (Shape::Customer, Answer::Customer(_))
            | (Shape::Created, Answer::Created(_))
            | (Shape::Balance, Answer::Balance(_))
            | (Shape::Added, Answer::Added(_))
            | (Shape::Numbers, Answer::Numbers { .. })
    )
}
