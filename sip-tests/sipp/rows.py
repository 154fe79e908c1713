"""The rows of sip-bridging that a SIPp case must stand for: section 2's table, and the bullets of sections 1 and 3 clause
by clause. A case names the rows that it covers. A row without a case over each transport is a fault, and so is a case
without a row, a clause about both sides where only one of them acts, and a COVERAGE.md that says otherwise."""
import os, re
from transports import TRANSPORTS

PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "COVERAGE.md")

ROWS = {
    # ---- section 2: the table
    "2 draining": "draining: 503 with Retry-After, cause 42",
    "2 unreadable": "not parseable, or a mandatory header is missing or repeated: 400 with a phrase that names it",
    "2 never answered": "a response is never answered; nor is an ACK",
    "2 digest": "digest asked for and absent or wrong: 401",
    "2 method": "method not ours: 405 with Allow",
    "2 scheme": "scheme not sip, sips, tel: 416",
    "2 require": "Require not ours: 420 with Unsupported",
    "2 body": "body type not ours: 415 with Accept",
    "2 max-forwards": "Max-Forwards 0: 483, cause 25",
    "2 merged": "a merged request: 482, cause 25",
    "2 loop": "a call of ours that comes back: 482, cause 25",
    "2 caps": "trunk over its caps: 503 without Retry-After, cause 34",
    "2 emergency": "an emergency number dialled, as dialled: 403, cause 21",
    "2 not in pool": "dialled number is not in our pool: 404, cause 1",
    "2 never leased": "no lease: never leased: 404, cause 1",
    "2 released": "no lease: released: 404, cause 1",
    "2 expired": "no lease: expired: 404, cause 1",
    "2 resting": "no lease: resting: 404, cause 1",
    "2 no_lease": "no lease: 410 or 480 where configured",
    "2 whitelist": "single lease with a whitelist, caller not on it: 403, cause 21",
    "2 identity": "group lease, no usable caller identity: 433, cause 24",
    "2 member": "group lease, caller is not the other member: 403, cause 21",
    "2 own number": "group lease, a member who dials their own leased number: 403, cause 21",
    "2 suspended": "account suspended: 403, cause 21",
    "2 disabled": "service disabled: 403, cause 21",
    "2 target": "the target is no longer allowed (allowed_targets, emergency, our own pool): 403, cause 21",
    "2 credit": "prepaid, and the balance is under the first block: 480, cause 18",
    "2 no_credit": "prepaid, balance under the first block: 402 where configured",
    "2 credit held": "prepaid, and the balance less what other calls hold is under the first block: 480, cause 18",
    "2 per_lease": "calls.per_lease reached: 486, cause 17",
    "2 per_customer": "calls.per_customer reached: 486, cause 17",
    "2 media": "no acceptable media in the offer: 488, cause 88",
    "2 port": "no media port: 503 without Retry-After, cause 34",
    "2 trunk": "no outbound trunk up: 503 without Retry-After, cause 34",
    "2 admitted": "what no row refuses is connected",
    "2 order": "in order; the first that fails answers",
    # ---- section 2: below the table
    "2 normalised": "identity and dialled number are normalised by the trunk's rules before any comparison",
    "2 privacy": "an identity from a trusted trunk's P-Asserted-Identity is usable with Privacy: id",
    "2 carried": "Max-Forwards is carried over to the other leg, less one",
    "2 trying": "100 goes out at once",
    # ---- section 3: two legs
    "3 apart": "own Call-ID, tags, CSeq, branch, Contact, Via, SDP origin on each leg",
    "3 early media": "early media on the callee's leg passed on, with sound",
    "3 early media blocked": "per trunk early_media = block",
    "3 forks": "forked early dialogs, each one of its own towards the caller",
    "3 forks answered": "the first to be answered wins; the others are released with ACK and BYE",
    "3 hold by caller": "re-INVITE of the caller for hold and resume",
    "3 hold by callee": "re-INVITE of the callee for hold and resume",
    "3 codec": "re-INVITE for codec change, either way",
    "3 address": "re-INVITE for address change, either way",
    "3 glare": "glare: 491",
    "3 glare again": "what got 491 is tried again after the RFC's times",
    "3 directions": "a=sendonly, recvonly, inactive passed as meant",
    "3 zero": "c=0.0.0.0 passed as meant",
    "3 delayed offer": "delayed offer: no SDP in the INVITE or the re-INVITE",
    "3 multipart": "multipart bodies: the SDP part is used, the others are dropped",
    "3 media lines": "further media lines get port 0",
    "3 prack callee": "100rel on the callee's leg: PRACK for what it sends reliably",
    "3 prack caller": "100rel on the caller's leg: 18x as it wants them, repeated until PRACK; no 200 before the PRACK of a description",
    "3 prack apart": "100rel and PRACK on each leg on its own, interworked either way",
    "3 prack off": "a trunk's reliable_provisionals: off, required",
    "3 prack offer": "offers in reliable provisional responses and PRACKs, answers in PRACKs and their 200s",
    "3 update early": "UPDATE before the answer, both ways, where the other leg allows",
    "3 update": "UPDATE after the answer, both ways; a re-INVITE towards a peer that does not list it",
    "3 update glare": "UPDATE that crosses another: 491, tried again after the RFC's times",
    "3 early media said": "P-Early-Media of and for a trusted trunk",
    "3 cancel": "CANCEL at any point: before a response, while it rings, after the answer; 487",
    "3 cancel race": "CANCEL crossing 200: ACK and BYE to the callee",
    "3 ring_timeout": "no-answer time calls.ring_timeout: 480, cause 19",
    "3 trunk ring_timeout": "a trunk's own ring_timeout",
    "3 lease ends ringing": "a lease that ends while its call rings cancels it: 480, cause 31",
    "3 lease ends answered": "a lease that ends leaves an answered call, or ends it (leases.calls_at_end)",
    "3 no ack": "a 200 without ACK is repeated and after 64xT1 ends both legs, at no charge",
    "3 redirect": "3xx from the callee's side is never followed",
    "3 refer": "REFER is refused 603, from either side",
    "3 info": "INFO is passed for DTMF alone, from either side",
    "3 bye": "BYE from either side ends both",
    "3 failure": "a failure on either leg ends both",
    "3 reason": "Reason with the cause on every BYE and CANCEL of ours, and into the record",
    "3 timer": "session timers on each leg on its own",
    "3 timer short": "an interval that is too short: 422 with Min-SE; after the callee's 422 the call is asked again",
    "3 timer refresh": "each refresher, on each leg; the other side hears nothing of it",
    "3 timer dead": "a side that does not refresh is hung up before the session expires",
    "3 takeover": "Replaces and Join are refused, never acted upon",
    "3 diversion": "Diversion and History-Info are consumed",
    "3 media.timeout": "no RTP in either direction for media.timeout ends the call; not on hold",
    "3 max_duration": "calls.max_duration ends the call",
    "3 bare": "404, 408, 410, 480, 484, 486, 487, 488, 600, 603, 604 reach the caller as the bare code",
    "3 redirect code": "3xx becomes 480",
    "3 other": "everything else becomes 500 with its cause",
    "3 nothing else": "no header, phrase or body of the other side, ever",
    "1 digest": "digest credentials of ours for them: 401 and 407 are answered once",
    # ---- section 1
    "1 unknown source": "a request from an address that no trunk lists is dropped, or 403",
    "1 in dialog": "requests inside a dialog are taken from its peer: an outbound trunk's BYE, re-INVITE, UPDATE",
    "1 options": "OPTIONS from either side's peer is 200 with Allow, 503 while draining",
    "1 numbers": "number form on the wire, in and out: +E.164, E.164 without +, national, tech prefix",
    "1 identity": "the caller's identity from P-Asserted-Identity where the trunk is trusted, else From",
    "1 caller id": "caller-ID policy: the caller's number or the leased one",
    "1 priority": "outbound choice by priority, then weight",
    "1 down": "a trunk that is down is not chosen",
    "1 rest": "a 503 with Retry-After rests the trunk",
    "1 failover": "the next trunk on 408, 500, 502, 503, 504",
    "1 transport": "the next trunk on a transport error",
    "1 silence": "the next trunk on no response for 3 s",
    "1 silence cancel": "after silence, CANCEL where one is owed, ACK and BYE to a late answer",
    "1 no failover": "never on 4xx or 6xx that speak of the callee",
    "1 no failover early": "not after a provisional with media",
}

