"""JSON Web Keys (RFC 7517, 7518, 8037) of the keys in `asymmetric`: to a mapping and back (node-api.md 5.8).

Numbers are base64url without padding: coordinates and the private number of elliptic-curve keys as long as the curve's
field, everything of RSA keys as short as possible.
"""

import base64
import binascii
from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519

from dataplane.crypto.asymmetric import (
    EcPrivateKey,
    EcPublicKey,
    OkpPrivateKey,
    OkpPublicKey,
    RsaPrivateKey,
    RsaPublicKey,
    rsa_private_to_convert,
)
from dataplane.crypto.keys import InvalidKey

Jwk = dict[str, object]

_CURVES: Mapping[str, ec.EllipticCurve] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "secp256k1": ec.SECP256K1(),
}
_CURVE_NAMES = {curve.name: name for name, curve in _CURVES.items()}
_CRT_PARTS = ("p", "q", "dp", "dq", "qi")


def ec_public_jwk(key: EcPublicKey) -> Jwk:
    """`kty`, `crv`, `x`, `y`."""
    numbers, size = key.public_numbers(), _field_bytes(key.curve)
    return {
        "kty": "EC",
        "crv": _CURVE_NAMES[key.curve.name],
        "x": _encode(numbers.x.to_bytes(size, "big")),
        "y": _encode(numbers.y.to_bytes(size, "big")),
    }


def ec_private_jwk(key: EcPrivateKey) -> Jwk:
    """The public part and `d`."""
    value = key.private_numbers().private_value
    return {**ec_public_jwk(key.public_key()), "d": _encode(value.to_bytes(_field_bytes(key.curve), "big"))}


def rsa_public_jwk(key: RsaPublicKey) -> Jwk:
    """`kty`, `n`, `e`."""
    numbers = key.public_numbers()
    return {"kty": "RSA", "n": _encode_number(numbers.n), "e": _encode_number(numbers.e)}


def rsa_private_jwk(key: RsaPrivateKey) -> Jwk:
    """The public part, `d`, and the five numbers of the Chinese remainder theorem."""
    numbers = key.private_numbers()
    parts = (numbers.p, numbers.q, numbers.dmp1, numbers.dmq1, numbers.iqmp)
    return {
        **rsa_public_jwk(key.public_key()),
        "d": _encode_number(numbers.d),
        **{name: _encode_number(part) for name, part in zip(_CRT_PARTS, parts, strict=True)},
    }


def okp_public_jwk(key: OkpPublicKey) -> Jwk:
    """`kty`, `crv`, `x`."""
    name = "Ed25519" if isinstance(key, ed25519.Ed25519PublicKey) else "X25519"
    return {"kty": "OKP", "crv": name, "x": _encode(key.public_bytes_raw())}


def okp_private_jwk(key: OkpPrivateKey) -> Jwk:
    """The public part and `d`."""
    return {**okp_public_jwk(key.public_key()), "d": _encode(key.private_bytes_raw())}


def ec_public_key(jwk: Mapping[str, object]) -> EcPublicKey:
    """The inverse of `ec_public_jwk`; raises `InvalidKey`, also for a point that is not on the curve."""
    try:
        return _ec_numbers(jwk).public_key()
    except ValueError as error:
        raise InvalidKey(f"the JWK is no elliptic-curve key: {error}") from error


def ec_private_key(jwk: Mapping[str, object]) -> EcPrivateKey:
    """The inverse of `ec_private_jwk`; raises `InvalidKey`, also where the two parts do not belong together."""
    try:
        return ec.EllipticCurvePrivateNumbers(_number(jwk, "d"), _ec_numbers(jwk)).private_key()
    except ValueError as error:
        raise InvalidKey(f"the JWK is no private elliptic-curve key: {error}") from error


