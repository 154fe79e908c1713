"""Digest both ways, reckoned here from RFC 7616 by hashlib alone: SHA-256, stale, replay, which realm and which host."""
import hashlib, re
from cases import CALLER, case, single
from phone import Leg

THEIRS = {"inbound": {"require_auth": True, "realm": "gateway.test", "allow_users": [{"user": "carrier", "password": "open sesame"}]}}
OURS = {"outbound": {"auth_user": "gateway", "auth_password": "our secret", "realm": "carrier.test"}}


def parameters(value):
    """Of a challenge or of credentials."""
    scheme, _, rest = value.partition(" ")
    assert scheme == "Digest", value
    return {k: v.strip('"') for k, v in re.findall(r'(\w+)=("[^"]*"|[^\s,]+)', rest)}


def response(algorithm, user, password, realm, method, uri, nonce, nc, cnonce):
    h = lambda text: hashlib.new({"MD5": "md5", "SHA-256": "sha256"}[algorithm], text.encode()).hexdigest()
    return h(":".join([h(f"{user}:{realm}:{password}"), nonce, nc, cnonce, "auth", h(f"{method}:{uri}")]))


def proof(challenge, uri, method="INVITE", count=1, user="carrier", password="open sesame"):
    """The Authorization line that answers a challenge."""
    c, nc, cnonce = challenge, f"{count:08x}", "0a4f113b"
    figure = response(c["algorithm"], user, password, c["realm"], method, uri, c["nonce"], nc, cnonce)
    return (f'Authorization: Digest username="{user}", realm="{c["realm"]}", nonce="{c["nonce"]}", uri="{uri}", response="{figure}", '
            f'algorithm={c["algorithm"]}, qop=auth, nc={nc}, cnonce="{cnonce}"')


def challenges(message):
    return [parameters(v) for v in message.all("www-authenticate")]


def asked(leg, number, **how):
    """Calls without, or with wrong, credentials; gives back the challenges."""
    leg.invite(number, **how)
    return challenges(leg.refused(401))


def counted(t, detail, event="sip_digest"):
    row = rf'^leasebridge_sip_events_total\{{detail="{detail}",event="{event}"\}} (\d+)$'
    return int(re.search(row, t.g.get("/metrics")[1], re.M)[1])


def let_in(t, leg, callee, number, line):
    """A call with these credentials goes through, from end to end."""
    leg.invite(number, extra=[line])
    b = Leg.invited(callee)
    b.answer()
    leg.answered()
    b.expect("ACK ")
    leg.request("BYE")
    b.bye_comes()
    leg.expect(200)


for place, algorithm in enumerate(("SHA-256", "MD5")):
    @case(f"digest: a caller proves itself with {algorithm}", **THEIRS)
    def _(t, place=place, algorithm=algorithm):
        caller, callee = t.sides()
        leg = Leg(caller, CALLER)
        number = single(t)
        offered = asked(leg, number)
        t.equal([c["algorithm"] for c in offered], ["SHA-256", "MD5"], "the order of the challenges")
        let_in(t, leg, callee, number, proof(offered[place], leg.uri))
        t.record(sip_code="200", reason="completed")  # and none for the 401


@case("digest: a replay is 401, and stale", calls={"per_lease": 0}, **THEIRS)
def _(t):
    caller, callee = t.sides()
    number = single(t)
    first = Leg(caller, CALLER)
    challenge = asked(first, number)[0]
    line = proof(challenge, first.uri)
    let_in(t, first, callee, number, line)
    thief = Leg(caller, CALLER)
    fresh = asked(thief, number, extra=[line])
    t.equal({c.get("stale") for c in fresh}, {"true"}, "stale")
    t.equal(counted(t, "replayed"), 1, "replays counted")
    # Who knows the password goes on, with a higher count or the new nonce.
    let_in(t, Leg(caller, CALLER), callee, number, proof(challenge, first.uri, count=2))
    let_in(t, thief, callee, number, proof(fresh[0], first.uri))
    t.record(3, sip_code="200")
    callee.silent("INVITE")


@case("digest: with two workers a nonce is good at both, once, and guesses count together", sip={"workers": 2}, **THEIRS)
def _(t):
    caller, callee = t.sides()
    nowhere = "+60388889999"  # no lease: whoever is let in is told 404
    challenge = asked(Leg(caller, CALLER), nowhere)[0]
    uri = Leg(caller, CALLER).start(nowhere).split()[1]
    for count in range(1, 13):  # each with a Call-ID of its own: they meet both workers
        leg = Leg(caller, CALLER)
        leg.invite(nowhere, extra=[proof(challenge, uri, count=count)])
        leg.refused(404)
    for count in range(1, 13):
        again = asked(Leg(caller, CALLER), nowhere, extra=[proof(challenge, uri, count=count)])
        t.equal({c.get("stale") for c in again}, {"true"}, "stale")
    t.equal((counted(t, "accepted"), counted(t, "replayed")), (12, 12), "let in, and replays")
    for _ in range(10):
        asked(Leg(caller, CALLER), nowhere, extra=[proof(challenge, uri, password="guess", count=20)])
    for count in range(30, 36):
        asked(Leg(caller, CALLER), nowhere, extra=[proof(challenge, uri, count=count)])
    t.equal((counted(t, "wrong"), counted(t, "guessing")), (10, 6), "wrong, and not looked at")
    callee.silent("INVITE")


