"""The cases: sip-bridging sections 1 to 5 and 7, each with both sides and the record in view."""
import math, re, signal, time
from gateway import PATIENCE
from phone import Leg, Missing, build, connect, sender_report

CALLER, OTHER, DRIVER, RIDER = "+60199990001", "+60199990002", "+60122223333", "+60133334444"
CASES = []


class Case:
    def __init__(self, name, body, changes):
        self.name, self.body, self._changes = name, body, changes

    def changes(self, net):
        """This case's configuration; each use has its own copy, with the addresses of its net."""
        def fill(value):
            if isinstance(value, dict):
                return {k: fill(v) for k, v in value.items()}
            if isinstance(value, list):
                return [fill(v) for v in value]
            return value.replace("SIXPORT", str(18000 + 4 * net)).replace("NET", str(net)) if isinstance(value, str) else value
        return fill(self._changes)


def case(name, **changes):
    def take(body):
        CASES.append(Case(name, body, changes))
        return body
    return take


SECOND = {"trunks": [{"name": "carrier-two", "direction": "outbound", "target": "sip:127.0.NET.5:5080", "priority": 2,
                      "numbers": "+e164", "options_interval": "0s"}]}
SHORT = {"charge_block_single": "1", "charge_rate_single": "10"}


def single(t, **form):
    customer = t.g.customer(**form)
    number, t.reference = t.g.single(customer, DRIVER)
    t.customer = customer
    return number


def balance(t):
    return int(t.g.api("customer/view", customer_id=t.customer)["account_credit"])


def options(phone, extra=()):
    g = phone.gateway
    phone.send(build(f"OPTIONS sip:{g[0]}:{g[1]} SIP/2.0", [
        f"Via: SIP/2.0/UDP {phone.host};branch=z9hG4bKo{time.time_ns()}", f"From: <sip:x@{phone.ip}>;tag=o", f"To: <sip:{g[0]}>",
        f"Call-ID: o{time.time_ns()}", "CSeq: 1 OPTIONS", "Max-Forwards: 70", *extra]))


def asked(phone):
    """The status that OPTIONS gets."""
    options(phone)
    return phone.expect("SIP/2.0 ").status


def hang_up(a, b):
    """The caller ends it."""
    a.request("BYE")
    b.bye_comes()
    a.expect(200)


# ---- section 1: trunks

@case("trunks: OPTIONS of a listed peer is 200 with Allow, of a stranger nothing")
def _(t):
    for role in ("caller", "callee"):
        phone = t.phone(role)
        options(phone)
        t.check("INVITE" in phone.expect(200).get("allow"), "no Allow in the 200")
    stranger = t.phone("stranger")
    options(stranger)
    stranger.silent()


@case("trunks: OPTIONS is 503 while draining")
def _(t):
    caller, callee = t.sides()
    a, b = connect(caller, callee, single(t))
    t.g.process.terminate()
    t.becomes(lambda: t.g.get("/readyz")[0], 503, "/readyz")
    # /readyz says so a moment before the signalling thread has been told.
    t.becomes(lambda: asked(caller), 503, "the answer to OPTIONS")
    hang_up(a, b)
    t.equal(t.g.process.wait(PATIENCE), 0, "the exit code")


@case("trunks: unknown_source 403 answers strangers", sip={"unknown_source": "403"})
def _(t):
    leg = Leg(t.phone("stranger"), CALLER)
    leg.invite(single(t))
    leg.refused(403)
    leg.phone.silent("SIP/2.0")
    t.equal(t.g.records(0), [], "records")


@case("trunks: unknown_source 403 answers an outbound trunk that calls", sip={"unknown_source": "403"})
def _(t):
    leg = Leg(t.phone("callee"), CALLER)
    leg.invite(single(t))
    leg.refused(403)
    leg.phone.send(leg._request("MESSAGE", leg.uri, 7))
    leg.expect(403)
    options(leg.phone)
    leg.phone.expect(200)
    t.equal(t.g.records(0), [], "records")


@case("trunks: an unknown source is dropped and counted")
def _(t):
    leg = Leg(t.phone("stranger"), CALLER)
    row = r'^leasebridge_sip_events_total\{detail="unknown-source",event="sip_dropped"\} (\d+)$'
    counted = lambda: int(re.search(row, t.g.get("/metrics")[1], re.M)[1])
    before = counted()
    leg.invite(single(t))
    leg.phone.silent()
    t.becomes(lambda: counted() > before, True, "the count rises")
    t.equal(t.g.records(0), [], "records")


@case("trunks: a made-up answer sends nothing anywhere", **SECOND)
def _(t):
    caller, callee = t.sides()
    victim, g = t.phone("second"), caller.gateway
    for n, phone in enumerate([caller, callee] * 10):
        tag = "".join("bcdfghjklmnpqrst"[(n * 7 + k * 3) % 16] for k in range(16))
        phone.send(build("SIP/2.0 200 OK", [
            f"Via: SIP/2.0/UDP {g[0]}:{g[1]};branch=z9hG4bKmadeup{n}", f"From: <sip:x@{g[0]}>;tag={tag}", "To: <sip:y@z>;tag=1",
            f"Call-ID: madeup{n}", "CSeq: 1 INVITE", f"Contact: <sip:v@{victim.host}>"]))
    for phone in (victim, caller, callee):
        phone.silent()


@case("trunks: unknown_source 403 says nothing to a request that no answer would belong to", sip={"unknown_source": "403"})
def _(t):
    stranger = t.phone("stranger")
    lines = [f"Via: SIP/2.0/UDP {stranger.host};branch=z9hG4bKodd", f"From: <sip:x@{stranger.ip}>;tag=o", "To: <sip:y@z>",
             "Call-ID: odd", "CSeq: 1 OPTIONS", "Max-Forwards: 70"]
    for missing in range(5):
        stranger.send(build("OPTIONS sip:y@z SIP/2.0", lines[:missing] + lines[missing + 1:]))
    stranger.silent()
    stranger.send(build("OPTIONS sip:y@z SIP/2.0", lines))
    stranger.expect(403)


@case("trunks: a dialog's peer is heard from an address that no trunk lists, a stranger is not")
def _(t):
    caller, callee = t.sides()
    moved, stranger = t.phone("second"), t.phone("stranger")
    a, b = connect_to(t, caller, callee, moved)
    forged = Leg(stranger, DRIVER)
    forged.call_id, forged.local, forged.remote, forged.target = b.call_id, b.local, b.remote, b.target
    forged.request("BYE", cseq=1)
    stranger.silent()
    caller.silent("BYE")
    b.phone = moved
    b.request("BYE", cseq=2)
    a.bye_comes()
    b.expect(200)
    t.record(ended_by="callee", sip_code="200")


@case("trunks: a process that stood still takes the next call: that was no overload")
def _(t):
    caller, callee = t.sides()
    number = single(t)
    t.g.process.send_signal(signal.SIGSTOP)
    time.sleep(1.5)  # longer than any turn may be late
    t.g.process.send_signal(signal.SIGCONT)
    time.sleep(0.2)  # the call is to come after the turn that was late; if it comes in it, that is good as well
    hang_up(*connect(caller, callee, number))
    t.record(sip_code="200")


def connect_to(t, caller, callee, moved):
    """A call whose callee answers with a Contact elsewhere."""
    a = Leg(caller, CALLER)
    a.invite(single(t))
    b = Leg.invited(callee)
    b.answer(contact=moved.host)
    a.answered()
    moved.expect("ACK ")
    return a, b


MOVING = [{"name": "carrier-in", "sources": ["127.0.NET.1/32"], "max_calls": 1},
          {"name": "carrier-b", "sources": ["127.0.NET.4/32"], "max_calls": 1, "media_source": "address"}]


def rearrange(t, *trunks):
    """Puts the file in force with these inbound trunks, in this order."""
    fill = lambda trunk: {"direction": "inbound", "numbers": "+e164", "trusted": True, **trunk}
    first, *others = [fill(Case("", None, trunk).changes(t.g.net)) for trunk in trunks]
    with open(t.g.path, "w") as f:
        f.write(t.g._config({"calls": {"per_lease": 0}, "inbound": first, "trunks": others}))
    count = lambda: t.g.log_tail(1 << 24).count("the configuration was reloaded")
    before = count()
    t.g.process.send_signal(signal.SIGHUP)
    t.becomes(count, before + 1, "reloads")


NEW = {"name": "carrier-new", "sources": ["127.0.NET.9/32"]}


@case("trunks: a reload that moves trunks leaves each call its own", calls={"per_lease": 0},
      inbound=MOVING[0], trunks=[{**MOVING[1], "direction": "inbound", "numbers": "+e164", "trusted": True}])
