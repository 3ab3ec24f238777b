"""Authorities and certificates of tests, made by openssl."""

import pathlib
import ssl
import subprocess


class Authority:
    """Signs certificates into a folder; `ca` is its own."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ca, self._key = self.folder / "ca.pem", self.folder / "ca.key"
        openssl("req", "-x509", *NEW_KEY, "-keyout", self._key, "-out", self.ca, "-subj", "/CN=authority", "-days", "2")

    def sign(self, name, host="127.0.0.1"):
        """The paths of a certificate for this address and of its key."""
        cert, key, request, extra = (self.folder / f"{name}.{end}" for end in ("pem", "key", "csr", "ext"))
        extra.write_text(f"subjectAltName = IP:{host}\n")
        openssl("req", *NEW_KEY, "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        signed = ["-CA", self.ca, "-CAkey", self._key, "-CAcreateserial", "-extfile", extra, "-days", "2"]
        openssl("x509", "-req", "-in", request, "-out", cert, *signed)
        return cert, key

    def keystore(self, name, host):
        """A PKCS#12 file of a new certificate, its password "keystore"."""
        cert, key = self.sign(name, host)
        path = self.folder / f"{name}.p12"
        pack(cert, key, path)
        return path

    def server(self, name="server"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.sign(name))
        return context

    def client(self, identity=None):
        context = ssl.create_default_context(cafile=str(self.ca))
        if identity:
            context.load_cert_chain(*identity)
        return context


def pack(cert, key, path):
    """A PKCS#12 file of this certificate and its key, its password "keystore"."""
    openssl("pkcs12", "-export", "-in", cert, "-inkey", key, "-out", path, "-passout", "pass:keystore")


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
