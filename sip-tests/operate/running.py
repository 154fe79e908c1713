"""Reload, drain, logs: what happens to calls meanwhile."""
import json, os, re, signal, subprocess, time
import gateway
from phone import Leg, connect

CALLER, DRIVER, RIDER = "+60199990001", "+60122223333", "+60133334444"
TESTS = []


def test(name):
    def take(body):
        TESTS.append((name, body))
        return body
    return take


def rewrite(g, changes, also=""):
    """A new configuration file."""
    with open(g.path, "w") as f:
        f.write(g._config(changes) + also)


# What a reload ends with, well or not.
RELOADED = re.compile(r"the (configuration was (not )?reloaded|configuration is faulty|log filter is faulty).*\n")


def reload(t, g, phone=None):
    """SIGHUP, and what the log says of it. With a phone at an inbound trunk: the signalling thread has taken it over, too."""
    before = len(g.log_tail(1 << 24))
    g.process.send_signal(signal.SIGHUP)
    t.becomes(lambda: bool(RELOADED.search(g.log_tail(1 << 24)[before:])), True, "its word in the log")
    if phone:
        t.equal(t.asked(phone), 200, "the answer to OPTIONS")
    return g.log_tail(1 << 24)[before:]


def hang_up(a, b):
    a.request("BYE")
    b.bye_comes()
    a.expect(200)


@test("reload: numbers are added, caps change, targets change, a call goes on")
def _(t):
    g = t.gateway(calls={"per_lease": 0})
    caller, callee = t.phone(g, "caller"), t.phone(g, "callee")
    customer = g.customer()
    number, _ = g.single(customer, DRIVER)
    a, b = connect(caller, callee, number)
    t.becomes(lambda: g.metric("leasebridge_numbers"), 1000, "numbers")
    pool = ["+60388880000-+60388880999", "+60388890000-+60388890009"]
    rewrite(g, {"calls": {"per_lease": 0}, "inbound": {"max_calls": 1}, "numbering": {"pool": pool}})
    reload(t, g, caller)
    t.becomes(lambda: g.metric("leasebridge_numbers"), 1010, "numbers")
    second = Leg(caller, CALLER)
    second.invite(number)
    second.refused(503)
    sent = caller.play(a.media, 5)
    t.equal(callee.hear(5), sent, "the sound of the call that is up")
    rewrite(g, {"calls": {"per_lease": 0}, "numbering": {"pool": pool, "allowed_targets": ["DE"]}})
    reload(t, g, caller)
    third = Leg(caller, CALLER)
    third.invite(number)
    third.refused(403)
    hang_up(a, b)
    reasons = sorted(r["reason"] for r in g.records(3))
    t.equal(reasons, ["completed", "target_not_allowed", "trunk_busy"], "the reasons")


@test("reload: a faulty file is refused whole, and says why")
def _(t):
    g = t.gateway()
    caller, callee = t.phone(g, "caller"), t.phone(g, "callee")
    customer = g.customer()
    number, _ = g.single(customer, DRIVER)
    a, b = connect(caller, callee, number)
    rewrite(g, {"inbound": {"sources": ["192.0.2.1/32"]}, "node": {"colour": "red"}, "numbering": {"pool": ["+60388890000-+60388890009"]}})
    log = reload(t, g)
    t.check("colour" in log, f"the fault is in the log: {log}")
    t.becomes(lambda: g.metric("leasebridge_numbers"), 1000, "numbers")
    hang_up(a, b)
    g.records(1)
    a, b = connect(caller, callee, number)
    hang_up(a, b)
    t.equal([r["reason"] for r in g.records(2)], ["completed"] * 2, "the reasons")


@test("reload: keys and clients change, tokens of a client that is gone are refused")
def _(t):
    g = t.gateway()
    g.customer()
    with open(g.path) as f:
        text = f.read()
    with open(g.path, "w") as f:
        f.write(text.replace('name = "tests"', 'name = "others"'))
    reload(t, g)
    t.becomes(lambda: g.request("customer/view", customer_id="1")[1]["status"], 5, "the status")
    with open(g.path, "w") as f:
        f.write(text.replace('kid = "main"', 'kid = "next"').replace(gateway.SECRET, gateway.SECRET[::-1]))
    reload(t, g)
    t.becomes(lambda: g.request("customer/view", customer_id="1")[1]["status"], 13, "the status")
    with open(g.path, "w") as f:
        f.write(text)
    reload(t, g)
    t.becomes(lambda: g.request("customer/view", customer_id="1")[1]["status"], 0, "the status")


