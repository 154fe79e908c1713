"""The cases that sipp can play over TCP: those without gates, for what lets sipp go on from one is a datagram. They are
played without their sound."""
import copy
from sipp import Gate, Sound


def can(case):
    """Whether a case can be played so."""
    steps = [*(case.uac or ()), *(case.uas or ()), *(case.second or ())]
    silent = [s for s in steps if not isinstance(s, Sound)]
    plain = not any(isinstance(s, Gate) or "SIP/2.0/UDP" in s for s in silent)
    # Without sound nothing tells the callee that the caller has its 200: what it then offers is too early, and is 491.
    heard = any(isinstance(s, Sound) for s in case.uas or ()) and (" callee" in case.name or "has lost the call" in case.name)
    counted = any("packets" in name for name in case.record or {})
    if heard or counted:
        return False
    hooked = case.before or case.after or case.held or case.lenient or case.trapped or case.closed
    return bool(case.uac) and plain and not hooked and "sip" not in case.changes and case.caller_ip == "caller"


def over(case):
    """The case over TCP, on both sides."""
    it = copy.copy(case)
    quiet = lambda steps: steps and [s for s in steps if not isinstance(s, Sound)]
    it.name, it.uac, it.uas, it.second = f"tcp: {case.name}", quiet(case.uac), quiet(case.uas), quiet(case.second)
    it.transport = "tcp"
    it.changes = copy.deepcopy(case.changes)
    it.changes["sip"] = {"listen": ["udp:127.0.NET.2:5060", "tcp:127.0.NET.2:5060"]}
    out = it.changes.setdefault("outbound", {})
    out["target"] = out.get("target", "sip:127.0.NET.3:5080") + ";transport=tcp"
    for trunk in it.changes.get("trunks", []):
        if "target" in trunk and "transport=" not in trunk["target"]:
            trunk["target"] += ";transport=tcp"
    return it


def cases(all_of_them):
    return [over(case) for case in all_of_them if can(case)]
