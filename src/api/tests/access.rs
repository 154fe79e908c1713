//! Tokens, keys, clients, signatures, rates.

use super::*;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use ring::hmac;
use serde_json::json;

const VIEW: &str = "/api/v1/customer/ledger";

/// The status of a request with this token.
async fn with(server: &Running, token: &str) -> u16 {
    let header = format!("Authorization: Bearer {token}\r\n");
    server
        .post_with(VIEW, "customer_id=1", &header)
        .await
        .status()
}

fn base64url(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk
            .iter()
            .fold(0u32, |word, byte| word << 8 | u32::from(*byte));
        let word = word << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            let index = usize::try_from(word >> (18 - 6 * place) & 63).unwrap();
            out.push(char::from(LETTERS[index]));
        }
    }
    out
}

/// A token with any header, signed by HMAC-SHA256 under `secret`.
fn forged(header: &serde_json::Value, claims: &serde_json::Value, secret: &[u8]) -> String {
    let signed = format!(
        "{}.{}",
        base64url(header.to_string().as_bytes()),
        base64url(claims.to_string().as_bytes())
    );
    let tag = hmac::sign(
        &hmac::Key::new(hmac::HMAC_SHA256, secret),
        signed.as_bytes(),
    );
    format!("{signed}.{}", base64url(tag.as_ref()))
}

#[tokio::test]
async fn only_one_bearer_token_is_a_header() {
    let server = start(settings()).await;
    let good = token("all");
    for (line, code) in [
        (String::new(), 14),
        ("Authorization: \r\n".into(), 1),
        ("Authorization: Bearer\r\n".into(), 1),
        (format!("Authorization: {good}\r\n"), 1),
        (format!("Authorization: Basic {good}\r\n"), 1),
        (format!("Authorization: Bearer {good} {good}\r\n"), 1),
        (
            format!("Authorization: Bearer {good}\r\nAuthorization: Bearer {good}\r\n"),
            1,
        ),
        (format!("Authorization: bearer  {good}\r\n"), 0),
        (format!("authorization: Bearer {good}\r\n"), 0),
    ] {
        let got = server.post_with(VIEW, "customer_id=1", &line).await;
        assert_eq!(got.status(), code, "{line}");
    }
}

