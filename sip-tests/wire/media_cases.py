"""What a call's media does after the answer: fax, moves, pauses, reports, codecs by trunk (sip-bridging 5)."""
import re, socket, struct, time
from cases import CALLER, case, hang_up, single
from gateway import PATIENCE
from phone import Leg, block, connect, receiver_report, sender_report


def fax(phone, port=None, version=2):
    return "\r\n".join(["v=0", f"o=- 7 {version} IN IP4 {phone.ip}", "s=-", f"c=IN IP4 {phone.ip}", "t=0 0",
                        f"m=image {phone.rtp_port if port is None else port} udptl t38", "a=T38FaxVersion:0", "a=T38MaxBitRate:14400",
                        "a=T38FaxRateManagement:transferredTCF", "a=T38FaxUdpEC:t38UDPRedundancy",
                        "a=T38VendorInfo:0 0 60199990001"]) + "\r\n"


def image(m):
    """Where the fax of a description is to go."""
    return re.search(r"^c=IN IP4 (\S+)", m.body, re.M)[1], int(re.search(r"^m=image (\d+) udptl t38", m.body, re.M)[1])


def exchange(by, other, offer, answer, status=200):
    """A re-INVITE; returns it as it came, and its answer as it came."""
    by.request("INVITE", offer)
    m = other.expect("INVITE ")
    if status != 200:
        other.reply(status, "No", request=m)
        return m, by.refused(status)
    other.reply(200, "OK", answer, request=m)
    ok = by.expect(200)
    by.ack()
    other.expect("ACK ")
    return m, ok


def datagrams(phone, to, other, count=5):
    """UDPTL of one side arrives as it was sent. What comes before the relay has heard of it is lost."""
    for n in range(200):
        phone.rtp.sendto(b"\0\0wake", to)
        if other.hear(1, 0.05):
            break
    other.hear(300, 0.2)
    sent = [struct.pack(">H", n) + bytes([6, n]) * 20 for n in range(count)]
    for one in sent:
        phone.rtp.sendto(one, to)
    return sent, other.hear(count)


@case("media: T.38 by re-INVITE of the callee passes both ways, and the voice comes back")
def _(t):
    caller, callee = t.sides()
    a, b = connect(caller, callee, single(t))
    offer, answer = exchange(b, a, fax(callee), fax(caller))
    for m in (offer, answer):
        t.check("a=T38MaxBitRate:14400" in m.body and "VendorInfo" not in m.body, f"attributes: {m.body}")
        t.check("m=audio" not in m.body, "no audio beside it")
    t.equal(image(offer), a.media, "the port on the caller's leg")
    t.equal(image(answer), b.media, "the port on the callee's leg")
    for phone, media, other in ((caller, a.media, callee), (callee, b.media, caller)):
        sent, heard = datagrams(phone, media, other)
        t.equal(heard, sent, "datagrams")
    stranger = t.phone("stranger")
    stranger.rtp.sendto(b"\0\1\2", a.media)
    callee.deaf()
    exchange(a, b, caller.sdp(version=3), callee.sdp(version=3))
    caller.until_heard(a.media, callee)
    sent = caller.play(a.media, 5)
    t.equal(callee.hear(5), sent, "the voice again")
    hang_up(a, b)
    t.record(sip_code="200", reason="completed")


@case("media: T.38 that the other side refuses is 488, and the voice goes on")
def _(t):
    caller, callee = t.sides()
    a, b = connect(caller, callee, single(t))
    exchange(a, b, fax(caller), None, status=488)
    sent = caller.play(a.media, 5)
    t.equal(callee.hear(5), sent, "the voice")
    # By port 0 in a 200 the stream is over, the call is not.
    _, answer = exchange(a, b, fax(caller, version=3), fax(callee, port=0))
    t.equal(image(answer)[1], 0, "the answer's port")
    exchange(a, b, caller.sdp(version=4), callee.sdp(version=4))
    caller.until_heard(a.media, callee)
    hang_up(a, b)
    t.record(sip_code="200", reason="completed")


