"""Every metric of docs/metrics.md is moved by something."""
import concurrent.futures, http.client, os, re, signal, socket, threading, time
import gateway
from phone import Leg, block, build, connect, receiver_report, sender_report

CALLER, DRIVER, RIDER = "+60199990001", "+60122223333", "+60133334444"
TESTS = []
# What moves each.
MOVED = {
    "leasebridge_calls_total": "calls that end",
    "leasebridge_calls_up": "a call",
    "leasebridge_call_ringing_seconds": "180",
    "leasebridge_call_answer_seconds": "200",
    "leasebridge_call_duration_seconds": "answered calls that end",
    "leasebridge_charged_blocks_total": "answered calls that end",
    "leasebridge_charged_credits_total": "answered calls that end",
    "leasebridge_guard_hits_total": "SDES with NAME and PHONE",
    "leasebridge_sip_messages_total": "every message",
    "leasebridge_sip_retransmissions_total": "an INVITE sent twice, and one that is not answered",
    "leasebridge_sip_transactions": "an INVITE",
    "leasebridge_sip_dialogs": "a call",
    "leasebridge_sip_events_total": "an unknown source",
    "leasebridge_trunk_up": "OPTIONS answered 503, then 200",
    "leasebridge_trunk_calls": "a call",
    "leasebridge_media_ports": "a call",
    "leasebridge_media_flows": "a call",
    "leasebridge_media_packets_total": "sound",
    "leasebridge_media_bytes_total": "sound",
    "leasebridge_media_dropped_total": "sound from a stranger",
    "leasebridge_media_loss_ratio": "a call with a gap in its sound",
    "leasebridge_media_jitter_seconds": "a call with sound",
    "leasebridge_media_mos": "a call with sound",
    "leasebridge_media_round_trip_seconds": "a receiver report that answers a sender report",
    "leasebridge_numbers": "leases, a reservation, a release",
    "leasebridge_leases": "leases",
    "leasebridge_http_requests_total": "requests",
    "leasebridge_http_request_seconds": "requests",
    "leasebridge_http_connections": "requests",
    "leasebridge_store_commit_seconds": "whatever is kept",
    "leasebridge_store_changes_total": "whatever is kept",
    "leasebridge_store_size_bytes": "whatever is kept",
    "leasebridge_queue_depth": "requests of many clients at once",
    "leasebridge_refused_total": "more connections than http.max_connections",
    "leasebridge_ledger_checks_total": "time",
    "leasebridge_ready": "the trunk down, and the drain",
    "leasebridge_open_descriptors": "connections",
    "leasebridge_resident_memory_bytes": "calls",
    "leasebridge_cpu_seconds_total": "work",
}
# A gateway without certificates has none to tell of.
ELSEWHERE = {"leasebridge_certificate_expiry_timestamp_seconds"}
# What the scenario below cannot move, and why.
CONSTANT = {
    "leasebridge_announcements_total": "moved by announcements, see wire/announcing.py",
    "leasebridge_build_info": "always 1",
    "leasebridge_certificate_expiry_timestamp_seconds": "stands still; see src/app/certificates.rs",
    "leasebridge_sip_connections": "moved by connections, see wire/stream_cases.py",
    "leasebridge_sip_unsent_bytes": "moved by a peer that does not read, see src/observe/metrics/tests.rs",
    "leasebridge_max_descriptors": "a limit of the process",
    "leasebridge_threads": "as many as were started",
    "leasebridge_ledger_mismatches_total": "0 as long as the books are right",
    "leasebridge_store_failures_total": "moved by the full disk, see disk.py",
    "leasebridge_store_faults": "0 as long as the store is sound",
    "leasebridge_data_directory_present": "1 as long as nobody takes it away, see running.py",
    "leasebridge_http_handshakes_failed_total": "moved by plain HTTP to a TLS port, see commands.py",
    "leasebridge_http_stalled_total": "moved by a client that stops reading an export, see src/api/tests/history.rs",
    "leasebridge_log_lines_dropped_total": "moved by a log that nobody reads, see running.py",
}


def test(name):
    def take(body):
        TESTS.append((name, body))
        return body
    return take


def documented():
    with open(os.path.join(gateway.ROOT, "docs", "metrics.md")) as f:
        return set(re.findall(r"^\| `(leasebridge_\w+)`", f.read(), re.M))


