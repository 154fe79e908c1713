//! Every status code of lease-api 5, by a real HTTP request.

use super::*;
use crate::api::status::STATUSES;

const SINGLE: &str = "customer_id=1&phone=0123456789&expiry_value=1&expiry_unit=days";
const GROUP: &str =
    "customer_id=1&phone1=0123456789&phone2=0198765432&expiry_value=1&expiry_unit=days";
const REFERENCE: &str = "reference_id=00000000-0000-4000-8000-000000000000";
const NAMES: &str = "first_name=Ada&last_name=Lovelace";

/// Code, operation, parameters, what the books answer where it is they who refuse.
const CASES: &[(u16, &str, &str, Option<u16>)] = &[
    (0, "leasesingle/request", SINGLE, None),
    (
        2,
        "leasesingle/request",
        "customer_id=1&customer_id=1",
        None,
    ),
    (2, "cdr/query", "limit=1001", None),
    (2, "cdr/query", "limit=0", None),
    (2, "cdr/query", "from=2025-01-01", None),
    (2, "cdr/query", "cursor=zzz", None),
    (2, "cdr/export", "format=xml", None),
    (2, "numbers/list", "state=sold", None),
    (2, "numbers/add", "", None),
    (3, "leasesingle/view", "", None),
    (
        8,
        "leasesingle/request",
        "customer_id=1&phone=12&expiry_value=1&expiry_unit=days",
        None,
    ),
    (
        8,
        "leasesingle/request",
        "customer_id=1&phone=0388880000",
        None,
    ),
    (8, "leasesingle/request", "customer_id=1&phone=999", None),
    (
        8,
        "leasesingle/request",
        "customer_id=1&phone=%2B4915112345678",
        None,
    ),
    (8, "numbers/add", "numbers=what", None),
    (9, "leasesingle/request", "cw=1,2,3,4,5,6,7,8,9,10,11", None),
    (8, "leasesingle/request", "cw=0123456789,x", None),
    (10, "leasesingle/query", REFERENCE, Some(10)),
    (11, "leasesingle/request", SINGLE, Some(11)),
    (12, "leasesingle/request", SINGLE, Some(12)),
    (15, "leasesingle/request", "customer_id=1", None),
    (
        15,
        "leasegroup/request",
        "customer_id=1&phone1=0123456789",
        None,
    ),
    (15, "leasegroup/request", "phone2=%2B60123456789", None),
    (16, "leasesingle/request", "imsi=12345", None),
    (16, "leasesingle/request", "imsi=1234567890123456", None),
    (
        16,
        "leasesingle/request",
        "imsi=502120000000001&mcc=502&mnc=13",
        None,
    ),
    (17, "leasesingle/request", "mcc=50", None),
    (17, "leasesingle/request", "mnc=12", None),
    (18, "leasesingle/request", "mcc=502", None),
    (18, "leasesingle/request", "mcc=502&mnc=1", None),
    (18, "leasegroup/request", "mcc2=502&mnc2=1", None),
    (19, "leasesingle/release", "", None),
    (19, "leasegroup/query", "reference_id=7", None),
    (20, "customer/create", "last_name=x", None),
    (21, "customer/create", "first_name=x", None),
    (22, "customer/create", "account_status=3", None),
    (23, "customer/create", "account_credit=1.5", None),
    (
        23,
        "customer/create",
        "account_credit=1000000000000000001",
        None,
    ),
    (
        23,
        "customer/update",
        "customer_id=1&account_credit=5",
        None,
    ),
    (24, "customer/create", "charge_method=0", None),
    (25, "customer/create", "enable_single_service=yes", None),
    (26, "customer/create", "charge_block_single=0", None),
    (27, "customer/create", "charge_rate_single=-1", None),
    (28, "customer/create", "enable_group_service=2", None),
    (29, "customer/create", "charge_block_group=x", None),
    (
        30,
        "customer/create",
        "charge_rate_group=1000000000000001",
        None,
    ),
    (31, "customer/create", "max_lease_single=-1", None),
    (32, "customer/create", "max_lease_group=x", None),
    (33, "customer/view", "", None),
    (33, "leasesingle/request", "customer_id=0", None),
    (34, "customer/topup", "customer_id=1", None),
    (
        34,
        "customer/topup",
        "customer_id=1&credit=1000000000000001",
        None,
    ),
    (34, "customer/topup", "customer_id=1&credit=1", Some(34)),
    (35, "customer/view", "customer_id=77", Some(35)),
    (35, "cdr/query", "customer_id=77", Some(35)),
    (35, "customer/ledger", "customer_id=77", Some(35)),
    (36, "customer/reserve", "customer_id=1", None),
    (36, "customer/reserve", "customer_id=1&quantity=0", None),
    (36, "customer/unreserve", "customer_id=1", None),
    (
        36,
        "customer/unreserve",
        "customer_id=1&quantity=1&numbers=0388880000",
        None,
    ),
    (37, "leasesingle/request", SINGLE, Some(37)),
    (38, "leasesingle/request", SINGLE, Some(38)),
    (39, "leasesingle/request", SINGLE, Some(39)),
    (40, "leasegroup/request", GROUP, Some(40)),
    (41, "leasesingle/request", "expiry_value=0", None),
    (
        41,
        "leasesingle/request",
        "expiry_value=6&expiry_unit=years",
        None,
    ),
    (
        41,
        "leasesingle/request",
        "expiry_value=99999999999999999999",
        None,
    ),
    (42, "leasesingle/request", "expiry_unit=weeks", None),
    (99, "leasesingle/request", SINGLE, Some(99)),
];

