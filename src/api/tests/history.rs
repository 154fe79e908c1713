//! Call records and ledgers, read from a store's rows.

use super::*;
use crate::api::history::{Format, RecordQuery, export};
use crate::api::operation::{ENTRY_ROW, RECORD_ROW};
use crate::api::parameters::Period;
use crate::books::command::OpenCallRow;
use crate::books::records::{Entry, EntryKind, encode};
use crate::domain::{CallId, CallRecord, EndedBy, LeaseKind, MediaFigures, ReferenceId};
use std::pin::Pin;
use uuid::Uuid;
use warp::Stream as _;

fn call_id(number: u128) -> CallId {
    CallId(Uuid::from_u128(number))
}

/// A call of `customer` that arrived so many seconds after the start.
fn record(number: u128, customer: Option<u32>, second: u64) -> CallRecord {
    let at = UnixMillis(NOW + second * 1000);
    CallRecord {
        call_id: call_id(number),
        caller_leg_call_id: "a".into(),
        callee_leg_call_id: "b".into(),
        reference_id: customer.map(|id| ReferenceId(Uuid::from_u128(id.into()))),
        customer_id: customer.map(CustomerId),
        lease_kind: customer.map(|_| LeaseKind::Single),
        caller: E164::from_digits("60198765432"),
        callee: customer.and_then(|_| E164::from_digits("60123456789")),
        leased_number: "+60388880000".into(),
        shown_number: "say \"hi\", x".into(),
        trunk_in: "in".into(),
        trunk_out: "out".into(),
        received_at: at,
        ringing_at: None,
        answered_at: Some(at.plus(Duration::from_millis(1500))),
        ended_at: at.plus(Duration::from_millis(62_000)),
        duration_millis: 60_500,
        blocks: 2,
        block_seconds: 60,
        rate: Credit(100),
        charge: Credit(200),
        ended_by: EndedBy::Callee,
        reason: "completed".into(),
        sip_code: 200,
        q850_cause: 16,
        to_callee: MediaFigures {
            packets: 3000,
            lost: 1,
            jitter_micros: 250,
            ..Default::default()
        },
        to_caller: MediaFigures::default(),
        guard_hits: 0,
        vouching: None,
        quality: None,
    }
}

fn keep(server: &Running, record: &CallRecord) {
    let mut end = record.received_at.0.to_be_bytes().to_vec();
    end.extend_from_slice(record.call_id.0.as_bytes());
    let mut told = server.books.told();
    told.rows
        .insert((Table::Record as u8, end.clone()), encode(record));
    if let Some(customer) = record.customer_id {
        let key = [&customer.0.to_be_bytes()[..], &end].concat();
        told.rows
            .insert((Table::RecordByCustomer as u8, key), Bytes::new());
    }
    if let Some(reference) = record.reference_id {
        let key = [&reference.0.as_bytes()[..], &end].concat();
        told.rows
            .insert((Table::RecordByReference as u8, key), Bytes::new());
    }
}

/// Calls 1 to 9, a second apart, of customers 1, 2 and none in turn.
async fn with_records() -> Running {
    let server = start(settings()).await;
    for number in 1..=9u32 {
        let customer = [Some(1), Some(2), None][(number as usize - 1) % 3];
        keep(&server, &record(number.into(), customer, number.into()));
    }
    server
}

fn calls(got: &Got) -> Vec<u128> {
    let json = got.json();
    let rows = json["records"].as_array().unwrap();
    rows.iter()
        .map(|row| {
            row["call_id"]
                .as_str()
                .unwrap()
                .parse::<Uuid>()
                .unwrap()
                .as_u128()
        })
        .collect()
}

/// All pages of a query, `limit` rows each.
async fn pages(server: &Running, user: &str, query: &str, limit: usize) -> Vec<u128> {
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let body = format!("{query}&limit={limit}&cursor={cursor}");
        let got = server.post(user, "/api/v1/cdr/query", &body).await;
        assert_eq!(got.status(), 0, "{got:?}");
        found.extend(calls(&got));
        cursor = got.json()["next_cursor"].as_str().unwrap().to_owned();
        if cursor.is_empty() {
            return found;
        }
    }
}

