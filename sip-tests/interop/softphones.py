"""Telephones that we did not write: baresip and linphone, driven over their own remote controls.

Each has one address of its own, plays one tone for as long as a call is up, and keeps what it hears in a file. Both speak
UDP, TCP and TLS; which one is used is in the URI that is called.
"""
import array, json, math, os, queue, re, select, socket, subprocess, threading, time, wave
from gateway import PATIENCE

RATE = 8000
LOUD = 9000


class Silent(Exception):
    """Something that had to come did not."""


def tone(path, hertz, seconds=60):
    """A file with a tone. Longer than any call, so that no phone has to begin again."""
    wave_of = [int(LOUD * math.sin(2 * math.pi * hertz * n / RATE)) for n in range(RATE)]
    second = array.array("h", wave_of).tobytes()
    with wave.open(path, "wb") as f:
        f.setnchannels(1)
        f.setsampwidth(2)
        f.setframerate(RATE)
        f.writeframes(second * seconds)


def samples(path):
    """What a WAV file holds by now. Its header is filled in at the end, so it is not asked."""
    try:
        with open(path, "rb") as f:
            data = f.read()[44:]
    except FileNotFoundError:
        return array.array("h")
    return array.array("h", data[:len(data) // 2 * 2])


def level(sound, hertz):
    """How loud one tone is in a sound, in the unit of its samples (Goertzel's algorithm)."""
    turn = 2 * math.cos(2 * math.pi * hertz / RATE)
    before = last = 0.0
    for value in sound:
        before, last = last, value + turn * last - before
    power = last * last + before * before - turn * last * before
    return 2 * math.sqrt(max(power, 0)) / max(1, len(sound))


class Softphone:
    """What both have in common."""

    def __init__(self, name, host, hertz, work, tls=None):
        self.name, self.host, self.ip, self.hertz, self.tls = name, host, host.ip, hertz, tls
        self.ports = 30000
        self.work = os.path.join(work, name)
        os.makedirs(self.work)
        self.tone = os.path.join(self.work, "tone.wav")
        tone(self.tone, hertz)
        self.process = None
        self.lines = []

    def log(self):
        return "\n".join(self.lines)

    def path(self, name):
        return os.path.join(self.work, name)

    def heard(self, hertz, seconds=2):
        """Waits until so much of a tone has been heard, and nothing else beside it in those seconds."""
        end = time.time() + PATIENCE
        while True:
            sound = self.recording()[-RATE * seconds:]
            loud = level(sound, hertz) if len(sound) == RATE * seconds else 0
            if loud > LOUD * 0.8:
                return loud
            if time.time() > end:
                raise Silent(f"{self.name} hears {len(sound)} samples, {hertz} Hz at {loud:.0f} of {LOUD}")
            time.sleep(0.2)

    def wait(self, pattern, since=0):
        """The first line from `since` on that has the pattern."""
        end = time.time() + PATIENCE
        while True:
            for line in self.lines[since:]:
                if re.search(pattern, line):
                    return line
            if time.time() > end or (self.process and self.process.poll() is not None):
                raise Silent(f"{self.name} never says /{pattern}/")
            time.sleep(0.05)

    def read(self, stream):
        """Keeps what the program says, line by line."""
        def run():
            for line in stream:
                if line.strip() and "(bit/s)" not in line:
                    self.lines.append(line.rstrip())
        threading.Thread(target=run, daemon=True).start()

    def close(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Baresip(Softphone):
    CONTROL = 4444
    # Its name for how it wants SRTP: "srtp-mand" says RTP/SAVP, "srtp" takes it where the other end has it.
    srtp = None

    def be(self, user, transport):
        """Starts it with one account: its user, and the transport that it is reached by."""
        lines = [
            "poll_method epoll", f"sip_listen {self.ip}:5060", f"net_interface {self.ip}",
            f"audio_source aufile,{self.tone}", f"audio_player aufile,{self.path('player.wav')}",
            "ausrc_srate 8000", "auplay_srate 8000", "ausrc_channels 1", "auplay_channels 1",
            f"rtp_ports {self.ports}-{self.ports + 99}",
            "module_path /usr/lib/baresip/modules", "module g711.so", "module aufile.so", "module sndfile.so",
            "module_tmp account.so", "module_app menu.so", "module_app ctrl_tcp.so",
            f"ctrl_tcp_listen {self.ip}:{self.CONTROL}", f"snd_path {self.work}",
        ]
        if self.srtp:
            lines.append("module srtp.so")
        if self.tls:
            lines += [f"sip_certificate {self.tls['both']}", f"sip_cafile {self.tls['ca']}"]
        with open(self.path("config"), "w") as f:
            f.write("\n".join(lines) + "\n")
        account = f"<sip:{user}@{self.ip};transport={transport}>;regint=0;answermode=auto;audio_codecs=PCMA/8000/1"
        if self.srtp:
            account += f";mediaenc={self.srtp}"
        with open(self.path("accounts"), "w") as f:
            f.write(account + "\n")
        for name in os.listdir(self.work):
            if name.startswith("dump"):
                os.remove(self.path(name))
        self.lines.clear()
        self.process = subprocess.Popen([*self.host.inside, "stdbuf", "-oL", "baresip", "-f", self.work, "-v"], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                                        env={**os.environ, "HOME": self.work})
        self.read(self.process.stdout)
        self.wait("baresip is ready")
        end = time.time() + PATIENCE
        while True:
            try:
                self.control = socket.create_connection((self.ip, self.CONTROL), timeout=PATIENCE)
                return
            except OSError:
                if time.time() > end:
                    raise
                time.sleep(0.05)

    def tell(self, command, params=""):
        text = json.dumps({"command": command, "params": params, "token": "t"}).encode()
        self.control.sendall(b"%d:%s," % (len(text), text))

    def dial(self, uri):
        # It adds the transport of its account.
        self.tell("dial", uri.split(";")[0])

    def hang_up(self):
        self.tell("hangup")

    def answered(self):
        self.wait("audio: Set audio encoder")

    def ended(self):
        self.wait(r"terminated \(duration|session closed")

    def recording(self):
        names = sorted(name for name in os.listdir(self.work) if re.match(r"dump.*-dec\.wav", name))
        return samples(self.path(names[-1])) if names else array.array("h")

    def close(self):
        if getattr(self, "control", None):
            self.control.close()
        super().close()


class Linphone(Softphone):
    def be(self, user, transport):
        port = {name: 5060 if name == transport else 0 for name in ("udp", "tcp", "tls")}
        if transport == "tls":
            port["tls"] = 5061
        keys = {
            "sip": {"sip_port": port["udp"], "sip_tcp_port": port["tcp"], "sip_tls_port": port["tls"],
                    "bind_address": self.ip, "guess_hostname": 0, "contact": f"sip:{user}@{self.ip}",
                    # Its TLS knows addresses in certificates not at all; the chain is verified.
                    "use_ipv6": 0, "verify_server_certs": 1, "verify_server_cn": 0, "media_encryption": "none",
                    "root_ca": self.tls["ca"] if self.tls else ""},
            "rtp": {"bind_address": self.ip, "audio_rtp_port": f"{self.ports}-{self.ports + 99}"},
            "sound": {"echocancellation": 0, "agc": 0},
            "misc": {"version_check_url_root": "", "log_collection_upload_server_url": ""},
            "audio_codec_0": {"mime": "PCMA", "rate": 8000, "channels": 1, "enabled": 1},
        }
        with open(self.path("rc"), "w") as f:
            for section, values in keys.items():
                f.write(f"[{section}]\n" + "".join(f"{key}={value}\n" for key, value in values.items()))
        # Its data base wants a place to stand.
        os.makedirs(self.path(".local/share/linphone"), exist_ok=True)
        self.recorded = self.path("heard.wav")
        if os.path.exists(self.recorded):
            os.remove(self.recorded)
        self.lines.clear()
        self.process = subprocess.Popen([*self.host.inside, "stdbuf", "-oL", "linphonec", "-c", self.path("rc"), "-a", "-d", "6", "-l", self.path("log")],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        text=True, errors="replace", env={**os.environ, "HOME": self.work})
        self.read(self.process.stdout)
        for command in ("soundcard use files", f"play {self.tone}", f"record {self.recorded}"):
            self.tell(command)
        self.wait("Using wav files")

    def tell(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def dial(self, uri):
        self.tell(f"call {uri}")

    def hang_up(self):
        self.tell("terminate")

    def answered(self):
        self.wait("Media streams established|connected")

    def ended(self):
        self.wait(r"ended \(|error")

    def recording(self):
        return samples(self.recorded)

    def close(self):
        if self.process and self.process.poll() is None:
            try:
                self.tell("quit")
                self.process.wait(5)
            except (OSError, subprocess.TimeoutExpired):
                pass
        super().close()
