"""Every metric of docs/metrics.md is moved by something."""
import concurrent.futures, os, re, signal, socket, subprocess, threading, time
import gateway
from phone import Leg, build, connect, sender_report

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
# What the scenario below cannot move, and why.
CONSTANT = {
    "leasebridge_build_info": "always 1",
    "leasebridge_max_descriptors": "a limit of the process",
    "leasebridge_threads": "as many as were started",
    "leasebridge_ledger_mismatches_total": "0 as long as the books are right",
    "leasebridge_store_failures_total": "moved by the full disk, see disk.py",
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
        self.g, self.seen, self.over = g, {}, False
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        while not self.over:
            try:
                self.scrape()
            except (OSError, ValueError):
                pass
            time.sleep(0.02)

    def scrape(self):
        for line in self.g.get("/metrics")[1].splitlines():
            if not line.startswith("#"):
                row, _, value = line.rpartition(" ")
                self.seen.setdefault(row, set()).add(float(value))

    def end(self):
        self.over = True
        self.thread.join()

    def moved(self, name):
        """The rows of a metric that had more than one value, or that came to be."""
        rows = [row for row in self.seen if re.match(rf"{name}(_count)?(\{{|$)", row)]
        return [row for row in rows if len(self.seen[row]) > 1 or (row not in self.first and max(self.seen[row]) > 0)]


def scenario(t, g):
    caller, callee, stranger = t.phone(g, "caller"), t.phone(g, "callee"), t.phone(g, "stranger")
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
        caller.play(a.media, 20)
        callee.play(b.media, 20)
        callee.play(b.media, 3, first=30)
        stranger.play(a.media, 3)
        for phone, leg in ((caller, a), (callee, b)):
            phone.rtcp.sendto(sender_report(cname=b"me@home") + items(), (leg.media[0], leg.media[1] + 1))
        callee.hear(20)
        time.sleep(1.3)
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


def load(g, customer):
    """More at once than one thread takes."""
    def many(_):
        for _ in range(12):
            g.request("customer/topup", customer_id=customer, credit="1")
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        list(pool.map(many, range(24)))


@test("metrics: each that is documented is there, and moves")
def _(t):
    g = t.gateway(http={"max_connections": 100}, numbering={"cooldown": "1h"}, node={"drain_timeout": "2s"},
                  outbound={"options_interval": "1s"})
    watch = Watch(g)
    try:
        watch.scrape()
        watch.first = set(watch.seen)
        phones = t.phone(g, "callee", port=5081, rtp=6800)
        down_and_up(t, g)
        scenario(t, g)
        load(g, "1")
        crowd(g)
        connection = Leg(t.phone(g, "caller", port=5090, rtp=6900), CALLER)
        connection.invite("+60388880999")
        connection.refused(404)
        time.sleep(1.2)
        hold = connect_again(t, g)
        g.process.send_signal(signal.SIGTERM)
        t.becomes(lambda: g.get("/readyz")[0], 503, "/readyz")
        time.sleep(0.3)
        del hold, phones
    finally:
        watch.end()
    names = documented()
    exposed = set(re.findall(r"leasebridge_\w+?(?=_bucket|_sum|_count|\{|\b)", " ".join(watch.seen)))
    t.equal(sorted(names ^ (set(MOVED) | set(CONSTANT))), [], "documented or named here, not both")
    t.equal(sorted(names - exposed), [], "documented and not there")
    t.equal(sorted(exposed - names), [], "there and not documented")
    t.equal(sorted(name for name in MOVED if not watch.moved(name)), [], "never moved")
    for row in ('leasebridge_guard_hits_total{part="rtcp"}', 'leasebridge_media_ports{state="used"}', 'leasebridge_media_ports{state="free"}',
                'leasebridge_media_dropped_total{reason="source"}', 'leasebridge_numbers{state="leased"}', 'leasebridge_numbers{state="free"}',
                'leasebridge_numbers{state="reserved"}', 'leasebridge_numbers{state="resting"}', 'leasebridge_trunk_up{trunk="carrier-out"}',
                'leasebridge_trunk_calls{trunk="carrier-in"}', 'leasebridge_trunk_calls{trunk="carrier-out"}',
                'leasebridge_sip_retransmissions_total{direction="sent"}', 'leasebridge_sip_retransmissions_total{direction="received"}',
                'leasebridge_refused_total{bound="http_connections"}'):
        t.check(len(watch.seen.get(row, ())) > 1, f"{row} had the values {sorted(watch.seen.get(row, ()))}")
    for name in ("leasebridge_build_info", "leasebridge_threads", "leasebridge_max_descriptors"):
        t.check(any(row.startswith(name) and max(v) > 0 for row, v in watch.seen.items()), f"{name} is above 0")
    t.equal({v for row, vs in watch.seen.items() if "mismatches" in row for v in vs}, {0.0}, "ledger mismatches")


def down_and_up(t, g):
    """The outbound trunk, by OPTIONS."""
    probe = t.phone(g, "callee")
    up = lambda: g.metric("leasebridge_trunk_up")
    for status, wanted in ((503, 0), (200, 1)):
        for _ in range(20):
            Leg(probe, "x").reply(status, request=probe.expect("OPTIONS "))
            time.sleep(0.1)
            if up() == wanted and _ >= 2:
                break
        t.becomes(up, wanted, "leasebridge_trunk_up", timeout=3)
    probe.close()
    t.phones.remove(probe)


def crowd(g):
    """More connections than http.max_connections."""
    sockets = []
    for _ in range(150):
        s = socket.create_connection((g.ip["gateway"], g.http_port), 5)
        sockets.append(s)
    time.sleep(0.3)
    for s in sockets:
        s.close()
    time.sleep(0.3)


def connect_again(t, g):
    """A call that stays up."""
    caller, callee = t.phones[-1], [p for p in t.phones if p.port == 5080 and p.ip == g.ip["callee"]][-1]
    number, _ = g.single("1", DRIVER)
    return connect(caller, callee, number)
