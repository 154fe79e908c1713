//! Each metric moves when what it counts happens, and the text is what a scraper reads.

use super::*;
use crate::domain::{CallId, CallQuality, Credit, EndedBy};
use crate::observe::worker::WorkerFigures;
use crate::observe::{Buckets, Sink};

fn record() -> CallRecord {
    let figures = MediaFigures {
        packets: 950,
        bytes: 150_000,
        lost: 50,
        reordered: 0,
        jitter_micros: 4_000,
    };
    CallRecord {
        call_id: CallId(uuid::Uuid::nil()),
        caller_leg_call_id: "a".into(),
        callee_leg_call_id: "b".into(),
        reference_id: None,
        customer_id: None,
        lease_kind: Some(LeaseKind::Group),
        caller: None,
        callee: None,
        leased_number: "60388880001".into(),
        shown_number: "60388880002".into(),
        trunk_in: "in".into(),
        trunk_out: "out".into(),
        received_at: UnixMillis(10_000),
        ringing_at: Some(UnixMillis(10_200)),
        answered_at: Some(UnixMillis(14_000)),
        ended_at: UnixMillis(104_000),
        duration_millis: 90_000,
        blocks: 2,
        block_seconds: 60,
        rate: Credit(100),
        charge: Credit(200),
        ended_by: EndedBy::Caller,
        reason: "completed".into(),
        sip_code: 200,
        q850_cause: 16,
        to_callee: figures,
        to_caller: figures,
        guard_hits: 0,
        vouching: None,
        quality: Some(CallQuality {
            to_callee: MediaQuality {
                score_hundredths: Some(380),
                round_trip_micros: Some(30_000),
                reported: None,
            },
            to_caller: MediaQuality {
                score_hundredths: Some(410),
                ..MediaQuality::default()
            },
        }),
    }
}

/// Value of the sample that begins with `start`.
fn value(text: &str, start: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(start));
    let line = line.unwrap_or_else(|| panic!("no {start} in:\n{text}"));
    line.trim().parse().unwrap()
}

fn assert_value(metrics: &Metrics, start: &str, expected: f64) {
    let found = value(&metrics.render().unwrap(), start);
    assert!(
        (found - expected).abs() < 1e-9,
        "{start}: {found}, expected {expected}"
    );
}

#[test]
fn an_answered_call_moves_all_of_its_metrics() {
    let metrics = Metrics::new().unwrap();
    metrics.call_ended(&record());
    let calls = "leasebridge_calls_total{kind=\"group\",outcome=\"completed\",trunk_in=\"in\",\
                 trunk_out=\"out\"}";
    assert_value(&metrics, calls, 1.0);
    for (start, expected) in [
        (
            "leasebridge_call_ringing_seconds_sum{trunk_out=\"out\"}",
            0.2,
        ),
        (
            "leasebridge_call_answer_seconds_sum{trunk_out=\"out\"}",
            4.0,
        ),
        (
            "leasebridge_call_duration_seconds_sum{trunk_out=\"out\"}",
            90.0,
        ),
        (
            "leasebridge_call_duration_seconds_count{trunk_out=\"out\"}",
            1.0,
        ),
        ("leasebridge_charged_blocks_total{kind=\"group\"}", 2.0),
        ("leasebridge_charged_credits_total{kind=\"group\"}", 200.0),
        (
            "leasebridge_media_loss_ratio_sum{direction=\"to_callee\",trunk=\"in\"}",
            0.05,
        ),
        (
            "leasebridge_media_jitter_seconds_sum{direction=\"to_caller\",trunk=\"out\"}",
            0.004,
        ),
        (
            "leasebridge_media_mos_count{direction=\"to_caller\",trunk=\"out\"}",
            1.0,
        ),
    ] {
        assert_value(&metrics, start, expected);
    }
    for (start, expected) in [
        ("mos_sum{direction=\"to_caller\",trunk=\"out\"}", 4.1),
        ("mos_sum{direction=\"to_callee\",trunk=\"in\"}", 3.8),
        (
            "round_trip_seconds_sum{direction=\"to_callee\",trunk=\"out\"}",
            0.03,
        ),
    ] {
        assert_value(&metrics, &format!("leasebridge_media_{start}"), expected);
    }
}

