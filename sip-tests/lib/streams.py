"""A carrier's side over TCP or TLS: a `Phone` whose SIP goes by connections, and certificates for them."""
import datetime, ipaddress, os, select, socket, ssl, subprocess, time
from phone import Message, Leg, Phone


class Connection:
    """One connection and what has come by it."""

    def __init__(self, sock):
        self.sock, self.buffer, self.ended = sock, b"", False

    def read(self):
        """Takes what is there."""
        try:
            while True:
                data = self.sock.recv(65536)
                if not data:
                    self.ended = True
                    return
                self.buffer += data
                if not (isinstance(self.sock, ssl.SSLSocket) and self.sock.pending()):
                    return
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except OSError:
            self.ended = True

    def message(self):
        """The next whole message, by its Content-Length."""
        while self.buffer.startswith(b"\r\n"):
            self.buffer = self.buffer[2:]
        head, end, rest = self.buffer.partition(b"\r\n\r\n")
        if not end:
            return None
        length = int(Message(head + end).get("content-length"))
        if len(rest) < length:
            return None
        self.buffer = rest[length:]
        return head + end + rest[:length]


class StreamPhone(Phone):
    """Listens on its SIP port, and dials the gateway when it has something to say and no connection. Answers and later
    requests go by the connection that last brought something."""

    def __init__(self, ip, gateway, port=5080, rtp=6000, server=None, client=None, name=None):
        """`server` and `client` are TLS contexts of its two roles; `name` is what the gateway's certificate must say."""
        self.server, self.client, self.name = server, client, name
        tls = server or client
        self.transport, self.parameter = ("TLS", ";transport=tls") if tls else ("TCP", ";transport=tcp")
        self.connections, self.current, self.accepted = [], None, 0
        super().__init__(ip, gateway, port, rtp)
        self.sip.close()
        self.sip = self.listen()

    def socket(self, port):
        if port == self.port:  # SIP's: its own kind takes its place
            return socket.socket(self.family, socket.SOCK_DGRAM)
        return super().socket(port)

    def listen(self):
        s = socket.socket(self.family, socket.SOCK_STREAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((self.ip, self.port))
        s.listen(16)
        return s

    def close(self):
        self.hang_up()
        super().close()

    def hang_up(self):
        """Closes all connections."""
        for c in self.connections:
            c.sock.close()
        self.connections, self.current = [], None

    def deafen(self):
        """Nobody can connect any more."""
        self.sip.close()

    def dial(self):
        s = socket.socket(self.family, socket.SOCK_STREAM)
        s.bind((self.ip, 0))
        s.settimeout(20)
        s.connect(self.gateway)
        if self.client:
            s = self.client.wrap_socket(s, server_hostname=self.name)
        return self.add(s)

    def add(self, s):
        s.settimeout(20)
        self.current = Connection(s)
        self.connections.append(self.current)
        return self.current

    def send(self, data, to=None):
        if self.current is None or self.current.ended:
            self.dial()
        self.current.sock.sendall(data if isinstance(data, bytes) else data.encode("latin-1"))

    def _take(self):
        for c in self.connections:
            data = c.message()
            if data:
                self.current = c
                return data
        return None

    def _receive(self, timeout):
        data = self._take()
        if data is None:
            live = [c for c in self.connections if not c.ended]
            waiting = [s for s in [self.sip] if s.fileno() >= 0] + [c.sock for c in live]
            ready = select.select(waiting, [], [], max(timeout, 0.001))[0]
            if not ready:
                return None
            if self.sip in ready:
                s = self.sip.accept()[0]
                self.accepted += 1
                try:
                    s.settimeout(20)
                    self.add(self.server.wrap_socket(s, server_side=True) if self.server else s)
                except (OSError, ssl.SSLError):
                    s.close()
            for c in live:
                if c.sock in ready:
                    c.read()
            data = self._take()
            if data is None:
                return False
        self.copies[data] = self.copies.get(data, 0) + 1
        if self.copies[data] > 1:
            return False
        m = Message(data)
        if self.options and m.start.startswith("OPTIONS "):
            Leg(self, "x").reply(self.options, request=m)
            return False
        return m

    def ended(self, connection, timeout=20):
        """Whether the gateway closes a connection."""
        end = time.time() + timeout
        while not connection.ended and time.time() < end:
            if select.select([connection.sock], [], [], 0.1)[0]:
                connection.read()
        return connection.ended


class Authority:
    """Signs certificates; its files are in a directory."""

    def __init__(self, directory, name="ca"):
        self.directory = directory
        self.cert = os.path.join(directory, f"{name}.pem")
        self.key = os.path.join(directory, f"{name}.key")
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                "-subj", f"/CN={name}", "-keyout", self.key, "-out", self.cert)

    def sign(self, file, *names):
        """Writes `file`.pem and `file`.key for these names; returns both paths."""
        cert, key = (os.path.join(self.directory, f"{file}.{end}") for end in ("pem", "key"))
        request, extension = cert + ".csr", cert + ".ext"
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={file}",
                "-keyout", key, "-out", request)
        alternatives = ",".join(("IP:" if is_address(n) else "DNS:") + n for n in names)
        with open(extension, "w") as f:
            f.write(f"subjectAltName={alternatives}\n")
        openssl("x509", "-req", "-in", request, "-CA", self.cert, "-CAkey", self.key, "-days", "30", "-extfile", extension,
                "-out", cert, "-CAcreateserial")
        return cert, key

    def server(self, cert, key, ask=False):
        """What a carrier shows to who calls it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        if ask:
            context.load_verify_locations(self.cert)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client(self, cert=None, key=None):
        """What a carrier believes, and shows, when it calls."""
        context = ssl.create_default_context(cafile=self.cert)
        if cert:
            context.load_cert_chain(cert, key)
        return context


def is_address(name):
    try:
        ipaddress.ip_address(name)
        return True
    except ValueError:
        return False


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
