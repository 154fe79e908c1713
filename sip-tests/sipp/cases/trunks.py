"""Section 1: the way to the next trunk, two carriers being there."""
from .base import *

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
     after=lambda ctx: ctx.check(len(ctx.traps["callee"].listen()) >= 3, "the silent trunk was given no time"))
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
