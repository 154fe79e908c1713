"""Section 2: who may call, and what a refusal says. The callee's side must see nothing of a refused call."""
from .base import *

LEASED = {"lease_kind": "single"}
GROUP = {"lease_kind": "group"}
GERMAN = "+4915112345678"

case("admission: draining: 503 with Retry-After", "2 draining",
     uac=[invite(), r(503, check={"Retry-After": "[0-9]+", "Reason": sip_reason(42)}, absent=["60122223333"], rrs=False), ack_failure()],
     changes={"node": {"drain_timeout": "120s"}}, held=True, before=lambda ctx: ctx.drain(),
     after=lambda ctx: ctx.check(ctx.gateway.process.wait(60) == 0, "the drained gateway did not end well"))

# ---- the trunk and the number dialled

refused("admission: trunk over max_calls is 503 without Retry-After", "2 caps", status=503, cause=34, reason="trunk_busy",
        changes={"inbound": {"max_calls": 1}}, held=True)
ANOTHER = {"call_id": "b///[call_id]", "tag": "[pid]d[call_number]"}
case("admission: trunk over max_cps is 503 without Retry-After", "2 caps", changes={"inbound": {"max_cps": 1}, "calls": {"per_lease": 0}},
     # Two calls at once: the callee waits with the first until the second has been refused.
     uac=[invite(), r(100, rrs=False), invite(**ANOTHER), trying(),
          r(503, check={"Reason": sip_reason(34)}, absent=FORBIDDEN, rrs=False), ack_failure(**ANOTHER),
          r(180), answered(), ack(), Sound(), *hang_up()],
     uas=[invited(), Gate(when=lambda ctx: ctx.saw(ctx.uac, "SIP/2.0 503")), ring(), answer(), r("ACK"), Sound(), *hung_up()],
     record=[{"sip_code": "503", "q850_cause": "34", "reason": "trunk_busy", "trunk_out": ""}, DONE])
for number in ("999", "112"):
    refused(f"admission: emergency number {number} is 403", "2 emergency", status=403, cause=21, reason="emergency", dial=number)
refused("admission: an emergency number is compared as dialled", "2 emergency", status=403, cause=21, reason="emergency", dial="999",
        changes={"numbering": {"default_country": "MY"}, "inbound": {"numbers": "national"}}, caller="0199990001")
refused("admission: number not in the pool is 404", "2 not in pool", status=404, cause=1, reason="unknown_number", dial="+60388889999",
        record={"customer_id": "", "reference_id": ""})

# ---- no lease

refused("admission: no lease on the number is 404", "2 never leased", status=404, cause=1, reason="no_lease", dial="+60388880999")
refused("admission: released lease is 404", "2 released", status=404, cause=1, reason="no_lease", before=lambda ctx: ctx.release())
refused("admission: a resting number is 404", "2 resting", status=404, cause=1, reason="no_lease",
        changes={"numbering": {"cooldown": "1h"}}, before=lambda ctx: ctx.rest())
for code in (410, 480):
    refused(f"admission: no lease answers {code} where configured", "2 no_lease", status=code, cause=1, reason="no_lease",
            dial="+60388880999", changes={"calls": {"no_lease": code}})

# ---- the lease and the caller

refused("admission: caller not on the whitelist is 403", "2 whitelist", status=403, cause=21, reason="not_allowed", caller=STRANGER,
        cw=CALLER, record={**LEASED, "caller": STRANGER})
case("admission: caller on the whitelist is connected", "2 whitelist", "2 admitted", uac=plain_uac(), uas=plain_uas(), cw=CALLER,
     record=DONE)
refused("admission: group call without a usable identity is 433", "2 identity", lease="group", status=433, cause=24,
        reason="no_identity", caller="anonymous", record={**GROUP, "caller": ""})
refused("admission: group call by a stranger is 403", "2 member", lease="group", status=403, cause=21, reason="not_allowed",
        caller=STRANGER, record={**GROUP, "caller": STRANGER})
