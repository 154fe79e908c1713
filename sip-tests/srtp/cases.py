"""The cases: each with real packets, protected and unprotected by libsrtp."""
import base64, concurrent.futures, os, queue, re, shutil, struct, tempfile, threading, time, traceback
from pylibsrtp import Error, Policy, Session
from gateway import Gateway, PATIENCE, check_end, report
from phone import Leg, Missing, Phone, sender_report

CALLER, DRIVER = "+60199990001", "+60122223333"
# Suite: libsrtp's profile, and how long its key and its salt are.
SUITES = {
    "AES_CM_128_HMAC_SHA1_80": (Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 30),
    "AES_CM_128_HMAC_SHA1_32": (Policy.SRTP_PROFILE_AES128_CM_SHA1_32, 30),
    "AEAD_AES_128_GCM": (Policy.SRTP_PROFILE_AEAD_AES_128_GCM, 28),
    "AEAD_AES_256_GCM": (Policy.SRTP_PROFILE_AEAD_AES_256_GCM, 44),
}
DEFAULT = "AES_CM_128_HMAC_SHA1_80"
LINE = re.compile(r"^a=crypto:(\d+) (\S+) inline:([^|\s]+)", re.M)
CASES = []


def case(name, caller="none", callee="none", **changes):
    def take(body):
        CASES.append((name, body, caller, callee, changes))
        return body
    return take


def profile(body):
    return re.search(r"^m=audio \d+ (\S+)", body, re.M)[1]


class Keys:
    """SRTP of a phone: its own key, and the other end's when that is known."""

    def __init__(self, suite=DEFAULT, tag=1):
        self.suite, self.tag = suite, tag
        self.kind, length = SUITES[suite]
        self.own = os.urandom(length)
        self.sending = Session(Policy(key=self.own, ssrc_type=Policy.SSRC_ANY_OUTBOUND, srtp_profile=self.kind))
        self.hearing = None

    def line(self):
        return f"a=crypto:{self.tag} {self.suite} inline:{base64.b64encode(self.own).decode()}"

    def agreed(self, body):
        """Takes the other end's line of this suite."""
        for tag, suite, text in LINE.findall(body):
            if (int(tag), suite) == (self.tag, self.suite):
                key = base64.b64decode(text)
                self.hearing = Session(Policy(key=key, ssrc_type=Policy.SSRC_ANY_INBOUND, srtp_profile=self.kind))
                return self
        raise Missing(f"no line {self.tag} {self.suite} in {body!r}")

    def of_offer(self, body, suite=DEFAULT):
        """The answer to an offer."""
        tags = {name: int(tag) for tag, name, _ in LINE.findall(body)}
        if suite not in tags:
            raise Missing(f"{suite} is not offered in {body!r}")
        keys = Keys(suite, tags[suite])
        return keys.agreed(body)


class SecurePhone(Phone):
    """A phone that protects what it sends where it has keys."""

    keys = None

    def describe(self, protocol="RTP/SAVP", lines=(), **how):
        lines = [keys.line() for keys in ([self.keys] if self.keys else [])] + list(lines)
        return self.sdp(extra=["a=sendrecv", *lines], **how).replace("RTP/AVP", protocol)

    def say(self, to, sequences, ssrc=7, keys=None):
        """Sends RTP; returns the packets as they were before."""
        plain = []
        for seq in sequences:
            packet = struct.pack(">BBHII", 0x80, 8, seq, seq * 160, ssrc) + bytes([seq & 0xFF]) * 160
            plain.append(packet)
            keys = keys or self.keys
            self.rtp.sendto(keys.sending.protect(packet) if keys else packet, to)
            time.sleep(0.002)
        return plain

    def listen(self, count, timeout=20):
        """What comes, unprotected."""
        got = self.hear(count, timeout)
        return [self.keys.hearing.unprotect(packet) for packet in got] if self.keys else got

    def says_report(self, to, report):
        self.rtcp.sendto(self.keys.sending.protect_rtcp(report) if self.keys else report, (to[0], to[1] + 1))

    def reads_report(self):
        got = self.hear(1, sock=self.rtcp)
        if not got:
            raise Missing(f"{self.host} got no report")
        return self.keys.hearing.unprotect_rtcp(got[0]) if self.keys else got[0]


