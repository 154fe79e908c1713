//! `leasebridge demo`: the main job, real from end to end, on loopback with a temporary store.
//!
//! A customer is created and leases numbers over HTTP; a carrier's telephone calls the leased
//! numbers over SIP; a subscriber's telephone answers; both send sound. What is printed is what was
//! measured, and the exit code says whether all of it was as it should be.

mod audio;
mod http;
mod phone;

use audio::{Heard, Line};
use phone::{Dialog, Phone, header, user_of};
use serde_json::Value;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

/// How long the two talk in each call: with blocks of two seconds, two blocks, or more where the
/// machine is slow.
const TALK: Duration = Duration::from_millis(3000);
const BLOCK_SECONDS: i64 = 2;
const RATE: i64 = 150;
const OPENING: i64 = 100_000;
const DRIVER: &str = "+60122223333";
const RIDER: &str = "+60133334444";
const STRANGER: &str = "+60166667777";

/// What is shown of a call record.
const SHOWN_FIELDS: [&str; 14] = [
    "lease_kind",
    "caller",
    "callee",
    "leased_number",
    "shown_number",
    "duration_seconds",
    "blocks",
    "charge",
    "ended_by",
    "reason",
    "sip_code",
    "to_callee_packets",
    "to_caller_packets",
    "guard_hits",
];

