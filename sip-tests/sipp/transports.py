"""The cases over TCP and TLS, on both sides: what calls dials the gateway, and the gateway dials what is called."""
import copy

TRANSPORTS = ("udp", "tcp", "tls")


def over(case, transport):
    """The case by a stream."""
    it = copy.copy(case)
    it.name, it.transport, it.changes = f"{transport}: {case.name}", transport, copy.deepcopy(case.changes)
    sip = it.changes.setdefault("sip", {})
    # By UDP the test itself asks for OPTIONS.
    sip["listen"] = ["udp:127.0.NET.2:5060", f"{transport}:127.0.NET.2:5060"]
    out = it.changes.setdefault("outbound", {})
    out.setdefault("target", "sip:127.0.NET.3:5080")
    targets = [out, *(trunk for trunk in it.changes.get("trunks", []) if "target" in trunk)]
    for trunk in targets:
        trunk["target"] += f";transport={transport}"
    if transport == "tls":
        # Each side looks at the other's certificate, whoever dials.
        ours, theirs = {"cert": "CERTIFICATES/gateway.cert", "key": "CERTIFICATES/gateway.key"}, {"ca": "CERTIFICATES/ca.pem"}
        sip["tls"] = {**ours, "client_ca": theirs["ca"]}
        it.changes.setdefault("inbound", {})["tls"] = {**theirs, "require_client_cert": True}
        for trunk in targets:
            trunk["tls"] = {**ours, **theirs}
    return it


def each(cases):
    """The cases, and each over the streams too."""
    return cases + [over(case, transport) for transport in TRANSPORTS[1:] for case in cases]