class Test:
    def __init__(self, gateway):
        self.g, self.phones, self.wrong = gateway, [], []

    def phone(self, role):
        phone = SecurePhone(self.g.ip[role], (self.g.ip["gateway"], 5060))
        self.phones.append(phone)
        return phone

    def check(self, fact, text):
        if not fact:
            self.wrong.append(text)

    def equal(self, got, wanted, what):
        if got != wanted:
            short = lambda v: f"{len(v)} packets" if isinstance(v, list) else repr(v)
            self.wrong.append(f"{what} is {short(got)}, not {short(wanted)}")

    def leased(self):
        return self.g.single(self.g.customer(), DRIVER)[0]

    def dropped(self, reason):
        line = re.search(rf'^leasebridge_media_dropped_total{{reason="{reason}"}} (\S+)', self.g.get("/metrics")[1], re.M)
        return float(line[1]) if line else 0

    def becomes(self, read, wanted, what):
        end = time.time() + PATIENCE
        while (got := read()) != wanted and time.time() < end:
            time.sleep(0.05)
        self.equal(got, wanted, what)

    def flowing(self):
        self.becomes(lambda: self.g.metric("leasebridge_media_flows") >= 1, True, "a flow")


def up(t, caller, callee, suite=DEFAULT, offer=None, answers="RTP/SAVP"):
    """A call, answered by `suite` where SRTP is offered and the callee's `answers` has it."""
    a = Leg(caller, CALLER)
    a.invite(t.leased(), body=offer or caller.describe("RTP/SAVP" if caller.keys else "RTP/AVP"))
    b = Leg.invited(callee)
    offered = b.request_got.body
    if answers:
        callee.keys = Keys().of_offer(offered, suite)
    b.answer(callee.describe(answers or "RTP/AVP"))
    ok = a.answered()
    b.expect("ACK ")
    if caller.keys:
        caller.keys.agreed(ok.body)
    a.media, b.media, a.ok, b.offered = ok.media(), b.request_got.media(), ok, offered
    t.flowing()
    return a, b


def sound_passes(t, a, b, first=1, count=20):
    caller, callee = a.phone, b.phone
    sequences = [n & 0xFFFF for n in range(first, first + count)]
    sent = caller.say(a.media, sequences)
    t.equal(callee.listen(count), sent, "what the callee hears")
    sent = callee.say(b.media, sequences, ssrc=9)
    t.equal(caller.listen(count), sent, "what the caller hears")


def reports_pass(t, a, b):
    for sender, hearer, to in ((a.phone, b.phone, a.media), (b.phone, a.phone, b.media)):
        sender.says_report(to, sender_report(cname=b"somebody@192.0.2.1"))
        got = hearer.reads_report()
        t.check(got[:28] == sender_report()[:28], "the sender report is another")
        t.check(b"somebody" not in got, "the CNAME passes")


def hang_up(a, b):
    a.request("BYE")
    b.bye_comes()
    a.expect(200)


def whole_call(t, a, b):
    """Sound over a wrap of the sequence numbers, and reports, both ways."""
    sound_passes(t, a, b, first=65526)
    reports_pass(t, a, b)
    hang_up(a, b)
    record = t.g.records(1)[0]
    t.equal((record["to_callee_packets"], record["to_callee_lost"]), ("20", "0"), "the record")


def of_suite(suite):
    @case(f"{suite} on the caller's leg, plain RTP on the callee's", caller="required")
    def _(t):
        caller, callee = t.phone("caller"), t.phone("callee")
        caller.keys = Keys(suite, 3)
        a, b = up(t, caller, callee, answers=None)
        t.equal(profile(a.ok.body), "RTP/SAVP", "the answer's profile")
        t.equal(profile(b.offered), "RTP/AVP", "the offer's profile")
        t.check("crypto" not in b.offered, "a key is offered to the plain leg")
        whole_call(t, a, b)

    if suite != "AES_CM_128_HMAC_SHA1_32":
        @case(f"{suite} on the callee's leg, plain RTP on the caller's", callee="required")
        def _(t):
            a, b = up(t, t.phone("caller"), t.phone("callee"), suite)
            t.equal(profile(b.offered), "RTP/SAVP", "the offer's profile")
            t.check("crypto" not in a.ok.body, "a key is answered to the plain leg")
            whole_call(t, a, b)

    @case(f"{suite} on the caller's leg, another suite on the callee's", caller="required", callee="required")
    def _(t):
        caller, callee = t.phone("caller"), t.phone("callee")
        caller.keys = Keys(suite, 1)
        a, b = up(t, caller, callee, "AEAD_AES_256_GCM" if suite == DEFAULT else DEFAULT)
        t.check(caller.keys.line()[-38:] not in b.offered, "the caller's key passes")
        whole_call(t, a, b)


