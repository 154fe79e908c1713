"""INVITE to 180 as the caller's wire sees it, from a capture on loopback, by packet timestamps."""
import struct


def packets(path):
    with open(path, "rb") as f:
        head = f.read(24)
        nano = struct.unpack("<I", head[:4])[0] == 0xA1B23C4D
        while True:
            h = f.read(16)
            if len(h) < 16:
                return
            sec, frac, incl, _ = struct.unpack("<IIII", h)
            yield sec + frac / (1e9 if nano else 1e6), f.read(incl)


def of_capture(path):
    """p50 and p99 of the time from the caller's INVITE to the 180 that reaches it, milliseconds."""
    start, delays = {}, []
    for at, frame in packets(path):
        ip = frame[14:]
        src, dst = ip[12:16], ip[16:20]
        payload = ip[(ip[0] & 15) * 4 + 8:]
        i = payload.find(b"\r\nCall-ID:")
        if i < 0:
            continue
        call = payload[i + 10:payload.find(b"\r\n", i + 2)].strip()
        if payload.startswith(b"INVITE ") and src == b"\x7f\0\0\1":
            start.setdefault(call, at)
        elif payload.startswith(b"SIP/2.0 180") and dst == b"\x7f\0\0\1" and call in start:
            delays.append((at - start.pop(call)) * 1000)
    delays.sort()
    q = lambda p: delays[min(len(delays) - 1, int(p * len(delays)))] if delays else float("nan")
    return {"calls": len(delays), "p50": q(0.5), "p99": q(0.99)}
