"""The cases: what the gateway says of PASSporTs that PyJWT signed, and what PyJWT says of the gateway's."""
import base64, json, os, tempfile, time, traceback, uuid
import jwt
from authority import ONE_NUMBER, Authority, Server, key_pem, pem, signer
from gateway import PATIENCE, Gateway, check_end, report
from phone import Leg, Missing, Phone

CALLER, DRIVER, RIDER = "+60199990001", "+60122223333", "+60133334444"
RECORD, REQUIRE = [], []


def record(name):
    return lambda body: RECORD.append((name, body))


def require(name):
    return lambda body: REQUIRE.append((name, body))


def decoded(part):
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


class World:
    """The authorities, the server of certificates, and the gateway under one policy."""

    def __init__(self, net, policy, work):
        os.makedirs(work, exist_ok=True)
        ip = f"127.0.{net}.9"
        self.server = Server(ip, work)
        root, stranger = Authority("STI root"), Authority("another root")
        middle = Authority("STI intermediate", root)
        self.signers, pages = {}, self.server.pages
        for name, who, chain in [
                ("good", signer(middle), [middle]), ("stranger", signer(stranger), []), ("expired", signer(middle, days=(-9, -1)), [middle]),
                ("other-number", signer(middle, ONE_NUMBER), [middle]), ("web", Authority("no numbers", middle, False), [middle]),
                ("slow", signer(middle), [middle]), ("late", signer(middle), [middle])]:
            self.signers[name] = who
            pages[f"/{name}.pem"] = b"".join(pem(one.certificate) for one in [who, *chain])
        pages["/slow.pem"] = (30, pages["/slow.pem"])
        pages["/late.pem"] = (5, pages["/late.pem"])
        pages["/moved.pem"] = 302
        self.ours = signer(middle)
        pages["/ours.pem"] = pem(self.ours.certificate) + pem(middle.certificate)
        paths = {"roots": pem(root.certificate), "key": key_pem(self.ours.key), "cert": pages["/ours.pem"]}
        for name, content in paths.items():
            paths[name] = f"{work}/{name}.pem"
            with open(paths[name], "wb") as f:
                f.write(content)
        self.g = Gateway(net, "stir", data=work, changes={
            "inbound": {"trusted": False},
            "outbound": {"trusted": True},
            "identity": {"policy": policy, "roots": paths["roots"], "fetch_ca": self.server.ca, "fetch_private": True,
                         "verdict_timeout": "3s", "fetch_timeout": "10s",
                         "sign": {"key": {"file": paths["key"]}, "cert": paths["cert"], "cert_url": self.server.url + "/ours.pem"}}})
        self.g.start()
        self.customer = self.g.customer()
        self.single, _ = self.g.single(self.customer, DRIVER)
        self.rider, self.driver, _ = self.g.group(self.customer, RIDER, DRIVER)
        gateway = (self.g.ip["gateway"], 5060)
        self.caller, self.callee = (Phone(self.g.ip[role], gateway) for role in ("caller", "callee"))
        self.count, self.wrong = 0, []

    def check(self, fact, text):
        if not fact:
            self.wrong.append(text)

    def equal(self, got, wanted, what):
        self.check(got == wanted, f"{what} is {got!r}, not {wanted!r}")

    def identity(self, dialled, orig=CALLER, who="good", url=None, age=0, **claims):
        """An Identity header as PyJWT signs it."""
        url = url or f"{self.server.url}/{who}.pem"
        payload = {"attest": "A", "dest": {"tn": [dialled.lstrip("+")]}, "iat": int(time.time()) - age,
                   "orig": {"tn": orig.lstrip("+")}, "origid": str(uuid.uuid4()), **claims}
        token = jwt.encode(payload, self.signers[who].key, "ES256", {"typ": "passport", "ppt": "shaken", "x5u": url})
        return f"Identity: {token};info=<{url}>;alg=ES256;ppt=\"shaken\""

    def last(self, **fields):
        """The record of the call that just ended."""
        self.count += 1
        records = self.g.records(self.count)
        self.equal(len(records), self.count, "the number of records")
        for name, wanted in fields.items():
            self.equal(records[0][name], wanted, f"record: {name}")
        return records[0]

    def counted(self, detail, event="identity_fetch"):
        """How often something was counted."""
        rows = [line for line in self.g.get("/metrics")[1].splitlines()
                if f'event="{event}"' in line and f'detail="{detail}"' in line]
        return float(rows[0].rsplit(" ", 1)[1]) if rows else 0.0

    def call(self, dialled, *extra, number=CALLER):
        """A call from INVITE to BYE; the INVITE that the callee got."""
        a = Leg(self.caller, number)
        a.invite(dialled, extra=extra)
        b = Leg.invited(self.callee)
        b.answer()
        a.answered()
        b.expect("ACK ")
        a.request("BYE")
        b.bye_comes()
        a.expect(200)
        return b.request_got

    def refused(self, status, phrase, verdict, *extra, within=None):
        """A call that gets no further than us."""
        a = Leg(self.caller, CALLER)
        start = time.time()
        a.invite(self.single, extra=extra)
        m = a.refused(status)
        took = time.time() - start
        self.check(phrase in m.start, f"{m.start} does not say {phrase}")
        self.check("cause=21" in m.get("reason"), f"Reason is {m.get('reason')}")
        if within:
            self.check(within[0] <= took <= within[1], f"the refusal took {took:.2f} s")
        self.callee.silent("INVITE ", 0.1)
        return self.last(identity=verdict, sip_code=str(status), reason="identity_" + verdict)

    def verified(self, message):
        """The claims of our INVITE, if PyJWT finds them signed by our key."""
        values = message.all("identity")
        self.equal(len(values), 1, "the number of Identity headers")
        token, *parameters = values[0].split(";")
        parameters = dict(p.strip().split("=", 1) for p in parameters)
        self.equal(parameters, {"info": f"<{self.server.url}/ours.pem>", "alg": "ES256", "ppt": '"shaken"'}, "the parameters")
        header = jwt.get_unverified_header(token)
        self.equal(header, {"alg": "ES256", "ppt": "shaken", "typ": "passport", "x5u": self.server.url + "/ours.pem"}, "the header")
        claims = jwt.decode(token, self.ours.key.public_key(), algorithms=["ES256"])
        # RFC 8225 section 9: names in order, no white space, in both parts.
        for part in token.split(".")[:2]:
            again = json.dumps(json.loads(decoded(part)), sort_keys=True, separators=(",", ":"))
            self.equal(decoded(part).decode(), again, "the deterministic form")
        self.check(abs(claims["iat"] - time.time()) < 30, f"iat is {claims['iat']}")
        return claims


