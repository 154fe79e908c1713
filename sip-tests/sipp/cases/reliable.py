"""Section 3: 100rel and PRACK on each leg on its own, UPDATE before and after the answer, P-Early-Media."""
from .base import *

AUDIO = {"body": "m=audio [1-9]"}
ALLOW = "Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, PRACK, UPDATE"
SUPPORTED, REQUIRED = "Supported: 100rel", "Require: 100rel"
RELIABLE = (REQUIRED, "RSeq: 77", ALLOW)
BARE = ["RSeq:", "Require:"]


def reliable(status, check=None, absent=None):
    """A reliable provisional response, whose RSeq a PRACK repeats, and whose To the requests of this dialog."""
    remember = ('<ereg regexp="&lt;.*" search_in="hdr" header="To:" assign_to="peer"/>\n'
                '<ereg regexp="[0-9]+" search_in="hdr" header="RSeq:" check_it="true" assign_to="rseq"/>\n'
                '<ereg regexp="100rel" search_in="hdr" header="Require:" check_it="true" assign_to="rseq_required"/>\n')
    text = r(status, check=check, absent=absent)
    head = f'<recv response="{status}" rrs="true">'
    inner = text.partition("<action>")[2].partition("</action>")[0]
    return f"{head}<action>{remember}{inner}</action></recv>\n"


def prack(cseq=2, body=None, rack="[$rseq] 1 INVITE"):
    return request("PRACK", cseq, body, extra=(f"RAck: {rack}",))


def acknowledged(cseq=2, body=None, check=None):
    return [prack(cseq, body), r(200, check=check, rrs=False)]


def callee_rings(status=183, body=None, extra=RELIABLE, check=None):
    """The callee's reliable response and its PRACK."""
    phrase = "Ringing" if status == 180 else "Session Progress"
    return [reply(status, phrase, body, extra=extra), r("PRACK", check={"RAck": "77 1 INVITE", **(check or {})}), ok()]


def callee_answers(body=True):
    return [late(200, "OK", sdp() if body else None), r("ACK")]


def after_prack(times=1):
    """Until the caller has the 200 to its PRACK: the next 200 is another."""
    return Gate(when=lambda ctx: ctx.saw(ctx.uac, "SIP/2.0 200", times))


def updated(body, check=None):
    """An UPDATE from the gateway, answered: of either side."""
    return [r("UPDATE", check=check), reply(200, "OK", body, to_tag=False, extra=(ALLOW,))]


# ---- PRACK, each leg on its own

case("legs: the callee's reliable 180 gets its PRACK, the caller a plain 180", "3 prack callee", "3 prack apart",
     uac=[invite(), trying(), r(180, absent=BARE), answered(), ack(), Sound(), *hang_up()],
     uas=[invited(check={"Supported": "100rel"}), *callee_rings(180), *callee_answers(), Sound(), *hung_up()], record=DONE)
case("legs: the callee's reliable 183 is its answer", "3 prack callee", "3 prack apart",
     uac=[invite(), trying(), r(183, check=AUDIO, absent=BARE), Sound(), answered(check=AUDIO), ack(), Sound(), *hang_up()],
     uas=[invited(), *callee_rings(body=sdp()), Sound(), *callee_answers(False), Sound(), *hung_up()], record=DONE)
case("legs: a caller that requires 100rel gets all its 18x reliably", "3 prack caller", "3 prack apart",
     uac=[invite(extra=(REQUIRED,)), trying(), reliable(180), *acknowledged(), answered(), ack(), Sound(), *hang_up(3)],
     uas=[invited(), ring(), after_prack(), *callee_answers(), Sound(), *hung_up()], record=DONE)
case("legs: a caller that supports 100rel gets an 18x with SDP reliably, another plainly", "3 prack caller", "3 prack apart",
     uac=[invite(extra=(SUPPORTED,)), trying(), r(180, absent=BARE), reliable(183, check=AUDIO), *acknowledged(), answered(), ack(), Sound(), *hang_up(3)],
     uas=[invited(), ring(), ring(status=183, body=sdp()), after_prack(), *callee_answers(), Sound(), *hung_up()], record=DONE)
case("legs: both legs reliable, each with its own numbers", "3 prack caller", "3 prack callee", "3 prack apart",
     uac=[invite(extra=(REQUIRED,)), trying(), reliable(183, check=AUDIO), *acknowledged(), answered(), ack(), Sound(), *hang_up(3)],
     uas=[invited(), *callee_rings(body=sdp()), after_prack(), *callee_answers(False), Sound(), *hung_up()], record=DONE)
case("legs: a PRACK that acknowledges nothing is 481", "3 prack caller",
     uac=[invite(extra=(REQUIRED,)), trying(), reliable(180), prack(2, rack="99999 1 INVITE"), r(481, rrs=False), *acknowledged(3), answered(), ack(), Sound(),
          *hang_up(4)],
     uas=[invited(), ring(), after_prack(), *callee_answers(), Sound(), *hung_up()], record=DONE)