def _(t):
    caller, callee = t.sides()
    other = t.phone("stranger")
    number = single(t)
    a, b = connect(caller, callee, number)
    rearrange(t, NEW, MOVING[1], MOVING[0])
    t.equal(asked(caller), 200, "the answer to OPTIONS")
    # The cap of its trunk is reached, that of the other is not.
    second = Leg(caller, CALLER)
    second.invite(number)
    second.refused(503)
    c, d = connect(other, callee, number)
    # No other trunk has a part in its dialog.
    forged = Leg(other, CALLER)
    forged.call_id, forged.local, forged.remote, forged.target = a.call_id, a.local, a.remote, a.target
    forged.request("BYE", cseq=a.cseq + 1)
    forged.expect(481)
    callee.silent("BYE")
    # And its media rules are its own after new SDP.
    a.request("INVITE", caller.sdp(version=2))
    m = b.expect("INVITE ")
    b.reply(200, "OK", callee.sdp(version=2), request=m)
    a.expect(200)
    a.ack()
    b.expect("ACK ")
    odd = caller.socket(6100)
    caller.play(a.media, 5, sock=odd)
    callee.deaf()
    odd.close()
    # Its end is counted where its begin was.
    hang_up(a, b)
    third = Leg(other, CALLER)
    third.invite(number)
    third.refused(503)
    hang_up(*connect(caller, callee, number))
    hang_up(c, d)


@case("trunks: a call goes on when its trunk is removed, and counts when it comes back", calls={"per_lease": 0},
      inbound={**MOVING[0], "media_source": "latch"},
      trunks=[{**MOVING[1], "direction": "inbound", "numbers": "+e164", "trusted": True}])
def _(t):
    caller, callee = t.sides()
    number = single(t)
    inner = lambda version: caller.sdp(ip="10.99.0.1", port=4000, version=version)
    a, b = connect(caller, callee, number, offer=inner(1))
    rearrange(t, MOVING[1])
    caller.silent("BYE", 0.3)
    a.request("INVITE", inner(2))
    m = b.expect("INVITE ")
    b.reply(200, "OK", callee.sdp(version=2), request=m)
    a.expect(200)
    a.ack()
    b.expect("ACK ")
    caller.until_heard(a.media, callee)
    sent = caller.play(a.media, 5, first=50)
    t.equal(callee.hear(5), sent, "the sound, by the rules that the call began with")
    gone = Leg(caller, CALLER)
    gone.invite(number)
    callee.silent("INVITE")
    rearrange(t, NEW, MOVING[0])
    t.equal(asked(caller), 200, "the answer to OPTIONS")
    second = Leg(caller, CALLER)
    second.invite(number)
    second.refused(503)
    hang_up(a, b)
    hang_up(*connect(caller, callee, number))


@case("trunks: max_cps refuses the second call of a second", inbound={"max_cps": 1}, calls={"per_lease": 0})
def _(t):
    caller, callee = t.sides()
    number = single(t)
    first, second = Leg(caller, CALLER), Leg(caller, CALLER)
    both = [first.start(number), second.start(number)]
    for text in both:
        caller.send(text)
    m = second.refused(503)
    t.check("cause=34" in m.get("reason") and not m.get("retry-after"), "503 with cause 34 and no Retry-After")
    Leg.invited(callee).reply(486)
    first.refused(486)
    t.record(2)
    t.equal(sorted(r["reason"] for r in t.g.records(2)), ["busy", "trunk_busy"], "the reasons")


@case("trunks: a full outbound trunk is passed over, and 503 without Retry-After when all are full",
      calls={"per_lease": 0}, outbound={"max_calls": 1},
      trunks=[{**SECOND["trunks"][0], "max_calls": 1}])
def _(t):
    caller, callee = t.sides()
    second = t.phone("second")
    number = single(t)
    connect(caller, callee, number)
    connect(caller, second, number)
    c = Leg(caller, CALLER)
    c.invite(number)
    m = c.refused(503)
    t.check("cause=34" in m.get("reason") and not m.get("retry-after"), "503 with cause 34 and no Retry-After")
    t.record(1, reason="no_trunk")


def failover(t, status):
    caller, callee = t.sides()
    second = t.phone("second")
    a = Leg(caller, CALLER)
    a.invite(single(t))
    first = Leg.invited(callee)
    first.reply(status)
    first.expect("ACK ")
    b = Leg.invited(second)
    t.check(b.call_id != first.call_id, "the second trunk has a Call-ID of its own")
    b.reply(180, "Ringing")
    b.answer()
    a.answered()
    b.expect("ACK ")
    hang_up(a, b)
    t.record(trunk_out="carrier-two", sip_code="200", reason="completed", blocks="1")


for _status in (408, 500, 502, 503, 504):
    case(f"trunks: {_status} fails over to the second trunk", **SECOND)(lambda t, status=_status: failover(t, status))


@case("trunks: no failover on what speaks of the callee", calls={"per_lease": 0}, **SECOND)
def _(t):
    caller, callee = t.sides()
    second = t.phone("second")
    number = single(t)
    for status in (403, 404, 486, 600, 603):
        a = Leg(caller, CALLER)
        a.invite(number)
        b = Leg.invited(callee)
        b.reply(status)
        b.expect("ACK ")
        a.refused(500 if status == 403 else status)
    second.silent(seconds=0.3)
    t.record(5, trunk_out="carrier-out", charge="0")


@case("trunks: a silent trunk is given up; when it wakes it gets CANCEL", **SECOND)
def _(t):
    caller, callee = t.sides()
    second = t.phone("second")
    a = Leg(caller, CALLER)
    a.invite(single(t))
    first = Leg.invited(callee)
    b = Leg.invited(second)
    b.reply(180, "Ringing")
    a.expect(180)
    first.reply(100, "Trying")
    first.reply(180, "Ringing")
    cancel = first.expect("CANCEL ")
    first.reply(200, "OK", request=cancel)
    first.reply(487, "Request Terminated")
    first.expect("ACK ")
    b.answer()
    a.answered()
    b.expect("ACK ")
    hang_up(a, b)
    t.record(trunk_out="carrier-two", sip_code="200")


@case("trunks: a silent trunk that answers late is released with ACK and BYE", **SECOND)
def _(t):
    caller, callee = t.sides()
    second = t.phone("second")
    a = Leg(caller, CALLER)
    a.invite(single(t))
    first = Leg.invited(callee)
    b = Leg.invited(second)
    b.answer()
    a.answered()
    first.answer()
    first.expect("ACK ")
    first.bye_comes()
    hang_up(a, b)
    t.record(trunk_out="carrier-two", sip_code="200", blocks="1")


@case("trunks: a port that nobody listens on fails over at once", **SECOND)
def _(t):
    caller, second = t.phone("caller"), t.phone("second")
    a = Leg(caller, CALLER)
    a.invite(single(t))
    b = Leg.invited(second)
    # A silent trunk is sent the INVITE again after 0.5 and 1.5 s, and given up after 3.
    t.check(t.g.metric("leasebridge_sip_retransmissions_total") < 2, "the first trunk was waited for")
    b.reply(486)
    a.refused(486)
    t.record(trunk_out="carrier-two", reason="busy")


@case("trunks: no failover once media has come early", **SECOND)
def _(t):
    caller, callee = t.sides()
    second = t.phone("second")
    a = Leg(caller, CALLER)
    a.invite(single(t))
    b = Leg.invited(callee)
    b.reply(183, "Progress", callee.sdp())
    a.expect(183)
    b.reply(503)
    b.expect("ACK ")
    a.refused(500)
    second.silent(seconds=0.3)
    t.record(trunk_out="carrier-out", sip_code="500")


@case("trunks: OPTIONS take a trunk down and bring it back", outbound={"options_interval": "1s"}, sip={"workers": 3})
def _(t):
    callee = t.phone("callee")

    def up():
        callee.pump()
        return t.g.metric("leasebridge_trunk_up")

    for callee.options, wanted in ((503, 0), (200, 1)):
        t.becomes(up, wanted, "leasebridge_trunk_up")
        t.becomes(lambda: t.g.get("/readyz")[0], 200 if wanted else 503, "/readyz")
        if not wanted:
            a = Leg(t.phone("caller"), CALLER)
            a.invite(single(t))
            m = a.refused(503)
            t.check(not m.get("retry-after"), "no Retry-After")
            record = t.record(reason="no_trunk")
            lease = f"reference_id={record['reference_id']}"
            ended = lambda: [line for line in t.g.log_tail(1 << 20).splitlines() if "call ended" in line]
            t.becomes(lambda: [lease in line for line in ended()], [True], "the lease in the log's line of the end")
    # Every worker learns of it, and one says so.
    for said in ("trunk down", "trunk up"):
        t.becomes(lambda: t.g.log_tail(1 << 20).count(said), 1, f"lines that say {said}")


@case("trunks: 503 with Retry-After rests the trunk, then one call tries it", calls={"per_lease": 0},
      outbound={"max_retry_after": "8s"}, **SECOND)
def _(t):
    caller, callee = t.sides()
    second = t.phone("second")
    number = single(t)

    def call(phone):
        a = Leg(caller, CALLER)
        a.invite(number)
        b = Leg.invited(phone)
        b.reply(486)
        a.refused(486)

    a = Leg(caller, CALLER)
    a.invite(number)
    Leg.invited(callee).reply(503, extra=("Retry-After: 3600",))
    Leg.invited(second).reply(486)
    a.refused(486)
    t.becomes(lambda: "leasebridge_trunk_up{trunk=\"carrier-out\"} 0" in t.g.get("/metrics")[1], True, "resting")
    call(second)
    t.becomes(lambda: "leasebridge_trunk_up{trunk=\"carrier-out\"} 1" in t.g.get("/metrics")[1], True, "rested")
    call(callee)
    t.record(3)


