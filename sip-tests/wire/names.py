"""Trunks by name: what the DNS says, changes, and does not say (RFC 3263, RFC 2782)."""
import signal
from cases import CALLER, SECOND, Case, case, hang_up, single
from dns import Dns
from phone import Leg

SERVER = {"resolvers": ["127.0.NET.6:5353"]}
NAMED = {"sip": SERVER, "calls": {"per_lease": 0}}


def dns(t, zone):
    server = Dns(f"127.0.{t.g.net}.6", zone)
    t.phones.append(server)  # closed with them
    server.copies, server.host = {}, "DNS"
    return server


def srv(*lines):
    return {("_sip._udp.trunk.test", "SRV"): list(lines)}


def up(t):
    return 'leasebridge_trunk_up{trunk="carrier-out"} 1' in t.g.get("/metrics")[1]


def event(t, detail):
    page = t.g.get("/metrics")[1]
    lines = [line for line in page.splitlines() if 'event="dns"' in line and f'detail="{detail}"' in line]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def call(t, caller, callee, number):
    a = Leg(caller, CALLER)
    a.invite(number)
    b = Leg.invited(callee)
    b.reply(486)
    a.refused(486)


@case("names: SRV by priority; the second server when the first is silent or refuses", outbound={"target": "sip:trunk.test"}, **NAMED)
def _(t):
    ip = t.g.ip
    dns(t, {**srv("20 0 5080 b.test", "10 0 5080 a.test"), ("a.test", "A"): [ip["callee"]], ("b.test", "A"): [ip["second"]]})
    caller, callee = t.sides()
    second = t.phone("second")
    number = single(t)
    t.becomes(lambda: up(t), True, "the trunk")
    call(t, caller, callee, number)
    second.silent(seconds=0.2)
    # The first server says 503: the same call goes on to the second, and the next call begins there.
    a = Leg(caller, CALLER)
    a.invite(number)
    b = Leg.invited(callee)
    b.reply(503)
    b.expect("ACK ")
    c = Leg.invited(second)
    c.reply(486)
    a.refused(486)
    t.record(2, trunk_out="carrier-out", reason="busy")
    call(t, caller, second, number)
    callee.silent("INVITE", seconds=0.2)


@case("names: a server that says nothing is left for the next of the same trunk", outbound={"target": "sip:trunk.test"}, **NAMED)
def _(t):
    ip = t.g.ip
    dns(t, {**srv("10 0 5080 a.test", "20 0 5080 b.test"), ("a.test", "A"): [ip["callee"]], ("b.test", "A"): [ip["second"]]})
    caller, callee = t.sides()
    second = t.phone("second")
    number = single(t)
    t.becomes(lambda: up(t), True, "the trunk")
    a = Leg(caller, CALLER)
    a.invite(number)
    first = Leg.invited(callee)
    b = Leg.invited(second)
    b.reply(486)
    a.refused(486)
    t.check(first.call_id != b.call_id, "one Call-ID for two attempts")
    t.record(1, trunk_out="carrier-out", reason="busy")


@case("names: NAPTR says by which SRV record, and what is not ours is passed over", outbound={"target": "sip:trunk.test"}, **NAMED)
def _(t):
    server = dns(t, {("trunk.test", "NAPTR"): ['10 10 "s" "SIPS+D2T" _sips._tcp.trunk.test', '20 10 "s" "SIP+D2U" _odd.trunk.test'],
                     ("_odd.trunk.test", "SRV"): ["1 1 5080 a.test"], ("a.test", "A"): [t.g.ip["callee"]]})
    caller, callee = t.sides()
    number = single(t)
    t.becomes(lambda: up(t), True, "the trunk")
    call(t, caller, callee, number)
    t.equal(server.questions("_sips._tcp.trunk.test"), 0, "questions for a transport that is not ours")
    t.equal(server.questions("trunk.test"), 1, "questions for addresses of the name itself")


@case("names: a truncated answer is had by TCP", outbound={"target": "sip:trunk.test:5080"}, **NAMED)
def _(t):
    server = dns(t, {("trunk.test", "A"): [t.g.ip["callee"]]})
    server.mode = "truncated"
    caller, callee = t.sides()
    number = single(t)
    t.becomes(lambda: up(t), True, "the trunk")
    call(t, caller, callee, number)