@record("a PASSporT of PyJWT is valid, and the record says so")
def _(w):
    w.call(w.single, w.identity(w.single, origid="123e4567-e89b-12d3-a456-426655440000"))
    w.last(identity="valid", attestation="A", signer="1234", origid="123e4567-e89b-12d3-a456-426655440000", sip_code="200")


@record("a certificate is fetched once, for whichever call")
def _(w):
    for _ in range(3):
        w.call(w.single, w.identity(w.single))
        w.last(identity="valid")
    w.equal(w.server.asked.count("/good.pem"), 1, "the number of fetches")


@record("what is wrong is recorded, and the call goes on")
def _(w):
    for verdict, identity in [("stale", w.identity(w.single, age=120)), ("invalid", w.identity("+60388880999")),
                              ("untrusted", w.identity(w.single, who="stranger")), ("unavailable", w.identity(w.single, url=w.server.url + "/none.pem")),
                              ("missing", "Subject: none")]:
        w.call(w.single, identity)
        w.last(identity=verdict, sip_code="200")


@record("our PASSporT is valid to PyJWT: single call, the caller's own number")
def _(w):
    claims = w.verified(w.call(w.single, w.identity(w.single)))
    w.equal((claims["orig"], claims["dest"], claims["attest"]), ({"tn": "60199990001"}, {"tn": [DRIVER[1:]]}, "B"), "orig, dest, attest")
    w.equal(claims["origid"], w.last()["call_id"], "origid")
    claims = w.verified(w.call(w.single))
    w.equal(claims["attest"], "C", "attest of a caller whom nobody vouches for")
    w.last(identity="missing")


@record("group call: the inbound Identity goes no further, ours names the leased number")
def _(w):
    # The rider dials the number that stands for the driver: the driver sees the number that stands for the rider.
    inbound = w.identity(w.driver, orig=RIDER)
    got = w.call(w.driver, inbound, number=RIDER)
    w.check(inbound.split(".")[2][:40] not in got.text, "the inbound Identity was passed on")
    claims = w.verified(got)
    w.equal((claims["orig"], claims["dest"], claims["attest"]), ({"tn": w.rider.lstrip("+")}, {"tn": [DRIVER[1:]]}, "A"), "orig, dest, attest")
    clear = got.text + "".join(decoded(part).decode() for v in got.all("identity") for part in v.split(".")[:2])
    w.check(RIDER[3:] not in clear, "the rider's number reached the driver")
    w.last(identity="valid", attestation="A", lease_kind="group")


@record("a withheld caller is not signed")
def _(w):
    a = Leg(w.caller, CALLER)
    a.invite(w.single, extra=["Privacy: id"])
    b = Leg.invited(w.callee)
    w.equal(b.request_got.all("identity"), [], "Identity")
    b.reply(486)
    a.refused(486)
    w.last(identity="missing")


@record("the verdicts are counted")
def _(w):
    for verdict in ("valid", "missing", "stale", "unavailable", "untrusted", "invalid"):
        w.check(w.counted(verdict, "identity") > 0, f"no {verdict} was counted")
    for fetch in ("cached", "fetched", "refused"):
        w.check(w.counted(fetch) > 0, f"no {fetch} was counted")


