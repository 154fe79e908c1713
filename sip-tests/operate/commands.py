"""Commands, exit codes, HTTPS."""
import http.client, json, os, re, socket, ssl, subprocess, urllib.parse
import gateway

TESTS = []


def test(name):
    def take(body):
        TESTS.append((name, body))
        return body
    return take


def command(*words, timeout=3 * gateway.PATIENCE):
    done = subprocess.run([gateway.BINARY, *words], capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout, done.stderr


def written(t, text):
    path = os.path.join(t.work, "x.toml")
    with open(path, "w") as f:
        f.write(text)
    return path


FAULTY = """[node]
drain_timeout = "soon"
colour = "red"

[http]
listen = "127.0.0.1"

[sip]
listen = ["sctp:127.0.0.1:5060"]

[media]
ports = "20001-20002"

[[trunk]]
name = "a"
direction = "sideways"

[[trunk]]
name = "b"
direction = "outbound"
"""


@test("check: every fault at once, each with its line, exit 2; serve refuses the same file")
def _(t):
    path = written(t, FAULTY)
    code, out, err = command("check", "--config", path)
    t.equal(code, 2, "the exit code of check")
    for line, key in ((2, "drain_timeout"), (3, "colour"), (6, "listen"), (9, "listen"), (12, "ports"), (16, "direction"), (18, "target")):
        t.check(re.search(rf":{line}: .*{key}.*", out + err), f"line {line}, {key}, is not named: {out + err}")
    t.check("expected" in out + err, "what was expected is said")
    code, out, again = command("serve", "--config", path)
    t.equal(code, 2, "the exit code of serve")
    t.equal(again.splitlines()[:7], err.splitlines()[:7], "what serve says")


@test("check: a good file, a broken one, none, a secret that is never printed")
def _(t):
    g = t.gateway(start=False)
    t.equal(command("check", "--config", g.path)[0], 0, "a good file")
    t.equal(command("check", "--config", written(t, "[node\nname"))[0], 2, "no TOML")
    t.equal(command("check", "--config", t.work + "/none.toml")[0], 2, "no file")
    path = written(t, '[[http.keys]]\nkid = "k"\nalgorithm = "HS256"\nsecret = "tooshortbutsecret"\n')
    code, out, err = command("check", "--config", path)
    t.equal(code, 2, "a short secret")
    t.check("tooshortbutsecret" not in out + err, "the secret was printed")


@test("commands: version, help, openapi, token, and what is wrong with arguments")
def _(t):
    g = t.gateway(start=False)
    code, out, _ = command("version")
    t.check(code == 0 and re.match(r"leasebridge \d+\.\d+\.\d+", out), f"version: {code} {out}")
    for name in ("serve", "check", "demo", "token", "openapi", "version"):
        code, out, _ = command(name, "--help")
        t.check(code == 0 and "Usage" in out, f"{name} --help: {code}")
    code, out, _ = command("openapi")
    t.check(code == 0 and "/api/v1/leasesingle/request" in json.loads(out)["paths"], "openapi")
    for words in (["nonsense"], ["serve"], ["token", "--config", g.path, "--client", "nobody"],
                  ["token", "--config", g.path, "--client", "tests", "--ttl", "soon"]):
        t.equal(command(*words)[0], 2, f"the exit code of {words[0]}")
    code, out, _ = command("token", "--config", g.path, "--client", "tests", "--ttl", "30d")
    t.check(code == 0 and len(out.strip().split(".")) == 3, "a token is a JWT")


@test("commands: demo shows all and exits 0")
def _(t):
    code, out, err = command("demo")
    t.equal(code, 0, f"the exit code ({out[-800:]} {err[-300:]})")
    for said in ("single", "group", "caller ID", "charge", "record"):
        t.check(said in out, f"it does not speak of {said}")


@test("serve: a second one on the same store is refused with exit 1")
def _(t):
    g = t.gateway()
    other = t.gateway(start=False, node={"data_dir": os.path.join(g.work, "data")}, http={"listen": f"{g.ip['second']}:8080"},
                      sip={"listen": [f"udp:{g.ip['second']}:5060"]}, media={"address": g.ip["second"]})
    code, out, err = command("serve", "--config", other.path)
    t.equal(code, 1, "the exit code")
    t.check("data" in out + err, f"it says {out + err}")
    t.equal(g.get("/readyz")[0], 200, "the first one's /readyz")


@test("serve: an address in use is exit 1")
def _(t):
    g = t.gateway(start=False)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((g.ip["gateway"], 5060))
        code, out, err = command("serve", "--config", g.path)
    t.equal(code, 1, "the exit code")
    t.check("5060" in out + err, f"it says {out + err}")


@test("endpoints: healthz, readyz, metrics, openapi.json")
def _(t):
    g = t.gateway()
    t.equal(g.get("/healthz")[0], 200, "/healthz")
    status, body = g.get("/readyz")
    t.equal((status, json.loads(body)["reasons"]), (200, []), "/readyz")
    t.equal(json.loads(g.get("/openapi.json")[1]), json.loads(command("openapi")[1]), "the document served")
    status, body = g.get("/metrics")
    t.equal(status, 200, "/metrics")
    for line in body.splitlines():
        t.check(re.match(r'(# (HELP|TYPE) leasebridge_\w+ .+|leasebridge_\w+(\{(\w+="[^"]*",?)*\})? \S+)$', line), f"odd line {line!r}")
    status, body = g.get("/nothing")
    t.equal((status, json.loads(body)["status"]), (404, 3), "an unknown path")


@test("endpoints: observe.listen has metrics and health, and no API")
def _(t):
    g = t.gateway(observe={"listen": "127.0.%d.2:9090" % t.net})
    for path, wanted in (("/metrics", 200), ("/healthz", 200), ("/readyz", 200), ("/api/v1/customer/view", 404)):
        c = http.client.HTTPConnection(g.ip["gateway"], 9090, timeout=gateway.PATIENCE)
        c.request("GET", path)
        t.equal(c.getresponse().status, wanted, path)
        c.close()


@test("endpoints: HTTPS with a certificate of ours, renewed by a reload; plain HTTP is refused")
def _(t):
    cert, key = os.path.join(t.work, "cert.pem"), os.path.join(t.work, "key.pem")

    def make(name):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key,
                        "-out", cert, "-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName=IP:127.0.{t.net}.2"],
                       check=True, capture_output=True)

    make("first")
    g = t.gateway(start=False, http={"tls": {"cert": cert, "key": key}}, observe={"listen": f"127.0.{t.net}.2:9090"})
    address = g.ip["gateway"]
    g.launch()

    def serial():
        try:
            context = ssl.create_default_context(cafile=cert)
            with context.wrap_socket(socket.create_connection((address, 8080), gateway.PATIENCE), server_hostname=address) as s:
                return [v for part in s.getpeercert()["subject"] for k, v in part if k == "commonName"][0]
        except OSError as error:
            return type(error).__name__

    t.becomes(serial, "first", "the certificate's name")
    t.becomes(g.takes_signals, True, "its taking signals")
    c = http.client.HTTPSConnection(address, 8080, timeout=gateway.PATIENCE, context=ssl.create_default_context(cafile=cert))
    c.request("POST", "/api/v1/customer/create", urllib.parse.urlencode({"first_name": "A", "last_name": "B"}),
              {"Authorization": "Bearer " + g.token, "Content-Type": "application/x-www-form-urlencoded"})
    t.equal(json.loads(c.getresponse().read())["status"], 0, "the status over TLS")
    c.close()
    c = http.client.HTTPConnection(address, 8080, timeout=gateway.PATIENCE)
    try:
        c.request("GET", "/healthz")
        t.check(c.getresponse().status != 200, "plain HTTP was answered")
    except (OSError, http.client.HTTPException):
        pass
    make("second")
    g.process.send_signal(1)
    t.becomes(serial, "second", "the certificate's name after the reload")


@test("serve: why it does not start is said once, as a line of the log's own format")
def _(t):
    for form in ("text", "json"):
        g = t.gateway(start=False, observe={"log_format": form})
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind((g.ip["gateway"], 5060))
            code, out, err = command("serve", "--config", g.path)
        said = [line for line in (out + err).splitlines() if "cannot listen" in line]
        t.equal((code, len(said)), (1, 1), f"{form}: exit code and lines ({out + err})")
        if form == "json":
            t.equal([json.loads(line)["level"] for line in said], ["ERROR"], "the level")
