"""A carrier's side spoken by hand, for what sipp cannot do: odd sources, repeats at will, sound counted by packet.

A `Phone` is a SIP socket with an RTP and an RTCP socket; a `Leg` is one dialog on it, of the side that calls
(`Leg.invite`) or that is called (`Leg.invited`).
"""
import itertools, re, socket, struct, time
from gateway import PATIENCE

COUNTER = itertools.count(1)


class Missing(Exception):
    """What was expected did not come."""


class Message:
    """A SIP message as it came."""

    def __init__(self, data):
        self.data = data
        head, _, self.body = data.decode("latin-1").partition("\r\n\r\n")
        lines = head.split("\r\n")
        self.start = lines[0]
        self.fields = [(k.strip().lower(), v.strip()) for k, _, v in (line.partition(":") for line in lines[1:])]

    def all(self, name):
        return [v for k, v in self.fields if k == name.lower()]

    def get(self, name):
        return next(iter(self.all(name)), "")

    @property
    def text(self):
        return self.data.decode("latin-1")

    @property
    def status(self):
        return int(self.start.split()[1]) if self.start.startswith("SIP/2.0 ") else None

    def media(self):
        """Where the first media line wants its RTP."""
        ip = re.search(r"^c=IN IP[46] (\S+)", self.body, re.M)[1]
        return ip, int(re.search(r"^m=audio (\d+)", self.body, re.M)[1])


def bracket(ip):
    return f"[{ip}]" if ":" in ip else ip


class Phone:
    """Sockets of one side; keeps what it was sent. Repeats are counted in `copies` and shown once. With `options` set,
    each OPTIONS is answered so as it is read, and not shown."""

    transport, parameter = "UDP", ""

    def __init__(self, ip, gateway, port=5080, rtp=6000):
        self.ip, self.port, self.gateway, self.rtp_port = ip, port, gateway, rtp
        self.family = socket.AF_INET6 if ":" in ip else socket.AF_INET
        self.sip, self.rtp, self.rtcp = self.socket(port), self.socket(rtp), self.socket(rtp + 1)
        self.pending, self.copies = [], {}
        self.options = None
        self.flowing = None  # waits until the gateway relays something

    def socket(self, port):
        s = socket.socket(self.family, socket.SOCK_DGRAM)
        s.bind((self.ip, port))
        return s

    def close(self):
        for s in (self.sip, self.rtp, self.rtcp):
            s.close()

    @property
    def host(self):
        return f"{bracket(self.ip)}:{self.port}"

    def send(self, data, to=None):
        self.sip.sendto(data if isinstance(data, bytes) else data.encode("latin-1"), to or self.gateway)

    def _receive(self, timeout):
        self.sip.settimeout(max(timeout, 0.001))
        try:
            data = self.sip.recvfrom(65536)[0]
        except socket.timeout:
            return None
        self.copies[data] = self.copies.get(data, 0) + 1
        if self.copies[data] > 1:
            return False
        m = Message(data)
        if self.options and m.start.startswith("OPTIONS "):
            Leg(self, "x").reply(self.options, request=m)
            return False
        return m

    def pump(self):
        """Reads what has come by now."""
        while (m := self._receive(0)) is not None:
            if m:
                self.pending.append(m)

    def expect(self, start, timeout=PATIENCE, call_id=None):
        """The next message that begins so ("INVITE", or "SIP/2.0 " for any response but 100, or a status)."""
        start = f"SIP/2.0 {start} " if isinstance(start, int) else start
        fits = lambda m: (m.start.startswith(start) and (call_id is None or m.get("call-id") == call_id)
                          and (m.status != 100 or "100" in start))
        for m in self.pending:
            if fits(m):
                self.pending.remove(m)
                return m
        end = time.time() + timeout
        while time.time() < end:
            m = self._receive(end - time.time())
            if m and fits(m):
                return m
            if m:
                self.pending.append(m)
        raise Missing(f"{self.host} got no {start!r} but {[m.start for m in self.pending]}")

    def silent(self, start="", seconds=0.7):
        """Nothing that begins so may come."""
        end = time.time() + seconds
        while time.time() < end:
            m = self._receive(end - time.time())
            if m:
                self.pending.append(m)
        found = [m.start for m in self.pending if m.start.startswith(start)]
        if found:
            raise Missing(f"{self.host} was sent {found}")

    def repeats(self, message):
        """How often a message has come by now."""
        self.pump()
        return self.copies[message.data]

    def sdp(self, codecs="8 101", extra=("a=sendrecv",), ip=None, port=None, version=1):
        ip = ip or self.ip
        kind = "IP6" if ":" in ip else "IP4"
        names = {"0": "PCMU/8000", "8": "PCMA/8000", "9": "G722/8000", "111": "opus/48000/2", "101": "telephone-event/8000"}
        lines = ["v=0", f"o=- 7 {version} IN {kind} {ip}", "s=-", f"c=IN {kind} {ip}", "t=0 0",
                 f"m=audio {port or self.rtp_port} RTP/AVP {codecs}"]
        lines += [f"a=rtpmap:{c} {names[c]}" for c in codecs.split()] + list(extra)
        return "\r\n".join(lines) + "\r\n"

    def play(self, to, count, first=0, sock=None, ssrc=7):
        """Sends RTP packets; returns them."""
        out = []
        for seq in range(first, first + count):
            packet = struct.pack(">BBHII", 0x80, 8, seq, seq * 160, ssrc) + bytes([seq & 0xFF]) * 160
            (sock or self.rtp).sendto(packet, to)
            out.append(packet)
            time.sleep(0.002)
        return out

    def hear(self, count=1, timeout=20, sock=None):
        """What comes on the RTP socket: `count` packets, or fewer if the time is over."""
        s, out = sock or self.rtp, []
        end = time.time() + timeout
        while len(out) < count and time.time() < end:
            s.settimeout(max(0.001, end - time.time()))
            try:
                out.append(s.recvfrom(4096)[0])
            except socket.timeout:
                break
        return out

    def until_heard(self, to, other, sock=None, there=None):
        """Sends until the other phone hears it (the relay learns of new SDP beside the signalling), then lets the rest pass."""
        for _ in range(200):
            self.play(to, 1, first=60000, sock=sock)
            if other.hear(1, 0.05, sock=there):
                other.hear(200, 0.2, sock=there)
                return
        raise Missing(f"{other.host} never heard {self.host}")

    def deaf(self, seconds=0.4, sock=None):
        """Nothing may come."""
        got = self.hear(1, seconds, sock)
        if got:
            raise Missing(f"{self.host} heard {len(got)} packets that were not for it")


