"""Signatures by the names that Web Cryptography gives them (node-api.md 5.8).

ECDSA signatures are the two numbers r and s side by side, each as long as the curve's field, not ASN.1. The digest of
RSA-PSS's mask generation is the signature's own.
"""

import hmac
from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from dataplane.crypto.asymmetric import (
    load_ec_private,
    load_ec_public,
    load_okp_private,
    load_okp_public,
    load_rsa_private,
    load_rsa_public,
)
from dataplane.crypto.keys import InvalidKey

HASHES: Mapping[str, hashes.HashAlgorithm] = {
    "SHA-256": hashes.SHA256(),
    "SHA-384": hashes.SHA384(),
    "SHA-512": hashes.SHA512(),
}


def sign_ecdsa(pem: bytes, data: bytes, digest: hashes.HashAlgorithm) -> bytes:
    """r and s side by side; raises `InvalidKey`."""
    key = load_ec_private(pem)
    size = (key.curve.key_size + 7) // 8
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(digest)))
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def verify_ecdsa(pem: bytes, signature: bytes, data: bytes, digest: hashes.HashAlgorithm) -> bool:
    """Whether r and s side by side are the key's signature; raises `InvalidKey`."""
    key = load_ec_public(pem)
    size = (key.curve.key_size + 7) // 8
    if len(signature) != 2 * size:
        return False
    r, s = int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big")
    try:
        key.verify(encode_dss_signature(r, s), data, ec.ECDSA(digest))
    except InvalidSignature:
        return False
    return True


def sign_rsa_pss(pem: bytes, data: bytes, digest: hashes.HashAlgorithm, salt_bytes: int) -> bytes:
    """Raises `InvalidKey`, and `ValueError` where the key is too short for digest and salt."""
    return load_rsa_private(pem).sign(data, padding.PSS(padding.MGF1(digest), salt_bytes), digest)


def verify_rsa_pss(pem: bytes, signature: bytes, data: bytes, digest: hashes.HashAlgorithm, salt_bytes: int) -> bool:
    """Whether the signature is the key's, with a salt of exactly that length; raises `InvalidKey`."""
    try:
        load_rsa_public(pem).verify(signature, data, padding.PSS(padding.MGF1(digest), salt_bytes), digest)
    except InvalidSignature:
        return False
    return True


def sign_eddsa(pem: bytes, data: bytes) -> bytes:
    """An Ed25519 signature of 64 bytes; raises `InvalidKey`."""
    key = load_okp_private(pem)
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise InvalidKey("an X25519 key cannot sign")
    return key.sign(data)


def verify_eddsa(pem: bytes, signature: bytes, data: bytes) -> bool:
    """Whether the signature is the Ed25519 key's; raises `InvalidKey`."""
    key = load_okp_public(pem)
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise InvalidKey("an X25519 key cannot verify")
    try:
        key.verify(signature, data)
    except InvalidSignature:
        return False
    return True


def sign_hmac(key: bytes, data: bytes, digest: hashes.HashAlgorithm) -> bytes:
    """The keyed digest, as long as the digest is."""
    return hmac.digest(key, data, digest.name)
