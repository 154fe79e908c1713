//! The shape of answers and what reaches the books.

use super::*;
use crate::api::openapi;
use crate::api::operation::{FieldKind, OPERATIONS};
use crate::books::command::{CustomerAnswer, NumberRow, NumberState, Unreserve};
use crate::domain::{ChargeMethod, Customer, LeaseKind};

fn names(got: &Got) -> Vec<String> {
    got.json().as_object().unwrap().keys().cloned().collect()
}

#[tokio::test]
async fn a_single_lease_is_answered_as_published() {
    let server = start(settings()).await;
    let body = "customer_id=7&phone=+60123456789&expiry_value=1&expiry_unit=months&cw=0198765432, 0111234567 8,0198765432&unknown=1&imsi=";
    let got = server.call("leasesingle/request", body).await;
    let json = got.json();
    assert_eq!(got.status(), 0);
    assert_eq!(
        names(&got),
        [
            "status",
            "description",
            "reference_id",
            "lease_info",
            "expire"
        ]
    );
    // The undecoded plus is what the client wrote.
    assert_eq!(
        json["lease_info"],
        serde_json::json!({"0388880000": "+60123456789"})
    );
    assert_eq!(
        json["expire"], "2025-07-01 08:00:00",
        "1 June 08:00 in Kuala Lumpur, a month on"
    );
    let reference = json["reference_id"].as_str().unwrap();
    assert_eq!(reference, reference.to_lowercase());
    let asked = server.books.asked();
    let [
        Command::LeaseSingle {
            customer,
            phone,
            whitelist,
            reference: drawn,
            ..
        },
    ] = &asked[..]
    else {
        panic!("{asked:?}");
    };
    assert_eq!(*customer, CustomerId(7));
    assert_eq!(phone.number.packed(), 60_123_456_789);
    assert_eq!(drawn.to_string(), reference);
    let whitelist: Vec<u64> = whitelist.iter().map(|n| n.packed()).collect();
    assert_eq!(whitelist, [60_198_765_432, 601_112_345_678]);
}

