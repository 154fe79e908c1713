"""What happens to the gateway before it is killed: API requests, and calls, and a note of all that
was sent and all that was answered."""
import http.client, json, os, random, re, subprocess, threading, time, urllib.parse, uuid
from datetime import datetime

from sipp import sdp

BLOCK_SECONDS = 5
RATE = 7
CALLER_BASE = 60110000000

UAC = """<?xml version="1.0" encoding="ISO-8859-1"?>
<scenario name="caller">
<send retrans="500"><![CDATA[
INVITE sip:[field1]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:+[field0]@[local_ip]:[local_port]>;tag=[pid]c[call_number]
To: <sip:[field1]@[remote_ip]:[remote_port]>
Call-ID: [call_id]
CSeq: 1 INVITE
Contact: <sip:caller@[local_ip]:[local_port]>
Max-Forwards: 70
Content-Type: application/sdp
Content-Length: [len]

{sdp}
]]></send>
<recv response="100" optional="true"/>
<recv response="180" optional="true"/>
<recv response="183" optional="true"/>
<recv response="200" rrs="true"/>
<send><![CDATA[
ACK [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:+[field0]@[local_ip]:[local_port]>;tag=[pid]c[call_number]
[last_To:]
Call-ID: [call_id]
CSeq: 1 ACK
Max-Forwards: 70
Content-Length: 0

]]></send>
<pause distribution="uniform" min="200" max="9000"/>
<send retrans="500"><![CDATA[
BYE [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:+[field0]@[local_ip]:[local_port]>;tag=[pid]c[call_number]
[last_To:]
Call-ID: [call_id]
CSeq: 2 BYE
Max-Forwards: 70
Content-Length: 0

]]></send>
<recv response="200"/>
</scenario>
"""

UAS = """<?xml version="1.0" encoding="ISO-8859-1"?>
<scenario name="callee">
<recv request="INVITE" rrs="true"/>
<send><![CDATA[
SIP/2.0 180 Ringing
[last_Via:]
[last_From:]
[last_To:];tag=[pid]s[call_number]
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:callee@[local_ip]:[local_port]>
Content-Length: 0

]]></send>
<send retrans="500"><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:];tag=[pid]s[call_number]
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:callee@[local_ip]:[local_port]>
Content-Type: application/sdp
Content-Length: [len]

{sdp}
]]></send>
<recv request="ACK"/>
<recv request="BYE"/>
<send><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>
</scenario>
"""


class Op:
    """One request that changes something, sent under an idempotency key of its own."""

    def __init__(self, operation, form):
        self.operation, self.form = operation, form
        self.key = str(uuid.uuid4())
        self.answer = None          # bytes, once there is a final one

    def body(self):
        return json.loads(self.answer)


class Client(threading.Thread):
    """One API client: a connection, and requests at a steady rate until told to stop. A request that
    goes unanswered is its last."""

    def __init__(self, gateway, customers, rate, seed, held):
        super().__init__(daemon=True)
        self.gateway, self.customers, self.pause = gateway, customers, 1.0 / rate
        self.random = random.Random(seed)
        self.ops = []
        self.held = held            # references that this client may release: (kind, reference)
        self.stopping = threading.Event()
        self.fault = None

    def run(self):
        connection = http.client.HTTPConnection(self.gateway.ip["gateway"], self.gateway.http_port, timeout=60)
        due = time.monotonic()
        while not self.stopping.is_set():
            op = self.choose()
            self.ops.append(op)
            try:
                code, answer = send(connection, self.gateway.token, op)
            except (OSError, http.client.HTTPException):
                return
            status = json.loads(answer)["status"]
            if status in (38, 99, 100):
                self.fault = f"{op.operation}: {status}"
                return
            op.answer = answer
            if status != 0:
                self.fault = f"{op.operation} {op.form}: HTTP {code} {answer!r}"
                return
            self.note(op)
            due += self.pause
            time.sleep(max(0.0, due - time.monotonic()))

    def choose(self):
        dice = self.random.random()
        customer = self.random.choice(self.customers)
        if dice < 0.25:
            credit = self.random.randint(-500, 1000)
            return Op("customer/topup", {"customer_id": customer, "credit": str(credit)})
        if self.held and (dice < 0.5 or len(self.held) > 60):
            kind, reference = self.held.pop(self.random.randrange(len(self.held)))
            return Op(f"lease{kind}/release", {"reference_id": reference})
        expiry = {"expiry_value": str(self.random.randint(2, 30)), "expiry_unit": "days"}
        if dice < 0.85:
            return Op("leasesingle/request", {"customer_id": customer, "phone": self.phone(), **expiry})
        one, two = self.phone(), self.phone()
        if one == two:
            return self.choose()
        return Op("leasegroup/request", {"customer_id": customer, "phone1": one, "phone2": two, **expiry})

    def phone(self):
        return f"+6012{self.random.randint(2000000, 9999999)}"

    def note(self, op):
        if op.operation.endswith("/request"):
            kind = "single" if "single" in op.operation else "group"
            self.held.append((kind, op.body()["reference_id"]))


