"""What callers hear of us: recordings before a refusal, the warning before credit ends (sip-bridging 6)."""
import array, atexit, math, os, re, shutil, signal, struct, tempfile, threading, time, wave
from cases import CALLER, DRIVER, SHORT, case, single
from phone import Leg, connect

WORK = tempfile.mkdtemp(prefix="leasebridge-recordings-")
atexit.register(shutil.rmtree, WORK, ignore_errors=True)
SERVICE, ALLOWED, EXHAUSTED, WARNING = 620, 480, 1400, 900
BACKGROUND = 0xFF  # silence in PCMU


def recording(name, frequency, seconds):
    """A WAV file of one tone."""
    path = os.path.join(WORK, name)
    samples = array.array("h", (int(8000 * math.sin(2 * math.pi * frequency * n / 8000)) for n in range(int(8000 * seconds))))
    with wave.open(path, "wb") as f:
        f.setnchannels(1)
        f.setsampwidth(2)
        f.setframerate(8000)
        f.writeframes(samples.tobytes())
    return path


FILES = {"no_lease": recording("no_lease.wav", SERVICE, 1.5), "not_allowed": recording("not_allowed.wav", ALLOWED, 1),
         "credit_exhausted": recording("credit_exhausted.wav", EXHAUSTED, 1)}


def pcmu(code):
    code = ~code & 0xFF
    value = (((code & 0xF) << 3) + 132 << (code >> 4 & 7)) - 132
    return -value if code & 0x80 else value


def pcma(code):
    code ^= 0x55
    segment, value = code >> 4 & 7, (code & 0xF) << 4
    value = value + 8 if segment == 0 else value + 264 << segment - 1
    return value if code & 0x80 else -value


def strength(samples, frequency):
    """The part of all power that is at a frequency (Goertzel)."""
    turn, before, last = 2 * math.pi * frequency / 8000, 0.0, 0.0
    for sample in samples:
        before, last = last, sample + 2 * math.cos(turn) * last - before
    power = last * last + before * before - 2 * math.cos(turn) * last * before
    return 2 * power / (len(samples) * sum(s * s for s in samples) or 1)


def sound(packets, decode):
    return [decode(code) for packet in packets for code in packet[12:]]


def idle(t):
    """No port is out, no flow is there."""
    used = lambda: re.search(r'^leasebridge_media_ports\{network="default",state="used"\} (\S+)$', t.g.get("/metrics")[1], re.M)[1]
    t.becomes(used, "0", "the ports in use")
    t.becomes(lambda: t.g.metric("leasebridge_media_flows"), 0, "the flows")


def announced(t, which, outcome="played"):
    row = rf'^leasebridge_announcements_total\{{announcement="{which}",outcome="{outcome}"\}} (\S+)$'
    return re.search(row, t.g.get("/metrics")[1], re.M)[1]


def played(t, leg, packets, frequency, decode=pcmu, number=0):
    """The packets are one recording, in order, of this tone."""
    progress = leg.expect(183)
    t.check("a=sendonly" in progress.body, "the answer is sendonly")
    heard = leg.phone.hear(packets)
    t.equal(len(heard), packets, "the packets heard")
    fields = [struct.unpack(">BBHII", packet[:12]) for packet in heard]
    t.equal([f[1] for f in fields], [0x80 | number] + [number] * (len(fields) - 1), "marker and payload type")
    t.check(all((b[2] - a[2]) & 0xFFFF == 1 and (b[3] - a[3]) & 0xFFFFFFFF == 160 and a[4] == b[4] for a, b in zip(fields, fields[1:])),
            "sequence, timestamp, SSRC")
    t.check(strength(sound(heard, decode), frequency) > 0.95, f"the tone is not {frequency} Hz")
    return progress


@case("announcements: a number out of service: 183, the recording, 404", announce=FILES)
def _(t):
    leg = Leg(t.phone("caller"), CALLER)
    began = time.time()
    leg.invite("+60388880123", body=leg.phone.sdp("0 8 101"))
    played(t, leg, 75, SERVICE)
    refused = leg.refused(404)
    t.check(1.4 < time.time() - began < 10, "it took as long as the recording")
    t.check("cause=1" in refused.get("reason"), "Reason")
    leg.phone.deaf()
    record = t.record(reason="no_lease", sip_code="404")
    t.check(not record.get("answered_at"), "it was answered")
    t.equal(announced(t, "no_lease"), "1", "announcements played")
    idle(t)


@case("announcements: a caller who is not allowed, in PCMA", announce=FILES)
def _(t):
    customer = t.g.customer()
    one, _, _ = t.g.group(customer, CALLER, DRIVER)
    leg = Leg(t.phone("caller"), "+60177770000")
    leg.invite(one, body=leg.phone.sdp("9 8"))
    played(t, leg, 50, ALLOWED, pcma, 8)
    leg.refused(403)
    t.record(reason="not_allowed", sip_code="403")
    idle(t)


@case("announcements: credit that does not cover the call", announce=FILES)
def _(t):
    leg = Leg(t.phone("caller"), CALLER)
    leg.invite(single(t, account_credit="5", **SHORT), body=leg.phone.sdp("0"))
    played(t, leg, 50, EXHAUSTED)
    leg.refused(480)
    t.record(reason="no_credit", sip_code="480")
    idle(t)


@case("announcements: a caller who gives up gets 487 and hears no more", announce=FILES)
def _(t):
    leg = Leg(t.phone("caller"), CALLER)
    leg.invite("+60388880123", body=leg.phone.sdp("0"))
    leg.expect(183)
    leg.phone.hear(5)
    leg.cancel()
    leg.expect(200)
    leg.refused(487)
    leg.phone.hear(100, 0.3)
    leg.phone.deaf()
    t.record(reason="cancelled", sip_code="487", ended_by="caller")
    idle(t)