@case("trunks: weight shares calls among trunks of one priority", calls={"per_lease": 0},
      trunks=[{**SECOND["trunks"][0], "priority": 1}])
def _(t):
    caller, callee = t.sides()
    second = t.phone("second")
    number = single(t)
    seen = {"carrier-out": 0, "carrier-two": 0}
    for _ in range(40):
        a = Leg(caller, CALLER)
        a.invite(number)
        b = first_invited(callee, second)
        b.reply(486)
        a.refused(486)
        seen["carrier-out" if b.phone is callee else "carrier-two"] += 1
    t.check(min(seen.values()) >= 5, f"40 calls were shared as {seen}")


def first_invited(*phones):
    """The leg of whichever phone gets the INVITE."""
    end = time.time() + PATIENCE
    while time.time() < end:
        for phone in phones:
            try:
                return Leg.invited(phone, timeout=0.05)
            except Missing:
                continue
    raise Missing("nobody got an INVITE")


# ---- section 1: numbers and identities

def national(t, form, dialled, caller_number, wire):
    caller, callee = t.sides()
    number = single(t)
    a = Leg(caller, caller_number)
    a.invite(dialled(number))
    b = Leg.invited(callee)
    t.equal(b.number, wire, "the callee's number on the wire")
    b.reply(486)
    a.refused(486)
    return t.record(caller=CALLER, callee=DRIVER, leased_number=number), b


@case("numbers: national on both trunks", numbering={"default_country": "MY"}, inbound={"numbers": "national"}, outbound={"numbers": "national"})
def _(t):
    _, b = national(t, "national", lambda n: "0" + n[3:], "0199990001", "0122223333")
    t.check("0199990001" in b.request_got.get("from"), "From is " + b.request_got.get("from"))


@case("numbers: E.164 without plus on both trunks", inbound={"numbers": "e164"}, outbound={"numbers": "e164"})
def _(t):
    _, b = national(t, "e164", lambda n: n[1:], "60199990001", "60122223333")
    t.check("sip:60199990001@" in b.request_got.get("from"), "From is " + b.request_got.get("from"))


STRIPPED = {"numbering": {"default_country": "MY", "allowed_targets": ["MY", "DE"]},
            "outbound": {"numbers": {"prefix": "777", "strip": 2}, "trusted": True}}


@case("numbers: tech prefix on both trunks", inbound={"numbers": {"prefix": "9991", "strip": 0}}, **STRIPPED)
def _(t):
    _, b = national(t, "prefix", lambda n: "9991" + n[1:], "999160199990001", "777122223333")
    for name in ("From", "P-Asserted-Identity"):
        t.check("sip:60199990001@" in b.request_got.get(name.lower()), f"{name} is " + b.request_got.get(name.lower()))


@case("numbers: with a tech prefix callers are known without it, and shown without it",
      inbound={"numbers": {"prefix": "9991", "strip": 0}}, **STRIPPED)
def _(t):
    caller, callee = t.sides()
    t.customer = t.g.customer()
    dialled, shown, _ = t.g.group(t.customer, DRIVER, RIDER)
    for number in (RIDER[1:], RIDER, "9991" + RIDER[1:]):
        a = Leg(caller, number)
        a.invite("9991" + dialled[1:])
        b = Leg.invited(callee)
        for name in ("from", "p-asserted-identity"):
            t.check(f"sip:{shown[1:]}@" in b.request_got.get(name), f"{name} is " + b.request_got.get(name))
        b.reply(486)
        a.refused(486)
    t.record(3, caller=RIDER, lease_kind="group")


@case("numbers: a trunk that leaves out the country code takes no number of another country", **STRIPPED)
def _(t):
    caller, callee = t.sides()
    t.customer = t.g.customer()
    number, _ = t.g.single(t.customer, "+4930123456")
    a = Leg(caller, CALLER)
    a.invite(number)
    m = a.refused(503)
    t.check("cause=34" in m.get("reason") and not m.get("retry-after"), "Reason is " + m.get("reason"))
    callee.silent("INVITE", 0.3)
    t.record(sip_code="503", reason="no_trunk")


@case("numbers: the next trunk takes it", **STRIPPED, **SECOND)
def _(t):
    (caller, callee), second = t.sides(), t.phone("second")
    t.customer = t.g.customer()
    number, _ = t.g.single(t.customer, "+4930123456")
    a = Leg(caller, CALLER)
    a.invite(number)
    b = Leg.invited(second)
    t.equal(b.number, "+4930123456", "the callee's number on the wire")
    callee.silent()
    b.reply(486)
    a.refused(486)
    t.record(trunk_out="carrier-two")


@case("identity: P-Asserted-Identity of a trusted trunk counts, From does not")
def _(t):
    caller, callee = t.sides()
    a = Leg(caller, OTHER)
    a.invite(single(t), extra=(f"P-Asserted-Identity: <sip:{CALLER}@{caller.ip}>",))
    b = Leg.invited(callee)
    t.check(CALLER in b.request_got.get("from") and OTHER not in b.request_got.text, "From is " + b.request_got.get("from"))
    b.reply(486)
    a.refused(486)
    t.record(caller=CALLER)


@case("identity: P-Asserted-Identity of an untrusted trunk is nothing, and none goes to an untrusted one", inbound={"trusted": False})
def _(t):
    caller, callee = t.sides()
    a = Leg(caller, CALLER)
    a.invite(single(t), extra=(f"P-Asserted-Identity: <sip:{OTHER}@{caller.ip}>",))
    b = Leg.invited(callee)
    t.check(CALLER in b.request_got.get("from"), "From is " + b.request_got.get("from"))
    t.check(OTHER not in b.request_got.text and not b.request_got.get("p-asserted-identity"), "no P-Asserted-Identity")
    b.reply(486)
    a.refused(486)
    t.record(caller=CALLER)


@case("identity: a trusted outbound trunk gets P-Asserted-Identity", outbound={"trusted": True})
def _(t):
    caller, callee = t.sides()
    a = Leg(caller, CALLER)
    a.invite(single(t))
    b = Leg.invited(callee)
    t.check(CALLER in b.request_got.get("p-asserted-identity"), "P-Asserted-Identity is there")
    b.reply(486)
    a.refused(486)


@case("identity: an anonymous caller with P-Asserted-Identity may call the other member")
def _(t):
    caller, callee = t.sides()
    t.customer = t.g.customer()
    dialled, shown, _ = t.g.group(t.customer, DRIVER, RIDER)
    a = Leg(caller, "anonymous")
    a.invite(dialled, extra=(f"P-Asserted-Identity: <sip:{RIDER}@{caller.ip}>", "Privacy: id"))
    b = Leg.invited(callee)
    t.check(shown in b.request_got.get("from") and RIDER[1:] not in b.request_got.text, "From is " + b.request_got.get("from"))
    b.reply(486)
    a.refused(486)
    t.record(lease_kind="group", caller=RIDER, shown_number=shown)


# ---- section 2 and 3: messages

@case("messages: each leg has its own Via, Call-ID, tag, CSeq, Contact and SDP origin; Max-Forwards is one less")
def _(t):
    caller, callee = t.sides()
    a = Leg(caller, CALLER)
    a.cseq = 4711
    a.invite(single(t), max_forwards=20)
    b = Leg.invited(callee)
    m, g = b.request_got, t.g.ip["gateway"]
    t.equal(m.get("max-forwards"), "19", "Max-Forwards")
    t.equal(len(m.all("via")), 1, "the number of Vias")
    t.check(f"{g}:5060" in m.get("via") and "branch=z9hG4bK" in m.get("via"), "Via is " + m.get("via"))
    t.check(a.call_id not in m.text and a.tag not in m.text and caller.ip not in m.text, "nothing of the caller's leg is in it")
    t.check(not m.get("cseq").startswith("4712"), "CSeq is its own")
    t.check(g in m.get("contact") and g in m.get("from") and CALLER in m.get("from"), "Contact and From name us")
    t.check(re.search(rf"^o=\S+ \d+ \d+ IN IP4 {re.escape(g)}\r?$", m.body, re.M), "o= is " + m.body.split("\n")[1])
    b.reply(180)
    ring = a.expect(180)
    t.check(g in ring.get("contact") and callee.ip not in ring.text and b.tag not in ring.text and DRIVER[1:] not in ring.text,
            "nothing of the callee's leg is in the 180")
    b.reply(486)
    a.refused(486)


@case("messages: a merged request is 482")
def _(t):
    caller, callee = t.sides()
    number = single(t)
    a = Leg(caller, CALLER)
    a.invite(number)
    b = Leg.invited(callee)
    b.reply(180, "Ringing")
    a.expect(180)
    a.invite(number, cseq=1)
    m = a.refused(482)
    t.check("cause=25" in m.get("reason"), "Reason is " + m.get("reason"))
    callee.silent("INVITE", 0.3)
    b.reply(486)
    caller.pending.clear()
    a.expect(486)