#[tokio::test]
async fn records_are_paged_newest_first_and_only_whose_they_are() {
    let server = with_records().await;
    for limit in [1, 2, 3, 9, 100] {
        assert_eq!(
            pages(&server, "all", "", limit).await,
            [9, 8, 7, 6, 5, 4, 3, 2, 1]
        );
        assert_eq!(
            pages(&server, "all", "customer_id=2", limit).await,
            [8, 5, 2]
        );
        assert_eq!(pages(&server, "one", "", limit).await, [7, 4, 1]);
        assert_eq!(
            pages(&server, "one", "customer_id=1", limit).await,
            [7, 4, 1]
        );
        let reference = |id: u128| format!("reference_id={}", Uuid::from_u128(id));
        assert_eq!(pages(&server, "all", &reference(2), limit).await, [8, 5, 2]);
        assert_eq!(pages(&server, "one", &reference(1), limit).await, [7, 4, 1]);
        assert!(pages(&server, "one", &reference(2), limit).await.is_empty());
        assert!(
            pages(
                &server,
                "all",
                &format!("customer_id=1&{}", reference(2)),
                limit
            )
            .await
            .is_empty()
        );
        // 08:00:00 in Kuala Lumpur is the start; both ends are included.
        let period = "from=2025-06-01+08:00:03&to=2025-06-01+08:00:05";
        assert_eq!(pages(&server, "all", period, limit).await, [5, 4, 3]);
        assert_eq!(pages(&server, "one", period, limit).await, [4]);
        let nothing = "from=2025-06-01+08:00:05&to=2025-06-01+08:00:03";
        assert!(pages(&server, "all", nothing, limit).await.is_empty());
    }
    assert_eq!(
        server
            .post("one", "/api/v1/cdr/query", "customer_id=2")
            .await
            .status(),
        6
    );
}

#[tokio::test]
async fn several_customers_are_merged() {
    let mut settings = settings();
    settings.clients[1].customers = CustomerScope::Only(vec![CustomerId(1), CustomerId(2)]);
    let server = start(settings).await;
    for number in 1..=9u32 {
        let customer = [Some(1), Some(2), None][(number as usize - 1) % 3];
        keep(&server, &record(number.into(), customer, number.into()));
    }
    for limit in 1..=7 {
        assert_eq!(
            pages(&server, "one", "", limit).await,
            [8, 7, 5, 4, 2, 1],
            "{limit}"
        );
    }
}

#[tokio::test]
async fn a_record_has_its_fields_in_order() {
    let server = start(settings()).await;
    keep(&server, &record(0x11, Some(1), 0));
    keep(&server, &record(0x12, None, 1));
    let got = server.call("cdr/query", "").await;
    let json = got.json();
    let row = json["records"][1].as_object().unwrap();
    assert_eq!(row.keys().collect::<Vec<_>>(), RECORD_ROW);
    assert!(row.values().all(serde_json::Value::is_string));
    for (name, value) in [
        ("call_id", "00000000-0000-0000-0000-000000000011"),
        ("customer_id", "1"),
        ("lease_kind", "single"),
        ("caller", "+60198765432"),
        ("received_at", "2025-06-01T00:00:00.000Z"),
        ("ringing_at", ""),
        ("answered_at", "2025-06-01T00:00:01.500Z"),
        ("duration_seconds", "61"),
        ("blocks", "2"),
        ("charge", "200"),
        ("ended_by", "callee"),
        ("to_callee_jitter_ms", "0.250"),
    ] {
        assert_eq!(row[name], value, "{name}");
    }
    let refused = &json["records"][0];
    for name in [
        "reference_id",
        "customer_id",
        "lease_kind",
        "callee",
        "blocks",
        "rate",
        "charge",
    ] {
        assert_eq!(refused[name], "", "{name}");
    }
}

#[tokio::test]
async fn exports_stream_everything() {
    let server = start(settings()).await;
    for number in 1..=1201u32 {
        keep(&server, &record(number.into(), Some(1), number.into()));
    }
    let got = server.call("cdr/export", "format=csv&limit=5").await;
    assert_eq!(got.http, 200);
    assert!(got.header("content-type").unwrap().starts_with("text/csv"));
    let text = String::from_utf8(got.body).unwrap();
    let lines: Vec<&str> = text.split_terminator("\r\n").collect();
    assert_eq!(lines.len(), 1202);
    assert_eq!(lines[0], RECORD_ROW.join(","));
    assert!(lines[1].contains(",\"say \"\"hi\"\", x\","));
    assert!(lines[1].starts_with("00000000-0000-0000-0000-0000000004b1,"));

    let got = server
        .call("cdr/export", "format=jsonl&customer_id=1")
        .await;
    let text = String::from_utf8(got.body).unwrap();
    let rows: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows.len(), 1201);
    assert_eq!(
        rows[1200]["call_id"],
        "00000000-0000-0000-0000-000000000001"
    );

    let nothing = server.call("cdr/export", "to=2020-01-01+00:00:00").await;
    assert_eq!(
        String::from_utf8(nothing.body).unwrap(),
        format!("{}\r\n", RECORD_ROW.join(","))
    );
}

