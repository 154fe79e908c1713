"""A socket that counts what comes to it: RTP beside a sipp, or anything where nothing may come."""
import errno, socket, struct, time
from gateway import PATIENCE


def bind(s, where):
    """Binds a socket. For a moment the place may still be taken by one that was closed: a child that another thread is
    starting has it until it runs its own program."""
    end = time.time() + PATIENCE
    while True:
        try:
            return s.bind(where)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.time() > end:
                raise
        time.sleep(0.01)


class Ear:
    def __init__(self, ip, port):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.socket.setblocking(False)
        bind(self.socket, (ip, port))
        self.packets, self.tunes, self.probes = [], {}, 0

    def listen(self):
        """All that has come by now, in order; the kernel has kept it."""
        while True:
            try:
                self.packets.append(self.socket.recv(65536))
            except BlockingIOError:
                return self.packets

    def probe(self, to):
        """Sends one RTP packet from here that is like no other; returns it."""
        self.probes += 1
        port = self.socket.getsockname()[1]
        packet = struct.pack(">BBHII", 0x80, 8, 50000 + self.probes, self.probes * 160, port) + b"\xd5" * 160
        self.socket.sendto(packet, to)
        return packet

    def close(self):
        self.socket.close()
