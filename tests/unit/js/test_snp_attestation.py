"""`snp_attestation.verifySnpAttestation` (node-api.md 5.8): its arguments, errors, and the object of the npm types."""

from collections.abc import Sequence
from typing import Any

import pytest

from dataplane.attestation.snp import verify_report
from dataplane.attestation.snp_tcb import Product
from dataplane.attestation.uvm import DEFAULT_ROOTS, UvmEndorsements
from dataplane.js.ccf import snp_attestation
from dataplane.js.interpreter import JsError
from tests.support.scripts import run
from tests.support.snp import EKU, MEASUREMENT, NOW, TURIN_SPL, Chip, builder_chain, did, endorse, rsa_key, sample
from tests.support.vectors import require_vectors

VERIFY = "snp_attestation.verifySnpAttestation"


def _real(name: str = "milan") -> list[bytes]:
    folder = require_vectors() / "snp"
    return [(folder / f"{name}_attestation.bin").read_bytes(), (folder / f"{name}_endorsements.pem").read_bytes()]


def _verify(*arguments: object) -> Any:
    passed = ", ".join(f"args[{index}]" for index in range(len(arguments)))
    return run(f"return {VERIFY}({passed})", arguments)


def test_a_real_report_becomes_the_object_of_the_type_declarations() -> None:
    result = _verify(*_real())
    assert list(result) == ["attestation"]
    attestation = result["attestation"]
    assert attestation["measurement"].hex().startswith("5feee30d6d7e1a29")
    assert attestation["report_data"] == bytes(64)
    tcb = {"boot_loader": 4, "tee": 0, "snp": 24, "microcode": 219, "hexstring": "db18000000000004"}
    assert attestation["reported_tcb"] == attestation["launch_tcb"] == tcb
    assert attestation["policy"] == {
        "abi_minor": 31, "abi_major": 0, "smt": 1, "migrate_ma": 0, "debug": 0, "single_socket": 0,
    }  # fmt: skip
    assert attestation["flags"] == {"author_key_en": 0, "mask_chip_key": 0, "signing_key": 0}
    assert attestation["platform_info"] == attestation["plaform_info"] == {"smt_en": 1, "tsme_en": 0}
    assert (attestation["version"], attestation["vmpl"], attestation["signature_algo"]) == (3, 0, 1)
    assert (attestation["current_major"], attestation["current_minor"], attestation["current_build"]) == (1, 55, 29)
    sizes = {"family_id": 16, "image_id": 16, "host_data": 32, "id_key_digest": 48, "author_key_digest": 48}
    sizes |= {"report_id": 32, "report_id_ma": 32, "chip_id": 64}
    assert {name: len(attestation[name]) for name in sizes} == sizes
    assert {name: len(value) for name, value in attestation["signature"].items()} == {"r": 72, "s": 72}


def test_a_real_report_of_endorsed_code_verifies_whole() -> None:
    result = _verify(*sample(), "db18000000000004")
    assert result["attestation"]["host_data"].hex().startswith("4f4448c67f3c8dfc")
    assert result["uvm_endorsements"] == {"did": DEFAULT_ROOTS[0].did, "feed": "ContainerPlat-AMD-UVM", "svn": "101"}


def test_numbers_above_two_to_the_31_stay_what_they_are() -> None:
    chip = Chip(Product.TURIN, TURIN_SPL)
    report = chip.verified({0x004: bytes.fromhex("feffffff")})
    fields = snp_attestation.attestation_fields(report)
    assert fields["guest_svn"] == 2**32 - 2
    assert fields["reported_tcb"]["fmc"] == 7
    assert run("return args[0] === 4294967294", [fields["guest_svn"]]) is True


def test_the_endorsed_tcb_is_compared() -> None:
    assert "attestation" in _verify(*_real(), None, "db18000000000004")
    with pytest.raises(JsError, match=r"^RangeError: .*does not match reported TCB"):
        _verify(*_real(), None, "0000000000000000")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda quote, pem: [quote[:-10], pem], "attestation report is not of expected size"),
        (lambda quote, pem: [quote + b"1", pem], "attestation report is not of expected size"),
        (lambda quote, pem: [quote[600:] + quote[:600], pem], "The report"),
        (lambda quote, pem: [quote, pem[:-10]], "Expected 3 endorsement certificates but got 2"),
        (lambda quote, pem: [quote, pem + b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----"], "but got 4"),
        (lambda quote, pem: [quote, pem, b""], "UVM endorsements cannot be read"),
        (lambda quote, pem: [quote, pem, b"\xd2\x84"], "UVM endorsements cannot be read"),
    ],
)
def test_what_does_not_verify_is_a_range_error(change: Any, message: str) -> None:
    with pytest.raises(JsError, match=rf"^RangeError: .*{message}"):
        _verify(*change(*_real()))


def test_real_endorsements_of_other_code_are_refused() -> None:
    uvm = (require_vectors() / "snp" / "uvm_0.2.9.cose").read_bytes()
    with pytest.raises(JsError, match=r"^RangeError: The endorsed measurement is d0c9e2be"):
        _verify(*_real(), uvm)


def test_who_endorsed_the_code_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    chip, key = Chip(), rsa_key("leaf")
    chain = builder_chain(key)
    uvm = endorse(key, chain, {"x-ms-sevsnpvm-launchmeasurement": MEASUREMENT.hex(), "x-ms-sevsnpvm-guestsvn": 7})

    def verify(quote: bytes, endorsements: bytes, now: object, *, endorsed_tcb: str | None) -> object:
        return verify_report(quote, endorsements, NOW, endorsed_tcb=endorsed_tcb, root_keys=chip.root_keys())

    monkeypatch.setattr(snp_attestation, "verify_report", verify)
    good: Sequence[bytes] = [chip.report(), chip.endorsements(), uvm]
    with pytest.raises(JsError, match=r"^RangeError: UVM endorsements did .* match no known root of trust"):
        _verify(*good)
    monkeypatch.setattr(snp_attestation, "DEFAULT_ROOTS", [*DEFAULT_ROOTS, UvmEndorsements(did(chain), "Feed", "7")])
    assert _verify(*good)["uvm_endorsements"] == {"did": did(chain), "feed": "Feed", "svn": "7"}
    assert EKU in did(chain)


@pytest.mark.parametrize("arguments", ["", "B", "B, 'x'", "'x', B", "B, B, 'x'", "B, B, B, 'x', B"])
def test_arguments_of_other_kinds_are_type_errors(arguments: str) -> None:
    with pytest.raises(JsError, match=r"^TypeError: "):
        run(f"const B = ccf.strToBuf('x'); {VERIFY}({arguments})")
