"""The SIPp cases: sip-bridging section 2, a row a case, and section 3, a bullet a case or more."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from sipp import *

CALLER, STRANGER, DRIVER, RIDER = "+60199990001", "+60199990002", "+60122223333", "+60133334444"
CASES = []


class Case:
    def __init__(self, name, uac=None, uas=None, lease="single", record=None, changes=None, before=None, during=None,
                 after=None, customer=None, packets=0, dial=None, caller_ip="caller", held=None, once="SIP/2.0 180", **lease_form):
        self.name, self.uac, self.uas, self.lease = name, uac, uas, lease
        self.record, self.changes, self.before, self.during, self.after = record, changes or {}, before, during, after
        self.customer, self.packets, self.dial, self.caller_ip = customer or {}, packets, dial, caller_ip
        # `during` is done once this stands in the caller's log.
        self.lease_form, self.held, self.once = lease_form, held, once


def case(name, **kw):
    CASES.append(Case(name, **kw))


def refusal(status, cause=None, caller=CALLER, **kw):
    """The caller's whole scenario where the INVITE is refused, with the Reason of section 2."""
    check = {"Reason": f"Q.850.*cause={cause}([^0-9]|$)"} if cause else None
    return [invite(caller=caller, **kw), trying(), r(status, check=check, rrs=False), ack_failure(caller=caller)]


def plain_uac(hold_ms=300, **kw):
    return [invite(**kw), trying(), r(180), r(200), ack(), pause(hold_ms), bye(), r(200, rrs=False)]


def plain_uas(check=None, absent=None, end_check=None):
    return [invited(check, absent), ring(), answer(), r("ACK"), r("BYE", check=end_check), ok()]


def callee_fails(status, phrase, extra=()):
    return [invited(), ring(), reply(status, phrase, tag="s", extra=extra, contact=False, retrans=500), r("ACK")]


CANCELLED = [invited(), ring(), r("CANCEL", check={"Reason": "cause="}), ok(), reply_invite(487, "Request Terminated"), r("ACK")]


# ---- section 2: admission, a row a case

case("admission: draining: 503 with Retry-After", uac=[invite(), r(503, check={"Retry-After": "[0-9]+", "Reason": "cause=42"}, rrs=False), ack_failure()],
     before=lambda g, ctx: ctx.drain(), record=None)
case("admission: missing From is 400", uac=[invite(drop=("From",)), r(400, rrs=False)], record=None)
case("admission: method not ours is 405 with Allow",
     uac=[raw("""SUBSCRIBE sip:[service]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch]
From: <sip:x@[local_ip]>;tag=1
To: <sip:[service]@[remote_ip]>
Call-ID: [call_id]
CSeq: 1 SUBSCRIBE
Max-Forwards: 70
Event: presence
Content-Length: 0

"""), r(405, check={"Allow": "INVITE"}, rrs=False)], record=None)
case("admission: scheme not ours is 416", uac=[invite(uri="http://example.com/x"), trying(), r(416, rrs=False), ack_failure()],
     record={"sip_code": "416"})
case("admission: Require not ours is 420 with Unsupported",
     uac=[invite(extra=("Require: 100rel, teleport",)), trying(), r(420, check={"Unsupported": "100rel.*teleport"}, rrs=False), ack_failure()],
     record={"sip_code": "420"})
case("admission: body type not ours is 415 with Accept",
     uac=[invite(ctype="text/plain"), trying(), r(415, check={"Accept": "application/sdp"}, rrs=False), ack_failure()],
     record={"sip_code": "415"})
case("admission: Max-Forwards 0 is 483", uac=refusal(483, 25, max_forwards="0"), record={"sip_code": "483", "q850_cause": "25"})
case("admission: trunk over its caps is 503 without Retry-After",
     uac=[invite(), trying(), r(503, check={"Reason": "cause=34"}, absent=["Retry-After"], rrs=False), ack_failure()],
     changes={"inbound": {"max_calls": 1}}, held=True, record={"sip_code": "503", "q850_cause": "34"})