class Leg:
    """A dialog on a phone."""

    def __init__(self, phone, number):
        self.phone, self.number = phone, number
        self.cseq, self.branches, self.target = 0, {}, None
        self.call_id = f"call{next(COUNTER)}x{time.time_ns()}"
        self.tag = f"tag{next(COUNTER)}"
        self.local = f"<sip:{number}@{bracket(phone.ip)}>;tag={self.tag}"
        self.remote = self.uri = None

    # ---- the side that calls

    def start(self, dialled, body=None, extra=(), drop=(), max_forwards=70, branch=None, no_body=False, cseq=None):
        """The INVITE's text, not sent."""
        g = f"{bracket(self.phone.gateway[0])}:{self.phone.gateway[1]}"
        self.uri = dialled if ":" in dialled else f"sip:{dialled}@{g}"
        self.remote = self.remote or f"<{self.uri}>"
        body = "" if no_body else (self.phone.sdp() if body is None else body)
        self.cseq = cseq or self.cseq + 1
        return self._request("INVITE", self.uri, self.cseq, body, extra, drop, max_forwards, branch)

    def invite(self, dialled, **how):
        text = self.start(dialled, **how)
        self.phone.send(text)
        return text

    def expect(self, start, timeout=PATIENCE):
        return self.phone.expect(start, timeout, self.call_id)

    def answered(self, body=None):
        """Takes the 200 and acknowledges it."""
        m = self.expect(200)
        self.remote, self.target = m.get("to"), re.search(r"<([^>]*)>", m.get("contact"))[1]
        self.ack(body)
        return m

    def ack(self, body=None, cseq=None):
        self.phone.send(self._request("ACK", self.target, cseq or self.cseq, body or ""))

    def refused(self, status, timeout=PATIENCE):
        """Takes a failure of the INVITE and acknowledges it."""
        m = self.expect(status, timeout)
        self.ack_failure(m)
        return m

    def ack_failure(self, m):
        cseq = int(m.get("cseq").split()[0])
        fields = [f"Via: {m.all('via')[0]}", f"From: {m.get('from')}", f"To: {m.get('to')}", f"Call-ID: {self.call_id}",
                  f"CSeq: {cseq} ACK", "Max-Forwards: 70"]
        self.phone.send(build(f"ACK {self.target or self.uri} SIP/2.0", fields))

    def cancel(self):
        self.phone.send(self._request("CANCEL", self.uri, self.cseq, branch=self.branches[self.cseq]))

    # ---- the side that is called

    @classmethod
    def invited(cls, phone, timeout=PATIENCE):
        """Takes the next INVITE."""
        m = phone.expect("INVITE ", timeout)
        leg = cls(phone, re.search(r"sip:([^@]*)@", m.start)[1])
        leg.request_got, leg.call_id = m, m.get("call-id")
        leg.local, leg.remote = f"{m.get('to')};tag={leg.tag}", m.get("from")
        leg.target = re.search(r"<([^>]*)>", m.get("contact"))[1]
        return leg

    def reply(self, status, phrase="Whatever", body="", request=None, extra=(), tag=None, contact=None):
        m = request or self.request_got
        to = m.get("to")
        if ";tag=" not in to and status > 100:
            to += f";tag={tag or self.tag}"
        fields = [f"Via: {v}" for v in m.all("via")] + [f"From: {m.get('from')}", f"To: {to}", f"Call-ID: {m.get('call-id')}",
                  f"CSeq: {m.get('cseq')}", f"Contact: <sip:{contact or self.phone.host}{self.phone.parameter}>"]
        text = build(f"SIP/2.0 {status} {phrase}", fields + list(extra), body)
        self.phone.send(text)
        return text

    def answer(self, body=None, **how):
        return self.reply(200, "OK", self.phone.sdp() if body is None else body, **how)

    # ---- both

    def request(self, method, body="", extra=(), cseq=None):
        """Sends a request in the dialog."""
        self.cseq = cseq or self.cseq + 1
        text = self._request(method, self.target, self.cseq, body, extra)
        self.phone.send(text)
        return text

    def bye(self):
        self.request("BYE")
        return self.expect(200)

    def bye_comes(self):
        """The other side hangs up."""
        m = self.expect("BYE ")
        self.reply(200, "OK", request=m)
        return m

    def _request(self, method, uri, cseq, body="", extra=(), drop=(), max_forwards=70, branch=None):
        branch = branch or f"z9hG4bK{next(COUNTER)}x{time.time_ns()}"
        self.branches[cseq] = branch
        fields = [f"Via: SIP/2.0/{self.phone.transport} {self.phone.host};branch={branch}", f"From: {self.local}", f"To: {self.remote}",
                  f"Call-ID: {self.call_id}", f"CSeq: {cseq} {method}", f"Max-Forwards: {max_forwards}"]
        if method in ("INVITE", "ACK"):
            fields.append(f"Contact: <sip:{self.phone.host}{self.phone.parameter}>")
        fields = [f for f in fields if f.split(":")[0] not in drop]
        return build(f"{method} {uri} SIP/2.0", fields + list(extra), body)