#[test]
fn a_refused_call_counts_as_a_call_alone() {
    let metrics = Metrics::new().unwrap();
    let mut record = record();
    record.lease_kind = None;
    record.trunk_out = "".into();
    record.reason = "no_lease".into();
    record.ringing_at = None;
    record.answered_at = None;
    record.blocks = 0;
    metrics.call_ended(&record);
    let text = metrics.render().unwrap();
    let calls = "leasebridge_calls_total{kind=\"none\",outcome=\"no_lease\",trunk_in=\"in\",\
                 trunk_out=\"\"}";
    assert_value(&metrics, calls, 1.0);
    assert!(
        !text.contains("leasebridge_call_duration_seconds_count"),
        "{text}"
    );
    for kind in ["single", "group"] {
        let blocks = format!("leasebridge_charged_blocks_total{{kind=\"{kind}\"}}");
        assert_value(&metrics, &blocks, 0.0);
    }
}

#[test]
fn what_may_come_is_there_at_nought() {
    let metrics = Metrics::new().unwrap();
    metrics.expect_trunk_out("out");
    metrics.expect_calls("in", "out", Some(LeaseKind::Single), ["completed"]);
    metrics.expect_calls("in", "", None, ["no_lease"]);
    for start in [
        "leasebridge_calls_total{kind=\"single\",outcome=\"completed\",trunk_in=\"in\",trunk_out=\"out\"}",
        "leasebridge_calls_total{kind=\"none\",outcome=\"no_lease\",trunk_in=\"in\",trunk_out=\"\"}",
        "leasebridge_call_ringing_seconds_count{trunk_out=\"out\"}",
        "leasebridge_call_answer_seconds_count{trunk_out=\"out\"}",
        "leasebridge_call_duration_seconds_count{trunk_out=\"out\"}",
        "leasebridge_charged_blocks_total{kind=\"group\"}",
        "leasebridge_charged_credits_total{kind=\"single\"}",
        "leasebridge_guard_hits_total{part=\"sip\"}",
        "leasebridge_sip_events_total{detail=\"garbage\",event=\"sip_dropped\"}",
        "leasebridge_media_loss_ratio_count{direction=\"to_callee\",trunk=\"in\"}",
        "leasebridge_media_jitter_seconds_count{direction=\"to_caller\",trunk=\"out\"}",
        "leasebridge_media_mos_count{direction=\"to_caller\",trunk=\"out\"}",
        "leasebridge_media_round_trip_seconds_count{direction=\"to_caller\",trunk=\"in\"}",
    ] {
        assert_value(&metrics, start, 0.0);
    }
}

#[test]
fn no_label_shows_a_number() {
    let metrics = Metrics::new().unwrap();
    metrics.call_ended(&record());
    assert!(!metrics.render().unwrap().contains("6038888"));
}

#[test]
fn guard_and_sip_events_are_counted() {
    let metrics = Metrics::new().unwrap();
    metrics.sip_guard_hit();
    metrics.announcement("no_lease", "played");
    metrics.rtcp_guard_hits(3);
    metrics.rtcp_guard_hits(0);
    metrics.sip_event("dropped", "unknown_source");
    assert_value(&metrics, "leasebridge_guard_hits_total{part=\"sip\"}", 1.0);
    assert_value(&metrics, "leasebridge_guard_hits_total{part=\"rtcp\"}", 3.0);
    let event = "leasebridge_sip_events_total{detail=\"unknown_source\",event=\"dropped\"}";
    assert_value(&metrics, event, 1.0);
    for (announcement, count) in [("no_lease", 1.0), ("credit_warning", 0.0)] {
        let row = format!(
            "leasebridge_announcements_total{{announcement=\"{announcement}\",outcome=\"played\"}}"
        );
        assert_value(&metrics, &row, count);
    }
}

#[test]
fn what_came_of_identities_is_counted() {
    let metrics = Metrics::new().unwrap();
    let mut record = record();
    metrics.call_ended(&record);
    record.vouching = Some(crate::domain::Vouching::bare(crate::domain::Verdict::Stale));
    metrics.call_ended(&record);
    let row = |verdict| {
        format!("leasebridge_sip_events_total{{detail=\"{verdict}\",event=\"identity\"}}")
    };
    assert_value(&metrics, &row("stale"), 1.0);
    assert_value(&metrics, &row("missing"), 0.0);
}