case("admission: emergency number is 403", uac=refusal(403, 21), dial="999", record={"sip_code": "403", "q850_cause": "21"})
case("admission: number not in the pool is 404", uac=refusal(404, 1), dial="+60388889999", record={"sip_code": "404", "q850_cause": "1"})
case("admission: no lease on the number is 404", uac=refusal(404, 1), dial="+60388880999",
     record={"sip_code": "404", "reason": "no_lease"})
case("admission: no lease answers 480 where configured", uac=refusal(480, 1), dial="+60388880999",
     changes={"calls": {"no_lease": 480}}, record={"sip_code": "480", "reason": "no_lease"})
case("admission: released lease is 404", uac=refusal(404, 1), before=lambda g, ctx: g.api("leasesingle/release", reference_id=ctx.reference),
     record={"sip_code": "404", "reason": "no_lease"})
case("admission: caller not on the whitelist is 403", uac=refusal(403, 21, caller=STRANGER), cw=CALLER, record={"sip_code": "403", "q850_cause": "21"})
case("admission: caller on the whitelist is connected", uac=plain_uac(), uas=plain_uas(), cw=CALLER, record={"sip_code": "200"})
case("admission: group call without a usable identity is 433", lease="group", uac=refusal(433, 24, caller="anonymous"),
     record={"sip_code": "433", "q850_cause": "24"})
case("admission: group call by a stranger is 403", lease="group", uac=refusal(403, 21, caller=STRANGER), record={"sip_code": "403", "q850_cause": "21"})
case("admission: member who dials their own leased number is 403", lease="group", uac=refusal(403, 21, caller=DRIVER),
     record={"sip_code": "403", "q850_cause": "21"})
case("admission: suspended account is 403", uac=refusal(403, 21),
     before=lambda g, ctx: g.api("customer/update", customer_id=ctx.customer, account_status="2"), record={"sip_code": "403", "q850_cause": "21"})
case("admission: service disabled is 403", uac=refusal(403, 21),
     before=lambda g, ctx: g.api("customer/update", customer_id=ctx.customer, enable_single_service="0"), record={"sip_code": "403", "q850_cause": "21"})
case("admission: balance under the first block is 480", uac=refusal(480, 18), customer={"account_credit": "99"},
     record={"sip_code": "480", "q850_cause": "18", "reason": "no_credit"})
case("admission: balance under the first block is 402 where configured", uac=refusal(402, 18), customer={"account_credit": "99"},
     changes={"calls": {"no_credit": 402}}, record={"sip_code": "402"})
case("admission: postpaid needs no balance", uac=plain_uac(), uas=plain_uas(), customer={"account_credit": "0", "charge_method": "2"},
     record={"sip_code": "200", "charge": "100"})
case("admission: calls.per_lease reached is 486", uac=refusal(486, 17), held=True, record={"sip_code": "486", "q850_cause": "17"})
case("admission: calls.per_customer reached is 486", uac=refusal(486, 17), held=True,
     changes={"calls": {"per_lease": 0, "per_customer": 1}}, record={"sip_code": "486", "q850_cause": "17"})
case("admission: nothing but DTLS-SRTP in the offer is 488",
     uac=refusal(488, 88, body=sdp().replace("RTP/AVP", "UDP/TLS/RTP/SAVPF")), record={"sip_code": "488", "q850_cause": "88"})
case("admission: no media port is 503 without Retry-After",
     uac=[invite(), trying(), r(503, check={"Reason": "cause=34"}, absent=["Retry-After"], rrs=False), ack_failure()],
     changes={"media": {"ports": "20000-20003"}, "calls": {"per_lease": 0}}, held=True, record={"sip_code": "503", "q850_cause": "34"})
case("admission: an unknown source gets no answer", uac=[invite().replace(' retrans="500"', ""), pause(1500)],
     caller_ip="stranger", record=None, after=lambda g, ctx: ctx.silence())

# ---- section 3: two legs

case("legs: single call, sound both ways, caller ends", uac=[invite(), trying(), r(180), r(200), ack(), "PLAY", pause(4000), bye(), r(200, rrs=False)],
     uas=plain_uas(check={"From": "60199990001"}, end_check={"Reason": "cause=16"}), packets=50,
     record={"sip_code": "200", "reason": "completed", "ended_by": "caller", "blocks": "1", "charge": "100",
             "to_callee_packets": "50", "to_caller_packets": "50", "to_callee_lost": "0"})