#[tokio::test]
async fn forged_and_faulty_tokens_are_13() {
    let server = start(settings()).await;
    let claims = json!({"user": "all", "iat": NOW / 1000});
    let hs256 = json!({"alg": "HS256", "typ": "JWT", "kid": "main"});
    assert_eq!(with(&server, &forged(&hs256, &claims, SECRET)).await, 0);
    let good = forged(&hs256, &claims, SECRET);
    let parts: Vec<&str> = good.split('.').collect();
    let mut bad = vec![
        "x".to_owned(),
        "..".to_owned(),
        format!("{}.{}", parts[0], parts[1]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{good}."),
        format!("{good}x"),
        format!(
            "{}.{}.{}",
            parts[0],
            base64url(br#"{"user":"one","iat":1}"#),
            parts[2]
        ),
        forged(&hs256, &claims, b"another secret of thirty-two byt"),
        "a".repeat(5000),
    ];
    for header in [
        json!({"alg": "none"}),
        json!({"alg": "None", "kid": "main"}),
        json!({"alg": "HS384", "kid": "main"}),
        json!({"alg": "RS256", "kid": "main"}),
        json!({"alg": "HS256", "kid": "other"}),
        json!({"alg": "HS256", "kid": "main", "crit": ["exp"]}),
        json!({"kid": "main"}),
    ] {
        bad.push(forged(&header, &claims, SECRET));
        let unsigned = base64url(header.to_string().as_bytes());
        bad.push(format!(
            "{unsigned}.{}.",
            base64url(claims.to_string().as_bytes())
        ));
    }
    let now = NOW / 1000;
    for claims in [
        json!({"iat": now}),
        json!({"user": "all"}),
        json!({"user": 5, "iat": now}),
        json!({"user": "all", "iat": "yesterday"}),
        json!({"user": "all", "iat": now, "exp": now - 60}),
        json!({"user": "all", "iat": now, "nbf": now + 61}),
        json!({"user": "all", "iat": now, "exp": "never"}),
        json!(["all"]),
    ] {
        bad.push(forged(&hs256, &claims, SECRET));
    }
    for token in &bad {
        assert_eq!(with(&server, token).await, 13, "{token}");
    }
    for claims in [
        json!({"user": "all", "iat": now, "exp": now - 59}),
        json!({"user": "all", "iat": now, "nbf": now + 60}),
        json!({"user": "all", "iat": now, "iss": "anyone", "aud": "anyone"}),
    ] {
        assert_eq!(
            with(&server, &forged(&hs256, &claims, SECRET)).await,
            0,
            "{claims}"
        );
    }
}

#[tokio::test]
async fn a_time_that_is_none_is_13() {
    let server = start(settings()).await;
    let now = NOW / 1000;
    for claims in [
        json!({"user": "all", "iat": now, "exp": null}),
        json!({"user": "all", "iat": now, "exp": 1e300}),
        json!({"user": "all", "iat": now, "nbf": null}),
        json!({"user": "all", "iat": now, "nbf": -1e300}),
    ] {
        let token = token_with(&claims);
        assert_eq!(with(&server, &token).await, 13, "{claims}");
    }
}

#[tokio::test]
async fn a_token_that_was_good_expires_all_the_same() {
    let server = start(settings()).await;
    let token = token_with(&json!({"user": "all", "iat": NOW / 1000, "exp": NOW / 1000 + 10}));
    assert_eq!(with(&server, &token).await, 0);
    server.clock.put(NOW + 69_000);
    assert_eq!(with(&server, &token).await, 0, "within the leeway");
    server.clock.put(NOW + 70_000);
    assert_eq!(with(&server, &token).await, 13);
}

#[tokio::test]
async fn clients_unknown_disabled_and_revoked() {
    let server = start(settings()).await;
    assert_eq!(with(&server, &token("stranger")).await, 5);
    assert_eq!(with(&server, &token("disabled")).await, 5);
    let hour_ago = NOW / 1000 - 3600;
    assert_eq!(
        with(
            &server,
            &token_with(&json!({"user": "revoked", "iat": hour_ago}))
        )
        .await,
        0
    );
    let before = token_with(&json!({"user": "revoked", "iat": hour_ago - 1}));
    assert_eq!(with(&server, &before).await, 13);
    // A token already seen is refused once the client is disabled, and when its key goes.
    let seen = token("all");
    assert_eq!(with(&server, &seen).await, 0);
    let mut changed = settings();
    changed.clients[0].enabled = false;
    server.api.reload(changed);
    assert_eq!(with(&server, &seen).await, 5);
    let mut changed = settings();
    changed.keys = vec![TokenKey::hs256(None, b"another secret of thirty-two byt").unwrap()];
    server.api.reload(changed);
    assert_eq!(with(&server, &seen).await, 13);
}

#[tokio::test]
async fn issuer_and_audience_where_configured() {
    let mut settings = settings();
    settings.issuer = Some("us".into());
    settings.audience = Some("voice".into());
    let server = start(settings).await;
    let now = NOW / 1000;
    for (claims, code) in [
        (json!({"user": "all", "iat": now}), 13),
        (json!({"user": "all", "iat": now, "iss": "us"}), 13),
        (json!({"user": "all", "iat": now, "aud": "voice"}), 13),
        (
            json!({"user": "all", "iat": now, "iss": "them", "aud": "voice"}),
            13,
        ),
        (
            json!({"user": "all", "iat": now, "iss": "us", "aud": ["sms"]}),
            13,
        ),
        (
            json!({"user": "all", "iat": now, "iss": "us", "aud": ["sms", "voice"]}),
            0,
        ),
        (
            json!({"user": "all", "iat": now, "iss": "us", "aud": "voice"}),
            0,
        ),
    ] {
        assert_eq!(with(&server, &token_with(&claims)).await, code, "{claims}");
    }
}

#[tokio::test]
async fn every_algorithm_by_its_own_key_alone() {
    let ec = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let ed = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let mut settings = settings();
    let rsa_public = include_bytes!("rsa-public.pem");
    settings.keys = vec![
        TokenKey::hs256(Some("hs".into()), SECRET).unwrap(),
        TokenKey::public(Some("rs".into()), "RS256", rsa_public).unwrap(),
        TokenKey::public(Some("es".into()), "ES256", ec.public_key_pem().as_bytes()).unwrap(),
        TokenKey::public(Some("ed".into()), "EdDSA", ed.public_key_pem().as_bytes()).unwrap(),
    ];
    let server = start(settings).await;
    let claims = json!({"user": "all", "iat": NOW / 1000});
    let keys = [
        (Algorithm::HS256, "hs", EncodingKey::from_secret(SECRET)),
        (
            Algorithm::RS256,
            "rs",
            EncodingKey::from_rsa_pem(include_bytes!("rsa-private.pem")).unwrap(),
        ),
        (
            Algorithm::ES256,
            "es",
            EncodingKey::from_ec_pem(ec.serialize_pem().as_bytes()).unwrap(),
        ),
        (
            Algorithm::EdDSA,
            "ed",
            EncodingKey::from_ed_pem(ed.serialize_pem().as_bytes()).unwrap(),
        ),
    ];
    for (algorithm, kid, key) in &keys {
        for named in [None, Some("hs"), Some("rs"), Some("es"), Some("ed")] {
            let header = Header {
                kid: named.map(Into::into),
                ..Header::new(*algorithm)
            };
            let token = encode(&header, &claims, key).unwrap();
            let good = named.is_none_or(|named| named == *kid);
            assert_eq!(
                with(&server, &token).await,
                if good { 0 } else { 13 },
                "{algorithm:?} {named:?}"
            );
        }
    }
    // The public key is public: it must not pass as an HMAC secret.
    for (kid, public) in [
        ("rs", rsa_public.to_vec()),
        ("es", ec.public_key_pem().into_bytes()),
    ] {
        for kid in [json!(kid), json!(null)] {
            let header = json!({"alg": "HS256", "kid": kid});
            assert_eq!(with(&server, &forged(&header, &claims, &public)).await, 13);
        }
    }
}

#[test]
fn keys_that_are_none_are_refused_at_start() {
    assert!(TokenKey::hs256(None, &SECRET[..31]).is_err());
    assert!(TokenKey::public(None, "RS256", b"nonsense").is_err());
    assert!(TokenKey::public(None, "HS512", b"nonsense").is_err());
    let ec384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    assert!(TokenKey::public(None, "ES256", ec384.public_key_pem().as_bytes()).is_err());
    let ed = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    assert!(TokenKey::public(None, "ES256", ed.public_key_pem().as_bytes()).is_err());
    assert!(TokenKey::public(None, "EdDSA", ec384.public_key_pem().as_bytes()).is_err());
}

#[tokio::test]
async fn signed_requests() {
    let server = start(settings()).await;
    let ts = NOW / 1000;
    let text = format!("POST\n{VIEW}\ncustomer_id=1&note=a%20b%2Fc&ts={ts}");
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SIGNING), text.as_bytes());
    let sign: String = tag
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let body = format!("note=a+b%2fc&sign={sign}&customer_id=1&ts={ts}");
    assert_eq!(server.post("signing", VIEW, &body).await.status(), 0);
    // The prefix is not signed; parameters in the query are.
    let query = format!("/axiata{VIEW}?ts={ts}&note=a%20b/c");
    let rest = format!("customer_id=1&sign={sign}");
    assert_eq!(server.post("signing", &query, &rest).await.status(), 0);
    let other = body.replace("customer_id=1", "customer_id=2");
    for body in [other.as_str(), "customer_id=1", &body.replace(&sign, "00")] {
        assert_eq!(server.post("signing", VIEW, body).await.status(), 7);
    }
    server.clock.put(NOW + 301_000);
    assert_eq!(server.post("signing", VIEW, &body).await.status(), 7);
    // The signature comes before the parameters, and clients without a secret need none.
    assert_eq!(
        server.post("signing", VIEW, "customer_id=x").await.status(),
        7
    );
    assert_eq!(
        server
            .post("all", VIEW, "customer_id=1&sign=nonsense")
            .await
            .status(),
        0
    );
}

#[tokio::test]
async fn a_reload_does_not_fill_the_bucket() {
    let server = start(settings()).await;
    for _ in 0..2 {
        assert_eq!(with(&server, &token("slow")).await, 0);
    }
    server.api.reload(settings());
    assert_eq!(with(&server, &token("slow")).await, 100);
    assert_eq!(with(&server, &token("all")).await, 0, "a bucket each");
}
