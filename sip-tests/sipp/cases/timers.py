"""Section 3: session timers on each leg on its own (RFC 4028), and calls that ask for another's place."""
from .base import *

QUIET = {"media": {"timeout": "10m"}}
SHORT = {**QUIET, "sip": {"session_expires": "90s"}}


def asks(seconds, refresher=None):
    value = f"{seconds};refresher={refresher}" if refresher else str(seconds)
    return ("Supported: timer", f"Session-Expires: {value}")


def grants(seconds, refresher):
    return ("Require: timer", f"Session-Expires: {seconds};refresher={refresher}")


def timed(seconds, refresher, check=None):
    """The callee's way to an answered call with a session timer."""
    return [invited(check), ring(), reply(200, "OK", sdp(), extra=grants(seconds, refresher), retrans=500), r("ACK")]


def refreshed(seconds):
    """A refresh by the gateway, on either side: the description in force, and its answer."""
    return [invited({"Session-Expires": f"{seconds};refresher=uac", "body": "m=audio [1-9]"}, reinvite=True),
            reply(200, "OK", sdp(), to_tag=False, extra=grants(seconds, "uac"), retrans=500), r("ACK")]


AGAIN = Sound(probe=True)
case("legs: the gateway refreshes both legs at half the interval, and neither hears of the other's", "3 timer refresh", lasts=True, changes=SHORT,
     uac=[*up(extra=asks(90, "uas")), Sound(), *refreshed(90), AGAIN, *hang_up()],
     uas=[*timed(90, "uac", {"Session-Expires": "90"}), Sound(), *refreshed(90), AGAIN, *hung_up()], record={"sip_code": "200", "reason": "completed"})
case("legs: a caller that forgets to refresh is hung up with cause 102", "3 timer dead", "3 reason", lasts=True, changes=QUIET,
     uac=[*up(extra=asks(90, "uac")), Sound(), *hung_up(102)], uas=[*called(), Sound(), *hung_up(102)],
     record={"sip_code": "200", "ended_by": "caller", "reason": "lost", "q850_cause": "102"})
case("legs: a callee that forgets to refresh is hung up with cause 102", "3 timer dead", "3 reason", lasts=True, changes=QUIET,
     uac=[*up(), Sound(), *hung_up(102)], uas=[*timed(90, "uas"), Sound(), *hung_up(102)],
     record={"sip_code": "200", "ended_by": "callee", "reason": "lost", "q850_cause": "102"})

case("legs: a session timer is agreed on each leg on its own", "3 timer",
     uac=[invite(extra=asks(600, "uac")), trying(), r(180), answered(check={"Session-Expires": "600;refresher=uac", "Require": "timer"}),
          ack(), Sound(), *hang_up()],
     uas=[*timed(1200, "uas", {"Session-Expires": "1800", "Supported": "timer"}), Sound(), *hung_up()], record=DONE)
case("legs: an interval that is too short is 422 with Min-SE", "3 timer short",
     uac=[invite(extra=asks(60)), trying(), r(422, check={"Min-SE": "90"}, absent=FORBIDDEN, rrs=False), ack_failure()],
     record={"sip_code": "422", "reason": "sip_refused", "trunk_out": "", "answered_at": ""})
case("legs: the callee's 422 is asked again with its interval", "3 timer short", uac=plain_uac(),
     uas=[invited(), reply(422, "Nobody home", extra=("Min-SE: 3600",), contact=False, retrans=500), r("ACK"),
          *called({"Session-Expires": "3600", "Min-SE": "3600", "CSeq": "2 INVITE"}), Sound(), *hung_up()], record=DONE)
case("legs: the caller refreshes, and the callee hears nothing of it", "3 timer refresh",
     uac=[*up(extra=asks(600, "uac")), Sound(), reinvite(2, extra=asks(600, "uac")), trying(),
          r(200, check={"Session-Expires": "600;refresher=uac", "body": "m=audio [1-9]"}), ack(2), AGAIN, *hang_up(3)],
     uas=[*called(), Sound(), AGAIN, *hung_up()], record=DONE)
case("legs: the callee refreshes, and the caller hears nothing of it", "3 timer refresh",
     uac=[*up(), Sound(), AGAIN, *hang_up()],
     uas=[*timed(1200, "uas"), Sound(), callee_request("INVITE", 1, sdp(), extra=asks(1200, "uac")), trying(),
          r(200, check={"Session-Expires": "1200;refresher=uac", "body": "m=audio [1-9]"}), callee_request("ACK", 1), AGAIN, *hung_up()],
     record=DONE)

for _name in ("Replaces", "Join"):
    refused(f"legs: {_name} is 481 and never acted upon", "3 takeover", status=481, reason="sip_refused",
            invite_with={"extra": (f"{_name}: someone@else;to-tag=1;from-tag=2",)})
refused("admission: a call of ours that comes back is 482", "2 loop", status=482, cause=25, reason="sip_refused",
        invite_with={"extra": ("Via: SIP/2.0/[transport] [remote_ip]:[remote_port];branch=z9hG4bKours",)})
case("legs: Diversion and History-Info are never passed", "3 diversion",
     uac=plain_uac(extra=("Diversion: <sip:+60155550000@else.example>;reason=no-answer",
                          "History-Info: <sip:+60155550000@else.example>;index=1")),
     uas=plain_uas(absent=["Diversion", "History-Info", "60155550000"]), record=DONE)
