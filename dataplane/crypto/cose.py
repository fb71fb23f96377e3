"""COSE_Sign1 (RFC 9052, RFC 9053): ledger signatures, governance requests, endorsements. Ours are all ECDSA.

Headers keep the order they are given in, because the original does not sort them (ledger-format.md 2.6).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from dataplane.crypto.keys import PrivateKey, PublicKey

Label = int | str
Header = tuple[Label, object]

ALG = 1
KID = 4
CWT_CLAIMS = 15
VDS = 395

SIGN1_TAG = 18
_ALGORITHMS: dict[str, tuple[int, ec.ECDSA]] = {  # by curve name
    "secp256r1": (-7, ec.ECDSA(hashes.SHA256())),
    "secp384r1": (-35, ec.ECDSA(hashes.SHA384())),
    "secp521r1": (-36, ec.ECDSA(hashes.SHA512())),
}
_PSS_ALGORITHMS: dict[int, hashes.HashAlgorithm] = {  # RFC 8230
    -37: hashes.SHA256(),
    -38: hashes.SHA384(),
    -39: hashes.SHA512(),
}
_LEAST_RSA_BITS = 2048


class CoseDecodeError(ValueError):
    """The bytes are not one tagged COSE_Sign1."""


@dataclass(frozen=True, slots=True)
class Sign1:
    """A decoded COSE_Sign1. `payload` is None when detached; the signature covers `protected_bytes` as they came."""

    protected: Mapping[Label, object]
    protected_bytes: bytes
    unprotected: Mapping[Label, object]
    payload: bytes | None
    signature: bytes


def algorithm_of(key: PrivateKey | PublicKey) -> int:
    """The COSE algorithm that belongs to the key's curve: ES256 -7, ES384 -35, ES512 -36; raises `ValueError`."""
    return _algorithm(key)[0]


def sign1(key: PrivateKey, protected: Sequence[Header], payload: bytes, *, detached: bool = False) -> bytes:
    """Sign `payload`. `protected` is written in the order given, so `(ALG, algorithm_of(key))` goes first."""
    protected_bytes = cbor2.dumps(dict(protected))
    der = key.sign(_signed_bytes(protected_bytes, payload), _algorithm(key)[1])
    r, s = decode_dss_signature(der)
    size = _coordinate_size(key)
    signature = r.to_bytes(size, "big") + s.to_bytes(size, "big")
    return encode_sign1(protected_bytes, {}, None if detached else payload, signature)


def verify_sign1(message: Sign1, key: PublicKey, payload: bytes | None = None) -> bool:
    """Whether `key` signed the message; `payload` stands in for a detached one.

    False as well when the algorithm named in the header is not the one of the key's curve.
    """
    content = message.payload if message.payload is not None else payload
    if content is None or (payload is not None and content != payload):
        return False
    if key.curve.name not in _ALGORITHMS or message.protected.get(ALG) != algorithm_of(key):
        return False
    size = _coordinate_size(key)
    if len(message.signature) != 2 * size:
        return False
    r = int.from_bytes(message.signature[:size], "big")
    s = int.from_bytes(message.signature[size:], "big")
    try:
        key.verify(encode_dss_signature(r, s), _signed_bytes(message.protected_bytes, content), _algorithm(key)[1])
    except InvalidSignature:
        return False
    return True


def verify_pss_sign1(message: Sign1, key: rsa.RSAPublicKey) -> bool:
    """Whether `key` signed the message and its attached payload with PS256, PS384 or PS512; small keys sign nothing."""
    algorithm = message.protected.get(ALG)
    if type(algorithm) is not int or algorithm not in _PSS_ALGORITHMS or message.payload is None:
        return False
    if key.key_size < _LEAST_RSA_BITS:
        return False
    digest = _PSS_ALGORITHMS[algorithm]
    scheme = padding.PSS(padding.MGF1(digest), digest.digest_size)
    try:
        key.verify(message.signature, _signed_bytes(message.protected_bytes, message.payload), scheme, digest)
    except InvalidSignature:
        return False
    return True


def encode_sign1(
    protected_bytes: bytes, unprotected: Mapping[Label, object], payload: bytes | None, signature: bytes
) -> bytes:
    """The tagged message."""
    return cbor2.dumps(cbor2.CBORTag(SIGN1_TAG, [protected_bytes, dict(unprotected), payload, signature]))


def decode_sign1(data: bytes) -> Sign1:
    """Read one tagged COSE_Sign1; raises `CoseDecodeError` for anything else, trailing bytes included."""
    match decode_cbor(data):
        case cbor2.CBORTag(tag=18, value=[bytes() as protected, Mapping() as unprotected, payload, bytes() as sig]):
            pass
        case _:
            raise CoseDecodeError("not a tagged COSE_Sign1 of four elements")
    if not (payload is None or isinstance(payload, bytes)):
        raise CoseDecodeError("the payload is neither a byte string nor nil")
    headers = decode_cbor(protected) if protected else {}
    if not isinstance(headers, Mapping):
        raise CoseDecodeError("the protected header is not a map")
    return Sign1(headers, protected, unprotected, payload, sig)


def decode_cbor(data: bytes) -> object:
    """One CBOR item and nothing after it, without indefinite lengths or double keys; raises `CoseDecodeError`."""
    stream = BytesIO(data)
    try:
        item = cbor2.load(stream, allow_indefinite=False, allow_duplicate_keys=False)
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, MemoryError) as error:
        raise CoseDecodeError(f"not CBOR: {error}") from error
    if stream.read(1):
        raise CoseDecodeError("bytes follow the CBOR item")
    return item


def _signed_bytes(protected_bytes: bytes, payload: bytes) -> bytes:
    return cbor2.dumps(["Signature1", protected_bytes, b"", payload])


def _algorithm(key: PrivateKey | PublicKey) -> tuple[int, ec.ECDSA]:
    try:
        return _ALGORITHMS[key.curve.name]
    except KeyError:
        raise ValueError(f"no COSE algorithm for the curve {key.curve.name}") from None


def _coordinate_size(key: PrivateKey | PublicKey) -> int:
    return (key.key_size + 7) // 8
