"""Section 1: which trunk a call goes out by, and the way to the next one, two carriers being there."""
from .admission import ANOTHER
from .base import *
from .screening import OTHER_METHOD

SECONDS = {**DONE, "trunk_out": "carrier-two"}
TAKES = [*called(), Sound(), *hung_up()]


def gone(ctx):
    """The caller hears the second carrier ring."""
    return ctx.saw(ctx.uac, "SIP/2.0 180")


for _status in (408, 500, 502, 503, 504):
    case(f"trunks: {_status} fails over to the second", "1 failover", uac=plain_uac(),
         uas=[invited(), reply(_status, "Failed", contact=False, retrans=500), r("ACK")], second=TAKES, changes=SECOND, record=SECONDS)
case("trunks: a failure after it rang fails over to the second", "1 failover", uac=[invite(), trying(), r(180), r(180), answered(), ack(), Sound(), *hang_up()],
     uas=callee_fails(503, "Failed"), second=TAKES, changes=SECOND, record=SECONDS)
case("trunks: a port that nobody listens on fails over to the second", "1 transport", closed=True, uac=plain_uac(), second=TAKES,
     # It is not waited for: a silent one would be sent the INVITE again after 0.5 and 1.5 s.
     changes=SECOND, record=SECONDS, after=lambda ctx: ctx.check(ctx.gateway.metric("leasebridge_sip_retransmissions_total") < 2, "it was waited for"))
case("trunks: a silent one fails over to the second", "1 silence", uac=plain_uac(), second=TAKES, changes=SECOND, record=SECONDS, trapped="INVITE ",
     # It was sent the INVITE again, and no CANCEL, for it has said nothing (RFC 3261 section 9.1).
     after=lambda ctx: ctx.tried("callee", 3))
case("trunks: a silent one that wakes gets CANCEL", "1 silence", "1 silence cancel", "3 reason", uac=plain_uac(),
     uas=[invited(), Gate(when=gone), ring(), r("CANCEL", check={"Reason": "cause="}), ok(), late(487, "Request Terminated"), r("ACK")],
     second=TAKES, changes=SECOND, record=SECONDS)
case("trunks: a silent one that answers late gets ACK and BYE", "1 silence", "1 silence cancel", "3 reason", uac=plain_uac(),
     uas=[invited(), Gate(when=gone), late(200, "OK", sdp()), r("ACK"), r("BYE", check={"Reason": "cause="}), ok()],
     second=TAKES, changes=SECOND, record=SECONDS)
case("trunks: the only one has nobody who listens", "1 transport", "3 other", closed=True, uac=[invite(), trying(), *failed(500, 38)],
     record={"sip_code": "500", "reason": "route_failed", "trunk_out": "carrier-out", "charge": "0"})
case("trunks: the failure of the last one is the caller's", "1 failover", "3 other",
     uac=[invite(), trying(), *failed(500, 41)], uas=[invited(), reply(500, "Failed", contact=False, retrans=500), r("ACK")],
     second=[invited(), reply(503, "Failed", contact=False, retrans=500), r("ACK")], changes=SECOND,
     record={"sip_code": "500", "reason": "route_failed", "trunk_out": "carrier-two", "charge": "0"})
case("trunks: the second's answer about the callee is the caller's", "1 failover", "3 bare",
     uac=[invite(), trying(), *failed(486, 17)], uas=[invited(), reply(503, "Failed", contact=False, retrans=500), r("ACK")],
     second=[invited(), reply(486, "Busy Here", contact=False, retrans=500), r("ACK")], changes=SECOND,
     record={"sip_code": "486", "reason": "busy", "trunk_out": "carrier-two", "charge": "0"})
for _status, _passed, _cause in ((403, 500, 21), (404, 404, 1), (480, 480, 18), (484, 484, 28), (486, 486, 17), (488, 488, 88), (600, 600, 17), (603, 603, 21), (604, 604, 1)):
    case(f"trunks: {_status} is no reason to try the second", "1 no failover", uac=[invite(), trying(), r(180, rrs=False), *failed(_passed, _cause)],
         uas=callee_fails(_status, "Failed"), changes=SECOND, record={"sip_code": str(_passed), "trunk_out": "carrier-out", "charge": "0"})
