"""Start, watch and stop a system under test (SUT): CPU seconds, memory, machine softirq."""
import atexit, os, shlex, signal, subprocess, time

HZ = os.sysconf("SC_CLK_TCK")

def _children(root):
    """pids of root and every live descendant."""
    kids = {}
    for p in filter(str.isdigit, os.listdir("/proc")):
        try:
            f = open(f"/proc/{p}/stat").read()
        except OSError:
            continue
        kids.setdefault(int(f[f.rindex(")") + 2:].split()[1]), []).append(int(p))
    out, todo = [], [root]
    while todo:
        p = todo.pop()
        out.append(p)
        todo += kids.get(p, [])
    return out

def cpu_clock(pid):
    """CPU seconds of one process, all threads, ns resolution (the kernel's per-process CPU clock)."""
    return time.clock_gettime((~pid << 3) | 2)

def softirq_and_busy():
    f = [int(x) / HZ for x in open("/proc/stat").readline().split()[1:]]
    return f[6], sum(f) - f[3] - f[4]           # softirq, everything but idle+iowait

class Sut:
    def __init__(self, cmd, cpu=None, log="sut.log", settle=2.0):
        self.proc = None
        if cmd:
            pre = ["taskset", "-c", str(cpu)] if cpu is not None else []
            self.proc = subprocess.Popen(pre + shlex.split(cmd), stdout=open(log, "w"),
                                         stderr=subprocess.STDOUT, start_new_session=True)
            atexit.register(self.stop)
            time.sleep(settle)
            if self.proc.poll() is not None:
                raise SystemExit(f"SUT exited: {open(log).read()[-2000:]}")

    def pids(self):
        return _children(self.proc.pid) if self.proc else []

    def cpu(self):
        return sum(cpu_clock(p) for p in self.pids())

    def settle(self, most=30.0, share=0.01):
        """Waits until it rests: work put off while the load ran is part of the load's cost."""
        end, before = time.time() + most, self.cpu()
        while self.proc and time.time() < end:
            time.sleep(0.5)
            now = self.cpu()
            if now - before < 0.5 * share:
                return
            before = now

    def user_sys(self):
        u = s = 0
        for p in self.pids():
            f = open(f"/proc/{p}/stat").read()
            f = f[f.rindex(")") + 2:].split()
            u += int(f[11]); s += int(f[12])
        return u / HZ, s / HZ

    def threads(self):
        """CPU seconds of each thread by its name."""
        out = {}
        for p in self.pids():
            for task in os.listdir(f"/proc/{p}/task"):
                try:
                    name = open(f"/proc/{p}/task/{task}/comm").read().strip()
                    # Nanoseconds on the processor: utime and stime are in ticks of 10 ms.
                    used = int(open(f"/proc/{p}/task/{task}/schedstat").read().split()[0]) / 1e9
                except OSError:
                    continue
                out[name] = out.get(name, 0) + used
        return out

    def mem_mb(self):
        """Proportional set size, MiB, summed over the tree (shared pages counted once)."""
        kb = 0
        for p in self.pids():
            for line in open(f"/proc/{p}/smaps_rollup"):
                if line.startswith("Pss:"):
                    kb += int(line.split()[1])
        return kb / 1024

    def stop(self):
        if not self.proc or self.proc.poll() is not None:
            return
        pids = self.pids()
        self.proc.terminate()
        try:
            self.proc.wait(5)
        except subprocess.TimeoutExpired:
            for p in pids:
                try: os.kill(p, signal.SIGKILL)
                except ProcessLookupError: pass
            self.proc.wait()