@case("media: a call does not begin as a fax: 488")
def _(t):
    caller, _ = t.sides()
    a = Leg(caller, CALLER)
    a.invite(single(t), body=fax(caller))
    a.refused(488)
    t.record(reason="no_media", sip_code="488")


def moves(t, phone, leg, other_phone, other, media):
    """`phone` moves to another port: it is heard from the old one until it sends from the new one."""
    new = phone.socket(phone.rtp_port + 300)
    exchange(leg, other, phone.sdp(port=phone.rtp_port + 300, version=2), other_phone.sdp())
    other_phone.until_heard(other.media, phone, there=new)
    sent = phone.play(media, 5, first=10)
    t.equal(other_phone.hear(5), sent, "what was in flight from the old port")
    sent = phone.play(media, 5, first=15, sock=new)
    t.equal(other_phone.hear(5), sent, "what comes from the new port")
    phone.play(media, 3, first=20)
    other_phone.deaf()
    new.close()


@case("media: a side that moves is heard without a gap, the caller")
def _(t):
    caller, callee = t.sides()
    a, b = connect(caller, callee, single(t))
    moves(t, caller, a, callee, b, a.media)
    hang_up(a, b)


@case("media: a side that moves is heard without a gap, the callee")
def _(t):
    caller, callee = t.sides()
    a, b = connect(caller, callee, single(t))
    moves(t, callee, b, caller, a, b.media)
    hang_up(a, b)


@case("media: a side behind a NAT that moves is latched where it goes", inbound={"media_source": "latch"})
def _(t):
    caller, callee = t.sides()
    a, b = connect(caller, callee, single(t))
    nat, moved = caller.socket(6300), caller.socket(6302)
    caller.until_heard(a.media, callee, sock=nat)
    exchange(a, b, caller.sdp(port=6400, version=2), callee.sdp())
    sent = caller.play(a.media, 3, first=10, sock=nat)
    t.equal(callee.hear(3), sent, "what was in flight")
    sent = caller.play(a.media, 3, first=13, sock=moved)
    t.equal(callee.hear(3), sent, "what comes from where it went")
    sent = callee.play(b.media, 3)
    t.equal(caller.hear(3, sock=moved), sent, "what goes to where it went")
    for s in (nat, moved):
        s.close()
    hang_up(a, b)


@case("media: what the ends report is in the record, and a stranger's report is not")
def _(t):
    caller, callee = t.sides()
    a, b = connect(caller, callee, single(t))
    caller.play(a.media, 100)
    callee.hear(100)
    callee.play(b.media, 100, ssrc=8)
    caller.hear(100)
    there, here = (a.media[0], a.media[1] + 1), (b.media[0], b.media[1] + 1)
    caller.rtcp.sendto(sender_report(ssrc=7), there)
    callee.hear(1, sock=callee.rtcp)
    stranger = t.phone("stranger")
    stranger.rtcp.sendto(receiver_report(8, block(7, 99, 8000)), here)
    callee.rtcp.sendto(receiver_report(8, block(7, 3, 80), block(66, 90, 9000)), here)
    t.equal(len(caller.hear(1, sock=caller.rtcp)), 1, "the report as it passed")
    hang_up(a, b)
    r = t.record(to_callee_packets="100", to_callee_lost="0", to_callee_reported_lost="3", to_callee_reported_jitter_ms="10.000",
                 to_caller_reported_lost="", to_caller_round_trip_ms="")
    t.check(0 < float(r["to_callee_round_trip_ms"]) < 2000, f"round trip {r['to_callee_round_trip_ms']}")
    t.check(3.0 < float(r["to_callee_mos"]) < 4.35, f"MOS to the callee {r['to_callee_mos']}")
    t.check(4.35 <= float(r["to_caller_mos"]) <= 4.41, f"MOS to the caller {r['to_caller_mos']}")
    t.becomes(lambda: t.g.metric("leasebridge_media_round_trip_seconds_count") >= 1, True, "the metric")


@case("media: another SSRC in the midst of a call is another source, not a loss")
def _(t):
    caller, callee = t.sides()
    a, b = connect(caller, callee, single(t))
    sent = caller.play(a.media, 10) + caller.play(a.media, 10, first=40000, ssrc=99) + caller.play(a.media, 5, first=40011, ssrc=99)
    t.equal(callee.hear(25), sent, "the sound")
    hang_up(a, b)
    t.record(to_callee_packets="25", to_callee_lost="1")


