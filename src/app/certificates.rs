//! Certificates that we show: until when they are good. One that is not good (any more, or yet) is no
//! fault of the configuration, as an operator must be able to start; it is said aloud, and its
//! end is a metric.

use crate::config::Config;
use crate::observe::{Metrics, Sink, catalogue};
use crate::sip::passport;
use rustls_pki_types::CertificateDer;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// One of them, with its time in Unix seconds.
struct Shown {
    /// Its name in the metric.
    name: &'static str,
    /// Its key in the configuration.
    key: &'static str,
    not_before: i64,
    not_after: i64,
    /// It says for which telephone numbers it signs.
    signs_numbers: bool,
}

fn all(config: &Config) -> Vec<Shown> {
    let sip = config.sip.tls.as_ref();
    let sip = sip.and_then(|tls| tls.identity.chain.first().cloned());
    let http = config.http.tls.as_ref();
    let http = http.and_then(|tls| tls.chain.first().cloned());
    let sign = config.identity.sign.as_ref();
    let sign = sign.and_then(|sign| sign.cert.as_ref());
    let sign = sign.and_then(|pem| passport::certificates(pem.as_bytes()).into_iter().next());
    let named = [
        ("sip", "sip.tls.cert", sip),
        ("http", "http.tls.cert", http),
        ("identity", "identity.sign.cert", sign),
    ];
    let found = named
        .into_iter()
        .filter_map(|(name, key, der)| shown(name, key, &der?));
    found.collect()
}

fn shown(name: &'static str, key: &'static str, der: &CertificateDer<'_>) -> Option<Shown> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let validity = certificate.validity();
    Some(Shown {
        name,
        key,
        not_before: validity.not_before.timestamp(),
        not_after: validity.not_after.timestamp(),
        signs_numbers: passport::is_for_numbers(&certificate),
    })
}

/// What is to be said of them now, each in one line.
#[must_use]
pub fn warnings(config: &Config) -> Vec<String> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.ok().and_then(|now| i64::try_from(now.as_secs()).ok());
    warnings_at(config, now.unwrap_or_default())
}

fn warnings_at(config: &Config, now: i64) -> Vec<String> {
    let mut warnings = Vec::new();
    for one in all(config) {
        let key = one.key;
        if now > one.not_after {
            let since = date(one.not_after);
            warnings.push(format!(
                "{key}: the certificate expired at {since}: peers refuse it"
            ));
        } else if now < one.not_before {
            let from = date(one.not_before);
            warnings.push(format!(
                "{key}: the certificate is not valid before {from}: peers refuse it"
            ));
        }
        if one.name == "identity" && !one.signs_numbers {
            warnings.push(format!(
                "{key}: the certificate has no TN Authorization List (RFC 8226): others do not believe what it signs"
            ));
        }
    }
    warnings
}

fn date(seconds: i64) -> String {
    let time = chrono::DateTime::from_timestamp(seconds, 0);
    time.map(|time| time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))
        .unwrap_or_default()
}

/// When each certificate ends, for the metrics.
#[derive(Clone, Default)]
pub struct Expiries(Arc<Mutex<Vec<(&'static str, u64)>>>);

impl Expiries {
    /// Those of `config`, put on the page from now on.
    pub fn observed(metrics: &Metrics, config: &Config) -> Self {
        let this = Self::default();
        this.replace(config);
        let source = this.clone();
        metrics.add_source(Arc::new(move |sink: &mut Sink| source.collect(sink)));
        this
    }

    /// Those of another configuration count from now on.
    pub fn replace(&self, config: &Config) {
        let ends = |one: &Shown| (one.name, u64::try_from(one.not_after).unwrap_or(0));
        let ends = all(config).iter().map(ends).collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = ends;
    }

    /// Puts them into `sink`.
    fn collect(&self, sink: &mut Sink) {
        for (name, end) in &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            sink.add(&catalogue::CERTIFICATE_EXPIRY, &[name], *end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;
    use crate::sip::passport::tests::{KEY, SPC_1234, chain};

    /// 2026-01-01 and the day after.
    const FROM: i64 = 1_767_225_600;
    const TO: i64 = FROM + 86_400;

    fn config(numbers: bool) -> Config {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["gw.example".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 1, 2);
        let pem = params.self_signed(&key).unwrap().pem();
        let list = if numbers { SPC_1234 } else { &[] };
        let (sti, _) = chain(list, |params| {
            params.not_before = rcgen::date_time_ymd(2026, 1, 1);
            params.not_after = rcgen::date_time_ymd(2026, 1, 2);
        });
        let text = "[http]\ntls = { cert = \"cert\", key = \"key\" }\n\
                    [sip]\nlisten = [\"tls:127.0.0.1:5061\"]\ntls = { cert = \"cert\", key = \"key\" }\n\
                    [identity.sign]\nkey = { file = \"sti.key\" }\ncert = \"sti\"\ncert_url = \"https://a/b\"\n";
        let environment = Environment {
            variable: &|_| None,
            file: &|path| match path.to_str() {
                Some("cert") => Ok(pem.clone()),
                Some("key") => Ok(key.serialize_pem()),
                Some("sti") => Ok(sti.clone()),
                Some("sti.key") => Ok(KEY.to_owned()),
                _ => Err("no such file".to_owned()),
            },
            descriptor_limit: None,
        };
        Config::parse_with(
            "f.toml",
            text,
            &environment,
            &super::super::preflight::unusable,
        )
        .unwrap()
    }

    #[test]
    fn certificates_out_of_their_time_are_told_and_no_fault() {
        let config = config(true);
        assert_eq!(warnings_at(&config, FROM), Vec::<String>::new());
        assert_eq!(warnings_at(&config, TO), Vec::<String>::new());
        for (now, words) in [
            (FROM - 1, "is not valid before 2026-01-01T00:00:00Z"),
            (TO + 1, "expired at 2026-01-02T00:00:00Z"),
        ] {
            let found = warnings_at(&config, now);
            assert_eq!(found.len(), 3, "{found:?}");
            for (line, key) in
                found
                    .iter()
                    .zip(["sip.tls.cert", "http.tls.cert", "identity.sign.cert"])
            {
                assert!(line.starts_with(key) && line.contains(words), "{line}");
            }
        }
    }

    #[test]
    fn a_signer_of_no_numbers_is_told() {
        let found = warnings_at(&config(false), FROM);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("TN Authorization List"), "{found:?}");
    }

    #[test]
    fn their_ends_are_metrics() {
        let metrics = Metrics::new().unwrap();
        let expiries = Expiries::observed(&metrics, &config(true));
        let page = metrics.render().unwrap();
        for name in ["sip", "http", "identity"] {
            let row = format!(
                "leasebridge_certificate_expiry_timestamp_seconds{{certificate=\"{name}\"}} {TO}\n"
            );
            assert!(page.contains(&row), "no {row} in {page}");
        }
        expiries.replace(&Config::defaults().unwrap());
        assert!(!metrics.render().unwrap().contains("certificate=\"sip\""));
    }
}
