"""What makes a SEV-SNP report believable: every check by its name, on real reports and on those of our own maker."""

from base64 import b64decode, b64encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from dataplane.attestation.snp import ROOT_KEYS, Check, UnverifiedReport, verify_report
from dataplane.attestation.snp_report import REPORT_SIZE, parse_report
from dataplane.attestation.snp_tcb import Product, tcb_hex
from tests.support.snp import (
    CHIP_ID,
    HOST_DATA,
    MEASUREMENT,
    NOW,
    SPL,
    TCB,
    TURIN_SPL,
    TURIN_TCB,
    Chip,
    certificate,
    elliptic_key,
    pem,
    rsa_key,
)
from tests.support.vectors import require_vectors

CHIP = Chip()
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973


def _real(name: str) -> tuple[bytes, bytes]:
    folder = require_vectors() / "snp"
    return (folder / f"{name}_attestation.bin").read_bytes(), (folder / f"{name}_endorsements.pem").read_bytes()


def _refused(
    check: Check, quote: bytes, endorsements: bytes, now: datetime = NOW, endorsed_tcb: str | None = None
) -> UnverifiedReport:
    with pytest.raises(UnverifiedReport) as caught:
        verify_report(quote, endorsements, now, endorsed_tcb=endorsed_tcb, root_keys=CHIP.root_keys())
    assert caught.value.check is check, caught.value
    return caught.value


def _fails(check: Check, chip: Chip, changes: dict[int, bytes], endorsed_tcb: str | None = None) -> None:
    with pytest.raises(UnverifiedReport) as caught:
        chip.verified(changes, endorsed_tcb)
    assert caught.value.check is check, caught.value


# Real reports


@pytest.mark.parametrize(("name", "tcb"), [("milan", "db18000000000004"), ("genoa", "541700000000000a")])
def test_real_reports_verify_without_a_warning_about_their_serial_number(name: str, tcb: str) -> None:
    report = verify_report(*_real(name), NOW, endorsed_tcb=tcb)
    assert report.measurement.hex().startswith("5feee30d6d7e1a29")
    assert report.host_data.hex().startswith("4f4448c67f3c8dfc")
    assert tcb_hex(report.reported_tcb) == tcb
    assert (report.signature_rest, report.vmpl, report.signing_key, report.debug) == (bytes(368), 0, 0, False)


def test_the_firmware_is_named_as_the_specification_orders_it() -> None:
    report = parse_report(_real("milan")[0])
    assert (report.current_major, report.current_minor, report.current_build) == (1, 55, 29)
    assert (report.committed_major, report.committed_minor, report.committed_build) == (1, 55, 29)


def test_a_report_of_version_2_is_refused() -> None:
    quote = (require_vectors() / "snp" / "v2_format_milan_attestation.bin").read_bytes()
    with pytest.raises(UnverifiedReport, match="version 2") as caught:
        verify_report(quote, _real("milan")[1], NOW)
    assert caught.value.check is Check.VERSION


def test_the_chain_of_another_product_does_not_do() -> None:
    with pytest.raises(UnverifiedReport) as caught:
        verify_report(_real("milan")[0], _real("genoa")[1], NOW)
    assert caught.value.check is Check.ROOT_KEY


def test_a_chain_of_our_own_is_not_amds() -> None:
    with pytest.raises(UnverifiedReport) as caught:
        verify_report(CHIP.report(), CHIP.endorsements(), NOW)
    assert caught.value.check is Check.ROOT_KEY
    assert Product.TURIN not in ROOT_KEYS


# Our own


def test_a_good_report_is_taken() -> None:
    report = CHIP.verified(endorsed_tcb=tcb_hex(TCB))
    assert (report.measurement, report.host_data, report.chip_id) == (MEASUREMENT, HOST_DATA, CHIP_ID)
    assert (report.version, report.policy, report.reported_tcb) == (3, 0x3001F, TCB)


