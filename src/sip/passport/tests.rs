use super::authority::Authority;
use super::*;
use crate::domain::{Attestation, E164, Passport, Verdict};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use std::time::Duration;

/// The key of RFC 8225 Appendix A.
pub(crate) const KEY: &str = "-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIFeZ1R208QCvcu5GuYyMfG4W7sH4m99/7eHSDLpdYllFoAoGCCqGSM49
AwEHoUQDQgAE8HNbQd/TmvCKwPKHkMF9fScavGeH78YTU8qLS8I5HLHSSmlATLcs
lQMhNC/OhlWBYC626nIlo7XeebYS7Sb37g==
-----END EC PRIVATE KEY-----
";
const URL: &str = "https://cert.example.org/passport.cer";
const AGE: Duration = Duration::from_secs(60);
const NOW: u64 = 1_443_208_345;
const TN_AUTH_LIST: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 1, 26];
/// A list with the service provider code `1234`.
pub(crate) const SPC_1234: &[u8] = &[0x30, 8, 0xA0, 6, 0x16, 4, b'1', b'2', b'3', b'4'];

fn number(digits: &str) -> E164 {
    E164::from_digits(digits).unwrap()
}

/// The claims of RFC 8588 §4.
fn claims() -> Claims {
    Claims {
        attestation: Attestation::Full,
        orig: number("12155550121"),
        dest: number("12155550131"),
        call: "123e4567-e89b-12d3-a456-426655440000".parse().unwrap(),
        issued_at: NOW,
    }
}

fn signer() -> Signer {
    Signer::new(KEY, URL, None).unwrap()
}

fn read_one(value: &str) -> Result<Box<Passport>, Verdict> {
    read(std::iter::once(value), NOW, AGE)
}

/// An Identity header of these parts, with a signature that is none.
fn made(header: &str, payload: &str, parameters: &str) -> String {
    let (header, payload) = (BASE64.encode(header), BASE64.encode(payload));
    let signature = BASE64.encode([7; 64]);
    format!("{header}.{payload}.{signature}{parameters}")
}

const HEADER: &str = r#"{"alg":"ES256","ppt":"shaken","typ":"passport","x5u":"https://a/b"}"#;
const PAYLOAD: &str = r#"{"attest":"B","dest":{"tn":["12155550131"]},"iat":1443208345,"orig":{"tn":"12155550121"},"origid":"x"}"#;
const PARAMETERS: &str = ";info=<https://a/b>;alg=ES256;ppt=\"shaken\"";

/// The example and the key of RFC 8225 Appendix A, signed by Python's `cryptography`: the signature
/// printed there is not of the key printed there.
#[test]
fn the_example_of_rfc_8225_verifies() {
    let token = concat!(
        "eyJhbGciOiJFUzI1NiIsInR5cCI6InBhc3Nwb3J0IiwieDV1IjoiaHR0cHM6Ly9j",
        "ZXJ0LmV4YW1wbGUub3JnL3Bhc3Nwb3J0LmNlciJ9.",
        "eyJkZXN0Ijp7InVyaSI6WyJzaXA6YWxpY2VAZXhhbXBsZS5jb20iXX0sImlhdCI",
        "6MTQ3MTM3NTQxOCwib3JpZyI6eyJ0biI6IjEyMTU1NTUxMjEyIn19.",
        "9auQgLFXwkEGJz2WFyV_Mhz7Bammjy7FuJHDh25QqzR6GDYjLVknQcnZMNPoBOG",
        "qlv6tbC2B5cSObdU-m5cDDA"
    );
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let mut passport = Passport {
        certificate: URL.into(),
        signed: signed.into(),
        signature: BASE64.decode(signature).unwrap().try_into().unwrap(),
        orig: "12155551212".into(),
        dest: vec![],
        attestation: None,
        origin: "".into(),
    };
    let credential = believed(SPC_1234);
    assert_eq!(credential.check(&passport, now()), Verdict::Valid);
    passport.signature[40] ^= 1;
    assert_eq!(credential.check(&passport, now()), Verdict::Invalid);
}