case("legs: group call shows the leased number, callee ends", lease="group",
     uac=[invite(caller=RIDER), trying(), r(180), r(200, absent=["60122223333"]), ack(), "PLAY",
          r("BYE", check={"Reason": "cause=16"}, absent=["60122223333"]), ok()],
     uas=[invited(check={"From": "SHOWN"}, absent=["60133334444"]), ring(), answer(), r("ACK", absent=["60133334444"]), pause(4000),
          callee_request("BYE"), r(200, rrs=False)], packets=50,
     record={"sip_code": "200", "ended_by": "callee", "lease_kind": "group", "to_callee_packets": "50", "to_caller_packets": "50"})
case("legs: early media in 183 passes", uac=[invite(), trying(), r(183, check={"body": "m=audio [1-9]"}), r(200), ack(), pause(200), bye(), r(200, rrs=False)],
     uas=[invited(), ring(status=183, body=sdp()), pause(200), answer(), r("ACK"), r("BYE"), ok()], record={"sip_code": "200"})
case("legs: early media is blocked where the trunk says so",
     uac=[invite(), trying(), r(180, absent=["m=audio"]), r(200, check={"body": "m=audio [1-9]"}), ack(), pause(200), bye(), r(200, rrs=False)],
     uas=[invited(), ring(body=sdp()), pause(200), answer(), r("ACK"), r("BYE"), ok()], changes={"outbound": {"early_media": "block"}},
     record={"sip_code": "200"})
case("legs: forked early dialogs, the first to be answered wins",
     uac=[invite(), trying(), r(180), r(180), r(200), ack(), pause(300), bye(), r(200, rrs=False)],
     uas=[invited(), ring(tag="one"), pause(50), ring(tag="s"), pause(100), answer(tag="s"), r("ACK"), r("BYE"), ok()],
     record={"sip_code": "200"}, after=lambda g, ctx: ctx.two_tags())
case("legs: delayed offer",
     uac=[invite(sdp_none=True), trying(), r(180), r(200, check={"body": "m=audio [1-9]"}), ack(body=sdp()), pause(300), bye(), r(200, rrs=False)],
     uas=[invited(absent=["m=audio"]), ring(), answer(), r("ACK", check={"body": "m=audio [1-9]"}), r("BYE"), ok()], record={"sip_code": "200"})
case("legs: hold and resume by the caller",
     uac=[invite(), trying(), r(180), r(200), ack(), pause(200),
          reinvite(2, body=sdp("a=sendonly")), trying(), r(200, check={"body": "a=recvonly"}), ack(2), pause(200),
          reinvite(3), trying(), r(200, check={"body": "a=sendrecv|m=audio"}), ack(3), pause(200), bye(4), r(200, rrs=False)],
     uas=[invited(), ring(), answer(), r("ACK"), r("INVITE", check={"body": "a=sendonly"}), reply(200, "OK", sdp("a=recvonly"), to_tag=False, retrans=500), r("ACK"),
          r("INVITE", absent=["a=sendonly"]), reply(200, "OK", sdp(), to_tag=False, retrans=500), r("ACK"), r("BYE"), ok()], record={"sip_code": "200"})
case("legs: hold by the callee",
     uac=[invite(), trying(), r(180), answered(), ack(), r("INVITE", check={"body": "a=sendonly"}), reply(200, "OK", sdp("a=recvonly"), to_tag=False, retrans=500),
          r("ACK"), pause(200), bye(2).replace("[last_To:]", "To: [$peer]"), r(200, rrs=False)],
     # The callee has our ACK before we have the caller's, and an offer of theirs meanwhile would be glare.
     uas=[invited(), ring(), answer(), r("ACK"), pause(2500), callee_request("INVITE", 1, sdp("a=sendonly")), trying(),
          r(200, check={"body": "a=recvonly"}), callee_request("ACK", 1), r("BYE"), ok()], record={"sip_code": "200"})