@test("reload: the log level")
def _(t):
    g = t.gateway(observe={"log": "warn"})
    g.customer()
    t.check(" DEBUG " not in g.log_tail(1 << 24), "no DEBUG at first")
    rewrite(g, {"observe": {"log": "debug"}})
    g.process.send_signal(signal.SIGHUP)

    def debug():
        phone = Leg(caller, CALLER)
        phone.invite("+60388880001")
        phone.refused(404)
        return " DEBUG " in g.log_tail(1 << 24)

    caller = t.phone(g, "caller")
    t.becomes(debug, True, "DEBUG lines")


@test("drain: running calls go on, new ones get 503, BYE at drain_timeout, record and charge are there after a restart, exit 0")
def _(t):
    g = t.gateway(node={"drain_timeout": "15s"})
    caller, callee = t.phone(g, "caller"), t.phone(g, "callee")
    customer = g.customer(account_credit="1000")
    number, _ = g.single(customer, DRIVER)
    a, b = connect(caller, callee, number)
    g.process.send_signal(signal.SIGTERM)
    t.drains(g, caller)
    t.check("draining" in g.get("/readyz")[1], "the reason is said")
    t.equal(g.get("/healthz")[0], 200, "/healthz")
    refused = Leg(caller, CALLER)
    refused.invite(number)
    m = refused.refused(503)
    t.check(m.get("retry-after") and "cause=42" in m.get("reason"), "503 with Retry-After and cause 42")
    sent = caller.play(a.media, 5)
    t.equal(callee.hear(5), sent, "the sound of the call that is up")
    for leg in (a, b):
        m = leg.bye_comes()
        t.check("Q.850" in m.get("reason"), "BYE has a Reason")
    t.equal(g.process.wait(gateway.PATIENCE), 0, "the exit code")
    g.start()
    records = g.records(1)
    t.equal([(r["reason"], r["ended_by"], r["charge"], r["to_callee_packets"]) for r in records], [("shutdown", "gateway", "100", "5")], "the record")
    t.equal(g.api("customer/view", customer_id=customer)["account_credit"], "900", "the balance")
    t.equal(g.api("leasesingle/query", reference_id=records[0]["reference_id"])["status"], 0, "the lease")


@test("drain: ends with the last call, by SIGINT too")
def _(t):
    g = t.gateway(node={"drain_timeout": "60s"})
    caller, callee = t.phone(g, "caller"), t.phone(g, "callee")
    number, _ = g.single(g.customer(), DRIVER)
    a, b = connect(caller, callee, number)
    g.process.send_signal(signal.SIGINT)
    t.becomes(lambda: g.get("/readyz")[0], 503, "/readyz")
    hang_up(a, b)
    t.equal(g.process.wait(gateway.PATIENCE), 0, "the exit code")


@test("drain: a second signal ends it now, with BYE and records")
def _(t):
    g = t.gateway(node={"drain_timeout": "60s"})
    caller, callee = t.phone(g, "caller"), t.phone(g, "callee")
    number, _ = g.single(g.customer(), DRIVER)
    a, b = connect(caller, callee, number)
    g.process.send_signal(signal.SIGTERM)
    t.becomes(lambda: g.get("/readyz")[0], 503, "/readyz")
    g.process.send_signal(signal.SIGTERM)
    a.bye_comes()
    b.bye_comes()
    t.equal(g.process.wait(gateway.PATIENCE), 0, "the exit code")
    g.start()
    t.equal([r["reason"] for r in g.records(1)], ["shutdown"], "the record")


@test("drain: nobody answers our BYEs: it ends all the same, with the record")
def _(t):
    g = t.gateway(node={"drain_timeout": "1s"})
    caller, callee = t.phone(g, "caller"), t.phone(g, "callee")
    number, _ = g.single(g.customer(), DRIVER)
    connect(caller, callee, number)
    g.process.send_signal(signal.SIGTERM)
    t.check(g.process.wait(gateway.PATIENCE) is not None, "it ended")
    g.start()
    t.equal([r["charge"] for r in g.records(1)], ["100"], "the charges")


def busy(g, t, caller, callee):
    """Something of everything that is logged."""
    customer = g.customer()
    number, reference = g.single(customer, DRIVER, cw=CALLER)
    dialled, _, _ = g.group(customer, DRIVER, RIDER)
    g.api("leasesingle/query", reference_id=reference)
    for form in ({"phone": DRIVER + "99"}, {"phone": DRIVER, "expiry_value": "x"}, {}):
        g.request("leasesingle/request", customer_id=customer, expiry_unit="hours", **form)
    g.request("customer/view", headers={"Authorization": "Bearer " + g.token + "x"}, customer_id=customer)
    g.request("customer/view", headers={"Authorization": g.token}, customer_id=customer)
    g.request("leasesingle/request", headers={"Idempotency-Key": "k1"}, customer_id=customer, phone=RIDER, expiry_value="1", expiry_unit="hours")
    for who, to in ((CALLER, number), (RIDER, dialled)):
        a, b = connect(caller, callee, to, number=who)
        a.request("PUBLISH")
        a.expect(405)
        hang_up(a, b)
        g.records(1)
    for who, to in ((RIDER, number), (CALLER, dialled), ("anonymous", dialled)):
        a = Leg(caller, who)
        a.invite(to)
        a.expect("SIP/2.0 4")
    a = Leg(caller, CALLER)
    text = a.start(number)
    caller.send(text.replace("CSeq", "X-Seq"))
    caller.send(text[:200])
    caller.expect(400)
    g.api("leasesingle/release", reference_id=reference)
    g.records(5)


