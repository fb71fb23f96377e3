"""JSON Web Tokens as bearers present them: their parts, and whether a key signed them (RFC 7519; node-api.md 3.2).

Only RS256 and ES256 are known. What the claims mean for a caller is decided elsewhere.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from dataplane.crypto.token_keys import InvalidJwk, SigningKey, decode_base64

RS256, ES256 = "RS256", "ES256"
_COORDINATE_SIZE = 32
_ECDSA_SHA256 = ec.ECDSA(hashes.SHA256())
_MAX_TIME_S = 1 << 63
_MAX_NESTING = 256


class InvalidToken(ValueError):
    """The text is no token that could be checked; the message is what its bearer is told."""


@dataclass(frozen=True, slots=True)
class ParsedToken:
    """A token whose signature is still to be checked. Times are whole Unix seconds."""

    header: Mapping[str, Any]
    payload: Mapping[str, Any]
    algorithm: str
    kid: str
    issuer: str
    expires_s: int
    not_before_s: int | None
    tenant: str | None
    signed: bytes
    signature: bytes


def parse_token(text: str) -> ParsedToken:
    """Take a token apart; raises `InvalidToken`."""
    parts = text.split(".")
    if len(parts) != 3:
        raise InvalidToken("Malformed JWT: must contain exactly 3 parts")
    header, payload = _json_object(parts[0]), _json_object(parts[1])
    algorithm, kid = header.get("alg"), header.get("kid")
    if algorithm not in (RS256, ES256):
        raise InvalidToken(f"JWT header does not follow schema: alg must be {RS256} or {ES256}")
    if not isinstance(kid, str):
        raise InvalidToken("JWT header does not follow schema: kid is missing or no text")
    expires_s = _time(payload, "exp")
    issuer = payload.get("iss")
    if expires_s is None or not isinstance(issuer, str):
        raise InvalidToken(f"JWT payload is missing required field: {'exp' if expires_s is None else 'iss'}")
    tenant = payload.get("tid")
    if tenant is not None and not isinstance(tenant, str):
        raise InvalidToken("JWT payload has a tid that is no text")
    return ParsedToken(
        header=header,
        payload=payload,
        algorithm=algorithm,
        kid=kid,
        issuer=issuer,
        expires_s=expires_s,
        not_before_s=_time(payload, "nbf"),
        tenant=tenant,
        signed=text[: text.rindex(".")].encode(),
        signature=_bytes(parts[2]),
    )


def is_signed_by(token: ParsedToken, key: SigningKey) -> bool:
    """Whether `key` made the token's signature by the algorithm its header names."""
    try:
        if isinstance(key, rsa.RSAPublicKey):
            if token.algorithm != RS256:
                return False
            key.verify(token.signature, token.signed, padding.PKCS1v15(), hashes.SHA256())
            return True
        if token.algorithm != ES256 or key.curve.name != "secp256r1" or len(token.signature) != 2 * _COORDINATE_SIZE:
            return False
        r = int.from_bytes(token.signature[:_COORDINATE_SIZE], "big")
        s = int.from_bytes(token.signature[_COORDINATE_SIZE:], "big")
        key.verify(encode_dss_signature(r, s), token.signed, _ECDSA_SHA256)
    except (InvalidSignature, ValueError):
        return False
    return True


def _json_object(part: str) -> dict[str, Any]:
    text = _bytes(part)
    if text.count(b"[") + text.count(b"{") > _MAX_NESTING:  # deeper values could not be written out again
        raise InvalidToken("JWT header or payload nests too deep")
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except ValueError as error:  # no JSON, or no UTF-8
        raise InvalidToken("JWT header or payload is not valid JSON") from error
    if not isinstance(value, dict):
        raise InvalidToken("JWT header or payload is not an object")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _bytes(part: str) -> bytes:
    try:
        return decode_base64(part)
    except InvalidJwk as error:
        raise InvalidToken("Malformed JWT: a part is not base64url") from error


def _time(payload: Mapping[str, Any], name: str) -> int | None:
    """A NumericDate in whole seconds, None where the claim is absent."""
    value = payload.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _MAX_TIME_S:
        raise InvalidToken(f"JWT payload has a value of {name} that is no time")
    return math.floor(value)