def silent_call(t, codecs):
    caller, callee = t.sides()
    body = lambda phone: phone.sdp().replace("RTP/AVP 8 101", f"RTP/AVP {codecs}")
    a, b = connect(caller, callee, single(t), offer=body(caller), answer=body(callee))
    caller.play(a.media, 3)
    callee.hear(3)
    return caller, callee, a, b


@case("media: silence ends a call without comfort noise, reports or not", media={"timeout": "1s"})
def _(t):
    caller, _, a, b = silent_call(t, "8")
    end = time.time() + 1.5
    while time.time() < end:
        caller.rtcp.sendto(sender_report(), (a.media[0], a.media[1] + 1))
        time.sleep(0.1)
    a.bye_comes()
    b.bye_comes()
    t.record(reason="media_timeout")


@case("media: with comfort noise who reports is alive, and who stops is not", media={"timeout": "1s"})
def _(t):
    caller, _, a, b = silent_call(t, "8 13")
    end = time.time() + 3
    while time.time() < end:
        caller.rtcp.sendto(sender_report(), (a.media[0], a.media[1] + 1))
        time.sleep(0.1)
    caller.silent("BYE", 0.3)
    a.bye_comes()
    b.bye_comes()
    t.record(reason="media_timeout")


@case("media: with comfort noise and no reports silence takes five times as long", media={"timeout": "1s"})
def _(t):
    began = time.time()
    caller, _, a, b = silent_call(t, "8 13")
    caller.silent("BYE", 3.5)
    a.bye_comes()
    t.check(time.time() - began >= 5, "ended too soon")
    b.bye_comes()
    t.record(reason="media_timeout")


@case("media: on hold nothing is a false silence", media={"timeout": "1s"})
def _(t):
    caller, callee = t.sides()
    a, b = connect(caller, callee, single(t))
    exchange(a, b, caller.sdp(extra=("a=sendonly",), version=2), callee.sdp(extra=("a=recvonly",), version=2))
    caller.silent("BYE", 2.5)
    exchange(a, b, caller.sdp(version=3), callee.sdp(version=3))
    caller.play(a.media, 3)
    hang_up(a, b)
    t.record(reason="completed")


@case("media: a trunk's codecs are offered in its order, with tones at their number and what belongs to them",
      outbound={"codecs": ["G722", "PCMA"]})
def _(t):
    caller, callee = t.sides()
    number = single(t)
    extra = ("a=fmtp:111 useinbandfec=1", "a=fmtp:101 0-16", "a=ptime:20", "a=maxptime:60")
    a = Leg(caller, CALLER)
    a.invite(number, body=caller.sdp(codecs="0 111 8 9 101", extra=extra))
    b = Leg.invited(callee)
    body = b.request_got.body
    t.equal(re.search(r"^m=audio \d+ (.*)$", body, re.M)[1].strip(), "RTP/AVP 9 8 101", "the offer's formats")
    maps = re.findall(r"^a=(?:rtpmap|fmtp):(\d+)", body, re.M)
    t.equal(sorted(set(maps)), ["101", "8", "9"], "what is mapped")
    t.check("a=fmtp:101 0-16" in body and "a=ptime:20" in body and "a=maxptime:60" in body, f"parameters: {body}")
    b.answer(callee.sdp(codecs="8 101"))
    ok = a.answered()
    b.expect("ACK ")
    t.equal(re.search(r"^m=audio \d+ (.*)$", ok.body, re.M)[1].strip(), "RTP/AVP 8 101", "the answer's formats")
    hang_up(a, b)
    t.record(sip_code="200")
    # Nothing is left of an offer that the trunk may not hear: 488.
    c = Leg(caller, CALLER)
    c.invite(number, body=caller.sdp(codecs="0 101"))
    c.refused(488)
    t.record(2, sip_code="488")


