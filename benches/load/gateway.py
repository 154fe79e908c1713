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
listen = ["{listen}"]
workers = {workers}
{sip_tls}[[trunk]]
name = "in"
direction = "inbound"
sources = ["127.0.0.1/32"]
[[trunk]]
name = "out"
direction = "outbound"
target = "{target}"
{trunk_tls}options_interval = "0s"
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


# How SIP is heard, and where the callee is, by transport. TLS ends in a stunnel there.
LISTEN = {"udp": "udp:127.0.0.2:5060", "tcp": "tcp:127.0.0.2:5060", "tls": "tls:127.0.0.2:5061"}
TARGET = {"udp": "sip:127.0.0.3:5080", "tcp": "sip:127.0.0.3:5080;transport=tcp", "tls": "sip:127.0.0.3:5081;transport=tls"}


def certificate(directory):
    """A certificate of its own signing for both ends: paths of the certificate and its key."""
    cert, key = os.path.join(directory, "load.cert"), os.path.join(directory, "load.key")
    if not os.path.exists(cert):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                        "-subj", "/CN=load", "-addext", "subjectAltName=IP:127.0.0.2,IP:127.0.0.3", "-addext", "basicConstraints=critical,CA:FALSE",
                        "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


def write_config(directory, numbers=20000, workers=1, transport="udp"):
    data = os.path.join(directory, "data")
    sip_tls = trunk_tls = ""
    if transport == "tls":
        cert, key = certificate(os.path.join(os.path.dirname(os.path.abspath(__file__)), "work"))
        sip_tls = f'tls = {{ cert = "{cert}", key = "{key}" }}\n'
        trunk_tls = f'tls = {{ ca = "{cert}" }}\n'
    path = os.path.join(directory, "load.toml")
    with open(path, "w") as f:
        f.write(CONFIG.format(data=data, secret=SECRET, last=4915110000000 + numbers - 1, listen=LISTEN[transport],
                              target=TARGET[transport], workers=workers, sip_tls=sip_tls, trunk_tls=trunk_tls))
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
