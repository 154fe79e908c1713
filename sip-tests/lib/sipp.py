"""SIPp scenarios written briefly: each step is a line here and an element of XML for sipp.

A scenario is a list of steps for the caller (uac) or the callee (uas). Headers that a step must see
are regular expressions; what must not be there is checked by `absent`.
"""
import html, os, subprocess, time
from gateway import PATIENCE

SDP = """v=0
o=user 53655765 2353687637 IN IP[media_ip_type] [media_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio [media_port] RTP/AVP 8 101
a=rtpmap:8 PCMA/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
a=ptime:20
{extra}"""


def sdp(extra="a=sendrecv"):
    return SDP.format(extra=extra).strip() + "\n"


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
           ctype="application/sdp", drop=(), to=None, max_forwards="70", via=None):
    to = to or f"<sip:{number}@[remote_ip]:[remote_port]>"
    lines = [f"INVITE {uri or f'sip:{number}@[remote_ip]:[remote_port]'} SIP/2.0",
             via or "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]",
             f'From: "Caller" <sip:{caller}@[local_ip]:[local_port]>;tag=[pid]c[call_number]',
             f"To: {to}", "Call-ID: [call_id]", f"CSeq: {cseq} INVITE",
             "Contact: <sip:caller@[local_ip]:[local_port]>", f"Max-Forwards: {max_forwards}"]
    lines = [l for l in lines if l.split(":")[0] not in drop] + list(extra)
    return _send(_message(lines, None if sdp_none else (body or sdp()), ctype), retrans=500)


def _in_dialog(method, cseq, body=None, extra=(), retrans=500, contact=True):
    lines = [f"{method} [next_url] SIP/2.0",
             "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]", "[routes]",
             'From: "Caller" <sip:+60199990001@[local_ip]:[local_port]>;tag=[pid]c[call_number]',
             "[last_To:]", "Call-ID: [call_id]", f"CSeq: {cseq} {method}", "Max-Forwards: 70"]
    if contact:
        lines.append("Contact: <sip:caller@[local_ip]:[local_port]>")
    return _send(_message(lines + list(extra), body), retrans=retrans)


def ack(cseq=1, body=None):
    return _in_dialog("ACK", cseq, body, retrans=None)


def ack_failure(number="[service]", caller="+60199990001", cseq=1):
    lines = [f"ACK sip:{number}@[remote_ip]:[remote_port] SIP/2.0",
             "[last_Via:]",
             f'From: "Caller" <sip:{caller}@[local_ip]:[local_port]>;tag=[pid]c[call_number]',
             "[last_To:]", "Call-ID: [call_id]", f"CSeq: {cseq} ACK", "Max-Forwards: 70"]
    return _send(_message(lines))


def bye(cseq=2, extra=()):
    return _in_dialog("BYE", cseq, extra=extra, contact=False)


def reinvite(cseq=2, body=None, sdp_none=False, extra=()):
    return _in_dialog("INVITE", cseq, None if sdp_none else (body or sdp()), extra)


def request(method, cseq=2, body=None, extra=()):
    return _in_dialog(method, cseq, body, extra)


def cancel(number="[service]", caller="+60199990001", extra=()):
    lines = [f"CANCEL sip:{number}@[remote_ip]:[remote_port] SIP/2.0", "[last_Via:]",
             f'From: "Caller" <sip:{caller}@[local_ip]:[local_port]>;tag=[pid]c[call_number]',
             f"To: <sip:{number}@[remote_ip]:[remote_port]>", "Call-ID: [call_id]", "CSeq: 1 CANCEL", "Max-Forwards: 70"]
    return _send(_message(lines + list(extra)), retrans=500)


def raw(text, retrans=None):
    return _send(text, retrans)


# ---- steps of both

def r(what, optional=False, check=None, absent=None, rrs=True, timeout=None, next=None):
    """Receive: an integer is a response, a word a request."""
    a = f' response="{what}"' if isinstance(what, int) else f' request="{what}"'
    if optional:
        a += ' optional="true"'
    if rrs:
        a += ' rrs="true"'
    if timeout:
        a += f' timeout="{timeout}"'
    return f"<recv{a}>{_action(_checks(check, absent))}</recv>\n"


