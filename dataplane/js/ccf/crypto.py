"""`ccf.crypto`: signatures, key generation, key wrapping, and keys as PEM and JWK (node-api.md 5.8).

One table names every function with the kinds of its parameters. Counts and kinds that do not fit are TypeErrors, names
of algorithms and sizes that are not offered RangeErrors, and what a key or a library refuses is an InternalError.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519

from dataplane.crypto import asymmetric, jwk, key_wrap, signing
from dataplane.crypto.asymmetric import AnyPrivateKey
from dataplane.js.host import Host
from dataplane.js.quickjs import Arguments, Context, Thrown, Value, is_absent, is_number, is_object, is_text

_RSA_KEY_BITS = range(2048, 8193)
_RSA_EXPONENTS = (3, 65537)
_ECDSA_CURVES: Mapping[str, ec.EllipticCurve] = {
    "secp256r1": ec.SECP256R1(),
    "secp384r1": ec.SECP384R1(),
    "secp256k1": ec.SECP256K1(),
}
_EDDSA_CURVES: Mapping[str, Callable[[], AnyPrivateKey]] = {
    "curve25519": ed25519.Ed25519PrivateKey.generate,
    "x25519": x25519.X25519PrivateKey.generate,
}
_SIGNING, _VERIFYING = ("RSA-PSS", "ECDSA", "EdDSA", "HMAC"), ("RSA-PSS", "ECDSA", "EdDSA")
_WRAPPING = ("RSA-OAEP", "AES-KWP", "RSA-OAEP-AES-KWP")


class _Kind(Enum):
    TEXT = "a string"
    BUFFER = "an ArrayBuffer"
    INTEGER = "an integer"
    OBJECT = "an object"


@dataclass(frozen=True, slots=True)
class _Function:
    """What runs, and the kinds of its parameters; the last `optional` ones may be left out."""

    run: Callable[..., object]
    parameters: tuple[_Kind, ...]
    optional: int = 0


def call_crypto(host: Host, count: int, argv: Arguments) -> Value:
    """Call a function of the table by its name, the first argument."""
    context = host.context
    name = context.text(argv[1])
    function = FUNCTIONS.get(name)
    if function is None:
        raise Thrown(f"ccf.crypto has no function {name}")
    given = count - 2
    most = len(function.parameters)
    if not most - function.optional <= given <= most:
        least = most - function.optional
        wanted = str(most) if least == most else f"{least} or {most}"
        raise Thrown(f"Passed {given} arguments, but expected {wanted}", "TypeError")
    arguments = [
        _argument(context, kind, argv[2 + index], index >= most - function.optional)
        for index, kind in enumerate(function.parameters[:given])
    ]
    try:
        return context.from_python(function.run(host, *arguments))
    except ValueError as error:
        raise Thrown(f"{name} failed: {error}", "InternalError") from error


def _argument(context: Context, kind: _Kind, value: Value, may_be_absent: bool) -> Any:
    if may_be_absent and is_absent(value):
        return None
    if kind is _Kind.BUFFER:
        return context.buffer(value)
    if kind is _Kind.TEXT and is_text(value):
        return context.text(value)
    if kind is _Kind.OBJECT and is_object(value):
        return value
    if kind is _Kind.INTEGER and is_number(value):
        return _whole(context.to_python(value))
    raise Thrown(f"Argument must be {kind.value}", "TypeError")


def _whole(value: object, name: str = "Argument") -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise Thrown(f"{name} must be an integer", "TypeError")
    return value


def _sign(host: Host, algorithm: Value, key: str, data: bytes) -> bytes:
    name = _algorithm(host.context, algorithm, _SIGNING)
    if name == "EdDSA":
        return signing.sign_eddsa(key.encode(), data)
    digest = _digest_of(host.context, algorithm, tuple(signing.HASHES))
    if name == "ECDSA":
        return signing.sign_ecdsa(key.encode(), data, digest)
    if name == "HMAC":
        return signing.sign_hmac(key.encode(), data, digest)
    return signing.sign_rsa_pss(key.encode(), data, digest, _salt_bytes(host.context, algorithm))


def _verify(host: Host, algorithm: Value, key: str, signature: bytes, data: bytes) -> bool:
    name = _algorithm(host.context, algorithm, _VERIFYING)
    if name == "EdDSA":
        return signing.verify_eddsa(key.encode(), signature, data)
    digest = _digest_of(host.context, algorithm, ("SHA-256",))
    if name == "ECDSA":
        return signing.verify_ecdsa(key.encode(), signature, data, digest)
    return signing.verify_rsa_pss(key.encode(), signature, data, digest, _salt_bytes(host.context, algorithm))


def _generate_aes_key(host: Host, bits: int) -> bytes:
    return _new_aes_key(host, bits)


def _generate_rsa(host: Host, bits: int, exponent: int | None = None) -> dict[str, str]:
    exponent = 65537 if exponent is None else exponent
    if bits not in _RSA_KEY_BITS or exponent not in _RSA_EXPONENTS:
        raise Thrown("RSA keys have 2048 to 8192 bits and the exponent 3 or 65537", "RangeError")
    return _pair(rsa.generate_private_key(exponent, bits))


def _generate_ecdsa(host: Host, curve: str) -> dict[str, str]:
    if curve not in _ECDSA_CURVES:
        raise Thrown(f"Unsupported curve id, supported: {', '.join(_ECDSA_CURVES)}", "RangeError")
    return _pair(ec.generate_private_key(_ECDSA_CURVES[curve]))


def _generate_eddsa(host: Host, curve: str) -> dict[str, str]:
    if curve not in _EDDSA_CURVES:
        raise Thrown(f"Unsupported curve id, supported: {', '.join(_EDDSA_CURVES)}", "RangeError")
    return _pair(_EDDSA_CURVES[curve]())


def _wrap(host: Host, key: bytes, wrapping_key: bytes, algorithm: Value) -> bytes:
    name = _algorithm(host.context, algorithm, _WRAPPING)
    if name == "AES-KWP":
        return key_wrap.wrap_aes_kwp(wrapping_key, key)
    label = _label(host.context, algorithm)
    if name == "RSA-OAEP":
        return key_wrap.wrap_rsa_oaep(wrapping_key, key, label)
    aes_key = _new_aes_key(host, _integer(host.context, algorithm, "aesKeySize"))
    return key_wrap.wrap_rsa_oaep_aes_kwp(wrapping_key, key, aes_key, label)


def _unwrap(host: Host, wrapped: bytes, unwrapping_key: bytes, algorithm: Value) -> bytes:
    name = _algorithm(host.context, algorithm, _WRAPPING)
    if name == "AES-KWP":
        return key_wrap.unwrap_aes_kwp(unwrapping_key, wrapped)
    label = _label(host.context, algorithm)
    if name == "RSA-OAEP":
        return key_wrap.unwrap_rsa_oaep(unwrapping_key, wrapped, label)
    return key_wrap.unwrap_rsa_oaep_aes_kwp(unwrapping_key, wrapped, label)


def _pem_to_jwk(load: Callable[[bytes], Any], convert: Callable[[Any], jwk.Jwk]) -> _Function:
    def run(_host: Host, pem: str, kid: str | None = None) -> jwk.Jwk:
        found = convert(load(pem.encode()))
        return found if kid is None else {**found, "kid": kid}

    return _Function(run, (_Kind.TEXT, _Kind.TEXT), optional=1)


def _jwk_to_pem(load: Callable[[Mapping[str, object]], Any], write: Callable[[Any], str]) -> _Function:
    def run(host: Host, value: Value) -> str:
        found = host.context.to_python(value)
        if not isinstance(found, dict):
            raise Thrown("Argument must be a JWK", "TypeError")
        return write(load(found))

    return _Function(run, (_Kind.OBJECT,))


def _pair(key: AnyPrivateKey) -> dict[str, str]:
    return {"privateKey": asymmetric.private_pem(key), "publicKey": asymmetric.public_pem(key.public_key())}


def _new_aes_key(host: Host, bits: int) -> bytes:
    if bits not in key_wrap.AES_KEY_BITS:
        raise Thrown("invalid key size (not one of 128, 192, 256)", "RangeError")
    return host.invocation.random_bytes(bits // 8)


def _algorithm(context: Context, parameters: Value, known: tuple[str, ...]) -> str:
    name = _field(context, parameters, "name")
    if name not in known:
        raise Thrown(f"Unsupported algorithm, supported: {', '.join(known)}", "RangeError")
    return str(name)


def _digest_of(context: Context, parameters: Value, known: tuple[str, ...]) -> hashes.HashAlgorithm:
    name = _field(context, parameters, "hash")
    if name not in known:
        raise Thrown(f"Unsupported hash algorithm, supported: {', '.join(known)}", "RangeError")
    return signing.HASHES[str(name)]


def _salt_bytes(context: Context, parameters: Value) -> int:
    """The salt's length, 0 where none is given."""
    length = 0 if _field(context, parameters, "saltLength") is None else _integer(context, parameters, "saltLength")
    if length < 0:
        raise Thrown("saltLength must not be negative", "RangeError")
    return length


