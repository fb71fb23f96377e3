"""AES-256-GCM with the tag first, as ledger frames and stored secrets carry it (ledger-format.md 1.4, 6.2)."""

from collections.abc import Callable, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM

KEY_SIZE = 32
TAG_SIZE = 16
IV_SIZE = 12


class DecryptionFailed(ValueError):
    """The tag does not fit: another key, or changed bytes."""


class AesGcm:
    """One key, with its schedule kept. Safe to use from several threads."""

    __slots__ = ("_cipher", "_key")

    def __init__(self, key: bytes) -> None:
        """`key` has 32 bytes; raises `ValueError` for any other length."""
        if len(key) != KEY_SIZE:
            raise ValueError(f"an AES-256 key has {KEY_SIZE} bytes, not {len(key)}")
        self._cipher = AESGCM(key)
        self._key = key

    def seal(self, iv: bytes, plaintext: bytes, aad: bytes | None = None) -> tuple[bytes, bytes]:
        """The tag (16 bytes) and the ciphertext (as long as the plaintext)."""
        sealed = self._cipher.encrypt(iv, plaintext, aad)
        return sealed[-TAG_SIZE:], sealed[:-TAG_SIZE]

    def seal_parts(
        self, iv: bytes, plaintext: Sequence[bytes], aad: Sequence[bytes], pause: Callable[[], None]
    ) -> tuple[bytes, list[bytes]]:
        """As `seal`, for large content in parts: `pause` is called between them, so that other threads get on."""
        encryptor = Cipher(AES(self._key), GCM(iv)).encryptor()
        for part in aad:
            encryptor.authenticate_additional_data(part)
            pause()
        ciphertext = []
        for part in plaintext:
            ciphertext.append(encryptor.update(part))
            pause()
        ciphertext.append(encryptor.finalize())
        return encryptor.tag, ciphertext

    def open(self, iv: bytes, tag: bytes, ciphertext: bytes, aad: bytes | None = None) -> bytes:
        """The plaintext; raises `DecryptionFailed`."""
        try:
            return self._cipher.decrypt(iv, ciphertext + tag, aad)
        except InvalidTag as error:
            raise DecryptionFailed("the authentication tag does not match") from error


def seal_blob(key: bytes, iv: bytes, plaintext: bytes) -> bytes:
    """`tag || iv || ciphertext`, without AAD: how secrets and shares are stored."""
    tag, ciphertext = AesGcm(key).seal(iv, plaintext)
    return tag + iv + ciphertext


def open_blob(key: bytes, blob: bytes) -> bytes:
    """The inverse of `seal_blob`; raises `DecryptionFailed`, for blobs that are too short as well."""
    body = TAG_SIZE + IV_SIZE
    if len(blob) < body:
        raise DecryptionFailed(f"{len(blob)} bytes cannot hold a tag and an IV")
    return AesGcm(key).open(blob[TAG_SIZE:body], blob[:TAG_SIZE], blob[body:])