@case("media: tones may have another number on each leg's side of the exchange, and it is kept")
def _(t):
    caller, callee = t.sides()
    a = Leg(caller, CALLER)
    a.invite(single(t), body=caller.sdp().replace("8 101", "8 96").replace("rtpmap:101", "rtpmap:96"))
    b = Leg.invited(callee)
    t.check("a=rtpmap:96 telephone-event/8000" in b.request_got.body, "the offered number")
    b.answer(callee.sdp().replace("8 101", "8 97").replace("rtpmap:101", "rtpmap:97"))
    ok = a.answered()
    b.expect("ACK ")
    t.check("a=rtpmap:97 telephone-event/8000" in ok.body, "the answered number")
    a.media, b.media = ok.media(), b.request_got.media()
    t.flowing()
    # Each side sends by the number that the other one named, and the packets pass as they are.
    for phone, media, other, number in ((caller, a.media, callee, 97), (callee, b.media, caller, 96)):
        packet = struct.pack(">BBHII", 0x80, number, 1, 160, 7) + bytes([5, 0x80, 0, 160])
        phone.rtp.sendto(packet, media)
        t.equal(other.hear(1), [packet], "the tone")
    hang_up(a, b)


INSIDE = {"name": "inside", "address": "127.0.NET.20", "ports": "24000-24001"}


def network(m):
    """The address that a description names."""
    return re.search(r"^c=IN IP4 (\S+)", m.body, re.M)[1]


@case("media: a trunk has its own network, and what is sent has its mark",
      media={"networks": [INSIDE]}, outbound={"media_network": "inside"})
def _(t):
    caller, callee = t.sides()
    a, b = connect(caller, callee, single(t))
    inside = f"127.0.{t.g.net}.20"
    t.equal((network(b.request_got), network(a.ok)), (inside, t.g.ip["gateway"]), "the addresses described")
    t.equal(b.media[1], 24000, "the port on the inside")
    callee.rtp.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
    callee.rtp.settimeout(PATIENCE)
    caller.play(a.media, 1)
    _, told, _, source = callee.rtp.recvmsg(2048, 256)
    t.equal(source, (inside, 24000), "where the sound comes from")
    t.equal([data[0] for level, kind, data in told if kind == socket.IP_TOS], [46 << 2], "its mark")
    callee.play(b.media, 1)
    t.equal(len(caller.hear(1)), 1, "sound to the outside")
    rows = {state: f'leasebridge_media_ports{{network="inside",state="{state}"}}' for state in ("used", "free")}
    page = lambda: [line for line in t.g.get("/metrics")[1].splitlines() if line.startswith(tuple(rows.values()))]
    t.becomes(page, [f"{rows['free']} 0", f"{rows['used']} 2"], "the ports of the inside")
    hang_up(a, b)


@case("media: a network without a port left is 503, where no other trunk has one",
      media={"networks": [INSIDE]}, outbound={"media_network": "inside"})
def _(t):
    caller, callee = t.sides()
    first, second = single(t), single(t)
    a, b = connect(caller, callee, first)
    c = Leg(caller, CALLER)
    c.invite(second)
    m = c.refused(503)
    t.equal(m.get("retry-after"), "", "Retry-After")
    t.check("cause=34" in m.get("reason"), f"Reason: {m.get('reason')}")
    hang_up(a, b)
    records = t.g.records(2)
    t.equal(sorted(r["reason"] for r in records), ["completed", "no_port"], "the records")
    # The port is given back a moment after the end.
    d = Leg(caller, CALLER)
    d.invite(second)
    e = Leg.invited(callee)
    e.reply(486)
    d.refused(486)


@case("media: a network without a port left leaves the call to a trunk of another",
      media={"networks": [INSIDE]}, outbound={"media_network": "inside"},
      trunks=[{"name": "carrier-two", "direction": "outbound", "target": "sip:127.0.NET.5:5080", "priority": 2,
               "numbers": "+e164", "options_interval": "0s"}])
def _(t):
    caller, callee = t.sides()
    other = t.phone("second")
    first, second = single(t), single(t)
    a, b = connect(caller, callee, first)
    c, d = connect(caller, other, second)
    t.equal(network(d.request_got), t.g.ip["gateway"], "the address described")
    c.request("BYE")
    d.bye_comes()
    c.expect(200)
    hang_up(a, b)
