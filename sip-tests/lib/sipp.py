"""SIPp scenarios written briefly: each step is a line here and an element of XML for sipp.

A scenario is a list of steps for the caller (uac) or the callee (uas). Headers that a step must see
are regular expressions; what must not be there is checked by `absent`.

A `Gate` among the steps is where the scenario and the test meet: sipp says by its `Twin` that it stands there, the test
does what it has to do, and then lets sipp go on. So nothing waits for a time.
"""
import html, os, re, subprocess, time
from ear import Ear
from gateway import PATIENCE
import pcap
import twin

# The port that a scenario names for its RTP is so far above sipp's own (-mp): sipp plays from there, and an `Ear` counts there.
EAR = 10

SDP = """v=0
o=user 53655765 {version} IN IP[media_ip_type] [media_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio {port} RTP/AVP 8 101
a=rtpmap:8 PCMA/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
a=ptime:20
{extra}"""


def sdp(extra="a=sendrecv", ear=EAR, version=2353687637):
    """Where `ear` is 0 the port is sipp's own."""
    port = f"[media_port+{ear}]" if ear else "[media_port]"
    return SDP.format(extra=extra, port=port, version=version).strip() + "\n"


def _message(lines, body=None, ctype="application/sdp"):
    head = "\n".join(lines)
    if body:
        return f"{head}\nContent-Type: {ctype}\nContent-Length: [len]\n\n{body}\n"
    return f"{head}\nContent-Length: 0\n\n"


def _send(text, retrans=None, **attrs):
    a = "".join(f' {k}="{v}"' for k, v in attrs.items())
    if retrans:
        a += f' retrans="{retrans}"'
    return f"<send{a}><![CDATA[\n{text}]]></send>\n"


_n = [0]


def _checks(checks, absent):
    out = ""
    for where, pattern in (checks or {}).items():
        _n[0] += 1
        search = f'search_in="hdr" header="{where}:"' if where not in ("msg", "body") else f'search_in="{where}"'
        out += f'<ereg regexp="{html.escape(pattern)}" {search} check_it="true" assign_to="v{_n[0]}"/>\n'
    for pattern in absent or []:
        _n[0] += 1
        out += f'<ereg regexp="{html.escape(pattern)}" search_in="msg" check_it_inverse="true" assign_to="v{_n[0]}"/>\n'
    return out


def _action(inner):
    return f"<action>{inner}</action>" if inner else ""


# ---- steps of the caller

def invite(number="[service]", caller="+60199990001", body=None, cseq=1, extra=(), sdp_none=False, uri=None,
           ctype="application/sdp", drop=(), to=None, max_forwards="70", call_id="[call_id]", tag="[pid]c[call_number]",
           retrans=500):
    """With a Call-ID of the form `x///[call_id]` it is another call, whose messages sipp takes for this one's."""
    to = to or f"<sip:{number}@[remote_ip]:[remote_port]>"
    lines = [f"INVITE {uri or f'sip:{number}@[remote_ip]:[remote_port]'} SIP/2.0",
             "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]",
             f'From: "Caller" <sip:{caller}@[local_ip]:[local_port]>;tag={tag}',
             f"To: {to}", f"Call-ID: {call_id}", f"CSeq: {cseq} INVITE",
             "Contact: <sip:caller@[local_ip]:[local_port]>", f"Max-Forwards: {max_forwards}"]
    lines = [l for l in lines if l.split(":")[0] not in drop] + list(extra)
    return _send(_message(lines, None if sdp_none else (body or sdp()), ctype), retrans=retrans)


def _in_dialog(method, cseq, body=None, extra=(), retrans=500, contact=True, ctype="application/sdp"):
    lines = [f"{method} [next_url] SIP/2.0",
             "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]", "[routes]",
             'From: "Caller" <sip:+60199990001@[local_ip]:[local_port]>;tag=[pid]c[call_number]',
             "To: [$peer]", "Call-ID: [call_id]", f"CSeq: {cseq} {method}", "Max-Forwards: 70"]
    if contact:
        lines.append("Contact: <sip:caller@[local_ip]:[local_port]>")
    return _send(_message(lines + list(extra), body, ctype), retrans=retrans)