class Watch:
    """Scrapes all the time, and keeps every value that a metric had, by name and labels."""

    def __init__(self, g):
        self.g, self.seen, self.over, self.lock = g, {}, False, threading.Lock()
        self.scrape()
        self.first = set(self.seen)
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        while not self.over:
            try:
                self.scrape()
            except (OSError, ValueError, http.client.HTTPException):
                pass
            time.sleep(0.02)

    def scrape(self):
        page = self.g.get("/metrics")[1].splitlines()
        with self.lock:
            for line in page:
                if not line.startswith("#"):
                    row, _, value = line.rpartition(" ")
                    self.seen.setdefault(row, set()).add(float(value))

    def end(self):
        self.over = True
        self.thread.join()

    def moved(self, name):
        """The rows of a metric that had more than one value, or that came to be."""
        with self.lock:
            rows = [row for row in self.seen if re.match(rf"{name}(_count)?(\{{|$)", row)]
            return [row for row in rows if len(self.seen[row]) > 1 or (row not in self.first and max(self.seen[row]) > 0)]

    def values(self, row):
        with self.lock:
            return set(self.seen.get(row, ()))

    def missing(self, names, rows):
        """Which of these metrics did not move, and which rows never had two values."""
        return [name for name in names if not self.moved(name)] + [row for row in rows if len(self.values(row)) < 2]


# Rows that must have two values, of metrics with several. Figures of the moment are taken about once a second.
ROWS = ['leasebridge_guard_hits_total{part="rtcp"}', 'leasebridge_media_ports{network="default",state="used"}', 'leasebridge_media_ports{network="default",state="free"}',
        'leasebridge_media_dropped_total{reason="source"}', 'leasebridge_numbers{state="leased"}', 'leasebridge_numbers{state="free"}',
        'leasebridge_numbers{state="reserved"}', 'leasebridge_numbers{state="resting"}', 'leasebridge_trunk_up{trunk="carrier-out"}',
        'leasebridge_trunk_calls{trunk="carrier-in"}', 'leasebridge_trunk_calls{trunk="carrier-out"}',
        'leasebridge_sip_retransmissions_total{direction="sent"}', 'leasebridge_sip_retransmissions_total{direction="received"}',
        'leasebridge_refused_total{bound="http_connections"}']


def scenario(t, g, watch, caller, callee):
    stranger = t.phone(g, "stranger")
    customer = g.customer(account_credit="10000")
    number, reference = g.single(customer, DRIVER)
    dialled, _, _ = g.group(customer, DRIVER, RIDER)
    g.api("customer/reserve", customer_id=customer, quantity="2")
    for to, who in ((number, CALLER), (dialled, RIDER)):
        a = Leg(caller, who)
        text = a.invite(to)
        b = Leg.invited(callee)
        caller.send(text)
        t.becomes(lambda: callee.repeats(b.request_got) >= 2, True, "the INVITE again")
        b.reply(180, "Ringing", extra=(f"X-Number: {DRIVER}",))
        a.expect(180)
        b.answer()
        ok = a.answered()
        b.expect("ACK ")
        a.media, b.media = ok.media(), b.request_got.media()
        t.becomes(lambda: g.metric("leasebridge_media_flows") >= 1, True, "a flow")
        caller.play(a.media, 20)
        callee.play(b.media, 20)
        callee.play(b.media, 3, first=30)
        stranger.play(a.media, 3)
        for phone, leg in ((caller, a), (callee, b)):
            phone.rtcp.sendto(sender_report(cname=b"me@home") + items(), (leg.media[0], leg.media[1] + 1))
        t.equal(len(callee.hear(1, sock=callee.rtcp)), 1, "the caller's report")
        callee.rtcp.sendto(receiver_report(8, block(7, 0, 0)), (b.media[0], b.media[1] + 1))
        t.equal(len(callee.hear(20)), 20, "packets heard")
        watched(t, callee, watch, ["leasebridge_calls_up", "leasebridge_sip_dialogs"],
                [row for row in ROWS if "_ports" in row or "trunk_calls" in row])
        a.request("BYE")
        b.bye_comes()
        a.expect(200)
    Leg(stranger, CALLER).invite(number)
    a = Leg(caller, CALLER)
    a.invite("+60388880900")
    a.refused(404)
    g.records(3)
    g.api("leasesingle/release", reference_id=reference)
    g.request("leasesingle/request", customer_id="77", phone=DRIVER)


