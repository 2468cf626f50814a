"""A certificate authority made for one test, with the ``openssl`` command: PEM in, PEM out, valid for a day."""

import base64
import shutil
import subprocess
from pathlib import Path

_CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def missing() -> str | None:
    """Return why no certificates can be made here, or ``None``."""
    return None if shutil.which("openssl") else "there is no openssl command here"


class Authority:
    """A CA of its own folder. ``certificate`` is what clients trust."""

    def __init__(self, folder: Path, name: str = "test-ca") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._key = folder / f"{name}.key"
        self.certificate = folder / f"{name}.pem"
        subject = ("-subj", f"/CN={name}", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        _openssl("req", "-x509", *_CURVE, "-keyout", self._key, "-out", self.certificate, "-days", "1", *subject)

    def issue(self, name: str, *, password: str = "") -> tuple[Path, Path]:
        """Return certificate and key (PKCS#8, encrypted if there is a ``password``) for ``name`` on this host."""
        request, certificate, key = (self._folder / f"{name}.{kind}" for kind in ("csr", "pem", "key"))
        plain = self._folder / f"{name}.plain"
        _openssl("req", *_CURVE, "-keyout", plain, "-out", request, "-subj", f"/CN={name}")
        extensions = self._folder / f"{name}.ext"
        extensions.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        signed = ("-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial", "-days", "1", "-extfile", extensions)
        _openssl("x509", "-req", "-in", request, "-out", certificate, *signed)
        lock = ("-v2", "aes-256-cbc", "-passout", f"pass:{password}") if password else ("-nocrypt",)
        _openssl("pkcs8", "-topk8", "-in", plain, "-out", key, *lock)
        return certificate, key


class SigningKey:
    """An RSA key that signs tokens (RS256), and what their reader needs to check them (``jwk``, RFC 7517)."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._key = folder / "signing.key"
        _openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", self._key)
        modulus = _openssl("rsa", "-in", self._key, "-noout", "-modulus").decode().strip().partition("=")[2]
        self.jwk = {
            "kty": "RSA",
            "kid": "1",
            "use": "sig",
            "alg": "RS256",
            "n": base64_url(bytes.fromhex(modulus)),
            "e": base64_url((65537).to_bytes(3, "big")),
        }

    def sign(self, content: bytes) -> bytes:
        """Return the signature of ``content``."""
        return _openssl("dgst", "-sha256", "-sign", self._key, stdin=content)


def base64_url(content: bytes) -> str:
    """Return ``content`` as tokens carry it: the URL's alphabet, without padding."""
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _openssl(*words: object, stdin: bytes | None = None) -> bytes:
    command = ["openssl", *(str(word) for word in words)]
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=30, check=False)
    if done.returncode:
        raise AssertionError(f"openssl {words[0]} failed: {done.stderr.decode(errors='replace')}")
    return done.stdout