def ack(cseq=1, body=None):
    return _in_dialog("ACK", cseq, body, retrans=None)


def ack_failure(number="[service]", caller="+60199990001", cseq=1, call_id="[call_id]", tag="[pid]c[call_number]"):
    lines = [f"ACK sip:{number}@[remote_ip]:[remote_port] SIP/2.0",
             "[last_Via:]",
             f'From: "Caller" <sip:{caller}@[local_ip]:[local_port]>;tag={tag}',
             "[last_To:]", f"Call-ID: {call_id}", f"CSeq: {cseq} ACK", "Max-Forwards: 70"]
    return _send(_message(lines))


def bye(cseq=2, extra=()):
    return _in_dialog("BYE", cseq, extra=extra, contact=False)


def reinvite(cseq=2, body=None, sdp_none=False, extra=()):
    return _in_dialog("INVITE", cseq, None if sdp_none else (body or sdp()), extra)


def request(method, cseq=2, body=None, extra=(), ctype="application/sdp"):
    return _in_dialog(method, cseq, body, extra, ctype=ctype)


def cancel(number="[service]", caller="+60199990001", extra=(), via="[last_Via:]"):
    lines = [f"CANCEL sip:{number}@[remote_ip]:[remote_port] SIP/2.0", via,
             f'From: "Caller" <sip:{caller}@[local_ip]:[local_port]>;tag=[pid]c[call_number]',
             f"To: <sip:{number}@[remote_ip]:[remote_port]>", "Call-ID: [call_id]", "CSeq: 1 CANCEL", "Max-Forwards: 70"]
    return _send(_message(lines + list(extra)), retrans=500)


def raw(text, retrans=None):
    return _send(text, retrans)


# ---- steps of both

def r(what, optional=False, check=None, absent=None, rrs=True, timeout=None, next=None, auth=False):
    """Receive: an integer is a response, a word a request."""
    a = f' response="{what}"' if isinstance(what, int) else f' request="{what}"'
    if optional:
        a += ' optional="true"'
    if rrs:
        a += ' rrs="true"'
    if timeout:
        a += f' timeout="{timeout}"'
    if auth:  # its challenge is what [authentication] answers
        a += ' auth="true"'
    return f"<recv{a}>{_action(_checks(check, absent))}</recv>\n"


def answered(status=200, check=None, absent=None):
    """The 200, whose To the requests of this dialog repeat; a provisional response, where they are for an early one."""
    peer = '<ereg regexp="&lt;.*" search_in="hdr" header="To:" assign_to="peer"/>\n'
    return f'<recv response="{status}" rrs="true">{_action(peer + _checks(check, absent))}</recv>\n'


def repeated(status, times):
    """What may come again so often. By UDP sipp itself knows what it has had; by a stream it does not."""
    return [r(status, optional=True, rrs=False)] * times


def trying():
    return r(100, optional=True, rrs=False)


def pause(ms):
    return f'<pause milliseconds="{ms}"/>\n'


class Gate:
    """Where sipp stands until `when(context)` is true; then `action(context)` is done, and it goes on. With `hold` false
    it goes on at once by itself: for where what the action brings about may come at any time. Optional `meanwhile` are
    steps for what may come as it stands there."""

    def __init__(self, action=None, hold=True, when=None, meanwhile=()):
        self.action, self.hold, self.when, self.meanwhile = action, hold, when, "".join(meanwhile)


def mark(action):
    return Gate(action, hold=False)


