"""A full disk (sip-bridging 7, lease-api 5): refused is what is new, what runs goes on, nothing acknowledged is lost."""
import datetime, os, subprocess, time
from gateway import PATIENCE
from phone import Leg, Missing, connect

CALLER, DRIVER = "+60199990001", "+60122223333"
TESTS = []


def test(name):
    def take(body):
        TESTS.append((name, body))
        return body
    return take


class Tmpfs:
    """A small file system of its own; None where it may not be mounted."""

    def __init__(self, path, size):
        os.makedirs(path, exist_ok=True)
        self.path = path
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "leasebridge", path], capture_output=True, text=True)
        self.mounted = done.returncode == 0

    def fill(self):
        """Takes all the room there is."""
        with open(os.path.join(self.path, "filler"), "ab", buffering=0) as f:
            size = 1 << 16
            while size:
                try:
                    f.write(b"\0" * size)
                except OSError:
                    size //= 2

    def free(self):
        os.remove(os.path.join(self.path, "filler"))

    def unmount(self):
        if self.mounted:
            subprocess.run(["umount", "-l", self.path], capture_output=True)


@test("disk: full: leases get 99, calls 503, a running call goes on and is charged, nothing is lost, it recovers")
def _(t):
    disk = Tmpfs(os.path.join(t.work, "disk"), "160m")
    if not disk.mounted:
        t.wrong.append("skip")
        return
    try:
        full(t, disk)
    finally:
        t.end()
        t.phones, t.gateways = [], []
        disk.unmount()


@test("disk: full: a new call gets 503 before anybody is called, though nothing was written since")
def _(t):
    disk = Tmpfs(os.path.join(t.work, "disk"), "160m")
    if not disk.mounted:
        t.wrong.append("skip")
        return
    try:
        unseen(t, disk)
    finally:
        t.end()
        t.phones, t.gateways = [], []
        disk.unmount()


@test("disk: full, and the ballast is spent: a call ends at the paid block")
def _(t):
    disk = Tmpfs(os.path.join(t.work, "disk"), "160m")
    if not disk.mounted:
        t.wrong.append("skip")
        return
    try:
        spent(t, disk)
    finally:
        t.end()
        t.phones, t.gateways = [], []
        disk.unmount()


def unseen(t, disk):
    g = t.gateway(node={"data_dir": os.path.join(disk.path, "data")}, store={"ballast": "32MiB", "cache": "8MiB"})
    caller, callee = t.phone(g, "caller"), t.phone(g, "callee")
    number, _ = g.single(g.customer(account_credit="100000"), DRIVER)
    disk.fill()
    leg = Leg(caller, CALLER)
    leg.invite(number)
    leg.refused(503)
    callee.silent("INVITE", 1)
    t.becomes(lambda: [r["reason"] for r in g.api("cdr/query")["records"]], ["overloaded"], "the reason")
    disk.free()
    a, b = connect(caller, callee, number)
    a.request("BYE")
    b.bye_comes()
    a.expect(200)


def milliseconds(stamp):
    return datetime.datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp() * 1000


def spent(t, disk):
    g = t.gateway(node={"data_dir": os.path.join(disk.path, "data")}, store={"ballast": "32MiB", "cache": "8MiB"})
    caller, callee = t.phone(g, "caller"), t.phone(g, "callee")
    customer = g.customer(account_credit="100000", charge_block_single="1", charge_rate_single="10")
    number, _ = g.single(customer, DRIVER)
    a, b = connect(caller, callee, number)
    end = time.time() + 2 * PATIENCE
    while time.time() < end and not any(m.start.startswith("BYE") for m in caller.pending):
        disk.fill()
        try:
            caller.pending.append(caller.expect("BYE ", 1))
        except Missing:
            pass
    a.bye_comes()
    b.bye_comes()
    disk.free()
    t.becomes(lambda: [r["ended_by"] for r in g.api("cdr/query")["records"]], ["gateway"], "who ended it")
    call = g.api("cdr/query")["records"][0]
    t.equal(call["reason"], "store_failed", "the reason")
    lasted = milliseconds(call["ended_at"]) - milliseconds(call["answered_at"])
    paid = 1000 * int(call["blocks"]) * int(call["block_seconds"])
    t.check(lasted <= paid + 250, f"it lasted {lasted} ms, of which {paid} were paid for")
    charges = [e for e in g.api("customer/ledger", customer_id=customer)["entries"] if e["kind"] == "charge"]
    t.equal([e["credit"] for e in charges], ["-" + call["charge"]], "the charge")


def full(t, disk):
    g = t.gateway(start=False, node={"data_dir": os.path.join(disk.path, "data")}, store={"ballast": "32MiB", "cache": "8MiB"},
                  calls={"per_lease": 0})
    g.start()
    caller, callee = t.phone(g, "caller"), t.phone(g, "callee")
    customer = g.customer(account_credit="100000", charge_block_single="1", charge_rate_single="10")
    number, reference = g.single(customer, DRIVER)
    acknowledged = [reference]
    a, b = connect(caller, callee, number)
    disk.fill()

    def lease():
        status, body = g.request("leasesingle/request", customer_id=customer, phone=DRIVER, expiry_value="1", expiry_unit="hours")
        if body["status"] == 0:
            acknowledged.append(body["reference_id"])
        return status, body["status"]

    t.becomes(lease, (500, 99), "the answer to a lease request")
    t.becomes(lambda: g.metric("leasebridge_store_failures_total") > 0, True, "failures counted")
    second = Leg(caller, CALLER)
    second.invite(number)
    second.refused(503)
    caller.silent("BYE", 6)
    t.equal(lease(), (500, 99), "the answer, still")
    t.equal(g.get("/healthz")[0], 200, "/healthz")
    sent = caller.play(a.media, 5)
    t.equal(callee.hear(5), sent, "the sound of the call that is up")
    a.request("BYE")
    b.bye_comes()
    a.expect(200)
    disk.free()
    t.becomes(lease, (200, 0), "the answer when there is room again")
    t.becomes(lambda: any(r["reason"] == "completed" for r in g.api("cdr/query")["records"]), True, "the call's record")
    call = [r for r in g.api("cdr/query")["records"] if r["reason"] == "completed"][0]
    t.check(int(call["blocks"]) >= 6, f"{call['blocks']} blocks of a call of {call['duration_seconds']} s")
    a, b = connect(caller, callee, number)
    a.request("BYE")
    b.bye_comes()
    a.expect(200)
    t.becomes(lambda: len([r for r in g.api("cdr/query")["records"] if r["reason"] == "completed"]), 2, "completed calls")
    g.kill()
    g.start()
    for one in acknowledged:
        t.equal(g.request("leasesingle/query", reference_id=one)[1]["status"], 0, f"lease {one}")
    entries = g.api("customer/ledger", customer_id=customer)["entries"]
    credit = int(g.api("customer/view", customer_id=customer)["account_credit"])
    t.equal(credit, sum(int(e["credit"]) for e in entries), "the balance")
    charges = [e for e in entries if e["call_id"] == call["call_id"]]
    t.equal([int(e["credit"]) for e in charges], [-int(call["charge"])], "the charge of the call")
