"""A small DNS server for the tests: it says what it is told to, or misbehaves as it is told to.

    zone = {("trunk.test", "A"): ["127.0.40.3"],
            ("_sip._udp.trunk.test", "SRV"): ["10 0 5080 a.test"],
            ("trunk.test", "NAPTR"): ['10 10 "s" "SIP+D2U" _sip._udp.trunk.test']}
    server = Dns("127.0.40.6", zone)

`mode` may be "well", "dead" (no answer), "slow" (`delay` seconds late), "garbage" (no DNS at all), "truncated"
(by UDP nothing but the flag; the answer is had by TCP), "servfail".
"""
import ipaddress, shlex, socket, struct, threading, time

TYPES = {"A": 1, "AAAA": 28, "SRV": 33, "NAPTR": 35, "SOA": 6}
NAMES = {number: name for name, number in TYPES.items()}


def encoded(name):
    labels = [label for label in name.rstrip(".").split(".") if label]
    return b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0"


def rdata(kind, text):
    if kind in ("A", "AAAA"):
        return ipaddress.ip_address(text).packed
    if kind == "SRV":
        priority, weight, port, target = text.split()
        return struct.pack(">HHH", int(priority), int(weight), int(port)) + encoded(target)
    if kind == "NAPTR":
        order, preference, flags, service, replacement = shlex.split(text)
        strings = [flags.encode(), service.encode(), b""]
        packed = b"".join(bytes([len(s)]) + s for s in strings)
        return struct.pack(">HH", int(order), int(preference)) + packed + encoded(replacement)
    raise ValueError(kind)


class Dns:
    """Serves until it is closed. `asked` counts questions by (name, type)."""

    def __init__(self, ip, zone, port=5353, ttl=5):
        self.zone, self.ttl, self.mode, self.delay = dict(zone), ttl, "well", 0
        self.asked, self.lock = {}, threading.Lock()
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind((ip, port))
        self.tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.tcp.bind((ip, port))
        self.tcp.listen(8)
        for serve in (self._serve_udp, self._serve_tcp):
            threading.Thread(target=serve, daemon=True).start()

    def close(self):
        for server in (self.udp, self.tcp):
            try:  # or the thread that waits in it keeps the port
                server.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # UDP: woken all the same
            server.close()

    def questions(self, name=None):
        """How many came by now, for a name or in all."""
        with self.lock:
            return sum(count for (asked, _), count in self.asked.items() if name in (None, asked))

    def _answer(self, query, tcp):
        identity, flags, count = struct.unpack(">HHH", query[:6])
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode())
            at += 1 + query[at]
        kind = struct.unpack(">H", query[at + 1:at + 3])[0]
        question, name = query[12:at + 5], ".".join(labels).lower()
        with self.lock:
            key = (name, NAMES.get(kind, kind))
            self.asked[key] = self.asked.get(key, 0) + 1
            records = list(self.zone.get(key, []))
            known = any(known == name for known, _ in self.zone)
        if self.mode == "garbage":
            return b"\xff" * 7
        if self.mode == "servfail":
            return struct.pack(">HHHHHH", identity, 0x8182, 1, 0, 0, 0) + question
        if self.mode == "truncated" and not tcp:
            return struct.pack(">HHHHHH", identity, 0x8380, 1, 0, 0, 0) + question
        answers = b""
        for text in records:
            data = rdata(key[1], text)
            answers += b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, self.ttl, len(data)) + data
        authority = b""
        if not records:
            soa = encoded("ns.test") + encoded("hostmaster.test") + struct.pack(">IIIII", 1, 60, 60, 60, self.ttl)
            authority = encoded("test") + struct.pack(">HHIH", TYPES["SOA"], 1, self.ttl, len(soa)) + soa
        code = 0 if records or known else 3
        head = struct.pack(">HHHHHH", identity, 0x8580 | code, 1, len(records), 1 if authority else 0, 0)
        return head + question + answers + authority

    def _serve_udp(self):
        while True:
            try:
                query, source = self.udp.recvfrom(4096)
            except OSError:
                return
            if not query:
                return  # closed
            threading.Thread(target=self._reply, args=(query, source), daemon=True).start()

    def _reply(self, query, source):
        answer = self._answer(query, tcp=False)
        if self.mode == "dead":
            return
        if self.mode == "slow":
            time.sleep(self.delay)
        try:
            self.udp.sendto(answer, source)
        except OSError:
            pass

    def _serve_tcp(self):
        while True:
            try:
                peer, _ = self.tcp.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(peer,), daemon=True).start()

    def _talk(self, peer):
        with peer:
            while True:
                try:
                    head = peer.recv(2, socket.MSG_WAITALL)
                    if len(head) < 2:
                        return
                    query = peer.recv(struct.unpack(">H", head)[0], socket.MSG_WAITALL)
                    if self.mode == "dead":
                        return
                    answer = self._answer(query, tcp=True)
                    peer.sendall(struct.pack(">H", len(answer)) + answer)
                except OSError:
                    return
