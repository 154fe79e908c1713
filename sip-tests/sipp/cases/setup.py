"""Section 3: from the INVITE to the answer."""
from .base import *

RINGING = [invite(), trying(), r(180, rrs=False)]
PROGRESS = ring(status=183, body=sdp())
AUDIO = {"body": "m=audio [1-9]"}

case("legs: single call, sound both ways, caller ends", "1 caller id", "3 bye", "3 apart", "3 reason", "2 admitted",
     uac=[*up(), Sound(50), *hang_up()], uas=[*called(check={"From": "60199990001"}), Sound(40), *hung_up()],
     record={**DONE, "to_callee_packets": "50", "to_caller_packets": "40", "to_callee_lost": "0", "to_caller_lost": "0"})
case("legs: group call shows the leased number, callee ends", "1 in dialog", "3 bye", "3 apart", "3 reason", lease="group",
     uac=[*up(caller=RIDER), Sound(50), *hung_up()],
     uas=[*called(check={"From": "SHOWN"}, absent=["60133334444"]), Sound(50), callee_request("BYE"), r(200, rrs=False)],
     record={**DONE, "ended_by": "callee", "lease_kind": "group", "to_callee_packets": "50", "to_caller_packets": "50"})
case("legs: each leg has its own headers", "3 apart",
     # Call-ID, tags, branches and SDP origins are compared after every case.
     uac=[invite(cseq=4711), trying(), r(180, check={"Contact": "127.0.[0-9]+.2:5060"}), answered(check={"Contact": "127.0.[0-9]+.2:5060"}),
          ack(4711), Sound(), *hang_up(4712)],
     uas=plain_uas(check={"Contact": "127.0.[0-9]+.2:5060", "Via": "127.0.[0-9]+.2:5060", "From": "@127.0.[0-9]+.2",
                          "body": "o=[^\r\n]* IN IP4 127.0.[0-9]+.2"}, absent=["CSeq: 4711", "Via:.*Via:", "sip:caller@"]),
     record=DONE)

# ---- early media

case("legs: early media passes both ways, and the call is answered", "3 early media",
     uac=[invite(), trying(), r(183, check=AUDIO), Sound(), answered(), ack(), Sound(probe=True), *hang_up()],
     uas=[invited(), PROGRESS, Sound(), answer(), r("ACK"), Sound(probe=True), *hung_up()], record=DONE)
case("legs: early media and then a failure", "3 early media", "3 bare",
     uac=[invite(), trying(), r(183, check=AUDIO, rrs=False), Sound(), *failed(486, 17)],
     uas=[invited(), PROGRESS, Sound(), reply(486, "Busy Here", contact=False, retrans=500), r("ACK")],
     record={"sip_code": "486", "reason": "busy", "charge": "0", "to_callee_packets": "25", "to_caller_packets": "25"})
case("legs: early media is blocked where the trunk says so", "3 early media blocked", changes={"outbound": {"early_media": "block"}},
     uac=[invite(), trying(), r(180, absent=["m=audio"]), answered(check=AUDIO), ack(), Sound(probe=True), *hang_up()],
     uas=[invited(), PROGRESS, Sound(passes=False, solo=True), answer(), r("ACK"), Sound(probe=True), *hung_up()],
     record=DONE)

# ---- forks: one sipp is them all, each by a To-tag of its own

case("legs: forked early dialogs, the first to be answered wins", "3 forks", "3 forks answered",
     uac=[invite(), trying(), r(180), r(180), answered(), ack(), Sound(), *hang_up()],
     uas=[invited(), ring(tag="one"), ring(tag="s"), answer(tag="s"), r("ACK", check={"To": "tag=[0-9]+s"}), Sound(), *hung_up()],
     record=DONE, after=lambda ctx: ctx.tags("180", 2))
