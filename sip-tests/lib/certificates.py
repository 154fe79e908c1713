"""Certificates for tests, made by openssl: an authority of our own and what it signs."""
import os, subprocess


class Authority:
    def __init__(self, work, name="ca"):
        self.work = os.path.join(work, name)
        os.makedirs(self.work)
        self.cert, self.key = self._path("ca.pem"), self._path("ca.key")
        self._openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                      "-subj", f"/CN={name} of the tests", "-keyout", self.key, "-out", self.cert)

    def _path(self, name):
        return os.path.join(self.work, name)

    @staticmethod
    def _openssl(*arguments):
        done = subprocess.run(["openssl", *arguments], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"openssl {arguments[0]}: {done.stderr}")

    def issue(self, name, *hosts):
        """A certificate for these addresses and names: paths of `cert`, `key`, `both` in one file, and of the `ca`."""
        paths = {kind: self._path(f"{name}.{kind}") for kind in ("cert", "key", "csr", "ext", "both")}
        kind = lambda host: "IP" if host.replace(".", "").isdigit() or ":" in host else "DNS"
        with open(paths["ext"], "w") as f:
            f.write("subjectAltName=" + ",".join(f"{kind(h)}:{h}" for h in hosts) + "\nextendedKeyUsage=serverAuth,clientAuth\n")
        self._openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={hosts[0]}",
                      "-keyout", paths["key"], "-out", paths["csr"])
        self._openssl("x509", "-req", "-in", paths["csr"], "-CA", self.cert, "-CAkey", self.key, "-CAcreateserial", "-days", "30",
                      "-extfile", paths["ext"], "-out", paths["cert"])
        with open(paths["both"], "w") as both:
            for part in (paths["key"], paths["cert"]):
                with open(part) as f:
                    both.write(f.read())
        return {**paths, "ca": self.cert}