def rsa_public_key(jwk: Mapping[str, object]) -> RsaPublicKey:
    """The inverse of `rsa_public_jwk`; raises `InvalidKey`."""
    try:
        return _rsa_numbers(jwk).public_key()
    except ValueError as error:
        raise InvalidKey(f"the JWK is no RSA key: {error}") from error


def rsa_private_key(jwk: Mapping[str, object]) -> RsaPrivateKey:
    """The inverse of `rsa_private_jwk`; raises `InvalidKey`, also where the numbers do not belong together.

    It is there to be written as PEM (`rsa_private_to_convert`).
    """
    public = _rsa_numbers(jwk)
    p, q, dp, dq, qi = (_number(jwk, name) for name in _CRT_PARTS)
    return rsa_private_to_convert(rsa.RSAPrivateNumbers(p, q, _number(jwk, "d"), dp, dq, qi, public))


def okp_public_key(jwk: Mapping[str, object]) -> OkpPublicKey:
    """The inverse of `okp_public_jwk`; raises `InvalidKey`."""
    raw = _decode(jwk, "x")
    try:
        if _okp_curve(jwk) == "Ed25519":
            return ed25519.Ed25519PublicKey.from_public_bytes(raw)
        return x25519.X25519PublicKey.from_public_bytes(raw)
    except ValueError as error:
        raise InvalidKey(f"the JWK is no Ed25519 or X25519 key: {error}") from error


def okp_private_key(jwk: Mapping[str, object]) -> OkpPrivateKey:
    """The inverse of `okp_private_jwk`; raises `InvalidKey`, also where the two parts do not belong together."""
    curve, raw = _okp_curve(jwk), _decode(jwk, "d")
    try:
        key: OkpPrivateKey = (
            ed25519.Ed25519PrivateKey.from_private_bytes(raw)
            if curve == "Ed25519"
            else x25519.X25519PrivateKey.from_private_bytes(raw)
        )
    except ValueError as error:
        raise InvalidKey(f"the JWK is no private Ed25519 or X25519 key: {error}") from error
    if key.public_key().public_bytes_raw() != _decode(jwk, "x"):
        raise InvalidKey("the JWK's private part does not belong to its public part")
    return key


def _ec_numbers(jwk: Mapping[str, object]) -> ec.EllipticCurvePublicNumbers:
    _require_type(jwk, "EC")
    curve = _CURVES.get(_text(jwk, "crv"))
    if curve is None:
        raise InvalidKey(f"the JWK's curve must be one of {', '.join(_CURVES)}")
    return ec.EllipticCurvePublicNumbers(_number(jwk, "x"), _number(jwk, "y"), curve)


def _rsa_numbers(jwk: Mapping[str, object]) -> rsa.RSAPublicNumbers:
    _require_type(jwk, "RSA")
    return rsa.RSAPublicNumbers(_number(jwk, "e"), _number(jwk, "n"))


def _okp_curve(jwk: Mapping[str, object]) -> str:
    _require_type(jwk, "OKP")
    curve = _text(jwk, "crv")
    if curve not in ("Ed25519", "X25519"):
        raise InvalidKey("the JWK's curve must be one of Ed25519, X25519")
    return curve


def _require_type(jwk: Mapping[str, object], kind: str) -> None:
    if jwk.get("kty") != kind:
        raise InvalidKey(f"the JWK's kty must be {kind}")


def _text(jwk: Mapping[str, object], name: str) -> str:
    value = jwk.get(name)
    if not isinstance(value, str):
        raise InvalidKey(f"the JWK lacks {name}")
    return value


def _number(jwk: Mapping[str, object], name: str) -> int:
    return int.from_bytes(_decode(jwk, name), "big")


def _decode(jwk: Mapping[str, object], name: str) -> bytes:
    text = _text(jwk, name).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise InvalidKey(f"the JWK's {name} is no base64url text") from None


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _encode_number(value: int) -> str:
    return _encode(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def _field_bytes(curve: ec.EllipticCurve) -> int:
    return (curve.key_size + 7) // 8