#[test]
fn the_claims_of_rfc_8588_are_written_as_it_writes_them() {
    let value = signer().sign(&claims());
    let mut parts = value.split(['.', ';']);
    let mut decoded = || String::from_utf8(BASE64.decode(parts.next().unwrap()).unwrap()).unwrap();
    assert_eq!(
        decoded(),
        r#"{"alg":"ES256","ppt":"shaken","typ":"passport","x5u":"https://cert.example.org/passport.cer"}"#
    );
    assert_eq!(
        decoded(),
        r#"{"attest":"A","dest":{"tn":["12155550131"]},"iat":1443208345,"orig":{"tn":"12155550121"},"origid":"123e4567-e89b-12d3-a456-426655440000"}"#
    );
    assert!(
        value.ends_with(";info=<https://cert.example.org/passport.cer>;alg=ES256;ppt=\"shaken\"")
    );
    // RFC 6979: nothing is left to chance.
    assert_eq!(value, signer().sign(&claims()));
    assert_eq!(format!("{:?}", signer()), format!("Signer({URL})"));
}

#[test]
fn what_is_signed_is_read_and_verified() {
    let passport = read_one(&signer().sign(&claims())).unwrap();
    assert_eq!(&*passport.orig, "12155550121");
    assert_eq!(passport.dest, [Box::<str>::from("12155550131")]);
    assert_eq!(passport.attestation, Some(Attestation::Full));
    assert_eq!(&*passport.origin, "123e4567-e89b-12d3-a456-426655440000");
    assert_eq!(&*passport.certificate, URL);
    let credential = believed(SPC_1234);
    assert_eq!(credential.check(&passport, now()), Verdict::Valid);
    assert_eq!(credential.provider(), "1234");
    // Another number under the same signature.
    let mut other = passport.clone();
    other.signed = other.signed.replacen('e', "f", 1).into();
    assert_eq!(credential.check(&other, now()), Verdict::Invalid);
    let one = Signer::new(KEY, URL, Some("00000000-0000-4000-8000-000000000000")).unwrap();
    let passport = read_one(&one.sign(&claims())).unwrap();
    assert_eq!(&*passport.origin, "00000000-0000-4000-8000-000000000000");
}

#[test]
fn keys_are_of_p_256_in_either_form() {
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    assert!(Signer::new(&pair.serialize_pem(), URL, None).is_ok());
    let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    for wrong in [&*p384.serialize_pem(), "", "-----BEGIN PRIVATE KEY-----"] {
        assert!(Signer::new(wrong, URL, None).is_err());
    }
    let (chain, _) = chain(SPC_1234, |_| {});
    assert!(signer().has_certificate(&chain));
    let other = Signer::new(&pair.serialize_pem(), URL, None).unwrap();
    assert!(!other.has_certificate(&chain));
    assert!(!other.has_certificate("nothing"));
}

