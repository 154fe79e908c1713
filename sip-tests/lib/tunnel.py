"""TLS for a sipp that has none: one stunnel, which speaks TCP to sipps and TLS to the gateway."""
import os, subprocess

# `ip` is where the carrier is seen: what it dials comes from there. Both sides look at whose certificate it is.
DIALS = """[dials-{ip}]
client = yes
accept = {ip}:{port}
connect = {to}
local = {ip}
CAfile = {ca}
verifyChain = yes
checkIP = {name}
"""
LISTENS = """[listens-{ip}]
accept = {ip}:{port}
connect = {ip}:{to}
cert = {cert}
key = {key}
"""


class Tunnel:
    """`dials`: addresses from which connections go on to the gateway, (address, port) that it listens on there.
    `listens`: addresses at which the gateway finds a carrier on `public`, whose sipp is on `private`."""

    def __init__(self, work, name, certificates, dials=(), gateway=None, listens=(), public=None, private=None):
        self.role, self.log = name, os.path.join(work, name + ".log")
        config = os.path.join(work, name + ".conf")
        services = [DIALS.format(ip=ip, port=port, to="%s:%d" % gateway, name=gateway[0], **certificates) for ip, port in dials]
        services += [LISTENS.format(ip=ip, port=public, to=private, **certificates) for ip in listens]
        with open(config, "w") as f:
            f.write("foreground = yes\npid =\nsyslog = no\nsocket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n" + "\n".join(services))
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(["stunnel4", config], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    def brief(self):
        with open(self.log, errors="replace") as f:
            return f.read()[-2000:]

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
