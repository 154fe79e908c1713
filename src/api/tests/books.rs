//! The API over the real books, with a store in memory: what a client goes through.

use super::*;
use crate::api::neighbours::Clock as _;
use crate::books::records::answer_key;
use crate::books::{Books as Core, Output, Settings as BooksSettings, Ticket};
use crate::domain::Now;
use std::time::Instant;

/// The core, a store's rows and a clock: each request is committed by itself.
#[derive(Clone)]
struct RealBooks(Arc<Mutex<Inner>>, Arc<Stopped>);

struct Inner {
    core: Core,
    rows: BTreeMap<(u8, Vec<u8>), Bytes>,
    start: Instant,
}

fn books_settings() -> BooksSettings {
    BooksSettings {
        cooldown: Duration::ZERO,
        max_per_phone: 2,
        hang_up_at_end: false,
        calls_per_lease: 1,
        calls_per_customer: 0,
        keep_answers: Duration::from_secs(86_400),
        target_allowed: Plan::target_allowed,
        plan: settings().plan,
    }
}

const TABLES: [Table; 11] = [
    Table::Meta,
    Table::Account,
    Table::Number,
    Table::Lease,
    Table::OpenCall,
    Table::Entry,
    Table::Record,
    Table::RecordByCustomer,
    Table::RecordByReference,
    Table::Answer,
    Table::AnswerExpiry,
];

impl RealBooks {
    fn new(clock: Arc<Stopped>, rows: BTreeMap<(u8, Vec<u8>), Bytes>) -> Self {
        let mut core = Core::new(books_settings());
        let scanned = |table: Table| {
            !matches!(
                table,
                Table::Entry | Table::Record | Table::RecordByCustomer | Table::RecordByReference
            )
        };
        for table in TABLES.into_iter().filter(|table| scanned(*table)) {
            for ((_, key), value) in rows
                .iter()
                .filter(|((number, _), _)| *number == table as u8)
            {
                core.load(table, key, value).unwrap();
            }
        }
        let start = Instant::now();
        let now = Now {
            mono: start,
            wall: clock.now(),
        };
        core.loaded(now).unwrap();
        let inner = Inner { core, rows, start };
        Self(Arc::new(Mutex::new(inner)), clock)
    }

    fn rows(&self) -> BTreeMap<(u8, Vec<u8>), Bytes> {
        self.0.lock().unwrap().rows.clone()
    }

    fn directory(&self) -> Arc<dyn Lookup> {
        self.0.lock().unwrap().core.directory()
    }
}

impl Books for RealBooks {
    async fn request(&self, command: Command, idempotency: Option<Idempotency>) -> Reply {
        let mut inner = self.0.lock().unwrap();
        let Inner { core, rows, start } = &mut *inner;
        let wall = self.1.now();
        let now = Now {
            mono: *start + wall.since(UnixMillis(NOW)),
            wall,
        };
        let kept = idempotency.as_ref().and_then(|asked| {
            let key = answer_key(&asked.key);
            rows.get(&(key.table as u8, key.bytes.to_vec())).cloned()
        });
        core.request(Ticket(1), command, idempotency, kept, now);
        for change in core.take_batch() {
            let key = (change.key.table as u8, change.key.bytes.to_vec());
            assert_eq!(rows.get(&key), change.before.as_ref());
            match change.after {
                Some(after) => rows.insert(key, after),
                None => rows.remove(&key),
            };
        }
        core.committed(now);
        while let Some(output) = core.poll_output() {
            if let Output::Reply(_, reply) = output {
                return reply;
            }
        }
        panic!("the books said nothing");
    }

    fn reader(&self) -> Arc<dyn Reader> {
        let books = FakeBooks::default();
        books.told().rows = self.rows();
        Arc::new(books)
    }
}

async fn open(rows: BTreeMap<(u8, Vec<u8>), Bytes>) -> Running<RealBooks> {
    let clock = Arc::new(Stopped(AtomicU64::new(NOW)));
    let books = RealBooks::new(Arc::clone(&clock), rows);
    let directory = books.directory();
    start_with(settings(), books, directory, clock).await
}

/// With four numbers and customer 1, who has 500 credits.
async fn furnished() -> Running<RealBooks> {
    let server = open(BTreeMap::new()).await;
    let got = server
        .call("numbers/add", "numbers=0388880000-0388880003")
        .await;
    assert_eq!(got.json()["added"], "4");
    let got = server
        .call(
            "customer/create",
            "first_name=Ada&last_name=L&account_credit=500&max_lease_single=3",
        )
        .await;
    assert_eq!(got.json()["customer_id"], "1");
    server
}

