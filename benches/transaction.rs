//! The transaction table: whole transactions, from the first message to the last timer, in a table
//! that holds as many others as 1,500 calls a second keep alive.

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use leasebridge::sip::codec::parse;
use leasebridge::sip::message::{Header, Method, Path, Transport, Writer};
use leasebridge::sip::transaction::{Input, Output, Settings, TransactionId, Transactions};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Others in the table.
const BACKGROUND: u64 = 200_000;

fn path() -> Path {
    Path {
        transport: Transport::Udp,
        local: ([192, 0, 2, 1], 5060).into(),
        remote: ([192, 0, 2, 10], 5060).into(),
    }
}

fn request(method: Method, number: u64) -> (String, Bytes) {
    let branch = format!("z9hG4bKabcdefghijkl{number}");
    let mut writer = Writer::request(method, "sip:+60388880001@gw.example.com");
    writer
        .header_fmt(
            Header::Via,
            format_args!("SIP/2.0/UDP 192.0.2.1:5060;branch={branch};rport"),
        )
        .header(Header::MaxForwards, "70")
        .header(Header::From, "<sip:a@example.com>;tag=abcdefgh")
        .header(Header::To, "<sip:b@example.com>;tag=ijklmnop")
        .header_fmt(Header::CallId, format_args!("call{number}"))
        .header_fmt(Header::CSeq, format_args!("1 {}", method.as_str()));
    (branch, writer.finish(None))
}

fn drain(table: &mut Transactions) -> Option<TransactionId> {
    let mut begun = None;
    while let Some(output) = table.poll_output() {
        if let Output::Request { id, .. } = &output {
            begun = Some(*id);
        }
        black_box(output);
    }
    begun
}

fn expire(table: &mut Transactions, now: Instant) {
    while table.poll_timeout().is_some_and(|at| at <= now) {
        table.handle_timeout(now);
        drain(table);
    }
}

/// A request served: received, answered, and its timer J run out 32 s on.
fn serve(table: &mut Transactions, number: u64, now: Instant) {
    let (_, bytes) = request(Method::Bye, number);
    let Ok(message) = parse(bytes) else {
        return;
    };
    let response = Writer::response_to(&message, 200, None, path()).finish(None);
    table.handle(Input::Receive(message, path()), now);
    if let Some(id) = drain(table) {
        table.handle(
            Input::Respond {
                id,
                status: 200,
                bytes: response,
            },
            now,
        );
        drain(table);
    }
}

/// A request asked: sent, answered, and its timer K run out 5 s on.
fn ask(table: &mut Transactions, number: u64, now: Instant) {
    let (branch, bytes) = request(Method::Bye, number);
    let Ok(message) = parse(bytes.clone()) else {
        return;
    };
    let response = parse(Writer::response_to(&message, 200, None, path()).finish(None));
    let id = table.next_id();
    table.handle(
        Input::Request {
            id,
            method: Method::Bye,
            branch: branch.into(),
            bytes,
            path: path(),
        },
        now,
    );
    drain(table);
    if let Ok(response) = response {
        table.handle(Input::Receive(response, path()), now);
        drain(table);
    }
}

/// Time goes on by so much each step that the table stays about as full as it began.
fn steady(criterion: &mut Criterion, name: &str, step: fn(&mut Transactions, u64, Instant)) {
    let mut table = Transactions::new(Settings::default());
    let mut now = Instant::now();
    let mut number = 0;
    let pace = Duration::from_secs(32) / u32::try_from(BACKGROUND).unwrap_or(u32::MAX);
    while number < BACKGROUND {
        number += 1;
        now += pace;
        serve(&mut table, number, now);
    }
    criterion.bench_function(name, |bencher| {
        bencher.iter(|| {
            number += 1;
            now += pace;
            step(&mut table, number, now);
            expire(&mut table, now);
        });
    });
    println!("{name}: {:?} transactions at the end", table.alive());
}

/// What the two above cost without a table.
fn messages(criterion: &mut Criterion) {
    let mut number = 0;
    criterion.bench_function("transaction/messages_alone", |bencher| {
        bencher.iter(|| {
            number += 1;
            let (_, bytes) = request(Method::Bye, number);
            parse(bytes)
                .map(|message| Writer::response_to(&message, 200, None, path()).finish(None))
        });
    });
}

fn transactions(criterion: &mut Criterion) {
    messages(criterion);
    steady(criterion, "transaction/serve", serve);
    steady(criterion, "transaction/ask", ask);
}

criterion_group!(benches, transactions);
criterion_main!(benches);
