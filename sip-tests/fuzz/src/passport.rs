//! Identity headers and the certificates behind them: what is read stands in the header, what we
//! sign is believed, and nothing that was changed is.

use super::steps::Steps;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use leasebridge::domain::{Attestation, E164, Passport, Verdict};
use leasebridge::sip::passport::{Claims, Credential, Roots, Signer, certificates, payload, read};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, IsCa, KeyPair};
use std::sync::LazyLock;
use std::time::Duration;

/// The key of RFC 8225 Appendix A, in PKCS #8.
const KEY: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgV5nVHbTxAK9y7ka5
jIx8bhbuwfib33/t4dIMul1iWUWhRANCAATwc1tB39Oa8IrA8oeQwX19Jxq8Z4fv
xhNTyotLwjkcsdJKaUBMtyyVAyE0L86GVYFgLrbqciWjtd55thLtJvfu
-----END PRIVATE KEY-----
";
const URL: &str = "https://a/b";
const NOW: u64 = 1_443_208_345;
const AGE: u64 = 60;
const TN_AUTH_LIST: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 1, 26];
/// A list with a service provider code, which stands for all numbers.
const PROVIDER: &[u8] = b"\x30\x08\xA0\x06\x16\x041234";
/// Most header fields, and entries of a list, of one input.
const MOST: usize = 12;
/// Longest URL, origin, and list of numbers called.
const LONGEST: (usize, usize, usize) = (1024, 64, 32);
const NUMBERS: [&str; 4] = [
    "12155550121",
    "12155550131",
    "4930123456",
    "999999999999999",
];
const ATTESTATIONS: [Attestation; 3] = [
    Attestation::Full,
    Attestation::Partial,
    Attestation::Gateway,
];
/// Seconds that a passport is away from the clock.
const AWAY: [i64; 6] = [0, 60, 61, -60, -61, 1_000_000];

static ROOT: LazyLock<CertifiedIssuer<'static, KeyPair>> = LazyLock::new(|| {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
});
static ROOTS: LazyLock<Roots> = LazyLock::new(|| Roots::from_pem(&ROOT.as_ref().pem()).unwrap());
static SIGNER: LazyLock<Signer> = LazyLock::new(|| Signer::new(KEY, URL, None).unwrap());
static PAIR: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::from_pem(KEY).unwrap());
static CREDENTIAL: LazyLock<Credential> = LazyLock::new(|| listed(PROVIDER).unwrap());

pub fn run(input: &[u8]) {
    let mut steps = Steps::new(input);
    match steps.byte() % 5 {
        0 => fields(&mut steps),
        1 => parts(&mut steps),
        2 => signed(&mut steps),
        3 => raw(&mut steps),
        _ => list(&mut steps),
    }
}

/// A text of the input without what no header value of a message holds.
fn value(steps: &mut Steps<'_>) -> String {
    let text = String::from_utf8_lossy(steps.text());
    text.replace(['\r', '\n', '\0'], " ").trim().to_owned()
}

/// Header fields as they come.
fn fields(steps: &mut Steps<'_>) {
    let mut values = Vec::new();
    while !steps.is_over() && values.len() < MOST {
        values.push(value(steps));
    }
    judged(&values, NOW);
    for value in &values {
        let _ = payload(value.as_bytes());
    }
}

/// A field whose JSON is the input's.
fn parts(steps: &mut Steps<'_>) {
    let (header, claims, parameters) = (steps.text(), steps.text(), value(steps));
    let signature = BASE64.encode([7; 64]);
    let value = format!(
        "{}.{}.{signature}{parameters}",
        BASE64.encode(header),
        BASE64.encode(claims)
    );
    assert_eq!(payload(value.as_bytes()).as_deref(), Some(claims));
    judged(&[value], NOW);
}