#[test]
fn workers_are_summed() {
    let metrics = Metrics::new().unwrap();
    for _ in 0..2 {
        let figures = Arc::new(WorkerFigures::default());
        figures.received(b"INVITE sip:a SIP/2.0\r\n");
        figures.sent(b"SIP/2.0 100 Trying\r\n");
        figures.set_repeats(2, 3);
        figures.set_alive(4, 5, 6);
        figures.set_queue(7);
        figures.line(3, 1, 5);
        figures.set_connections(8, 9, 10);
        assert_eq!(figures.calls(), 4);
        metrics.add_source(figures);
    }
    for (start, expected) in [
        (
            "leasebridge_sip_messages_total{direction=\"received\",message=\"INVITE\"}",
            2.0,
        ),
        (
            "leasebridge_sip_messages_total{direction=\"sent\",message=\"1xx\"}",
            2.0,
        ),
        (
            "leasebridge_sip_retransmissions_total{direction=\"sent\"}",
            4.0,
        ),
        (
            "leasebridge_sip_retransmissions_total{direction=\"received\"}",
            6.0,
        ),
        ("leasebridge_calls_up", 8.0),
        ("leasebridge_sip_transactions", 10.0),
        ("leasebridge_sip_dialogs", 12.0),
        ("leasebridge_sip_connections{transport=\"tcp\"}", 16.0),
        ("leasebridge_sip_connections{transport=\"tls\"}", 18.0),
        ("leasebridge_sip_unsent_bytes", 20.0),
        ("leasebridge_queue_depth{queue=\"worker\"}", 14.0),
        ("leasebridge_queue_depth{queue=\"invites\"}", 6.0),
        ("leasebridge_refused_total{bound=\"worker_overload\"}", 2.0),
        ("leasebridge_refused_total{bound=\"worker_handover\"}", 10.0),
    ] {
        assert_value(&metrics, start, expected);
    }
}

#[test]
fn pulled_histograms_are_cumulative() {
    let metrics = Metrics::new().unwrap();
    for _ in 0..2 {
        metrics.add_source(Arc::new(|sink: &mut Sink| {
            let buckets = Buckets {
                counts: vec![(0.001, 3), (0.01, 2)],
                above: 1,
                sum: 0.5,
            };
            sink.add_buckets(&catalogue::COMMIT_SECONDS, &[], &buckets);
        }));
    }
    for (start, expected) in [
        ("leasebridge_store_commit_seconds_bucket{le=\"0.001\"}", 6.0),
        ("leasebridge_store_commit_seconds_bucket{le=\"0.01\"}", 10.0),
        ("leasebridge_store_commit_seconds_bucket{le=\"+Inf\"}", 12.0),
        ("leasebridge_store_commit_seconds_count", 12.0),
        ("leasebridge_store_commit_seconds_sum", 1.0),
    ] {
        assert_value(&metrics, start, expected);
    }
}

#[test]
fn the_process_shows_its_own_figures() {
    let metrics = Metrics::new().unwrap();
    let text = metrics.render().unwrap();
    for name in [
        "leasebridge_open_descriptors",
        "leasebridge_max_descriptors",
        "leasebridge_resident_memory_bytes",
        "leasebridge_threads",
    ] {
        assert!(value(&text, name) >= 1.0, "{name}");
    }
    assert!(value(&text, "leasebridge_cpu_seconds_total") >= 0.0);
    assert_value(&metrics, "leasebridge_build_info{version=\"0.1.0\"}", 1.0);
}

/// Whatever a source puts in comes out under the row's own kind.
#[test]
fn every_row_renders_under_its_kind() {
    for row in catalogue::ALL {
        let mut sink = Sink::default();
        let labels: Vec<&str> = row.labels.iter().map(|_| "x").collect();
        match row.kind {
            Kind::Histogram(_) => sink.add_buckets(row, &labels, &Buckets::default()),
            _ => sink.add(row, &labels, 1),
        }
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&sink.families(), &mut text)
            .unwrap();
        let text = String::from_utf8(text).unwrap();
        let kind = match row.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        assert!(
            text.contains(&format!("# TYPE {} {kind}\n", row.name)),
            "{text}"
        );
    }
}
