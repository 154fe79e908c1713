"""Section 2: what SIP's own rules refuse, before anybody looks for a lease."""
from .base import *

OTHER_METHOD = """{method} sip:[service]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:x@[local_ip]>;tag=1
To: <sip:[service]@[remote_ip]>
Call-ID: [call_id]
CSeq: 1 {method}
Max-Forwards: 70
Content-Length: 0

"""


def unreadable(name, says, **invite_with):
    """400 with a phrase that names what is wrong. sipp itself takes no response without To or CSeq for one,
    and throws away what has no Call-ID."""
    case(name, "2 unreadable", lenient=True,
         uac=[invite(retrans=None, **invite_with), Gate(when=lambda ctx: ctx.saw(ctx.uac, "SIP/2.0 400"))],
         after=lambda ctx: ctx.only(f"SIP/2.0 400 .*{says}.*"))


for _name in ("From", "To", "CSeq"):
    unreadable(f"admission: what lacks {_name} is 400", f"Missing {_name}", drop=(_name,))
for _name, _value in (("From", "<sip:x@[local_ip]>;tag=2"), ("To", "<sip:x@[local_ip]>"), ("CSeq", "1 INVITE"), ("Max-Forwards", "70"),
                      ("Call-ID", "[call_id]")):
    unreadable(f"admission: {_name} given twice is 400", f"Repeated {_name}", extra=(f"{_name}: {_value}",))
unreadable("admission: CSeq of another method is 400", "CSeq", drop=("CSeq",), extra=("CSeq: 1 BYE",))
unreadable("admission: CSeq out of range is 400", "CSeq", drop=("CSeq",), extra=("CSeq: 99999999999 INVITE",))
case("admission: what lacks Contact is 400", "2 unreadable",
     uac=[invite(drop=("Contact",)), trying(), r(400, check={"msg": "SIP/2.0 400 [^\r\n]*Contact"}, absent=FORBIDDEN, rrs=False), ack_failure()],
     record={"sip_code": "400", "reason": "sip_refused", "trunk_out": "", "answered_at": ""})

case("admission: a broken ACK and a stray response get no answer", "2 never answered",
     # Each is sent, and then OPTIONS: whatever came for the first two would come before its 200.
     uac=[raw(OTHER_METHOD.format(method="ACK").replace("From: <sip:x@[local_ip]>;tag=1\n", "")),
          raw(OTHER_METHOD.format(method="ACK")),
          raw("SIP/2.0 200 OK\nVia: SIP/2.0/[transport] [remote_ip]:5060;branch=z9hG4bKnone\nCall-ID: [call_id]\nContent-Length: 0\n\n"),
          raw(OTHER_METHOD.format(method="OPTIONS"), 500), r(200, check={"Allow": "INVITE"}, rrs=False)])

for _method in ("SUBSCRIBE", "REGISTER", "MESSAGE", "PUBLISH"):
    case(f"admission: {_method} is 405 with Allow", "2 method",
         uac=[raw(OTHER_METHOD.format(method=_method), 500),
              r(405, check={"Allow": "INVITE.*BYE|BYE.*INVITE"}, absent=[f"Allow:.*{_method}", *FORBIDDEN], rrs=False)])
refused("admission: scheme not ours is 416", "2 scheme", status=416, reason="sip_refused", invite_with={"uri": "http://example.com/x"},
        record={"leased_number": ""})
case("admission: a tel URI is ours", "2 scheme", "2 admitted", uac=plain_uac(uri="tel:[service]"), uas=plain_uas(), record=DONE)


def screened(name, row, status, check, **invite_with):
    """A refusal with a header that says what would have done."""
    case(name, row, uac=[invite(**invite_with), trying(), r(status, check=check, absent=FORBIDDEN, rrs=False), ack_failure()],
         record={"sip_code": str(status), "reason": "sip_refused", "ended_by": "gateway", "answered_at": "", "trunk_out": ""})


screened("admission: Require not ours is 420 with Unsupported", "2 require", 420, {"Unsupported": "teleport"}, extra=("Require: 100rel, teleport",))
screened("admission: body type not ours is 415 with Accept", "2 body", 415, {"Accept": "application/sdp"}, ctype="text/plain")
refused("admission: Max-Forwards 0 is 483", "2 max-forwards", status=483, cause=25, reason="sip_refused", invite_with={"max_forwards": "0"})
case("admission: a merged request is 482, and the first goes on", "2 merged", "2 trying",
     # The same From-tag, Call-ID and CSeq with another branch, while the first rings.
     uac=[invite(retrans=None), r(100, rrs=False), invite(retrans=None), trying(), *failed(482, 25),
          r(180), answered(), ack(), Sound(), *hang_up()],
     uas=[invited(), Gate(when=lambda ctx: ctx.saw(ctx.uac, "SIP/2.0 482")), ring(), answer(), r("ACK"), Sound(), *hung_up()],
     record=[{"sip_code": "482", "q850_cause": "25", "reason": "sip_refused"}, DONE])
case("admission: 100 goes out at once", "2 trying",
     # The callee says nothing until the caller has its 100.
     uac=[invite(), r(100, rrs=False), r(180), answered(), ack(), Sound(), *hang_up()],
     uas=[invited(), Gate(when=lambda ctx: ctx.saw(ctx.uac, "SIP/2.0 100")), ring(), answer(), r("ACK"), Sound(), *hung_up()], record=DONE)
case("admission: Max-Forwards is carried over, less one", "2 carried", uac=plain_uac(max_forwards="20"),
     uas=plain_uas(check={"Max-Forwards": "19"}), record=DONE)
case("admission: Max-Forwards 1 is the last to pass", "2 carried", "2 max-forwards", uac=plain_uac(max_forwards="1"),
     uas=plain_uas(check={"Max-Forwards": " 0"}), record=DONE)