const SINGLE: &str = "customer_id=1&phone=012-345+6789&expiry_value=1&expiry_unit=hours";
const GROUP: &str =
    "customer_id=1&phone1=0123456780&phone2=0198765432&expiry_value=1&expiry_unit=days";

impl Running<RealBooks> {
    async fn status(&self, operation: &str, body: &str) -> u16 {
        self.call(operation, body).await.status()
    }

    /// A reference as a parameter.
    async fn lease(&self, operation: &str, body: &str) -> String {
        let got = self.call(operation, body).await;
        assert_eq!(got.status(), 0, "{got:?}");
        format!(
            "reference_id={}",
            got.json()["reference_id"].as_str().unwrap()
        )
    }
}

#[tokio::test]
async fn a_lease_from_request_to_release() {
    let server = furnished().await;
    let reference = server.lease("leasesingle/request", SINGLE).await;
    let json = server.call("leasesingle/query", &reference).await.json();
    assert_eq!(
        json["lease_info"],
        serde_json::json!({"0388880000": "012-345 6789"})
    );
    assert_eq!(
        (&json["expire"], &json["customer_id"]),
        (&"2025-06-01 09:00:00".into(), &"1".into())
    );
    assert_eq!(
        server.status("leasegroup/query", &reference).await,
        10,
        "of the other kind"
    );
    let group = server.lease("leasegroup/request", GROUP).await;
    let json = server.call("leasegroup/query", &group).await.json();
    assert_eq!(
        json["lease_info"],
        serde_json::json!({"0388880001": "0123456780", "0388880002": "0198765432"})
    );
    // A number of the pool is nobody's phone, leased or not.
    assert_eq!(
        server
            .status(
                "leasesingle/request",
                &SINGLE.replace("012-345+6789", "0388880003")
            )
            .await,
        8
    );
    assert_eq!(server.status("leasegroup/release", &reference).await, 10);
    assert_eq!(server.status("leasesingle/release", &reference).await, 0);
    assert_eq!(server.status("leasesingle/release", &reference).await, 10);
    server.clock.put(NOW + 86_400_000 - 1);
    assert_eq!(server.status("leasegroup/query", &group).await, 0);
    server.clock.put(NOW + 86_400_000);
    assert_eq!(
        server.status("leasegroup/query", &group).await,
        10,
        "it ended at that instant"
    );
}

#[tokio::test]
async fn conditions_in_their_order() {
    let server = furnished().await;
    let other = SINGLE.replace("customer_id=1", "customer_id=2");
    assert_eq!(server.status("leasesingle/request", &other).await, 35);
    assert_eq!(
        server
            .post("one", "/api/v1/leasesingle/request", &other)
            .await
            .status(),
        6
    );

    for _ in 0..2 {
        server.lease("leasesingle/request", SINGLE).await;
    }
    assert_eq!(
        server.status("leasesingle/request", SINGLE).await,
        12,
        "two for this phone"
    );
    let third = SINGLE.replace("6789", "6780");
    server.lease("leasesingle/request", &third).await;
    assert_eq!(server.status("leasesingle/request", &third).await, 39);
    assert_eq!(
        server.status("leasegroup/request", GROUP).await,
        11,
        "both or none"
    );
    let got = server.call("numbers/list", "state=free").await;
    assert_eq!(got.json()["numbers"].as_array().unwrap().len(), 1);

    assert_eq!(
        server
            .status(
                "customer/update",
                "customer_id=1&max_lease_group=1&enable_single_service=0"
            )
            .await,
        0
    );
    assert_eq!(
        server.status("leasesingle/request", &third).await,
        6,
        "before the limit"
    );
    server
        .call("numbers/add", "numbers=0388880010-0388880019")
        .await;
    server.lease("leasegroup/request", GROUP).await;
    let again = GROUP.replace("0123456780", "0123456785");
    assert_eq!(server.status("leasegroup/request", &again).await, 40);
    let json = server
        .call("customer/update", "customer_id=1&account_status=2")
        .await
        .json();
    assert_eq!(json["date_suspend"], "2025-06-01 08:00:00");
    assert_eq!(
        server.status("leasegroup/request", &again).await,
        37,
        "before the limit"
    );
    assert_eq!(
        server.status("leasesingle/request", SINGLE).await,
        37,
        "before the service"
    );
}