def test_a_turin_is_read_with_its_own_layout() -> None:
    chip = Chip(Product.TURIN, TURIN_SPL)
    assert chip.verified(endorsed_tcb=tcb_hex(TURIN_TCB)).reported_tcb == TURIN_TCB
    _fails(Check.TCB, chip, {0x180: bytes([6]) + TURIN_TCB[1:]})
    _fails(Check.TCB, Chip(Product.TURIN, TURIN_SPL | {"snpSPL": (3, 25)}), {})
    with pytest.raises(UnverifiedReport, match="No root key is known for Turin"):
        verify_report(chip.report(), chip.endorsements(), NOW)


@pytest.mark.parametrize("size", [0, 1, REPORT_SIZE - 1, REPORT_SIZE + 1])
def test_other_sizes_are_refused(size: int) -> None:
    quote = (CHIP.report() + b"\0")[:size]
    refusal = _refused(Check.SIZE, quote, CHIP.endorsements())
    assert "attestation report is not of expected size 1184" in str(refusal)


@pytest.mark.parametrize(
    ("check", "offset", "value"),
    [
        (Check.VERSION, 0x000, bytes([2, 0, 0, 0])),
        (Check.PRODUCT, 0x188, bytes([0x18])),
        (Check.PRODUCT, 0x189, bytes([0x02])),
        (Check.ALGORITHM, 0x034, bytes([0])),
        (Check.ALGORITHM, 0x034, bytes([2])),
        (Check.SIGNING_KEY, 0x048, bytes([1 << 2])),
        (Check.SIGNING_KEY, 0x048, bytes([7 << 2])),
        (Check.MASK_CHIP_KEY, 0x048, bytes([1 << 1])),
        (Check.VMPL, 0x030, bytes([4])),
        (Check.VMPL, 0x033, bytes([1])),
        (Check.DEBUG, 0x00A, bytes([1 << 3 | 3])),
        (Check.MIGRATION, 0x00A, bytes([1 << 2 | 3])),
        (Check.CHIP_ID, 0x1A0, bytes([9])),
        (Check.SIGNATURE, 0x330, bytes([1])),
        (Check.SIGNATURE, 0x49F, bytes([1])),
        (Check.SIGNATURE, 0x2A0, bytes(72)),
        (Check.SIGNATURE, 0x2E8, bytes(72)),
        (Check.SIGNATURE, 0x2A0, b"\xff" * 144),
    ],
)
def test_each_field_that_must_not_be_so(check: Check, offset: int, value: bytes) -> None:
    _fails(check, CHIP, {offset: value})


@pytest.mark.parametrize("vmpl", [0, 1, 2, 3])
def test_every_level_of_a_guest_is_taken(vmpl: int) -> None:
    assert CHIP.verified({0x30: bytes([vmpl])}).vmpl == vmpl


@pytest.mark.parametrize("offset", [*range(0, 0x2A0, 16), 0x29F])
def test_no_signed_byte_can_be_changed(offset: int) -> None:
    quote = bytearray(CHIP.report())
    quote[offset] ^= 0x10
    with pytest.raises(UnverifiedReport) as caught:
        verify_report(bytes(quote), CHIP.endorsements(), NOW, root_keys=CHIP.root_keys())
    assert caught.value.check in (Check.VERSION, Check.PRODUCT, Check.ROOT_KEY, Check.ALGORITHM, Check.SIGNATURE)


def test_the_order_of_checks_is_that_of_the_contract() -> None:
    wrong = {0x030: bytes([4]), 0x048: bytes([1 << 2 | 1 << 1]), 0x00A: bytes([3 << 2]), 0x180: bytes(8), 0x1A0: b"\1"}
    repairs: list[tuple[Check, int, bytes]] = [
        (Check.SIGNING_KEY, 0x048, bytes([1 << 1])),
        (Check.MASK_CHIP_KEY, 0x048, bytes(1)),
        (Check.VMPL, 0x030, bytes(1)),
        (Check.DEBUG, 0x00A, bytes([1 << 2])),
        (Check.MIGRATION, 0x00A, bytes(1)),
        (Check.TCB, 0x180, TCB),
        (Check.CHIP_ID, 0x1A0, CHIP_ID),
    ]
    for check, offset, value in repairs:
        _fails(check, CHIP, wrong, "0" * 16)
        wrong[offset] = value
    _fails(Check.ENDORSED_TCB, CHIP, wrong, "0" * 16)
    assert CHIP.verified(wrong, tcb_hex(TCB)).chip_id == CHIP_ID