@case("messages: what is missing or there twice is 400 with its name; an ACK or a response gets nothing")
def _(t):
    caller = t.phone("caller")
    number = single(t)

    def broken(change, says):
        a = Leg(caller, CALLER)
        text = change(a.start(number))
        caller.send(text)
        m = caller.expect(400)
        t.check(says.lower() in m.start.lower(), f"{says}: {m.start}")
        if m.get("call-id") and m.get("cseq").endswith("INVITE") and m.get("via"):
            caller.send(build(f"ACK {a.uri} SIP/2.0", [f"Via: {m.get('via')}", f"From: {m.get('from')}", f"To: {m.get('to')}",
                                                       f"Call-ID: {m.get('call-id')}", "CSeq: 1 ACK"]))

    def without(name):
        return lambda text: "\r\n".join(l for l in text.split("\r\n") if not l.startswith(name + ":"))

    def twice(name):
        def change(text):
            lines = text.split("\r\n")
            at = next(i for i, l in enumerate(lines) if l.startswith(name + ":"))
            return "\r\n".join(lines[:at] + [lines[at]] + lines[at:])
        return change

    for name in ("From", "To", "Call-ID", "CSeq", "Contact", "Max-Forwards"):
        broken(without(name), name)
    for name in ("From", "To", "Call-ID", "CSeq", "Max-Forwards"):
        broken(twice(name), name)
    broken(lambda text: text.replace("CSeq: 1 INVITE", "CSeq: 1 BYE"), "CSeq")
    broken(lambda text: text.replace("CSeq: 1 INVITE", "CSeq: 99999999999 INVITE"), "CSeq")
    broken(lambda text: text.replace("Content-Length: ", "Content-Length: 9"), "")
    caller.pending.clear()
    text = without("From")(Leg(caller, CALLER).start(number)).replace("INVITE", "ACK")
    caller.send(text)
    caller.send(f"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP {caller.host};branch=z9hG4bK1\r\n\r\n")
    for junk in (b"", b"\r\n\r\n", b"\0" * 300, b"INVITE", b"\xff\xfe" * 1000, b"INVITE sip:x SIP/2.0\r\n\r\n"):
        caller.send(junk)
    caller.silent("SIP/2.0 2", 0.4)
    options(caller)
    caller.expect(200)
    t.equal(t.g.metric("leasebridge_sip_dialogs"), 0, "dialogs")


@case("messages: an INVITE has one Contact, of SIP")
def _(t):
    caller, callee = t.sides()
    number = single(t)
    here = f"<sip:{caller.host}>"
    for contacts, says in (([here, "<sip:x@192.0.2.1>"], "Repeated"), ([f"{here}, <sip:x@192.0.2.1>"], "Repeated"),
                           (["<tel:+60123456789>"], "Malformed"), (["*"], "Malformed")):
        a = Leg(caller, CALLER)
        a.invite(number, drop=("Contact",), extra=[f"Contact: {c}" for c in contacts])
        m = a.refused(400)
        t.check(f"{says} Contact" in m.start, f"{contacts}: {m.start}")
    callee.silent("INVITE", 0.3)
    t.record(4, sip_code="400")
    a, b = connect(caller, callee, number)
    a.request("INVITE", caller.sdp(), extra=["Contact: <sip:x@192.0.2.1>"])
    a.expect(400)
    hang_up(a, b)


@case("messages: too many headers or too long a header: refused cheaply")
def _(t):
    caller, callee = t.sides()
    number = single(t)
    for extra in ([f"X-{i}: y" for i in range(200)], ["X-Long: " + "y" * 5000]):
        a = Leg(caller, CALLER)
        text = a.start(number, extra=extra)
        caller.send(text)
        m = caller._receive(0.7)
        t.check(not m or m.status in (400, 413, 513), f"it got {m and m.start}")
    callee.silent("INVITE", 0.3)
    a, b = connect(caller, callee, number)
    hang_up(a, b)


@case("messages: repeats of everything change nothing")
def _(t):
    caller, callee = t.sides()
    a = Leg(caller, CALLER)
    text = a.invite(single(t))
    b = Leg.invited(callee)
    for _ in range(3):
        caller.send(text)
    ring = b.reply(180, "Ringing")
    callee.send(ring)
    a.expect(180)
    caller.send(text)
    ok = b.answer()
    answered = a.expect(200)
    caller.send(text)
    a.remote, a.target = answered.get("to"), re.search(r"<([^>]*)>", answered.get("contact"))[1]
    a.ack()
    ack = b.expect("ACK ")
    callee.send(ok)
    callee.send(ok)
    t.becomes(lambda: callee.repeats(ack) >= 3, True, "an ACK for each 200")
    bye = a.request("BYE")
    got = b.expect("BYE ")
    caller.send(bye)
    done = b.reply(200, "OK", request=got)
    callee.send(done)
    final = a.expect(200)
    caller.send(bye)
    t.becomes(lambda: caller.repeats(final) >= 2, True, "the 200 to a repeated BYE")
    callee.silent("INVITE", 0.2)
    t.record(sip_code="200", blocks="1", ended_by="caller")
    t.becomes(lambda: t.g.metric("leasebridge_sip_retransmissions_total") >= 4, True, "repeats counted")


@case("messages: lost requests and responses are sent again")
def _(t):
    caller, callee = t.sides()
    a = Leg(caller, CALLER)
    a.invite(single(t))
    b = Leg.invited(callee)
    t.becomes(lambda: callee.repeats(b.request_got) >= 2, True, "the INVITE again")
    b.reply(180, "Ringing")
    a.expect(180)
    b.answer()
    ok = a.expect(200)
    t.becomes(lambda: caller.repeats(ok) >= 2, True, "the 200 again")
    a.remote, a.target = ok.get("to"), re.search(r"<([^>]*)>", ok.get("contact"))[1]
    a.ack()
    b.expect("ACK ")
    a.request("BYE")
    bye = b.expect("BYE ")
    t.becomes(lambda: callee.repeats(bye) >= 2, True, "the BYE again")
    b.reply(200, "OK", request=bye)
    a.expect(200)
    t.record(sip_code="200", blocks="1")


@case("messages: a failure that is not acknowledged is sent again")
def _(t):
    caller, callee = t.sides()
    a = Leg(caller, CALLER)
    a.invite(single(t))
    b = Leg.invited(callee)
    refusal = b.reply(486)
    ack = b.expect("ACK ")
    callee.send(refusal)
    t.becomes(lambda: callee.repeats(ack) >= 2, True, "the ACK again")
    m = a.expect(486)
    t.becomes(lambda: caller.repeats(m) >= 2, True, "the 486 again")
    a.ack_failure(m)
    t.record(sip_code="486", reason="busy", charge="0")


@case("races: CANCEL before the callee has said anything")
def _(t):
    caller, callee = t.sides()
    a = Leg(caller, CALLER)
    a.invite(single(t))
    b = Leg.invited(callee)
    a.cancel()
    a.expect(200)
    a.refused(487)
    callee.silent("CANCEL", 0.4)
    b.reply(180, "Ringing")
    cancel = b.expect("CANCEL ")
    t.check("cause=" in cancel.get("reason"), "CANCEL has a Reason")
    t.equal(cancel.get("via"), b.request_got.get("via"), "CANCEL's Via")
    b.reply(200, "OK", request=cancel)
    b.reply(487)
    b.expect("ACK ")
    t.record(sip_code="487", reason="cancelled", charge="0")


@case("races: CANCEL for a call that is answered, and for none")
def _(t):
    caller, callee = t.sides()
    a, b = connect(caller, callee, single(t))
    ghost = Leg(caller, CALLER)
    ghost.start("+60388880000")
    ghost.cancel()
    ghost.expect(481)
    a.cancel()
    m = a.phone.expect("SIP/2.0 ")
    t.check(m.status in (200, 481), m.start)
    callee.silent("BYE", 0.3)
    hang_up(a, b)
    t.record(sip_code="200", reason="completed")


@case("races: BYE of the caller in the early dialog")
def _(t):
    caller, callee = t.sides()
    a = Leg(caller, CALLER)
    a.invite(single(t))
    b = Leg.invited(callee)
    b.reply(180, "Ringing")
    ring = a.expect(180)
    a.remote, a.target = ring.get("to"), re.search(r"<([^>]*)>", ring.get("contact"))[1]
    a.request("BYE")
    got = sorted([a.expect("SIP/2.0 ").status, a.expect("SIP/2.0 ").status])
    t.equal(got, [200, 487], "the answers")
    cancel = b.expect("CANCEL ")
    b.reply(200, "OK", request=cancel)
    b.reply(487)
    b.expect("ACK ")
    t.record(charge="0", ended_by="caller", reason="cancelled")


