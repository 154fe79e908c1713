"""The cases of TCP and TLS: framing, reuse, bounds, certificates, each over real connections."""
import os, re, signal, socket, time
from cases import CALLER, SECOND, asked, case, hang_up, options, single
from phone import Leg, Missing, build, connect
from streams import Authority, StreamPhone

BOTH = ["udp:127.0.NET.2:5060", "tcp:127.0.NET.2:5060"]
TCP = {"sip": {"listen": BOTH}, "outbound": {"target": "sip:127.0.NET.3:5080;transport=tcp"}}


def tcp_sides(t):
    return t.phone("caller", kind=StreamPhone), t.phone("callee", kind=StreamPhone)


def event(t, detail, name="sip_connection"):
    """How often something of connections was counted."""
    row = rf'^leasebridge_sip_events_total\{{detail="{detail}",event="{name}"\}} (\d+)$'
    found = re.search(row, t.g.get("/metrics")[1], re.M)
    return int(found[1]) if found else 0


def closed(connection, seconds=20):
    """Whether a bare connection is closed by the other side."""
    connection.settimeout(seconds)
    try:
        while connection.recv(4096):
            pass
        return True
    except ConnectionResetError:
        return True
    except socket.timeout:
        return False


@case("tcp: a call in each direction, Via and Contact say so, one connection a side", **TCP)
def _(t):
    caller, callee = tcp_sides(t)
    a, b = connect(caller, callee, single(t))
    invite = b.request_got
    t.check(invite.get("via").startswith(f"SIP/2.0/TCP {t.g.ip['gateway']}:5060;"), invite.get("via"))
    t.equal(invite.get("contact"), f"<sip:{t.g.ip['gateway']}:5060;transport=tcp>", "the Contact")
    t.check(";transport=tcp" in invite.start, invite.start)
    t.check(";transport=tcp" in a.ok.get("contact"), a.ok.get("contact"))
    hang_up(a, b)
    # The callee hangs up the second one, by the connection that brought its INVITE.
    a, b = connect(caller, callee, single(t))
    b.request("BYE")
    a.bye_comes()
    b.expect(200)
    t.equal((len(caller.connections), callee.accepted), (1, 1), "connections of the sides")


@case("tcp: from TCP to UDP and from UDP to TCP", sip={"listen": BOTH}, calls={"per_lease": 0}, trunks=[
    {"name": "both", "direction": "both", "sources": ["127.0.NET.5/32"], "target": "sip:127.0.NET.5:5080;transport=tcp",
     "priority": 0, "numbers": "+e164", "options_interval": "0s"}])
def _(t):
    number = single(t)
    udp, tcp = t.phone("caller"), t.phone("second", kind=StreamPhone)
    a, b = connect(udp, tcp, number)
    hang_up(a, b)
    a, b = connect(tcp, tcp, number)
    hang_up(a, b)


@case("tcp: unknown_source 403 answers strangers", sip={"listen": BOTH, "unknown_source": "403"})
def _(t):
    leg = Leg(t.phone("stranger", kind=StreamPhone), CALLER)
    leg.invite(single(t))
    leg.refused(403)
    # The ACK to it is no second refusal.
    t.becomes(lambda: event(t, "refused-ack", "sip_dropped"), 1, "ACKs")
    t.equal(event(t, "unknown-source", "sip_refused"), 1, "refusals")


@case("tcp: byte by byte, and many at once", **TCP)
def _(t):
    caller, callee = tcp_sides(t)
    number = single(t)
    a = Leg(caller, CALLER)
    text = a.start(number)
    for byte in text.encode():
        caller.send(bytes([byte]))
    b = Leg.invited(callee)
    b.answer()
    a.answered()
    b.expect("ACK ")
    hang_up(a, b)
    ask = lambda n: build(f"OPTIONS sip:{t.g.ip['gateway']} SIP/2.0", [
        f"Via: SIP/2.0/TCP {caller.host};branch=z9hG4bKp{n}x{time.time_ns()}", f"From: <sip:x@{caller.ip}>;tag=o",
        "To: <sip:gw>", f"Call-ID: p{n}x{time.time_ns()}", f"CSeq: {n} OPTIONS", "Max-Forwards: 70"])
    caller.send("".join(ask(n) for n in range(1, 41)))
    answers = [int(caller.expect(200).get("cseq").split()[0]) for _ in range(40)]
    t.equal(answers, list(range(1, 41)), "the answers")


@case("tcp: a keep-alive gets its answer", **TCP)
def _(t):
    caller = t.phone("caller", kind=StreamPhone)
    caller.send(b"\r\n\r\n")
    t.equal(caller.current.sock.recv(16), b"\r\n", "the answer")
    t.equal(asked(caller), 200, "OPTIONS after it")


