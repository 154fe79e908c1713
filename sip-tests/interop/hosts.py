"""Hosts of their own for telephones: network namespaces, each with one link to the gateway's. So what a telephone sends comes
from its own address, whatever socket it uses."""
import subprocess


class Segment:
    """A bridge that the gateway has 10.<net>.0.1 on."""

    def __init__(self, net):
        self.net, self.name, self.ip = net, f"lb{net}br", f"10.{net}.0.1"

    def __enter__(self):
        self.remove()
        run("ip", "link", "add", self.name, "type", "bridge")
        run("ip", "addr", "add", f"{self.ip}/24", "dev", self.name)
        run("ip", "link", "set", self.name, "up")
        return self

    def __exit__(self, *_):
        self.remove()

    def remove(self):
        subprocess.run(["ip", "link", "del", self.name], capture_output=True)


class Host:
    """10.<net>.0.<number> on a segment; `near` is the gateway."""

    def __init__(self, segment, number):
        self.segment, self.near = segment, segment.ip
        self.name = f"lb{segment.net}h{number}"
        self.ip = f"10.{segment.net}.0.{number}"
        self.links = f"{self.name}a", f"{self.name}b"

    def __enter__(self):
        self.remove()
        try:
            near, far = self.links
            run("ip", "netns", "add", self.name)
            run("ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", self.name)
            run("ip", "link", "set", near, "master", self.segment.name, "up")
            for command in (("addr", "add", f"{self.ip}/24", "dev", far), ("link", "set", far, "up"), ("link", "set", "lo", "up"),
                            ("route", "add", "default", "via", self.near)):
                run("ip", "-n", self.name, *command)
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_):
        self.remove()

    def remove(self):
        for command in (("link", "del", self.links[0]), ("netns", "del", self.name)):
            subprocess.run(["ip", *command], capture_output=True)

    @property
    def inside(self):
        """What a command begins with that runs there."""
        return ["ip", "netns", "exec", self.name]


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
