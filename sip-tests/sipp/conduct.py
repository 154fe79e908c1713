"""What happens while the scenarios of a case run: their gates, their sound, and what is checked after every one."""
import re, time
from door import Door
from ear import Ear
from gateway import PATIENCE
from phone import Phone, build
from tunnel import Tunnel
from sipp import EAR, Gate, Sipp, Sound, ack, answer, answered, bye, invite, invited, ok, r, ready, ring, trying

SIP = 5080  # where the callee's carriers listen
# With a tunnel there: where their sipps are, and where the caller's finds its way to the gateway.
BEHIND, THROUGH = 5090, 5061


class Broken(Exception):
    """The case cannot go on."""


class Context:
    """What a case's hooks may use."""

    def __init__(self, gateway, case, work):
        self.gateway, self.case, self.work = gateway, case, work
        self.customer = self.reference = self.number = self.shown = None
        self.uac = self.uas = self.second = None
        self.sides, self.holders, self.traps, self.strays, self.tunnels = [], [], {}, {}, []
        self.faults = []

    def fault(self, text):
        self.faults.append(text)

    def check(self, fact, text):
        if not fact:
            self.fault(text)

    def until(self, what, done):
        """Waits for something that must come."""
        end = time.time() + PATIENCE
        while not done():
            if time.time() > end:
                raise Broken(f"it never came that {what}")
            time.sleep(0.02)

    # ---- who takes part

    def connect(self):
        """Sets up what a stream needs beside the sipps: a tunnel for TLS. By UDP nothing may come then."""
        if self.case.transport == "udp":
            return
        self.strays = {role: Ear(self.gateway.ip[role], SIP) for role in ("callee", "second")}
        if self.case.transport == "tls":
            self.tunnel("tunnel", sorted({"caller", self.case.caller_ip}), ["second"] if self.case.closed else ["callee", "second"])

    def tunnel(self, name, dials, listens):
        ip = self.gateway.ip
        files = {"ca": "ca.pem", "cert": "carriers.cert", "key": "carriers.key"}
        certificates = {kind: f"{self.case.certificates}/{file}" for kind, file in files.items()}
        dials, listens = [(ip[role], THROUGH) for role in dials], [ip[role] for role in listens]
        tunnel = Tunnel(self.work, name, certificates, dials, (ip["gateway"], 5060), listens, SIP, BEHIND)
        self.tunnels.append(tunnel)
        if not all(ready(*door, transport="tls") for door in [*dials, *((there, SIP) for there in listens)]):
            raise Broken(f"the {name} did not start: {tunnel.brief()}")

    @property
    def listens(self):
        """The port of a callee itself."""
        return BEHIND if self.case.transport == "tls" else SIP

    def callee(self, name, steps, role="callee", media_port=6000):
        side = Sipp(self.work, name, steps, self.gateway.ip[role], SIP, media_port=media_port,
                    transport=self.case.transport, private=self.listens)
        self.sides.append(side)
        if not ready(self.gateway.ip[role], self.listens, transport=self.case.transport):
            raise Broken(f"{name}'s sipp did not start: {side.wait(1)}")
        return side

    def caller(self, name, steps, dialled, port=5070, media_port=6000, role="caller"):
        ip = self.gateway.ip
        side = Sipp(self.work, name, steps, ip[role], port, f"{ip['gateway']}:5060", dialled, media_port,
                    lenient=self.case.lenient, auth_uri=f"{dialled}@{ip['gateway']}:5060", transport=self.case.transport,
                    through=f"{ip[role]}:{THROUGH}" if self.case.transport == "tls" else None)
        self.sides.append(side)
        return side

    def trap(self, role):
        """A socket where a callee would listen, which answers nothing."""
        trap = Ear if self.case.transport == "udp" else Door
        self.traps[role] = trap(self.gateway.ip[role], self.listens)

    def close(self):
        for side in self.sides:
            side.end()
        for trap in [*self.traps.values(), *self.strays.values()]:
            trap.close()
        for tunnel in self.tunnels:
            tunnel.end()

    def hold(self):
        """Another call on the same lease, up until the case's own has ended, with sound before and after."""
        done = Gate(when=lambda ctx: ctx.uac and ctx.uac.process.poll() is not None)
        uas = self.callee("held-callee", [invited(), ring(), answer(), r("ACK"), Sound(), Sound(), r("BYE"), ok()], media_port=7000)
        uac = self.caller("held-caller", [invite(), trying(), r(180), answered(), ack(), Sound(), done, Sound(), bye(), r(200, rrs=False)],
                          self.number, 5072, 7000)
        self.holders = [uac, uas]
        self.attend(lambda: uac.standing() is done)
        if uac.standing() is not done:
            raise Broken(f"the held call did not come up: {uac.wait(1)}")

    # ---- gates

    def attend(self, until=None):
        """Stands by while the scenarios run and does what their gates say."""
        end = time.time() + 4 * PATIENCE
        while not (until and until()):
            for side in self.sides:
                gate = side.standing()
                if isinstance(gate, Sound):
                    self.sound(side, gate)
                elif gate and (gate.when is None or gate.when(self)):
                    if gate.action:
                        gate.action(self)
                    side.go()
            codes = [side.process.poll() for side in self.sides]
            if any(codes) or time.time() > end:
                return  # One has failed; what it says is read later.
            if None not in codes:
                return
            time.sleep(0.01)

    def sound(self, side, gate):
        """Both sides play, or one where the gate says `solo`; what arrives is counted where it arrives."""
        others = [s for s in self.sides if s is not side]
        if gate.solo:
            playing = [(side, gate, self.uas if side is self.uac else self.uac)]
        else:
            other = next((s for s in others if isinstance(s.standing(), Sound)), None)
            if other is None:
                return
            playing = [(side, gate, other), (other, other.standing(), side)]
        self.dealt()
        at = {to: to.standing().ear if isinstance(to.standing(), Sound) else EAR for _, _, to in playing}
        heard = lambda to: to.ear(at[to]).listen()
        self.until("the gateway relays", lambda: gate.solo and not gate.passes or self.gateway.metric("leasebridge_media_flows") >= 1)
        for who, sound, to in playing:
            if sound.probe:
                self.probe(who, sound, lambda: heard(to))
        lost = self.dropped()
        played = [(who, sound, to, who.passed, who.ear(sound.ear).tunes[who.passed]) for who, sound, to in playing]
        for who, *_ in played:
            who.go()
        for who, sound, to, number, tune in played:
            if sound.passes:
                self.until(f"{to.role} hears {who.role}", lambda: set(tune) <= set(heard(to)))
        refused = sum(len(tune) for _, sound, _, _, tune in played if not sound.passes)
        if refused:
            self.until("what may not pass is dropped and counted", lambda: self.dropped() >= lost + refused)
        for who, sound, to, number, tune in played:
            got = [p for p in heard(to) if p in set(tune)]
            wanted = tune if sound.passes else []
            self.check(got == wanted, f"{to.role} heard {len(got)} packets of {who.role} at gate {number}, not {len(wanted)} in order")
            self.until("sipp has played", lambda: who.standing() is not None)
        # Who is to listen next must be ready for it when the other speaks.
        for who, *_ in sorted(played, key=lambda p: p[0].passed in p[0].speaks):
            who.go()
            self.until("sipp goes on", who.gone)

    def probe(self, who, sound, heard):
        """Tries the way until it is as it should be."""
        media, lost, sent = who.media(), self.dropped(), []

        def settled():
            sent.append(who.ear(sound.ear).probe(media))
            time.sleep(0.02)
            return sent[-1] in heard() if sound.passes else self.dropped() > lost

        self.until(f"the way from {who.role} is {'open' if sound.passes else 'shut'}", settled)

    def dropped(self):
        rows = re.findall(r"^leasebridge_media_dropped_total\{.*\} (\d+)", self.gateway.get("/metrics")[1], re.M)
        return sum(map(int, rows))

    # ---- the gateway

    def asked(self, method="OPTIONS"):
        """What the gateway answers OPTIONS. What was sent to it before has been dealt with by then."""
        g = self.gateway
        phone = Phone(g.ip["caller"], (g.ip["gateway"], 5060), port=5074, rtp=7020)
        phone.send(build(f"OPTIONS sip:{g.ip['gateway']} SIP/2.0", [
            f"Via: SIP/2.0/UDP {phone.host};branch=z9hG4bK{time.time_ns()}", f"From: <sip:x@{phone.ip}>;tag=o",
            f"To: <sip:{g.ip['gateway']}>", f"Call-ID: o{time.time_ns()}", "CSeq: 1 OPTIONS", "Max-Forwards: 70"]))
        try:
            return phone.expect("SIP/2.0 ").status
        finally:
            phone.close()

    def dealt(self):
        """What both sides have sent has been dealt with, an ACK for one. OPTIONS do not come behind what went by a stream."""
        if self.case.transport == "udp":
            return self.asked()
        row = r'^leasebridge_sip_messages_total\{direction="received",message="ACK"\} (\d+)$'
        sent = sum(m.startswith("ACK ") for side in self.sides for m in side.sent())
        got = lambda: sum(map(int, re.findall(row, self.gateway.get("/metrics")[1], re.M)))
        self.until("the gateway has the ACKs", lambda: got() >= sent)

    def drain(self):
        """A drain that lasts: a call is up, and SIGTERM has come."""
        g = self.gateway
        g.process.terminate()
        self.until("readyz is false after SIGTERM", lambda: g.get("/readyz")[0] == 503)
        # It says so a moment before the signalling thread has been told.
        self.until("OPTIONS get 503", lambda: self.asked() == 503)

    def restart(self, **changes):
        """Stops the gateway and starts it with other settings on the same data."""
        settings = self.case.settings(self.gateway.net)
        for section, values in changes.items():
            settings.setdefault(section, {}).update(values)
        self.gateway.stop()
        self.gateway.reconfigure(settings)
        self.gateway.start()

    def update(self, **form):
        self.gateway.api("customer/update", customer_id=self.customer, **form)

    def down(self):
        """Waits until the outbound trunk is, where nobody listens; from then on a socket does."""
        self.until("the trunk is down", lambda: 'leasebridge_trunk_up{trunk="carrier-out"} 0' in self.gateway.get("/metrics")[1])
        self.trap("callee")
        if self.case.transport == "tls":
            self.tunnel("late-tunnel", [], ["callee"])

    def tried(self, role, times):
        """The silent one there was sent so much at least. A stream says nothing twice (RFC 3261 section 17.1.1.2)."""
        got = len(self.traps[role].listen())
        good = got >= times if self.case.transport == "udp" else got == 1
        self.check(good, f"the silent {role} was sent {got} messages")

    def strangers(self):
        """Requests of unknown sources that were dropped by now; by a stream it is their connections."""
        event, detail = ("sip_dropped", "unknown-source") if self.case.transport == "udp" else ("sip_connection", "stranger")
        row = rf'^leasebridge_sip_events_total\{{detail="{detail}",event="{event}"\}} (\d+)$'
        return int(re.search(row, self.gateway.get("/metrics")[1], re.M)[1])

    def turned_away(self):
        self.until("the stranger is counted", lambda: self.strangers() > 0)
        self.check(not self.uac.received(), f"the stranger was sent {self.uac.received()[:1]}")

    def rest(self):
        """Releases the lease and sees its number at rest."""
        self.release()
        resting = lambda: self.number in str(self.gateway.api("numbers/list", state="resting"))
        self.until("the number rests", resting)

    def release(self):
        self.gateway.api(f"lease{self.case.lease}/release", reference_id=self.reference)

    def expire(self):
        """Waits until the lease is over."""
        status = lambda: self.gateway.request(f"lease{self.case.lease}/query", reference_id=self.reference)[1]["status"]
        end = time.time() + 2 * PATIENCE
        while status() != 10:
            if time.time() > end:
                raise Broken("the lease never ended")
            time.sleep(0.1)

    def saw(self, side, start, times=1):
        """Whether that side has got a message that begins so."""
        return sum(m.startswith(start) for m in side.received()) >= times

    def only(self, pattern):
        """The caller was sent that and nothing else."""
        got = [m.splitlines()[0] for m in self.uac.received()]
        self.check(got and all(re.fullmatch(pattern, line.strip()) for line in got), f"the caller was sent {got}, not {pattern}")

    def between(self, side, first, then, seconds, place=1):
        """From the `first` at `place`, counted from 0, to the last `then` that side waited so long at least."""
        answered, again = side.times(first)[place], side.times(then)[-1]
        self.check(again - answered >= seconds, f"{then!r} came to {side.role} {again - answered:.2f} s after {first!r}")

    def tags(self, status, count):
        """The caller saw so many early dialogs in its responses of that status."""
        seen = {tag for m in self.uac.received() if m.startswith(f"SIP/2.0 {status}") for tag in re.findall(r"^To:.*tag=(\S+)", m, re.M)}
        self.check(len(seen) == count, f"the caller saw {len(seen)} To-tags in its {status}s, not {count}")

    # ---- after every case

    def audit(self):
        """What must hold of both sides whatever the case."""
        g, calls = self.gateway, [s for s in (self.uas, self.second, *self.holders[1:]) if s]
        for role, trap in self.traps.items():
            got = [p.split(b"\r\n")[0] for p in trap.listen()]
            if role == "callee" and self.case.trapped:
                self.check(all(p.startswith(self.case.trapped.encode()) for p in got), f"{role} was sent {got[:5]}")
            else:
                self.check(not got, f"{role} was sent {got[:3]}")
        for role, stray in self.strays.items():
            self.check(not stray.listen(), f"{role} was sent something by UDP")
        theirs = "\n".join(self.uac.received())
        own = "\n".join(self.uac.sent())
        self.hidden("the caller", theirs, *[s for s in ("60122223333", g.ip["callee"], g.ip["second"]) if s not in own])
        for side in calls:
            ours = side.received()
            self.hidden(side.role, "\n".join(ours), g.ip["caller"], *(["60133334444"] if self.case.lease == "group" else []))
            ids = {line for m in ours if m.startswith("INVITE") for line in m.splitlines() if line.startswith("Call-ID:")}
            self.check(len(ids) <= 1, f"{side.role} was sent {len(ids)} calls")
            self.apart(side, ours)

    def hidden(self, who, text, *secrets):
        for secret in secrets:
            if re.search(rf"(?<![\d.]){re.escape(secret)}(?![\d])", text):
                self.fault(f"{who} was told {secret}")

    def apart(self, side, messages):
        """The legs share no Call-ID, tag, branch or SDP origin."""
        there = "\n".join(messages)
        sent = "\n".join(self.uac.sent())
        for what in (r"^Call-ID: *(\S+)", r";tag=([^;>\s]+)", r"branch=([^;>\s]+)", r"^o=\S+ (\d+ \d+)"):
            both = set(re.findall(what, sent, re.M)) & set(re.findall(what, there, re.M))
            self.check(not both, f"{side.role} shares {sorted(both)} with the caller's leg")

    def counted(self, record):
        """The record counts what arrived."""
        if not self.uac.ears or len(self.sides) - len(self.holders) < 2:
            return
        for field, sides in (("to_callee_packets", [s for s in (self.uas, self.second) if s]), ("to_caller_packets", [self.uac])):
            arrived = sum(s.heard() for s in sides)
            self.check(record[field] == str(arrived), f"record: {field} is {record[field]}, but {arrived} arrived")