#[test]
fn the_shaken_passport_counts_and_other_extensions_do_not() {
    let div = made(
        &HEADER.replace("shaken", "div"),
        PAYLOAD,
        ";info=<https://a/b>;ppt=div",
    );
    let shaken = made(HEADER, PAYLOAD, PARAMETERS);
    let plain = made(
        &HEADER.replace(r#""ppt":"shaken","#, ""),
        PAYLOAD,
        ";info=<https://a/b>;alg=ES256",
    );
    let read = |values: &[&str]| read(values.iter().copied(), NOW, AGE);
    assert_eq!(read(&[]), Err(Verdict::Missing));
    assert_eq!(read(&[&div]), Err(Verdict::Missing));
    assert!(read(&[&plain, &div]).is_ok());
    let passport = read(&[&div, &plain, &shaken]).unwrap();
    assert_eq!(passport.attestation, Some(Attestation::Partial));
}

#[test]
fn a_passport_is_fresh_for_its_time_in_both_directions() {
    for (iat, verdict) in [
        (NOW, None),
        (NOW - 60, None),
        (NOW + 60, None),
        (NOW - 61, Some(Verdict::Stale)),
        (NOW + 61, Some(Verdict::Stale)),
        (0, Some(Verdict::Stale)),
        (u64::MAX, Some(Verdict::Stale)),
    ] {
        let payload = PAYLOAD.replace("1443208345", &iat.to_string());
        let result = read_one(&made(HEADER, &payload, PARAMETERS));
        assert_eq!(result.err(), verdict, "{iat}");
    }
}

#[test]
fn what_does_not_agree_with_itself_is_invalid() {
    let valid = made(HEADER, PAYLOAD, PARAMETERS);
    assert!(read_one(&valid).is_ok());
    let signature = valid.split(['.', ';']).nth(2).unwrap();
    for wrong in [
        made(&HEADER.replace("ES256", "none"), PAYLOAD, PARAMETERS),
        made(&HEADER.replace("passport", "JWT"), PAYLOAD, PARAMETERS),
        made(
            &HEADER.replace("https://a/b", "https://a/c"),
            PAYLOAD,
            PARAMETERS,
        ),
        made(&HEADER.replace("shaken", "div"), PAYLOAD, PARAMETERS),
        made(HEADER, PAYLOAD, ";alg=ES256;ppt=shaken"),
        made(HEADER, PAYLOAD, ";info=<https://a/b>;alg=ES384;ppt=shaken"),
        made(HEADER, PAYLOAD, ";info=https://a/b;ppt=shaken"),
        made(HEADER, PAYLOAD, ";info;ppt=shaken"),
        made(HEADER, &PAYLOAD.replace("\"B\"", "\"D\""), PARAMETERS),
        made(HEADER, &PAYLOAD.replace("origid", "origin"), PARAMETERS),
        made(HEADER, &PAYLOAD.replace("12155550131", "alice"), PARAMETERS),
        made(HEADER, &PAYLOAD.replace("12155550121", ""), PARAMETERS),
        made(
            HEADER,
            &PAYLOAD.replace("[\"12155550131\"]", "[]"),
            PARAMETERS,
        ),
        made(
            HEADER,
            &PAYLOAD.replace("1443208345", "\"now\""),
            PARAMETERS,
        ),
        made(
            HEADER,
            &PAYLOAD.replace("{\"attest\"", "{\"iat\":1,\"attest\""),
            PARAMETERS,
        ),
        made(HEADER, &"[".repeat(2000), PARAMETERS),
        made(&"x".repeat(9000), PAYLOAD, PARAMETERS),
        // The compact form (RFC 8224 §4): nothing but a signature.
        format!("..{signature}{PARAMETERS}"),
        valid.replace(signature, "AAAA"),
        valid.replace(signature, &format!("{signature}=")),
        valid.replace(signature, ""),
        String::new(),
        ";;;".to_owned(),
    ] {
        assert_eq!(read_one(&wrong), Err(Verdict::Invalid), "{wrong}");
    }
}

#[test]
fn numbers_are_compared_in_canonical_form() {
    let payload = PAYLOAD.replace("12155550121", "+1 (215) 555-0121");
    let passport = read_one(&made(HEADER, &payload, PARAMETERS)).unwrap();
    assert_eq!(&*passport.orig, "12155550121");
}

// ---- certificates ----

pub(crate) fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_secs()
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let common = rcgen::DnType::CommonName;
    params.distinguished_name.push(common, name);
    params
}

/// A chain of the signer's certificate and an intermediate one, and its root, in PEM.
pub(crate) fn chain(list: &[u8], change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
    let key = || KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let root = CertifiedIssuer::self_signed(authority("root"), key()).unwrap();
    let middle = CertifiedIssuer::signed_by(authority("middle"), key(), &root).unwrap();
    let mut params = CertificateParams::default();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "SHAKEN 1234");
    if !list.is_empty() {
        let list = CustomExtension::from_oid_content(TN_AUTH_LIST, list.to_vec());
        params.custom_extensions.push(list);
    }
    change(&mut params);
    let der = p256::SecretKey::from_sec1_pem(KEY).unwrap();
    let pem = p256::pkcs8::EncodePrivateKey::to_pkcs8_pem(&der, Default::default()).unwrap();
    let leaf = params
        .signed_by(&KeyPair::from_pem(&pem).unwrap(), &middle)
        .unwrap();
    let chain = format!("{}{}", leaf.pem(), middle.as_ref().pem());
    (chain, root.as_ref().pem())
}

fn judged(list: &[u8], change: impl FnOnce(&mut CertificateParams)) -> Result<Credential, Verdict> {
    let (chain, root) = chain(list, change);
    let roots = Roots::from_pem(&root).unwrap();
    Credential::from_chain(&certificates(chain.as_bytes()), &roots, now())
}

fn believed(list: &[u8]) -> Credential {
    judged(list, |_| {}).unwrap()
}

