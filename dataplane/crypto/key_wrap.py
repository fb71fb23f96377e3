"""Wrapping keys in keys (node-api.md 5.8): RSA-OAEP, AES-KWP (RFC 5649), and the two together as PKCS#11 has them.

RSA-OAEP and its mask use SHA-256; an absent label and an empty one are the same.
"""

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap_with_padding,
    aes_key_wrap_with_padding,
)

from dataplane.crypto.asymmetric import load_rsa_private, load_rsa_public
from dataplane.crypto.keys import InvalidKey

AES_KEY_BITS = (128, 192, 256)


class UnwrapFailed(ValueError):
    """The key does not fit, or the wrapped bytes were changed."""


def wrap_rsa_oaep(pem: bytes, key: bytes, label: bytes) -> bytes:
    """`pem` is a public RSA key. Raises `InvalidKey`, and `ValueError` where `key` is too long for it."""
    return load_rsa_public(pem).encrypt(key, _oaep(label))


def unwrap_rsa_oaep(pem: bytes, wrapped: bytes, label: bytes) -> bytes:
    """`pem` is a private RSA key. Raises `InvalidKey` or `UnwrapFailed`."""
    private_key = load_rsa_private(pem)
    try:
        return private_key.decrypt(wrapped, _oaep(label))
    except ValueError as error:
        raise UnwrapFailed("the wrapped key cannot be decrypted") from error


def wrap_aes_kwp(wrapping_key: bytes, key: bytes) -> bytes:
    """`wrapping_key` has 16, 24 or 32 bytes, `key` at least one; raises `InvalidKey`."""
    _check_aes_key(wrapping_key)
    if not key:
        raise InvalidKey("there is nothing to wrap")
    return aes_key_wrap_with_padding(wrapping_key, key)


def unwrap_aes_kwp(wrapping_key: bytes, wrapped: bytes) -> bytes:
    """The inverse of `wrap_aes_kwp`; raises `InvalidKey` or `UnwrapFailed`."""
    _check_aes_key(wrapping_key)
    try:
        return aes_key_unwrap_with_padding(wrapping_key, wrapped)
    except (InvalidUnwrap, ValueError) as error:
        raise UnwrapFailed("the wrapped key cannot be decrypted") from error


def wrap_rsa_oaep_aes_kwp(pem: bytes, key: bytes, aes_key: bytes, label: bytes) -> bytes:
    """`key` under a temporary `aes_key` that nobody else knows, after that one under a public RSA key."""
    return wrap_rsa_oaep(pem, aes_key, label) + wrap_aes_kwp(aes_key, key)


def unwrap_rsa_oaep_aes_kwp(pem: bytes, wrapped: bytes, label: bytes) -> bytes:
    """The inverse of `wrap_rsa_oaep_aes_kwp`; raises `InvalidKey` or `UnwrapFailed`."""
    size = (load_rsa_private(pem).key_size + 7) // 8
    if len(wrapped) <= size:
        raise UnwrapFailed(f"{len(wrapped)} bytes cannot hold two wrapped keys")
    return unwrap_aes_kwp(unwrap_rsa_oaep(pem, wrapped[:size], label), wrapped[size:])


def _oaep(label: bytes) -> padding.OAEP:
    return padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), label or None)


def _check_aes_key(key: bytes) -> None:
    if len(key) * 8 not in AES_KEY_BITS:
        raise InvalidKey(f"an AES key has 16, 24 or 32 bytes, not {len(key)}")