@case("names: one that resolves later brings the trunk up; the start did not wait for it", outbound={"target": "sip:trunk.test:5080"}, **NAMED)
def _(t):
    server = dns(t, {})
    caller, callee = t.sides()
    number = single(t)
    t.becomes(lambda: event(t, "nothing") >= 1, True, "the answer that there is none")
    t.check(not up(t), "a trunk without an address is up")
    t.equal(t.g.get("/readyz")[0], 503, "/readyz")
    a = Leg(caller, CALLER)
    a.invite(number)
    a.refused(503)
    server.zone[("trunk.test", "A")] = [t.g.ip["callee"]]
    t.becomes(lambda: up(t), True, "the trunk")
    call(t, caller, callee, number)


@case("names: an answer that changes moves new calls, and leaves the one that is up", outbound={"target": "sip:trunk.test:5080"}, **NAMED)
def _(t):
    server = dns(t, {("trunk.test", "A"): [t.g.ip["callee"]]})
    caller, callee = t.sides()
    second = t.phone("second")
    number = single(t)
    t.becomes(lambda: up(t), True, "the trunk")
    a = Leg(caller, CALLER)
    a.invite(number)
    b = Leg.invited(callee)
    b.answer()
    a.answered()
    b.expect("ACK ")
    server.zone[("trunk.test", "A")] = [t.g.ip["second"]]
    before = event(t, "answered")
    # The first may have been under way already.
    t.becomes(lambda: event(t, "answered") >= before + 2, True, "a new answer")
    call(t, caller, second, number)
    # The callee's BYE comes from an address that no trunk has any more.
    b.bye()
    a.bye_comes()
    t.record(2)


def misbehaving(mode):
    @case(f"names: DNS stall: a resolver that is {mode} holds up no call", outbound={"target": "sip:trunk.test:5080"}, **NAMED)
    def _(t):
        server = dns(t, {("trunk.test", "A"): [t.g.ip["callee"]]})
        caller, callee = t.sides()
        number = single(t)
        t.becomes(lambda: up(t), True, "the trunk")
        told = lambda: t.g.log_tail(1 << 22).count("the DNS does not answer")
        before = told()
        server.mode, server.delay = mode, 60
        failed = event(t, "failed")
        count, answered = 0, event(t, "answered")
        # Calls all the while, until two searches have come to nothing: each at once, by the last answer. Were one held
        # up by a query, its INVITE would be sent again by the caller's side of this test, or run into its patience.
        while event(t, "failed") < failed + 2 and count < 20000:
            call(t, caller, callee, number)
            count += 1
        t.check(event(t, "failed") >= failed + 2, f"{count} calls, and no search has failed")
        t.check(count >= 20, f"only {count} calls while the DNS was {mode}")
        t.check(up(t), "the trunk is down")
        t.equal(told(), before + 1, "the number of log lines about it")
        server.mode = "well"
        t.becomes(lambda: event(t, "answered") > answered, True, "an answer again")
        call(t, caller, callee, number)


for mode in ("dead", "slow", "garbage", "servfail"):
    misbehaving(mode)


@case("names: a reload changes a trunk's name; a name kept stays resolved while the DNS is dead", outbound={"target": "sip:trunk.test:5080"}, **NAMED)
def _(t):
    server = dns(t, {("trunk.test", "A"): [t.g.ip["callee"]], ("other.test", "A"): [t.g.ip["second"]]})
    caller, callee = t.sides()
    second = t.phone("second")
    number = single(t)
    t.becomes(lambda: up(t), True, "the trunk")

    def reload(name):
        changes = {**Case("", None, NAMED).changes(t.g.net), "outbound": {"target": f"sip:{name}:5080"}}
        with open(t.g.path, "w") as f:
            f.write(t.g._config(changes))
        count = lambda: t.g.log_tail(1 << 24).count("the configuration was reloaded")
        before = count()
        t.g.process.send_signal(signal.SIGHUP)
        t.becomes(count, before + 1, "reloads")

    reload("other.test")
    t.becomes(lambda: up(t), True, "the trunk under its new name")
    call(t, caller, second, number)
    server.mode = "dead"
    reload("other.test")
    call(t, caller, second, number)
    callee.silent("INVITE", seconds=0.2)
