"""Cases that take a minute because a lease lasts one at least, or 64xT1."""
from .base import *

MINUTE = {"expiry_value": "1", "expiry_unit": "minutes"}
LONG = {"calls": {"ring_timeout": "3600s"}}

refused("admission: an expired lease is 404", "2 expired", status=404, cause=1, reason="no_lease", before=lambda ctx: ctx.expire(), lasts=True, **MINUTE)
case("legs: a lease that expires while it rings cancels the call", "3 lease ends ringing", "3 reason", changes=LONG,
     uac=[invite(), trying(), r(180, rrs=False), *failed(480, 31)], uas=[invited(), ring(), *cancelled(31)],
     record={"sip_code": "480", "reason": "lease_ended", "ended_by": "gateway", "charge": "0", "q850_cause": "31"}, lasts=True, **MINUTE)
case("legs: a 200 without ACK is repeated, then both legs end, at no charge", "3 no ack", "3 reason", lasts=True,
     uac=[invite(), trying(), r(180), answered(), *repeated(200, 12), *hung_up(102)], uas=[*called(), *hung_up(102)],
     record={"sip_code": "200", "reason": "no_ack", "ended_by": "caller", "charge": "0", "blocks": "0"},
     after=lambda ctx: ctx.check(ctx.saw(ctx.uac, "SIP/2.0 200", 7), "the 200 was not repeated"))
case("trunks: the only one is silent", "1 silence", "3 bare", lasts=True, changes=LONG, trapped="INVITE ", uac=[invite(), trying(), *failed(408, 102)],
     record={"sip_code": "408", "reason": "route_failed", "trunk_out": "carrier-out", "charge": "0"},
     after=lambda ctx: ctx.tried("callee", 4))