case("legs: of two forks that answer the other gets ACK and BYE", "3 forks", "3 forks answered", "3 reason",
     uac=[invite(), trying(), r(180), r(180), answered(), ack(), Sound(), *hang_up()],
     uas=[invited(), ring(tag="one"), ring(tag="s"), answer(tag="s"), r("ACK", check={"To": "tag=[0-9]+s"}),
          late(200, "OK", sdp(), tag="one"), r("ACK", check={"To": "tag=[0-9]+one"}),
          r("BYE", check={"To": "tag=[0-9]+one", "Reason": "Q.850"}), ok(), Sound(),
          r("BYE", check={"To": "tag=[0-9]+s", "Reason": sip_reason(16)}), ok()],
     record=DONE, after=lambda ctx: ctx.tags("180", 2))
case("legs: early media of a fork is an early dialog of its own", "3 forks", "3 early media",
     uac=[invite(), trying(), r(183, check=AUDIO), r(180), answered(), ack(), Sound(), *hang_up()],
     uas=[invited(), ring(status=183, body=sdp(), tag="one"), ring(tag="s"), answer(tag="s"), r("ACK"), Sound(), *hung_up()],
     record=DONE, after=lambda ctx: ctx.tags("18", 2))

# ---- offers

case("legs: delayed offer", "3 delayed offer",
     uac=[invite(sdp_none=True), trying(), r(180), answered(check=AUDIO), ack(body=sdp()), Sound(probe=True), *hang_up()],
     uas=[invited(absent=["m=audio"]), ring(), answer(), r("ACK", check=AUDIO), Sound(probe=True), *hung_up()], record=DONE)
for _offer, _answer in (("sendonly", "recvonly"), ("recvonly", "sendonly")):
    case(f"legs: a call that is offered {_offer}", "3 directions",
         uac=[invite(body=sdp(f"a={_offer}")), trying(), r(180), answered(check={"body": f"a={_answer}"}), ack(),
              Sound(passes=_offer == "sendonly"), *hang_up()],
         uas=[invited(check={"body": f"a={_offer}"}), ring(), answer(sdp(f"a={_answer}")), r("ACK"), Sound(passes=_offer == "recvonly"), *hung_up()],
         record=DONE)
MIXED = ("--edge\nContent-Type: text/plain\n\ncall me at +60199990001 secretly\n--edge\nContent-Type: application/sdp\n\n"
         + sdp() + "--edge\nContent-Type: application/pidf+xml\n\n<presence/>\n--edge--\n")
case("legs: of a multipart body the SDP is used, the rest is dropped", "3 multipart",
     uac=plain_uac(body=MIXED, ctype='multipart/mixed;boundary="edge"'),
     uas=plain_uas(check={"Content-Type": "application/sdp", **AUDIO}, absent=["edge", "secretly", "presence", "multipart"]), record=DONE)
case("legs: a multipart answer", "3 multipart",
     uac=[invite(), trying(), r(180), answered(check={"Content-Type": "application/sdp", **AUDIO}, absent=["edge", "secretly"]), ack(), Sound(), *hang_up()],
     uas=[invited(), ring(), reply(200, "OK", MIXED, retrans=500).replace("application/sdp\nContent-Length", 'multipart/mixed;boundary="edge"\nContent-Length'),
          r("ACK"), Sound(), *hung_up()], record=DONE)
case("legs: further media lines get port 0", "3 media lines",
     uac=[invite(body=sdp() + "m=video 7000 RTP/AVP 96\na=rtpmap:96 H264/90000\nm=text 7002 RTP/AVP 98\na=rtpmap:98 t140/1000\n"), trying(), r(180),
          answered(check={"body": "m=audio [1-9].*m=video 0 .*m=text 0 "}), ack(), Sound(), *hang_up()],
     uas=plain_uas(check={"body": "m=audio [1-9].*m=video 0 .*m=text 0 "}), record=DONE)

# ---- giving up

GIVEN_UP = {"sip_code": "487", "reason": "cancelled", "ended_by": "caller", "charge": "0", "q850_cause": "16", "answered_at": "",
            "to_callee_packets": "0", "to_caller_packets": "0"}
