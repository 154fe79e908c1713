"""Digest, both ways: sipp proves itself with its own code, and asks us."""
from .base import *

ASKS = {"require_auth": True, "realm": "gateway.test",
        "allow_users": [{"user": "carrier", "password": "opensesame"}]}
OURS = {"outbound": {"auth_user": "gateway", "auth_password": "our secret", "realm": "carrier.test"}}


def proves(user="carrier", password="opensesame"):
    return f"[authentication username={user} password={password}]"


def asked():
    """The 401 with the strongest algorithm first, and its ACK."""
    return [r(401, check={"msg": 'WWW-Authenticate: Digest realm="gateway.test".*algorithm=SHA-256.*\n.*algorithm=MD5'},
              absent=FORBIDDEN, rrs=False, auth=True), ack_failure()]


# sipp computes MD5; of two challenges it takes the first, so that it is offered nothing else.
MD5 = {"inbound": {**ASKS, "auth_algorithms": ["MD5"]}}
asks_md5 = [r(401, check={"WWW-Authenticate": 'realm="gateway.test".*algorithm=MD5'}, absent=FORBIDDEN, rrs=False, auth=True),
            ack_failure()]

case("digest: sipp proves itself with MD5", "2 digest", "2 admitted", changes=MD5,
     uac=[invite(), *asks_md5, invite(cseq=2, extra=(proves(),)), trying(), r(180), answered(), ack(2), Sound(), *hang_up(3)],
     uas=plain_uas(), record=DONE)
case("digest: a wrong password is 401 and no call", "2 digest", changes=MD5,
     uac=[invite(), *asks_md5, invite(cseq=2, extra=(proves(password="guess"),)),
          r(401, absent=["stale", *FORBIDDEN], rrs=False), ack_failure(cseq=2)],
     record=[])
case("digest: without credentials 401, both algorithms", "2 digest", changes={"inbound": ASKS},
     uac=[invite(), *asked()], record=[])
for method in ("MESSAGE", "SUBSCRIBE", "REGISTER", "NOTIFY", "PUBLISH"):
    case(f"digest: {method} does not get in without credentials", "2 digest", "2 method", changes=MD5,
         uac=[raw(f"""{method} sip:[service]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:caller@[local_ip]:[local_port]>;tag=[pid]c[call_number]
To: <sip:[service]@[remote_ip]:[remote_port]>
Call-ID: [call_id]
CSeq: 1 {method}
Max-Forwards: 70
Content-Length: 0

""", 500), r(401, check={"WWW-Authenticate": "Digest"}, rrs=False)], record=[])


def asks_us(status, header):
    """The callee's side asks for credentials. (wire/digest.py reckons whether they are right.)"""
    challenge = f'{header}: Digest realm="carrier.test", nonce="abc123", algorithm=MD5, qop="auth"'
    return [invited(absent=["Authorization"]),
            reply(status, "Who are you", extra=(challenge,), contact=False), r("ACK")]


def proven(header):
    return invited(check={"CSeq": "2 INVITE", header: 'username="gateway", realm="carrier.test", nonce="abc123".*nc=00000001'})


for status, asks, answers in ((401, "WWW-Authenticate", "Authorization"), (407, "Proxy-Authenticate", "Proxy-Authorization")):
    case(f"digest: sipp asks us by {status}", "1 digest", changes=OURS, uac=plain_uac(),
         uas=[*asks_us(status, asks), proven(answers), ring(), answer(), r("ACK", check={answers: "nc=00000001"}), Sound(),
              r("BYE", check={"Reason": sip_reason(16), answers: "nc=00000002"}), ok()],
         record=DONE)
case("digest: another realm is given nothing", "1 digest", "3 other",
     changes={"outbound": {**OURS["outbound"], "realm": "somebody.else"}},
     uac=[invite(), trying(), *failed(500)],
     uas=asks_us(401, "WWW-Authenticate"), record={"sip_code": "500"})