class Sound(Gate):
    """This side plays so many packets, while the other one, at its own `Sound`, plays back; where `solo` it does not. Each
    must arrive in order and once, or not at all where `passes` is false. With `probe` the way is first tried until it is
    so: the relay learns of a new description beside the signalling."""

    def __init__(self, packets=25, passes=True, probe=False, solo=False, ear=EAR, payload_type=8):
        super().__init__()
        self.packets, self.passes, self.probe, self.solo = packets, passes, probe, solo
        self.ear, self.payload_type = ear, payload_type


def _gate(number, hold=True, meanwhile=""):
    return twin.says(f"at {number}") + meanwhile + (twin.waits() + twin.says(f"past {number}") if hold else "")


# ---- steps of the callee

def reply(status, phrase, body=None, tag="s", extra=(), contact=True, retrans=None, to_tag=True):
    to = f"[last_To:];tag=[pid]{tag}[call_number]" if to_tag else "[last_To:]"
    lines = [f"SIP/2.0 {status} {phrase}", "[last_Via:]", "[last_Record-Route:]", "[last_From:]", to, "[last_Call-ID:]",
             "[last_CSeq:]"]
    if contact:
        lines.append("Contact: <sip:callee@[local_ip]:[local_port];transport=[transport]>")
    return _send(_message(lines + list(extra), body), retrans=retrans)


def ring(body=None, status=180, tag="s"):
    return reply(status, "Ringing" if status == 180 else "Session Progress", body, tag)


def answer(body=None, tag="s", retrans=500, sdp_none=False):
    return reply(200, "OK", None if sdp_none else (body or sdp()), tag, retrans=retrans)


def reply_invite(status, phrase, body=None, tag="s"):
    """Responds to the INVITE after another request (its CANCEL) has come."""
    lines = [f"SIP/2.0 {status} {phrase}", "[last_Via:]", "[last_From:]", f"[last_To:];tag=[pid]{tag}[call_number]",
             "[last_Call-ID:]", "CSeq: [$cseq]", "Contact: <sip:callee@[local_ip]:[local_port];transport=[transport]>"]
    return _send(_message(lines, body), retrans=500)


def ok(to_tag=False):
    return reply(200, "OK", to_tag=to_tag, contact=False)


def late(status, phrase, body=None, tag="s", extra=()):
    """Responds to the INVITE that was last remembered, whatever has come since."""
    lines = [f"SIP/2.0 {status} {phrase}", "Via: [$via]", "From: [$from]", f"To: [$to];tag=[pid]{tag}[call_number]",
             "Call-ID: [call_id]", "CSeq: [$cseq]", "Contact: <sip:callee@[local_ip]:[local_port];transport=[transport]>"]
    return _send(_message(lines + list(extra), body), retrans=500 if status >= 200 else None)


def callee_request(method, cseq=1, body=None, extra=(), tag="s", via=None, ctype="application/sdp"):
    """A request in the dialog that the INVITE made, from the callee's side."""
    lines = [f"{method} [$contact] SIP/2.0",
             via or "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]",
             f"From: [$to];tag=[pid]{tag}[call_number]", "To: [$from]", "Call-ID: [call_id]",
             f"CSeq: {cseq} {method}", "Max-Forwards: 70"]
    if method in ("INVITE", "ACK"):
        lines.append("Contact: <sip:callee@[local_ip]:[local_port]>")
    return _send(_message(lines + list(extra), body, ctype), retrans=None if method == "ACK" else 500)


_REMEMBER = {"contact": ("sip:[^>]*", "Contact"), "from": ("<.*", "From"), "to": ("<.*>", "To"),
             "cseq": ("[0-9]+ INVITE", "CSeq"), "via": ("SIP/2.0.*", "Via")}


def invited(check=None, absent=None, reinvite=False):
    """The callee's INVITE, remembering what requests of its own and late responses need."""
    remember = "".join(f'<ereg regexp="{html.escape(what)}" search_in="hdr" header="{header}:" assign_to="{name}"/>\n'
                       for name, (what, header) in _REMEMBER.items() if not reinvite or name in ("cseq", "via"))
    return f'<recv request="INVITE" crlf="true" rrs="true">{_action(remember + _checks(check, absent))}</recv>\n'