refused("admission: member who dials their own leased number is 403", "2 own number", lease="group", status=403, cause=21,
        reason="not_allowed", caller=DRIVER, record={**GROUP, "caller": DRIVER})
case("admission: an asserted identity is usable with Privacy: id", "1 identity", "2 privacy", "2 admitted", lease="group",
     uac=plain_uac(caller="anonymous", extra=(f"P-Asserted-Identity: <sip:{RIDER}@[local_ip]>", "Privacy: id")),
     uas=plain_uas(check={"From": "SHOWN"}, absent=["60133334444"]), record={**DONE, **GROUP, "caller": RIDER})
case("admission: an asserted identity counts before From", "1 identity", "2 privacy", "2 whitelist", cw=CALLER,
     uac=plain_uac(caller=STRANGER, extra=(f"P-Asserted-Identity: <sip:{CALLER}@[local_ip]>",)),
     uas=plain_uas(check={"From": "60199990001"}, absent=["60199990002"]), record={**DONE, "caller": CALLER})
refused("admission: an asserted identity of an untrusted trunk is nothing", "1 identity", "2 privacy", "2 whitelist", status=403, cause=21,
        reason="not_allowed", cw=CALLER, caller=STRANGER, changes={"inbound": {"trusted": False}},
        invite_with={"extra": (f"P-Asserted-Identity: <sip:{CALLER}@[local_ip]>",)}, record={"caller": STRANGER})
case("admission: numbers are normalised before they are compared", "1 numbers", "2 normalised", "2 whitelist", "2 admitted", cw=CALLER,
     changes={"numbering": {"default_country": "MY"}, "inbound": {"numbers": "national"}}, dial="0388880000",
     before=lambda ctx: ctx.check(ctx.number == "+60388880000", f"{ctx.number} was leased"),
     uac=plain_uac(caller="0199990001"), uas=plain_uas(check={"From": "60199990001"}),
     record={**DONE, "caller": CALLER, "leased_number": "+60388880000"})

# ---- the account

refused("admission: suspended account is 403", "2 suspended", status=403, cause=21, reason="suspended", record=LEASED,
        before=lambda ctx: ctx.update(account_status="2"))
refused("admission: single service disabled is 403", "2 disabled", status=403, cause=21, reason="service_disabled", record=LEASED,
        before=lambda ctx: ctx.update(enable_single_service="0"))
refused("admission: group service disabled is 403", "2 disabled", lease="group", status=403, cause=21, reason="service_disabled",
        record=GROUP, caller=RIDER, before=lambda ctx: ctx.update(enable_group_service="0"))
refused("admission: a target outside allowed_targets is 403", "2 target", status=403, cause=21, reason="target_not_allowed", target=GERMAN,
        before=lambda ctx: ctx.restart(numbering={"allowed_targets": ["MY"]}), record=LEASED)
refused("admission: a target that became an emergency number is 403", "2 target", status=403, cause=21, reason="target_not_allowed",
        before=lambda ctx: ctx.restart(numbering={"emergency": ["999", DRIVER[1:]]}), record=LEASED)
refused("admission: a target in our own pool is 403", "2 target", status=403, cause=21, reason="target_not_allowed",
        before=lambda ctx: ctx.gateway.api("numbers/add", numbers=DRIVER), record=LEASED)
refused("admission: balance under the first block is 480", "2 credit", status=480, cause=18, reason="no_credit",
        customer={"account_credit": "99"}, record=LEASED)
refused("admission: balance under the first block is 402 where configured", "2 no_credit", status=402, cause=18, reason="no_credit",
        customer={"account_credit": "99"}, changes={"calls": {"no_credit": 402}})
refused("admission: credit that another call holds does not count", "2 credit held", status=480, cause=18, reason="no_credit",
        customer={"account_credit": "199"}, held=True, changes={"calls": {"per_lease": 0}})