def send(connection, token, op):
    """Sends an operation under its key; returns (HTTP status, bytes)."""
    headers = {"Authorization": "Bearer " + token, "Idempotency-Key": op.key,
               "Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", "/api/v1/" + op.operation, urllib.parse.urlencode(op.form), headers)
    response = connection.getresponse()
    return response.status, response.read()


class Call:
    """What the caller's side saw of one call."""

    def __init__(self):
        self.answered = self.bye = self.ended = None


class Carriers:
    """sipp on both sides: many short calls, each by a caller of its own."""

    def __init__(self, gateway, work, lines, rate, first_caller, count):
        self.work = work
        os.makedirs(work, exist_ok=True)
        with open(os.path.join(work, "calls.csv"), "w") as f:
            f.write("SEQUENTIAL\n")
            for n in range(count):
                f.write(f"{CALLER_BASE + first_caller + n};{lines[n % len(lines)]};\n")
        for name, text in (("uac.xml", UAC), ("uas.xml", UAS)):
            with open(os.path.join(work, name), "w") as f:
                f.write(text.replace("{sdp}", sdp(ear=0).strip()))
        g = gateway
        self.uas = self._start(["-sf", "uas.xml", "-i", g.ip["callee"], "-p", "5080", "-mi", g.ip["callee"],
                                "-mp", "7000"])
        self.uac = self._start([f"{g.ip['gateway']}:5060", "-sf", "uac.xml", "-inf", "calls.csv",
                                "-i", g.ip["caller"], "-p", "5070", "-mi", g.ip["caller"], "-mp", "6000",
                                "-r", str(rate), "-m", str(count), "-l", str(count),
                                "-trace_msg", "-message_file", "messages"])

    def _start(self, arguments):
        return subprocess.Popen(["sipp", *arguments, "-nostdin"], cwd=self.work, stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)

    def stop(self):
        for process in (self.uac, self.uas):
            process.kill()
            process.wait()

    def calls(self):
        """What the caller's side saw, by the caller's number."""
        try:
            with open(os.path.join(self.work, "messages"), errors="replace") as f:
                text = f.read()
        except FileNotFoundError:
            return {}
        calls = {}
        for part in re.split(r"^-{20,} ", text, flags=re.M)[1:]:
            stamp = re.match(r"(\d+-\d+-\d+)[ \t](\d+:\d+:\d+\.\d+)", part)
            caller = re.search(r"^From:.*?sip:\+(\d+)@", part, re.M)
            sequence = re.search(r"^CSeq: *\d+ (\w+)", part, re.M)
            if not stamp or not caller or not sequence:
                continue
            at = datetime.strptime(" ".join(stamp.groups()), "%Y-%m-%d %H:%M:%S.%f").timestamp()
            call = calls.setdefault("+" + caller.group(1), Call())
            method = sequence.group(1)
            if " message received " in part and re.search(r"^SIP/2.0 200", part, re.M):
                if method == "INVITE":
                    call.answered = call.answered or at
                elif method == "BYE":
                    call.ended = call.ended or at
            elif " message sent " in part and re.search(r"^BYE ", part, re.M):
                call.bye = call.bye or at
        return calls
