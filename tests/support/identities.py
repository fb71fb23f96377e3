"""Key pairs with self-signed certificates, for tests that speak TLS."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from dataplane.crypto.certs import load_certificate, self_signed_client_certificate, self_signed_node_certificate
from dataplane.crypto.keys import key_id, private_pem


@dataclass(frozen=True)
class Identity:
    """PEM texts, and the two names derived from them."""

    certificate_pem: str
    key_pem: str
    node_id: str
    fingerprint: str

    def write(self, directory: Path, name: str) -> tuple[Path, Path]:
        """Write both as files; their paths."""
        certificate, key = directory / f"{name}_cert.pem", directory / f"{name}_privk.pem"
        certificate.write_text(self.certificate_pem)
        key.write_text(self.key_pem)
        key.chmod(0o600)
        return certificate, key


def node_identity(name: str = "node") -> Identity:
    """A node's, for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP384R1())
    pem = self_signed_node_certificate(
        key, f"CN={name}", ["iPAddress:127.0.0.1", "dNSName:localhost"], x509.random_serial_number(), _yesterday(), 30
    )
    return _identity(key, pem)


def client_identity(name: str = "user") -> Identity:
    """A user's or member's."""
    key = ec.generate_private_key(ec.SECP384R1())
    return _identity(
        key, self_signed_client_certificate(key, f"CN={name}", x509.random_serial_number(), _yesterday(), 30)
    )


def client_context(identity: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """A client's TLS that trusts any server: these tests are about what the server does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if identity is not None:
        context.load_cert_chain(identity, key)
    return context


def _identity(key: ec.EllipticCurvePrivateKey, pem: str) -> Identity:
    der = ssl.PEM_cert_to_DER_cert(pem)
    assert load_certificate(pem).public_key() == key.public_key()
    return Identity(pem, private_pem(key), key_id(key.public_key()), sha256(der).hexdigest())


def _yesterday() -> datetime:
    return datetime.now(UTC) - timedelta(days=1)
