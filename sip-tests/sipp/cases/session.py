"""Section 3: what happens while a call is up: re-INVITEs of both sides, REFER, INFO."""
import time
from .base import *

AUDIO = {"body": "m=audio [1-9]"}
PCMU = sdp(version=8).replace("RTP/AVP 8 ", "RTP/AVP 0 ").replace("a=rtpmap:8 PCMA", "a=rtpmap:0 PCMU")
ANSWER = {"sendonly": "recvonly", "recvonly": "sendonly", "inactive": "inactive", "sendrecv": "sendrecv"}
SENDS = ("sendonly", "sendrecv")


def changes(cseq, body, check=None, **how):
    """The caller's re-INVITE."""
    return [reinvite(cseq, body, **how), trying(), r(200, check=check or AUDIO), ack(cseq)]


def changed(body, check=None, absent=None):
    """A re-INVITE from the gateway, answered: of either side."""
    return [invited(check, absent, reinvite=True), reply(200, "OK", body, to_tag=False, retrans=500), r("ACK")]


def callee_changes(cseq, body, check=None):
    return [callee_request("INVITE", cseq, body), trying(), r(200, check=check or AUDIO), callee_request("ACK", cseq)]


AGAIN = Sound(probe=True)


def way(direction):
    return f"a={direction}"


# ---- hold, resume, directions

for _offer in ("sendonly", "recvonly", "inactive"):
    _answer, _hears, _plays = ANSWER[_offer], ANSWER[_offer] in SENDS, _offer in SENDS
    _sounds = Sound(passes=_plays, probe=True), Sound(passes=_hears, probe=True)
    case(f"legs: {_offer} by the caller and resume", "3 hold by caller", "3 directions",
         uac=[*up(), Sound(), *changes(2, sdp(way(_offer), version=8), {"body": way(_answer)}), _sounds[0],
              *changes(3, sdp(version=9), {"body": "m=audio [1-9]"}), AGAIN, *hang_up(4)],
         uas=[*called(), Sound(), *changed(sdp(way(_answer), version=8), {"body": way(_offer)}), _sounds[1],
              *changed(sdp(version=9), absent=["a=sendonly", "a=recvonly", "a=inactive"]), AGAIN, *hung_up()], record=DONE)
    case(f"legs: {_offer} by the callee and resume", "3 hold by callee", "3 directions",
         uac=[*up(), Sound(), *changed(sdp(way(_answer), version=8), {"body": way(_offer)}), _sounds[1],
              *changed(sdp(version=9), absent=["a=sendonly", "a=recvonly", "a=inactive"]), AGAIN, *hang_up()],
         uas=[*called(), Sound(), *callee_changes(1, sdp(way(_offer), version=8), {"body": way(_answer)}), _sounds[0],
              *callee_changes(2, sdp(version=9)), AGAIN, *hung_up()], record=DONE)
_ZERO = sdp(version=8).replace("[media_ip]\nt=", "0.0.0.0\nt=")
_SEEN_ZERO = {"body": "c=IN IP4 0\\.0\\.0\\.0"}
# Who is told 0.0.0.0 has nowhere to send to; and whoever said so is not the address that it has described.
_HOLDS = Sound(passes=False, probe=True, solo=True)
case("legs: hold with c=0.0.0.0 by the caller passes as meant, and resume", "3 zero", "3 hold by caller",
     uac=[*up(), Sound(), *changes(2, _ZERO), _HOLDS, *changes(3, sdp(version=9)), AGAIN, *hang_up(4)],
     uas=[*called(), Sound(), *changed(sdp(version=8), _SEEN_ZERO), *changed(sdp(version=9), absent=["0\\.0\\.0\\.0"]), AGAIN, *hung_up()],
     record=DONE)
case("legs: hold with c=0.0.0.0 by the callee passes as meant, and resume", "3 zero", "3 hold by callee",
     uac=[*up(), Sound(), *changed(sdp(version=8), _SEEN_ZERO), *changed(sdp(version=9), absent=["0\\.0\\.0\\.0"]), AGAIN, *hang_up()],
     uas=[*called(), Sound(), *callee_changes(1, _ZERO), _HOLDS, *callee_changes(2, sdp(version=9)), AGAIN, *hung_up()], record=DONE)
case("legs: a re-INVITE refused leaves the call as it was", "3 hold by caller", "3 nothing else",
     uac=[*up(), Sound(), reinvite(2, sdp("a=sendonly", version=8)), trying(), r(488, absent=FORBIDDEN, rrs=False), ack_failure(cseq=2), AGAIN, *hang_up(3)],
     uas=[*called(), Sound(), invited(reinvite=True), reply(488, "Nobody home", to_tag=False, contact=False, extra=("X-Secret: x",), retrans=500), r("ACK"),
          AGAIN, *hung_up()], record=DONE)

# ---- codec, address, offers

_TO_PCMU = {"body": "m=audio [0-9]+ RTP/AVP 0 101.*a=rtpmap:0 PCMU"}
_IN_PCMU = Sound(probe=True, payload_type=0)
case("legs: the caller changes the codec", "3 codec", uac=[*up(), Sound(), *changes(2, PCMU, _TO_PCMU), _IN_PCMU, *hang_up(3)],
     uas=[*called(), Sound(), *changed(PCMU, _TO_PCMU, absent=["PCMA"]), _IN_PCMU, *hung_up()], record=DONE)