for one in SUITES:
    of_suite(one)


@case("offered: best effort is answered with SRTP, and the callee that cannot gets plain RTP", caller="offered", callee="offered")
def _(t):
    caller, callee = t.phone("caller"), t.phone("callee")
    caller.keys = Keys()
    a, b = up(t, caller, callee, offer=caller.describe("RTP/AVP"), answers=None)
    t.equal(profile(a.ok.body), "RTP/AVP", "the answer's profile")
    t.equal(profile(b.offered), "RTP/AVP", "the offer's profile")
    t.check("a=crypto:1 AES_CM_128_HMAC_SHA1_80 " in b.offered, "no key is offered")
    whole_call(t, a, b)


@case("offered: a callee that takes it by best effort has it", callee="offered")
def _(t):
    a, b = up(t, t.phone("caller"), t.phone("callee"), answers="RTP/AVP")
    whole_call(t, a, b)


@case("required: an offer without a key is 488", caller="required")
def _(t):
    caller = t.phone("caller")
    number = t.leased()
    keys = Keys()
    for protocol, lines in (("RTP/AVP", []), ("RTP/SAVP", []), ("RTP/SAVP", [keys.line() + "|2^20|1:4"]),
                            ("RTP/SAVP", [keys.line() + " UNENCRYPTED_SRTP"]), ("UDP/TLS/RTP/SAVP", [keys.line()])):
        leg = Leg(caller, CALLER)
        leg.invite(number, body=caller.describe(protocol, lines))
        leg.refused(488)
    records = t.g.records(5)
    t.equal({(r["sip_code"], r["q850_cause"]) for r in records}, {("488", "88")}, "the records")


@case("required: a callee that has no SRTP refuses with 488, and the caller is told", callee="required")
def _(t):
    caller, callee = t.phone("caller"), t.phone("callee")
    a = Leg(caller, CALLER)
    a.invite(t.leased())
    b = Leg.invited(callee)
    b.reply(488, "Not Acceptable Here")
    a.refused(488)


@case("required: an answer without a key ends the call before the caller hears of it", callee="required")
def _(t):
    caller, callee = t.phone("caller"), t.phone("callee")
    a = Leg(caller, CALLER)
    a.invite(t.leased())
    b = Leg.invited(callee)
    b.answer(callee.describe("RTP/AVP"))
    b.expect("ACK ")
    b.bye_comes()
    a.refused(500)
    t.equal(t.g.records(1)[0]["q850_cause"], "88", "the cause")


def fax(phone, **how):
    head = phone.describe(**how).split("m=audio", 1)[0]
    return head + f"m=image {phone.rtp_port} udptl t38\r\na=T38FaxVersion:0\r\n"


def until_relayed(one, other, longer):
    """Sends until the relay has heard of a new description, which it does beside the signalling: what comes is longer by a tag,
    or it is not. Then lets the rest pass."""
    for sequence in range(200):
        packet = struct.pack(">BBHII", 0x80, 8, sequence, 0, 77) + bytes(160)
        one.phone.rtp.sendto(packet, one.media)
        got = other.phone.hear(1, 0.05)
        if got and (len(got[0]) > len(packet)) == longer:
            other.phone.hear(200, 0.2)
            return
    raise Missing(f"{other.phone.host} never heard {one.phone.host}")


@case("required: a fax is 488, from either side, and the voice goes on", callee="required")
def _(t):
    caller, callee = t.phone("caller"), t.phone("callee")
    a, b = up(t, caller, callee)
    for one in (a, b):
        one.request("INVITE", fax(one.phone, version=2))
        one.refused(488)
        sound_passes(t, a, b, first=10 if one is a else 40)
    hang_up(a, b)


