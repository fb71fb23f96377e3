"""Whether a service trusts a verified SEV-SNP report: order and texts of ledger-format.md 8.5 and node-api.md 1.8."""

from dataclasses import replace
from hashlib import sha256

import pytest

from dataplane.attestation.platform import InvalidQuote
from dataplane.attestation.snp import verify_report
from dataplane.attestation.snp_policy import SnpPolicy, check_against_policy
from dataplane.attestation.snp_tcb import Product, least_tcb, meets, product_of, tcb_components, tcb_policy
from dataplane.attestation.uvm import DEFAULT_ROOTS, UvmEndorsements
from tests.support.snp import (
    HOST_DATA,
    MEASUREMENT,
    NOW,
    TCB,
    TURIN_SPL,
    TURIN_TCB,
    Chip,
    builder_chain,
    did,
    endorse,
    rsa_key,
    sample,
)

KEY_DER = b"a public key"
BOUND = {0x50: sha256(KEY_DER).digest()}
REPORT = Chip().verified(BOUND)
CHAIN = builder_chain(rsa_key("leaf"))
LEAST = {"boot_loader": 4, "tee": 1, "snp": 24, "microcode": 219, "hexstring": "db18000000000104"}
POLICY = SnpPolicy(
    host_data=[HOST_DATA.hex()],
    measurements=[MEASUREMENT.hex()],
    uvm_roots=[UvmEndorsements(did(CHAIN), "Feed", "7")],
    tcb_versions={"00a10f11": {}, "00a00f12": {}, "00a00f11": LEAST, "nonsense": {}},
)
NOBODY = SnpPolicy([], [], [], {})


def _uvm(svn: int = 7) -> bytes:
    payload = {"x-ms-sevsnpvm-launchmeasurement": MEASUREMENT.hex(), "x-ms-sevsnpvm-guestsvn": svn}
    return endorse(rsa_key("leaf"), CHAIN, payload)


def _reason(policy: SnpPolicy, uvm: bytes | None = None, key: bytes = KEY_DER) -> str:
    with pytest.raises(InvalidQuote) as caught:
        check_against_policy(REPORT, uvm, key, policy)
    return caught.value.message


def test_what_the_service_lists_is_trusted() -> None:
    check_against_policy(REPORT, None, KEY_DER, POLICY)
    check_against_policy(REPORT, _uvm(), KEY_DER, replace(POLICY, measurements=[]))


def test_the_checks_come_in_the_order_of_the_contract() -> None:
    policy = NOBODY
    assert _reason(policy, key=b"other") == "Quote host data is not authorised"
    policy = replace(policy, host_data=POLICY.host_data)
    assert _reason(policy, key=b"other") == "Quote does not contain known enclave measurement"
    policy = replace(policy, measurements=POLICY.measurements)
    assert "invalid CPUID" in _reason(policy, key=b"other")
    policy = replace(policy, tcb_versions={"00a00f11": {**LEAST, "snp": 25}})
    assert "TCB version db18000000000104 is below" in _reason(policy, key=b"other")
    policy = replace(policy, tcb_versions=POLICY.tcb_versions)
    assert _reason(policy, key=b"other") == "Quote report data does not contain node's public key hash"
    check_against_policy(REPORT, None, KEY_DER, policy)


def test_endorsements_alone_decide_about_the_measurement() -> None:
    for roots in ([], [UvmEndorsements(did(CHAIN), "Feed", "8")]):
        policy = replace(POLICY, uvm_roots=roots)
        assert "UVM endorsements are not authorised" in _reason(policy, _uvm())
    assert "UVM endorsements are not authorised" in _reason(POLICY, b"")


def test_a_real_node_is_trusted_by_who_trusts_what_it_runs() -> None:
    """The key's digest apart: nobody has the key any more, so that check is the last one that is left."""
    quote, endorsements, uvm = sample()
    report = verify_report(quote, endorsements, NOW, endorsed_tcb="db18000000000004")
    least = {"00a00f11": tcb_policy("00a00f11", "db18000000000004")}
    policy = SnpPolicy([report.host_data.hex()], [], DEFAULT_ROOTS, least)
    with pytest.raises(InvalidQuote, match="does not contain node's public key hash"):
        check_against_policy(report, uvm, KEY_DER, policy)
    with pytest.raises(InvalidQuote, match="UVM endorsements are not authorised"):
        check_against_policy(report, uvm, KEY_DER, replace(policy, uvm_roots=DEFAULT_ROOTS[1:]))


def test_the_rest_of_the_report_data_is_zero() -> None:
    report = Chip().verified({0x50: BOUND[0x50] + b"\1"})
    with pytest.raises(InvalidQuote, match="public key hash"):
        check_against_policy(report, None, KEY_DER, POLICY)


# TCB versions


def test_a_policy_is_found_by_family_model_and_stepping() -> None:
    policies = {"00a00f11": {"snp": 1}, "00a00f12": {"snp": 2}, "00b00f11": {"snp": 3}}
    assert least_tcb(policies.items(), 0x19, 1, 1) == {"snp": 1}
    assert least_tcb(policies.items(), 0x19, 1, 2) == {"snp": 2}
    assert least_tcb(policies.items(), 0x1A, 1, 1) == {"snp": 3}
    assert least_tcb(policies.items(), 0x19, 0x11, 1) is None
    assert least_tcb({"": {}, "zz": {}, "00A00F11": {"snp": 4}}.items(), 0x19, 1, 1) == {"snp": 4}


@pytest.mark.parametrize("name", ["boot_loader", "tee", "snp", "microcode"])
def test_every_component_counts(name: str) -> None:
    components = tcb_components(Product.MILAN, TCB)
    assert meets(LEAST, components)
    assert meets({**LEAST, name: components[name] - 1}, components)
    assert not meets({**LEAST, name: components[name] + 1}, components)
    assert not meets({key: value for key, value in LEAST.items() if key != name}, components)
    assert not meets({**LEAST, name: "0"}, components)
    assert not meets({**LEAST, name: True}, components)


def test_a_policy_with_a_component_the_product_lacks_is_met_by_none() -> None:
    assert not meets({**LEAST, "fmc": 0}, tcb_components(Product.MILAN, TCB))
    turin = tcb_components(Product.TURIN, TURIN_TCB)
    assert not meets(LEAST, turin)
    assert meets({**LEAST, "fmc": 7}, turin)
    assert not meets({**LEAST, "fmc": 8}, turin)


def test_a_policy_from_hex_is_what_a_report_of_that_version_meets() -> None:
    report = Chip(Product.TURIN, TURIN_SPL).verified()
    policy = tcb_policy("00b00f11", TURIN_TCB[::-1].hex())
    assert policy == {
        "fmc": 7,
        "boot_loader": 4,
        "tee": 1,
        "snp": 24,
        "microcode": 219,
        "hexstring": "db00000018010407",
    }
    product = product_of(report.cpuid_fam_id, report.cpuid_mod_id)
    assert meets(policy, tcb_components(product, report.reported_tcb))
