"""Certificates for telephone numbers and their server, by `cryptography` and Python's own TLS."""
import datetime, http.server, ipaddress, ssl, threading, time
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID, ObjectIdentifier

TN_AUTH_LIST = ObjectIdentifier("1.3.6.1.5.5.7.1.26")
SPC_1234 = bytes.fromhex("3008a006160431323334")
ONE_NUMBER = b"\x30\x0f\xa2\x0d\x16\x0b" + b"60199990002"


def pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_pem(key, form=serialization.PrivateFormat.PKCS8):
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


class Authority:
    """A key with its certificate; signs others."""

    def __init__(self, name, issuer=None, ca=True, extensions=(), days=(-1, 30)):
        self.key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.timezone.utc)
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = (x509.CertificateBuilder().subject_name(self.name).issuer_name(issuer.name if issuer else self.name)
                   .public_key(self.key.public_key()).serial_number(x509.random_serial_number())
                   .not_valid_before(now + datetime.timedelta(days=days[0])).not_valid_after(now + datetime.timedelta(days=days[1]))
                   .add_extension(x509.BasicConstraints(ca, None), True)
                   .add_extension(x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False), True))
        for extension in extensions:
            builder = builder.add_extension(extension, False)
        self.certificate = builder.sign((issuer or self).key, hashes.SHA256())


def signer(issuer, numbers=SPC_1234, **how):
    """A certificate of a provider of telephone numbers (RFC 8226)."""
    return Authority("SHAKEN 1234", issuer, False, [x509.UnrecognizedExtension(TN_AUTH_LIST, numbers)], **how)


class Server:
    """HTTPS on one address; `pages` is what it has: bytes, a number (a status), or seconds to wait and then bytes."""

    def __init__(self, ip, work):
        self.pages, self.asked = {}, []
        root = Authority("web root")
        own = Authority(ip, root, False, [x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(ip))])])
        self.ca, chain = f"{work}/web-ca.pem", f"{work}/web.pem"
        with open(self.ca, "wb") as f:
            f.write(pem(root.certificate))
        with open(chain, "wb") as f:
            f.write(key_pem(own.key) + pem(own.certificate))
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                server.asked.append(self.path)
                page = server.pages.get(self.path, 404)
                if isinstance(page, tuple):
                    time.sleep(page[0])
                    page = page[1]
                status, body = (page, b"") if isinstance(page, int) else (200, page)
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "/good.pem")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer((ip, 0), Handler)
        self.http.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        self.url = f"https://{ip}:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
