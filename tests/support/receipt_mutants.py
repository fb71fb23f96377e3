"""Receipts with one decoded byte changed: none of them may be accepted by anyone.

Each mutant differs from a good receipt in one byte of what the verifier decodes: a leaf component, a digest or side of
the path, the signature, the certificate. The texts around (hex, base64, PEM) stay well-formed.

One byte is left alone: the count of unused bits in the certificate's outer signature. No signature covers it, and the
public package accepts 1 there when the last bit happens to be 0. Ours does not: `unused_bits_mutant`.
"""

from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from random import Random
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

Receipt = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Mutant:
    """A changed receipt; `part` names what was changed, `place` where."""

    part: str
    place: str
    receipt: Receipt


def mutants(receipt: Receipt, random: Random) -> Iterator[Mutant]:
    """Endless mutants of a good receipt, every part as often as the others."""
    while True:
        for part, mutate in _PARTS.items():
            changed = deepcopy(receipt)
            place = mutate(changed, random)
            if place is not None:
                assert changed != receipt
                yield Mutant(part, place, changed)


def unused_bits_mutant(receipt: Receipt) -> Mutant:
    """The mutant whose certificate claims that the last bit of its signature is unused."""
    changed = deepcopy(receipt)
    certificate = x509.load_pem_x509_certificate(receipt["cert"].encode())
    der = bytearray(certificate.public_bytes(Encoding.DER))
    der[_unused_bits(certificate)] = 1
    changed["cert"] = _pem(bytes(der))
    return Mutant("cert", "unused bits", changed)


def _leaf_digest(name: str) -> Callable[[Receipt, Random], str | None]:
    def mutate(receipt: Receipt, random: Random) -> str | None:
        parts = receipt["leaf_components"]
        data, place = flip(bytes.fromhex(parts[name]), random)
        parts[name] = data.hex()
        return place

    return mutate


def _commit_evidence(receipt: Receipt, random: Random) -> str | None:
    parts = receipt["leaf_components"]
    text = parts["commit_evidence"]
    index = random.randrange(len(text))
    other = random.choice([c for c in map(chr, range(32, 127)) if c != text[index]])
    parts["commit_evidence"] = text[:index] + other + text[index + 1 :]
    return f"character {index}"


def _path_digest(receipt: Receipt, random: Random) -> str | None:
    if not receipt["proof"]:
        return None
    index = random.randrange(len(receipt["proof"]))
    ((side, digest),) = receipt["proof"][index].items()
    data, place = flip(bytes.fromhex(digest), random)
    receipt["proof"][index] = {side: data.hex()}
    return f"step {index} {place}"


def _path_side(receipt: Receipt, random: Random) -> str | None:
    if not receipt["proof"]:
        return None
    index = random.randrange(len(receipt["proof"]))
    ((side, digest),) = receipt["proof"][index].items()
    receipt["proof"][index] = {"right" if side == "left" else "left": digest}
    return f"step {index} side"


def _signature(receipt: Receipt, random: Random) -> str | None:
    data, place = flip(b64decode(receipt["signature"]), random)
    receipt["signature"] = b64encode(data).decode()
    return place


def _certificate(receipt: Receipt, random: Random) -> str | None:
    certificate = x509.load_pem_x509_certificate(receipt["cert"].encode())
    der = certificate.public_bytes(Encoding.DER)
    data, place = flip(der, random)
    if data[_unused_bits(certificate)] != 0:
        return None
    receipt["cert"] = _pem(data)
    return place


def _unused_bits(certificate: x509.Certificate) -> int:
    """Where DER holds the count: before the signature, which is last."""
    return len(certificate.public_bytes(Encoding.DER)) - len(certificate.signature) - 1


def _pem(der: bytes) -> str:
    text = b64encode(der).decode()
    lines = "\n".join(text[i : i + 64] for i in range(0, len(text), 64))
    return f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n"


def flip(data: bytes, random: Random) -> tuple[bytes, str]:
    """The bytes with one of them changed, and where."""
    index = random.randrange(len(data))
    other = data[index] ^ random.randrange(1, 256)
    return data[:index] + bytes([other]) + data[index + 1 :], f"byte {index}"


_PARTS: dict[str, Callable[[Receipt, Random], str | None]] = {
    "write_set_digest": _leaf_digest("write_set_digest"),
    "commit_evidence": _commit_evidence,
    "claims_digest": _leaf_digest("claims_digest"),
    "path digest": _path_digest,
    "path side": _path_side,
    "signature": _signature,
    "cert": _certificate,
}