#[test]
fn a_certificate_must_lead_to_a_root_in_its_time() {
    assert!(judged(SPC_1234, |_| {}).is_ok());
    // Another root.
    let (chain_one, _) = chain(SPC_1234, |_| {});
    let (_, other) = chain(SPC_1234, |_| {});
    let roots = Roots::from_pem(&other).unwrap();
    let chain_one = certificates(chain_one.as_bytes());
    let result = Credential::from_chain(&chain_one, &roots, now());
    assert_eq!(result.err(), Some(Verdict::Untrusted));
    // Without the certificate between, or any at all.
    let result = Credential::from_chain(&chain_one[..1], &roots, now());
    assert_eq!(result.err(), Some(Verdict::Untrusted));
    let result = Credential::from_chain(&[], &roots, now());
    assert_eq!(result.err(), Some(Verdict::Untrusted));
    // Over, or not begun.
    let over = |params: &mut CertificateParams| params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    assert_eq!(judged(SPC_1234, over).err(), Some(Verdict::Untrusted));
    let early =
        |params: &mut CertificateParams| params.not_before = rcgen::date_time_ymd(2100, 1, 1);
    assert_eq!(judged(SPC_1234, early).err(), Some(Verdict::Untrusted));
    // It was good when it was fetched, and is over now.
    let passport = read_one(&signer().sign(&claims())).unwrap();
    assert_eq!(
        believed(SPC_1234).check(&passport, u64::MAX),
        Verdict::Untrusted
    );
}

#[test]
fn a_certificate_is_for_telephone_numbers() {
    assert_eq!(judged(&[], |_| {}).err(), Some(Verdict::Untrusted));
    assert_eq!(judged(&[0x30, 0], |_| {}).err(), Some(Verdict::Untrusted));
    let usage =
        |params: &mut CertificateParams| params.key_usages = vec![KeyUsagePurpose::KeyAgreement];
    assert_eq!(judged(SPC_1234, usage).err(), Some(Verdict::Untrusted));
    let web = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    };
    assert_eq!(judged(SPC_1234, web).err(), Some(Verdict::Untrusted));
    let authority = |params: &mut CertificateParams| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    };
    assert_eq!(judged(SPC_1234, authority).err(), Some(Verdict::Untrusted));
}

#[test]
fn a_certificate_without_a_provider_covers_its_own_numbers_only() {
    // One number; and ten from 12155550120.
    let one = b"\x30\x0F\xA2\x0D\x16\x0B12155550121";
    let ten = b"\x30\x14\xA1\x12\x30\x10\x16\x0B12155550120\x02\x01\x0A";
    let passport = read_one(&signer().sign(&claims())).unwrap();
    for list in [&one[..], &ten[..]] {
        let credential = believed(list);
        assert_eq!(credential.provider(), "");
        assert_eq!(credential.check(&passport, now()), Verdict::Valid);
        for orig in ["12155550131", "2155550121", "121555501210"] {
            let mut other = passport.clone();
            other.orig = orig.into();
            assert_eq!(
                credential.check(&other, now()),
                Verdict::Untrusted,
                "{orig}"
            );
        }
    }
}

#[test]
fn roots_and_chains_are_pem() {
    assert!(Roots::from_pem("").is_err());
    assert!(
        Roots::from_pem("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").is_err()
    );
    let (pem, _) = chain(SPC_1234, |_| {});
    let two = certificates(pem.as_bytes());
    assert_eq!(two.len(), 2);
    // A single one in DER is understood too.
    assert_eq!(certificates(&two[0]), [two[0].clone()]);
    assert!(certificates(b"<html>").is_empty());
    assert!(certificates(pem.repeat(5).as_bytes()).is_empty());
}

proptest! {
    #[test]
    fn no_identity_makes_it_panic(value in "[ -~]{0,300}", bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = read_one(&value);
        let _ = read_one(&made(&value, &value, PARAMETERS));
        let _ = read_one(&made(HEADER, &value, PARAMETERS));
        let _ = payload(&bytes);
        let _ = payload(value.as_bytes());
        let _ = certificates(&bytes);
        let _ = Authority::parse(&bytes);
    }

    #[test]
    fn no_change_of_a_passport_makes_it_panic(at in any::<prop::sample::Index>(), byte in 32u8..127) {
        let mut value = made(HEADER, PAYLOAD, PARAMETERS).into_bytes();
        let at = at.index(value.len());
        value[at] = byte;
        let _ = read_one(std::str::from_utf8(&value).unwrap());
    }

    #[test]
    fn no_authority_list_makes_it_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut list = b"\x30\x14\xA1\x12\x30\x10\x16\x0B12155550120\x02\x01\x0A".to_vec();
        let at = at.index(list.len());
        list[at] = byte;
        if let Some(authority) = Authority::parse(&list) {
            let _ = authority.covers("12155550121");
        }
    }
}