@require("valid: the call goes on")
def _(w):
    w.call(w.single, w.identity(w.single))
    w.last(identity="valid", sip_code="200")


@require("none at all: 428")
def _(w):
    w.refused(428, "Use Identity Header", "missing")


@require("changed after it was signed: 438")
def _(w):
    head, claims, rest = w.identity(w.single).split(".", 2)
    other = w.identity(w.single).split(".", 2)[1]
    w.check(claims != other, "two calls have the same claims")
    w.refused(438, "Invalid Identity Header", "invalid", f"{head}.{other}.{rest}")


@require("signed by another key than the certificate's: 438")
def _(w):
    w.refused(438, "Invalid Identity Header", "invalid", w.identity(w.single, who="stranger", url=w.server.url + "/good.pem"))


@require("for another number: 438")
def _(w):
    w.refused(438, "Invalid Identity Header", "invalid", w.identity("+60388880999"))


@require("for another caller: 438")
def _(w):
    w.refused(438, "Invalid Identity Header", "invalid", w.identity(w.single, orig="+60199990007"))


@require("the compact form: 438")
def _(w):
    token, rest = w.identity(w.single).split(";", 1)
    w.refused(438, "Invalid Identity Header", "invalid", f"Identity: ..{token.rsplit('.', 1)[1]};{rest}")


@require("too old, or from the future: 403")
def _(w):
    w.refused(403, "", "stale", w.identity(w.single, age=90))
    w.refused(403, "", "stale", w.identity(w.single, age=-90))


@require("a chain to another root, or out of its time, or not for this number, or for no numbers: 437")
def _(w):
    for who in ("stranger", "expired", "other-number", "web"):
        w.refused(437, "Unsupported Credential", "untrusted", w.identity(w.single, who=who))


@require("no such certificate, moved, by plain HTTP, or nobody there: 436")
def _(w):
    for url in (w.server.url + "/none.pem", w.server.url + "/moved.pem", w.server.url.replace("https", "http") + "/good.pem", "https://127.0.0.1:1/good.pem"):
        w.refused(436, "Bad Identity Info", "unavailable", w.identity(w.single, url=url))


@require("a server that is too slow: 436 in its time, and others are not held up")
def _(w):
    a = Leg(w.caller, CALLER)
    start = time.time()
    a.invite(w.single, extra=[w.identity(w.single, who="slow")])
    w.call(w.single, w.identity(w.single))
    w.check(time.time() - start < 2.9, "a call with a known certificate waited for another's fetch")
    w.last(identity="valid")
    a.refused(436)
    w.check(time.time() - start > 2.9, f"the refusal came after {time.time() - start:.2f} s")
    w.count += 1
    # They may have begun in one millisecond.
    w.equal(sorted(one["identity"] for one in w.g.records(w.count)[:2]), ["unavailable", "valid"], "the two records")


@require("a certificate that came too late for its call serves the next")
def _(w):
    before = w.counted("fetched")
    w.refused(436, "Bad Identity Info", "unavailable", w.identity(w.single, who="late"), within=(2.9, 9))
    end = time.time() + PATIENCE
    while w.counted("fetched") == before and time.time() < end:
        time.sleep(0.05)
    w.call(w.single, w.identity(w.single, who="late"))
    w.last(identity="valid")
    w.equal(w.server.asked.count("/late.pem"), 1, "the number of fetches")


@require("CANCEL while the certificate is fetched: 487")
def _(w):
    w.server.pages["/silent.pem"] = (30, b"")
    a = Leg(w.caller, CALLER)
    a.invite(w.single, extra=[w.identity(w.single, url=w.server.url + "/silent.pem")])
    a.expect(100)
    a.cancel()
    a.expect(200)
    a.refused(487)
    w.callee.silent("INVITE ", 0.1)
    w.last(reason="cancelled", identity="unavailable")


def main(only, net):
    failed, base = 0, tempfile.mkdtemp(prefix="leasebridge-stir-")
    for number, (policy, cases) in enumerate([("record", RECORD), ("require", REQUIRE)]):
        chosen = [(name, body) for name, body in cases if only in f"{policy}: {name}"]
        if not chosen:
            continue
        w = World(net + number, policy, os.path.join(base, policy))
        for name, body in chosen:
            w.wrong = []
            try:
                body(w)
            except Missing as missing:
                w.wrong.append(f"{missing}")
            except Exception as error:
                w.wrong.append(f"{error!r} {traceback.format_exc(limit=-3)}")
            w.wrong += check_end(w.g)
            report(f"{policy}: {name}", w.wrong, ("gateway", w.g.log_tail()))
            failed += bool(w.wrong)
            if w.wrong:
                w.count = len(w.g.api("cdr/query")["records"])
        for phone in (w.caller, w.callee):
            phone.close()
        w.g.stop()
    return 1 if failed else 0