case("legs: the callee changes the codec", "1 in dialog", "3 codec", uac=[*up(), Sound(), *changed(PCMU, _TO_PCMU, absent=["PCMA"]), _IN_PCMU, *hang_up()],
     uas=[*called(), Sound(), *callee_changes(1, PCMU, _TO_PCMU), _IN_PCMU, *hung_up()], record=DONE)
_MOVED, _THERE = sdp(ear=20, version=8), Sound(probe=True, ear=20)
case("legs: the caller changes the address", "3 address", uac=[*up(), Sound(), *changes(2, _MOVED), _THERE, *hang_up(3)],
     uas=[*called(), Sound(), *changed(sdp(), AUDIO, absent=["6020"]), AGAIN, *hung_up()], record=DONE)
case("legs: the callee changes the address", "3 address", uac=[*up(), Sound(), *changed(sdp(), AUDIO, absent=["6020"]), AGAIN, *hang_up()],
     uas=[*called(), Sound(), *callee_changes(1, _MOVED), _THERE, *hung_up()], record=DONE)
case("legs: a re-INVITE of the caller without an offer", "3 delayed offer",
     uac=[*up(), Sound(), reinvite(2, sdp_none=True), trying(), r(200, check=AUDIO), ack(2, body=sdp(version=8)), AGAIN, *hang_up(3)],
     uas=[*called(), Sound(), invited(absent=["m=audio"], reinvite=True), reply(200, "OK", sdp(version=8), to_tag=False, retrans=500), r("ACK", check=AUDIO),
          AGAIN, *hung_up()], record=DONE)
case("legs: a re-INVITE of the callee without an offer", "3 delayed offer",
     uac=[*up(), Sound(), invited(absent=["m=audio"], reinvite=True), reply(200, "OK", sdp(version=8), to_tag=False, retrans=500), r("ACK", check=AUDIO),
          AGAIN, *hang_up()],
     uas=[*called(), Sound(), callee_request("INVITE", 1), trying(), r(200, check=AUDIO), callee_request("ACK", 1, sdp(version=8)), AGAIN, *hung_up()],
     record=DONE)

# ---- glare

case("legs: re-INVITEs that cross are 491, and the first goes on", "3 glare", "3 hold by caller",
     uac=[*up(), Sound(), *changes(2, sdp("a=sendonly", version=8), {"body": "a=recvonly"}), Sound(probe=True), *hang_up(3)],
     uas=[*called(), Sound(), invited({"body": "a=sendonly"}, reinvite=True), callee_request("INVITE", 7, sdp(version=8)), trying(),
          r(491, absent=FORBIDDEN), callee_request("ACK", 7, via="[last_Via:]"), late(200, "OK", sdp("a=recvonly", version=8)), r("ACK"),
          Sound(passes=False, probe=True), *hung_up()], record=DONE)
case("legs: the caller's re-INVITE that got 491 is tried again after 2.1 s", "3 glare again",
     # We own the Call-ID of the callee's leg: 2.1 to 4 s (RFC 3261 section 14.1).
     uac=[*up(), Sound(), *changes(2, sdp(version=8)), AGAIN, *hang_up(3)],
     uas=[*called(), Sound(), invited(reinvite=True), reply(491, "Request Pending", to_tag=False, contact=False, retrans=500), r("ACK"),
          *changed(sdp(version=8)), AGAIN, *hung_up()], record=DONE, after=lambda ctx: ctx.between(ctx.uas, "ACK ", "INVITE ", 2.1))
case("legs: the callee's re-INVITE that got 491 is tried again", "3 glare again",
     uac=[*up(), Sound(), invited(reinvite=True), reply(491, "Request Pending", to_tag=False, contact=False, retrans=500), r("ACK"),
          *changed(sdp(version=8)), AGAIN, *hang_up()],
     uas=[*called(), Sound(), *callee_changes(1, sdp(version=8)), AGAIN, *hung_up()], record=DONE)

# ---- REFER and INFO: what a side is not shown would come to its sipp as a message that it does not expect

REFER = {"extra": ("Refer-To: <sip:x@127.0.0.9>",)}
case("legs: REFER of the caller is refused", "3 refer", uac=[*up(), request("REFER", 2, **REFER), r(603, absent=FORBIDDEN), Sound(), *hang_up(3)],
     uas=plain_uas(), record=DONE)
case("legs: REFER of the callee is refused", "3 refer", uac=plain_uac(),
     uas=[*called(), callee_request("REFER", 1, **REFER), r(603, absent=FORBIDDEN), Sound(), *hung_up()], record=DONE)
DTMF = {"body": "Signal=5\nDuration=160\n", "ctype": "application/dtmf-relay"}
TONE = r("INFO", check={"Content-Type": "application/dtmf-relay", "body": "Signal=5"}, absent=["X-Secret"])
_MORE = {"extra": ("X-Secret: x",)}
case("legs: INFO of the caller passes for DTMF alone", "3 info",
     uac=[*up(), Sound(), request("INFO", 2, **DTMF, **_MORE), r(200), request("INFO", 3, body="v=0\n"), r(415), AGAIN, *hang_up(4)],
     uas=[*called(), Sound(), TONE, ok(), AGAIN, *hung_up()], record=DONE)
case("legs: INFO of the callee passes for DTMF alone", "3 info",
     uac=[*up(), Sound(), TONE, ok(), AGAIN, *hang_up()],
     uas=[*called(), Sound(), callee_request("INFO", 1, **DTMF, **_MORE), r(200), callee_request("INFO", 2, body="v=0\n"), r(415), AGAIN, *hung_up()],
     record=DONE)
