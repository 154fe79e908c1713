"""Section 3: how a call ends, and what each side and the record are told."""
import time
from .base import *
from .session import changes

AGAIN = Sound(probe=True)
BY_GATEWAY = {"sip_code": "200", "ended_by": "gateway"}


def quiet_for(seconds):
    """True once so long has gone since it was first asked."""
    since = []

    def over(_):
        since.append(time.time())
        return since[-1] - since[0] > seconds
    return over


case("legs: BYE of the callee before the caller's ACK", "3 bye", "3 reason",
     # Ours waits for the ACK (RFC 3261 section 15).
     uac=[invite(), trying(), r(180), answered(), Gate(when=lambda ctx: ctx.saw(ctx.uas, "SIP/2.0 200")), ack(), *hung_up()],
     uas=[*called(), Gate(when=lambda ctx: ctx.saw(ctx.uac, "SIP/2.0 200")), callee_request("BYE"), r(200, rrs=False)],
     record={**DONE, "ended_by": "callee"})
case("legs: BYE for a call that is gone is 481", "3 bye", uac=[*plain_uac(), bye(3), r(481, absent=FORBIDDEN, rrs=False)], uas=plain_uas(), record=DONE)
case("legs: the caller's cause reaches the callee and the record, its text does not", "3 reason", "3 nothing else",
     uac=[*up(), Sound(), bye(extra=('Reason: Q.850;cause=31;text="Nobody home"',)), r(200, rrs=False)],
     uas=[*called(), Sound(), r("BYE", check={"Reason": sip_reason(31)}, absent=FORBIDDEN), ok()], record={**DONE, "q850_cause": "31"})
case("legs: the callee's cause reaches the caller and the record, its text does not", "3 reason", "3 nothing else",
     uac=[*up(), Sound(), r("BYE", check={"Reason": sip_reason(38)}, absent=FORBIDDEN), ok()],
     uas=[*called(), Sound(), callee_request("BYE", extra=('Reason: Q.850;cause=38;text="Nobody home"',)), r(200, rrs=False)],
     record={**DONE, "ended_by": "callee", "q850_cause": "38"})
case("legs: a late ACK keeps the call", "3 no ack",
     uac=[invite(), trying(), r(180), answered(), Gate(when=lambda ctx: ctx.saw(ctx.uac, "SIP/2.0 200", 4), meanwhile=repeated(200, 12)), ack(), Sound(),
          *hang_up()],
     uas=plain_uas(), record=DONE)
# The failure and the BYE come one upon the other. By a stream sipp may have both before it acknowledges the first, whose
# branch is that of its INVITE, four steps before.
_LATE = "branch=[branch-4]"
case("legs: a callee that has lost the call ends both legs", "3 failure", "3 reason",
     uac=[*up(), Sound(), reinvite(2, sdp(version=8)), trying(), *failed(487)[:1], hung_up(41)[0], ack(2).replace("branch=[branch]", _LATE), ok()],
     uas=[*called(), Sound(), invited(reinvite=True), reply(481, "Nobody home", to_tag=False, contact=False, retrans=500), r("ACK")],
     record={**BY_GATEWAY, "ended_by": "callee", "reason": "lost"})
case("legs: a caller that has lost the call ends both legs", "3 failure", "3 reason",
     uac=[*up(), Sound(), invited(reinvite=True), reply(481, "Nobody home", to_tag=False, contact=False, retrans=500), r("ACK")],
     uas=[*called(), Sound(), callee_request("INVITE", 1, sdp(version=8)), trying(), *failed(487)[:1], hung_up(41)[0],
          callee_request("ACK", 1).replace("branch=[branch]", _LATE), ok()],
     record={**BY_GATEWAY, "ended_by": "caller", "reason": "lost"})
case("legs: a lease that ends hangs up where configured", "3 lease ends answered", "3 reason", changes={"leases": {"calls_at_end": "hang-up"}},
     uac=[*up(), Sound(), mark(lambda ctx: ctx.release()), *hung_up(31)], uas=[*called(), Sound(), *hung_up(31)],
     record={**BY_GATEWAY, "reason": "lease_ended", "blocks": "1"})
case("legs: a lease that ends leaves an answered call alone", "3 lease ends answered",
     uac=[*up(), Sound(), Gate(lambda ctx: ctx.release()), AGAIN, *hang_up()], uas=[*called(), Sound(), AGAIN, *hung_up()], record=DONE)
case("legs: no RTP either way ends the call", "3 media.timeout", "3 reason", changes={"media": {"timeout": "5s"}},
     uac=[*up(), Sound(), *hung_up(41)], uas=[*called(), Sound(), *hung_up(41)], record={**BY_GATEWAY, "reason": "media_timeout"})
case("legs: silence on hold does not end the call", "3 media.timeout", changes={"media": {"timeout": "2s"}},
     uac=[*up(), *changes(2, sdp("a=inactive", version=8), {"body": "a=inactive"}), Gate(when=quiet_for(6)), *changes(3, sdp(version=9)), AGAIN, *hang_up(4)],
     uas=[*called(), r("INVITE"), reply(200, "OK", sdp("a=inactive", version=8), to_tag=False, retrans=500), r("ACK"),
          r("INVITE"), reply(200, "OK", sdp(version=9), to_tag=False, retrans=500), r("ACK"), AGAIN, *hung_up()], record=DONE)
case("legs: the maximum duration ends the call", "3 max_duration", "3 reason", changes={"calls": {"max_duration": "8s"}},
     uac=[*up(), Sound(), *hung_up(31)], uas=[*called(), Sound(), *hung_up(31)], record={**BY_GATEWAY, "reason": "max_duration"})
case("legs: credit runs out at the end of the paid block", "3 bye", "3 reason", customer={"account_credit": "200", "charge_block_single": "4"},
     uac=[*up(), Sound(), *hung_up(31)], uas=[*called(), Sound(), *hung_up(31)],
     record={**BY_GATEWAY, "reason": "credit_exhausted", "blocks": "2", "charge": "200"})
