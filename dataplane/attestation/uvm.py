"""Endorsements of utility VMs: who built the code that was measured, and its version (ledger-format.md 8.7)."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from cryptography.hazmat.primitives.asymmetric import rsa

from dataplane.attestation.did_x509 import LeafKey, UnresolvedDid, resolve
from dataplane.crypto.cose import ALG, CoseDecodeError, Sign1, decode_sign1, verify_pss_sign1, verify_sign1

_CONTENT_TYPE = 3
_X5CHAIN = 33
_JSON = "application/json"
_RSA_PSS = (-37, -38, -39)
_ECDSA = (-7, -35, -36)
_MEASUREMENT = "x-ms-sevsnpvm-launchmeasurement"
_SVN = "x-ms-sevsnpvm-guestsvn"
_NUMBER = re.compile(r"[0-9]{1,20}", re.ASCII)
_MOST_SVN = 2**64 - 1


class UvmCheck(StrEnum):
    """What endorsements can fail on, in the order of the checks."""

    ENCODING = "encoding"
    ALGORITHM = "signature algorithm"
    DID = "issuer"
    SIGNATURE = "signature"
    CONTENT_TYPE = "content type"
    PAYLOAD = "payload"
    MEASUREMENT = "measurement"
    ROOT_OF_TRUST = "root of trust"


class UnverifiedEndorsements(ValueError):
    """Endorsements that are not to be believed, and the first check they fail."""

    def __init__(self, check: UvmCheck, message: str) -> None:
        super().__init__(message)
        self.check = check


@dataclass(frozen=True, slots=True)
class UvmEndorsements:
    """An issuer, what it publishes, and a version of that; `svn` is a decimal number.

    As a root of trust it stands for that version and all later ones.
    """

    did: str
    feed: str
    svn: str


_MICROSOFT = "did:x509:0:sha256:I__iuL25oXEVFdTP_aBLx_eT1RPHbCQ_ECBQfYZpt9s::eku:1.3.6.1.4.1.311.76.59.1"
DEFAULT_ROOTS: Sequence[UvmEndorsements] = (
    UvmEndorsements(f"{_MICROSOFT}.2", "ContainerPlat-AMD-UVM", "100"),
    UvmEndorsements(f"{_MICROSOFT}.5", "ConfAKS-AMD-UVM", "1"),
)
"""What is trusted where no service's table is asked."""


def verify_uvm_endorsements(data: bytes, measurement: bytes, roots: Iterable[UvmEndorsements]) -> UvmEndorsements:
    """What endorses a measurement (48 bytes), if one of the roots of trust vouches for it.

    Times of validity do not matter. Raises `UnverifiedEndorsements`.
    """
    header = _read(data)
    _check_signature(header)
    if header.content_type != _JSON:
        raise UnverifiedEndorsements(
            UvmCheck.CONTENT_TYPE, f"The payload's type is {header.content_type!r}, not {_JSON}"
        )
    endorsed, svn = _read_payload(header.message)
    if endorsed != measurement.hex():
        raise UnverifiedEndorsements(
            UvmCheck.MEASUREMENT, f"The endorsed measurement is {endorsed}, that of the report {measurement.hex()}"
        )
    found = UvmEndorsements(header.did, header.feed, svn)
    if not any(_vouches(root, found) for root in roots):
        raise UnverifiedEndorsements(
            UvmCheck.ROOT_OF_TRUST,
            f"UVM endorsements did {found.did}, feed {found.feed}, svn {found.svn} match no known root of trust",
        )
    return found


@dataclass(frozen=True, slots=True)
class _Header:
    message: Sign1
    algorithm: int
    content_type: str
    chain: Sequence[bytes]
    did: str
    feed: str


def _read(data: bytes) -> _Header:
    try:
        message = decode_sign1(data)
    except CoseDecodeError as error:
        raise UnverifiedEndorsements(UvmCheck.ENCODING, f"The UVM endorsements cannot be read: {error}") from error
    get = message.protected.get
    match get(ALG), get(_CONTENT_TYPE), get(_X5CHAIN), get("iss"), get("feed"):
        case int() as algorithm, str() as content_type, bytes() | list() as chain, str() as did, str() as feed:
            pass
        case _:
            raise UnverifiedEndorsements(UvmCheck.ENCODING, "A protected header is missing, or not of its type")
    certificates = [chain] if isinstance(chain, bytes) else chain
    if not all(isinstance(certificate, bytes) for certificate in certificates):
        raise UnverifiedEndorsements(UvmCheck.ENCODING, "A certificate is not a byte string")
    return _Header(message, algorithm, content_type, certificates, did, feed)


def _check_signature(header: _Header) -> None:
    if type(header.algorithm) is not int or header.algorithm not in (*_RSA_PSS, *_ECDSA):
        raise UnverifiedEndorsements(
            UvmCheck.ALGORITHM, f"Signature algorithm {header.algorithm} is neither RSA-PSS nor ECDSA"
        )
    try:
        key = resolve(header.did, header.chain)
    except UnresolvedDid as error:
        raise UnverifiedEndorsements(
            UvmCheck.DID, f"The issuer of the UVM endorsements is not known: {error}"
        ) from error
    if not _is_signed(header.message, key):
        raise UnverifiedEndorsements(UvmCheck.SIGNATURE, "The issuer did not sign the UVM endorsements")


def _is_signed(message: Sign1, key: LeafKey) -> bool:
    return verify_pss_sign1(message, key) if isinstance(key, rsa.RSAPublicKey) else verify_sign1(message, key)


def _read_payload(message: Sign1) -> tuple[str, str]:
    """Measurement, in hex, and security version number, in decimal."""
    try:
        payload = json.loads(message.payload or b"")
    except (ValueError, RecursionError) as error:
        raise UnverifiedEndorsements(UvmCheck.PAYLOAD, f"The payload is not JSON: {error}") from error
    if not isinstance(payload, dict) or not isinstance(payload.get(_MEASUREMENT), str):
        raise UnverifiedEndorsements(UvmCheck.PAYLOAD, f"The payload has no text {_MEASUREMENT}")
    svn = payload.get(_SVN)
    text = str(svn) if type(svn) is int and abs(svn) <= _MOST_SVN else svn
    if not isinstance(text, str) or _number(text) is None:
        raise UnverifiedEndorsements(UvmCheck.PAYLOAD, f"The payload's {_SVN} is not an unsigned integer")
    return payload[_MEASUREMENT], text


def _vouches(root: UvmEndorsements, found: UvmEndorsements) -> bool:
    """A root whose version is no number vouches for nothing."""
    least, svn = _number(root.svn), _number(found.svn)
    same = (root.did, root.feed) == (found.did, found.feed)
    return same and least is not None and svn is not None and least <= svn


def _number(text: str) -> int | None:
    if _NUMBER.fullmatch(text) is None or int(text) > _MOST_SVN:
        return None
    return int(text)
