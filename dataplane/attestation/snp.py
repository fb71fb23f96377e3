"""Verification of SEV-SNP reports: what a chip of AMD vouches for (ledger-format.md 8.4).

Every check has a name of its own, and they run in the order of the contract. Whether a service trusts what a report
says is another question: `snp_policy`.
"""

import re
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from dataplane.attestation.snp_report import REPORT_SIZE, SIGNED_SIZE, Report, parse_report
from dataplane.attestation.snp_tcb import Product, parse_tcb_hex, product_of, tcb_components, tcb_hex
from dataplane.crypto.chains import InvalidChain, check_chain_at, key_of
from dataplane.crypto.der import DerDecodeError, certificate_extensions, unsigned

FORMAT = "AMD_SEV_SNP_v1"

ROOT_KEYS: Mapping[Product, str] = {
    Product.MILAN: "9f056bee44377e29308cb5ffa895bdfb62d18881fa6bed8d6f075b0204089cb9",
    Product.GENOA: "429a69c9422aa258ee4d8db5fcda9c6470ef15f8cd5a9cebd6cbc7d90b863831",
}
"""SHA-256 of the SPKI DER of AMD's root keys. Nobody has shown us a report of a Turin yet, so none is accepted."""

_LEAST_VERSION = 3
_ECDSA_P384_SHA384 = 1
_VCEK = 0
_MOST_GUEST_VMPL = 3
_CERTIFICATES = 3
_END = "-----END CERTIFICATE-----"
_PEM = re.compile(r"\s*-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----\s*")

# Extensions of a VCEK certificate: below 1.3.6.1.4.1.3704.1
_AMD = bytes.fromhex("2b060104019c7801")
_CHIP_ID = _AMD + bytes([4])
_TCB = {
    "boot_loader": _AMD + bytes([3, 1]),
    "tee": _AMD + bytes([3, 2]),
    "snp": _AMD + bytes([3, 3]),
    "microcode": _AMD + bytes([3, 8]),
    "fmc": _AMD + bytes([3, 9]),
}


class Check(StrEnum):
    """What a report can fail on, in the order of the checks."""

    SIZE = "size"
    VERSION = "version"
    PRODUCT = "product"
    CERTIFICATE_COUNT = "number of certificates"
    CERTIFICATES = "form of the certificates"
    ROOT_KEY = "root key"
    ROOT_SIGNATURE = "signature of the root"
    CHAIN = "chain of certificates"
    ALGORITHM = "signature algorithm"
    SIGNATURE = "signature"
    SIGNING_KEY = "signing key"
    MASK_CHIP_KEY = "masked chip key"
    VMPL = "privilege level"
    DEBUG = "debugging"
    MIGRATION = "migration"
    EXTENSIONS = "form of the chip's certificate"
    TCB = "certified TCB"
    CHIP_ID = "chip"
    ENDORSED_TCB = "endorsed TCB"


class UnverifiedReport(ValueError):
    """A report that is not to be believed, and the first check it fails."""

    def __init__(self, check: Check, message: str) -> None:
        super().__init__(message)
        self.check = check


def verify_report(
    quote: bytes,
    endorsements: bytes,
    now: datetime,
    *,
    endorsed_tcb: str | None = None,
    root_keys: Mapping[Product, str] = ROOT_KEYS,
) -> Report:
    """The report in `quote`, if a genuine chip signed it about a guest that nobody can debug or move.

    `endorsements` are the PEM certificates of VCEK, ASK and ARK, valid at `now`; `endorsed_tcb` the text of the TCB
    version they were asked for with. `root_keys`: SHA-256 of the SPKI DER, in hex. Raises `UnverifiedReport`.
    """
    report, product = _read(quote)
    vcek = _check_chain(endorsements, product, now, root_keys)
    _check_signature(report, quote, vcek)
    _check_guest(report)
    _check_chip(report, product, vcek)
    if endorsed_tcb is not None:
        _check_endorsed_tcb(report, endorsed_tcb)
    return report


def _read(quote: bytes) -> tuple[Report, Product]:
    if len(quote) != REPORT_SIZE:
        raise UnverifiedReport(
            Check.SIZE, f"The SEV-SNP attestation report is not of expected size {REPORT_SIZE} but has {len(quote)}"
        )
    report = parse_report(quote)
    if report.version < _LEAST_VERSION:
        raise UnverifiedReport(Check.VERSION, f"The report has version {report.version}, below {_LEAST_VERSION}")
    try:
        return report, product_of(report.cpuid_fam_id, report.cpuid_mod_id)
    except ValueError as error:
        raise UnverifiedReport(Check.PRODUCT, f"The report is of an unknown processor: {error}") from error