case("legs: the 200 waits for the PRACK of what was described reliably", "3 prack caller",
     uac=[invite(extra=(SUPPORTED,)), trying(), reliable(183, check=AUDIO), Gate(when=lambda ctx: ctx.saw(ctx.uas, "ACK ")), *acknowledged(), answered(),
          ack(), Sound(), *hang_up(3)],
     uas=[invited(), ring(status=183, body=sdp()), answer(), r("ACK"), Sound(), *hung_up()], record=DONE)
case("legs: a trunk without reliable provisional responses", "3 prack off", changes={"outbound": {"reliable_provisionals": "off"}},
     uac=[invite(extra=(SUPPORTED,)), trying(), r(180), answered(), ack(), Sound(), *hang_up()],
     uas=[invited(absent=["100rel"]), ring(), answer(), r("ACK"), Sound(), *hung_up()], record=DONE)
case("legs: Require: 100rel where the trunk has it off is 420", "3 prack off", changes={"inbound": {"reliable_provisionals": "off"}},
     uac=[invite(extra=(REQUIRED,)), trying(), r(420, check={"Unsupported": "100rel"}, absent=FORBIDDEN, rrs=False), ack_failure()],
     record={"sip_code": "420", "reason": "sip_refused"})
case("legs: a trunk that requires reliable provisional responses", "3 prack off", changes={"outbound": {"reliable_provisionals": "required"}},
     uac=[*up(), Sound(), *hang_up()], uas=[invited(check={"Require": "100rel"}), *callee_rings(180), *callee_answers(), Sound(), *hung_up()], record=DONE)

# ---- offers before the answer

case("legs: delayed offer in a reliable 183, answered by PRACK on both legs", "3 prack offer", "3 delayed offer",
     uac=[invite(sdp_none=True, extra=(SUPPORTED,)), trying(), reliable(183, check=AUDIO), *acknowledged(body=sdp()), answered(absent=["m=audio"]), ack(),
          Sound(), *hang_up(3)],
     uas=[invited(check={"Supported": "100rel"}, absent=["m=audio"]), *callee_rings(body=sdp(), check=AUDIO), after_prack(), *callee_answers(False), Sound(),
          *hung_up()], record=DONE)
case("legs: delayed offer of a caller without 100rel asks the callee for no offer before the answer", "3 prack offer",
     uac=[invite(sdp_none=True), trying(), r(180), answered(check=AUDIO), ack(body=sdp()), Sound(probe=True), *hang_up()],
     uas=[invited(absent=["m=audio", "100rel"]), ring(), answer(), r("ACK", check=AUDIO), Sound(probe=True), *hung_up()], record=DONE)
_NEW = sdp("a=sendonly", version=8)
_NEW_ANSWER = sdp("a=recvonly", version=8)
_FROM_CALLEE = {"body": "a=sendonly"}, {"body": "a=recvonly"}
case("legs: UPDATE of the callee before the answer passes as UPDATE", "3 update early",
     uac=[invite(extra=(SUPPORTED, ALLOW)), trying(), reliable(183), *acknowledged(), *updated(_NEW_ANSWER, _FROM_CALLEE[0]), answered(absent=["m=audio"]),
          ack(), Sound(passes=False, probe=True), *hang_up(3)],
     uas=[invited(), *callee_rings(body=sdp()), after_prack(), callee_request("UPDATE", 1, _NEW), r(200, check=_FROM_CALLEE[1]), *callee_answers(False),
          Sound(probe=True), *hung_up()], record=DONE)
case("legs: UPDATE of the caller before the answer passes as UPDATE", "3 update early",
     uac=[invite(extra=(SUPPORTED, ALLOW)), trying(), reliable(183), *acknowledged(), request("UPDATE", 3, _NEW), r(200, check=_FROM_CALLEE[1]),
          answered(absent=["m=audio"]), ack(), Sound(probe=True), *hang_up(4)],
     uas=[invited(), *callee_rings(body=sdp()), *updated(_NEW_ANSWER, _FROM_CALLEE[0]), after_prack(2), *callee_answers(False),
          Sound(passes=False, probe=True), *hung_up()], record=DONE)
case("legs: an offer in a PRACK is answered in its 200, by UPDATE on the other leg", "3 update early", "3 prack offer",
     uac=[invite(extra=(SUPPORTED, ALLOW)), trying(), reliable(183), *acknowledged(2, _NEW, _FROM_CALLEE[1]), answered(absent=["m=audio"]), ack(),
          Sound(probe=True), *hang_up(3)],
     uas=[invited(), *callee_rings(body=sdp()), *updated(_NEW_ANSWER, _FROM_CALLEE[0]), after_prack(), *callee_answers(False),
          Sound(passes=False, probe=True), *hung_up()], record=DONE)
