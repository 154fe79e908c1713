"""A gateway under test: its configuration, its process, its HTTP API."""
import http.client, json, os, re, signal, subprocess, tempfile, time, urllib.parse

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BINARY = os.environ.get("LEASEBRIDGE", os.path.join(ROOT, "target", "release", "leasebridge"))
# Signalling workers of every gateway, where the test does not say.
WORKERS = os.environ.get("LEASEBRIDGE_WORKERS", "")
SECRET = "a secret for the tests alone, which is long enough"
# How long anything that must come may take. It costs nothing where it comes, and a machine that is
# busy with something else must not fail a test.
PATIENCE = 60


def toml(value):
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, list):
        return "[" + ", ".join(toml(v) for v in value) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {toml(v)}" for k, v in value.items()) + " }"
    return json.dumps(value)


class Gateway:
    """One gateway on its own loopback addresses: 127.0.<net>.2 for the gateway, .1 the caller's
    carrier, .3 the callee's carrier, .4 a stranger,
    .5 the callee's second carrier."""

    def __init__(self, net, name="gw", changes=None, data=None, preload=None, binary=BINARY):
        self.net, self.name, self.binary = net, name, binary
        self.ip = {role: f"127.0.{net}.{n}" for n, role in enumerate(["", "caller", "gateway", "callee", "stranger", "second"]) if role}
        self.work = data or tempfile.mkdtemp(prefix=f"leasebridge-{name}-")
        self.http_port = 8080
        self.path = os.path.join(self.work, "leasebridge.toml")
        self.reconfigure(changes or {})
        self.preload = preload
        self.process = None
        self.token = None

    def reconfigure(self, changes):
        """Writes the configuration; it counts from the next start."""
        self.config = self._config(changes)
        with open(self.path, "w") as f:
            f.write(self.config)

    def _config(self, changes):
        sections = {
            "node": {"name": "test", "data_dir": os.path.join(self.work, "data"), "drain_timeout": "5s"},
            "http": {"listen": f"{self.ip['gateway']}:{self.http_port}", "rate_limit": "100000/s"},
            "sip": {"listen": [f"udp:{self.ip['gateway']}:5060"]},
            "media": {"address": self.ip["gateway"], "ports": "20000-21999"},
            "numbering": {"timezone": "UTC", "pool": ["+60388880000-+60388880999"], "cooldown": "0s",
                          "allowed_targets": ["MY", "DE"], "emergency": ["999", "112"]},
            "leases": {}, "calls": {"ring_timeout": "20s"}, "billing": {}, "observe": {"log": "info"},
        }
        inbound = {"name": "carrier-in", "direction": "inbound", "sources": [self.ip["caller"] + "/32"],
                   "numbers": "+e164", "trusted": True}
        outbound = {"name": "carrier-out", "direction": "outbound", "target": f"sip:{self.ip['callee']}:5080",
                    "numbers": "+e164", "options_interval": "0s"}
        inbound.update(changes.pop("inbound", {}))
        outbound.update(changes.pop("outbound", {}))
        trunks = [inbound, outbound] + changes.pop("trunks", [])
        for section, values in changes.items():
            sections.setdefault(section, {}).update(values)
        if WORKERS:
            sections["sip"].setdefault("workers", int(WORKERS))
        out = []
        for section, values in sections.items():
            out.append(f"[{section}]")
            out += [f"{k} = {toml(v)}" for k, v in values.items()]
        out += ["[[http.keys]]", 'kid = "main"', 'algorithm = "HS256"', f"secret = {toml(SECRET)}"]
        out += ["[[http.clients]]", 'name = "tests"', 'customers = "all"',
                'scopes = ["lease", "customer:read", "customer:write", "numbers", "cdr", "admin"]']
        for trunk in trunks:
            out.append("[[trunk]]")
            out += [f"{k} = {toml(v)}" for k, v in trunk.items()]
        return "\n".join(out) + "\n"

    def start(self, wait=PATIENCE):
        self.launch()
        end = time.time() + wait
        while time.time() < end:
            if self.process.poll() is not None:
                raise RuntimeError("the gateway ended at its start: " + self.log_tail())
            if self.answers() and self.takes_signals():
                return self
            time.sleep(0.02)
        raise RuntimeError("the gateway does not answer: " + self.log_tail())

    def launch(self):
        """Starts the process, and waits for nothing."""
        env = dict(os.environ)
        if self.preload:
            env.update(self.preload)
        with open(os.path.join(self.work, "gateway.log"), "ab") as log:
            self.process = subprocess.Popen([self.binary, "serve", "--config", self.path], stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL, env=env, start_new_session=True)
        if self.token is None:
            self.authorised()

    def authorised(self):
        """Gets a token that its API takes."""
        self.token = subprocess.run([self.binary, "token", "--config", self.path, "--client", "tests"],
                                    capture_output=True, text=True, check=True).stdout.strip()
        return self

    def answers(self):
        try:
            return self.get("/healthz")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def takes_signals(self):
        """Whether SIGHUP has its handler, the last to be set: /healthz answers a little earlier, and a signal that
        came in between would be the end of the process."""
        try:
            with open(f"/proc/{self.process.pid}/status") as f:
                caught = re.search(r"^SigCgt:\s*([0-9a-f]+)", f.read(), re.M)
        except OSError:
            return False
        return bool(caught) and bool(int(caught[1], 16) >> (signal.SIGHUP - 1) & 1)

    def log_tail(self, size=3000):
        try:
            with open(os.path.join(self.work, "gateway.log"), "rb") as f:
                return f.read()[-size:].decode(errors="replace")
        except FileNotFoundError:
            return ""

    def stop(self, sig=signal.SIGTERM, wait=PATIENCE):
        if self.process and self.process.poll() is None:
            self.process.send_signal(sig)
            try:
                self.process.wait(wait)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise RuntimeError("the gateway did not end: " + self.log_tail())
        return self.process.returncode if self.process else None

    def kill(self):
        self.process.kill()
        self.process.wait()

    def request(self, operation, headers=None, timeout=PATIENCE, **form):
        """POSTs an operation; returns (HTTP status, JSON)."""
        c = http.client.HTTPConnection(self.ip["gateway"], self.http_port, timeout=timeout)
        h = {"Authorization": "Bearer " + self.token, "Content-Type": "application/x-www-form-urlencoded"}
        h.update(headers or {})
        try:
            c.request("POST", "/api/v1/" + operation, urllib.parse.urlencode(form), h)
            r = c.getresponse()
            return r.status, json.loads(r.read())
        finally:
            c.close()

    def api(self, operation, **form):
        """POSTs an operation that must succeed."""
        status, body = self.request(operation, **form)
        if body.get("status") != 0:
            raise RuntimeError(f"{operation}: HTTP {status} {body}")
        return body

    def get(self, path):
        c = http.client.HTTPConnection(self.ip["gateway"], self.http_port, timeout=PATIENCE)
        try:
            c.request("GET", path)
            r = c.getresponse()
            return r.status, r.read().decode()
        finally:
            c.close()

    def metric(self, name, timeout=PATIENCE):
        """Sum of a metric's samples, once there is one: some are on the page only when first observed."""
        end = time.time() + timeout
        while True:
            page = self.get("/metrics")[1]
            samples = [float(line.rsplit(" ", 1)[1]) for line in page.splitlines()
                       if line.startswith((name + " ", name + "{"))]
            if samples:
                return sum(samples)
            if time.time() > end:
                raise RuntimeError(f"no metric {name}")
            time.sleep(0.05)

    def customer(self, **form):
        form = {"first_name": "Test", "last_name": "Customer", "account_credit": "1000000", **form}
        return self.api("customer/create", **form)["customer_id"]

    def single(self, customer, phone, **form):
        """Leases a number; returns (leased number, reference)."""
        form = {"expiry_value": "1", "expiry_unit": "hours", **form}
        a = self.api("leasesingle/request", customer_id=customer, phone=phone, **form)
        return list(a["lease_info"])[0], a["reference_id"]

    def group(self, customer, phone1, phone2, **form):
        """Leases two numbers; returns (phone1's, phone2's, reference)."""
        form = {"expiry_value": "1", "expiry_unit": "hours", **form}
        a = self.api("leasegroup/request", customer_id=customer, phone1=phone1, phone2=phone2, **form)
        by = {v: k for k, v in a["lease_info"].items()}
        return by[phone1], by[phone2], a["reference_id"]

    def records(self, count, timeout=PATIENCE, **query):
        """The newest records, once there are `count` of them."""
        end = time.time() + timeout
        while True:
            records = self.api("cdr/query", **query)["records"]
            if len(records) >= count or time.time() > end:
                return records
            time.sleep(0.05)


def report(name, faults, *logs):
    """Prints how a test ended; where it failed, also the ends of these logs (name, text), as comments."""
    if not faults:
        print(f"ok {name}", flush=True)
        return
    lines = [f"not ok {name}: " + " | ".join(faults).replace("\n", " / ")]
    for title, text in logs:
        lines += [f"#   {title}: {line}" for line in text.splitlines()[-40:]]
    print("\n".join(lines), flush=True)


def check_end(gateway):
    """What is wrong with how the gateway is at the end of a test."""
    faults, log = [], gateway.log_tail(1 << 24)
    if gateway.process and gateway.process.poll() not in (None, 0):
        faults.append(f"the gateway ended with {gateway.process.returncode}")
    if "panicked" in log:
        faults.append("the gateway panicked: " + log[log.index("panicked"):][:500])
    return faults