/// Reads fields; whatever is read stands in one of them, and no signature of it is ours.
fn judged(values: &[String], now: u64) {
    let all = || values.iter().map(String::as_str);
    match read(all(), now, Duration::from_secs(AGE)) {
        Ok(passport) => {
            sound(&passport);
            let token = token(&passport);
            // Its other fields took no part in it.
            let is_it = |value: &str| {
                let alone = read([value].into_iter(), now, Duration::from_secs(AGE));
                value.trim_start().starts_with(&token) && alone.as_ref() == Ok(&passport)
            };
            assert!(all().any(is_it), "a passport that nobody sent");
            let much_later = read(all(), now + 3 * AGE, Duration::from_secs(AGE));
            assert_eq!(much_later, Err(Verdict::Stale));
            assert_ne!(CREDENTIAL.check(&passport, now), Verdict::Untrusted);
        }
        Err(verdict) => assert!(
            matches!(
                verdict,
                Verdict::Missing | Verdict::Invalid | Verdict::Stale
            ),
            "{verdict:?} without a certificate"
        ),
    }
}

fn token(passport: &Passport) -> String {
    format!("{}.{}", passport.signed, BASE64.encode(passport.signature))
}

fn sound(passport: &Passport) {
    assert!(is_number(&passport.orig));
    assert!((1..=LONGEST.2).contains(&passport.dest.len()));
    assert!(passport.dest.iter().all(|dest| is_number(dest)));
    assert!(passport.certificate.len() <= LONGEST.0);
    assert!(passport.origin.len() <= LONGEST.1);
    assert!(passport.origin.bytes().all(|byte| byte.is_ascii_graphic()));
    assert_eq!(passport.signed.matches('.').count(), 1);
}

