"""TLS for a sipp that has none: one stunnel, which speaks TCP to sipps and TLS to the gateway."""
import os, subprocess

HEAD = """foreground = yes
pid =
syslog = no
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1
"""
# `ip` is where the carrier is seen: what it dials comes from there.
DIALS = """[dials-{ip}]
client = yes
accept = {ip}:{port}
connect = {to}
local = {ip}
"""
LISTENS = """[listens-{ip}]
accept = {ip}:{port}
connect = {ip}:{to}
"""
# Whoever dials, each side shows a certificate and looks at the other's.
SHOWS = """cert = {cert}
key = {key}
CAfile = {ca}
verifyChain = yes
checkIP = {name}
"""


class Tunnel:
    """`dials`: addresses from which connections go on to the gateway, (address, port) that it listens on there.
    `listens`: addresses at which the gateway finds a carrier on `public`, whose sipp is on `private`."""

    def __init__(self, work, name, certificates, dials=(), gateway=None, listens=(), public=None, private=None):
        self.role, self.log = name, os.path.join(work, name + ".log")
        config = os.path.join(work, name + ".conf")
        services = [DIALS.format(ip=ip, port=port, to="%s:%d" % gateway) for ip, port in dials]
        services += [LISTENS.format(ip=ip, port=public, to=private) for ip in listens]
        shows = SHOWS.format(name=gateway[0], **certificates)
        with open(config, "w") as f:
            f.write(HEAD + "".join(service + shows for service in services))
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
