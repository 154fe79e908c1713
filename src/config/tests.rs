//! The file as operators meet it: what is read, what is refused and how, and that
//! `config/leasebridge.toml` tells the truth.

use super::keys::KEYS;
use super::*;
use crate::domain::srtp::Srtp;
use std::collections::BTreeSet;
use std::time::Duration;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn parse_under(text: &str, descriptor_limit: Option<u64>) -> Result<Config, Faults> {
    let environment = Environment {
        variable: &|name| match name {
            "SECRET" => Some(SECRET.to_owned()),
            "SHORT" => Some("hunter2".to_owned()),
            "PORT" => Some("notanumber-hunter2".to_owned()),
            "CALLS" => Some("7".to_owned()),
            "SOURCES" => Some("192.0.2.1, 192.0.2.128/25".to_owned()),
            _ => None,
        },
        file: &|path| match path.to_str() {
            Some("/secret") => Ok(format!("{SECRET}\n")),
            Some("/cert.pem" | "/ca.pem") => Ok(certificate().0),
            Some("/key.pem") => Ok(certificate().1),
            Some("/other.pem") => Ok(rcgen::KeyPair::generate().unwrap().serialize_pem()),
            _ => Err("no such file".to_owned()),
        },
        descriptor_limit,
    };
    Config::parse("test.toml", text, &environment)
}

fn certificate() -> (String, String) {
    static MADE: std::sync::OnceLock<(String, String)> = std::sync::OnceLock::new();
    let make = || {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    };
    MADE.get_or_init(make).clone()
}

fn parse(text: &str) -> Result<Config, Faults> {
    parse_under(text, None)
}

/// The faults of `text`, one a line.
fn faults(text: &str) -> String {
    parse(text).expect_err("no fault was found").to_string()
}

fn assert_fault(text: &str, expected: &str) {
    let found = faults(text);
    assert!(
        found.contains(expected),
        "expected {expected:?} in:\n{found}"
    );
}