@case("announcements: with 100rel the 183 is acknowledged", announce=FILES, inbound={"reliable_provisionals": "supported"})
def _(t):
    leg = Leg(t.phone("caller"), CALLER)
    leg.invite("+60388880123", body=leg.phone.sdp("0"), extra=["Require: 100rel"])
    progress = played(t, leg, 10, SERVICE)
    t.check("100rel" in progress.get("require"), "the 183 is not reliable")
    leg.remote, leg.target = progress.get("to"), re.search(r"<([^>]*)>", progress.get("contact"))[1]
    leg.request("PRACK", extra=[f"RAck: {progress.get('rseq')} {progress.get('cseq')}"])
    leg.expect(200)
    leg.refused(404)
    t.record(reason="no_lease", sip_code="404")
    idle(t)


@case("announcements: who cannot hear it is refused at once", announce=FILES)
def _(t):
    leg = Leg(t.phone("caller"), CALLER)
    leg.invite("+60388880123", body=leg.phone.sdp("9"))
    leg.refused(404)
    leg.phone.deaf()
    t.equal(announced(t, "no_lease", "refused"), "1", "announcements refused")
    other = Leg(leg.phone, CALLER)
    other.invite("+60388880123", no_body=True)
    other.refused(404)
    idle(t)


def speak(phone, to, stop, digits):
    """Silence in PCMU, packet by packet, and every tenth a digit; until told to stop."""
    began, sequence = time.time(), 0
    while not stop.wait(max(0, began + sequence * 0.02 - time.time())):
        head = lambda number: struct.pack(">BBHII", 0x80, number, sequence & 0xFFFF, sequence * 160, 9)
        if sequence % 10 == 5:
            digits.append(head(101) + bytes([sequence // 10 % 10, 10, 0, 160]))
            phone.rtp.sendto(digits[-1], to)
        else:
            phone.rtp.sendto(head(0) + bytes([BACKGROUND]) * 160, to)
        sequence += 1


@case("announcements: a caller hears that credit is about to end, and digits pass", billing={"credit_warning": "3s"})
def _(t):
    caller, callee = t.sides()
    number = single(t, account_credit="60", **SHORT)
    offer, answer = caller.sdp("0 101"), callee.sdp("0 101")
    a, b = connect(caller, callee, number, offer=offer, answer=answer)
    began, stop, digits = time.time(), threading.Event(), []
    speaker = threading.Thread(target=speak, args=(callee, b.media, stop, digits))
    speaker.start()
    try:
        heard = caller.hear(1000, 5.5)
        a.bye_comes()
        b.bye_comes()
    finally:
        stop.set()
        speaker.join()
    t.check(5 < time.time() - began < 30, "the call is six seconds long")
    voice = [packet for packet in heard if packet[1] & 0x7F == 0]
    events = [packet for packet in heard if packet[1] & 0x7F == 101]
    t.equal(events, digits[:len(events)], "the digits")
    t.check(len(events) > 5, "there were digits")
    loud = [packet for packet in voice if any(code not in (BACKGROUND, 0x7F) for code in packet[12:])]
    t.check(loud and len(loud) >= 25, f"{len(loud)} packets of the tone")
    if loud:
        t.check(strength(sound(loud[1:8], pcmu), WARNING) > 0.95, "the tone is not 900 Hz")
        first = struct.unpack(">H", loud[0][2:4])[0]
        t.check(50 <= first <= 200, f"the tone begins with packet {first}, three seconds before the end of six")
    t.record(reason="credit_exhausted", sip_code="200")
    t.equal(announced(t, "credit_warning"), "1", "warnings played")
    idle(t)


@case("announcements: a top-up in time, and nobody is warned", billing={"credit_warning": "3s"})
def _(t):
    caller, callee = t.sides()
    number = single(t, account_credit="60", **SHORT)
    a, b = connect(caller, callee, number)
    t.g.api("customer/topup", customer_id=t.customer, credit="1000")
    time.sleep(5)
    t.equal(announced(t, "credit_warning"), "0", "warnings played")
    a.request("BYE")
    b.bye_comes()
    a.expect(200)
    t.record(reason="completed")


@case("announcements: a reload brings and takes recordings; a bad file changes nothing")
def _(t):
    leg = Leg(t.phone("caller"), CALLER)
    leg.invite("+60388880123", body=leg.phone.sdp("0"))
    leg.refused(404)
    reload(t, "the configuration was reloaded", announce=FILES)
    other = Leg(leg.phone, CALLER)
    other.invite("+60388880123", body=leg.phone.sdp("0"))
    played(t, other, 75, SERVICE)
    other.refused(404)
    bad = os.path.join(WORK, "bad.wav")
    with open(bad, "wb") as f:
        f.write(b"no sound")
    reload(t, "no WAV file", announce={"no_lease": bad})
    again = Leg(leg.phone, CALLER)
    again.invite("+60388880123", body=leg.phone.sdp("0"))
    again.expect(183)
    again.refused(404)


def reload(t, word, **changes):
    """Another configuration; the log says what came of it."""
    before = t.g.log_tail(1 << 24).count(word)
    with open(t.g.path, "w") as f:
        f.write(t.g._config(changes))
    t.g.process.send_signal(signal.SIGHUP)
    t.becomes(lambda: t.g.log_tail(1 << 24).count(word) > before, True, f"{word!r} in the log")
