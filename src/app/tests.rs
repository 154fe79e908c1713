//! A whole gateway on loopback, started and looked at.

use super::Gateway;
use crate::config::{Config, Environment};
use crate::observe::{Metrics, catalogue};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// A configuration whose ports the system chooses, but for media: those are bound at the start, so
/// that each test of each process has an address of its own.
fn config(data: &Path, test: u8) -> Config {
    let [.., high, low] = std::process::id().to_be_bytes();
    let media = format!("127.{}.{high}.{low}", 40 + test);
    let text = format!(
        "[node]\ndata_dir = {data:?}\n[http]\nlisten = \"127.0.0.1:0\"\nmax_connections = 64\n\
         [sip]\nlisten = [\"udp:127.0.0.1:5099\", \"tls:127.0.0.1:5098\"]\n\
         tls = {{ cert = \"cert\", key = \"key\" }}\n\
         [media]\naddress = {media:?}\nports = \"41000-41099\"\n\
         [numbering]\npool = [\"+60388880000-+60388880009\"]\n\
         [[trunk]]\nname = \"in\"\ndirection = \"inbound\"\nsources = [\"127.0.0.1\"]\n\
         [[trunk]]\nname = \"out\"\ndirection = \"outbound\"\ntarget = \"sip:127.0.0.1:9\"\n\
         options_interval = \"0s\"\n"
    );
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let environment = Environment {
        variable: &|_| None,
        file: &|path| match path.to_str() {
            Some("cert") => Ok(made.cert.pem()),
            Some("key") => Ok(made.signing_key.serialize_pem()),
            _ => Err("no such file".to_owned()),
        },
        descriptor_limit: None,
    };
    let mut config = Config::parse("test.toml", &text, &environment).unwrap();
    for (listen, _) in &mut config.sip.listen {
        listen.address.set_port(0);
    }
    config
}

/// What `GET path` answers, head and all.
fn get(gateway: &Gateway, path: &str) -> String {
    let mut stream = TcpStream::connect(gateway.http_address()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Waits, long if need be, until `there` says so.
fn becomes(what: &str, there: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !there() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_data_directory_that_is_moved_away_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let (data, away) = (directory.path().join("data"), directory.path().join("away"));
    let gateway = Gateway::start(config(&data, 0), Metrics::new().unwrap()).unwrap();
    assert!(get(&gateway, "/readyz").starts_with("HTTP/1.1 200"));
    std::fs::rename(&data, &away).unwrap();
    becomes("it is not said", || {
        get(&gateway, "/readyz").contains("data directory gone")
    });
    assert!(get(&gateway, "/metrics").contains("\nleasebridge_data_directory_present 0\n"));
    std::fs::rename(&away, &data).unwrap();
    becomes("it is not seen again", || {
        get(&gateway, "/readyz").starts_with("HTTP/1.1 200")
    });
    assert!(get(&gateway, "/metrics").contains("\nleasebridge_data_directory_present 1\n"));
    gateway.end().unwrap();
}

#[test]
fn every_metric_is_on_the_page_from_the_first_moment() {
    let directory = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(config(directory.path(), 1), Metrics::new().unwrap()).unwrap();
    let page = get(&gateway, "/metrics");
    // The log of the process brings its own count; `serve` adds it before the start.
    let missing: Vec<&str> = catalogue::ALL
        .iter()
        .map(|row| row.name)
        .filter(|name| *name != catalogue::LOG_DROPPED.name)
        .filter(|name| !page.contains(&format!("\n{name}")))
        .collect();
    assert!(missing.is_empty(), "not on the first page: {missing:?}");
    for row in [
        "leasebridge_trunk_up{trunk=\"out\"} 1",
        "leasebridge_trunk_calls{trunk=\"in\"} 0",
        "leasebridge_media_ports{network=\"default\",state=\"free\"} 100",
        "leasebridge_media_ports{network=\"default\",state=\"used\"} 0",
        "leasebridge_store_faults 0",
        "leasebridge_http_handshakes_failed_total 0",
        "leasebridge_http_stalled_total 0",
        "leasebridge_calls_total{kind=\"none\",outcome=\"no_lease\",trunk_in=\"in\",trunk_out=\"\"} 0",
        "leasebridge_calls_total{kind=\"group\",outcome=\"busy\",trunk_in=\"in\",trunk_out=\"out\"} 0",
        "leasebridge_call_answer_seconds_count{trunk_out=\"out\"} 0",
        "leasebridge_http_requests_total{operation=\"cdr/query\",status=\"99\"} 0",
    ] {
        assert!(page.contains(&format!("\n{row}\n")), "no {row} in:\n{page}");
    }
    assert!(get(&gateway, "/readyz").starts_with("HTTP/1.1 200"));
    gateway.end().unwrap();
}