/// Runs the demonstration; with `keep` the gateway is left running afterwards.
#[must_use]
pub fn run(keep: bool) -> ExitCode {
    match Stage::set().and_then(|mut stage| stage.play().map(|()| stage)) {
        Ok(mut stage) if stage.faults == 0 => {
            println!("\nAll of it was as it should be.");
            if keep {
                stage.stay();
            }
            ExitCode::SUCCESS
        }
        Ok(stage) => {
            println!(
                "\n{} checks failed: see the lines marked FAULT.",
                stage.faults
            );
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("\nThe demonstration failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The gateway and everybody around it.
struct Stage {
    gateway: crate::app::Gateway,
    directory: tempfile_directory::Directory,
    api: SocketAddr,
    sip: SocketAddr,
    token: String,
    carrier: Phone,
    subscriber: Phone,
    carrier_line: Line,
    subscriber_line: Line,
    faults: u32,
}

/// One call's expectations.
struct Scene<'a> {
    title: &'a str,
    caller: &'a str,
    dial: &'a str,
    callee: &'a str,
    shown: &'a str,
    caller_hangs_up: bool,
}

impl Stage {
    fn set() -> Result<Self, String> {
        let said = |error: std::io::Error| error.to_string();
        let directory = tempfile_directory::Directory::new().map_err(said)?;
        let any: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 0));
        let carrier_line = Line::bind(any, 440).map_err(said)?;
        let subscriber_line = Line::bind(any, 1000).map_err(said)?;
        let carrier = Phone::bind(any, carrier_line.address().map_err(said)?).map_err(said)?;
        let subscriber =
            Phone::bind(any, subscriber_line.address().map_err(said)?).map_err(said)?;
        let secret = secret();
        let text = configuration(
            directory.path(),
            subscriber.address(),
            &secret,
            free_port().map_err(said)?,
        );
        let config = crate::config::Config::parse(
            "demo.toml",
            &text,
            &crate::config::Environment::of_process(crate::app::limits::descriptor_limit()),
        )
        .map_err(|faults| faults.to_string())?;
        let token = crate::cli::token::issue(
            &config,
            "demo",
            Duration::ZERO,
            crate::engine::clock::now().wall.0 / 1000,
        )?;
        let metrics = crate::observe::Metrics::new().map_err(|error| error.to_string())?;
        let gateway = crate::app::Gateway::start(config, metrics)?;
        let api = gateway.http_address();
        let sip = gateway.sip_address();
        println!("leasebridge {} on loopback", env!("CARGO_PKG_VERSION"));
        println!(
            "  API http://{api}   SIP udp:{sip}   data in {}",
            directory.path().display()
        );
        println!(
            "  carrier's telephone {}, subscriber's telephone {}",
            carrier.address(),
            subscriber.address()
        );
        Ok(Self {
            gateway,
            directory,
            api,
            sip,
            token,
            carrier,
            subscriber,
            carrier_line,
            subscriber_line,
            faults: 0,
        })
    }

    fn play(&mut self) -> Result<(), String> {
        println!("\n1. A customer, and numbers for it");
        let customer = self.customer()?;
        println!("\n2. A single lease: anyone may call the driver");
        let single = self.post(
            "leasesingle/request",
            &[
                ("customer_id", &customer),
                ("phone", DRIVER),
                ("expiry_value", "2"),
                ("expiry_unit", "hours"),
            ],
        )?;
        let driver_number = leased(&single, DRIVER)?;
        self.scene(&Scene {
            title: "a stranger calls the leased number",
            caller: STRANGER,
            dial: &driver_number,
            callee: DRIVER,
            shown: STRANGER,
            caller_hangs_up: true,
        })?;
        println!("\n3. A group lease: driver and rider reach only each other");
        let group = self.post(
            "leasegroup/request",
            &[
                ("customer_id", &customer),
                ("phone1", DRIVER),
                ("phone2", RIDER),
                ("expiry_value", "2"),
                ("expiry_unit", "hours"),
            ],
        )?;
        let (driver_number, rider_number) = (leased(&group, DRIVER)?, leased(&group, RIDER)?);
        self.scene(&Scene {
            title: "the rider calls the driver",
            caller: RIDER,
            dial: &driver_number,
            callee: DRIVER,
            shown: &rider_number,
            caller_hangs_up: false,
        })?;
        self.refused(&driver_number)?;
        println!("\n4. What was charged, and what was kept");
        self.books(&customer, &single, &group)
    }

    fn customer(&mut self) -> Result<String, String> {
        let answer = self.post(
            "customer/create",
            &[
                ("first_name", "Demo"),
                ("last_name", "Customer"),
                ("account_credit", &OPENING.to_string()),
                ("charge_block_single", &BLOCK_SECONDS.to_string()),
                ("charge_rate_single", &RATE.to_string()),
                ("charge_block_group", &BLOCK_SECONDS.to_string()),
                ("charge_rate_group", &RATE.to_string()),
            ],
        )?;
        let customer = text(&answer, "customer_id");
        let reserved = self.post(
            "customer/reserve",
            &[("customer_id", &customer), ("quantity", "3")],
        )?;
        let count = reserved
            .get("reserved_numbers")
            .and_then(Value::as_array)
            .map_or(0, Vec::len);
        self.check("numbers reserved", count == 3, &count.to_string());
        Ok(customer)
    }

    fn scene(&mut self, scene: &Scene<'_>) -> Result<(), String> {
        println!("   {}:", scene.title);
        let (mut caller, mut callee) = self.connect(scene)?;
        let shown = user_of(header(&callee.heard, "From")).to_owned();
        let dialled = user_of(first_uri(&callee.heard)).to_owned();
        self.check(
            "the callee's telephone rang as",
            same(&dialled, scene.callee),
            &dialled,
        );
        self.check("the caller ID it saw", same(&shown, scene.shown), &shown);
        if scene.shown != scene.caller {
            let digits = scene.caller.trim_start_matches('+');
            let hidden = !callee.heard.contains(digits)
                && !caller.heard.contains(scene.callee.trim_start_matches('+'));
            self.check(
                "real numbers in what either side got",
                hidden,
                if hidden { "none" } else { "found" },
            );
        }
        let (at_callee, at_caller) = audio::converse(
            (&self.carrier_line, caller.media),
            (&self.subscriber_line, callee.media),
            TALK,
        )
        .map_err(|error| error.to_string())?;
        self.judge("sound to the callee", &at_callee, 440);
        self.judge("sound to the caller", &at_caller, 1000);
        if scene.caller_hangs_up {
            self.hang_up(true, &mut caller)
        } else {
            self.hang_up(false, &mut callee)
        }
    }

    fn connect(&mut self, scene: &Scene<'_>) -> Result<(Dialog, Dialog), String> {
        let (carrier, subscriber, sip) = (&mut self.carrier, &mut self.subscriber, self.sip);
        std::thread::scope(|scope| {
            let answering = scope.spawn(|| subscriber.answer());
            let caller = carrier.call(sip, scene.caller, scene.dial)?;
            let callee = answering
                .join()
                .map_err(|_| "the subscriber's telephone failed")??;
            Ok((caller, callee))
        })
    }

    fn hang_up(&mut self, caller_first: bool, dialog: &mut Dialog) -> Result<(), String> {
        let (first, second) = if caller_first {
            (&mut self.carrier, &mut self.subscriber)
        } else {
            (&mut self.subscriber, &mut self.carrier)
        };
        std::thread::scope(|scope| {
            let other = scope.spawn(|| second.await_end());
            first.hang_up(dialog)?;
            other.join().map_err(|_| "a telephone failed")?
        })
    }

    fn refused(&mut self, number: &str) -> Result<(), String> {
        let outcome = self.carrier.call(self.sip, STRANGER, number);
        let said = outcome.err().unwrap_or_else(|| "answered".to_owned());
        self.check(
            "a stranger who calls the driver's group number gets",
            said.contains(" 403 "),
            &said,
        );
        Ok(())
    }

    fn judge(&mut self, what: &str, heard: &Heard, tone: u32) {
        let lost = heard.sent - heard.received;
        let line = format!(
            "{} packets sent, {} arrived, {lost} lost; delay {:.2} ms median, {:.2} ms longest; tone {} Hz",
            heard.sent,
            heard.received,
            heard.delay_median.as_secs_f64() * 1e3,
            heard.delay_max.as_secs_f64() * 1e3,
            heard.tone
        );
        self.check(
            what,
            heard.sent > 100 && lost == 0 && heard.tone == tone,
            &line,
        );
    }

    fn books(&mut self, customer: &str, single: &Value, group: &Value) -> Result<(), String> {
        let records = self.records(customer)?;
        for record in &records {
            let field = |name: &&str| format!("{name}={}", text(record, name));
            let line: Vec<String> = SHOWN_FIELDS.iter().map(field).collect();
            println!("   record: {}", line.join(" "));
        }
        let answered: Vec<&Value> = records
            .iter()
            .filter(|record| text(record, "sip_code") == "200")
            .collect();
        let references: Vec<String> = answered
            .iter()
            .map(|record| text(record, "reference_id"))
            .collect();
        self.check(
            "records of both calls",
            answered.len() == 2
                && references.contains(&text(single, "reference_id"))
                && references.contains(&text(group, "reference_id")),
            &format!("{} answered, {} in all", answered.len(), records.len()),
        );
        let mut charged = 0;
        for record in answered {
            let right = is_charged_right(record);
            charged = figure(record, "charge").saturating_add(charged);
            self.check(
                "blocks charged",
                right
                    && text(record, "to_callee_packets") == "150"
                    && text(record, "to_caller_packets") == "150",
                &format!(
                    "{} blocks, {} credits",
                    text(record, "blocks"),
                    text(record, "charge")
                ),
            );
        }
        self.ledger(customer, charged)
    }

    fn ledger(&mut self, customer: &str, charged: i64) -> Result<(), String> {
        let ledger = self.post("customer/ledger", &[("customer_id", customer)])?;
        let entries = ledger
            .get("entries")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let mut sum = 0;
        for entry in &entries {
            println!(
                "   ledger: {:<8} {:>8} credits, balance {}",
                text(entry, "kind"),
                text(entry, "credit"),
                text(entry, "balance")
            );
            sum = figure(entry, "credit").saturating_add(sum);
        }
        let view = self.post("customer/view", &[("customer_id", customer)])?;
        let balance = text(&view, "account_credit");
        self.check(
            "balance is the sum of the entries",
            balance == sum.to_string() && sum == OPENING.saturating_sub(charged),
            &format!("{balance} credits after {} entries", entries.len()),
        );
        Ok(())
    }

    /// The records of this demonstration's three calls, as soon as they can be queried (the
    /// contract allows a second; a machine that is busy otherwise takes longer).
    fn records(&mut self, customer: &str) -> Result<Vec<Value>, String> {
        for _ in 0..600 {
            let answer = http::post(
                self.api,
                &self.token,
                "cdr/query",
                &[("customer_id", customer)],
            )
            .map_err(|error| error.to_string())?;
            let records = answer
                .get("records")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default();
            if records.len() >= 3 {
                println!("   cdr/query -> {} records", records.len());
                return Ok(records);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err("the call records did not appear".to_owned())
    }

    fn post(&mut self, operation: &str, form: &[(&str, &str)]) -> Result<Value, String> {
        let answer = http::post(self.api, &self.token, operation, form)
            .map_err(|error| format!("{operation}: {error}"))?;
        println!("   {operation} -> {answer}");
        if answer.get("status").and_then(Value::as_i64) == Some(0) {
            Ok(answer)
        } else {
            Err(format!("{operation} failed"))
        }
    }

    fn check(&mut self, what: &str, right: bool, seen: &str) {
        println!(
            "   {} {what}: {seen}",
            if right { "ok   " } else { "FAULT" }
        );
        if !right {
            self.faults += 1;
        }
    }

    fn stay(&mut self) {
        println!(
            "\nStill running: API http://{}   SIP udp:{}",
            self.api, self.sip
        );
        println!("  token for `Authorization: Bearer`: {}", self.token);
        println!(
            "  outbound calls go to {} (answer there); data in {}",
            self.subscriber.address(),
            self.directory.path().display()
        );
        println!("End it with Ctrl-C.");
        self.gateway.wait();
    }
}

/// The number that `phone` got in a lease's answer.
fn leased(answer: &Value, phone: &str) -> Result<String, String> {
    answer
        .get("lease_info")
        .and_then(Value::as_object)
        .and_then(|pairs| {
            pairs
                .iter()
                .find(|(_, value)| value.as_str() == Some(phone))
        })
        .map(|(number, _)| number.clone())
        .ok_or_else(|| format!("no number for {phone} in the answer"))
}

fn text(value: &Value, name: &str) -> String {
    value
        .get(name)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

/// A field that is a number; one that nothing adds up with where it is none.
fn figure(value: &Value, name: &str) -> i64 {
    text(value, name).parse().unwrap_or(i64::MIN / 8)
}

/// Whether the blocks are those of the call's duration, and the charge that of the blocks.
fn is_charged_right(record: &Value) -> bool {
    let blocks = figure(record, "blocks");
    let seconds = figure(record, "duration_seconds");
    let whole = (seconds + BLOCK_SECONDS - 1) / BLOCK_SECONDS;
    blocks == whole.max(1) && figure(record, "charge") == blocks.saturating_mul(RATE)
}

fn same(one: &str, other: &str) -> bool {
    one.trim_start_matches('+') == other.trim_start_matches('+')
}

fn first_uri(request: &str) -> &str {
    request.split(' ').nth(1).unwrap_or_default()
}

/// 64 hexadecimal digits, drawn anew each time.
fn secret() -> String {
    format!(
        "{}{}",
        uuid::Uuid::new_v4().simple(),
        uuid::Uuid::new_v4().simple()
    )
}

fn configuration(data: &std::path::Path, subscriber: SocketAddr, secret: &str, sip: u16) -> String {
    format!(
        r#"
[node]
name = "demo"
data_dir = "{data}"
drain_timeout = "5s"

[http]
listen = "127.0.0.1:0"
max_connections = 128

[[http.keys]]
kid = "demo"
algorithm = "HS256"
secret = "{secret}"

[[http.clients]]
name = "demo"
scopes = ["lease", "customer:read", "customer:write", "numbers", "cdr", "admin"]
customers = "all"

[sip]
listen = ["udp:127.0.0.1:{sip}"]

[[trunk]]
name = "carrier-in"
direction = "inbound"
sources = ["127.0.0.1/32"]
trusted = true

[[trunk]]
name = "carrier-out"
direction = "outbound"
target = "sip:{subscriber}"
options_interval = "0s"

[media]
address = "127.0.0.1"
ports = "24000-24199"

[numbering]
timezone = "Asia/Kuala_Lumpur"
pool = ["+60388880000-+60388880099"]
cooldown = "0s"
allowed_targets = ["MY"]
emergency = ["999", "112"]
"#,
        data = data.display()
    )
}

/// A UDP port for SIP. Below those that the system gives to whoever asks for any, so that none of
/// these gets it before the gateway does.
fn free_port() -> std::io::Result<u16> {
    let places = 20_000..24_000u16;
    let first = places.start + u16::try_from(std::process::id() % 4_000).unwrap_or(0);
    (first..places.end)
        .chain(places.start..first)
        .find(|port| std::net::UdpSocket::bind(("127.0.0.1", *port)).is_ok())
        .ok_or_else(|| std::io::Error::other("no UDP port is free for SIP"))
}

mod tempfile_directory {
    //! A directory that is removed with everything in it.

    use std::path::{Path, PathBuf};

    /// The directory; removed when dropped.
    #[derive(Debug)]
    pub struct Directory(PathBuf);

    impl Directory {
        /// A fresh one under the system's.
        ///
        /// # Errors
        /// The file system's.
        pub fn new() -> std::io::Result<Self> {
            let path =
                std::env::temp_dir().join(format!("leasebridge-demo-{}", uuid::Uuid::new_v4()));
            std::fs::create_dir(&path)?;
            Ok(Self(path))
        }

        /// Where it is.
        pub fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_charged_by_how_long_it_lasted() {
        let right = |duration: &str, blocks: &str, charge: &str| {
            is_charged_right(&serde_json::json!({
                "duration_seconds": duration, "blocks": blocks, "charge": charge,
            }))
        };
        assert!(right("4", "2", "300") && right("5", "3", "450") && right("0", "1", "150"));
        assert!(!right("5", "2", "300") && !right("4", "3", "450"));
        assert!(!right("4", "2", "299") && !right("", "2", "300"));
    }
}