# Clauses that must be seen with the caller, and with the callee, as the one who acts.
BOTH_SIDES = {"1 options", "3 directions", "3 zero", "3 codec", "3 address", "3 glare again", "3 delayed offer", "3 prack apart", "3 update early",
              "3 update", "3 early media said", "3 refer", "3 info", "3 bye", "3 failure", "3 reason", "3 timer refresh", "3 timer dead"}

LEFT_OUT = """Left out: overload (a signalling thread that is late for a second
cannot be had from outside without slowing the whole machine; `an_invite_that_waited_too_long_is_shed_and_calls_that_are_up_are_not` has it, and draining
takes the same way); how a trunk comes back after its rest or its OPTIONS, and how weights share many calls out (`sip-tests/wire`
and `sip-tests/failover`); announcements (`sip-tests/wire`); T.38 (next version)."""
HEAD = """# What the SIPp cases cover

A row for each row of sip-bridging's admission table and each clause of its sections on trunks and on the two legs. Every
case looks at both sides: where a call is refused, nothing may come to the callee's addresses; where it is answered, both sides
play RTP (sipp's `play_pcap_audio`), every packet is counted at the socket where it arrives, and the record must say the same.

Every case is played over UDP, over TCP and over TLS, in both directions at once: the caller's carrier dials the gateway, the
gateway dials the callee's, and requests inside a call go back on those connections. Debian's sipp has no TLS: a stunnel beside it
has, and each end looks at the other's certificate. `acts` says who does what the clause is about, where it must be seen of both.
This page is written by `sip-tests/sipp/run --table`, and the suite fails where it is out of date, where a row lacks a transport,
or where a clause about both sides lacks one of them over some transport."""


