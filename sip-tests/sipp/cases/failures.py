"""Section 3: what the caller hears when the callee's leg fails: the bare code, the standard phrase, the cause, nothing else."""
from .base import *

# The callee's failure, what the caller gets, its cause, the record's reason.
BARE = [(404, 404, 1, "not_found"), (408, 408, 102, "unavailable"), (410, 410, 22, "not_found"), (480, 480, 18, "unavailable"),
        (484, 484, 28, "not_found"), (486, 486, 17, "busy"), (487, 487, 31, "unavailable"), (488, 488, 88, "media_refused"),
        (600, 600, 17, "busy"), (603, 603, 21, "declined"), (604, 604, 1, "not_found")]
OTHER = [(400, 41), (401, 21), (402, 21), (403, 21), (405, 63), (406, 79), (407, 21), (413, 127), (415, 79), (420, 127), (422, 41), (433, 24),
         (481, 41), (482, 25), (483, 25), (485, 1), (493, 41), (500, 41), (501, 79), (502, 38), (503, 41), (504, 102), (505, 127), (606, 88)]
SECRETS = ("X-Secret: +60122223333", 'Warning: 399 host "Nobody home"', "Server: X-Secret", "Retry-After: 5", "Call-Info: <sip:X-Secret@[local_ip]>",
           'Contact: <sip:+60122223333@[local_ip]>')


def callee_fails_as(status, passed, cause, reason, row):
    case(f"legs: the callee's {status} reaches the caller as {passed}", row, "3 nothing else",
         uac=[invite(), trying(), r(180, rrs=False), *failed(passed, cause)],
         uas=callee_fails(status, "Nobody home +60122223333", SECRETS, body="X-Secret: Nobody home\n"),
         record={"sip_code": str(passed), "reason": reason, "q850_cause": str(cause), "charge": "0", "answered_at": "", "trunk_out": "carrier-out",
                 "to_callee_packets": "0", "to_caller_packets": "0"})


for _row in BARE:
    callee_fails_as(*_row, "3 bare")
for _status, _cause in OTHER:
    callee_fails_as(_status, 500, _cause, "route_failed", "3 other")

for _status in (300, 301, 302, 305, 380):
    case(f"legs: the callee's {_status} is 480 and is not followed", "3 redirect", "3 redirect code", "3 nothing else",
         # The second trunk's address is where the Contact points, and there is another Contact besides.
         uac=[invite(), trying(), r(180, rrs=False), *failed(480, 18)], changes=SECOND,
         uas=callee_fails(_status, "Nobody home", ("Contact: <sip:+60122223333@127.0.0.9:5080>", "X-Secret: x")),
         record={"sip_code": "480", "reason": "unavailable", "charge": "0", "trunk_out": "carrier-out"})

case("legs: the callee's own Q.850 cause goes with the code", "3 bare", "3 reason", "3 nothing else",
     uac=[invite(), trying(), r(180, rrs=False), *failed(480, 20)],
     uas=callee_fails(480, "Nobody home", ('Reason: Q.850;cause=20;text="Nobody home"', "X-Secret: x")),
     record={"sip_code": "480", "q850_cause": "20", "charge": "0"})