@case("offered: a fax is in the clear, and the voice comes back with SRTP", callee="offered")
def _(t):
    caller, callee = t.phone("caller"), t.phone("callee")
    a, b = up(t, caller, callee, answers="RTP/AVP")
    sound_passes(t, a, b, first=65526)
    a.request("INVITE", fax(caller, version=2))
    m = b.expect("INVITE ")
    t.check("m=image" in m.body and "crypto" not in m.body, f"the offer of a fax: {m.body}")
    b.reply(200, "OK", fax(callee, version=2), request=m)
    a.expect(200)
    a.ack()
    b.expect("ACK ")
    until_relayed(a, b, longer=False)
    for one, other in ((a, b), (b, a)):
        sent = [bytes([0, number]) + b"T.38" * 9 for number in range(5)]
        for datagram in sent:
            one.phone.rtp.sendto(datagram, one.media)
        t.equal(other.phone.hear(5), sent, "datagrams")
    a.request("INVITE", caller.describe("RTP/AVP", version=3))
    m = b.expect("INVITE ")
    t.check(LINE.findall(m.body)[0] in LINE.findall(b.offered), "another key of ours")
    b.reply(200, "OK", callee.describe("RTP/AVP", version=3), request=m)
    a.expect(200)
    a.ack()
    b.expect("ACK ")
    until_relayed(a, b, longer=True)
    sound_passes(t, a, b, first=10)
    hang_up(a, b)


@case("garbage, replays and strangers are dropped and counted, and the call goes on", caller="required")
def _(t):
    caller, callee = t.phone("caller"), t.phone("callee")
    caller.keys = Keys()
    a, b = up(t, caller, callee, answers=None)
    sound_passes(t, a, b)
    foreign = Keys()
    caller.say(a.media, range(100, 105), keys=foreign)
    caller.play(a.media, 5, first=100)
    for size in (1, 11, 12, 21, 22, 64, 172, 2000):
        caller.rtp.sendto(os.urandom(size), a.media)
        caller.rtp.sendto(b"\x80\x08" + os.urandom(size), a.media)
    packet = caller.keys.sending.protect(struct.pack(">BBHII", 0x80, 8, 200, 0, 7) + bytes(160))
    for _ in range(4):
        caller.rtp.sendto(packet, a.media)
    t.equal(len(callee.hear(1)), 1, "packets of those")
    callee.deaf()
    t.becomes(lambda: t.dropped("srtp_replay"), 3, "dropped as replays")
    t.check(t.dropped("srtp_auth") >= 10, f"dropped as not genuine: {t.dropped('srtp_auth')}")
    sound_passes(t, a, b, first=300)
    hang_up(a, b)


@case("new keys by re-INVITE, from either side: no packet is lost", caller="required", callee="required")
def _(t):
    caller, callee = t.phone("caller"), t.phone("callee")
    caller.keys = Keys()
    a, b = up(t, caller, callee)
    for one, other, version in ((a, b, 2), (b, a, 3)):
        phone, before = one.phone, one.phone.keys
        fresh = Keys(tag=before.tag)
        fresh.hearing = before.hearing
        stop, sent = threading.Event(), []
        first = 1000 * version

        def talk():
            """Sends all the while; by the new key from the answer on."""
            while not stop.is_set() or len(sent) < 20:
                sent.extend(phone.say(one.media, [first + len(sent)]))
                time.sleep(0.004)
        thread = threading.Thread(target=talk)
        thread.start()
        time.sleep(0.1)
        line = phone.describe(version=version).replace(before.line(), fresh.line())
        one.request("INVITE", line)
        m = other.expect("INVITE ")
        t.check(before.line() not in m.body and fresh.line()[-40:] not in m.body, "a key passes")
        other.reply(200, "OK", other.phone.describe(), request=m)
        ok = one.expect(200)
        phone.keys = fresh
        one.ack()
        other.expect("ACK ")
        time.sleep(0.2)
        stop.set()
        thread.join()
        t.check(fresh.agreed(ok.body), "no line in the answer")
        t.equal(other.phone.listen(len(sent), 5), sent, f"what is heard of {phone.host}")
        # Ours has not changed, so what goes the other way has no gap either.
        fresh.hearing = before.hearing
        there = other.phone.say(other.media, range(first, first + 10), ssrc=40 + version)
        t.equal(phone.listen(10, 5), there, "the other way")
    t.equal(t.dropped("srtp_auth"), 0, "dropped")
    hang_up(a, b)