@case("tcp: a request without Content-Length is 400 and the end of its connection", **TCP)
def _(t):
    caller = t.phone("caller", kind=StreamPhone)
    text = build("OPTIONS sip:gw SIP/2.0", [f"Via: SIP/2.0/TCP {caller.host};branch=z9hG4bKm{time.time_ns()}", "From: <sip:x@y>;tag=o",
                 "To: <sip:gw>", f"Call-ID: m{time.time_ns()}", "CSeq: 1 OPTIONS", "Max-Forwards: 70"])
    caller.send(text.replace("Content-Length: 0\r\n", "") + text)
    m = caller.expect(400)
    t.check("Content-Length" in m.start, m.start)
    t.check(caller.ended(caller.current), "the connection stays")
    caller.silent("SIP/2.0 200", 0.3)


@case("tcp: a slow sender is closed and holds nobody up", sip={"listen": BOTH, "header_timeout": "2s"},
      outbound={"target": "sip:127.0.NET.3:5080;transport=tcp"})
def _(t):
    caller, callee = tcp_sides(t)
    slow = StreamPhone(caller.ip, caller.gateway, port=5090, rtp=6010)
    t.phones.append(slow)
    slow.send("OPTIONS sip:gw SIP/2.0\r\nVia: ")
    a, b = connect(caller, callee, single(t))
    hang_up(a, b)
    t.check(slow.ended(slow.current), "the slow one stays")
    t.equal(event(t, "header-timeout"), 1, "connections closed for it")


@case("tcp: strangers are closed at once, an address has its share", sip={"listen": BOTH, "max_connections": 8},
      outbound={"target": "sip:127.0.NET.3:5080;transport=tcp"})
def _(t):
    dial = lambda role: socket.create_connection((t.g.ip["gateway"], 5060), 20, (t.g.ip[role], 0))
    t.check(closed(dial("stranger")), "a stranger's connection stays")
    t.equal(event(t, "stranger"), 1, "strangers counted")
    kept = [dial("caller") for _ in range(2)]  # a quarter of all
    t.becomes(lambda: t.g.metric("leasebridge_sip_connections"), 2, "connections")
    t.check(closed(dial("caller")), "a third one stays")
    t.equal(event(t, "share"), 1, "shares counted")
    for one in kept:
        one.close()
    t.becomes(lambda: t.g.metric("leasebridge_sip_connections"), 0, "connections")
    t.equal(asked(t.phone("caller", kind=StreamPhone)), 200, "OPTIONS when there is room again")


@case("tcp: an idle connection is closed, and made again when it is needed", sip={"listen": BOTH, "idle_timeout": "1s"},
      outbound={"target": "sip:127.0.NET.3:5080;transport=tcp"})
def _(t):
    caller, callee = tcp_sides(t)
    a, b = connect(caller, callee, single(t))
    t.check(caller.ended(caller.current) and callee.ended(callee.current), "they stay")
    # The BYE dials anew on both sides.
    a.request("BYE")
    b.bye_comes()
    a.expect(200)
    t.equal(callee.accepted, 2, "connections to the callee")


@case("tcp: a connection that is cut during a call does not end it", **TCP)
def _(t):
    caller, callee = tcp_sides(t)
    a, b = connect(caller, callee, single(t))
    caller.hang_up()
    callee.hang_up()
    t.becomes(lambda: t.g.metric("leasebridge_calls_up"), 1, "calls up")
    t.becomes(lambda: t.g.metric("leasebridge_sip_connections"), 0, "connections")
    t.equal(t.g.metric("leasebridge_calls_up"), 1, "calls up")
    # The callee hangs up by a new connection; the caller is told at its Contact.
    b.request("BYE")
    a.bye_comes()
    b.expect(200)


@case("tcp: a trunk that cannot be reached: the call tries the next; it is reached when it is there again", sip={"listen": BOTH},
      calls={"per_lease": 0}, outbound={"target": "sip:127.0.NET.3:5080;transport=tcp"}, **SECOND)
def _(t):
    number = single(t)
    caller, second = t.phone("caller", kind=StreamPhone), t.phone("second")
    a, b = connect(caller, second, number)
    hang_up(a, b)
    t.check(event(t, "refused") >= 1, "nothing was counted")
    callee = t.phone("callee", kind=StreamPhone)

    def reached():
        leg = Leg(caller, CALLER)
        leg.invite(number)
        try:
            one = Leg.invited(callee, 1)
        except Missing:
            one = None
        (one or Leg.invited(second)).reply(486, "Busy Here")
        leg.refused(486)
        return one is not None

    t.becomes(reached, True, "whether the trunk is tried again")


@case("tcp: a request too long for UDP goes by TCP, and by UDP where nobody answers there", sip={"listen": BOTH},
      calls={"per_lease": 0}, outbound={"target": "sip:127.0.NET.3:5080"})
def _(t):
    number = single(t)
    caller, udp = t.phone("caller"), t.phone("callee")
    kinds = range(96, 127)
    long = caller.sdp(codecs="8", extra=[f"a=rtpmap:{n} x-codec-number-{n}/8000" for n in kinds])
    long = long.replace("RTP/AVP 8", "RTP/AVP 8 " + " ".join(map(str, kinds)))
    a, b = connect(caller, udp, number, offer=long)
    t.check(len(b.request_got.data) > 1300, f"the INVITE has {len(b.request_got.data)} bytes")
    t.check("SIP/2.0/UDP" in b.request_got.get("via"), "it did not come by UDP")
    hang_up(a, b)
    tcp = t.phone("callee", kind=StreamPhone, rtp=6020)

    def by_tcp():
        """For a moment the place is not tried again."""
        leg = Leg(caller, CALLER)
        leg.invite(number, body=long)
        try:
            one = Leg.invited(tcp, 1)
        except Missing:
            one = Leg.invited(udp)
        one.reply(486, "Busy Here")
        leg.refused(486)
        return "SIP/2.0/TCP" in one.request_got.get("via")

    t.becomes(by_tcp, True, "whether it comes by TCP")


