"""Writes a capture of RTP packets for sipp to play: PCMA silence, 20 ms apart."""
import struct


def write(path, packets, payload_type=8, ssrc=0x5EED, first=0):
    """Returns the packets, from the RTP header on."""
    out = []
    with open(path, "wb") as f:
        f.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for i in range(packets):
            rtp = struct.pack(">BBHII", 0x80, payload_type, first + i, (first + i) * 160, ssrc) + b"\xd5" * 160
            out.append(rtp)
            udp = struct.pack(">HHHH", 6000, 6000, 8 + len(rtp), 0) + rtp
            ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), i, 0, 64, 17, 0, b"\x7f\0\0\1", b"\x7f\0\0\1") + udp
            frame = b"\0" * 12 + b"\x08\x00" + ip
            f.write(struct.pack("<IIII", 1000 + i // 50, (i % 50) * 20000, len(frame), len(frame)) + frame)
    return out