@test("logs: no full number, token or secret at DEBUG, as text and as JSON; a call's lines have its call_id")
def _(t):
    g = t.gateway(observe={"log": "debug"})
    caller, callee = t.phone(g, "caller"), t.phone(g, "callee")
    for form in ("text", "json"):
        if form == "json":
            rewrite(g, {"observe": {"log": "debug", "log_format": "json"}})
            os.remove(os.path.join(g.work, "gateway.log"))
            g.start()
        older = {r["call_id"] for r in g.records(0)}
        busy(g, t, caller, callee)
        calls = [r["call_id"] for r in g.records(1) if r["call_id"] not in older]
        # Its end completes the log.
        t.equal(g.stop(), 0, "the exit code")
        log = g.log_tail(1 << 26)
        for what in (DRIVER, RIDER, CALLER):
            for spelled in (what[1:], what[3:]):
                found = [l for l in log.splitlines() if spelled in re.sub(r"[ .()-]", "", l)]
                t.check(not found, f"{form}: a full number is in the log: {found[:2]}")
        for secret in (g.token, g.token.split(".")[2], gateway.SECRET):
            t.check(secret not in log, f"{form}: a token or secret is in the log")
        for call in calls:
            t.check(call in log, f"{form}: no line of call {call}")
        t.check("call ended" in log and "INVITE" in log and "DEBUG" in log, f"{form}: calls and messages are logged")
        if form == "json":
            for line in log.splitlines():
                json.loads(line)


@test("logs: a reader that stops holds nobody up; what is lost is counted")
def _(t):
    g = t.gateway(start=False, observe={"log": "trace"})
    read, write = os.pipe()
    g.process = subprocess.Popen([g.binary, "serve", "--config", g.path], stdout=write, stderr=write, stdin=subprocess.DEVNULL)
    os.close(write)
    g.token = subprocess.run([g.binary, "token", "--config", g.path, "--client", "tests"], capture_output=True, text=True).stdout.strip()

    def alive():
        try:
            return g.get("/healthz")[0]
        except OSError:
            return 0

    t.becomes(alive, 200, "/healthz")
    caller = t.phone(g, "caller")

    def lost():
        for _ in range(5000):
            caller.send("OPTIONS")
        return g.metric("leasebridge_log_lines_dropped_total") > 0

    t.becomes(lost, True, "lines lost")
    t.equal(g.get("/readyz")[0], 200, "/readyz")
    os.close(read)


@test("logs: a call's life, each step once, with its call_id and its lease")
def _(t):
    g = t.gateway(observe={"log_format": "json"})
    caller, callee = t.phone(g, "caller"), t.phone(g, "callee")
    number, reference = g.single(g.customer(), DRIVER)
    a = Leg(caller, CALLER)
    a.invite(number)
    b = Leg.invited(callee)
    b.reply(180, "Ringing")
    a.expect(180)
    b.reply(180, "Ringing")
    b.answer()
    a.answered()
    b.expect("ACK ")
    hang_up(a, b)
    call = g.records(1)[0]["call_id"]
    lines = lambda: [l for l in map(json.loads, g.log_tail(1 << 20).splitlines()) if l.get("call_id") == call and l["level"] == "INFO"]
    words = ["call started", "call ringing", "call answered", "call ended"]
    t.becomes(lambda: [l["message"] for l in lines()], words, "the lines")
    t.equal([l.get("reference_id") for l in lines()], [None] + [reference] * 3, "the leases")


@test("data directory: gone under the running node is said by readyz, log and metric, and so is its return")
def _(t):
    g = t.gateway()
    data = os.path.join(g.work, "data")
    os.rename(data, data + ".away")
    t.becomes(lambda: "data directory gone" in g.get("/readyz")[1], True, "the reason")
    t.equal(g.metric("leasebridge_data_directory_present"), 0, "the metric")
    t.check("ERROR" in g.log_tail() and "data directory" in g.log_tail(), "the log says so")
    os.rename(data + ".away", data)
    t.becomes(lambda: g.get("/readyz")[0], 200, "/readyz")
