"""Kamailio as a carrier's edge: TLS and digest towards the gateway both ways, UDP towards the phones behind it."""
import os, signal, subprocess, time
from gateway import PATIENCE

CONFIG = """
debug=2
log_stderror=yes
memdbg=5
children=2
tcp_children=2
auto_aliases=no
enable_tls=yes
listen=udp:{ip}:5060
listen=tls:{ip}:5061
mpath="/usr/lib/x86_64-linux-gnu/kamailio/modules/"
loadmodule "tls.so"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "xlog.so"
loadmodule "maxfwd.so"
loadmodule "siputils.so"
loadmodule "auth.so"
loadmodule "uac.so"
loadmodule "textops.so"
modparam("tls", "config", "{tls}")
modparam("rr", "enable_double_rr", 1)
modparam("auth", "algorithm", "{algorithm}")
modparam("uac", "auth_realm_avp", "$avp(arealm)")
modparam("uac", "auth_username_avp", "$avp(auser)")
modparam("uac", "auth_password_avp", "$avp(apass)")
modparam("uac", "restore_mode", "none")

request_route {{
    if (!mf_process_maxfwd_header("10")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
    if (has_totag()) {{
        if (loose_route()) {{ t_relay(); exit; }}
        if (is_method("ACK")) {{ if (t_check_trans()) t_relay(); exit; }}
        sl_send_reply("404", "Not Here");
        exit;
    }}
    if (is_method("CANCEL")) {{ if (t_check_trans()) t_relay(); exit; }}
    if (is_method("OPTIONS")) {{ sl_send_reply("200", "OK"); exit; }}
    if (!is_method("INVITE")) {{ sl_send_reply("405", "Method Not Allowed"); exit; }}
    if (proto == TLS) {{
        if (!pv_proxy_authenticate("edge.example", "{password}", "0")) {{
            xlog("L_NOTICE", "edge: challenging $ru\\n");
            auth_challenge("edge.example", "1");
            exit;
        }}
        consume_credentials();
        xlog("L_NOTICE", "edge: authenticated $au\\n");
        record_route();
        $du = "sip:{callee}:5060;transport=udp";
        t_relay();
        exit;
    }}
    record_route();
    $rd = "{gateway}";
    $rp = 5061;
    $du = "sip:{gateway}:5061;transport=tls";
    t_on_failure("DEMANDED");
    t_relay();
}}

failure_route[DEMANDED] {{
    if (t_is_canceled()) exit;
    if (t_check_status("401|407")) {{
        xlog("L_NOTICE", "edge: $rs asks for credentials\\n");
        $avp(arealm) = "gateway.example";
        $avp(auser) = "edge";
        $avp(apass) = "{password}";
        if (uac_auth()) {{ t_relay(); }}
    }}
}}
"""

TLS = """[server:default]
method = TLSv1.2+
verify_certificate = yes
require_certificate = yes
private_key = {key}
certificate = {cert}
ca_list = {ca}

[client:default]
method = TLSv1.2+
verify_certificate = yes
require_certificate = yes
private_key = {key}
certificate = {cert}
ca_list = {ca}
"""


class Edge:
    """A running Kamailio between a gateway and two phones."""

    def __init__(self, host, gateway, callee, password, tls, work, algorithm=""):
        self.host, self.ip, self.work = host, host.ip, work
        os.makedirs(work)
        self.lines = os.path.join(work, "log")
        values = {"ip": self.ip, "gateway": gateway, "callee": callee, "password": password, "algorithm": algorithm,
                  "tls": os.path.join(work, "tls.cfg")}
        with open(values["tls"], "w") as f:
            f.write(TLS.format(**tls))
        self.config = os.path.join(work, "kamailio.cfg")
        with open(self.config, "w") as f:
            f.write(CONFIG.format(**values))
        self.process = None

    def start(self):
        # -DD keeps it in the foreground; its children stay in its process group and end with it.
        with open(self.lines, "w") as log:
            self.process = subprocess.Popen([*self.host.inside, "kamailio", "-f", self.config, "-DD", "-E", "-m", "64", "-M", "8", "-Y", self.work],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        end = time.time() + PATIENCE
        while not self.listens():
            if time.time() > end or self.process.poll() is not None:
                raise RuntimeError("kamailio does not start: " + self.log()[-2000:])
            time.sleep(0.1)
        return self

    def listens(self):
        found = subprocess.run([*self.host.inside, "ss", "-Hlnt", f"src {self.ip}:5061"], capture_output=True, text=True).stdout
        return bool(found.strip())

    def log(self):
        with open(self.lines, errors="replace") as f:
            return f.read()

    def close(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