def answered():
    """The 200, whose To a later request repeats though other messages came in between."""
    action = '<ereg regexp="&lt;.*" search_in="hdr" header="To:" assign_to="peer"/>'
    return f'<recv response="200" rrs="true"><action>{action}</action></recv>\n'


def trying():
    return r(100, optional=True, rrs=False)


def pause(ms):
    return f'<pause milliseconds="{ms}"/>\n'


def play(pcap):
    return f'<nop><action><exec play_pcap_audio="{pcap}"/></action></nop>\n'


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


def callee_request(method, cseq=1, body=None, extra=()):
    """A request in the dialog that the INVITE made, from the callee's side: needs `remember`."""
    lines = [f"{method} [$contact] SIP/2.0",
             "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]",
             "From: [$to];tag=[pid]s[call_number]", "To: [$from]", "Call-ID: [call_id]",
             f"CSeq: {cseq} {method}", "Max-Forwards: 70"]
    if method in ("INVITE", "ACK"):
        lines.append("Contact: <sip:callee@[local_ip]:[local_port]>")
    return _send(_message(lines + list(extra), body), retrans=None if method == "ACK" else 500)


def invited(check=None, absent=None):
    """The callee's INVITE, remembering what requests of its own need."""
    remember = ('<ereg regexp="sip:[^&gt;]*" search_in="hdr" header="Contact:" assign_to="contact"/>\n'
                '<ereg regexp="&lt;.*" search_in="hdr" header="From:" assign_to="from"/>\n'
                '<ereg regexp="&lt;.*&gt;" search_in="hdr" header="To:" assign_to="to"/>\n'
                '<ereg regexp="[0-9]+ INVITE" search_in="hdr" header="CSeq:" assign_to="cseq"/>\n')
    return f'<recv request="INVITE" crlf="true" rrs="true">{_action(remember + _checks(check, absent))}</recv>\n'


def scenario(name, steps):
    text = "".join(steps)
    used = sorted({f"v{i}" for i in range(1, _n[0] + 1) if f'assign_to="v{i}"' in text}, key=lambda v: int(v[1:]))
    extra = [v for v in ("contact", "from", "to", "cseq", "peer") if f'assign_to="{v}"' in text]
    reference = f'<Reference variables="{",".join(used + extra)}"/>\n' if used or extra else ""
    return (f'<?xml version="1.0" encoding="ISO-8859-1"?>\n<!DOCTYPE scenario SYSTEM "sipp.dtd">\n'
            f'<scenario name="{html.escape(name)}">\n{text}{reference}</scenario>\n')


class Sipp:
    """One sipp process."""

    def __init__(self, work, role, steps, ip, port, remote=None, service="", media_port=6000, echo=False, timeout=3 * PATIENCE):
        self.role, self.log = role, os.path.join(work, role)
        os.makedirs(self.log, exist_ok=True)
        path = os.path.join(self.log, "scenario.xml")
        with open(path, "w") as f:
            f.write(scenario(role, steps))
        cmd = ["sipp"] + ([remote] if remote else []) + [
            "-sf", path, "-i", ip, "-p", str(port), "-m", "1", "-nostdin", "-mi", ip, "-mp", str(media_port),
            "-timeout", str(timeout), "-timeout_error", "-trace_err", "-error_file", os.path.join(self.log, "errors"),
            "-trace_msg", "-message_file", os.path.join(self.log, "messages")]
        if service:
            cmd += ["-s", service]
        if echo:
            cmd.append("-rtp_echo")
        self.process = subprocess.Popen(cmd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, cwd=self.log, start_new_session=True)

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

    def messages(self):
        try:
            with open(os.path.join(self.log, "messages"), errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

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
        try:
            with open(os.path.join(self.log, "errors"), errors="replace") as f:
                return f.read()[:1500]
        except FileNotFoundError:
            return ""


def ready(ip, port, timeout=PATIENCE):
    """Waits until somebody has bound the UDP port."""
    needle = "%s:%04X" % ("".join(f"{int(b):02X}" for b in reversed(ip.split("."))), port)
    end = time.time() + timeout
    while time.time() < end:
        with open("/proc/net/udp") as f:
            if needle in f.read():
                return True
        time.sleep(0.01)
    return False