/// What was dialled stands in the record as it was; only a spreadsheet would run it.
#[tokio::test]
async fn an_export_for_spreadsheets_holds_no_formula() {
    let server = start(settings()).await;
    let mut dialled = record(1, None, 1);
    dialled.leased_number = "=cmd".into();
    keep(&server, &dialled);
    let got = server.call("cdr/export", "format=csv").await;
    let text = String::from_utf8(got.body).unwrap();
    assert!(text.contains(",'=cmd,") && text.contains(",+60198765432,"));
    let got = server.call("cdr/export", "format=jsonl").await;
    assert!(String::from_utf8(got.body).unwrap().contains("\"=cmd\""));
}

/// A client that took nothing for too long, and then goes on, must not take what it gets for the
/// whole.
#[tokio::test]
async fn an_export_that_was_given_up_never_looks_whole() {
    let server = start(settings()).await;
    for number in 1..=2500u32 {
        keep(&server, &record(number.into(), Some(1), number.into()));
    }
    let query = RecordQuery {
        customer: None,
        reference: None,
        period: Period {
            from: UnixMillis(0),
            to: UnixMillis(u64::MAX),
        },
        limit: 1,
        before: None,
        scope: CustomerScope::All,
    };
    let slots = Arc::new(tokio::sync::Semaphore::new(1));
    let slot = Arc::clone(&slots).acquire_owned().await.unwrap();
    let stall = Duration::from_millis(20);
    let reader = server.books.reader();
    let mut stream = export::start_with(reader, query, Format::JsonLines, slot, stall);
    // The slot comes back while nobody reads.
    drop(slots.acquire().await.unwrap());
    let mut pages = Vec::new();
    while let Some(page) =
        std::future::poll_fn(|context| Pin::new(&mut stream).poll_next(context)).await
    {
        pages.push(page.is_ok());
    }
    assert_eq!(pages, [true, true, false]);
}