def actor(case):
    """Who acts in a case: whom its name has first."""
    found = re.search(r"\b(caller|callee)\b", case.name)
    return found and found[1]


def over(cases, row):
    """By transport, the sides that act in the row's cases; a case may be about neither."""
    return {transport: {actor(case) for case in cases if case.transport == transport and row in case.covers} for transport in TRANSPORTS}


def faults(cases):
    """What is wrong with the cover by all that is played."""
    out = []
    for row, text in ROWS.items():
        for transport, sides in over(cases, row).items():
            if not sides:
                out.append(f"no case for {row!r} ({text}) over {transport}")
            elif row in BOTH_SIDES and not {"caller", "callee"} <= sides:
                out.append(f"no case for {row!r} ({text}) over {transport} in which {' or '.join({'caller', 'callee'} - sides)} acts")
    out += [f"{row!r} is no row" for row in sorted({row for case in cases for row in case.covers} | BOTH_SIDES) if row not in ROWS]
    out += [f"{case.name!r} names no row" for case in cases if not case.covers]
    names = [case.name for case in cases]
    with open(PAGE) as f:
        out += [] if f.read() == table(cases) else ["COVERAGE.md is out of date: run --table writes it"]
    return out + [f"two cases are called {name!r}" for name in sorted({n for n in names if names.count(n) > 1})]


def table(cases):
    """The cover, as a page."""
    lines = [HEAD, "", LEFT_OUT, "", "| row | says | over | acts | cases |", "|---|---|---|---|---|"]
    for row, text in ROWS.items():
        by = over(cases, row)
        transports = ", ".join(transport.upper() for transport, sides in by.items() if sides)
        acts = ", ".join(sorted(set.intersection(*by.values()) - {None})) if row in BOTH_SIDES else ""
        names = "; ".join(c.name for c in cases if c.transport == "udp" and row in c.covers)
        lines.append(f"| {row} | {text} | {transports} | {acts} | {names} |")
    return "\n".join(lines) + "\n"