@case("races: BYE of the callee before the caller's ACK")
def _(t):
    caller, callee = t.sides()
    a = Leg(caller, CALLER)
    a.invite(single(t))
    b = Leg.invited(callee)
    b.answer()
    ok = a.expect(200)
    a.remote, a.target = ok.get("to"), re.search(r"<([^>]*)>", ok.get("contact"))[1]
    b.expect("ACK ")
    b.request("BYE", cseq=1)
    b.expect(200)
    caller.silent("BYE", 0.3)
    a.ack()
    a.bye_comes()
    t.record(ended_by="callee", sip_code="200", blocks="1")


@case("races: both hang up at once")
def _(t):
    caller, callee = t.sides()
    a, b = connect(caller, callee, single(t))
    a.request("BYE")
    b.request("BYE", cseq=1)
    for leg in (a, b):
        t.equal(leg.expect("SIP/2.0 ").status, 200, "the answer to BYE")
    t.record(sip_code="200", reason="completed", blocks="1")

    def dialogs():
        for leg in (a, b):
            leg.phone.pump()
            for m in [m for m in leg.phone.pending if m.start.startswith("BYE")]:
                leg.phone.pending.remove(m)
                leg.reply(200, "OK", request=m)
        return t.g.metric("leasebridge_sip_dialogs")

    t.becomes(dialogs, 0, "dialogs")


@case("races: re-INVITEs that cross are 491, and the first goes on")
def _(t):
    caller, callee = t.sides()
    a, b = connect(caller, callee, single(t))
    a.request("INVITE", caller.sdp(extra=("a=sendonly",), version=2))
    m = b.expect("INVITE ")
    t.check("a=sendonly" in m.body, "hold is passed")
    b.request("INVITE", callee.sdp(version=2), cseq=7)
    glare = b.expect(491)
    b.ack_failure(glare)
    b.reply(200, "OK", callee.sdp(extra=("a=recvonly",), version=2), request=m)
    t.check("a=recvonly" in a.expect(200).body, "the answer is passed")
    a.ack()
    b.expect("ACK ")
    hang_up(a, b)
    t.record(sip_code="200")


@case("races: a re-INVITE that got 491 is tried again")
def _(t):
    caller, callee = t.sides()
    a, b = connect(caller, callee, single(t))
    a.request("INVITE", caller.sdp(version=2))
    m = b.expect("INVITE ")
    b.reply(491, request=m)
    b.expect("ACK ")
    m = b.expect("INVITE ")
    b.reply(200, "OK", callee.sdp(version=2), request=m)
    a.expect(200)
    a.ack()
    b.expect("ACK ")
    hang_up(a, b)
    t.record(sip_code="200", reason="completed")


@case("races: a re-INVITE refused leaves the session as it was")
def _(t):
    caller, callee = t.sides()
    a, b = connect(caller, callee, single(t))
    a.request("INVITE", caller.sdp(extra=("a=sendonly",), version=2))
    m = b.expect("INVITE ")
    b.reply(488, request=m)
    b.expect("ACK ")
    a.refused(488)
    t.equal(caller.play(a.media, 3), callee.hear(3), "the sound")
    t.equal(callee.play(b.media, 3), caller.hear(3), "the sound back")
    hang_up(a, b)


@case("legs: of two forks that answer the first wins, the other gets ACK and BYE")
def _(t):
    caller, callee = t.sides()
    a = Leg(caller, CALLER)
    a.invite(single(t))
    b = Leg.invited(callee)
    b.reply(180, "Ringing", tag="one")
    b.reply(180, "Ringing", tag="two")
    tags = {a.expect(180).get("to") for _ in range(2)}
    t.equal(len(tags), 2, "the caller's early dialogs")
    b.answer(tag="one")
    ok = a.answered()
    t.check("tag=one" in b.expect("ACK ").get("to"), "the first is acknowledged")
    b.answer(tag="two")
    t.check("tag=two" in b.expect("ACK ").get("to"), "the second is acknowledged")
    bye = b.bye_comes()
    t.check("tag=two" in bye.get("to"), "the second is released: " + bye.get("to"))
    t.flowing()
    sent = caller.play(ok.media(), 3)
    t.equal(callee.hear(3), sent, "the sound")
    b.local = b.local.replace(b.tag, "one")
    a.request("BYE")
    t.check("tag=one" in b.bye_comes().get("to"), "BYE to the first")
    a.expect(200)
    t.record(sip_code="200", blocks="1")


@case("legs: an answer that comes after a failure gets ACK and BYE")
def _(t):
    caller, callee = t.sides()
    a = Leg(caller, CALLER)
    a.invite(single(t))
    b = Leg.invited(callee)
    b.reply(180, "Ringing", tag="one")
    a.expect(180)
    b.reply(486, tag="one")
    t.check("tag=one" in b.expect("ACK ").get("to"), "the failure is acknowledged")
    a.refused(486)
    b.answer(tag="two")
    t.check("tag=two" in b.expect("ACK ").get("to"), "the answer is acknowledged")
    t.check("tag=two" in b.bye_comes().get("to"), "the answer is hung up")
    caller.silent("SIP/2.0 2")
    t.record(sip_code="486", charge="0")
    t.becomes(lambda: t.g.metric("leasebridge_sip_dialogs"), 0, "dialogs")


@case("media: format parameters pass by their codec's list")
def _(t):
    caller, callee = t.sides()
    number = single(t)
    pieces = ["601;222;233;33", "6012=222=3333", "6012*222*3333", "60/122/223/333", "6,0,1,2,2,2,2,3,3,3,3", "60122223333",
              "x=7f00" + "%02x03" % t.g.net, f"127/0/{t.g.net}/3", f"127,0,{t.g.net},3"]
    a = Leg(caller, CALLER)
    offered = ["a=fmtp:111 useinbandfec=1;x-note=5", "a=fmtp:101 0-15,66", "a=fmtp:8 vad=no"]
    a.invite(number, body=caller.sdp("8 111 101", extra=offered))
    b = Leg.invited(callee)
    fmtp = lambda m: [l for l in m.body.split("\r\n") if l.startswith("a=fmtp")]
    t.equal(fmtp(b.request_got), ["a=fmtp:8 vad=no", "a=fmtp:111 useinbandfec=1", "a=fmtp:101 0-15,66"], "the offer's")
    for codec in (8, 111, 101):
        for text in pieces:
            b.reply(183, "Progress", callee.sdp("8 111 101", extra=[f"a=fmtp:{codec} {text}"]), tag=f"t{codec}x{len(text)}")
    b.answer(body=callee.sdp("8 111 101", extra=[f"a=fmtp:111 maxplaybackrate=60;maxaveragebitrate=122223333"] +
                             ["a=fmtp:111 maxplaybackrate=601;maxptime=22;minptime=22;ptime=33;maxaveragebitrate=33", "a=fmtp:101 0-15"]))
    ok = a.answered()
    t.equal(fmtp(ok), ["a=fmtp:111 maxplaybackrate=60", "a=fmtp:101 0-15"], "the answer's")
    for m in [m for m in caller.copies if b"a=fmtp" in m and b"200 OK" not in m]:
        t.check(False, f"{m!r} came")
    hang_up(a, b)
    t.record(sip_code="200")


@case("media: a subscriber's number may have the digits of our ports",
      # Five pairs are enough for one worker alone.
      media={"ports": "22122-22131"}, numbering={"allowed_targets": ["*"]}, calls={"per_lease": 0}, sip={"workers": 1})
def _(t):
    caller, callee = t.sides()
    t.customer = t.g.customer()
    number, _ = t.g.single(t.customer, "+68222122")
    ports = set()
    for _ in range(8):
        a = Leg(caller, CALLER)
        a.invite(number)
        b = Leg.invited(callee)
        b.answer()
        ports.add(a.answered().media()[1])
        hang_up(a, b)
    t.check(22122 in ports, f"the ports were {sorted(ports)}")
    for record in t.g.records(8):
        t.equal((record["sip_code"], record["guard_hits"]), ("200", "0"), "a record's code and guard hits")


@case("legs: a tel URI, compact and folded headers, odd case")
def _(t):
    caller, callee = t.sides()
    number = single(t)
    a = Leg(caller, CALLER)
    text = a.start(f"tel:{number}")
    for name, short in (("Via", "v"), ("From", "f"), ("To", "t"), ("Call-ID", "i"), ("Contact", "m"), ("Content-Type", "c"), ("Content-Length", "l")):
        text = text.replace(f"\r\n{name}: ", f"\r\n{short}:\r\n   ")
    text = text.replace("Max-Forwards", "mAX-fORWARDS").replace("CSeq: 1 INVITE", "CSEQ:   1\tINVITE")
    caller.send(text)
    b = Leg.invited(callee)
    b.answer()
    a.answered()
    b.expect("ACK ")
    hang_up(a, b)
    t.record(sip_code="200", leased_number=number)