case("legs: UPDATE of the callee before the answer that the caller cannot be sent is 504", "3 update early",
     uac=[invite(), trying(), r(183, check=AUDIO), answered(), ack(), Sound(), *hang_up()],
     uas=[invited(), *callee_rings(body=sdp()), callee_request("UPDATE", 1, _NEW), r(504, absent=FORBIDDEN), *callee_answers(False), Sound(), *hung_up()],
     record=DONE)

# ---- UPDATE after it

_TAKES = (ALLOW,)
_UP = [invite(extra=_TAKES), trying(), r(180), answered(), ack()]
_CALLED = [invited(), ring(), reply(200, "OK", sdp(), extra=_TAKES, retrans=500), r("ACK")]
case("legs: UPDATE of the caller for hold passes as UPDATE", "3 update",
     uac=[*_UP, Sound(), request("UPDATE", 2, _NEW), r(200, check=_FROM_CALLEE[1]), Sound(probe=True), *hang_up(3)],
     uas=[*_CALLED, Sound(), *updated(_NEW_ANSWER, _FROM_CALLEE[0]), Sound(passes=False, probe=True), *hung_up()], record=DONE)
case("legs: UPDATE of the callee for hold passes as UPDATE", "1 in dialog", "3 update",
     uac=[*_UP, Sound(), *updated(_NEW_ANSWER, _FROM_CALLEE[0]), Sound(passes=False, probe=True), *hang_up()],
     uas=[*_CALLED, Sound(), callee_request("UPDATE", 1, _NEW), r(200, check=_FROM_CALLEE[1]), Sound(probe=True), *hung_up()], record=DONE)
case("legs: UPDATE towards a callee that does not list it becomes a re-INVITE", "3 update",
     uac=[*_UP, Sound(), request("UPDATE", 2, _NEW), r(200, check=_FROM_CALLEE[1]), Sound(probe=True), *hang_up(3)],
     uas=[*called(), Sound(), invited(_FROM_CALLEE[0], reinvite=True), reply(200, "OK", _NEW_ANSWER, to_tag=False, retrans=500), r("ACK"),
          Sound(passes=False, probe=True), *hung_up()], record=DONE)
case("legs: UPDATE without an offer is answered here", "3 update",
     uac=[*_UP, Sound(), request("UPDATE", 2), r(200, absent=["m=audio"]), Sound(), *hang_up(3)], uas=[*_CALLED, Sound(), Sound(), *hung_up()], record=DONE)
def _again(ctx):
    """We own the Call-ID of the callee's leg: 2.1 to 4 s (RFC 3261 section 14.1)."""
    first, second = ctx.uas.times("UPDATE ")[0], ctx.uas.times("UPDATE ")[-1]
    ctx.check(2.1 <= second - first <= 5, f"the UPDATE came again after {second - first:.2f} s")


case("legs: UPDATEs that cross are 491, and the first goes on", "3 update glare",
     uac=[*_UP, Sound(), request("UPDATE", 2, _NEW), r(200, check=_FROM_CALLEE[1]), Sound(probe=True), *hang_up(3)],
     uas=[*_CALLED, Sound(), r("UPDATE", check=_FROM_CALLEE[0]),
          reply(491, "Request Pending", to_tag=False, contact=False), *updated(_NEW_ANSWER, _FROM_CALLEE[0]), Sound(passes=False, probe=True), *hung_up()],
     record=DONE, after=_again)

# ---- P-Early-Media (RFC 5009)

_TRUSTED = {"outbound": {"trusted": True}, "inbound": {"trusted": True}}
case("legs: a trusted callee's trunk says that early media is not to be heard", "3 early media said", changes=_TRUSTED,
     uac=[invite(extra=("P-Early-Media: supported",)), trying(), r(180, absent=["m=audio", "P-Early-Media"]), answered(check=AUDIO), ack(), Sound(probe=True),
          *hang_up()],
     uas=[invited(check={"P-Early-Media": "supported"}), reply(183, "Session Progress", sdp(), extra=("P-Early-Media: inactive",)), answer(), r("ACK"),
          Sound(probe=True), *hung_up()], record=DONE)
case("legs: a trusted caller's trunk that asks is told of early media", "3 early media said", changes=_TRUSTED,
     uac=[invite(extra=("P-Early-Media: supported",)), trying(), r(183, check={"P-Early-Media": "sendrecv$|sendrecv\r", **AUDIO}), Sound(), answered(), ack(),
          Sound(), *hang_up()],
     uas=[invited(), reply(183, "Session Progress", sdp(), extra=("P-Early-Media: sendrecv, gated",)), Sound(), answer(), r("ACK"), Sound(), *hung_up()],
     record=DONE)
