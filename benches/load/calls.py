"""Sets up N calls through the gateway from plain sockets, holds them, and writes rtpgen's map.

A = 127.0.0.1:5070 (media 127.0.0.1:4000), B = 127.0.0.3:5080 (media 127.0.0.3:4000): every call's sound comes from and
goes to these two sockets, told apart by SSRC. A line a call: where A sends, where B sends.
"""
import re, socket, time


def sdp(ip):
    return (f"v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
            "a=rtpmap:0 PCMU/8000\r\na=sendrecv\r\n").encode()


def header(message, name):
    m = re.search(rb"\r\n" + name + rb":[ \t]*([^\r]*)", message, re.I)
    return m[1] if m else b""


def where(message):
    return "%s:%s" % (re.search(rb"c=IN IP4 ([\d.]+)", message)[1].decode(), re.search(rb"m=audio (\d+)", message)[1].decode())


class Pair:
    """The two telephones."""

    def __init__(self, gateway=("127.0.0.2", 5060)):
        self.gateway = gateway
        self.a, self.b = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in "ab")
        self.a.bind(("127.0.0.1", 5070)); self.b.bind(("127.0.0.3", 5080))
        for s in (self.a, self.b):
            s.settimeout(3)
        self.calls = []

    def reply(self, request, status, body=b"", tag=b""):
        vias = b"".join(b"Via: " + v + b"\r\n" for v in re.findall(rb"\r\nVia:[ \t]*([^\r]*)", request))
        to = header(request, b"To")
        if b"tag=" not in to:
            to += b";tag=" + tag
        return (b"SIP/2.0 " + status + b"\r\n" + vias + b"From: " + header(request, b"From") + b"\r\nTo: " + to + b"\r\nCall-ID: "
                + header(request, b"Call-ID") + b"\r\nCSeq: " + header(request, b"CSeq")
                + b"\r\nContact: <sip:b@127.0.0.3:5080>\r\n" + (b"Content-Type: application/sdp\r\n" if body else b"")
                + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    def request(self, method, uri, to, call_id, cseq, body=b""):
        return (f"{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5070;branch=z9hG4bK{call_id}{method}{cseq}\r\n"
                f"From: <sip:+4930123456@127.0.0.1:5070>;tag=a{call_id}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n"
                f"Contact: <sip:a@127.0.0.1:5070>\r\nMax-Forwards: 70\r\n"
                + ("Content-Type: application/sdp\r\n" if body else "") + f"Content-Length: {len(body)}\r\n\r\n").encode() + body

    def open(self, number, index):
        call_id = f"load{index}"
        uri = f"sip:{number}@{self.gateway[0]}:{self.gateway[1]}"
        self.a.sendto(self.request("INVITE", uri, f"<{uri}>", call_id, 1, sdp("127.0.0.1")), self.gateway)
        while True:
            m = self.b.recv(65536)
            if m.startswith(b"INVITE "):
                break
        to_b = where(m)
        self.b.sendto(self.reply(m, b"200 OK", sdp("127.0.0.3"), b"b%d" % index), self.gateway)
        while True:
            m = self.a.recv(65536)
            if m.startswith(b"SIP/2.0 ") and m[8:11] >= b"200":
                break
        if m[8:11] != b"200":
            raise RuntimeError(m[:200])
        target = re.search(rb"<([^>]*)>", header(m, b"Contact"))[1].decode()
        self.a.sendto(self.request("ACK", target, header(m, b"To").decode(), call_id, 1), self.gateway)
        self.calls.append((target, header(m, b"To").decode(), call_id))
        return f"{where(m)} {to_b}"

    def close(self):
        for target, to, call_id in self.calls:
            self.a.sendto(self.request("BYE", target, to, call_id, 2), self.gateway)
            time.sleep(0.0005)
        self.b.settimeout(0.5)
        try:
            while True:
                m = self.b.recv(65536)
                if m.startswith(b"BYE "):
                    self.b.sendto(self.reply(m, b"200 OK"), self.gateway)
        except socket.timeout:
            pass