@case("legs: a re-INVITE without an offer")
def _(t):
    caller, callee = t.sides()
    a, b = connect(caller, callee, single(t))
    a.request("INVITE")
    m = b.expect("INVITE ")
    t.check("m=audio" not in m.body, "no offer is passed")
    b.reply(200, "OK", callee.sdp(version=2), request=m)
    t.check("m=audio" in a.expect(200).body, "the callee's offer is passed")
    a.ack(body=caller.sdp(version=2))
    t.check("m=audio" in b.expect("ACK ").body, "the caller's answer is passed")
    sent = caller.play(a.media, 3)
    t.equal(callee.hear(3), sent, "the sound")
    hang_up(a, b)
    t.record(sip_code="200")


@case("legs: a trunk's own ring_timeout", outbound={"ring_timeout": "1s"})
def _(t):
    caller, callee = t.sides()
    a = Leg(caller, CALLER)
    a.invite(single(t))
    b = Leg.invited(callee)
    b.reply(180, "Ringing")
    m = b.expect("CANCEL ")
    t.check("cause=" in m.get("reason"), "CANCEL has a Reason")
    b.reply(200, request=m)
    b.reply(487)
    a.refused(480)
    t.record(reason="no_answer", q850_cause="19", charge="0")


@case("legs: a group's members reach each other, both ways, by leased numbers alone")
def _(t):
    caller, callee = t.sides()
    t.customer = t.g.customer()
    of_driver, of_rider, _ = t.g.group(t.customer, DRIVER, RIDER)
    for who, to, number, shown in ((RIDER, of_driver, DRIVER, of_rider), (DRIVER, of_rider, RIDER, of_driver)):
        a, b = connect(caller, callee, to, number=who)
        t.equal(b.number, number, "the number called")
        t.check(shown in b.request_got.get("from") and who[1:] not in b.request_got.text, "the callee sees the leased number alone")
        t.check(number[1:] not in a.ok.text and callee.ip not in a.ok.text, "the caller sees nothing of the callee")
        hang_up(a, b)
        t.g.records(1)
    t.record(2, lease_kind="group", charge="100")


@case("legs: a new address by re-INVITE moves the sound")
def _(t):
    caller, callee = t.sides()
    a, b = connect(caller, callee, single(t))
    new = caller.socket(6200)
    a.request("INVITE", caller.sdp(port=6200, version=2))
    m = b.expect("INVITE ")
    t.check("6200" not in m.body, "the callee sees our port")
    b.reply(200, "OK", callee.sdp(), request=m)
    media = a.expect(200).media()
    a.ack()
    b.expect("ACK ")
    callee.until_heard(b.media, caller, there=new)
    sent = callee.play(b.media, 5)
    t.equal(caller.hear(5, sock=new), sent, "the sound at the new port")
    sent = caller.play(media, 5, sock=new)
    t.equal(callee.hear(5), sent, "the sound from the new port")
    caller.play(media, 3)
    callee.deaf()
    new.close()
    hang_up(a, b)


@case("legs: the callee's Reason reaches the record, the caller's cause the callee")
def _(t):
    caller, callee = t.sides()
    a, b = connect(caller, callee, single(t))
    a.request("BYE", extra=('Reason: Q.850;cause=31;text="call of +60199990001"',))
    m = b.bye_comes()
    a.expect(200)
    t.check("cause=31" in m.get("reason") and "call of" not in m.text, "Reason is " + m.get("reason"))
    t.record(q850_cause="31")


@case("legs: a request that is not ours in a dialog is 405, and the call goes on")
def _(t):
    caller, callee = t.sides()
    a, b = connect(caller, callee, single(t))
    a.request("PUBLISH")
    t.check("BYE" in a.expect(405).get("allow"), "405 has Allow")
    callee.silent("PUBLISH", 0.2)
    options(caller)
    caller.expect(200)
    hang_up(a, b)


# ---- section 5: media

@case("media: packets pass untouched both ways, and are counted")
def _(t):
    caller, callee = t.sides()
    a, b = connect(caller, callee, single(t))
    sent = caller.play(a.media, 50)
    t.equal(callee.hear(50), sent, "what the callee hears")
    sent = callee.play(b.media, 40, ssrc=9)
    t.equal(caller.hear(40), sent, "what the caller hears")
    hang_up(a, b)
    t.record(to_callee_packets="50", to_caller_packets="40", to_callee_lost="0", to_caller_lost="0")
    t.equal(t.g.metric("leasebridge_media_packets_total"), 90, "packets relayed")


@case("media: lost packets are counted into the record")
def _(t):
    caller, callee = t.sides()
    a, b = connect(caller, callee, single(t))
    caller.play(a.media, 10)
    caller.play(a.media, 10, first=15)
    t.equal(len(callee.hear(20)), 20, "packets")
    hang_up(a, b)
    t.record(to_callee_packets="20", to_callee_lost="5")


@case("media: address+port: another port, another host and what is no RTP are dropped and counted")
def _(t):
    caller, callee = t.sides()
    third = t.phone("stranger")
    a, b = connect(caller, callee, single(t))
    odd = caller.socket(6100)
    caller.play(a.media, 5, sock=odd)
    third.play(a.media, 5)
    third.play(b.media, 5)
    caller.rtp.sendto(b"\x00" * 172, a.media)
    caller.rtp.sendto(b"\x80", a.media)
    callee.deaf()
    caller.deaf(0.1)
    sent = caller.play(a.media, 5)
    t.equal(callee.hear(5), sent, "the sound")
    odd.close()
    t.becomes(lambda: dropped(t, "source"), 15, "dropped for their source")
    t.becomes(lambda: dropped(t, "not_rtp"), 2, "dropped as no RTP")
    hang_up(a, b)
    t.record(to_callee_packets="5", to_caller_packets="0")


def dropped(t, reason):
    line = re.search(rf'^leasebridge_media_dropped_total{{reason="{reason}"}} (\S+)', t.g.get("/metrics")[1], re.M)
    return float(line[1]) if line else 0


@case("media: address: any port of the address, no other host", inbound={"media_source": "address"})
def _(t):
    caller, callee = t.sides()
    third = t.phone("stranger")
    a, b = connect(caller, callee, single(t))
    odd = caller.socket(6100)
    sent = caller.play(a.media, 5, sock=odd)
    t.equal(callee.hear(5), sent, "the sound from another port")
    third.play(a.media, 5)
    callee.deaf()
    sent = callee.play(b.media, 5)
    t.equal(caller.hear(5), sent, "the sound to the port described")
    odd.close()
    hang_up(a, b)


@case("media: latch: the first source that may be, and no other afterwards", inbound={"media_source": "latch"})
def _(t):
    caller, callee = t.sides()
    third = t.phone("stranger")
    inner = caller.sdp(ip="10.99.0.1", port=4000)
    a, b = connect(caller, callee, single(t), offer=inner)
    third.play(a.media, 5)
    callee.deaf()
    sent = caller.play(a.media, 5)
    t.equal(callee.hear(5), sent, "the sound")
    sent = callee.play(b.media, 5)
    t.equal(caller.hear(5), sent, "the sound back to the latched source")
    odd = caller.socket(6100)
    caller.play(a.media, 5, sock=odd)
    third.play(a.media, 5)
    callee.deaf()
    third.deaf(0.1)
    # New SDP: it may latch anew.
    a.request("INVITE", caller.sdp(ip="10.99.0.1", port=4100, version=2))
    m = b.expect("INVITE ")
    b.reply(200, "OK", callee.sdp(), request=m)
    a.expect(200)
    a.ack()
    b.expect("ACK ")
    caller.until_heard(a.media, callee, sock=odd)
    sent = caller.play(a.media, 5, sock=odd, first=50)
    t.equal(callee.hear(5), sent, "the sound after new SDP")
    odd.close()
    hang_up(a, b)


@case("media: latch on an outbound trunk: the callee's sound passes, a stranger's does not", outbound={"media_source": "latch"})
def _(t):
    caller, callee = t.sides()
    third = t.phone("stranger")
    a, b = connect(caller, callee, single(t), answer=callee.sdp(ip="10.99.0.1", port=4000))
    third.play(b.media, 5)
    caller.deaf()
    sent = callee.play(b.media, 5)
    t.equal(caller.hear(5), sent, "the sound, before the callee has heard anything")
    third.play(b.media, 5)
    caller.deaf()
    sent = caller.play(a.media, 5)
    t.equal(callee.hear(5), sent, "the sound back to the latched source")
    t.becomes(lambda: dropped(t, "source"), 10, "dropped for their source")
    hang_up(a, b)


@case("media: latch: early media of an outbound trunk passes", outbound={"media_source": "latch"})
def _(t):
    caller, callee = t.sides()
    a = Leg(caller, CALLER)
    a.invite(single(t))
    b = Leg.invited(callee)
    b.reply(183, "Session Progress", callee.sdp(ip="10.99.0.1", port=4000))
    a.expect(183)
    t.flowing()
    sent = callee.play(b.request_got.media(), 5)
    t.equal(caller.hear(5), sent, "the ringing tone")
    b.answer(callee.sdp(ip="10.99.0.1", port=4000))
    a.answered()
    b.expect("ACK ")
    sent = callee.play(b.request_got.media(), 5, first=5)
    t.equal(caller.hear(5), sent, "the voice")
    hang_up(a, b)