@case("a session refresh keeps what was counted", caller="required", callee="required")
def _(t):
    caller, callee = t.phone("caller"), t.phone("callee")
    caller.keys = Keys()
    a, b = up(t, caller, callee)
    sound_passes(t, a, b, first=65526)
    a.request("INVITE", caller.describe())
    t.equal(LINE.findall(a.expect(200).body), LINE.findall(a.ok.body), "our key in the answer")
    a.ack()
    b.request("INVITE", callee.describe(version=2))
    m = a.expect("INVITE ")
    t.equal(LINE.findall(m.body), LINE.findall(a.ok.body), "our key in the offer")
    a.reply(200, "OK", caller.describe(), request=m)
    t.equal(LINE.findall(b.expect(200).body)[0][2], dict((tag, key) for tag, _, key in LINE.findall(b.offered))["1"], "our key")
    b.ack()
    a.expect("ACK ")
    sound_passes(t, a, b, first=10)
    hang_up(a, b)


@case("a key is in no log, no metric and no record", caller="required", callee="required", observe={"log": "trace"})
def _(t):
    caller, callee = t.phone("caller"), t.phone("callee")
    caller.keys = Keys()
    a, b = up(t, caller, callee)
    caller.say(a.media, [1], keys=Keys())
    whole_call(t, a, b)
    texts = [line[2].rstrip("=") for body in (a.ok.body, b.offered, caller.describe(), callee.describe()) for line in LINE.findall(body)]
    t.check(len(texts) >= 5, "keys")
    shown = t.g.log_tail(1 << 30) + t.g.get("/metrics")[1] + str(t.g.records(1))
    for text in texts:
        raw = base64.b64decode(text + "=" * (-len(text) % 4))
        for spelled in (text, raw.hex(), str(list(raw))[1:-1]):
            t.check(spelled not in shown, "a key is shown")


@case("a trunk whose keys need TLS gets 488 by UDP", caller="secure")
def _(t):
    caller = t.phone("caller")
    caller.keys = Keys()
    leg = Leg(caller, CALLER)
    leg.invite(t.leased(), body=caller.describe())
    leg.refused(488)


def run(item, net, work):
    name, body, caller, callee, changes = item
    os.makedirs(work, exist_ok=True)
    changes = dict(changes)
    for side, srtp in (("inbound", caller), ("outbound", callee)):
        if srtp == "secure":
            from certificates import Authority
            own = Authority(work).issue("gateway", f"127.0.{net}.2")
            changes["sip"] = {"listen": [f"udp:127.0.{net}.2:5060", f"tls:127.0.{net}.2:5061"],
                              "tls": {"cert": own["cert"], "key": own["key"]}}
            changes[side] = {"srtp": "required"}
        elif srtp != "none":
            changes[side] = {"srtp": srtp, "insecure_srtp": True}
    g = Gateway(net, "srtp", changes=changes, data=work)
    t = Test(g)
    try:
        g.start()
        body(t)
    except (Missing, Error) as missing:
        t.wrong.append(f"{missing!r} {traceback.format_exc(limit=-2)}")
    except Exception as error:
        t.wrong.append(f"{error!r} {traceback.format_exc(limit=-3)}")
    finally:
        t.wrong += check_end(g)
        for phone in t.phones:
            phone.close()
        if g.process and g.process.poll() is None:
            g.kill()
    return t.wrong, [("gateway", g.log_tail())]


def main(jobs, only, first_net):
    base = tempfile.mkdtemp(prefix="leasebridge-srtp-")
    nets = queue.Queue()
    for n in range(jobs):
        nets.put(first_net + n)

    def one(numbered):
        index, item = numbered
        net = nets.get()
        try:
            return item[0], run(item, net, os.path.join(base, str(index)))
        finally:
            nets.put(net)

    failed = 0
    cases = [item for item in CASES if only in item[0]]
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for name, (wrong, logs) in pool.map(one, enumerate(cases)):
            failed += bool(wrong)
            report(name, wrong, *logs)
    if failed:
        print(f"# kept {base}")
    else:
        shutil.rmtree(base)
    return 1 if failed or not cases else 0
