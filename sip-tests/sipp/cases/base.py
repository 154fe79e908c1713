"""What the cases are made of."""
import copy
from sipp import *

CALLER, STRANGER, DRIVER, RIDER = "+60199990001", "+60199990002", "+60122223333", "+60133334444"
CASES = []
SECOND = {"trunks": [{"name": "carrier-two", "direction": "outbound", "target": "sip:127.0.NET.5:5080", "priority": 2,
                      "numbers": "+e164", "options_interval": "0s"}]}
PHRASES = {400: "Bad Request", 402: "Payment Required", 403: "Forbidden", 404: "Not Found", 408: "Request Timeout", 410: "Gone",
           416: "Unsupported URI Scheme", 420: "Bad Extension", 422: "Session Interval Too Small", 433: "Anonymity Disallowed", 480: "Temporarily Unavailable", 481: "Call/Transaction Does Not Exist", 482: "Loop Detected",
           483: "Too Many Hops", 484: "Address Incomplete", 486: "Busy Here", 487: "Request Terminated",
           488: "Not Acceptable Here", 500: "Server Internal Error", 503: "Service Unavailable", 600: "Busy Everywhere",
           603: "Decline", 604: "Does Not Exist Anywhere"}
# What no refusal may hold: it would take us out of the carrier's service, or tell of the other side.
FORBIDDEN = ["Retry-After", "Warning", "Server:", "User-Agent", "X-Secret", "Nobody home"]


class Case:
    """`uac` calls, `uas` is the callee's carrier, `second` the other one. Where no scenario listens a socket does, and
    nothing may come to it, or only what begins with `trapped`; with `closed` nobody listens at all."""

    def __init__(self, name, *covers, uac=None, uas=None, second=None, lease="single", record=None, changes=None, before=None,
                 after=None, customer=None, dial=None, caller_ip="caller", held=False, closed=False, trapped=None,
                 target=DRIVER, lenient=False, turned_away=False, lasts=False, **lease_form):
        self.name, self.covers, self.uac, self.uas, self.second, self.lease = name, covers, uac, uas, second, lease
        self.record, self.changes, self.before, self.after = record, changes or {}, before, after
        self.customer, self.dial, self.caller_ip, self.held = customer or {}, dial, caller_ip, held
        self.closed, self.trapped, self.target, self.lease_form = closed, trapped, target, lease_form
        self.transport, self.certificates = "udp", ""  # or another, by transports.py
        self.turned_away = turned_away  # the caller's sipp has no connection: it may fail for that
        self.lasts = lasts  # half a minute and more, nearly all of it waiting: played beside the others
        self.lenient = lenient  # the caller's sipp goes on whatever comes: `after` looks at it

    def settings(self, net):
        """The case's configuration, its own copy, with the addresses of its net."""
        def fill(value):
            if isinstance(value, dict):
                return {k: fill(v) for k, v in value.items()}
            if isinstance(value, list):
                return [fill(v) for v in value]
            return value.replace("NET", str(net)).replace("CERTIFICATES", self.certificates) if isinstance(value, str) else copy.copy(value)
        return fill(self.changes)


def case(name, *covers, **how):
    CASES.append(Case(name, *covers, **how))


def sip_reason(cause):
    return f"Q.850.*cause={cause}([^0-9]|$)"


def failed(status, cause=None, caller=CALLER):
    """The final failure as the caller must get it: standard phrase, cause, nothing else; and its ACK."""
    check = {"msg": f"SIP/2.0 {status} {PHRASES[status]}"}
    if cause:
        check["Reason"] = sip_reason(cause)
    return [r(status, check=check, absent=FORBIDDEN, rrs=False), ack_failure(caller=caller)]


def refused(name, *covers, status, cause=None, reason, caller=CALLER, invite_with=None, record=None, **how):
    """A call that admission refuses: the callee's side sees nothing, the record says all."""
    wanted = {"sip_code": str(status), "reason": reason, "ended_by": "gateway", "answered_at": "", "ringing_at": "",
              "trunk_in": "carrier-in", "trunk_out": "", "to_callee_packets": "0", "to_caller_packets": "0", **(record or {})}
    if cause:
        wanted["q850_cause"] = str(cause)
    case(name, *covers, uac=[invite(caller=caller, **(invite_with or {})), trying(), *failed(status, cause, caller)],
         record=wanted, **how)


def up(**how):
    """The caller's way to an answered call."""
    return [invite(**how), trying(), r(180), answered(), ack()]


def called(check=None, absent=None):
    """The callee's."""
    return [invited(check, absent), ring(), answer(), r("ACK")]


def hang_up(cseq=2):
    return [bye(cseq), r(200, rrs=False)]


def hung_up(cause=16):
    return [r("BYE", check={"Reason": sip_reason(cause)}), ok()]


def plain_uac(**how):
    return [*up(**how), Sound(), *hang_up()]


def plain_uas(check=None, absent=None, cause=16):
    return [*called(check, absent), Sound(), *hung_up(cause)]


def callee_fails(status, phrase, extra=(), body=None):
    return [invited(), ring(), reply(status, phrase, body, extra=extra, contact=False, retrans=500), r("ACK")]


def cancelled(cause):
    """The callee's side of a call that is given up while it rings."""
    return [r("CANCEL", check={"Reason": sip_reason(cause)}), ok(), late(487, "Request Terminated"), r("ACK")]


DONE = {"sip_code": "200", "reason": "completed", "ended_by": "caller", "q850_cause": "16", "blocks": "1", "charge": "100"}