def items():
    """SDES with NAME and PHONE."""
    chunk = b"\0\0\0\7" + bytes([2, 4]) + b"name" + bytes([4, 5]) + b"12345" + b"\0"
    chunk += b"\0" * (-len(chunk) % 4)
    return bytes([0x81, 202, 0, len(chunk) // 4]) + chunk


def watched(t, callee, watch, names, rows=()):
    """Waits until the watch has seen them move; the callee goes on answering OPTIONS."""
    def missing():
        callee.pump()
        return watch.missing(names, rows)
    t.becomes(missing, [], "never moved")


def load(g, customer, watch):
    """More at once than one thread takes, until the watch has looked while some waited."""
    def many(_):
        for _ in range(12):
            g.request("customer/topup", customer_id=customer, credit="1")
    end = time.time() + gateway.PATIENCE
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        while not watch.moved("leasebridge_queue_depth") and time.time() < end:
            list(pool.map(many, range(24)))


@test("metrics: each that is documented is there, and moves")
def _(t):
    g = t.gateway(http={"max_connections": 100, "max_connections_per_address": 0}, numbering={"cooldown": "1h"}, node={"drain_timeout": "2s"},
                  outbound={"options_interval": "1s"})
    watch = Watch(g)
    try:
        caller, callee = t.phone(g, "caller"), t.phone(g, "callee")
        down_and_up(t, g, watch, callee)
        scenario(t, g, watch, caller, callee)
        load(g, "1", watch)
        crowd(g, watch)
        watched(t, callee, watch, list(MOVED), ROWS)
        # A call that stays up keeps the drain, and with it the page, there.
        number, _ = g.single("1", DRIVER)
        connect(caller, callee, number)
        g.process.send_signal(signal.SIGTERM)
        t.becomes(lambda: g.get("/readyz")[0], 503, "/readyz")
        t.becomes(lambda: g.metric("leasebridge_ready"), 0, "leasebridge_ready")
    finally:
        watch.end()
    names = documented()
    exposed = set(re.findall(r"leasebridge_\w+?(?=_bucket|_sum|_count|\{|\b)", " ".join(watch.seen)))
    t.equal(sorted(names ^ (set(MOVED) | set(CONSTANT))), [], "documented or named here, not both")
    t.equal(sorted(names - exposed), sorted(ELSEWHERE), "documented and not there")
    t.equal(sorted(exposed - names), [], "there and not documented")
    for name in ("leasebridge_build_info", "leasebridge_threads", "leasebridge_max_descriptors"):
        t.check(any(row.startswith(name) and max(v) > 0 for row, v in watch.seen.items()), f"{name} is above 0")
    t.equal({v for row, vs in watch.seen.items() if "mismatches" in row for v in vs}, {0.0}, "ledger mismatches")


def down_and_up(t, g, watch, callee):
    """The outbound trunk, by OPTIONS."""
    def up():
        callee.pump()
        return g.metric("leasebridge_trunk_up")
    # First up and seen so, or that it was would be known to nobody.
    for callee.options, wanted in ((200, 1), (503, 0), (200, 1)):
        t.becomes(up, wanted, "leasebridge_trunk_up")
        t.becomes(lambda: up() == wanted and wanted in watch.values('leasebridge_trunk_up{trunk="carrier-out"}')
                  and wanted in watch.values("leasebridge_ready"), True, "the watch has seen it")


def crowd(g, watch):
    """More connections than http.max_connections, until the watch has seen what came of it."""
    end = time.time() + gateway.PATIENCE
    while watch.missing(["leasebridge_refused_total"], [row for row in ROWS if "http_connections" in row]) and time.time() < end:
        sockets = [socket.create_connection((g.ip["gateway"], g.http_port), gateway.PATIENCE) for _ in range(150)]
        for s in sockets:
            s.close()


@test("metrics: the first page after the start has every one, and a counter's labels at 0")
def _(t):
    g = t.gateway()
    page = g.get("/metrics")[1]
    there = set(re.findall(r"^# TYPE (leasebridge_\w+)", page, re.M))
    t.equal(sorted(documented() ^ there), sorted(ELSEWHERE), "documented or there, not both")
    for row in ('leasebridge_trunk_up{trunk="carrier-out"} 1', 'leasebridge_media_ports{network="default",state="free"} 2000',
                'leasebridge_calls_total{kind="single",outcome="completed",trunk_in="carrier-in",trunk_out="carrier-out"} 0',
                'leasebridge_sip_events_total{detail="unknown-source",event="sip_dropped"} 0',
                'leasebridge_refused_total{bound="http_connections_per_address"} 0'):
        t.check(f"\n{row}\n" in page, f"the first page has no {row}")


@test("metrics: one address has its share of the connections, others are served")
def _(t):
    g = t.gateway(http={"max_connections": 40})
    held = [socket.create_connection((g.ip["gateway"], g.http_port), 5, source_address=(g.ip["stranger"], 0)) for _ in range(30)]
    refused = lambda: 'leasebridge_refused_total{bound="http_connections_per_address"} 20' in g.get("/metrics")[1]
    t.becomes(refused, True, "20 are refused")
    t.equal(g.get("/readyz")[0], 200, "/readyz for another address")
    for s in held:
        s.close()
