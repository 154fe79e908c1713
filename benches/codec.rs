//! Reading and writing SIP messages: time, and allocations by a counting allocator.

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use leasebridge::sip::codec::{self, first_line_peek, glance, parse};
use leasebridge::sip::message::{Header, Method, Path, Transport, Writer};
use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SDP: &str = "v=0\r\no=- 1700000000 1700000000 IN IP4 192.0.2.4\r\ns=-\r\nc=IN IP4 192.0.2.4\r\n\
t=0 0\r\nm=audio 20000 RTP/AVP 8 0 18 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n\
a=rtpmap:18 G729/8000\r\na=fmtp:18 annexb=no\r\na=rtpmap:101 telephone-event/8000\r\n\
a=fmtp:101 0-16\r\na=ptime:20\r\na=maxptime:150\r\na=sendrecv\r\n";

/// An INVITE of 1.2 kB as a carrier sends it.
fn invite() -> Bytes {
    let head = format!(
        "INVITE sip:+60388880001@gw.example.com:5060;user=phone SIP/2.0\r\n\
Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bKa1b2c3d4e5f6a7b8c9d0;rport\r\n\
Via: SIP/2.0/UDP 192.0.2.20:5060;received=192.0.2.20;branch=z9hG4bK776asdhds\r\n\
Record-Route: <sip:192.0.2.10;lr;ftag=9fxced76sl>\r\n\
Max-Forwards: 68\r\n\
From: \"Alice\" <sip:+60123456789@carrier.example.com;user=phone>;tag=9fxced76sl\r\n\
To: <sip:+60388880001@gw.example.com;user=phone>\r\n\
Call-ID: 3848276298220188511@carrier.example.com\r\n\
CSeq: 101 INVITE\r\n\
Contact: <sip:+60123456789@192.0.2.20:5060;transport=udp>\r\n\
Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, PRACK, UPDATE\r\n\
Supported: timer, 100rel, replaces\r\n\
P-Asserted-Identity: <sip:+60123456789@carrier.example.com>\r\n\
User-Agent: Carrier/1.0\r\n\
X-Carrier-Trace: 5f1c9b7a-2d44-4a41-9a55-0c7be1a9d1f3;leg=a;node=edge-17;zone=kl\r\n\
P-Charging-Vector: icid-value=5f1c9b7a2d44;icid-generated-at=192.0.2.20\r\n\
Content-Type: application/sdp\r\n\
Content-Length: {}\r\n\r\n",
        SDP.len()
    );
    Bytes::from(head + SDP)
}

fn source() -> Path {
    Path {
        transport: Transport::Udp,
        local: ([192, 0, 2, 1], 5060).into(),
        remote: ([192, 0, 2, 10], 5060).into(),
    }
}

/// Parses and looks at what decides about a message.
fn classify(datagram: Bytes) -> usize {
    let Ok(message) = parse(datagram) else {
        return 0;
    };
    usize::from(message.method() == Method::Invite)
        + message.to_tag().len()
        + message.from_tag().len()
        + message.call_id().len()
        + message.top_via().branch.map_or(0, str::len)
}

fn print_allocations(what: &str, mut work: impl FnMut()) {
    work();
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    work();
    let after = ALLOCATIONS.load(Ordering::Relaxed);
    println!("{what}: {} allocations", after - before);
}

fn reading(criterion: &mut Criterion) {
    let datagram = invite();
    println!("an INVITE of {} bytes", datagram.len());
    print_allocations("parse and classify", || {
        black_box(classify(black_box(datagram.clone())));
    });
    let mut group = criterion.benchmark_group("codec");
    group.throughput(Throughput::Bytes(datagram.len() as u64));
    group.bench_function("parse_and_classify", |bencher| {
        bencher.iter(|| classify(black_box(datagram.clone())));
    });
    group.bench_function("peek", |bencher| {
        bencher.iter(|| first_line_peek(black_box(&datagram)));
    });
    group.bench_function("glance", |bencher| {
        bencher.iter(|| glance(black_box(&datagram)).call_id.map(<[u8]>::len));
    });
    group.bench_function("refuse_unparsed", |bencher| {
        let retry = [(Header::RetryAfter, "5")];
        bencher.iter(|| {
            codec::refuse(
                black_box(&datagram),
                503,
                "Service Unavailable",
                &retry,
                "tag",
                source(),
            )
        });
    });
    group.bench_function("rsip_for_comparison", |bencher| {
        bencher.iter(|| parse(datagram.clone()).map(|message| codec::typed(&message).is_ok()));
    });
    group.finish();
}

fn writing(criterion: &mut Criterion) {
    let Ok(request) = parse(invite()) else {
        return;
    };
    let respond = || {
        let mut writer = Writer::response_to(&request, 200, Some("abcdefgh"), source());
        writer
            .copy(&request, Header::RecordRoute)
            .header(Header::Contact, "<sip:gw.example.com:5060>")
            .header(Header::Allow, "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO");
        writer.finish(Some(("application/sdp", SDP.as_bytes())))
    };
    print_allocations("write a 200", || {
        black_box(respond());
    });
    criterion.bench_function("codec/write_200", |bencher| bencher.iter(respond));
}

criterion_group!(benches, reading, writing);
criterion_main!(benches);