def _check_chain(endorsements: bytes, product: Product, now: datetime, root_keys: Mapping[Product, str]) -> bytes:
    """The VCEK's certificate, DER."""
    vcek, ask, ark = _certificates(endorsements)
    if product not in root_keys:
        raise UnverifiedReport(Check.ROOT_KEY, f"No root key is known for {product}")
    if _spki_digest(ark) != root_keys[product]:
        raise UnverifiedReport(Check.ROOT_KEY, f"The last certificate does not hold the root key of {product}")
    try:
        check_chain_at([ark], now)
    except InvalidChain as error:
        raise UnverifiedReport(Check.ROOT_SIGNATURE, f"The root is not self-signed and valid: {error}") from error
    try:
        check_chain_at([vcek, ask, ark], now)
    except InvalidChain as error:
        raise UnverifiedReport(Check.CHAIN, f"VCEK, ASK and ARK form no chain: {error}") from error
    return vcek


def _certificates(endorsements: bytes) -> Sequence[bytes]:
    text = endorsements.decode("ascii", "replace")
    count = text.count(_END)
    if count != _CERTIFICATES:
        raise UnverifiedReport(
            Check.CERTIFICATE_COUNT, f"Expected {_CERTIFICATES} endorsement certificates but got {count}"
        )
    bodies = _PEM.findall(text)
    if len(bodies) != _CERTIFICATES or _PEM.sub("", text):
        raise UnverifiedReport(Check.CERTIFICATES, "The endorsements are not PEM certificates alone")
    try:
        return [b64decode("".join(body.split()), validate=True) for body in bodies]
    except ValueError as error:
        raise UnverifiedReport(Check.CERTIFICATES, f"An endorsement is not base64: {error}") from error


def _spki_digest(certificate: bytes) -> str:
    try:
        key = key_of(certificate)
    except InvalidChain as error:
        raise UnverifiedReport(Check.CERTIFICATES, f"The root cannot be read: {error}") from error
    if not isinstance(key, rsa.RSAPublicKey):
        raise UnverifiedReport(Check.ROOT_KEY, "The last certificate does not hold an RSA key")
    return sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _check_signature(report: Report, quote: bytes, vcek: bytes) -> None:
    if report.signature_algo != _ECDSA_P384_SHA384:
        raise UnverifiedReport(
            Check.ALGORITHM, f"Signature algorithm {report.signature_algo} is not ECDSA P-384 with SHA-384 (1)"
        )
    try:
        key = key_of(vcek)
    except InvalidChain as error:
        raise UnverifiedReport(Check.SIGNATURE, f"The chip's key cannot be read: {error}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp384r1":
        raise UnverifiedReport(Check.SIGNATURE, "The chip's key is not on the curve P-384")
    r, s = (int.from_bytes(part, "little") for part in (report.signature_r, report.signature_s))
    try:
        key.verify(encode_dss_signature(r, s), quote[:SIGNED_SIZE], ec.ECDSA(hashes.SHA384()))
    except InvalidSignature as error:
        raise UnverifiedReport(Check.SIGNATURE, "The chip (VCEK) did not sign this report") from error
    if any(report.signature_rest):
        raise UnverifiedReport(Check.SIGNATURE, "Bytes behind the signature are not zero")


_REFUSED: Sequence[tuple[Check, Callable[[Report], bool], str]] = (
    (Check.SIGNING_KEY, lambda report: report.signing_key != _VCEK, "The report was not signed by the VCEK"),
    (Check.MASK_CHIP_KEY, lambda report: report.mask_chip_key, "The chip key is masked"),
    (Check.VMPL, lambda report: report.vmpl > _MOST_GUEST_VMPL, "The host asked for the report, not a guest"),
    (Check.DEBUG, lambda report: report.debug, "The guest's policy allows debugging"),
    (Check.MIGRATION, lambda report: report.migrate_ma, "The guest's policy allows migration"),
)


def _check_guest(report: Report) -> None:
    for check, refused, message in _REFUSED:
        if refused(report):
            raise UnverifiedReport(check, message)


def _check_chip(report: Report, product: Product, vcek: bytes) -> None:
    """The certificate names the least TCB version and the chip of its key; what it leaves out is not checked."""
    try:
        extensions = certificate_extensions(vcek)
        certified = {name: unsigned(extensions[oid]) for name, oid in _TCB.items() if oid in extensions}
    except DerDecodeError as error:
        raise UnverifiedReport(Check.EXTENSIONS, f"The extensions of the VCEK cannot be read: {error}") from error
    reported = tcb_components(product, report.reported_tcb)
    for name, value in reported.items():
        if value < certified.get(name, 0):
            raise UnverifiedReport(Check.TCB, f"Reported TCB: {name} is {value}, certified is {certified[name]}")
    if extensions.get(_CHIP_ID, report.chip_id) != report.chip_id:
        raise UnverifiedReport(Check.CHIP_ID, "The report is of another chip than the certificate")


def _check_endorsed_tcb(report: Report, endorsed_tcb: str) -> None:
    try:
        endorsed = parse_tcb_hex(endorsed_tcb)
    except ValueError as error:
        raise UnverifiedReport(Check.ENDORSED_TCB, f"The endorsed TCB cannot be read: {error}") from error
    if endorsed != report.reported_tcb:
        raise UnverifiedReport(
            Check.ENDORSED_TCB,
            f"The endorsed TCB {tcb_hex(endorsed)} does not match reported TCB {tcb_hex(report.reported_tcb)}",
        )