case("legs: hold with c=0.0.0.0 passes as meant",
     uac=[invite(), trying(), r(180), r(200), ack(), pause(100), reinvite(2, body=sdp().replace("[media_ip]\nt=", "0.0.0.0\nt=")), trying(), r(200), ack(2),
          pause(200), bye(3), r(200, rrs=False)],
     uas=[invited(), ring(), answer(), r("ACK"), r("INVITE", check={"body": "c=IN IP4 0\\.0\\.0\\.0"}), reply(200, "OK", sdp(), to_tag=False, retrans=500), r("ACK"), r("BYE"), ok()],
     record={"sip_code": "200"})
case("legs: further media lines get port 0",
     uac=[invite(body=sdp() + "m=video 7000 RTP/AVP 96\na=rtpmap:96 H264/90000\n"), trying(), r(180), r(200, check={"body": "m=video 0 "}), ack(), pause(200), bye(), r(200, rrs=False)],
     uas=plain_uas(check={"body": "m=video 0 "}), record={"sip_code": "200"})
case("legs: CANCEL while it rings is 487", uac=[invite(), trying(), r(180, rrs=False), cancel(), r(200, rrs=False), r(487, rrs=False), ack_failure()],
     uas=CANCELLED,
     record={"sip_code": "487", "reason": "cancelled", "ended_by": "caller", "charge": "0"})
case("legs: CANCEL crossing 200: the callee gets ACK and BYE",
     uac=[invite(), trying(), r(180, rrs=False), cancel(), r(200, rrs=False), r(487, rrs=False), ack_failure()],
     uas=[invited(), ring(), r("CANCEL"), ok(), reply_invite(200, "OK", sdp()), r("ACK"), r("BYE"), ok()], record={"sip_code": "487", "reason": "cancelled"})
case("legs: no answer is 480", uac=[invite(), trying(), r(180, rrs=False), r(480, check={"Reason": "cause=19"}, rrs=False), ack_failure()],
     uas=CANCELLED, changes={"calls": {"ring_timeout": "4s"}}, record={"sip_code": "480", "q850_cause": "19", "reason": "no_answer"})
case("legs: a lease that ends while it rings cancels the call", uac=[invite(), trying(), r(180, rrs=False), r(480, check={"Reason": "cause=31"}, rrs=False), ack_failure()],
     uas=CANCELLED, during=lambda g, ctx: g.api("leasesingle/release", reference_id=ctx.reference), record={"sip_code": "480", "q850_cause": "31"})
case("legs: a lease that ends hangs up where configured", uac=[invite(), trying(), r(180), r(200), ack(), r("BYE"), ok()],
     uas=plain_uas(), changes={"leases": {"calls_at_end": "hang-up"}}, once="ACK sip", during=lambda g, ctx: g.api("leasesingle/release", reference_id=ctx.reference),
     record={"sip_code": "200", "ended_by": "gateway"})
case("legs: a lease that ends leaves an answered call alone", uac=plain_uac(4000), uas=plain_uas(), once="ACK sip",
     during=lambda g, ctx: g.api("leasesingle/release", reference_id=ctx.reference), record={"sip_code": "200", "ended_by": "caller"})
case("legs: a 200 without ACK is repeated, then both legs end, at no charge",
     uac=[invite(), trying(), r(180), r(200), r("BYE"), ok()], uas=plain_uas(),
     record={"sip_code": "200", "charge": "0", "blocks": "0"}, after=lambda g, ctx: ctx.repeated("SIP/2.0 200", 6))
case("legs: a late ACK keeps the call", uac=[invite(), trying(), r(180), r(200), pause(6000), ack(), pause(300), bye(), r(200, rrs=False)], uas=plain_uas(),
     record={"sip_code": "200", "blocks": "1"}, after=lambda g, ctx: ctx.repeated("SIP/2.0 200", 2))
case("legs: 3xx is not followed", uac=[invite(), trying(), r(180, rrs=False), r(480, absent=["elsewhere"], rrs=False), ack_failure()],
     uas=callee_fails(302, "Moved Temporarily", ("Contact: <sip:elsewhere@127.0.0.9>",)), record={"sip_code": "480"})