case("admission: credit for one block is enough for one call", "2 credit", "2 admitted", uac=plain_uac(), uas=plain_uas(),
     customer={"account_credit": "100"}, record=DONE)
case("admission: postpaid needs no balance", "2 credit", "2 admitted", uac=plain_uac(), uas=plain_uas(),
     customer={"account_credit": "0", "charge_method": "2"}, record=DONE)

# ---- caps, media, trunks

refused("admission: calls.per_lease reached is 486", "2 per_lease", status=486, cause=17, reason="lease_busy", held=True, record=LEASED)
refused("admission: calls.per_customer reached is 486", "2 per_customer", status=486, cause=17, reason="customer_busy", held=True,
        changes={"calls": {"per_lease": 0, "per_customer": 1}})
refused("admission: nothing but DTLS-SRTP in the offer is 488", "2 media", status=488, cause=88, reason="no_media",
        invite_with={"body": sdp().replace("RTP/AVP", "UDP/TLS/RTP/SAVPF")})
refused("admission: nothing but video in the offer is 488", "2 media", status=488, cause=88, reason="no_media",
        invite_with={"body": sdp().replace("m=audio", "m=video")})
refused("admission: no codec that the trunk may carry is 488", "2 media", status=488, cause=88, reason="no_media",
        changes={"outbound": {"codecs": ["PCMU"]}})
refused("admission: no media port is 503 without Retry-After", "2 port", status=503, cause=34, reason="no_port",
        changes={"media": {"ports": "20000-20003"}, "calls": {"per_lease": 0}, "sip": {"workers": 1}}, held=True)
refused("admission: no outbound trunk up is 503 without Retry-After", "2 trunk", status=503, cause=34, reason="no_trunk", trapped="OPTIONS ", closed=True,
        changes={"outbound": {"options_interval": "1s"}}, before=lambda ctx: ctx.down())
refused("admission: outbound trunks at their caps are 503 without Retry-After", "2 trunk", status=503, cause=34, reason="no_trunk",
        changes={"outbound": {"max_calls": 1}, "calls": {"per_lease": 0}}, held=True)

# ---- the order of the rows

refused("admission: a trunk over its caps is told before an emergency number", "2 order", status=503, cause=34, reason="trunk_busy",
        changes={"inbound": {"max_calls": 1}}, held=True, dial="999")
refused("admission: the whitelist is told before the account and its credit", "2 order", status=403, cause=21, reason="not_allowed",
        caller=STRANGER, cw=CALLER, customer={"account_credit": "0"}, before=lambda ctx: ctx.update(account_status="2"))
refused("admission: the account is told before its credit", "2 order", status=403, cause=21, reason="suspended",
        customer={"account_credit": "0"}, before=lambda ctx: ctx.update(account_status="2"))
refused("admission: credit is told before the lease's calls", "2 order", status=480, cause=18, reason="no_credit",
        customer={"account_credit": "199"}, held=True)
refused("admission: the lease's calls are told before the offer's media", "2 order", status=486, cause=17, reason="lease_busy", held=True,
        invite_with={"body": sdp().replace("RTP/AVP", "UDP/TLS/RTP/SAVPF")})
refused("admission: the offer's media is told before the trunks", "2 order", status=488, cause=88, reason="no_media",
        changes={"outbound": {"max_calls": 1}, "calls": {"per_lease": 0}}, held=True,
        invite_with={"body": sdp().replace("RTP/AVP", "UDP/TLS/RTP/SAVPF")})

case("admission: an unknown source gets no answer", "1 unknown source", turned_away=True, caller_ip="stranger",
     uac=[invite(retrans=None), Gate(when=lambda ctx: ctx.strangers() > 0)], after=lambda ctx: ctx.turned_away())
case("admission: an unknown source gets 403 where configured", "1 unknown source", changes={"sip": {"unknown_source": "403"}},
     uac=[invite(), r(403, absent=FORBIDDEN, rrs=False)], caller_ip="stranger")