#[tokio::test]
async fn reservations_and_the_pool() {
    let server = furnished().await;
    assert_eq!(
        server
            .status("customer/reserve", "customer_id=1&quantity=5")
            .await,
        11
    );
    let json = server
        .call("customer/reserve", "customer_id=1&quantity=1")
        .await
        .json();
    assert_eq!(json["reserved_numbers"], serde_json::json!(["0388880000"]));
    assert_eq!(
        server.call("customer/view", "customer_id=1").await.json()["has_reserved_number"],
        "1"
    );
    let reference = server.lease("leasesingle/request", SINGLE).await;
    assert_eq!(
        server.status("leasesingle/request", SINGLE).await,
        11,
        "a customer with reserved numbers draws from those alone"
    );
    let json = server.call("numbers/list", "state=leased").await.json();
    assert_eq!(json["numbers"][0]["number"], "0388880000");
    server.call("leasesingle/release", &reference).await;
    assert_eq!(
        server
            .status("customer/unreserve", "customer_id=1&quantity=1")
            .await,
        0
    );
    assert_eq!(
        server.status("numbers/retire", "number=0388880000").await,
        0
    );
    assert_ne!(
        server.status("numbers/retire", "number=0388889999").await,
        0
    );
    let json = server.call("numbers/list", "limit=2").await.json();
    let next = format!("limit=2&cursor={}", json["next_cursor"].as_str().unwrap());
    let more = server.call("numbers/list", &next).await.json();
    let shown: Vec<_> = [&json, &more]
        .into_iter()
        .flat_map(|page| page["numbers"].as_array().unwrap())
        .map(|row| row["number"].as_str().unwrap())
        .collect();
    assert_eq!(
        shown,
        ["0388880000", "0388880001", "0388880002", "0388880003"]
    );
    assert_eq!(
        (&json["numbers"][0]["state"], &more["next_cursor"]),
        (&"retired".into(), &"".into())
    );
}

#[tokio::test]
async fn money_moves_and_the_ledger_says_so() {
    let server = furnished().await;
    let got = server
        .call("customer/topup", "customer_id=1&credit=-700")
        .await;
    assert_eq!(got.json()["balance"], "-200");
    server.clock.put(NOW + 5000);
    assert_eq!(
        server
            .call("customer/topup", "customer_id=1&credit=250")
            .await
            .json()["balance"],
        "50"
    );
    let json = server.call("customer/ledger", "customer_id=1").await.json();
    let rows: Vec<_> = json["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            ["entry_id", "time", "kind", "credit", "balance"]
                .map(|name| row[name].as_str().unwrap())
        })
        .collect();
    assert_eq!(
        rows,
        [
            ["3", "2025-06-01 08:00:05", "topup", "250", "50"],
            ["2", "2025-06-01 08:00:00", "topup", "-700", "-200"],
            ["1", "2025-06-01 08:00:00", "opening", "500", "500"],
        ]
    );
    assert_eq!(
        server.call("customer/view", "customer_id=1").await.json()["account_credit"],
        "50"
    );
    for _ in 0..999 {
        assert_eq!(
            server
                .status("customer/topup", "customer_id=1&credit=1000000000000000")
                .await,
            0
        );
    }
    assert_eq!(
        server
            .status("customer/topup", "customer_id=1&credit=1000000000000000")
            .await,
        34
    );
    assert_eq!(server.status("customer/ledger", "customer_id=2").await, 35);
    assert_eq!(server.status("cdr/query", "customer_id=2").await, 35);
    assert_eq!(server.status("cdr/query", "customer_id=1").await, 0);
}

#[tokio::test]
async fn kept_answers_and_leases_outlive_a_restart() {
    let server = furnished().await;
    let path = "/api/v1/leasesingle/request";
    let headers = format!(
        "Authorization: Bearer {}\r\nIdempotency-Key: k\r\n",
        token("all")
    );
    let first = server.post_with(path, SINGLE, &headers).await;
    assert_eq!(first.status(), 0);
    let refused = format!(
        "Authorization: Bearer {}\r\nIdempotency-Key: r\r\n",
        token("all")
    );
    assert_eq!(
        server
            .post_with(path, "customer_id=1", &refused)
            .await
            .status(),
        15
    );

    let server = open(server.books.rows()).await;
    let again = server.post_with(path, SINGLE, &headers).await;
    assert_eq!(again.body, first.body);
    assert_eq!(server.post_with(path, SINGLE, &refused).await.status(), 2);
    assert_eq!(
        server
            .post_with(path, "customer_id=1", &refused)
            .await
            .status(),
        15
    );
    let other = SINGLE.replace("6789", "6780");
    assert_eq!(server.post_with(path, &other, &headers).await.status(), 2);
    let json = server.call("numbers/list", "state=leased").await.json();
    assert_eq!(json["numbers"].as_array().unwrap().len(), 1, "leased once");
    server.clock.put(NOW + 86_400_000 + 1000);
    let fresh = server.post_with(path, &other, &headers).await;
    assert_eq!(fresh.status(), 0, "a day later the key is free");
}
