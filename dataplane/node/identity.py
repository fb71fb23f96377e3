"""The keys of a node and of its service, and the certificates over them (ledger-format.md 7.1, 7.2).

All private keys live in memory only; a node that stops is gone, and another one joins in its place (decisions.md 6).
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import ip_address

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from dataplane.config import Config, Curve, NodeCertificate
from dataplane.crypto.certs import create_csr, self_signed_node_certificate, self_signed_service_certificate
from dataplane.crypto.keys import PrivateKey, RsaPrivateKey, key_id, private_pem, public_pem, spki_der
from dataplane.kv.tables import load_json
from dataplane.ledger.secrets import MalformedSecret, SharedSecret, node_secrets
from dataplane.txid import NodeId

_SERIAL_BITS = 127  # 16 bytes, positive in DER
_CURVES = {Curve.SECP384R1: ec.SECP384R1(), Curve.SECP256R1: ec.SECP256R1()}


@dataclass(slots=True)
class NodeIdentity:
    """One node. `endorsed_certificate` is None until the service has issued it."""

    key: PrivateKey = field(repr=False)
    encryption_key: RsaPrivateKey = field(repr=False)
    self_signed_certificate: str
    certificate_signing_request: str
    endorsed_certificate: str | None = None

    @property
    def id(self) -> NodeId:
        return key_id(self.key.public_key())

    @property
    def key_pem(self) -> str:
        return private_pem(self.key)

    @property
    def public_key_der(self) -> bytes:
        return spki_der(self.key.public_key())

    @property
    def encryption_public_key(self) -> str:
        return public_pem(self.encryption_key.public_key())

    def open_secrets(self, value: bytes) -> list[SharedSecret]:
        """What a value of `encrypted_ledger_secrets` holds for this node; raises `MalformedSecret`."""
        try:
            secrets = load_json(value)
        except ValueError as error:
            raise MalformedSecret(f"the encrypted ledger secrets cannot be read: {error}") from error
        return node_secrets(secrets, self.id, self.encryption_key)


@dataclass(slots=True)
class ServiceIdentity:
    """The service key, held by every trusted node, and the certificate in `service.info`."""

    key: PrivateKey = field(repr=False)
    certificate: str

    @property
    def key_pem(self) -> str:
        return private_pem(self.key)


def new_serial() -> int:
    """A random certificate serial number."""
    return secrets.randbits(_SERIAL_BITS) | 1 << (_SERIAL_BITS - 1)


def new_node_identity(certificate: NodeCertificate, hosts: Sequence[str], now: datetime) -> NodeIdentity:
    """Fresh keys; the certificate names `hosts` unless the configuration lists names of its own."""
    key = ec.generate_private_key(_CURVES[certificate.curve])
    names = list(certificate.subject_alt_names) or [_alt_name(host) for host in dict.fromkeys(hosts)]
    return NodeIdentity(
        key=key,
        encryption_key=rsa.generate_private_key(65537, 2048),
        self_signed_certificate=self_signed_node_certificate(
            key, certificate.subject_name, names, new_serial(), now, certificate.initial_validity_days
        ),
        certificate_signing_request=create_csr(key, certificate.subject_name, names),
    )


def new_service_identity(subject: str, now: datetime, days: int) -> ServiceIdentity:
    """A fresh service key and its certificate."""
    key = ec.generate_private_key(ec.SECP384R1())
    return ServiceIdentity(key, self_signed_service_certificate(key, subject, new_serial(), now, days))


def published_hosts(config: Config) -> list[str]:
    """The hosts of all published RPC addresses."""
    return [interface.published.host for interface in config.interfaces]


def _alt_name(host: str) -> str:
    try:
        ip_address(host)
    except ValueError:
        return f"dNSName:{host}"
    return f"iPAddress:{host}"
