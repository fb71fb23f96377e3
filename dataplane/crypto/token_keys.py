"""The keys that tokens are signed with, from what issuers publish (RFC 7517; node-api.md 3.2).

An issuer's JWK tells its key by `n` and `e` (RSA), by `x`, `y` and `crv` (elliptic curve), or by the first certificate
of `x5c`, looked for in this order. Issuers write base64 of either alphabet, so both are read here and nowhere else.
"""

from base64 import b64decode
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from dataplane.crypto.certs import load_certificate
from dataplane.crypto.keys import PublicKey, RsaPublicKey

SigningKey = PublicKey | RsaPublicKey

_CURVES: Mapping[str, ec.EllipticCurve] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
    "secp256k1": ec.SECP256K1(),
}
_RSA_BITS = range(2048, 16385)
_URL_ALPHABET = str.maketrans("-_", "+/")


class InvalidJwk(ValueError):
    """The value is no JWK with a public key that can be used here."""


def public_key_of_jwk(jwk: Mapping[str, Any]) -> SigningKey:
    """The key of a JWK; raises `InvalidJwk`."""
    if jwk.get("n") and jwk.get("e"):
        return _rsa(_number(jwk, "n"), _number(jwk, "e"))
    if jwk.get("x") and jwk.get("y") and jwk.get("crv"):
        return _elliptic(jwk["crv"], _number(jwk, "x"), _number(jwk, "y"))
    chain = jwk.get("x5c")
    if isinstance(chain, list) and chain:
        return _certified(chain[0])
    raise InvalidJwk("there is neither an RSA key, nor an elliptic-curve key, nor x5c")


def load_signing_key(der: bytes) -> SigningKey:
    """An RSA or elliptic-curve key from SPKI DER; raises `InvalidJwk`."""
    try:
        key = load_der_public_key(der)
    except Exception as error:  # unsupported algorithms and malformed points have their own types
        raise InvalidJwk(f"no public key in the DER bytes: {error}") from error
    return _usable(key)


def decode_base64(text: object) -> bytes:
    """Bytes from base64 of either alphabet, padded or not, since issuers write both; raises `InvalidJwk`."""
    if not isinstance(text, str) or not text.isascii():
        raise InvalidJwk("a value is no base64 text")
    bare = text.rstrip("=").translate(_URL_ALPHABET)
    try:
        return b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except ValueError as error:
        raise InvalidJwk("a value is no base64 text") from error


def _number(jwk: Mapping[str, Any], name: str) -> int:
    return int.from_bytes(decode_base64(jwk[name]), "big")


def _rsa(modulus: int, exponent: int) -> RsaPublicKey:
    if modulus.bit_length() not in _RSA_BITS:
        raise InvalidJwk(f"an RSA key of {modulus.bit_length()} bits is not usable, from {_RSA_BITS[0]} they are")
    try:
        return rsa.RSAPublicNumbers(exponent, modulus).public_key()
    except ValueError as error:
        raise InvalidJwk(f"the RSA key cannot be used: {error}") from error


def _elliptic(curve: object, x: int, y: int) -> PublicKey:
    known = _CURVES.get(curve) if isinstance(curve, str) else None
    if known is None:
        raise InvalidJwk(f"the curve {curve!r} is none of {', '.join(_CURVES)}")
    try:
        return ec.EllipticCurvePublicNumbers(x, y, known).public_key()
    except ValueError as error:
        raise InvalidJwk(f"the point is not on {curve}: {error}") from error


def _certified(text: object) -> SigningKey:
    try:
        return _usable(load_certificate(decode_base64(text)).public_key())
    except InvalidJwk:
        raise
    except Exception as error:  # a certificate's key fails with types of the library's own
        raise InvalidJwk(f"x5c holds no X.509 certificate: {error}") from error


def _usable(key: object) -> SigningKey:
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key
    if isinstance(key, rsa.RSAPublicKey) and key.key_size in _RSA_BITS:
        return key
    raise InvalidJwk("the key is neither RSA of at least 2048 bits nor on an elliptic curve")