@case("media: latch after failover: the trunk that answered, not the one before", outbound={"media_source": "latch"},
      trunks=[{**SECOND["trunks"][0], "media_source": "latch"}])
def _(t):
    caller, callee = t.sides()
    second = t.phone("second")
    a = Leg(caller, CALLER)
    a.invite(single(t))
    Leg.invited(callee).reply(503)
    b = Leg.invited(second)
    b.answer(second.sdp(ip="10.99.0.1", port=4000))
    a.answered()
    b.expect("ACK ")
    t.flowing()
    media = b.request_got.media()
    callee.play(media, 5)
    caller.deaf()
    second.until_heard(media, caller)
    sent = second.play(media, 5, first=50)
    t.equal(caller.hear(5), sent, "the sound")
    hang_up(a, b)


@case("media: latch: of a trunk's sources only the one that speaks for the call",
      inbound={"media_source": "latch", "sources": ["127.0.NET.1/32", "127.0.NET.4/31"]})
def _(t):
    caller, callee = t.sides()
    other, moved = t.phone("stranger"), t.phone("second")
    inner = lambda version: caller.sdp(ip="10.99.0.1", port=4000, version=version)
    a, b = connect(caller, callee, single(t), offer=inner(1))
    other.play(a.media, 5)
    callee.deaf()
    sent = caller.play(a.media, 5)
    t.equal(callee.hear(5), sent, "the sound")
    sent = callee.play(b.media, 5)
    t.equal(caller.hear(5), sent, "the sound back")
    other.deaf(0.1)
    # The caller moves, and says so from there.
    a.phone = moved
    a.request("INVITE", inner(2))
    m = b.expect("INVITE ")
    b.reply(200, "OK", callee.sdp(version=2), request=m)
    a.expect(200)
    a.ack()
    b.expect("ACK ")
    moved.until_heard(a.media, callee)
    sent = moved.play(a.media, 5, first=50)
    t.equal(callee.hear(5), sent, "the sound from where it moved to")
    caller.play(a.media, 5)
    other.play(a.media, 5)
    callee.deaf()
    hang_up(a, b)


@case("media: latch within a configured prefix", inbound={"media_source": "latch", "media_prefixes": ["127.0.NET.4/32"]})
def _(t):
    caller, callee = t.sides()
    farm = t.phone("stranger")
    a, b = connect(caller, callee, single(t), offer=caller.sdp(ip="10.99.0.1", port=4000))
    sent = farm.play(a.media, 5)
    t.equal(callee.hear(5), sent, "the sound from the prefix")
    sent = callee.play(b.media, 5)
    t.equal(farm.hear(5), sent, "the sound back")
    caller.play(a.media, 5)
    callee.deaf()
    hang_up(a, b)


@case("media: hold closes the gate against the side that is not to send")
def _(t):
    caller, callee = t.sides()
    a, b = connect(caller, callee, single(t))
    a.request("INVITE", caller.sdp(extra=("a=sendonly",), version=2))
    m = b.expect("INVITE ")
    b.reply(200, "OK", callee.sdp(extra=("a=recvonly",)), request=m)
    a.expect(200)
    a.ack()
    b.expect("ACK ")
    t.becomes(lambda: bool(callee.play(b.media, 1)) and dropped(t, "held") >= 1, True, "dropped as held")
    caller.hear(200, 0.2)
    callee.play(b.media, 5)
    caller.deaf()
    sent = caller.play(a.media, 5)
    t.equal(callee.hear(5), sent, "the music on hold")
    t.becomes(lambda: dropped(t, "held") >= 6, True, "each counted as held")
    hang_up(a, b)


@case("media: silence on hold does not end the call, silence afterwards does", media={"timeout": "6s"})
def _(t):
    caller, callee = t.sides()
    a, b = connect(caller, callee, single(t))

    def change(direction, other, version):
        a.request("INVITE", caller.sdp(extra=(f"a={direction}",), version=version))
        m = b.expect("INVITE ")
        b.reply(200, "OK", callee.sdp(extra=(f"a={other}",), version=version), request=m)
        a.expect(200)
        a.ack()
        b.expect("ACK ")

    change("inactive", "inactive", 2)
    caller.silent("BYE", 9)
    change("sendrecv", "sendrecv", 3)
    a.bye_comes()
    b.bye_comes()
    t.record(reason="media_timeout", ended_by="gateway")


@case("media: early media passes, caller to callee too")
def _(t):
    caller, callee = t.sides()
    a = Leg(caller, CALLER)
    a.invite(single(t))
    b = Leg.invited(callee)
    b.reply(183, "Progress", callee.sdp())
    a.media, b.media = a.expect(183).media(), b.request_got.media()
    t.becomes(lambda: t.g.metric("leasebridge_media_flows"), 1, "flows")
    sent = callee.play(b.media, 5)
    t.equal(caller.hear(5), sent, "the ringing tone")
    sent = caller.play(a.media, 5)
    t.equal(callee.hear(5), sent, "the caller's sound")
    b.reply(486)
    a.refused(486)
    t.record(reason="busy", charge="0", to_caller_packets="5")


@case("media: early media is blocked where the trunk says so", outbound={"early_media": "block"})
def _(t):
    caller, callee = t.sides()
    a = Leg(caller, CALLER)
    a.invite(single(t))
    b = Leg.invited(callee)
    b.reply(183, "Progress", callee.sdp())
    a.expect("SIP/2.0 18")
    callee.play(b.request_got.media(), 5)
    caller.deaf()
    b.reply(486)
    a.refused(486)
    t.check(not any(b"m=audio" in data for data in caller.copies), "no SDP came early")


@case("media: RTCP goes by the next port, cleaned, and where a=rtcp says")
def _(t):
    caller, callee = t.sides()
    odd = caller.socket(6401)
    a, b = connect(caller, callee, single(t), offer=caller.sdp(extra=(f"a=rtcp:6401 IN IP4 {caller.ip}", "a=sendrecv")))
    t.check("6401" not in b.request_got.body, "a=rtcp is not passed")
    odd.sendto(sender_report(cname=b"rider@home"), (a.media[0], a.media[1] + 1))
    got = callee.hear(1, sock=callee.rtcp)
    t.check(got and got[0][1] == 200 and b"rider" not in got[0], "a cleaned report comes")
    callee.rtcp.sendto(sender_report(cname=b"driver@home"), (b.media[0], b.media[1] + 1))
    got = caller.hear(1, sock=odd)
    t.check(got and got[0][1] == 200 and b"driver" not in got[0], "a cleaned report comes where a=rtcp says")
    caller.rtcp.sendto(sender_report(), (a.media[0], a.media[1] + 1))
    callee.deaf(sock=callee.rtcp)
    odd.close()
    hang_up(a, b)


@case("media: rtcp-mux where both agree")
def _(t):
    caller, callee = t.sides()
    mux = ("a=rtcp-mux", "a=sendrecv")
    a, b = connect(caller, callee, single(t), offer=caller.sdp(extra=mux), answer=callee.sdp(extra=mux))
    t.check("a=rtcp-mux" in b.request_got.body and "a=rtcp-mux" in a.ok.body, "a=rtcp-mux is agreed on both legs")
    caller.rtp.sendto(sender_report(), a.media)
    got = callee.hear(1)
    t.check(got and got[0][1] == 200, "RTCP comes on the RTP port")
    sent = caller.play(a.media, 3)
    t.equal(callee.hear(3), sent, "RTP on the same port")
    hang_up(a, b)


@case("media: rtcp-mux refused by the callee")
def _(t):
    caller, callee = t.sides()
    a, b = connect(caller, callee, single(t), offer=caller.sdp(extra=("a=rtcp-mux", "a=sendrecv")))
    muxed = "a=rtcp-mux" in a.ok.body
    to = a.media if muxed else (a.media[0], a.media[1] + 1)
    (caller.rtp if muxed else caller.rtcp).sendto(sender_report(), to)
    got = callee.hear(1, sock=callee.rtcp)
    t.check(got and got[0][1] == 200, "RTCP comes on the callee's RTCP port")
    hang_up(a, b)


@case("media: a trunk's codec list, in its order", outbound={"codecs": ["PCMA", "PCMU"]})
def _(t):
    caller, callee = t.sides()
    a = Leg(caller, CALLER)
    a.invite(single(t), body=caller.sdp("111 0 9 8 101"))
    b = Leg.invited(callee)
    formats = re.search(r"^m=audio \d+ RTP/AVP (.*?)\r?$", b.request_got.body, re.M)[1].split()
    t.equal([f for f in formats if f != "101"], ["8", "0"], "the codecs offered")
    t.check("opus" not in b.request_got.body and "G722" not in b.request_got.body, "no other codec is named")
    b.reply(486)
    a.refused(486)


@case("media: nothing that the trunk may carry is 488", outbound={"codecs": ["PCMU"]})
def _(t):
    caller, callee = t.sides()
    a = Leg(caller, CALLER)
    a.invite(single(t), body=caller.sdp("8"))
    m = a.refused(488)
    t.check("cause=88" in m.get("reason"), "Reason is " + m.get("reason"))
    callee.silent("INVITE", 0.3)
    t.record(sip_code="488", reason="no_media")