# TCB and chip


@pytest.mark.parametrize(("name", "place"), [("blSPL", 0), ("teeSPL", 1), ("snpSPL", 6), ("ucodeSPL", 7)])
def test_no_component_is_below_the_certified_one(name: str, place: int) -> None:
    lower = bytearray(TCB)
    lower[place] -= 1
    _fails(Check.TCB, CHIP, {0x180: bytes(lower)})
    higher = bytearray(TCB)
    higher[place] += 1
    assert CHIP.verified({0x180: bytes(higher)}).reported_tcb == bytes(higher)
    without = Chip(spl={key: pair for key, pair in SPL.items() if key != name})
    assert without.verified({0x180: bytes(lower)}).reported_tcb == bytes(lower)


def test_what_a_certificate_does_not_name_is_not_checked() -> None:
    chip = Chip(spl={}, chip_id=None)
    assert chip.verified({0x180: bytes(8), 0x1A0: bytes(64)}).chip_id == bytes(64)


@pytest.mark.parametrize("chip_id", [CHIP_ID[:-1], CHIP_ID + b"\0", b"", bytes(64)])
def test_the_chip_is_the_certified_one(chip_id: bytes) -> None:
    _fails(Check.CHIP_ID, Chip(chip_id=chip_id), {})


def test_extensions_that_cannot_be_read_are_refused() -> None:
    _fails(Check.EXTENSIONS, Chip(spl={"blSPL": (1, -1)}), {})
    assert Chip(spl={"blSPL": (1, 0)}).verified().version == 3


def test_the_endorsed_tcb_is_the_reported_one() -> None:
    _fails(Check.ENDORSED_TCB, CHIP, {}, "0000000000000000")
    for text in ("", "xyz", TCB.hex(), tcb_hex(TCB)[:-2], f" {tcb_hex(TCB)}", "é" * 16):
        _fails(Check.ENDORSED_TCB, CHIP, {}, text)
    with pytest.raises(UnverifiedReport, match="does not match reported TCB db18000000000104"):
        CHIP.verified(endorsed_tcb="0" * 16)


# Certificates


@pytest.mark.parametrize("count", [0, 1, 2, 4, 6])
def test_there_are_three_certificates(count: int) -> None:
    endorsements = pem([*CHIP.chain(), *CHIP.chain()][:count])
    refusal = _refused(Check.CERTIFICATE_COUNT, CHIP.report(), endorsements)
    assert f"Expected 3 endorsement certificates but got {count}" in str(refusal)


def test_nothing_stands_around_the_certificates() -> None:
    good = CHIP.endorsements()
    taken = verify_report(CHIP.report(), b"\n" + good + b"\n\n", NOW, root_keys=CHIP.root_keys())
    assert taken.chip_id == CHIP_ID
    for endorsements in (
        good + b"x",
        b"x" + good,
        good.replace(b"BEGIN", b"begin", 1),
        good.replace(b"MII", b"M-I", 1),
    ):
        _refused(Check.CERTIFICATES, CHIP.report(), endorsements)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_certificates_that_cannot_be_read_are_refused(place: int) -> None:
    chain = CHIP.endorsements().decode().split("-----BEGIN CERTIFICATE-----\n")[1:]
    for body in ("AAAA\n", "A\n", "MIIB\n", b64encode(b"\x30\x80\x00\x00").decode() + "\n"):
        pieces = list(chain)
        pieces[place] = f"{body}-----END CERTIFICATE-----\n"
        text = "".join(f"-----BEGIN CERTIFICATE-----\n{piece}" for piece in pieces)
        with pytest.raises(UnverifiedReport) as caught:
            verify_report(CHIP.report(), text.encode(), NOW, root_keys=CHIP.root_keys())
        assert caught.value.check in (Check.CERTIFICATES, Check.CHAIN)