@case("digest: a wrong password is not stale, and uses up no count", **THEIRS)
def _(t):
    caller, callee = t.sides()
    number = single(t)
    leg = Leg(caller, CALLER)
    challenge = asked(leg, number)[0]
    for wrong in (proof(challenge, leg.uri, password="guess"), proof(challenge, leg.uri, user="nobody"),
                  proof(challenge, leg.uri, method="BYE"), proof(challenge, "sip:+60388880999@127.0.0.1")):
        t.equal([c.get("stale") for c in asked(leg, number, extra=[wrong])], [None, None], "stale")
    t.equal(counted(t, "wrong"), 4, "wrong ones counted")
    let_in(t, leg, callee, number, proof(challenge, leg.uri))
    t.record(sip_code="200")


@case("digest: a nonce of an earlier process is stale", **THEIRS)
def _(t):
    caller, callee = t.sides()
    number = single(t)
    leg = Leg(caller, CALLER)
    challenge = asked(leg, number)[0]
    t.g.process.terminate()
    t.g.process.wait(60)
    t.g.start()
    fresh = asked(leg, number, extra=[proof(challenge, leg.uri)])
    t.equal({c.get("stale") for c in fresh}, {"true"}, "stale")
    let_in(t, leg, callee, number, proof(fresh[0], leg.uri))
    t.record(sip_code="200")


@case("digest: we answer a challenge with SHA-256, once, and count", **OURS)
def _(t):
    caller, callee = t.sides()
    number = single(t)
    ask = lambda algorithm, nonce, realm="carrier.test": (
        f'WWW-Authenticate: Digest realm="{realm}", nonce="{nonce}", algorithm={algorithm}, qop="auth,auth-int", opaque="xyz"')
    a = Leg(caller, CALLER)
    a.invite(number)
    b = Leg.invited(callee)
    bare = b.request_got
    t.equal(bare.get("authorization"), "", "credentials that nobody asked for")
    b.reply(401, extra=[ask("MD5", "m"), ask("SHA-512-256", "t"), ask("SHA-256", "s"), ask("SHA-256", "x", "elsewhere")])
    b.expect("ACK ")

    def check(message, nonce, nc):
        got = parameters(message.get("authorization"))
        method, uri = message.start.split()[:2]
        wanted = response("SHA-256", "gateway", "our secret", "carrier.test", method, uri, nonce, nc, got["cnonce"])
        t.equal((got["username"], got["realm"], got["nonce"], got["nc"], got["uri"], got["opaque"], got["algorithm"], got["response"]),
                ("gateway", "carrier.test", nonce, nc, uri, "xyz", "SHA-256", wanted), f"the credentials of {method}")

    b.request_got = again = callee.expect("INVITE ")
    check(again, "s", "00000001")
    t.equal((again.get("call-id"), again.get("from"), again.get("to")), (bare.get("call-id"), bare.get("from"), bare.get("to")), "ids")
    t.equal(again.get("cseq"), "2 INVITE", "CSeq")
    t.check(again.get("via") != bare.get("via"), "the same branch")
    b.answer()
    a.answered()
    t.equal(b.expect("ACK ").get("authorization"), again.get("authorization"), "the credentials of the ACK")
    a.request("BYE")
    check(bye := b.expect("BYE "), "s", "00000002")
    b.reply(401, request=bye, extra=[ask("SHA-256", "s2") + ", stale=true"])
    check(bye := b.expect("BYE "), "s2", "00000001")
    b.reply(200, request=bye)
    a.expect(200)
    t.record(sip_code="200")
    # The next call begins with what is known, and a refusal without end is 500 to the caller.
    a = Leg(caller, CALLER)
    a.invite(number)
    b = Leg.invited(callee)
    check(b.request_got, "s2", "00000002")
    for nonce in ("s3", "s4"):
        b.reply(401, extra=[ask("SHA-256", nonce)])
        b.expect("ACK ")
        if nonce == "s3":
            b.request_got = callee.expect("INVITE ")
            check(b.request_got, "s3", "00000001")
    refusal = a.refused(500)
    t.check("carrier.test" not in refusal.text and "gateway" not in refusal.get("www-authenticate"), "a challenge went to the caller")
    callee.silent("INVITE")
    t.record(2, sip_code="500")
