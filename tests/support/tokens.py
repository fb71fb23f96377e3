"""A token issuer for tests: signing keys, JWKs in all their forms, and tokens that PyJWT signs."""

from base64 import b64encode
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from dataplane.crypto.keys import public_pem

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
ENTRA = "https://login.microsoftonline.com"
TENANT = "9188050d-6c67-4c5b-b112-36a304b66da"


@cache
def rsa_key(name: str = "first") -> rsa.RSAPrivateKey:
    """The same key for the same name, since RSA keys are slow to make."""
    return rsa.generate_private_key(65537, 2048)


@dataclass(frozen=True)
class Issuer:
    """An issuer with one signing key; `jwk` and `token` by key id."""

    name: str = "https://example.issuer"
    key: PrivateKey = field(default_factory=rsa_key)

    @property
    def algorithm(self) -> str:
        return "RS256" if isinstance(self.key, rsa.RSAPrivateKey) else "ES256"

    @property
    def public_pem(self) -> str:
        return public_pem(self.key.public_key())

    def jwk(self, kid: str = "kid", *, form: str = "raw", **more: object) -> dict[str, Any]:
        """`raw`: numbers in standard base64, as some issuers write them; `x5c`: a certificate."""
        numbers: Any = self.key.public_key().public_numbers()
        if form == "x5c":
            return {"kid": kid, "kty": "RSA", "x5c": [b64encode(self.certificate_der()).decode()], **more}
        if isinstance(self.key, rsa.RSAPrivateKey):
            return {"kid": kid, "kty": "RSA", "n": _base64(numbers.n), "e": _base64(numbers.e), **more}
        return {"kid": kid, "kty": "EC", "crv": "P-256", "x": _base64(numbers.x), "y": _base64(numbers.y), **more}

    def jwks(self, kid: str = "kid", **more: Any) -> dict[str, Any]:
        return {"keys": [self.jwk(kid, **more)]}

    def token(self, kid: str = "kid", *, now: datetime, headers: dict[str, Any] | None = None, **claims: object) -> str:
        """A token of an hour, begun ten seconds ago; a claim that is None is left out."""
        now_s = int(now.timestamp())
        whole = {"iss": self.name, "nbf": now_s - 10, "exp": now_s + 3600, **claims}
        present = {name: value for name, value in whole.items() if value is not None}
        return jwt.encode(present, self.key, self.algorithm, headers={"kid": kid, **(headers or {})})

    def certificate_der(self) -> bytes:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer")])
        begin = datetime.now(UTC) - timedelta(days=1)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(self.key.public_key())
        builder = builder.serial_number(1).not_valid_before(begin).not_valid_after(begin + timedelta(days=9))
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.DER)


def elliptic_issuer(name: str = "https://example.issuer") -> Issuer:
    """An issuer that signs with ES256."""
    return Issuer(name, ec.generate_private_key(ec.SECP256R1()))


def _base64(number: int) -> str:
    return b64encode(number.to_bytes((number.bit_length() + 7) // 8, "big")).decode()