#[tokio::test]
async fn a_group_lease_has_both_members_in_order() {
    let server = start(settings()).await;
    let body =
        "customer_id=1&phone1=0123456789&phone2=0198765432&expiry_value=90&expiry_unit=minutes";
    let got = server
        .post("all", "/axiata/api/v1/leasegroup/request", body)
        .await;
    assert_eq!(got.status(), 0);
    let text = String::from_utf8(got.body.clone()).unwrap();
    assert!(text.contains(r#""lease_info":{"0388880000":"0123456789","0388880001":"0198765432"}"#));
    assert_eq!(got.json()["expire"], "2025-06-01 09:30:00");
}

#[tokio::test]
async fn failures_have_the_operations_members_empty() {
    let server = start(settings()).await;
    for operation in OPERATIONS {
        let got = server.post("nobody", &operation.path(), "").await;
        assert_eq!(got.status(), 5);
        let json = got.json();
        let mut expected = vec!["status".to_owned(), "description".to_owned()];
        for field in operation.shape.fields() {
            expected.push(field.name.into());
            let empty = match field.kind {
                FieldKind::Text => serde_json::json!(""),
                FieldKind::Object => serde_json::json!({}),
                FieldKind::Texts | FieldKind::Rows(_) => serde_json::json!([]),
            };
            assert_eq!(json[field.name], empty, "{}", operation.label());
        }
        assert_eq!(names(&got), expected);
    }
}

#[tokio::test]
async fn every_operation_needs_its_scope() {
    let server = start(settings()).await;
    let parameters = "customer_id=1&phone=0123456789&phone1=0123456789&phone2=0198765432\
        &expiry_value=1&expiry_unit=days&quantity=1&credit=1&first_name=a&last_name=b\
        &number=0388880000&reference_id=00000000-0000-4000-8000-000000000000";
    for operation in OPERATIONS {
        let numbers = if operation.label() == "numbers/add" {
            "&numbers=0388880000"
        } else {
            ""
        };
        let body = format!("{parameters}{numbers}");
        let got = server.post("nothing", &operation.path(), &body).await;
        assert_eq!((got.status(), got.http), (6, 403), "{}", operation.label());
        assert!(server.books.asked().is_empty(), "{}", operation.label());
    }
    for operation in [
        "customer/view",
        "customer/topup",
        "customer/reserve",
        "leasesingle/request",
        "leasegroup/request",
        "customer/ledger",
        "cdr/query",
        "customer/update",
    ] {
        let path = format!("/api/v1/{operation}");
        let other = parameters.replace("customer_id=1", "customer_id=2");
        assert_eq!(
            server.post("one", &path, &other).await.status(),
            6,
            "{operation}"
        );
        assert_ne!(
            server.post("one", &path, parameters).await.status(),
            6,
            "{operation}"
        );
    }
    for operation in ["customer/create", "numbers/retire"] {
        let path = format!("/api/v1/{operation}");
        assert_eq!(
            server.post("one", &path, parameters).await.status(),
            6,
            "{operation}"
        );
    }
}

#[tokio::test]
async fn releases_and_queries_carry_kind_and_rights() {
    let server = start(settings()).await;
    let body = "reference_id=ABCDEF00-0000-4000-8000-000000000000";
    for (operation, kind) in [
        ("leasesingle", LeaseKind::Single),
        ("leasegroup", LeaseKind::Group),
    ] {
        let path = format!("/api/v1/{operation}/release");
        assert_eq!(server.post("one", &path, body).await.status(), 0);
        let asked = server.books.asked();
        let [
            Command::Release {
                kind: asked,
                reference,
                scope,
            },
        ] = &asked[..]
        else {
            panic!()
        };
        assert_eq!(*asked, kind);
        assert_eq!(
            reference.to_string(),
            "abcdef00-0000-4000-8000-000000000000"
        );
        assert_eq!(*scope, CustomerScope::Only(vec![CustomerId(1)]));
    }
    server.books.answer(Ok(Answer::Lease(LeaseAnswer {
        reference: crate::domain::ReferenceId(uuid::Uuid::nil()),
        customer: CustomerId(1),
        pairs: vec![("0388880001".into(), "012-345 \"6789\"".into())],
        expires: UnixMillis(NOW),
    })));
    let got = server.call("leasesingle/query", body).await;
    assert_eq!(
        String::from_utf8(got.body.clone()).unwrap(),
        r#"{"status":0,"description":"Success","reference_id":"00000000-0000-0000-0000-000000000000","lease_info":{"0388880001":"012-345 \"6789\""},"expire":"2025-06-01 08:00:00","customer_id":"1"}"#
    );
}

fn ada(suspended: Option<u64>) -> Answer {
    Answer::Customer(Box::new(CustomerAnswer {
        customer: Customer {
            id: CustomerId(1),
            first_name: "Ada".into(),
            last_name: "Lovelace".into(),
            suspended: suspended.is_some(),
            charge_method: ChargeMethod::Postpaid,
            enable_single: true,
            enable_group: false,
            tariff_single: Tariff {
                block_seconds: 60,
                rate: Credit(100),
            },
            tariff_group: Tariff {
                block_seconds: 30,
                rate: Credit(0),
            },
            max_lease_single: 5,
            max_lease_group: 0,
            date_created: UnixMillis(NOW),
            date_suspended: suspended.map(UnixMillis),
        },
        balance: Credit(-140),
        has_reserved_number: true,
    }))
}

#[tokio::test]
async fn a_customer_is_shown_in_the_published_order() {
    let server = start(settings()).await;
    server.books.answer(Ok(ada(None)));
    let got = server.call("customer/view", "customer_id=1").await;
    assert_eq!(
        String::from_utf8(got.body.clone()).unwrap(),
        concat!(
            r#"{"status":0,"description":"Success","customer_id":"1","first_name":"Ada","#,
            r#""last_name":"Lovelace","account_status":"1","account_credit":"-140","#,
            r#""charge_method":"2","enable_single_service":"1","charge_block_single":"60","#,
            r#""charge_rate_single":"100","enable_group_service":"0","charge_block_group":"30","#,
            r#""charge_rate_group":"0","max_lease_single":"5","max_lease_group":"0","#,
            r#""has_reserved_number":"1","date_created":"2025-06-01 08:00:00","#,
            r#""date_suspend":"0000-00-00 00:00:00"}"#
        )
    );
    server.books.answer(Ok(ada(Some(NOW + 1000))));
    let json = server
        .call("customer/update", "customer_id=1&account_status=2")
        .await
        .json();
    assert_eq!(json["account_status"], "2");
    assert_eq!(json["date_suspend"], "2025-06-01 08:00:01");
}

#[tokio::test]
async fn customers_are_created_with_defaults_and_updated_in_part() {
    let server = start(settings()).await;
    let got = server
        .call(
            "customer/create",
            "first_name=Ada&last_name=L&account_credit=-5",
        )
        .await;
    assert_eq!(got.json()["customer_id"], "1");
    let asked = server.books.asked();
    let [Command::CreateCustomer { customer, opening }] = &asked[..] else {
        panic!()
    };
    assert_eq!(*opening, Credit(-5));
    assert!(customer.enable_single && customer.enable_group && !customer.suspended);
    assert_eq!(customer.charge_method, ChargeMethod::Prepaid);
    assert_eq!(
        customer.tariff_single,
        Tariff {
            block_seconds: 60,
            rate: Credit(100)
        }
    );
    assert_eq!(
        (customer.max_lease_single, customer.max_lease_group),
        (0, 0)
    );

    server.books.answer(Ok(ada(None)));
    let body = "customer_id=1&first_name=&charge_rate_group=0&max_lease_single=9";
    assert_eq!(server.call("customer/update", body).await.status(), 0);
    let asked = server.books.asked();
    let [Command::UpdateCustomer { update, .. }] = &asked[..] else {
        panic!()
    };
    let expected = crate::books::command::CustomerUpdate {
        rate_group: Some(Credit(0)),
        max_lease_single: Some(9),
        ..Default::default()
    };
    assert_eq!(**update, expected);
}

#[tokio::test]
async fn money_and_numbers() {
    let server = start(settings()).await;
    let got = server
        .call("customer/topup", "customer_id=1&credit=-1000000000000000")
        .await;
    assert_eq!(got.json()["balance"], "-1000000000000000");
    let got = server
        .call("customer/reserve", "customer_id=1&quantity=2")
        .await;
    assert_eq!(
        got.json()["reserved_numbers"],
        serde_json::json!(["0388880000", "0388880001"])
    );
    let got = server
        .call("numbers/add", "numbers=0388880000-0388880009,0388880050")
        .await;
    assert_eq!(got.json()["added"], "11");
}

#[tokio::test]
async fn numbers_reach_the_books_normalised() {
    let server = start(settings()).await;
    assert_eq!(
        server
            .call(
                "customer/unreserve",
                "customer_id=1&numbers=0388880001,0388880000"
            )
            .await
            .status(),
        0
    );
    let asked = server.books.asked();
    let [
        Command::Unreserve {
            what: Unreserve::Numbers(numbers),
            ..
        },
    ] = &asked[..]
    else {
        panic!()
    };
    assert_eq!(numbers.len(), 2);

    assert_eq!(
        server
            .call("numbers/retire", "number=0388880001")
            .await
            .status(),
        0
    );
    assert_eq!(
        server
            .call("numbers/retire", "number=0388880001-0388880002")
            .await
            .status(),
        8
    );
}

#[tokio::test]
async fn the_pool_is_listed_page_by_page() {
    let server = start(settings()).await;
    server.books.answer(Ok(Answer::Numbers {
        rows: vec![NumberRow {
            number: E164::from_digits("60388880001").unwrap(),
            shown: "0388880001".into(),
            state: NumberState::Reserved,
            reserved_for: Some(CustomerId(1)),
        }],
        next: E164::from_digits("60388880002"),
    }));
    let json = server
        .call("numbers/list", "state=reserved&limit=1")
        .await
        .json();
    assert_eq!(
        json["numbers"],
        serde_json::json!([{"number": "0388880001", "state": "reserved", "customer_id": "1"}])
    );
    let next = format!("cursor={}", json["next_cursor"].as_str().unwrap());
    server.books.asked();
    server.call("numbers/list", &next).await;
    let asked = server.books.asked();
    let [
        Command::ListNumbers {
            from, limit, state, ..
        },
    ] = &asked[..]
    else {
        panic!()
    };
    assert_eq!(
        (*from, *limit, *state),
        (E164::from_digits("60388880002"), 100, None)
    );
}

#[tokio::test]
async fn an_answer_of_the_wrong_kind_is_our_fault() {
    let server = start(settings()).await;
    server.books.answer(Ok(Answer::Done));
    let got = server.call("customer/view", "customer_id=1").await;
    assert_eq!((got.status(), got.http), (99, 500));
    assert_eq!(got.json()["first_name"], "");
}

const LEASE_PATH: &str = "/api/v1/leasesingle/request";
const LEASE: &str = "customer_id=1&phone=0123456789&expiry_value=1&expiry_unit=days";

/// A request with an `Idempotency-Key`.
async fn with_key(server: &Running, user: &str, key: &str, path: &str, body: &str) -> Got {
    let token = token(user);
    let headers = format!("Authorization: Bearer {token}\r\nIdempotency-Key: {key}\r\n");
    server.post_with(path, body, &headers).await
}

#[tokio::test]
async fn an_idempotent_answer_is_given_again_byte_for_byte() {
    let server = start(settings()).await;
    let first = with_key(&server, "all", "k1", LEASE_PATH, LEASE).await;
    server.clock.put(NOW + 60_000);
    let again = with_key(&server, "all", "k1", LEASE_PATH, LEASE).await;
    assert_eq!((again.http, &again.body), (200, &first.body));
    // The order of parameters, the prefix, ts and sign are not parameters' values.
    let turned = "ts=5&expiry_unit=days&sign=x&phone=0123456789&expiry_value=1&customer_id=1";
    let prefixed = format!("/axiata{LEASE_PATH}");
    let again = with_key(&server, "all", "k1", &prefixed, turned).await;
    assert_eq!(again.body, first.body);
    // What is empty is as absent: optional, unknown, before or behind, in the query too.
    for same in [
        format!("{LEASE}&imsi="),
        format!("cw=&mnc&{LEASE}"),
        format!("{LEASE}&mine="),
    ] {
        let again = with_key(&server, "all", "k1", LEASE_PATH, &same).await;
        assert_eq!((again.http, &again.body), (200, &first.body), "{same}");
    }
    let in_query = format!("{LEASE_PATH}?imsi=");
    let again = with_key(&server, "all", "k1", &in_query, LEASE).await;
    assert_eq!(again.body, first.body);
    for other in [
        LEASE.replace("0123456789", "0198765432"),
        format!("{LEASE}&imsi=502130123456789"),
        format!("{LEASE}&mine=1"),
    ] {
        let got = with_key(&server, "all", "k1", LEASE_PATH, &other).await;
        assert_eq!(got.status(), 2, "{other}");
    }
    for (user, key) in [("all", "k2"), ("one", "k1")] {
        let got = with_key(&server, user, key, LEASE_PATH, LEASE).await;
        assert_ne!(got.body, first.body);
    }
}

#[tokio::test]
async fn a_failure_found_at_the_edge_is_kept_as_well() {
    let server = start(settings()).await;
    for (body, status) in [("customer_id=1", 15), (LEASE, 2), ("customer_id=1", 15)] {
        let got = with_key(&server, "all", "k", LEASE_PATH, body).await;
        assert_eq!((got.status(), got.http), (status, 400));
    }
}

#[tokio::test]
async fn keys_that_are_none() {
    let server = start(settings()).await;
    let long = "k".repeat(256);
    for key in [
        "",
        "a b",
        "\u{e9}",
        long.as_str(),
        "a\r\nIdempotency-Key: b",
    ] {
        let got = with_key(&server, "all", key, LEASE_PATH, LEASE).await;
        assert_eq!(got.status(), 1, "{key}");
    }
    // What changes nothing has no use for a key.
    server.books.answer(Ok(ada(None)));
    let got = with_key(
        &server,
        "all",
        "a b",
        "/api/v1/customer/view",
        "customer_id=1",
    )
    .await;
    assert_eq!(got.status(), 0);
}

#[tokio::test]
async fn always_ok_is_always_200() {
    let mut settings = settings();
    settings.always_ok = true;
    let server = start(settings).await;
    for got in [
        server.call("customer/view", "").await,
        server.call("no/such", "").await,
        server.post_with("/api/v9/a/b", "", "").await,
        server
            .raw(request("GET", "/api/v1/customer/view", "", "").as_bytes())
            .await,
        server.call("customer/view", &"a".repeat(20_000)).await,
    ] {
        assert_eq!(got.http, 200);
        assert_ne!(got.status(), 0);
    }
}

#[test]
fn the_document_has_every_operation_and_every_parameter() {
    let document: serde_json::Value = serde_json::from_str(&openapi::document()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths.len(), OPERATIONS.len());
    for operation in OPERATIONS {
        let described = &paths[&operation.path()]["post"];
        let form =
            &described["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"];
        let properties = form["properties"].as_object().unwrap();
        let mut expected: Vec<&str> = operation.parameters.iter().map(|p| p.name).collect();
        expected.extend(["ts", "sign"]);
        let named: Vec<&str> = properties.keys().map(String::as_str).collect();
        assert_eq!(named, expected, "{}", operation.label());
        let required: Vec<&str> = form["required"]
            .as_array()
            .map(|list| list.iter().map(|name| name.as_str().unwrap()).collect())
            .unwrap_or_default();
        let needed: Vec<&str> = operation
            .parameters
            .iter()
            .filter(|p| p.required)
            .map(|p| p.name)
            .collect();
        assert_eq!(required, needed);
        for http in [
            "200", "400", "401", "403", "404", "405", "409", "413", "415", "429", "500", "503",
        ] {
            assert!(
                described["responses"][http].is_object(),
                "{} {http}",
                operation.label()
            );
        }
        let answer = &described["responses"]["400"]["content"]["application/json"]["schema"];
        for field in operation.shape.fields() {
            assert!(answer["properties"][field.name].is_object());
        }
    }
    assert_eq!(
        document["components"]["securitySchemes"]["token"]["scheme"],
        "bearer"
    );
}