def build(start, fields, body="", ctype="application/sdp"):
    fields = list(fields)
    if body and not any(f.lower().startswith("content-type") for f in fields):
        fields.append(f"Content-Type: {ctype}")
    fields.append(f"Content-Length: {len(body)}")
    return "\r\n".join([start] + fields) + "\r\n\r\n" + body


def connect(caller, callee, dialled, number="+60199990001", offer=None, answer=None, contact=None):
    """A call from INVITE to ACK; returns both legs, with where each side is to send its RTP in `media`."""
    a = Leg(caller, number)
    a.invite(dialled, body=offer)
    b = Leg.invited(callee)
    b.reply(180, "Ringing")
    a.expect(180)
    b.answer(answer, contact=contact)
    ok = a.answered()
    b.expect("ACK ")
    a.media, b.media = ok.media(), b.request_got.media()
    a.ok = ok
    if caller.flowing:
        caller.flowing()
    return a, b


def sender_report(ssrc=7, cname=b"me"):
    """A compound of SR and SDES."""
    chunk = struct.pack(">I", ssrc) + bytes([1, len(cname)]) + cname + b"\0"
    chunk += b"\0" * (-len(chunk) % 4)
    return (struct.pack(">BBHIIIIII", 0x80, 200, 6, ssrc, 1, 2, 3, 4, 5)
            + struct.pack(">BBH", 0x81, 202, len(chunk) // 4) + chunk)


def block(ssrc, lost, jitter):
    """One block of a report, which answers `sender_report` at once."""
    return struct.pack(">IIIIII", ssrc, lost, 0, jitter, 0x00010000, 0)


def receiver_report(ssrc, *blocks):
    return struct.pack(">BBHI", 0x80 | len(blocks), 201, 1 + 6 * len(blocks), ssrc) + b"".join(blocks)