fn is_number(text: &str) -> bool {
    (1..=15).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A passport of ours, as it is and with another text in it.
fn signed(steps: &mut Steps<'_>) {
    let claims = Claims {
        attestation: steps.pick(&ATTESTATIONS),
        orig: E164::from_digits(steps.pick(&NUMBERS)).expect("a number"),
        dest: E164::from_digits(steps.pick(&NUMBERS)).expect("a number"),
        call: uuid::Uuid::from_u128(u128::from(steps.byte())),
        issued_at: NOW.saturating_add_signed(steps.pick(&AWAY)),
    };
    let ours = SIGNER.sign(&claims);
    let age = Duration::from_secs(AGE);
    let genuine = read([&*ours].into_iter(), claims.issued_at, age).expect("ours is not read");
    assert!(ours.starts_with(&token(&genuine)));
    let same = genuine.attestation == Some(claims.attestation)
        && *genuine.orig == *claims.orig.digits()
        && genuine.dest.len() == 1
        && *genuine.dest[0] == *claims.dest.digits()
        && *genuine.origin == *claims.call.to_string()
        && *genuine.certificate == *URL;
    assert!(same, "{claims:?} became {genuine:?}");
    let is_stale = claims.issued_at.abs_diff(NOW) > AGE;
    let at_hand = read([&*ours].into_iter(), NOW, age);
    assert_eq!(at_hand.err(), is_stale.then_some(Verdict::Stale));
    let from = (usize::from(steps.byte()) * 3) % (ours.len() + 1);
    let to = (from + usize::from(steps.byte() % 100)).min(ours.len());
    let mut changed = ours.clone().into_bytes();
    changed.splice(from..to, value(steps).into_bytes());
    let changed = String::from_utf8_lossy(&changed);
    if let Ok(passport) = read([&*changed].into_iter(), NOW, age) {
        sound(&passport);
        if CREDENTIAL.check(&passport, NOW) == Verdict::Valid {
            assert_eq!(passport, genuine, "what nobody signed is valid");
        }
    }
}

/// A fetched body: it is a chain or none, and leads to no root of ours.
fn raw(steps: &mut Steps<'_>) {
    let body = steps.rest();
    let _ = payload(body);
    let chain = certificates(body);
    assert!(chain.len() <= 8);
    let result = Credential::from_chain(&chain, &ROOTS, NOW);
    assert_eq!(result.err(), Some(Verdict::Untrusted));
    // Behind a certificate that needs no other it does no harm.
    let mut chain = certificates(&certified(PROVIDER));
    chain.extend(certificates(body).into_iter().take(7));
    assert!(Credential::from_chain(&chain, &ROOTS, NOW).is_ok());
}

/// The credential of our key with this list.
fn listed(list: &[u8]) -> Result<Credential, Verdict> {
    Credential::from_chain(&certificates(&certified(list)), &ROOTS, NOW)
}

/// A certificate of our key with this list, in DER.
fn certified(list: &[u8]) -> Vec<u8> {
    let mut params = CertificateParams::default();
    let list = CustomExtension::from_oid_content(TN_AUTH_LIST, list.to_vec());
    params.custom_extensions.push(list);
    let leaf = params.signed_by(&*PAIR, &*ROOT).unwrap();
    leaf.der().to_vec()
}

/// One entry of a list: `None` for a provider's code, else the first number and how many.
type Entry = Option<(&'static str, u64)>;

/// The numbers that a certificate is for: any bytes, or entries and what they come to.
fn list(steps: &mut Steps<'_>) {
    if steps.below(2) == 0 {
        if let Ok(credential) = listed(steps.rest()) {
            let provider = credential.provider();
            assert!(provider.len() <= 32 && provider.bytes().all(|byte| byte.is_ascii_graphic()));
            for number in NUMBERS {
                covers(&credential, number);
            }
        }
        return;
    }
    let (mut entries, mut der) = (Vec::<Entry>::new(), Vec::new());
    while !steps.is_over() && entries.len() < MOST {
        let (kind, number) = (steps.byte() % 3, steps.pick(&NUMBERS));
        let string = element(0x16, number.as_bytes());
        match kind {
            0 => {
                entries.push(None);
                der.extend(element(0xA0, &string));
            }
            1 => {
                entries.push(Some((number, 1)));
                der.extend(element(0xA2, &string));
            }
            _ => {
                let count = u64::from(steps.byte() & 0x7f);
                let range = [string, element(0x02, &[count.to_be_bytes()[7]])].concat();
                entries.push(Some((number, count)));
                der.extend(element(0xA1, &element(0x30, &range)));
            }
        }
    }
    let Ok(credential) = listed(&element(0x30, &der)) else {
        assert!(entries.is_empty(), "{entries:?} are refused");
        return;
    };
    let others = ["12155550122", "2155550121", "012155550121"];
    for number in NUMBERS.into_iter().chain(others) {
        let value: u64 = number.parse().expect("digits");
        let is_covered = entries.iter().any(|entry| match entry {
            None => true,
            Some((first, count)) => {
                let from: u64 = first.parse().expect("digits");
                first.len() == number.len() && (from..from + count).contains(&value)
            }
        });
        assert_eq!(
            covers(&credential, number),
            is_covered,
            "{number} by {entries:?}"
        );
    }
}

/// Whether a credential is for a number: one that it is not for is not even verified.
fn covers(credential: &Credential, number: &str) -> bool {
    let passport = Passport {
        certificate: URL.into(),
        signed: "a.b".into(),
        signature: [7; 64],
        orig: number.into(),
        dest: vec![number.into()],
        attestation: None,
        origin: "".into(),
    };
    match credential.check(&passport, NOW) {
        Verdict::Untrusted => false,
        Verdict::Invalid => true,
        other => panic!("a signature that is none is {other:?}"),
    }
}

/// An element of DER, no longer than two octets can tell.
fn element(tag: u8, value: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(value.len())
        .expect("a short value")
        .to_be_bytes();
    let mut bytes = match value.len() {
        0..0x80 => vec![tag, low],
        0x80..0x100 => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    bytes.extend_from_slice(value);
    bytes
}
