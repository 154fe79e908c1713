//! A call's life in the log at INFO (operations, "Logs"): started, ringing, answered, ended. Each
//! line has the call's id and, once there is one, the lease's reference: with these its record is
//! found. No number stands in any.
//!
//! Fields are read and formatted only where the line is wanted: a level that is off costs a
//! comparison.

use crate::call::event::SipCommand;
use crate::domain::{CallId, CallRecord, ReferenceId};
use std::fmt;

/// A lease's reference, or nothing.
struct Lease(Option<ReferenceId>);

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |reference| reference.fmt(f))
    }
}

/// A trunk takes no calls any more, or takes them again.
pub(super) fn trunk(name: &str, up: bool) {
    if up {
        tracing::info!(trunk = name, "trunk up");
    } else {
        tracing::warn!(trunk = name, "trunk down");
    }
}

/// The INVITE came.
pub(super) fn started(id: CallId, trunk_in: &str) {
    tracing::info!(call_id = %id, trunk_in, "call started");
}

/// What a command to the SIP layer says of the call's life. `rang`: whether it was said already that
/// it rings (there may be many responses that say so).
pub(super) fn commanded(record: &CallRecord, command: &SipCommand, rang: &mut bool) {
    match command {
        // A caller who hears a recording hears no ringing.
        SipCommand::Progress { .. } if !*rang && record.ringing_at.is_some() => {
            *rang = true;
            ringing(record);
        }
        SipCommand::Accept { .. } => answered(record),
        _ => {}
    }
}

fn ringing(record: &CallRecord) {
    tracing::info!(
        call_id = %record.call_id,
        reference_id = %Lease(record.reference_id),
        trunk_out = %record.trunk_out,
        "call ringing"
    );
}

fn answered(record: &CallRecord) {
    tracing::info!(
        call_id = %record.call_id,
        reference_id = %Lease(record.reference_id),
        trunk_out = %record.trunk_out,
        "call answered"
    );
}

/// The call's record came to the books.
pub(super) fn ended(record: &CallRecord) {
    tracing::info!(
        call_id = %record.call_id,
        reference_id = %Lease(record.reference_id),
        trunk_in = %record.trunk_in,
        trunk_out = %record.trunk_out,
        reason = %record.reason,
        sip_code = record.sip_code,
        duration_ms = record.duration_millis,
        "call ended"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::books::command::{CallCommand, Command, PoolRange};
    use crate::books::tests::customer;
    use crate::books::{Books, Settings, Ticket};
    use crate::call::Call;
    use crate::call::event::{Fork, LedgerCommand};
    use crate::domain::numbering::{NumberStyle, Plan};
    use crate::domain::*;
    use crate::engine::books_thread::Core;
    use std::io::Write;
    use std::sync::{Arc, Mutex};
    use tracing::Level;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: Level, work: impl FnOnce()) -> Vec<String> {
        let lines = Lines::default();
        let kept = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_ansi(false)
            .with_writer(move || lines.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, work);
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn record() -> CallRecord {
        let mut record = Call::new(CallKey(1)).record().clone();
        record.call_id = CallId(uuid::Uuid::from_u128(1));
        record.reference_id = Some(ReferenceId(uuid::Uuid::from_u128(2)));
        record.leased_number = "60388880001".into();
        record.shown_number = "60388880002".into();
        record.caller = Some(E164::from_digits("60123456789").unwrap());
        record.callee = Some(E164::from_digits("60129876543").unwrap());
        record.trunk_in = "carrier-in".into();
        record.trunk_out = "carrier-out".into();
        record.reason = "completed".into();
        record
    }

    #[test]
    fn each_line_names_the_call_and_its_lease_and_no_number() {
        let record = record();
        let lines = logged(Level::INFO, || {
            started(record.call_id, &record.trunk_in);
            ringing(&record);
            answered(&record);
            ended(&record);
        });
        let words = [
            "call started",
            "call ringing",
            "call answered",
            "call ended",
        ];
        assert_eq!(lines.len(), words.len(), "{lines:?}");
        for (line, word) in lines.iter().zip(words) {
            assert!(line.contains(word), "{line}");
            let call = format!("call_id={}", record.call_id);
            assert!(line.contains(&call), "{line}");
            let lease = line.contains("reference_id=00000000-0000-0000-0000-000000000002");
            assert_eq!(lease, word != "call started", "{line}");
            for number in ["038888", "60123456789", "60129876543"] {
                assert!(!line.contains(number), "{line}");
            }
        }
    }

    /// A call that was refused once its lease was found: the worker has never heard the reference.
    #[test]
    fn the_end_names_the_lease_that_only_the_books_know() {
        let now = Now {
            mono: std::time::Instant::now(),
            wall: UnixMillis(1_767_225_600_000),
        };
        let mut books = Books::new(settings());
        books.loaded(now).unwrap();
        let number = |digits| E164::from_digits(digits).unwrap();
        let reference = ReferenceId(uuid::Uuid::from_u128(2));
        let commands = [
            Command::AddNumbers(vec![PoolRange {
                first: number("60388880001"),
                last: number("60388880001"),
                style: NumberStyle {
                    strip: 0,
                    prefix: "".into(),
                },
            }]),
            Command::CreateCustomer {
                customer: Box::new(customer()),
                opening: Credit(0),
            },
            Command::LeaseSingle {
                reference,
                customer: CustomerId(1),
                phone: Phone {
                    number: number("60129876543"),
                    spelling: "60129876543".into(),
                },
                expires: now.wall.plus(std::time::Duration::from_secs(60)),
                whitelist: Vec::new(),
            },
        ];
        for (ticket, command) in (0..).zip(commands) {
            books.request(Ticket(ticket), command, None, None, now);
        }
        let mut refused = record();
        refused.reference_id = None;
        refused.leased_number = "+60388880001".into();
        refused.received_at = now.wall;
        refused.customer_id = Some(CustomerId(1));
        refused.lease_kind = Some(LeaseKind::Single);
        let command = CallCommand {
            worker: 0,
            key: CallKey(1),
            call_id: refused.call_id,
            command: LedgerCommand::Close(Box::new(refused)),
        };
        let lines = logged(Level::INFO, || Core::call(&mut books, command, now));
        let [line] = &lines[..] else {
            panic!("{lines:?}")
        };
        let lease = format!("reference_id={}", reference.0);
        assert!(
            line.contains("call ended") && line.contains(&lease),
            "{line}"
        );
    }

    fn settings() -> Settings {
        Settings {
            cooldown: std::time::Duration::ZERO,
            max_per_phone: 100,
            hang_up_at_end: false,
            calls_per_lease: 1,
            calls_per_customer: 0,
            keep_answers: std::time::Duration::from_secs(60),
            target_allowed: Plan::target_allowed,
            plan: Arc::new(Plan::default()),
        }
    }

    #[test]
    fn it_rings_once() {
        let (mut record, mut rang) = (record(), false);
        let progress = SipCommand::Progress {
            fork: Fork(1),
            status: 180,
            body: None,
        };
        let announced = logged(Level::INFO, || commanded(&record, &progress, &mut rang));
        assert!(
            announced.is_empty(),
            "a recording is no ringing: {announced:?}"
        );
        record.ringing_at = Some(record.received_at);
        let lines = logged(Level::INFO, || {
            commanded(&record, &progress, &mut rang);
            commanded(&record, &progress, &mut rang);
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        let lines = logged(Level::WARN, || {
            commanded(&record, &progress, &mut false);
            ended(&record);
        });
        assert!(lines.is_empty(), "{lines:?}");
    }
}