CANCEL = [cancel(), r(200, rrs=False), *failed(487)]
case("legs: CANCEL while it rings is 487", "3 cancel", "3 reason", uac=[*RINGING, *CANCEL], uas=[invited(), ring(), *cancelled(16)], record=GIVEN_UP)
case("legs: CANCEL before the callee has said anything", "3 cancel", "3 reason",
     # Ours may go only after a response (RFC 3261 section 9.1): the callee speaks when the caller has its 487.
     uac=[invite(), r(100, rrs=False), Gate(when=lambda ctx: ctx.saw(ctx.uas, "INVITE")), *CANCEL],
     uas=[invited(), Gate(when=lambda ctx: ctx.saw(ctx.uac, "SIP/2.0 487")), ring(), *cancelled(16)], record=GIVEN_UP)
case("legs: CANCEL during early media", "3 cancel", "3 early media",
     uac=[invite(), trying(), r(183, check=AUDIO, rrs=False), Sound(), *CANCEL], uas=[invited(), PROGRESS, Sound(), *cancelled(16)],
     record={**GIVEN_UP, "to_callee_packets": "25", "to_caller_packets": "25"})
case("legs: CANCEL of an answered call has no effect", "3 cancel",
     # Its branch is that of the INVITE, as [last_Via:] of the 200.
     uac=[invite(), trying(), r(180), answered(), ack(), cancel(), r(200, rrs=False), Sound(), *hang_up()], uas=plain_uas(), record=DONE)
case("legs: CANCEL of no call is 481", "3 cancel",
     uac=[cancel(via="Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]"), r(481, absent=FORBIDDEN, rrs=False)])
case("legs: BYE of the caller while it rings", "3 cancel", "3 reason",
     uac=[invite(), trying(), answered(180), bye(), r(200, rrs=False), *failed(487)],
     uas=[invited(), ring(), *cancelled(16)], record=GIVEN_UP)
case("legs: CANCEL crossing 200: the callee gets ACK and BYE", "3 cancel race", "3 reason", uac=[*RINGING, *CANCEL],
     uas=[invited(), ring(), r("CANCEL", check={"Reason": sip_reason(16)}), ok(), late(200, "OK", sdp()), r("ACK"), *hung_up()], record=GIVEN_UP)
UNANSWERED = {"sip_code": "480", "reason": "no_answer", "ended_by": "gateway", "charge": "0", "q850_cause": "19"}
case("legs: no answer is 480", "3 ring_timeout", "3 reason", uac=[*RINGING, *failed(480, 19)], uas=[invited(), ring(), *cancelled(19)],
     changes={"calls": {"ring_timeout": "4s"}}, record=UNANSWERED)
case("legs: a trunk's own ring_timeout", "3 trunk ring_timeout", "3 reason", uac=[*RINGING, *failed(480, 19)],
     uas=[invited(), ring(), *cancelled(19)], changes={"outbound": {"ring_timeout": "2s"}, "calls": {"ring_timeout": "3600s"}}, record=UNANSWERED)
ENDED = {"sip_code": "480", "reason": "lease_ended", "ended_by": "gateway", "charge": "0", "q850_cause": "31"}
case("legs: a lease released while it rings cancels the call", "3 lease ends ringing", "3 reason",
     uac=[*RINGING, mark(lambda ctx: ctx.release()), *failed(480, 31)], uas=[invited(), ring(), *cancelled(31)], record=ENDED)
case("legs: a group lease released while it rings cancels the call", "3 lease ends ringing", lease="group",
     uac=[invite(caller=RIDER), trying(), r(180, rrs=False), mark(lambda ctx: ctx.release()), *failed(480, 31, caller=RIDER)],
     uas=[invited(), ring(), *cancelled(31)], record={**ENDED, "lease_kind": "group"})

# ---- what each side sees of the other

case("legs: caller ID withheld stays withheld", "2 privacy", "3 apart",
     uac=plain_uac(extra=("Privacy: id", "P-Asserted-Identity: <sip:+60199990001@[local_ip]>"), caller="anonymous"),
     uas=plain_uas(check={"From": "[Aa]nonymous"}, absent=["60199990001"]), record={**DONE, "caller": CALLER})
case("legs: the leased number is shown on single calls where configured", "1 caller id", "3 apart", uac=plain_uac(),
     changes={"calls": {"single_caller_id": "leased"}}, uas=plain_uas(check={"From": "LEASED"}, absent=["60199990001"]), record=DONE)