const TRUNKS: &str = "
[[trunk]]
name = \"in\"
direction = \"inbound\"
sources = [\"192.0.2.0/24\"]
[[trunk]]
name = \"out\"
direction = \"outbound\"
target = \"sip:192.0.2.9:5070;transport=udp\"
";

#[test]
fn a_trunk_with_a_faulty_name_or_direction_tells_its_other_faults_too() {
    for head in [
        "name = \"carrier in\"\ndirection = \"inbound\"",
        "name = \"carrier\"\ndirection = \"in\"",
    ] {
        let found = faults(&format!(
            "[[trunk]]\n{head}\ntrusted = \"yes\"\nmax_calls = -1\n"
        ));
        for key in ["trusted", "max_calls"] {
            assert!(found.contains(key), "no {key} in:\n{found}");
        }
        let sources = found.contains("sources: missing");
        assert_eq!(sources, head.contains("inbound"), "{found}");
    }
}

#[test]
fn an_empty_file_is_all_defaults() {
    let config = parse("").unwrap();
    assert_eq!(config, Config::defaults().unwrap());
    assert_eq!(config.http.rate_limit, 200);
    assert_eq!(config.http.path_prefixes, ["", "/axiata"]);
    assert_eq!(config.leases.max_per_phone, 100);
    assert_eq!(config.leases.max_whitelist, 10);
    assert_eq!(
        config.leases.max_duration,
        Duration::from_secs(5 * 365 * 86_400)
    );
    assert_eq!(config.numbering.timezone, chrono_tz::Tz::UTC);
    assert_eq!(config.numbering.allowed_targets, ["*"]);
    assert_eq!(config.media.timeout, Some(Duration::from_secs(60)));
    assert_eq!((config.calls.no_lease, config.calls.no_credit), (404, 480));
    assert!(!config.sip.refuse_unknown);
}

/// The example of the operator's page.
#[test]
fn the_published_example_is_read() {
    let text = include_str!("tests/example.toml").replace("LEASEBRIDGE_JWT_SECRET", "SECRET");
    let config = parse(&text).unwrap();
    assert_eq!(config.node.name, "gw1");
    assert_eq!(config.trunks.len(), 2);
    let [inbound, outbound] = &config.trunks[..] else {
        panic!("two trunks")
    };
    assert_eq!(inbound.direction, Direction::Inbound);
    assert!(inbound.trusted);
    let target = outbound.target.as_ref().unwrap();
    assert_eq!(
        (target.host.as_str(), target.port),
        ("127.0.0.1", Some(5070))
    );
    assert_eq!(config.numbering.default_country.as_deref(), Some("MY"));
    assert_eq!(
        config.http.clients[0].scopes,
        [Scope::Lease, Scope::CustomerRead]
    );
    assert_eq!(config.http.keys[0].material.expose(), SECRET);
    assert_eq!(config.media.ports.ports(), 10_000);
}

#[test]
fn every_fault_is_reported_at_once_with_its_line() {
    let text = "[node]\ndrain_timeout = 30\ncolour = \"red\"\n[http]\nlisten = \"here\"\n\
                [calls]\nno_lease = 500\n[nodes]\nname = \"x\"\n";
    let found = parse(text).unwrap_err();
    let lines: Vec<usize> = found.faults.iter().map(|fault| fault.line).collect();
    assert_eq!(lines, [2, 3, 5, 7, 8], "{found}");
    let text = found.to_string();
    assert!(
        text.contains("test.toml:2: node.drain_timeout: expected a duration"),
        "{text}"
    );
    assert!(text.contains("found 30"), "{text}");
    assert!(
        text.contains("test.toml:3: node.colour: unknown key; known here: data_dir"),
        "{text}"
    );
    assert!(
        text.contains("test.toml:7: calls.no_lease: expected one of 404, 410, 480"),
        "{text}"
    );
    assert!(
        text.contains("test.toml:8: nodes: unknown key; `node` was meant?"),
        "{text}"
    );
}

#[test]
fn broken_syntax_is_reported_by_line() {
    let found = parse("[node]\nname = \n[http]\nlisten = 8080\n").unwrap_err();
    assert!(
        found
            .faults
            .iter()
            .any(|fault| fault.line == 2 || fault.line == 3),
        "{found}"
    );
    let found = parse("[node\n").unwrap_err();
    assert_eq!(found.faults[0].line, 1, "{found}");
    assert!(!parse("a = 1\na = 2\n").unwrap_err().faults.is_empty());
}

#[test]
fn a_slip_is_answered_with_the_nearest_key() {
    assert_fault("[node]\ndatadir = \"x\"\n", "`data_dir` was meant?");
    assert_fault(
        &format!("{TRUNKS}wieght = 2\n"),
        "trunk.wieght: unknown key; `weight` was meant?",
    );
}

#[test]
fn tables_and_values_are_not_mixed_up() {
    assert_fault("node = 3\n", "node: expected a table, found integer");
    assert_fault("trunk = [1]\n", "trunk: expected a table");
    assert_fault("[node.name]\nx = 1\n", "node.name: expected a name");
}

#[test]
fn values_come_from_the_environment_and_from_files() {
    let key = |secret: &str| {
        let text =
            format!("[[http.keys]]\nkid = \"k\"\nalgorithm = \"HS256\"\nsecret = {secret}\n");
        parse(&text).unwrap().http.keys[0]
            .material
            .expose()
            .to_owned()
    };
    assert_eq!(key("{ env = \"SECRET\" }"), SECRET);
    assert_eq!(key("{ file = \"/secret\" }"), SECRET);
    let config = parse("[calls]\nper_lease = { env = \"CALLS\" }\n").unwrap();
    assert_eq!(config.calls.per_lease, 7);
    let text =
        "[[trunk]]\nname = \"in\"\ndirection = \"inbound\"\nsources = { env = \"SOURCES\" }\n";
    assert_eq!(parse(text).unwrap().trunks[0].sources.len(), 2);
    assert_fault(
        "[node]\nname = { env = \"NOWHERE\" }\n",
        "test.toml:2: node.name: the environment variable NOWHERE is not set",
    );
    assert_fault(
        "[node]\nname = { file = \"/nowhere\" }\n",
        "the file /nowhere cannot be read: no such file",
    );
}

#[test]
fn no_secret_is_ever_shown() {
    let text = "[http]\nlisten = { env = \"PORT\" }\n\
                [[http.keys]]\nkid = \"a\"\nalgorithm = \"HS256\"\nsecret = \"hunter2\"\n\
                [[http.keys]]\nkid = \"b\"\nalgorithm = \"HS256\"\nsecret = { env = \"SHORT\" }\n\
                [[http.clients]]\nname = \"c\"\nscopes = []\ncustomers = \"all\"\n\
                signing_secret = \"hunter2\"\n";
    let found = parse(text).unwrap_err();
    assert_eq!(found.faults.len(), 4, "{found}");
    assert!(!format!("{found} {found:?}").contains("hunter2"), "{found}");
    let text =
        format!("[[http.keys]]\nkid = \"a\"\nalgorithm = \"HS256\"\nsecret = \"{SECRET}\"\n");
    assert!(!format!("{:?}", parse(&text).unwrap()).contains(SECRET));
}

#[test]
fn keys_are_bound_to_their_algorithm() {
    let key = |algorithm: &str, rest: &str| {
        format!("[[http.keys]]\nkid = \"k\"\nalgorithm = \"{algorithm}\"\n{rest}\n")
    };
    assert_fault(&key("none", ""), "expected \"HS256\" or \"RS256\"");
    assert_fault(
        &key("HS256", "secret = \"short\""),
        "a secret of 32 bytes or more, not 5",
    );
    assert_fault(
        &key("HS265", "secret = \"short\""),
        "a secret of 32 bytes or more, not 5",
    );
    assert_fault(&key("HS256", ""), "http.keys \"k\" secret: missing");
    assert_fault(
        &key("HS256", "public_key = \"x\""),
        "an HS256 key has a `secret`",
    );
    assert_fault(
        &key("RS256", &format!("secret = \"{SECRET}\"")),
        "only an HS256 key has a `secret`",
    );
    assert_fault(
        &key("RS256", "public_key = \"x\""),
        "expected an RSA public key in PEM",
    );
    let twice = key("HS256", &format!("secret = \"{SECRET}\"")).repeat(2);
    assert_fault(&twice, "another key has this kid already");
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let pem = pair.public_key_pem();
    parse(&key("ES256", &format!("public_key = '''{pem}'''"))).unwrap();
    assert_fault(
        &key("EdDSA", &format!("public_key = '''{pem}'''")),
        "expected an Ed25519 public key",
    );
    let private = pair.serialize_pem();
    assert_fault(
        &key("ES256", &format!("public_key = '''{private}'''")),
        "expected an P-256 public key",
    );
}

#[test]
fn clients_say_who_they_are_and_for_whom() {
    let key = format!("[[http.keys]]\nkid = \"k\"\nalgorithm = \"HS256\"\nsecret = \"{SECRET}\"\n");
    let client = |rest: &str| format!("{key}[[http.clients]]\nname = \"c\"\n{rest}\n");
    let good = client(
        "scopes = [\"cdr\", \"lease\", \"cdr\"]\ncustomers = [2, 1, 2]\n\
         tokens_valid_from = 1970-01-01T00:01:00Z\nrate_limit = \"5/s\"",
    );
    let config = parse(&good).unwrap();
    let found = &config.http.clients[0];
    assert_eq!(found.scopes, [Scope::Lease, Scope::Cdr]);
    assert!(found.customers.allows(crate::domain::CustomerId(2)));
    assert!(!found.customers.allows(crate::domain::CustomerId(3)));
    assert_eq!(found.tokens_valid_from, Some(60));
    assert_eq!(found.rate_limit, Some(5));
    assert!(found.enabled);
    assert_fault(&client("customers = \"all\""), "scopes: missing");
    assert_fault(
        &client("scopes = [\"root\"]\ncustomers = \"all\""),
        "expected \"lease\" or",
    );
    assert_fault(
        &client("scopes = []\ncustomers = [0]"),
        "expected \"all\" or a list",
    );
    assert_fault(
        &client("scopes = []\ncustomers = \"all\"\ntokens_valid_from = \"soon\""),
        "a time",
    );
    assert_fault(
        &[
            client("scopes = []\ncustomers = \"all\""),
            client("scopes = []\ncustomers = \"all\""),
        ]
        .concat()
        .replacen("kid = \"k\"", "kid = \"j\"", 1),
        "another client has this name already",
    );
    let lonely = "[[http.clients]]\nname = \"c\"\nscopes = []\ncustomers = \"all\"\n";
    assert_fault(lonely, "no [[http.keys]]");
}

#[test]
fn trunks_need_what_their_direction_needs() {
    parse(TRUNKS).unwrap();
    let trunk = |rest: &str| format!("[[trunk]]\nname = \"t\"\n{rest}\n");
    assert_fault(
        &trunk("direction = \"inbound\""),
        "trunk \"t\" sources: missing",
    );
    assert_fault(
        &trunk("direction = \"outbound\""),
        "trunk \"t\" target: missing",
    );
    assert_fault(&trunk(""), "trunk \"t\" direction: missing");
    assert_fault(
        "[[trunk]]\ndirection = \"outbound\"\n",
        "trunk[0] name: missing",
    );
    assert_fault(
        &trunk("direction = \"inbound\"\nsources = [\"10.0.0.1/8\"]"),
        "expected the block's first address (\"10.0.0.0/8\")",
    );
    assert_fault(
        &trunk("direction = \"outbound\"\ntarget = \"sip:a\"\nsources = [\"10.0.0.1\"]"),
        "an outbound trunk has none",
    );
    let twice = [TRUNKS, TRUNKS].concat();
    assert_fault(&twice, "another trunk has this name already");
    let shared = [
        TRUNKS,
        &TRUNKS
            .replace("\"in\"", "\"in2\"")
            .replace("\"out\"", "\"out2\""),
    ]
    .concat();
    assert_fault(&shared, "trunk \"in\" has 192.0.2.0/24 already");
    assert_fault(
        &trunk("direction = \"outbound\"\ntarget = \"tel:1\""),
        "a SIP URI",
    );
    assert_fault(
        &format!("{TRUNKS}weight = 0\n"),
        "expected an integer from 1 to 65535",
    );
}

#[test]
fn number_forms_are_read() {
    let form = |text: &str| {
        let text = format!("[numbering]\ndefault_country = \"MY\"\n{TRUNKS}numbers = {text}\n");
        parse(&text).map(|config| config.trunks[1].numbers.clone())
    };
    assert_eq!(form("\"+e164\"").unwrap(), NumberForm::PlusE164);
    assert_eq!(form("\"national\"").unwrap(), NumberForm::National);
    let prefix = NumberForm::Prefix {
        prefix: "9991".to_owned(),
        strip: 2,
    };
    assert_eq!(form("{ prefix = \"9991\", strip = 2 }").unwrap(), prefix);
    assert!(form("{ prefix = \"9991\", stripe = 2 }").is_err());
    for strip in [1, 3, 14] {
        let text = format!(
            "[numbering]\ndefault_country = \"MY\"\n{TRUNKS}numbers = {{ prefix = \"9\", strip = {strip} }}\n"
        );
        assert_fault(
            &text,
            "country code of numbering.default_country, +60: it is 2, or 0",
        );
    }
    assert_fault(
        &format!("{TRUNKS}numbers = {{ prefix = \"9991\", strip = 2 }}\n"),
        "trunk \"out\" numbers: strip needs numbering.default_country",
    );
    assert!(form("{ strip = 2 }").is_err());
    assert!(form("\"local\"").is_err());
    assert_fault(
        &format!("{TRUNKS}numbers = \"national\"\n"),
        "trunk \"out\" numbers: \"national\" needs numbering.default_country",
    );
}

const STREAMS: &str = "[sip]
listen = [\"udp:127.0.0.1:5060\", \"tcp:127.0.0.1:5060\", \"tls:127.0.0.1:5061\"]
tls = { cert = \"/cert.pem\", key = \"/key.pem\", client_ca = \"/ca.pem\" }
";

/// The target of a trunk with these lines.
fn streamed(lines: &str) -> Result<Trunk, Faults> {
    let trunk = "[[trunk]]\nname = \"out\"\ndirection = \"outbound\"\n";
    let config = parse(&format!("{STREAMS}{trunk}{lines}\n"))?;
    Ok(config.trunks[0].clone())
}

#[test]
fn a_targets_transport_is_its_own_then_the_trunks_then_its_schemes() {
    let target = |lines: &str| {
        let target = streamed(&format!("{lines}\ntls = {{ ca = \"/ca.pem\" }}"))
            .unwrap()
            .target
            .unwrap();
        (target.transport, target.port, target.secure)
    };
    use Transport::{Tcp, Tls, Udp};
    for (lines, expected) in [
        ("target = \"sip:a\"", (None, None, false)),
        ("target = \"sip:a;transport=tcp\"", (Some(Tcp), None, false)),
        ("target = \"sip:a;transport=tls\"", (Some(Tls), None, false)),
        ("target = \"sips:a\"", (Some(Tls), None, true)),
        (
            "target = \"sips:a:5062;transport=tcp\"",
            (Some(Tls), Some(5062), true),
        ),
        (
            "target = \"sip:a\"\ntransport = \"tcp\"",
            (Some(Tcp), None, false),
        ),
        (
            "target = \"sip:a;transport=udp\"\ntransport = \"udp\"",
            (Some(Udp), None, false),
        ),
    ] {
        assert_eq!(target(lines), expected, "{lines}");
    }
    let wrong = streamed("target = \"sips:a;transport=udp\"").unwrap_err();
    assert!(wrong.to_string().contains("\"sips:\" is TLS"), "{wrong}");
}

#[test]
fn what_tls_needs_is_told_at_once() {
    let fine = "target = \"sips:a\"\ntls = { ca = \"/ca.pem\", cert = \"/cert.pem\", key = \"/key.pem\", \
                server_name = \"b.example\" }";
    let tls = streamed(fine).unwrap().tls;
    assert_eq!(tls.server_name.as_deref(), Some("b.example"));
    assert!(tls.identity.is_some() && !tls.require_client_cert);
    for (lines, expected) in [
        (
            "target = \"sips:a\"",
            "tls.ca: missing: expected a file of authorities",
        ),
        (
            "target = \"sips:a\"\ntls = { ca = \"/nowhere\" }",
            "tls.ca: expected a readable file",
        ),
        (
            "target = \"sips:a\"\ntls = { ca = \"/ca.pem\", cert = \"/cert.pem\" }",
            "tls.key: missing",
        ),
        (
            "target = \"sips:a\"\ntls = { ca = \"/ca.pem\", key = \"/secret\", cert = \"/cert.pem\" }",
            "tls.key: expected a PEM file with a private key",
        ),
        (
            "target = \"sips:a\"\ntls = { ca = \"/ca.pem\", server_name = \"a b\" }",
            "tls.server_name: expected a host name",
        ),
    ] {
        let found = streamed(lines).unwrap_err().to_string();
        assert!(found.contains(expected), "{lines}: {found}");
    }
    assert_fault(
        "[sip]\nlisten = [\"tls:127.0.0.1:5061\"]",
        "sip.tls: missing: an address with \"tls:\" needs a certificate",
    );
    assert_fault(
        &certified("")
            .replace("ca = \"/ca.pem\", require", "require")
            .replace(", client_ca = \"/ca.pem\"", ""),
        "require_client_cert needs tls.ca",
    );
}

/// A trunk of both directions that must show a certificate, with these lines for its target.
fn certified(target: &str) -> String {
    format!(
        "{STREAMS}[[trunk]]\nname = \"t\"\ndirection = \"both\"\nsources = [\"192.0.2.1\"]\n{target}\n\
         tls = {{ ca = \"/ca.pem\", require_client_cert = true, peer_names = [\"PEER.test.\", \"192.0.2.1\"] }}\n"
    )
}

#[test]
fn a_trunk_that_must_show_a_certificate_is_of_tls_alone() {
    let config = parse(&certified("target = \"sips:192.0.2.1\"")).unwrap();
    let tls = &config.trunks[0].tls;
    assert!(tls.require_client_cert);
    // As the DNS compares them: no case, no dot at the end.
    assert_eq!(tls.peer_names, ["peer.test", "192.0.2.1"]);
    for target in [
        "target = \"sip:192.0.2.1\"",
        "target = \"sip:192.0.2.1\"\ntransport = \"udp\"",
        "target = \"sip:192.0.2.1;transport=tcp\"",
    ] {
        assert_fault(&certified(target), "so its target must say \"sips:\"");
    }
    let inbound = certified("").replace("\"both\"", "\"inbound\"");
    parse(&inbound).unwrap();
    let deaf = inbound.replace(", \"tls:127.0.0.1:5061\"", "");
    assert_fault(&deaf, "needs a \"tls:\" address in sip.listen");
}

/// What would have no effect is a mistake that its author has not noticed.
#[test]
fn settings_without_effect_are_refused() {
    let out = |lines: &str| {
        format!("{STREAMS}[[trunk]]\nname = \"t\"\ndirection = \"outbound\"\n{lines}\n")
    };
    let inbound = |lines: &str| {
        format!(
            "[[trunk]]\nname = \"t\"\ndirection = \"inbound\"\nsources = [\"192.0.2.1\"]\n{lines}\n"
        )
    };
    for (text, expected) in [
        (
            out("target = \"sips:a\"\ntls = { ca = \"/ca.pem\", peer_names = [\"a\"] }"),
            "trunk \"t\".tls.peer_names: goes with require_client_cert = true",
        ),
        (
            out("target = \"sips:a\"\ntls = { ca = \"/ca.pem\", require_client_cert = true }"),
            "require_client_cert: only a trunk that brings calls",
        ),
        (
            out("target = \"sip:a\"\nidentity = \"off\""),
            "trunk \"t\" identity: only a trunk that brings calls has one",
        ),
        (
            inbound("sign = false"),
            "trunk \"t\" sign: only a trunk that is given calls has one",
        ),
        (
            inbound("ring_timeout = \"9s\""),
            "trunk \"t\" ring_timeout: only a trunk that is given calls has one",
        ),
        (
            out("target = \"sip:a\"\nsign = true"),
            "trunk \"t\" sign: no [identity.sign]: nobody could sign",
        ),
        (
            out("target = \"sip:a;transport=tcp\"\ntransport = \"udp\""),
            "trunk \"t\" transport: \"udp\", and the target says \"tcp\"",
        ),
        (
            "[identity]\nfetch_hosts = [\"https://a.b/\"]\n".to_owned(),
            "identity.fetch_hosts: expected a host alone",
        ),
        (
            "[identity]\nfetch_hosts = [\"a.b:443\"]\n".to_owned(),
            "identity.fetch_hosts: expected a host alone",
        ),
        (
            STREAMS.replace(", \"tls:127.0.0.1:5061\"", ""),
            "sip.tls: no address of sip.listen begins with \"tls:\"",
        ),
    ] {
        let found = faults(&text);
        assert!(found.contains(expected), "{expected:?} is not in {found}");
        assert_eq!(found.lines().count(), 1, "{found}");
    }
    let hosts = "[identity]\nfetch_hosts = [\"a.b\", \"192.0.2.1\", \"[2001:db8::1]\"]\n";
    let hosts = parse(hosts).unwrap().identity.fetch_hosts;
    assert_eq!(hosts, ["a.b", "192.0.2.1", "2001:db8::1"]);
}

/// One mistake is one fault, whatever would follow from it.
#[test]
fn what_follows_from_a_fault_is_not_told() {
    for text in [
        format!("[sip]\nlisten = [\"upd:127.0.0.1:5060\"]\n{TRUNKS}"),
        "[sip]\nlisten = [\"udp:127.0.0.1:25060\"]\n[media]\nports = \"20000\"\n".to_owned(),
        "[identity]\npolicy = \"record\"\nroots = \"/none.pem\"\n".to_owned(),
        certified("")
            .replace("/ca.pem\", require", "/none.pem\", require")
            .replace("\"both\"", "\"inbound\"")
            .replace(", client_ca = \"/ca.pem\"", ""),
    ] {
        let found = parse_under(&text, Some(1_000)).unwrap_err();
        let found = found.to_string();
        let told = found.lines().filter(|line| !line.contains("descriptors"));
        assert_eq!(told.count(), 1, "{text}\n{found}");
    }
    assert_fault(
        "[sip]\nworkers =\n",
        "test.toml:2: workers: a value is missing",
    );
}

#[test]
fn a_target_is_no_address_of_ours() {
    let target = |uri: &str, listen: &str| {
        format!(
            "[sip]\nlisten = [{listen}]\nadvertised = \"203.0.113.5\"\n[[trunk]]\nname = \"t\"\n\
             direction = \"outbound\"\ntarget = \"{uri}\"\n"
        )
    };
    for (uri, listen) in [
        ("sip:127.0.0.1", "\"udp:127.0.0.1:5060\""),
        ("sip:127.0.0.1:5062;transport=tcp", "\"tcp:127.0.0.1:5062\""),
        ("sip:127.0.0.3:5060", "\"udp:0.0.0.0:5060\""),
        ("sip:203.0.113.5:5060", "\"udp:0.0.0.0:5060\""),
        ("sip:[::1]", "\"udp:[::]:5060\""),
    ] {
        assert_fault(
            &target(uri, listen),
            "trunk \"t\" target: this is our own sip.listen",
        );
    }
    for (uri, listen) in [
        ("sip:127.0.0.1:5070", "\"udp:127.0.0.1:5060\""),
        ("sip:127.0.0.2:5060", "\"udp:127.0.0.1:5060\""),
        ("sip:192.0.2.1:5060", "\"udp:0.0.0.0:5060\""),
        (
            "sip:127.0.0.1:5061;transport=tcp",
            "\"udp:127.0.0.1:5061\", \"tcp:127.0.0.1:5060\"",
        ),
    ] {
        parse(&target(uri, listen)).unwrap();
    }
}

#[test]
fn a_target_needs_a_socket_of_its_transport_and_family() {
    let target = |uri: &str| TRUNKS.replace("sip:192.0.2.9:5070;transport=udp", uri);
    assert_fault(
        &target("sip:192.0.2.9;transport=tcp"),
        "sip.listen has no \"tcp:\" address (IPv4)",
    );
    assert_fault(
        &target("sip:[2001:db8::1]"),
        "sip.listen has no \"udp:\" address (IPv6)",
    );
}

#[test]
fn addresses_overlap_within_their_kind_alone() {
    parse(STREAMS).unwrap();
    assert_fault(
        "[sip]\nlisten = [\"tcp:127.0.0.1:5060\", \"tls:127.0.0.1:5060\"]",
        "tls:127.0.0.1:5060 overlaps with tcp:127.0.0.1:5060",
    );
}

#[test]
fn connections_of_sip_count_as_descriptors() {
    let text = format!("{STREAMS}max_connections = 5000\n[media]\nports = \"20000-20099\"\n");
    let found = parse_under(&text, Some(4096)).unwrap_err().to_string();
    assert!(found.contains("and 5000 SIP connections need"), "{found}");
}

#[test]
fn what_this_version_does_not_do_is_refused_clearly() {
    for (text, expected) in [
        (
            "[store]\nengine = \"postgres\"",
            "postgres is not in this version",
        ),
        (
            "[store]\nurl = \"x\"",
            "postgres, which is not in this version",
        ),
        ("[records]\nretention = \"1y\"", "not in this version"),
    ] {
        assert_fault(text, expected);
    }
    assert_fault(&format!("{TRUNKS}nat = true\n"), "is not in this version");
    // Their harmless values pass.
    let fine = format!("{TRUNKS}transport = \"udp\"\nsrtp = \"none\"\nrequire_auth = false\n");
    parse(&format!("{fine}[billing]\ncredit_warning = \"0s\"\n")).unwrap();
}

#[test]
fn keys_for_srtp_need_tls_or_a_word() {
    // The last trunk is the outbound one, by UDP.
    for srtp in ["offered", "required"] {
        assert_fault(
            &format!("{TRUNKS}srtp = \"{srtp}\"\n"),
            "srtp: its keys would go to the target by a transport that is not TLS",
        );
        let text = format!("{TRUNKS}srtp = \"{srtp}\"\ninsecure_srtp = true\n");
        let config = parse(&text).unwrap();
        assert!(config.trunks[1].insecure_srtp);
        assert_ne!(config.trunks[1].srtp, Srtp::None);
        assert_eq!(config.trunks[0].srtp, Srtp::None);
    }
    let inbound = TRUNKS.replace(
        "sources = [\"192.0.2.0/24\"]",
        "sources = [\"192.0.2.0/24\"]\nsrtp = \"required\"",
    );
    assert_fault(
        &inbound,
        "srtp: sip.listen has no \"tls:\" address, so its keys would come",
    );
    parse(&inbound.replace("srtp =", "insecure_srtp = true\nsrtp =")).unwrap();
    assert_fault(&format!("{TRUNKS}srtp = \"maybe\"\n"), "srtp: expected");
    // A name whose transport the DNS says may be told another.
    let wrong = streamed("target = \"sip:a\"\nsrtp = \"required\"").unwrap_err();
    assert!(wrong.to_string().contains("that is not TLS"), "{wrong}");
    let fine = "target = \"sips:a\"\nsrtp = \"required\"\ntls = { ca = \"/ca.pem\" }";
    assert_eq!(streamed(fine).unwrap().srtp, Srtp::Required);
}

#[test]
fn announcements_are_files_and_the_warning_has_its_time() {
    let config = parse(
        "[announce]\nno_lease = \"a.wav\"\nnot_allowed = \"b.wav\"\ncredit_exhausted = \"c.wav\"\n\
         credit_warning = \"d.wav\"\n[billing]\ncredit_warning = \"10s\"\n",
    )
    .unwrap();
    assert_eq!(config.billing.credit_warning, Duration::from_secs(10));
    let file = |name: &str| Some(name.into());
    assert_eq!(
        config.announce,
        Announce {
            no_lease: file("a.wav"),
            not_allowed: file("b.wav"),
            credit_exhausted: file("c.wav"),
            credit_warning: file("d.wav"),
        }
    );
    assert_fault(
        "[announce]\ncredit_warning = \"d.wav\"",
        "is never heard without billing.credit_warning",
    );
    let nothing = Config::defaults().unwrap();
    assert_eq!(nothing.announce, Announce::default());
    assert!(nothing.billing.credit_warning.is_zero());
}

const SIGN: &str = "[identity.sign]\nkey = { file = \"/key.pem\" }\n";

#[test]
fn identity_says_who_signs_and_who_is_verified() {
    let trunks = TRUNKS.replacen(
        "[[trunk]]\nname = \"out\"",
        "identity = \"require\"\n[[trunk]]\nname = \"out\"",
        1,
    );
    let text = format!(
        "{trunks}sign = false\n[identity]\npolicy = \"record\"\nroots = \"/cert.pem\"\n\
         fetch_ca = \"/cert.pem\"\nfetch_hosts = [\"a.example\"]\nmax_age = \"30s\"\n{SIGN}\
         cert_url = \"https://a.example/b.pem\"\norigid = \"123E4567-e89b-12d3-a456-426655440000\"\n"
    );
    let config = parse(&text).unwrap();
    let identity = &config.identity;
    assert_eq!(identity.policy, IdentityPolicy::Record);
    assert_eq!(identity.max_age, Duration::from_secs(30));
    assert_eq!(identity.verdict_timeout, Duration::from_secs(2));
    assert!(identity.roots.as_ref().unwrap().contains("CERTIFICATE"));
    assert_eq!(identity.fetch_hosts, ["a.example"]);
    assert!(!identity.fetch_private);
    let sign = identity.sign.as_ref().unwrap();
    assert_eq!(sign.cert_url, "https://a.example/b.pem");
    let origid = "123e4567-e89b-12d3-a456-426655440000";
    assert_eq!(sign.origid.as_deref(), Some(origid));
    assert!(
        !format!("{config:?}").contains("PRIVATE"),
        "the key is a secret"
    );
    assert_eq!(config.trunks[0].identity, Some(IdentityPolicy::Require));
    assert!(config.trunks[0].sign);
    assert_eq!(config.trunks[1].identity, None);
    assert!(!config.trunks[1].sign);
}

#[test]
fn faults_of_identity_are_told() {
    for (text, expected) in [
        (
            "[identity]\npolicy = \"record\"",
            "verification needs certificates to trust",
        ),
        ("[identity]\npolicy = \"maybe\"", "\"record\""),
        ("[identity]\nroots = \"/none.pem\"", "no such file"),
        ("[identity]\nroots = \"/cert.pem\"", "fetch_ca: missing"),
        ("[identity]\nmax_age = \"0s\"", "max_age"),
        ("[identity.sign]\norigid = \"x\"", "a UUID"),
        (
            "[identity.sign]\ncert_url = \"https://a/b\"",
            "key: missing",
        ),
        (SIGN, "cert_url: missing"),
        (
            "[identity.sign]\nkey = \"sti.key\"\ncert_url = \"https://a/b\"",
            "test.toml:2: identity.sign.key: expected a private key in PEM, or { file = ",
        ),
        (
            "[identity.sign]\nkey = \"k\"\ncert_url = \"http://a/b\"",
            "an https:// URL",
        ),
        (
            "[identity.sign]\nkey = \"k\"\ncert_url = \"https:///b\"",
            "an https:// URL",
        ),
        (
            "[identity.sign]\nkey = \"k\"\ncert_url = \"https://a/b>;c\"",
            "an https:// URL",
        ),
        (
            "[identity.sign]\nkey = 7\ncert_url = \"https://a/b\"",
            "(not shown)",
        ),
    ] {
        assert_fault(text, expected);
    }
    let own = TRUNKS.replacen("sources", "identity = \"record\"\nsources", 1);
    assert_fault(&own, "verification needs certificates to trust");
}

#[test]
fn a_trunk_may_ask_for_passwords_and_give_one() {
    let users =
        "[{ user = \"a\", password = { env = \"SECRET\" } }, { user = \"b\", password = \"x\" }]";
    let inbound = format!(
        "[[trunk]]\nname = \"in\"\ndirection = \"both\"\nsources = [\"192.0.2.1\"]\n\
         target = \"sip:192.0.2.2\"\nrealm = \"r\"\nrequire_auth = true\nallow_users = {users}\n\
         auth_user = \"me\"\nauth_password = {{ file = \"/secret\" }}\nauth_algorithms = [\"SHA-256\"]\n"
    );
    let config = parse(&inbound).unwrap();
    let digest = &config.trunks[0].digest;
    assert_eq!(digest.realm, "r");
    assert_eq!(digest.users[0].password.expose(), SECRET);
    assert_eq!(digest.users[1].user, "b");
    assert_eq!(digest.login.as_ref().unwrap().password.expose(), SECRET);
    assert_eq!(digest.algorithms, [DigestAlgorithm::Sha256]);
    assert!(!format!("{config:?}").contains(SECRET));
    for (old, new, expected) in [
        ("realm = \"r\"\n", "", "need the realm"),
        (users, "[]", "needs at least one user"),
        ("user = \"b\"", "user = \"a\"", "another user has this name"),
        (
            "require_auth = true",
            "require_auth = false",
            "goes with require_auth = true",
        ),
        ("auth_user = \"me\"\n", "", "goes with auth_password"),
        ("[\"SHA-256\"]", "[]", "at least one"),
        ("[\"SHA-256\"]", "[\"SHA-1\"]", "\"SHA-256\" or \"MD5\""),
        (
            "user = \"b\", password = \"x\"",
            "user = \"b\"",
            "the user's password",
        ),
        (
            "\"both\"\nsources = [\"192.0.2.1\"]",
            "\"outbound\"",
            "only a trunk that brings calls",
        ),
    ] {
        let text = inbound.replacen(old, new, 1);
        assert_ne!(text, inbound);
        assert_fault(&text, expected);
    }
}

#[test]
fn addresses_that_cannot_both_be_bound_are_refused() {
    assert_fault(
        "[sip]\nlisten = [\"udp:127.0.0.1:5060\", \"udp:127.0.0.1:5060\"]",
        "udp:127.0.0.1:5060 overlaps with udp:127.0.0.1:5060",
    );
    assert_fault(
        "[sip]\nlisten = [\"udp:127.0.0.1:20000\"]",
        "media.ports: the range holds the port of sip.listen",
    );
    assert_fault(
        "[observe]\nlisten = \"127.0.0.1:8080\"",
        "overlaps with http.listen",
    );
    assert_fault(
        "[sip]\nlisten = [\"tcp:127.0.0.1:8080\"]",
        "http.listen: 127.0.0.1:8080 overlaps with sip.listen tcp:127.0.0.1:8080",
    );
    assert_fault(
        "[sip]\nlisten = [\"tcp:127.0.0.1:5060\"]\n[observe]\nlisten = \"0.0.0.0:5060\"",
        "observe.listen: 0.0.0.0:5060 overlaps with sip.listen tcp:127.0.0.1:5060",
    );
    parse("[sip]\nlisten = [\"udp:127.0.0.1:8080\"]").unwrap();
    assert_fault(
        "[sip]\nlisten = [\"udp:0.0.0.0:5060\"]",
        "needs `advertised`",
    );
    assert_fault("[media]\naddress = \"0.0.0.0\"", "not a wildcard");
    let text = "[sip]\nlisten = [\"udp:0.0.0.0:5060\"]\nadvertised = \"sip.example.net\"";
    let config = parse(text).unwrap();
    assert_eq!(config.sip.listen[0].1, "sip.example.net");
    assert_fault(
        "[sip]\nlisten = [\"udp:127.0.0.1:5060\"]\nadvertised = [\"a\", \"b\"]",
        "expected one name for each",
    );
}

#[test]
fn media_has_one_address_a_family() {
    let config = parse("[media]\naddress = [\"192.0.2.1\", \"2001:db8::1\"]\nbind = \"0.0.0.0\"\n");
    let addresses = config.unwrap().media.addresses;
    assert_eq!(addresses.len(), 2);
    assert!(addresses[0].bind.is_unspecified());
    assert_eq!(addresses[1].bind, addresses[1].advertised);
    assert_fault(
        "[media]\naddress = [\"192.0.2.1\", \"192.0.2.2\"]\n",
        "one for each of IPv4",
    );
    assert_fault(
        "[media]\nbind = \"::1\"\n",
        "no media.address of its family",
    );
    // Each worker has its own ports, and each leg of a call a pair of them.
    for (workers, ports, enough) in [
        (1, "20000-20001", false),
        (1, "20000-20003", true),
        (3, "20000-20009", false),
        (3, "20000-20011", true),
    ] {
        let text = format!("[sip]\nworkers = {workers}\n[media]\nports = \"{ports}\"\n");
        assert_eq!(parse(&text).is_ok(), enough, "{text}");
        if !enough {
            assert_fault(&text, "test.toml:4: media.ports: a call needs two pairs");
        }
    }
    for wrong in [
        "20001-20010",
        "20000-20010",
        "5-3",
        "20000",
        "80-99",
        "20000-99999",
    ] {
        assert_fault(
            &format!("[media]\nports = \"{wrong}\"\n"),
            "a range of port pairs",
        );
    }
}

#[test]
fn media_networks_have_names_addresses_and_ports_apart() {
    let trunk = "[[trunk]]\nname = \"a\"\ndirection = \"inbound\"\nsources = [\"10.0.0.9\"]\n";
    let inside = "[[media.networks]]\nname = \"inside\"\naddress = \"10.0.0.1\"\n";
    let with = |trunk_says: &str, network_says: &str| {
        format!("{trunk}{trunk_says}[media]\nports = \"30000-30099\"\n{inside}{network_says}")
    };
    let config = parse(&with(
        "media_network = \"inside\"\n",
        "bind = \"10.0.0.2\"\n",
    ))
    .unwrap();
    assert_eq!(config.media.networks, ["default", "inside"]);
    assert_eq!(config.trunks[0].media_network.as_deref(), Some("inside"));
    let one = config.media.addresses[1];
    assert_eq!((one.network, one.ports), (1, config.media.ports));
    assert_eq!(one.bind, "10.0.0.2".parse::<std::net::IpAddr>().unwrap());
    assert_eq!(
        (config.media.dscp, config.media.receive_buffer),
        (46, 212_992)
    );
    for (trunk_says, network_says, fault) in [
        (
            "media_network = \"x\"\n",
            "",
            "no [[media.networks]] has the name",
        ),
        ("", "bind = \"127.0.0.1\"\n", "share ports of 127.0.0.1"),
        ("", "bind = \"0.0.0.0\"\n", "share ports"),
        ("", inside, "another network has this name"),
        (
            "",
            "[[media.networks]]\nname = \"x\"\n",
            "the network's own address",
        ),
    ] {
        assert_fault(&with(trunk_says, network_says), fault);
    }
    let apart = "bind = \"127.0.0.1\"\nports = \"30100-30199\"\n";
    parse(&with("", apart)).unwrap();
    assert_fault("[media]\ndscp = 64\n", "0 to 63");
}

#[test]
fn what_does_not_fit_under_the_limit_is_refused_with_the_figures() {
    let text = "[media]\nports = \"20000-29999\"\n[http]\nmax_connections = 100\n";
    parse_under(text, Some(10_228)).unwrap();
    let found = parse_under(text, Some(10_227)).unwrap_err().to_string();
    assert!(found.contains("test.toml:2: media.ports"), "{found}");
    assert!(found.contains("expected a limit of 10228"), "{found}");
    assert!(
        found.contains("at most 9998 ports (\"20000-29997\")"),
        "{found}"
    );
    let fitting = text.replace("29999", "29997");
    parse_under(&fitting, Some(10_227)).unwrap();
    let told = |text: &str, limit| parse_under(text, Some(limit)).unwrap_err().to_string();
    let found = told(text, 150);
    assert!(
        found.ends_with("or fewer of both: together 22 at the most"),
        "{found}"
    );
    assert!(told(text, 100).ends_with("(LimitNOFILE, ulimit -Hn)"));
    let small = text.replace("29999", "20009");
    let found = told(&small, 228);
    assert!(
        found.ends_with("or http.max_connections of at most 90"),
        "{found}"
    );
    parse_under(&small.replace("= 100", "= 90"), Some(228)).unwrap();
}

#[test]
fn tls_files_are_read_when_the_file_is() {
    let text = "[http]\ntls = { cert = \"/cert.pem\", key = \"/key.pem\" }\n";
    let tls = parse(text).unwrap().http.tls.unwrap();
    assert_eq!(tls.cert.to_str(), Some("/cert.pem"));
    assert_fault(
        &text.replace("/cert", "/nothing"),
        "http.tls.cert: expected a readable file",
    );
    assert_fault(
        &text.replace("/cert.pem", "/key.pem"),
        "at least one certificate",
    );
    assert_fault(&text.replace("/key.pem", "/cert.pem"), "with a private key");
    assert_fault(
        &text.replace("/key.pem", "/other.pem"),
        "test.toml:2: http.tls.key: does not go with the certificate",
    );
    assert_fault(
        "[http]\ntls = { cert = \"/cert.pem\" }\n",
        "http.tls.key: missing",
    );
}

#[test]
fn zones_countries_and_emergency_numbers_are_checked() {
    for (line, expected) in [
        ("timezone = \"Mars/Olympus\"", "an IANA time zone"),
        (
            "default_country = \"Malaysia\"",
            "a country of two capital letters",
        ),
        (
            "allowed_targets = [\"XX\"]",
            "a country of two capital letters",
        ),
        ("allowed_targets = []", "at least one country"),
        ("emergency = [\"help\"]", "an emergency number"),
        ("pool = [\"nonsense\"]", "numbering.pool: expected"),
    ] {
        assert_fault(&format!("[numbering]\n{line}\n"), expected);
    }
    let config = parse("[numbering]\ndefault_country = \"MY\"\n").unwrap();
    assert_eq!(config.numbering.allowed_targets, ["MY"]);
}

#[test]
fn log_filters_are_checked() {
    parse("[observe]\nlog = \"info,leasebridge::call=debug\"\n").unwrap();
    assert_fault(
        "[observe]\nlog = \"leasebridge=loud\"\n",
        "observe.log: expected a log filter",
    );
}

#[test]
fn a_reload_knows_what_must_wait() {
    let before = parse(TRUNKS).unwrap();
    assert_eq!(before.restart_only(&before), RestartOnly(Vec::new()));
    let after = parse("[sip]\nlisten = [\"udp:127.0.0.1:5062\"]\n[observe]\nlog = \"debug\"\n");
    assert_eq!(
        before.restart_only(&after.unwrap()),
        RestartOnly(vec!["sip.listen"])
    );
}

/// `config/leasebridge.toml` with every key in it switched on: lines of the form `#key = ...`
/// (no blank after the `#`) lose their `#`.
fn documented() -> String {
    let text = include_str!("../../config/leasebridge.toml");
    let lines = text.lines().map(|line| {
        let is_key = |rest: &str| rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[');
        match line.strip_prefix('#') {
            Some(rest) if is_key(rest) => rest,
            _ => line,
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn gather(prefix: &str, table: &toml::Table, found: &mut BTreeSet<String>) {
    for (key, value) in table {
        let full = match prefix {
            "" => key.clone(),
            _ => format!("{prefix}.{key}"),
        };
        match value {
            toml::Value::Table(inner) if keys::is_table(&full) => gather(&full, inner, found),
            toml::Value::Array(items) if keys::is_table(&full) => {
                for item in items {
                    gather(&full, item.as_table().unwrap(), found);
                }
            }
            _ => {
                found.insert(full);
            }
        }
    }
}

#[test]
fn the_documented_file_has_every_key_and_no_other() {
    let table: toml::Table = toml::from_str(&documented()).unwrap();
    let mut found = BTreeSet::new();
    gather("", &table, &mut found);
    let known: BTreeSet<String> = KEYS.iter().map(|key| (*key).to_owned()).collect();
    let missing: Vec<_> = known.difference(&found).collect();
    let unknown: Vec<_> = found.difference(&known).collect();
    assert!(
        missing.is_empty(),
        "not in config/leasebridge.toml: {missing:?}"
    );
    assert!(
        unknown.is_empty(),
        "in config/leasebridge.toml, but no key: {unknown:?}"
    );
}

/// Values of single tables that the documented file gives are the defaults themselves.
#[test]
fn the_documented_defaults_are_the_defaults() {
    let mut text = String::new();
    let mut array = false;
    for line in documented().lines() {
        if line.starts_with('[') {
            array = line.starts_with("[[") || line.starts_with("[identity.");
        }
        let example = line.contains("# example") || line.contains("not in this version");
        if !array && !example {
            text.push_str(line);
            text.push('\n');
        }
    }
    assert!(text.contains("drain_timeout = \"30s\""), "{text}");
    assert_eq!(parse(&text).unwrap(), Config::defaults().unwrap());
}

/// What the code says of a key's bounds, as the documented file writes them: "1 to 65535".
fn bounds(header: &str, key: &str) -> Option<String> {
    if key == "retention" {
        return None; // it takes nothing but "0s" in this version
    }
    let needed = match header {
        "[[trunk]]" => "name = \"t\"\ndirection = \"outbound\"\ntarget = \"sip:a\"\n",
        _ => "",
    };
    // No key takes this, whatever its type.
    let text = format!("{header}\n{needed}{key} = -1000000000000\n");
    let faults = parse(&text).err()?;
    let fault = faults.faults.iter().find(|fault| {
        let last = fault.key.rsplit(['.', ' ']).next();
        last == Some(key)
    })?;
    let (kind, range) = fault.message.split_once(" from ")?;
    let known = ["integer", "duration", "rate", "size"];
    known.iter().find(|known| kind.ends_with(**known))?;
    let range = range.split([',', '(']).next()?.trim();
    Some(range.replace('"', ""))
}

/// The comment above each key that has bounds names them.
#[test]
fn the_documented_bounds_are_the_bounds() {
    let (mut header, mut comment) = ("", String::new());
    let (mut bounded, mut wrong) = (0, Vec::new());
    for line in include_str!("../../config/leasebridge.toml").lines() {
        let bare = line.trim_start_matches('#');
        let setting = bare.split_once(" = ").filter(|_| !bare.starts_with(' '));
        if bare.starts_with('[') {
            header = bare;
            comment.clear();
        } else if let Some((key, _)) = setting {
            if let Some(range) = bounds(header, key) {
                bounded += 1;
                if !comment.contains(&range) {
                    wrong.push(format!("{header} {key} | {range}"));
                }
            }
            comment.clear();
        } else {
            comment.push_str(bare);
        }
    }
    assert!(bounded >= 20, "only {bounded} keys with bounds were found");
    assert!(
        wrong.is_empty(),
        "not in their comments:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn the_files_beside_it_are_good() {
    parse(include_str!("../../config/leasebridge.toml")).unwrap();
    let development = parse(include_str!("../../config/dev.toml")).unwrap();
    assert!(development.numbering.cooldown.is_zero());
    assert!(!development.trunks.is_empty());
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples");
    let mut examples = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let environment = Environment {
            variable: &|_| Some(SECRET.to_owned()),
            file: &|path| match path.extension().and_then(|kind| kind.to_str()) {
                Some("toml") => std::fs::read_to_string(path).map_err(|error| error.to_string()),
                Some("password") => Ok(SECRET.to_owned()),
                _ => Ok(format!("{}{}", certificate().0, certificate().1)),
            },
            descriptor_limit: None,
        };
        Config::load(&path, &environment).unwrap_or_else(|faults| panic!("{faults}"));
        examples += 1;
    }
    assert!(examples >= 2);
}

/// Reading asks for every key of the list: none is known and then passed over.
#[test]
fn every_key_is_read() {
    let text = documented();
    let document = reader::Document::parse(&text);
    let environment = Environment {
        variable: &|_| Some(SECRET.to_owned()),
        file: &|_| Err("none".to_owned()),
        descriptor_limit: None,
    };
    let reader = Reader::new(&document, &environment);
    let root = reader.root();
    plain::node(&root.section("node"));
    http::read(&root.section("http"));
    sip::read(&root.section("sip"));
    trunk::read(&root);
    media::read(&root.section("media"));
    numbering::read(&root.section("numbering"));
    plain::leases(&root.section("leases"));
    plain::calls(&root.section("calls"));
    let billing = plain::billing(&root.section("billing"));
    announce::read(&root.section("announce"), &billing);
    plain::store(&root.section("store"));
    plain::observe(&root.section("observe"));
    plain::records(&root.section("records"));
    identity::read(&root.section("identity"));
    let asked = reader.asked.borrow();
    let passed_over: Vec<_> = KEYS.iter().filter(|key| !asked.contains(**key)).collect();
    assert!(passed_over.is_empty(), "{passed_over:?}");
}

proptest::proptest! {
    #[test]
    fn no_file_makes_it_panic(text in "(\\[{0,2}(node|http|trunk|sip|media|x)(\\.keys)?\\]{0,2}\n|[a-z_]{1,12} = (\"[ -~]{0,20}\"|-?[0-9]{1,20}|\\[[0-9, ]{0,6}\\]|\\{ ?(env|file) = \"SECRET\" ?\\}|true)\n){0,12}") {
        let _ = parse(&text);
    }
}

/// RFC 4028 §4: no interval is below 90 s; "0s" is none.
#[test]
fn session_intervals_are_the_rfcs() {
    let read = |text: &str| parse(text).expect("good").sip;
    let sip = read("");
    assert_eq!(sip.session_expires.as_secs(), 1_800);
    assert_eq!(sip.min_se.as_secs(), 90);
    let sip = read("[sip]\nsession_expires = \"0s\"\nmin_se = \"2h\"\n");
    assert_eq!(sip.session_expires.as_secs(), 0);
    assert_eq!(
        read("[sip]\nmin_se = \"2h\"\n").session_expires.as_secs(),
        7_200
    );
    assert_fault(
        "[sip]\nsession_expires = \"89s\"\n",
        "a duration from \"90s\" to \"1d\" (ms, s, m, h, d, w, y), or \"0s\"",
    );
    assert_fault("[sip]\nmin_se = \"1s\"\n", "a duration from");
    assert_fault(
        "[sip]\nsession_expires = \"90s\"\nmin_se = \"100s\"\n",
        "expected no less than sip.min_se",
    );
    let trunk = "[[trunk]]\nname = \"a\"\ndirection = \"outbound\"\ntarget = \"sip:192.0.2.1\"\n";
    let own = format!("{trunk}session_expires = \"0s\"\n");
    assert_eq!(
        parse(&own).unwrap().trunks[0]
            .session_expires
            .unwrap()
            .as_secs(),
        0
    );
    assert_fault(&format!("{trunk}session_expires = \"5s\"\n"), "or \"0s\"");
}