def scenario(name, steps):
    text = "".join(steps)
    used = sorted(set(re.findall(r'assign_to="(v[0-9]+)"', text)), key=lambda v: int(v[1:]))
    extra = [v for v in (*_REMEMBER, "peer", "rseq", "rseq_required") if f'assign_to="{v}"' in text]
    reference = f'<Reference variables="{",".join(used + extra)}"/>\n' if used or extra else ""
    return (f'<?xml version="1.0" encoding="ISO-8859-1"?>\n<!DOCTYPE scenario SYSTEM "sipp.dtd">\n'
            f'<scenario name="{html.escape(name)}">\n{text}{reference}</scenario>\n')


class Sipp:
    """One sipp process. `port` is where the others find it. With "tls" a tunnel is there, and sipp itself is on `private`
    if it is called; if it calls, it gets to the gateway by way of `through`."""

    def __init__(self, work, role, steps, ip, port, remote=None, service="", media_port=6000, lenient=False, timeout=3 * PATIENCE,
                 auth_uri=None, transport="udp", private=None, through=None):
        self.role, self.log, self.ip, self.port, self.media_port = role, os.path.join(work, role), ip, port, media_port
        os.makedirs(self.log, exist_ok=True)
        self.gates, self.passed, self.ears, self.speaks = [], 0, {}, set()
        self.twin = twin.Twin(ip) if any(isinstance(step, Gate) for step in steps) else None
        path = os.path.join(self.log, "scenario.xml")
        with open(path, "w") as f:
            f.write(self._spoken(scenario(role, self._fill(steps)), transport))
        cmd = ["sipp"] + ([remote] if remote else []) + [
            "-sf", path, "-i", ip, "-p", str(private or port), "-m", "1", "-nostdin", "-mi", ip, "-mp", str(media_port),
            "-timeout", str(timeout), "-timeout_error", "-trace_err", "-error_file", os.path.join(self.log, "errors"),
            "-trace_msg", "-message_file", os.path.join(self.log, "messages")]
        if self.twin:
            cmd += ["-3pcc", self.twin.address()]
        if service:
            cmd += ["-s", service]
        if auth_uri:  # what the digest is of; by itself sipp takes the gateway's address without the number
            cmd += ["-auth_uri", auth_uri]
        if transport != "udp":
            cmd += ["-t", "t1"]
        if through:
            cmd += ["-rsa", through]
        if lenient:  # goes on whatever comes
            cmd += ["-default_behaviors", "none"]
        self.process = subprocess.Popen(cmd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, cwd=self.log, start_new_session=True)

    def _spoken(self, text, transport):
        """What the other side is told of transport and port: a stream's Contact names it, and TLS is not sipp's own."""
        if transport == "udp":
            return text
        text = re.sub(r"(?m)^(Contact: <sip:[a-z]+@\[local_ip\]:\[local_port\])>", r"\1;transport=[transport]>", text)
        if transport == "tls":
            text = text.replace("=[transport]", "=tls").replace("[transport]", "TLS").replace("[local_port]", str(self.port))
        return text

    def _fill(self, steps):
        """The steps as text, gates numbered."""
        out = []
        for at, step in enumerate(steps):
            if not isinstance(step, Gate):
                out.append(step)
                continue
            number = len(self.gates)
            self.gates.append(step)
            out.append(_gate(number, step.hold, step.meanwhile))
            if isinstance(step, Sound):
                # One of its own for each, so that no two packets of a case are alike.
                ssrc = (sum(self.role.encode()) << 16) + number
                step_file = os.path.join(self.log, f"sound-{number}.pcap")
                self.ear(step.ear).tunes[number] = pcap.write(step_file, step.packets, step.payload_type, ssrc, 1000 * number)
                out.append(f'<nop><action><exec play_pcap_audio="{step_file}"/></action></nop>\n')
                self.gates.append(Gate())
                out.append(_gate(number + 1))
                if isinstance(steps[at + 1], str) and steps[at + 1].startswith("<send"):
                    self.speaks.add(number + 1)
        return out

    def ear(self, above=EAR):
        """Where this side hears: opened when first asked for."""
        if above not in self.ears:
            self.ears[above] = Ear(self.ip, self.media_port + above)
        return self.ears[above]

    def heard(self):
        """Packets that came, over all its ears."""
        return sum(len(ear.listen()) for ear in self.ears.values())

    def standing(self):
        """The gate where sipp stands; None where it is under way."""
        if self.passed >= len(self.gates) or f"at {self.passed}" not in self.twin.listen():
            return None
        return self.gates[self.passed]

    def go(self):
        """Lets it go on from its gate."""
        gate, self.passed = self.gates[self.passed], self.passed + 1
        if gate.hold:
            self.twin.go()

    def gone(self):
        """Whether it has left the gate that it was last told to go on from."""
        return f"past {self.passed - 1}" in self.twin.listen()

    def wait(self, timeout=4 * PATIENCE):
        try:
            _, err = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            return f"{self.role}: sipp did not end"
        if self.process.returncode != 0:
            return f"{self.role}: sipp exit {self.process.returncode}: {self._errors()} {err.decode(errors='replace')[-300:]}"
        return None

    def end(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.communicate(timeout=5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.communicate()

        for ear in self.ears.values():
            ear.close()
        if self.twin:
            self.twin.close()

    def messages(self):
        return self._read("messages")

    def received(self):
        return self._passing("received")

    def sent(self):
        return self._passing("sent")

    def _passing(self, way):
        """The SIP messages of one direction, in order."""
        parts = re.split(r"^-{20,} .*\n(?=\S+ (?:control )?message (?:received|sent) )", self.messages(), flags=re.M)
        return [p.partition("\n\n")[2] for p in parts if re.match(rf"\S+ message {way} ", p)]

    def times(self, start):
        """When each message came that begins so, in seconds of the day."""
        rows = re.findall(r"^-{20,} \S+\s+(\d+):(\d+):([\d.]+)\n\S+ message received [^\n]*\n\n([^\n]*)", self.messages(), re.M)
        return [int(h) * 3600 + int(m) * 60 + float(s) for h, m, s, line in rows if line.startswith(start)]

    def media(self):
        """Where the other side wants to be sent RTP, by the last description that came."""
        body = [m for m in self.received() if "\nm=audio" in m][-1]
        return re.search(r"^c=IN IP4 (\S+)", body, re.M)[1], int(re.search(r"^m=audio (\d+)", body, re.M)[1])

    def brief(self):
        """First lines of the messages and what sipp found wrong, to read when a case has failed."""
        lines, seen = [], False
        for line in self.messages().splitlines():
            if " message " in line:
                seen = True
                lines.append(line)
            elif seen and line.strip():
                seen = False
                lines.append("    " + line)
        return "\n".join(lines[-30:] + self._errors().splitlines()[-10:])

    def _errors(self):
        return self._read("errors")[:1500]

    def _read(self, name):
        try:
            with open(os.path.join(self.log, name), errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""


def ready(ip, port, timeout=PATIENCE, transport="udp"):
    """Waits until somebody has bound the UDP port, or listens on the TCP one."""
    needle = "%s:%04X" % ("".join(f"{int(b):02X}" for b in reversed(ip.split("."))), port)
    udp = transport == "udp"
    end = time.time() + timeout
    while time.time() < end:
        with open("/proc/net/udp" if udp else "/proc/net/tcp") as f:
            if (needle if udp else f"{needle} 00000000:0000 0A") in f.read():
                return True
        time.sleep(0.01)
    return False