SIX = {"sip": {"listen": ["udp:127.0.NET.2:5060", "udp:[::1]:15NET"]}, "media": {"address": ["127.0.NET.2", "::1"], "ports": "4NET0-4NET9"}}


def six(t, role):
    """A phone on ::1, whose ports are this net's own."""
    net = t.g.net
    first = {"caller": 16000, "callee": 18000}[role] + 4 * net
    return t.phone("::1", gateway=("::1", int(f"15{net}")), port=first, rtp=first + 2)


def both_ways(t, caller, callee):
    a, b = connect(caller, callee, single(t))
    sent = caller.play(a.media, 10)
    t.equal(callee.hear(10), sent, "the sound")
    sent = callee.play(b.media, 10)
    t.equal(caller.hear(10), sent, "the sound back")
    caller.rtcp.sendto(sender_report(), (a.media[0], a.media[1] + 1))
    t.check(callee.hear(1, sock=callee.rtcp), "RTCP comes")
    hang_up(a, b)
    t.record(sip_code="200", to_caller_packets="10")
    return a, b


@case("media: from IPv6 to IPv4", inbound={"sources": ["::1/128"]}, **SIX)
def _(t):
    a, b = both_ways(t, six(t, "caller"), t.phone("callee"))
    t.check("IN IP6 ::1" in a.ok.body and "IP6" not in b.request_got.body, "each side has its own family")


@case("media: from IPv4 to IPv6", outbound={"target": "sip:[::1]:SIXPORT"}, **SIX)
def _(t):
    a, b = both_ways(t, t.phone("caller"), six(t, "callee"))
    t.check("IP6" not in a.ok.body and "IN IP6 ::1" in b.request_got.body, "each side has its own family")


@case("media: IPv6 on both sides", inbound={"sources": ["::1/128"]}, outbound={"target": "sip:[::1]:SIXPORT"}, **SIX)
def _(t):
    both_ways(t, six(t, "caller"), six(t, "callee"))


@case("media: every port comes back")
def _(t):
    caller, callee = t.sides()
    number = single(t)

    def free():
        row = re.search(r'media_ports{network="default",state="free"} (\S+)', t.g.get("/metrics")[1])
        return float(row[1]) if row else 0

    # The figures are taken about once a second.
    t.becomes(lambda: free() > 0, True, "free ports at the start")
    before = free()
    for how in ("bye", "busy", "cancel"):
        a = Leg(caller, CALLER)
        a.invite(number)
        b = Leg.invited(callee)
        b.reply(183, "Progress", callee.sdp())
        a.expect(183)
        if how == "bye":
            b.answer()
            a.answered()
            b.expect("ACK ")
            hang_up(a, b)
        elif how == "busy":
            b.reply(486)
            a.refused(486)
        else:
            a.cancel()
            m = b.expect("CANCEL ")
            b.reply(200, request=m)
            b.reply(487)
            a.refused(487)
        caller.pending.clear()
        t.g.records(1 + ("bye", "busy", "cancel").index(how))
        t.becomes(lambda: t.g.metric("leasebridge_calls_up"), 0, "calls up")
    t.becomes(free, before, "free ports")
    t.becomes(lambda: t.g.metric("leasebridge_media_flows"), 0, "flows")
    t.becomes(lambda: t.g.metric("leasebridge_calls_up"), 0, "calls up")
    t.record(3)


# ---- section 7: metering

@case("metering: one second blocks: as many as begun, in the record, the ledger and the balance")
def _(t):
    caller, callee = t.sides()
    number = single(t, account_credit="1000", **SHORT)
    a, b = connect(caller, callee, number)
    time.sleep(2.3)
    hang_up(a, b)
    r = t.record(rate="10", block_seconds="1", sip_code="200")
    blocks = max(1, math.ceil(float(r["duration_seconds"])))
    t.equal((r["blocks"], r["charge"]), (str(blocks), str(10 * blocks)), f"blocks and charge of {r['duration_seconds']} s")
    entries = t.g.api("customer/ledger", customer_id=t.customer)["entries"]
    charges = [e for e in entries if e["kind"] == "charge"]
    t.equal([(e["credit"], e["blocks"], e["call_id"]) for e in charges], [(str(-10 * blocks), str(blocks), r["call_id"])], "the charge")
    t.equal(balance(t), 1000 - 10 * blocks, "the balance")


@case("metering: while a call is up the ledger shows it as open")
def _(t):
    caller, callee = t.sides()
    a, b = connect(caller, callee, single(t, account_credit="1000"))
    opened = lambda: [e for e in t.g.api("customer/ledger", customer_id=t.customer)["entries"] if e["kind"] == "open"]
    t.becomes(lambda: [(e["credit"], e["blocks"]) for e in opened()], [("-100", "1")], "the open entry")
    t.equal(balance(t), 900, "the balance")
    hang_up(a, b)
    t.record(charge="100")
    t.becomes(opened, [], "open entries")
    t.equal(balance(t), 900, "the balance afterwards")


@case("metering: two calls never count on the same credit; a hold is voided when nobody answers", calls={"per_lease": 0})
def _(t):
    caller, callee = t.sides()
    number = single(t, account_credit="150")
    a = Leg(caller, CALLER)
    a.invite(number)
    b = Leg.invited(callee)
    b.reply(180, "Ringing")
    a.expect(180)
    second = Leg(caller, CALLER)
    second.invite(number)
    second.refused(480)
    b.reply(486)
    a.refused(486)
    t.record(2)
    a, b = connect(caller, callee, number)
    third = Leg(caller, CALLER)
    third.invite(number)
    third.refused(480)
    hang_up(a, b)
    t.record(4)
    t.equal(sorted(r["reason"] for r in t.g.records(4)), ["busy", "completed", "no_credit", "no_credit"], "the reasons")
    t.equal(balance(t), 50, "the balance")


@case("metering: two calls of one account at once, each charged", calls={"per_lease": 0})
def _(t):
    caller, callee = t.sides()
    number = single(t, account_credit="1000")
    first = connect(caller, callee, number)
    second = connect(caller, callee, number)
    hang_up(*second)
    hang_up(*first)
    t.record(2)
    t.equal([r["charge"] for r in t.g.records(2)], ["100", "100"], "the charges")
    t.equal(balance(t), 800, "the balance")


@case("metering: postpaid goes below zero")
def _(t):
    caller, callee = t.sides()
    a, b = connect(caller, callee, single(t, account_credit="0", charge_method="2", **SHORT))
    time.sleep(1.2)
    hang_up(a, b)
    r = t.record(sip_code="200")
    t.check(int(r["blocks"]) >= 2, f"{r['blocks']} blocks")
    t.equal(balance(t), -int(r["charge"]), "the balance")


@case("metering: suspended during a call: it runs to its end, the next is refused")
def _(t):
    caller, callee = t.sides()
    number = single(t, **SHORT)
    a, b = connect(caller, callee, number)
    t.g.api("customer/update", customer_id=t.customer, account_status="2")
    caller.silent("BYE", 1.5)
    hang_up(a, b)
    t.record(reason="completed")
    a = Leg(caller, CALLER)
    a.invite(number)
    a.refused(403)
    t.record(2, reason="suspended")


@case("metering: rate and block are those of the admission")
def _(t):
    caller, callee = t.sides()
    a, b = connect(caller, callee, single(t, account_credit="1000", **SHORT))
    t.g.api("customer/update", customer_id=t.customer, charge_rate_single="500", charge_block_single="60")
    time.sleep(1.2)
    hang_up(a, b)
    r = t.record(rate="10", block_seconds="1")
    t.equal(balance(t), 1000 - int(r["blocks"]) * 10, "the balance")


@case("metering: a top-up in time lets the call go on")
def _(t):
    caller, callee = t.sides()
    a, b = connect(caller, callee, single(t, account_credit="10", charge_block_single="8", charge_rate_single="10"))
    t.g.api("customer/topup", customer_id=t.customer, credit="1000")
    caller.silent("BYE", 10)
    hang_up(a, b)
    t.record(reason="completed", ended_by="caller")


@case("metering: prepaid never goes below zero by a call")
def _(t):
    caller, callee = t.sides()
    a, b = connect(caller, callee, single(t, account_credit="25", **SHORT))
    a.bye_comes()
    b.bye_comes()
    t.record(reason="credit_exhausted", ended_by="gateway", blocks="2", charge="20")
    t.equal(balance(t), 5, "the balance")


@case("metering: group calls are charged at the group's rate")
def _(t):
    caller, callee = t.sides()
    t.customer = t.g.customer(account_credit="1000", charge_rate_group="70", charge_rate_single="10")
    dialled, shown, _ = t.g.group(t.customer, DRIVER, RIDER)
    a, b = connect(caller, callee, dialled, number=RIDER)
    hang_up(a, b)
    t.record(lease_kind="group", charge="70", rate="70", shown_number=shown)
    t.equal(balance(t), 930, "the balance")