case("trunks: no failover once media has come early", "1 no failover early", "3 early media", changes=SECOND,
     uac=[invite(), trying(), r(183, check={"body": "m=audio [1-9]"}, rrs=False), Sound(), *failed(500, 41)],
     uas=[invited(), ring(status=183, body=sdp()), Sound(), reply(503, "Failed", contact=False, retrans=500), r("ACK")],
     record={"sip_code": "500", "reason": "route_failed", "trunk_out": "carrier-out", "to_caller_packets": "25", "to_callee_packets": "25"})

# ---- OPTIONS of peers; requests inside a dialog

OPTIONS = raw(OTHER_METHOD.format(method="OPTIONS"), 500)
for _role in ("caller", "callee"):
    case(f"trunks: OPTIONS of the {_role}'s carrier is 200 with Allow", "1 options", caller_ip=_role,
         uac=[OPTIONS, r(200, check={"Allow": "INVITE.*BYE|BYE.*INVITE"}, rrs=False)])
    case(f"trunks: OPTIONS of the {_role}'s carrier is 503 while draining", "1 options", caller_ip=_role, uac=[OPTIONS, r(503, rrs=False)],
         changes={"node": {"drain_timeout": "120s"}}, held=True, before=lambda ctx: ctx.drain(),
         after=lambda ctx: ctx.check(ctx.gateway.process.wait(60) == 0, "the drained gateway did not end well"))

# ---- the choice: by priority, then weight, over those that are up

case("trunks: the first by priority is given the call", "1 priority", uac=plain_uac(), uas=plain_uas(), changes=SECOND, record={**DONE, "trunk_out": "carrier-out"})
case("trunks: of one priority the weightier is given the call", "1 priority", uac=plain_uac(), second=TAKES,
     # The other one has its turn once in 65,536 calls.
     changes={"trunks": [{**SECOND["trunks"][0], "priority": 1, "weight": 65535}]}, record=SECONDS)
case("trunks: one that OPTIONS find down is passed over", "1 down", uac=plain_uac(), second=TAKES, record=SECONDS, trapped="OPTIONS ", closed=True,
     changes={**SECOND, "outbound": {"options_interval": "1s"}}, before=lambda ctx: ctx.down())
case("trunks: 503 with Retry-After rests the trunk", "1 rest", changes={"calls": {"per_lease": 0}},
     uac=[invite(**ANOTHER), trying(), r(500, check={"Reason": sip_reason(41)}, absent=FORBIDDEN, rrs=False), ack_failure(**ANOTHER),
          invite(), trying(), *failed(503, 34)],
     uas=[invited(), reply(503, "Failed", extra=("Retry-After: 30",), contact=False, retrans=500), r("ACK")],
     record=[{"sip_code": "500", "reason": "route_failed", "trunk_out": "carrier-out"}, {"sip_code": "503", "reason": "no_trunk", "trunk_out": ""}])

# ---- numbers on the wire

for _form, _name, _written in (("e164", "E.164 without +", "60122223333"), ("national", "national", "0122223333"),
                               ({"prefix": "9991", "strip": 0}, "with a technical prefix", "999160122223333")):
    case(f"trunks: numbers out, {_name}", "1 numbers", changes={"numbering": {"default_country": "MY"}, "outbound": {"numbers": _form}},
         uac=plain_uac(), uas=plain_uas(check={"msg": f"^INVITE sip:{_written}@"}), record={**DONE, "callee": DRIVER})
for _form, _name, _written, _caller in (("e164", "E.164 without +", "{}", "60199990001"), ({"prefix": "9991", "strip": 0}, "with a technical prefix", "9991{}", "60199990001")):
    case(f"trunks: numbers in, {_name}", "1 numbers", changes={"inbound": {"numbers": _form}}, dial=_written.format("60388880000"),
         before=lambda ctx: ctx.check(ctx.number == "+60388880000", f"{ctx.number} was leased"), uac=plain_uac(caller=_caller),
         uas=plain_uas(check={"From": "sip:.60199990001@"}), record={**DONE, "caller": CALLER, "leased_number": "+60388880000"})
