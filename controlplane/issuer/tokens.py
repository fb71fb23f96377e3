"""Signing keys and access tokens: RS256 JWTs as `az` and the SDKs expect them (control-plane.md 6.2)."""

import base64
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from controlplane.settings import write_private

ARM_AUDIENCES = ("https://management.core.windows.net/", "https://management.azure.com/")
CLOCK_SKEW_S = 60


class InvalidToken(Exception):
    """A bearer token that is refused; `code` is the ARM error code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a valid token speaks for, in the words of its claims."""

    object_id: str
    name: str
    """`upn` or `preferred_username` of a user, application id of an application (control-plane.md 4.3)."""
    kind: str
    """`User` or `Application`."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    private_key: rsa.RSAPrivateKey
    key_id: str

    def as_jwk(self) -> dict[str, str]:
        """The public half, as `discovery/v2.0/keys` lists it (RFC 7517)."""
        numbers = self.private_key.public_key().public_numbers()
        return {
            "kty": "RSA",
            "use": "sig",
            "alg": "RS256",
            "kid": self.key_id,
            "n": _base64url(numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")),
            "e": _base64url(numbers.e.to_bytes(3, "big")),
        }


@dataclass(frozen=True, slots=True)
class Issuer:
    """Issues and verifies the tokens of one tenant. `issuer` is the `iss` claim; audiences end in a slash."""

    issuer: str
    tenant_id: str
    audiences: frozenset[str]
    lifetime_s: int
    key: SigningKey

    def access_token(self, *, app_id: str, object_id: str, audience: str, now: datetime) -> str:
        """A token for an application; `audience` is one that `served_audience` returned."""
        issued_at_s = int(now.timestamp())
        claims = {
            "aud": audience,
            "iss": self.issuer,
            "iat": issued_at_s,
            "nbf": issued_at_s,
            "exp": issued_at_s + self.lifetime_s,
            "appid": app_id,
            "appidacr": "1",
            "idtyp": "app",
            "oid": object_id,
            "sub": object_id,
            "tid": self.tenant_id,
            "uti": _base64url(uuid.uuid4().bytes),
            "ver": "1.0",
        }
        return jwt.encode(claims, self.key.private_key, algorithm="RS256", headers={"kid": self.key.key_id})

    def verify(self, token: str, now: datetime) -> Principal:
        """Check signature, issuer, audience, tenant and times. Raises `InvalidToken`."""
        claims = self._verified_claims(token)
        now_s = now.timestamp()
        if float(claims["exp"]) <= now_s - CLOCK_SKEW_S:
            raise InvalidToken("ExpiredAuthenticationToken", "The access token has expired.")
        if float(claims["nbf"]) > now_s + CLOCK_SKEW_S:
            raise InvalidToken("InvalidAuthenticationToken", "The access token is not valid yet.")
        if claims["tid"] != self.tenant_id:
            raise InvalidToken("InvalidAuthenticationTokenTenant", "The access token is from another tenant.")
        return principal_of(claims)

    def served_audience(self, resource: str) -> str | None:
        """The audience a client means, whatever slashes it ends in; None when we serve no such audience."""
        audience = resource.rstrip("/") + "/"
        return audience if audience in self.audiences else None

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        return {"keys": [self.key.as_jwk()]}

    def _verified_claims(self, token: str) -> Mapping[str, Any]:
        # Times are compared by `verify` with the caller's clock, so that each has its own error code.
        options: Any = {"require": ["exp", "nbf", "aud", "iss", "tid", "oid"], "verify_exp": False, "verify_nbf": False}
        options |= {"verify_iat": False}
        try:
            return jwt.decode(
                token,
                self.key.private_key.public_key(),
                algorithms=["RS256"],
                audience=sorted(self.audiences),
                issuer=self.issuer,
                options=options,
            )
        except jwt.InvalidAudienceError as error:
            raise InvalidToken(
                "InvalidAuthenticationTokenAudience", "The access token is for another audience."
            ) from error
        except jwt.InvalidTokenError as error:
            raise InvalidToken("InvalidAuthenticationToken", "The access token is invalid.") from error


def principal_of(claims: Mapping[str, Any]) -> Principal:
    """User or application, by the claims that tell them apart (control-plane.md 4.3)."""
    user = claims.get("upn") or claims.get("preferred_username")
    if user and claims.get("idtyp") != "app":
        return Principal(str(claims["oid"]), str(user), "User")
    return Principal(str(claims["oid"]), str(claims.get("appid") or claims["oid"]), "Application")


def load_or_create_key(path: Path) -> SigningKey:
    """The installation's signing key, made at first start in a 0600 file that nothing else reads."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        private_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = private_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_private(path, json.dumps({"private_key": pem.decode()}) + "\n")
    stored = json.loads(path.read_text(encoding="utf-8"))["private_key"]
    key = serialization.load_pem_private_key(stored.encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return SigningKey(key, _key_id(key))


def _key_id(key: rsa.RSAPrivateKey) -> str:
    der = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    digest = hashes.Hash(hashes.SHA256())
    digest.update(der)
    return _base64url(digest.finalize()[:20])


def _base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