for status, phrase, passed in [(404, "Not Found", 404), (410, "Gone", 410), (480, "Nobody home +60122223333", 480), (484, "Address Incomplete", 484), (486, "Busy Here", 486),
                               (488, "Not Acceptable Here", 488), (600, "Busy Everywhere", 600), (603, "Decline", 603),
                               (604, "Does Not Exist Anywhere", 604), (401, "Unauthorized", 500), (407, "Proxy Authentication Required", 500),
                               (420, "Bad Extension", 500), (422, "Session Interval Too Small", 500), (403, "Forbidden", 500)]:
    case(f"legs: the callee's {status} reaches the caller as {passed}",
         uac=[invite(), trying(), r(180, rrs=False), r(passed, check={"Reason": "Q.850"}, absent=["60122223333", "Nobody home", "X-Secret"], rrs=False), ack_failure()],
         uas=callee_fails(status, phrase, ("X-Secret: +60122223333",)), record={"sip_code": str(passed), "charge": "0"})
case("legs: 503 from the only trunk is 500", uac=[invite(), trying(), r(500, rrs=False), ack_failure()],
     uas=[invited(), reply(503, "Service Unavailable", contact=False, retrans=500), r("ACK")], record={"sip_code": "500"})
case("legs: REFER is refused", uac=[invite(), trying(), r(180), r(200), ack(), request("REFER", 2, extra=("Refer-To: <sip:x@127.0.0.9>",)), r(603), pause(100), bye(3), r(200, rrs=False)],
     uas=plain_uas(), record={"sip_code": "200"})
case("legs: INFO passes for DTMF alone",
     uac=[invite(), trying(), r(180), r(200), ack(),
          raw("""INFO [next_url] SIP/2.0
Via: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch]
[routes]
From: "Caller" <sip:+60199990001@[local_ip]:[local_port]>;tag=[pid]c[call_number]
[last_To:]
Call-ID: [call_id]
CSeq: 2 INFO
Max-Forwards: 70
Content-Type: application/dtmf-relay
Content-Length: [len]

Signal=5
Duration=160
""", 500), r(200), request("INFO", 3, body="v=0\n"), r(415), pause(200), bye(4), r(200, rrs=False)],
     uas=[invited(), ring(), answer(), r("ACK"), r("INFO", check={"body": "Signal=5"}), ok(), r("BYE"), ok()], record={"sip_code": "200"})
case("legs: BYE for a call that is gone is 481", uac=plain_uac()[:-1] + [r(200), bye(3), r(481, rrs=False)], uas=plain_uas(), record={"sip_code": "200"})
case("legs: no RTP either way ends the call", uac=[invite(), trying(), r(180), r(200), ack(), "PLAY", r("BYE"), ok()], uas=plain_uas(),
     packets=5, changes={"media": {"timeout": "2s"}}, record={"sip_code": "200", "ended_by": "gateway", "reason": "media_timeout"})
case("legs: the maximum duration ends the call", uac=[invite(), trying(), r(180), r(200), ack(), r("BYE"), ok()], uas=plain_uas(),
     changes={"calls": {"max_duration": "2s"}}, record={"sip_code": "200", "ended_by": "gateway", "reason": "max_duration"})
case("legs: credit runs out at the end of the paid block", uac=[invite(), trying(), r(180), r(200), ack(), r("BYE"), ok()], uas=plain_uas(),
     customer={"account_credit": "200", "charge_block_single": "1"},
     record={"sip_code": "200", "ended_by": "gateway", "reason": "credit_exhausted", "blocks": "2", "charge": "200"})
case("legs: caller ID withheld stays withheld",
     uac=[invite(extra=("Privacy: id", "P-Asserted-Identity: <sip:+60199990001@[local_ip]>"), caller="anonymous"), trying(), r(180), r(200), ack(), pause(200), bye(), r(200, rrs=False)],
     uas=plain_uas(check={"From": "[Aa]nonymous"}, absent=["60199990001"]), record={"sip_code": "200", "caller": "+60199990001"})
case("legs: the leased number is shown on single calls where configured", uac=plain_uac(), changes={"calls": {"single_caller_id": "leased"}},
     uas=plain_uas(check={"From": "LEASED"}, absent=["60199990001"]), record={"sip_code": "200"})