/// What stands in a case replaces or adds to a request that would succeed, where the case does not
/// say that something is missing.
fn completed(operation: &str, case: &str) -> String {
    let whole = match operation {
        "leasesingle/request" if !case.starts_with("customer_id") => SINGLE,
        "leasegroup/request" if !case.starts_with("customer_id") => GROUP,
        "customer/create" if !case.contains("_name") => NAMES,
        _ => "",
    };
    let named = |pair: &&str| !case.contains(&format!("{}=", pair.split('=').next().unwrap()));
    let rest: Vec<&str> = whole.split('&').filter(named).collect();
    format!("{case}&{}", rest.join("&"))
}

#[tokio::test]
async fn every_status_code_is_reached() {
    let server = start(settings()).await;
    let mut reached: Vec<u16> = Vec::new();
    for (code, operation, case, books) in CASES {
        server.books.told().answer = books.map(|code| Err(Code(code)));
        let got = server.call(operation, &completed(operation, case)).await;
        let shown = String::from_utf8_lossy(&got.body).into_owned();
        assert_eq!(got.status(), *code, "{operation} {case}: {shown}");
        let row = STATUSES.iter().find(|row| row.code == *code).unwrap();
        assert_eq!(got.http, row.http, "{operation} {case}");
        assert_eq!(got.json()["description"], row.description);
        assert_eq!(got.header("content-type"), Some("application/json"));
        reached.push(*code);
    }
    server.books.told().answer = None;
    reached.extend(access_codes(&server).await);
    for row in &STATUSES {
        assert!(
            reached.contains(&row.code),
            "status {} is not reached",
            row.code
        );
    }
}

/// The codes that come before an operation's parameters.
async fn access_codes(server: &Running) -> Vec<u16> {
    let path = "/api/v1/customer/view";
    let body = "customer_id=1";
    let basic = "Authorization: Basic eA==\r\n";
    let nonsense = "Authorization: Bearer x\r\n";
    let answers = [
        (1, server.post_with(path, body, basic).await),
        (4, server.post("all", "/api/v2/customer/view", body).await),
        (5, server.post("stranger", path, body).await),
        (6, server.post("nothing", path, body).await),
        (7, server.post("signing", path, body).await),
        (13, server.post_with(path, body, nonsense).await),
        (14, server.post_with(path, body, "").await),
    ];
    for (code, got) in &answers {
        assert_eq!(got.status(), *code, "{got:?}");
        let row = STATUSES.iter().find(|row| row.code == *code).unwrap();
        assert_eq!(got.http, row.http);
    }
    for _ in 0..2 {
        assert_ne!(server.post("slow", path, body).await.status(), 100);
    }
    let got = server.post("slow", path, body).await;
    assert_eq!((got.status(), got.http), (100, 429));
    assert_eq!(got.header("retry-after"), Some("1"));
    answers.iter().map(|(code, _)| *code).chain([100]).collect()
}

#[tokio::test]
async fn a_busy_answer_says_when_to_come_again() {
    let server = start(settings()).await;
    server.books.answer(Err(Code(38)));
    let got = server.call("leasesingle/request", SINGLE).await;
    assert_eq!((got.http, got.header("retry-after")), (503, Some("1")));
}

#[tokio::test]
async fn parameters_are_checked_in_the_order_of_their_table() {
    let server = start(settings()).await;
    // Everything is wrong at first, and one thing is put right at a time.
    let mut parameters = vec![
        ("customer_id", "x", "1", 33),
        ("phone", "", "0123456789", 15),
        ("imsi", "1", "502129000000001", 16),
        ("mcc", "1", "502", 17),
        ("mnc", "1", "12", 18),
        ("expiry_value", "x", "1", 41),
        ("expiry_unit", "x", "days", 42),
        ("cw", "x", "0123456789", 8),
    ];
    let body = |parameters: &[(&str, &str, &str, u16)], right: usize| {
        let pairs = parameters
            .iter()
            .enumerate()
            .map(|(place, (name, wrong, good, _))| {
                format!("{name}={}", if place < right { good } else { wrong })
            });
        pairs.collect::<Vec<_>>().join("&")
    };
    for right in 0..parameters.len() {
        let got = server
            .call("leasesingle/request", &body(&parameters, right))
            .await;
        assert_eq!(got.status(), parameters[right].3, "with {right} right");
    }
    assert_eq!(
        server
            .call("leasesingle/request", &body(&parameters, 8))
            .await
            .status(),
        0
    );
    // Rules that tie two together come after all single ones: the far end after the whitelist.
    parameters[5].2 = "9999";
    parameters[6].2 = "years";
    assert_eq!(
        server
            .call("leasesingle/request", &body(&parameters, 7))
            .await
            .status(),
        8
    );
    assert_eq!(
        server
            .call("leasesingle/request", &body(&parameters, 8))
            .await
            .status(),
        41
    );
    // Rights come after parameters.
    let rest = body(&parameters, 8);
    assert_eq!(
        server
            .post("nothing", "/api/v1/leasesingle/request", &rest)
            .await
            .status(),
        41
    );
}
