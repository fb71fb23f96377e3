"""HKDF with SHA-256 (RFC 5869)."""

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


def hkdf_sha256(key_material: bytes, *, info: bytes, salt: bytes = b"", length: int = 32) -> bytes:
    """`length` bytes derived from `key_material`."""
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=salt, info=info).derive(key_material)