/// It is closed, and what it held is free again.
#[tokio::test]
async fn who_stops_reading_an_export_loses_it() {
    let mut settings = settings();
    settings.limits.max_exports = 1;
    settings.limits.write_timeout = Duration::from_millis(300);
    let server = start(settings).await;
    // More than sockets hold.
    for number in 1..=40_000u32 {
        keep(&server, &record(number.into(), Some(1), number.into()));
    }
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(server.address).await.unwrap();
    let bearer = format!("Authorization: Bearer {}\r\n", token("all"));
    let bytes = request("POST", "/api/v1/cdr/export", "format=jsonl", &bearer);
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let slot = tokio::time::timeout(Duration::from_secs(30), async {
        while server.api.metrics().stalled.load(Ordering::Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server.api.exports().acquire().await.unwrap()
    });
    drop(slot.await.expect("the export's slot should come back"));
    while server.api.metrics().connections.load(Ordering::Relaxed) > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn exports_at_once_are_bounded_and_failures_break_off() {
    let mut settings = settings();
    settings.limits.max_exports = 1;
    let server = start(settings).await;
    // A record that does not decode stands in the second page.
    for number in 1..=600u32 {
        keep(&server, &record(number.into(), Some(1), number.into()));
    }
    let first = server.books.told().rows.keys().next().cloned().unwrap();
    server
        .books
        .told()
        .rows
        .insert(first, Bytes::from_static(b"\xff"));
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let bearer = format!("Authorization: Bearer {}\r\n", token("all"));
    let bytes = request("POST", "/api/v1/cdr/export", "format=jsonl", &bearer);
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.ok();
    let text = String::from_utf8_lossy(&all);
    assert!(text.contains("200 OK") && text.contains("\"call_id\""));
    assert!(!text.ends_with("0\r\n\r\n"), "a part must not look whole");
    let got = server.call("cdr/query", "limit=1000").await;
    assert_eq!(got.status(), 99);

    server.api.exports().close();
    let got = server.call("cdr/export", "").await;
    assert_eq!((got.status(), got.http), (38, 503));
}

/// Entries 1 to 9 of customer 1, a second apart, each of 10 credits.
fn keep_entries(server: &Running) {
    let mut told = server.books.told();
    for position in 1..=9u64 {
        let charge = position % 3 == 0;
        let entry = Entry {
            time: UnixMillis(NOW + position * 1000),
            kind: match position {
                1 => EntryKind::Opening,
                _ if charge => EntryKind::Charge,
                _ => EntryKind::Topup,
            },
            credit: Credit(if charge { -10 } else { 10 }),
            balance: Credit(10 * i64::try_from(position).unwrap()),
            call_id: charge.then(|| call_id(position.into())),
            blocks: if charge { 2 } else { 0 },
        };
        let key = [&1u32.to_be_bytes()[..], &position.to_be_bytes()[..]].concat();
        told.rows.insert((Table::Entry as u8, key), encode(&entry));
    }
}

async fn ledger(server: &Running, query: &str, limit: usize) -> Vec<serde_json::Value> {
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let body = format!("customer_id=1&{query}&limit={limit}&cursor={cursor}");
        let got = server.call("customer/ledger", &body).await;
        assert_eq!(got.status(), 0, "{got:?}");
        found.extend(got.json()["entries"].as_array().unwrap().clone());
        cursor = got.json()["next_cursor"].as_str().unwrap().to_owned();
        if cursor.is_empty() {
            return found;
        }
    }
}

fn ids(rows: &[serde_json::Value]) -> Vec<String> {
    rows.iter()
        .map(|row| {
            let id = row["entry_id"].as_str().unwrap();
            if id.is_empty() {
                row["call_id"].as_str().unwrap()[34..].to_owned()
            } else {
                id.into()
            }
        })
        .collect()
}

#[tokio::test]
async fn a_ledger_lists_open_calls_and_then_entries() {
    let server = start(settings()).await;
    keep_entries(&server);
    let open = |number: u128, second: u64| OpenCallRow {
        call_id: call_id(number),
        answered_at: UnixMillis(NOW + second * 1000),
        blocks: 3,
        credit: Credit(30),
    };
    // Call 9 has ended since: its entry is there.
    let calls = vec![open(0xb2, 12), open(0xa1, 11), open(9, 8)];
    server.books.answer(Ok(Answer::OpenCalls {
        calls,
        balance: Credit(90),
    }));
    for limit in [1, 2, 4, 11, 100] {
        let rows = ledger(&server, "", limit).await;
        assert_eq!(
            ids(&rows),
            ["b2", "a1", "9", "8", "7", "6", "5", "4", "3", "2", "1"],
            "{limit}"
        );
    }
    let rows = ledger(&server, "", 100).await;
    assert_eq!(
        rows[0].as_object().unwrap().keys().collect::<Vec<_>>(),
        ENTRY_ROW
    );
    assert_eq!(
        rows[0],
        serde_json::json!({"entry_id": "", "time": "2025-06-01 08:00:12", "kind": "open",
            "credit": "-30", "balance": "30", "call_id": call_id(0xb2).to_string(), "blocks": "3"})
    );
    assert_eq!(
        (&rows[1]["balance"], &rows[2]["balance"]),
        (&"60".into(), &"90".into())
    );
    assert_eq!(
        rows[2],
        serde_json::json!({"entry_id": "9", "time": "2025-06-01 08:00:09", "kind": "charge",
            "credit": "-10", "balance": "90", "call_id": call_id(9).to_string(), "blocks": "2"})
    );
    assert_eq!(
        rows[10],
        serde_json::json!({"entry_id": "1", "time": "2025-06-01 08:00:01", "kind": "opening",
            "credit": "10", "balance": "10", "call_id": "", "blocks": ""})
    );
    for limit in [1, 2, 100] {
        let rows = ledger(
            &server,
            "from=2025-06-01+08:00:03&to=2025-06-01+08:00:05",
            limit,
        )
        .await;
        assert_eq!(ids(&rows), ["5", "4", "3"]);
        let rows = ledger(&server, "from=2025-06-01+08:00:12", limit).await;
        assert_eq!(ids(&rows), ["b2"]);
        assert!(
            ledger(&server, "to=2025-06-01+08:00:00", limit)
                .await
                .is_empty()
        );
    }
}

#[tokio::test]
async fn a_long_ledger_is_read_in_parts() {
    let server = start(settings()).await;
    {
        let mut told = server.books.told();
        for position in 1..=2000u64 {
            let entry = Entry {
                time: UnixMillis(NOW + position * 1000),
                kind: EntryKind::Topup,
                credit: Credit(1),
                balance: Credit(1),
                call_id: None,
                blocks: 0,
            };
            let key = [&1u32.to_be_bytes()[..], &position.to_be_bytes()[..]].concat();
            told.rows.insert((Table::Entry as u8, key), encode(&entry));
        }
    }
    let rows = ledger(&server, "", 700).await;
    assert_eq!(rows.len(), 2000);
    assert_eq!(rows[0]["entry_id"], "2000");
    assert_eq!(rows[1999]["entry_id"], "1");
    // 1,000 and 1,005 seconds after the start.
    let period = "from=2025-06-01+08:16:40&to=2025-06-01+08:16:45";
    assert_eq!(
        ids(&ledger(&server, period, 4).await),
        ["1005", "1004", "1003", "1002", "1001", "1000"]
    );
}

#[tokio::test]
async fn a_store_that_fails_is_our_fault() {
    let server = start(settings()).await;
    server.books.told().broken = true;
    for operation in ["cdr/query", "customer/ledger"] {
        let got = server.call(operation, "customer_id=1").await;
        assert_eq!((got.status(), got.http), (99, 500), "{operation}");
    }
}
