//! What can be wrong with a configuration that is well-formed: keys that are none, certificates of
//! others, trunks that no socket reaches. All that a start makes of it is made once, but for what binds,
//! opens or writes, so that `check` knows what `serve` would say.

use super::places::Places;
use super::{recordings, settings, streams, verification};
use crate::config::{Config, Unusable, keys};
use crate::transport::stream::Tls;

/// Everything in `config` that cannot be used. Where it has faults of its own (`sound` is false), only
/// parts that stand by themselves are looked at.
#[must_use]
pub fn unusable(config: &Config, sound: bool) -> Vec<Unusable> {
    let signer = verification::signer(config).err();
    let verifying = verification::settings(config).err();
    let recordings = recordings::load(config).err();
    let of_files = signer.into_iter().chain(verifying).chain(recordings);
    let mut found: Vec<Unusable> = of_files.map(placed).collect();
    if sound && found.is_empty() {
        found.extend(rest(config).err().map(placed));
    }
    found
}

fn rest(config: &Config) -> Result<(), String> {
    let plan = settings::plan(config)?;
    settings::pool(config)?;
    settings::api(config, &plan)?;
    let mut places = Places::default();
    let placed = places.seat(&config.trunks)?;
    let listen = config.sip.listen.iter();
    let local: Vec<_> = listen.map(|(listen, _)| listen.address).collect();
    settings::agent(config, &placed, &local)?;
    Tls::new(streams::tls(config, &placed)?).map(|_| ())
}

/// Where an error belongs: its words begin with the key, or with the trunk.
fn placed(error: String) -> Unusable {
    let of_trunk = error.strip_prefix("trunk \"");
    if let Some((name, rest)) = of_trunk.and_then(|rest| rest.split_once('"'))
        && let Some((part, message)) = rest.split_once(": ")
    {
        let key = part.strip_prefix(", ").unwrap_or("target");
        return Unusable {
            trunk: Some(name.to_owned()),
            key: key.to_owned(),
            message: message.to_owned(),
        };
    }
    let known = |key: &str| keys::is_key(key) || keys::is_table(key);
    match error.split_once(": ").filter(|(key, _)| known(key)) {
        Some((key, message)) => Unusable {
            trunk: None,
            key: key.to_owned(),
            message: message.to_owned(),
        },
        None => Unusable {
            trunk: None,
            key: String::new(),
            message: error,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;
    use crate::sip::passport::tests::{KEY, SPC_1234, chain};

    /// The faults of `text`; files are named after what is in them.
    fn faults(text: &str) -> String {
        let (signing, root) = chain(SPC_1234, |_| {});
        let environment = Environment {
            variable: &|_| None,
            file: &|path| match path.to_str() {
                Some("sti.key") => Ok(KEY.to_owned()),
                Some("sti.pem") => Ok(signing.clone()),
                Some("root.pem") => Ok(root.clone()),
                Some("empty") => Ok(String::new()),
                _ => Err("no such file".to_owned()),
            },
            descriptor_limit: None,
        };
        let parsed = Config::parse_with("f.toml", text, &environment, &unusable);
        parsed
            .err()
            .map(|faults| faults.to_string())
            .unwrap_or_default()
    }

    const SIGN: &str = "[identity.sign]\nkey = { file = \"sti.key\" }\ncert = \"sti.pem\"\ncert_url = \"https://a/b\"\n";

    #[test]
    fn what_is_well_formed_and_of_no_use_has_a_key_and_a_line() {
        assert_eq!(faults(SIGN), "");
        for (text, expected) in [
            (
                SIGN.replace("\"sti.pem\"", "\"root.pem\""),
                "f.toml:3: identity.sign.cert: it is not the certificate of identity.sign.key",
            ),
            (
                SIGN.replace("\"sti.key\"", "\"sti.pem\""),
                "f.toml:2: identity.sign.key: expected a private key in PEM",
            ),
            (
                "[identity]\nroots = \"empty\"\nfetch_ca = \"root.pem\"\n".to_owned(),
                "f.toml:2: identity.roots: expected at least one certificate in PEM",
            ),
            (
                "[identity]\nroots = \"root.pem\"\nfetch_ca = \"empty\"\n".to_owned(),
                "f.toml:3: identity.fetch_ca: ",
            ),
            (
                "[announce]\nno_lease = \"/no/such.wav\"\n".to_owned(),
                "f.toml:2: announce.no_lease: /no/such.wav: no such file",
            ),
        ] {
            let found = faults(&text);
            assert!(found.starts_with(expected), "{expected:?} is not {found:?}");
            assert_eq!(found.lines().count(), 1, "{found}");
        }
    }

    /// The examples beside the documented file, with certificates that fit.
    #[test]
    fn the_examples_can_be_used() {
        let (signing, root) = chain(SPC_1234, |_| {});
        let made = rcgen::generate_simple_self_signed(["gw.example.net".to_owned()]).unwrap();
        let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let environment = Environment {
            variable: &|_| Some("0123456789abcdef0123456789abcdef".to_owned()),
            file: &|path| match path.file_name().and_then(|name| name.to_str()) {
                Some("sti.key") => Ok(KEY.to_owned()),
                Some("sti.pem") => Ok(signing.clone()),
                Some("sti-roots.pem") => Ok(root.clone()),
                Some(name) if name.ends_with(".toml") => {
                    std::fs::read_to_string(path).map_err(|error| error.to_string())
                }
                Some(name) if name.ends_with("key.pem") || name.ends_with(".key") => {
                    Ok(key.clone())
                }
                Some(name) if name.ends_with(".pem") || name.ends_with(".crt") => Ok(cert.clone()),
                _ => Ok("0123456789abcdef0123456789abcdef".to_owned()),
            },
            descriptor_limit: None,
        };
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples");
        let mut signers = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let config = Config::load_with(&path, &environment, &unusable);
            let config = config.unwrap_or_else(|faults| panic!("{faults}"));
            signers += usize::from(config.identity.sign.is_some());
        }
        assert_eq!(signers, 1, "one example shows how calls are signed");
    }

    #[test]
    fn an_error_finds_its_trunk_its_key_or_the_whole_file() {
        let place = |error: &str| {
            let found = placed(error.to_owned());
            (found.trunk.unwrap_or_default(), found.key, found.message)
        };
        let is = |trunk: &str, key: &str, message: &str| {
            (trunk.to_owned(), key.to_owned(), message.to_owned())
        };
        assert_eq!(place("trunk \"a\", tls: bad"), is("a", "tls", "bad"));
        assert_eq!(
            place("trunk \"a\": no socket"),
            is("a", "target", "no socket")
        );
        assert_eq!(
            place("sip.tls: bad: worse"),
            is("", "sip.tls", "bad: worse")
        );
        assert_eq!(place("who: knows"), is("", "", "who: knows"));
    }
}
