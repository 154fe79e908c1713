//! The floor of the API's figures: warp, one form, one HS256 token check, one JSON answer, nothing
//! behind it. `floor PORT SECRET`.

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::{Deserialize, Serialize};
use warp::Filter as _;

#[derive(Deserialize)]
#[allow(dead_code)]
struct Claims {
    user: String,
    iat: u64,
}

#[derive(Deserialize)]
struct Form {
    customer_id: String,
    phone: String,
    expiry_value: u32,
}

#[derive(Serialize)]
struct Answer {
    status: u16,
    description: &'static str,
    reference_id: String,
    customer_id: String,
    phone: String,
    expiry_value: u32,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let port: u16 = arguments.next().and_then(|text| text.parse().ok()).expect("a port");
    let secret = arguments.next().expect("a secret");
    let key = DecodingKey::from_secret(secret.as_bytes());
    let mut validation = Validation::new(Algorithm::HS256);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    let route = warp::post()
        .and(warp::path!("api" / "v1" / "leasesingle" / "request"))
        .and(warp::header::<String>("authorization"))
        .and(warp::body::content_length_limit(16 << 10))
        .and(warp::body::form::<Form>())
        .map(move |header: String, form: Form| {
            let token = header.strip_prefix("Bearer ").unwrap_or("");
            let status = u16::from(decode::<Claims>(token, &key, &validation).is_err()) * 13;
            warp::reply::json(&Answer {
                status,
                description: "Success",
                reference_id: "00000000-0000-0000-0000-000000000000".to_owned(),
                customer_id: form.customer_id,
                phone: form.phone,
                expiry_value: form.expiry_value,
            })
        });
    warp::serve(route).run(([127, 0, 0, 2], port)).await;
}
