"""The line between a test and a sipp, beside the scenario's SIP: sipp's own for third-party call control (`-3pcc`). By it
sipp says where it stands, and is told to go on; whatever carries SIP, and with sipp's last message what it was."""
import re, socket

END = b"\x1b"  # what sipp puts behind each command


def says(what):
    """The step of a scenario that says so."""
    return f"<sendCmd><![CDATA[\nCall-ID: [call_id]\nSays: {what}\n]]></sendCmd>\n"


def waits():
    """The step at which it stands until it is told to go on."""
    return "<recvCmd></recvCmd>\n"


class Twin:
    """Listens for one sipp."""

    def __init__(self, ip):
        self.door = socket.create_server((ip, 0), backlog=1)
        self.door.setblocking(False)
        self.line, self.heard, self.call, self.said = None, b"", None, []

    def address(self):
        return "%s:%d" % self.door.getsockname()

    def listen(self):
        """All that sipp has said by now, in order."""
        try:
            if self.line is None:
                self.line = self.door.accept()[0]
                self.line.setblocking(False)
            while data := self.line.recv(65536):
                self.heard += data
        except (BlockingIOError, ConnectionResetError):
            pass
        *whole, self.heard = self.heard.split(END)
        for command in whole:  # others are sipp's own, when it gives up
            if found := re.search(rb"^Call-ID: *(\S+)\s+^Says: *(.*?)\r?$", command, re.M):
                self.call = found[1]
                self.said.append(found[2].decode())
        return self.said

    def go(self):
        """Lets it go on; it has said where it stands."""
        try:
            self.line.sendall(b"Call-ID: " + self.call + b"\r\nSays: go\r\n\r\n" + END)
        except (BrokenPipeError, ConnectionResetError):
            pass  # It has given up, and its exit code says so.

    def close(self):
        for s in (self.door, self.line):
            if s:
                s.close()