def certificates(t, **names):
    """An authority and a certificate for each name, in the case's directory."""
    authority = Authority(t.g.work)
    return authority, {role: authority.sign(role, *given) for role, given in names.items()}


def with_tls(t, server, outbound=None, inbound=None, tls=None):
    """Configures the gateway for TLS on both trunks, and starts it again."""
    g = t.g.ip["gateway"]
    cert, key = server
    ca = os.path.join(t.g.work, "ca.pem")
    t.g.reconfigure({
        "sip": {"listen": [f"udp:{g}:5060", f"tls:{g}:5061"], "tls": {"cert": cert, "key": key, **(tls or {})}},
        "outbound": {"target": f"sip:{t.g.ip['callee']}:5080;transport=tls", "tls": {"ca": ca, **(outbound or {})}},
        "inbound": {"tls": inbound} if inbound else {}})
    t.g.stop()
    t.g.start()


def tls_sides(t, authority, callee, client=None, ask=False):
    g = t.g.ip["gateway"]
    caller = t.phone("caller", kind=StreamPhone, gateway=(g, 5061), client=authority.client(*(client or ())), name=g)
    return caller, t.phone("callee", kind=StreamPhone, server=authority.server(*callee, ask=ask))


@case("tls: a call in each direction, with certificates of both sides")
def _(t):
    g = t.g.ip["gateway"]
    authority, made = certificates(t, gateway=[g], callee=[t.g.ip["callee"]], caller=["carrier.example"])
    ca, (cert, key) = authority.cert, made["gateway"]
    with_tls(t, made["gateway"], {"cert": cert, "key": key},
             {"ca": ca, "require_client_cert": True, "peer_names": ["carrier.example"]})
    caller, callee = tls_sides(t, authority, made["callee"], made["caller"], ask=True)
    a, b = connect(caller, callee, single(t))
    t.check(b.request_got.get("via").startswith(f"SIP/2.0/TLS {g}:5061;"), b.request_got.get("via"))
    t.equal(b.request_got.get("contact"), f"<sip:{g}:5061;transport=tls>", "the Contact")
    hang_up(a, b)
    t.becomes(lambda: t.g.metric("leasebridge_sip_connections"), 2, "connections")
    bare = t.phone("caller", kind=StreamPhone, port=5090, rtp=6010, gateway=(g, 5061), client=authority.client(), name=g)
    try:
        options(bare)
        t.check(bare.ended(bare.current), "a caller without a certificate is heard")
    except OSError:
        pass
    t.becomes(lambda: event(t, "handshake"), 1, "handshakes refused")
    # Nor is it another way round: its address alone proves nothing.
    plain = t.phone("caller", port=5091, rtp=6020)
    options(plain)
    plain.expect(403)
    t.becomes(lambda: event(t, "no-certificate", "sip_refused"), 1, "requests refused for want of a certificate")


@case("tls: a carrier whose certificate has another name is not called")
def _(t):
    g = t.g.ip["gateway"]
    authority, made = certificates(t, gateway=[g], callee=["wrong.example"])
    with_tls(t, made["gateway"])
    caller, callee = tls_sides(t, authority, made["callee"])
    leg = Leg(caller, CALLER)
    leg.invite(single(t))
    callee.silent("INVITE", 3)
    leg.refused(500)
    t.becomes(lambda: event(t, "handshake") >= 1, True, "whether a handshake was refused")


@case("tls: a reload puts a new certificate in force, and a call goes on")
def _(t):
    g = t.g.ip["gateway"]
    authority, made = certificates(t, gateway=[g], callee=[t.g.ip["callee"]])
    with_tls(t, made["gateway"])
    caller, callee = tls_sides(t, authority, made["callee"])
    a, b = connect(caller, callee, single(t))
    serial = lambda: peer_certificate(t, authority)
    before = serial()
    authority.sign("gateway", g)
    t.g.process.send_signal(signal.SIGHUP)
    t.becomes(lambda: serial() != before, True, "whether the new certificate is shown")
    t.equal(len([c for c in caller.connections if not c.ended]), 1, "the caller's connection")
    hang_up(a, b)
    t.equal((len(caller.connections), callee.accepted), (1, 1), "connections of the sides")


def peer_certificate(t, authority):
    """What the gateway shows to the caller's carrier."""
    g = t.g.ip["gateway"]
    with socket.create_connection((g, 5061), 20, (t.g.ip["caller"], 0)) as plain:
        with authority.client().wrap_socket(plain, server_hostname=g) as s:
            return s.getpeercert(binary_form=True)
