"""The gateway as a system under test: its configuration, its leases, its API."""
import http.client, json, os, subprocess, urllib.parse

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BINARY = os.path.join(ROOT, "target", "release", "leasebridge")
SECRET = "a secret for the load runs alone, long enough"
API = ("127.0.0.2", 8080)

CONFIG = """
[node]
name = "load"
data_dir = "{data}"
drain_timeout = "3s"
[http]
max_connections = 200
max_connections_per_address = 0
listen = "127.0.0.2:8080"
rate_limit = "1000000/s"
[[http.keys]]
kid = "main"
algorithm = "HS256"
secret = "{secret}"
[[http.clients]]
name = "load"
customers = "all"
scopes = ["lease", "customer:read", "customer:write", "numbers", "cdr", "admin"]
[sip]
listen = ["udp:127.0.0.2:5060"]
workers = {workers}
[[trunk]]
name = "in"
direction = "inbound"
sources = ["127.0.0.1/32"]
[[trunk]]
name = "out"
direction = "outbound"
target = "sip:127.0.0.3:5080"
options_interval = "0s"
[media]
address = "127.0.0.2"
ports = "10000-27999"
timeout = "0s"
[numbering]
pool = ["+4915110000000-+{last}"]
cooldown = "0s"
allowed_targets = ["*"]
[leases]
max_per_phone = 0
[calls]
per_lease = 0
[observe]
log = "warn"
"""


def write_config(directory, numbers=20000, workers=1):
    data = os.path.join(directory, "data")
    path = os.path.join(directory, "load.toml")
    with open(path, "w") as f:
        f.write(CONFIG.format(data=data, secret=SECRET, last=4915110000000 + numbers - 1, workers=workers))
    return path


def command(path):
    return f"{BINARY} serve --config {path}"


def token(path):
    return subprocess.run([BINARY, "token", "--config", path, "--client", "load"], check=True, capture_output=True,
                          text=True).stdout.strip()


class Api:
    """One kept connection."""

    def __init__(self, path):
        self.token = token(path)
        self.connection = http.client.HTTPConnection(*API, timeout=30)

    def post(self, operation, **form):
        self.connection.request("POST", "/api/v1/" + operation, urllib.parse.urlencode(form),
                                {"Authorization": "Bearer " + self.token, "Content-Type": "application/x-www-form-urlencoded"})
        answer = json.loads(self.connection.getresponse().read())
        if answer["status"] != 0:
            raise SystemExit(f"{operation}: {answer}")
        return answer

    def customer(self):
        return self.post("customer/create", first_name="Load", last_name="Test", account_credit=10**15)["customer_id"]

    def lease(self, customer, phone="+4915112345678"):
        a = self.post("leasesingle/request", customer_id=customer, phone=phone, expiry_value=1, expiry_unit="days")
        return next(iter(a["lease_info"])), a["reference_id"]
