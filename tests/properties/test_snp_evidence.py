"""Mutants of SEV-SNP evidence: none is believed, and none raises anything but the declared error."""

from base64 import b64decode
from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st

from dataplane.attestation.did_x509 import UnresolvedDid, resolve
from dataplane.attestation.snp import UnverifiedReport, verify_report
from dataplane.attestation.uvm import UnverifiedEndorsements, UvmEndorsements, verify_uvm_endorsements
from dataplane.crypto.cose import decode_sign1
from dataplane.crypto.der import DerDecodeError, certificate_extensions, elements, unsigned
from tests.support.snp import MEASUREMENT, NOW, Chip, builder_chain, der, did, endorse, rsa_key

CHIP = Chip()
CHAIN = builder_chain(rsa_key("leaf"))
ROOTS = [UvmEndorsements(did(CHAIN), "Feed", "1")]

_positions = st.floats(0, 1, exclude_max=True)
_changes = st.lists(
    st.tuples(st.sampled_from(["flip", "set", "cut", "insert", "repeat"]), _positions, st.integers(1, 255)),
    min_size=1,
    max_size=4,
)


@cache
def _report() -> bytes:
    return CHIP.report()


@cache
def _endorsements() -> bytes:
    return CHIP.endorsements()


@cache
def _uvm() -> bytes:
    payload = {"x-ms-sevsnpvm-launchmeasurement": MEASUREMENT.hex(), "x-ms-sevsnpvm-guestsvn": "8"}
    return endorse(rsa_key("leaf"), CHAIN, payload)


def _mutated(data: bytes, changes: list[tuple[str, float, int]]) -> bytes:
    """`data` with changes at relative positions; each takes a byte."""
    for kind, position, value in changes:
        at = int(position * len(data))
        head, tail = data[:at], data[at:]
        match kind:
            case "flip":
                data = head + bytes([tail[0] ^ value]) + tail[1:] if tail else head
            case "set":
                data = head + bytes([value]) + tail[1:]
            case "cut":
                data = head + tail[value:]
            case "insert":
                data = head + bytes([value]) + tail
            case "repeat":
                data = head + tail[:value] + tail
    return data


def _ders(pem: bytes) -> list[bytes]:
    blocks = pem.decode("ascii").split("-----BEGIN CERTIFICATE-----")[1:]
    return [b64decode("".join(block.split("-----END")[0].split())) for block in blocks]


@given(_changes)
@settings(max_examples=300, deadline=None)
def test_no_mutant_of_a_report_is_believed(changes: list[tuple[str, float, int]]) -> None:
    mutant = _mutated(_report(), changes)
    try:
        verify_report(mutant, _endorsements(), NOW, root_keys=CHIP.root_keys())
    except UnverifiedReport:
        return
    assert mutant == _report()


@given(st.integers(0, 0x29F), st.integers(1, 255))
@settings(max_examples=300, deadline=None)
def test_whatever_a_chip_signs_is_taken_or_refused(offset: int, value: int) -> None:
    """What the checks after the signature make of it; a debuggable or movable guest never passes."""
    quote = bytearray(_report())
    quote[offset] ^= value
    resigned = CHIP.report({offset: bytes([quote[offset]])})
    try:
        report = verify_report(resigned, _endorsements(), NOW, root_keys=CHIP.root_keys())
    except UnverifiedReport:
        return
    assert (report.debug, report.migrate_ma, report.mask_chip_key, report.signing_key) == (False, False, False, 0)
    assert report.vmpl <= 3


@given(_changes)
@settings(max_examples=200, deadline=None)
def test_no_mutant_of_a_chips_certificates_is_believed(changes: list[tuple[str, float, int]]) -> None:
    """White space may differ between the same certificates."""
    mutant = _mutated(_endorsements(), changes)
    try:
        verify_report(_report(), mutant, NOW, root_keys=CHIP.root_keys())
    except UnverifiedReport:
        return
    assert _ders(mutant) == _ders(_endorsements())


@given(_changes)
@settings(max_examples=300, deadline=None)
def test_no_mutant_of_endorsements_is_believed(changes: list[tuple[str, float, int]]) -> None:
    """What nobody signed, the unprotected header, may differ."""
    mutant = _mutated(_uvm(), changes)
    try:
        found = verify_uvm_endorsements(mutant, MEASUREMENT, ROOTS)
    except UnverifiedEndorsements:
        return
    good, taken = decode_sign1(_uvm()), decode_sign1(mutant)
    assert (taken.protected_bytes, taken.payload) == (good.protected_bytes, good.payload)
    assert found.svn == "8"


@given(st.text(max_size=60), st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_no_other_identifier_is_resolved(prefix: str, policy: str) -> None:
    for text in (prefix, f"{prefix}::{policy}", did(CHAIN, policy)):
        try:
            resolve(text, CHAIN)
        except UnresolvedDid:
            continue
        raise AssertionError(f"{text!r} was resolved")


@given(_changes)
@settings(max_examples=200, deadline=None)
def test_der_that_cannot_be_read_says_so(changes: list[tuple[str, float, int]]) -> None:
    data = _mutated(der(CHIP.chain())[0], changes)
    for read in (certificate_extensions, unsigned, lambda taken: list(elements(taken))):
        try:
            read(data)
        except DerDecodeError:
            continue
