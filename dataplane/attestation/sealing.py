"""Seal ledger secrets to the machine, so that a service whose nodes are all gone needs no members to come back.

One file a secret, `<version>.sealed.json`, in the form of CCF 7.0.0-dev5 (ledger-format.md 6.8). The platform gives the
key. `virtual` has none that would be bound to anything: it *simulates* one with a file beside the sealed secrets, which
only their owner can read. Whoever can read that file can unseal; never call it confidential.
"""

import json
import os
import secrets
from base64 import b64decode, b64encode
from pathlib import Path

from dataplane.crypto.aead import IV_SIZE, KEY_SIZE, TAG_SIZE, AesGcm, DecryptionFailed
from dataplane.durable import write_durably

SIMULATED_KEY_FILE = "simulated_platform_key"
_SIMULATED_TCB = "0" * 16  # hex; no firmware stands behind it
_SUFFIX = ".sealed.json"


class SealingFailed(Exception):
    """A secret cannot be sealed, or a sealed one is damaged or belongs to another platform."""


def seal_secret(directory: Path, version: int, key: bytes) -> None:
    """Seal the ledger secret that is valid from seqno `version`; it is on disk when this returns.

    Raises `SealingFailed`.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        platform_key = _simulated_key(directory, create=True)
        content = _encode(platform_key, version, key)
        _write_private(directory / f"{version}{_SUFFIX}", content.encode())
    except OSError as error:
        raise SealingFailed(f"the ledger secret of version {version} cannot be sealed: {error}") from error


def unseal_secret(directory: Path, version: int) -> bytes | None:
    """The sealed ledger secret of `version`, None where there is none. Raises `SealingFailed`."""
    path = directory / f"{version}{_SUFFIX}"
    try:
        if not path.exists():
            return None
        return _decode(_simulated_key(directory, create=False), version, path.read_text())
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SealingFailed(f"{path} cannot be unsealed: {error}") from error


def _encode(platform_key: bytes, version: int, key: bytes) -> str:
    aad_text = json.dumps({"tcb_version": _SIMULATED_TCB, "version": version}, separators=(",", ":"))
    plaintext = json.dumps({"raw_key": b64encode(key).decode()}).encode()
    iv = secrets.token_bytes(IV_SIZE)
    tag, ciphertext = AesGcm(platform_key).seal(iv, plaintext, aad_text.encode())
    blob = b64encode(tag + iv + ciphertext).decode()
    return json.dumps({"aad_text": aad_text, "ciphertext": blob}, separators=(",", ":"))


def _decode(platform_key: bytes, version: int, content: str) -> bytes:
    sealed = json.loads(content)
    blob, aad_text = b64decode(sealed["ciphertext"], validate=True), sealed["aad_text"]
    if json.loads(aad_text)["version"] != version:
        raise ValueError(f"it holds the secret of another version than {version}")
    body = TAG_SIZE + IV_SIZE
    plaintext = AesGcm(platform_key).open(blob[TAG_SIZE:body], blob[:TAG_SIZE], blob[body:], aad_text.encode())
    key = b64decode(json.loads(plaintext)["raw_key"], validate=True)
    if len(key) != KEY_SIZE:
        raise DecryptionFailed(f"a ledger secret has {KEY_SIZE} bytes, not {len(key)}")
    return key


def _simulated_key(directory: Path, *, create: bool) -> bytes:
    path = directory / SIMULATED_KEY_FILE
    if create and not path.exists():
        _write_private(path, secrets.token_bytes(KEY_SIZE))
    return path.read_bytes()


def _write_private(path: Path, content: bytes) -> None:
    """Readable by the owner alone."""
    write_durably(path, [content], path.with_name(f".{path.name}.{os.getpid()}.tmp"), mode=0o600)
