"""A door for connections where nothing may come, or nothing be answered: it takes them, and keeps what comes."""
import socket
from ear import bind
from phone import Message


class Door:
    def __init__(self, ip, port):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bind(self.socket, (ip, port))
        self.socket.listen(16)
        self.socket.setblocking(False)
        self.guests = []

    def listen(self):
        """The messages that have come by now, those of a connection in order; one that has said nothing whole stands
        for itself."""
        try:
            while True:
                guest = self.socket.accept()[0]
                guest.setblocking(False)
                self.guests.append([guest, b""])
        except BlockingIOError:
            pass
        for guest in self.guests:
            try:
                while data := guest[0].recv(65536):
                    guest[1] += data
            except (BlockingIOError, ConnectionResetError):
                pass
        return [message for _, said in self.guests for message in framed(said) or [said]]

    def close(self):
        for s in [self.socket, *(s for s, _ in self.guests)]:
            s.close()


def framed(said):
    """The whole messages at the beginning of a stream."""
    out = []
    while b"\r\n\r\n" in said:
        head, end, rest = said.partition(b"\r\n\r\n")
        length = int(Message(head + end).get("content-length") or 0)
        out.append(head + end + rest[:length])
        said = rest[length:]
    return out