def _integer(context: Context, parameters: Value, name: str) -> int:
    return _whole(_field(context, parameters, name), name)


def _label(context: Context, parameters: Value) -> bytes:
    """The label, empty where none is given."""
    value = context.property(parameters, "label")
    try:
        return b"" if is_absent(value) else context.buffer(value)
    finally:
        context.free(value)


def _field(context: Context, parameters: Value, name: str) -> object:
    return context.consume(context.property(parameters, name))


_TEXT, _BUFFER, _INTEGER, _OBJECT = _Kind.TEXT, _Kind.BUFFER, _Kind.INTEGER, _Kind.OBJECT
FUNCTIONS: Mapping[str, _Function] = {
    "sign": _Function(_sign, (_OBJECT, _TEXT, _BUFFER)),
    "verifySignature": _Function(_verify, (_OBJECT, _TEXT, _BUFFER, _BUFFER)),
    "generateAesKey": _Function(_generate_aes_key, (_INTEGER,)),
    "generateRsaKeyPair": _Function(_generate_rsa, (_INTEGER, _INTEGER), optional=1),
    "generateEcdsaKeyPair": _Function(_generate_ecdsa, (_TEXT,)),
    "generateEddsaKeyPair": _Function(_generate_eddsa, (_TEXT,)),
    "wrapKey": _Function(_wrap, (_BUFFER, _BUFFER, _OBJECT)),
    "unwrapKey": _Function(_unwrap, (_BUFFER, _BUFFER, _OBJECT)),
    "pubPemToJwk": _pem_to_jwk(asymmetric.load_ec_public, jwk.ec_public_jwk),
    "pemToJwk": _pem_to_jwk(asymmetric.load_ec_private, jwk.ec_private_jwk),
    "pubRsaPemToJwk": _pem_to_jwk(asymmetric.load_rsa_public, jwk.rsa_public_jwk),
    "rsaPemToJwk": _pem_to_jwk(asymmetric.load_rsa_private_to_convert, jwk.rsa_private_jwk),
    "pubEddsaPemToJwk": _pem_to_jwk(asymmetric.load_okp_public, jwk.okp_public_jwk),
    "eddsaPemToJwk": _pem_to_jwk(asymmetric.load_okp_private, jwk.okp_private_jwk),
    "pubJwkToPem": _jwk_to_pem(jwk.ec_public_key, asymmetric.public_pem),
    "jwkToPem": _jwk_to_pem(jwk.ec_private_key, asymmetric.private_pem),
    "pubRsaJwkToPem": _jwk_to_pem(jwk.rsa_public_key, asymmetric.public_pem),
    "rsaJwkToPem": _jwk_to_pem(jwk.rsa_private_key, asymmetric.private_pem),
    "pubEddsaJwkToPem": _jwk_to_pem(jwk.okp_public_key, asymmetric.public_pem),
    "eddsaJwkToPem": _jwk_to_pem(jwk.okp_private_key, asymmetric.private_pem),
}
"""Every function behind `call_crypto`, by its name below `ccf.crypto`."""