def test_bytes_behind_a_certificate_are_refused() -> None:
    text = CHIP.endorsements().decode()
    first, _, rest = text.partition("-----END CERTIFICATE-----")
    body = first.partition("-----BEGIN CERTIFICATE-----")[2]
    longer = b64encode(b64decode("".join(body.split())) + b"\0").decode()
    quote = CHIP.report()
    endorsements = f"-----BEGIN CERTIFICATE-----\n{longer}\n-----END CERTIFICATE-----{rest}".encode()
    _refused(Check.CHAIN, quote, endorsements)


def test_the_order_is_vcek_ask_ark() -> None:
    vcek, ask, ark = CHIP.chain()
    _refused(Check.ROOT_KEY, CHIP.report(), pem([vcek, ark, ask]))
    _refused(Check.ROOT_KEY, CHIP.report(), pem([ark, ask, vcek]))
    _refused(Check.CHAIN, CHIP.report(), pem([ask, vcek, ark]))
    _refused(Check.CHAIN, CHIP.report(), pem([ask, ask, ark]))


def test_a_root_signed_by_another_is_refused() -> None:
    vcek, ask, _ = CHIP.chain()
    other = certificate("ARK", rsa_key("ARK"), "ARK", rsa_key("stranger"), pss=True)
    _refused(Check.ROOT_SIGNATURE, CHIP.report(), pem([vcek, ask, other]))
    foreign = certificate("ARK", rsa_key("ARK"), "Stranger", rsa_key("stranger"), pss=True)
    _refused(Check.ROOT_SIGNATURE, CHIP.report(), pem([vcek, ask, foreign]))


def test_every_link_of_the_chain_must_hold() -> None:
    vcek, ask, ark = CHIP.chain()
    stranger = certificate("ASK", rsa_key("ASK"), "ARK", rsa_key("stranger"), pss=True)
    _refused(Check.CHAIN, CHIP.report(), pem([vcek, stranger, ark]))
    forged = certificate("VCEK", elliptic_key("VCEK"), "ASK", rsa_key("stranger"), ca=False, pss=True)
    _refused(Check.CHAIN, CHIP.report(), pem([forged, ask, ark]))
    powerless = certificate("ASK", rsa_key("ASK"), "ARK", rsa_key("ARK"), ca=False, pss=True)
    _refused(Check.CHAIN, CHIP.report(), pem([vcek, powerless, ark]))
    direct = certificate("VCEK", elliptic_key("VCEK"), "ARK", rsa_key("ARK"), ca=False, pss=True)
    _refused(Check.CHAIN, CHIP.report(), pem([direct, ask, ark]))


def test_certificates_are_valid_now() -> None:
    short = replace(CHIP, days=10)
    assert short.verified().version == 3
    _refused(Check.CHAIN, short.report(), short.endorsements(), NOW + timedelta(days=10))
    _refused(Check.ROOT_SIGNATURE, short.report(), short.endorsements(), NOW - timedelta(days=2))


def test_the_chip_signs_with_p384() -> None:
    for key in (ec.generate_private_key(ec.SECP256R1()), rsa_key("VCEK")):
        _fails(Check.SIGNATURE, Chip(vcek=key), {})
    signed_by_another = Chip(vcek=elliptic_key("another chip")).report()
    _refused(Check.SIGNATURE, signed_by_another, CHIP.endorsements())


def test_the_real_root_signed_every_real_certificate() -> None:
    """The positive control of the pinned digests: with the digests exchanged nothing verifies."""
    exchanged = {Product.MILAN: ROOT_KEYS[Product.GENOA], Product.GENOA: ROOT_KEYS[Product.MILAN]}
    for name in ("milan", "genoa"):
        with pytest.raises(UnverifiedReport) as caught:
            verify_report(*_real(name), datetime.now(UTC), root_keys=exchanged)
        assert caught.value.check is Check.ROOT_KEY


def test_every_check_has_a_test() -> None:
    source = Path(__file__).read_text()
    assert [check for check in Check if f"Check.{check.name}" not in source] == []
