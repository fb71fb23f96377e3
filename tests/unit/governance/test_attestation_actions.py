"""Actions on what may join: SGX, SEV-SNP (node-api.md 4.5, ledger-format.md 8.6), and what they are read back as."""

from hashlib import sha256

import pytest

from dataplane.attestation.snp_tcb import tcb_policy
from dataplane.kv.tables import (
    NODES_SNP_HOST_DATA,
    NODES_SNP_TCB_VERSIONS,
    NODES_SNP_UVM_ENDORSEMENTS,
    PROPOSALS_INFO,
)
from tests.support.governance import World, action, party

ALICE, BOB, CAROL = party("alice"), party("bob"), party("carol")
MEASUREMENT = "ab" * 48
POLICY = "package policy\n"
HOST_DATA = sha256(POLICY.encode()).hexdigest()
MILAN, GENOA, TURIN = "00a00f11", "00a10f11", "00b00f11"
TCB = {"boot_loader": 4, "tee": 0, "snp": 24, "microcode": 219}


def active() -> World:
    made = World([ALICE, BOB, CAROL])
    made.activate()
    return made


@pytest.fixture
def world() -> World:
    return active()


@pytest.fixture(scope="module")
def steady() -> World:
    return active()


def accepted(world: World, one: dict[str, object], *, drops: bool) -> None:
    """Accept an action, and see whether it drops the other open proposals."""
    waiting = world.propose(BOB, action("remove_js_app")).body["proposalId"]
    answer = world.accept(one)
    assert (answer.status, answer.body.get("proposalState")) == (200, "Accepted"), answer.body
    assert world.read(PROPOSALS_INFO, waiting)["state"] == ("Dropped" if drops else "Open")
    world.withdraw(BOB, waiting)


def policy(world: World, platform: str) -> dict[str, object]:
    found: dict[str, dict[str, object]] = world.get("/service/join-policy").body
    return found[platform]


def test_sgx_code(world: World) -> None:
    accepted(world, action("add_node_code", code_id="cd" * 32), drops=True)
    assert policy(world, "sgx") == {"measurements": ["cd" * 32]}
    accepted(world, action("remove_node_code", code_id="cd" * 32), drops=False)
    assert policy(world, "sgx") == {"measurements": []}


def test_snp_measurements(world: World) -> None:
    accepted(world, action("add_snp_measurement", measurement=MEASUREMENT), drops=True)
    assert policy(world, "snp")["measurements"] == [MEASUREMENT]
    accepted(world, action("remove_snp_measurement", measurement=MEASUREMENT), drops=False)
    assert policy(world, "snp")["measurements"] == []


def test_snp_host_data(world: World) -> None:
    accepted(world, action("add_snp_host_data", host_data=HOST_DATA, security_policy=POLICY), drops=True)
    accepted(world, action("add_snp_host_data", host_data="0" * 64, security_policy=""), drops=True)
    assert policy(world, "snp")["hostData"] == {HOST_DATA: POLICY, "0" * 64: ""}
    accepted(world, action("remove_snp_host_data", host_data=HOST_DATA), drops=False)
    assert world.raw(NODES_SNP_HOST_DATA, HOST_DATA) is None


def test_snp_uvm_endorsements(world: World) -> None:
    did = "did:x509:0:sha256:abc::eku:1.3.6"
    accepted(world, action("add_snp_uvm_endorsement", did=did, feed="one", svn="100"), drops=True)
    accepted(world, action("add_snp_uvm_endorsement", did=did, feed="two", svn="7"), drops=True)
    accepted(world, action("add_snp_uvm_endorsement", did=did, feed="one", svn="101"), drops=True)
    assert policy(world, "snp")["uvmEndorsements"] == {did: {"one": {"svn": "101"}, "two": {"svn": "7"}}}
    accepted(world, action("remove_snp_uvm_endorsement", did=did, feed="one"), drops=False)
    assert world.read(NODES_SNP_UVM_ENDORSEMENTS, did) == {"two": {"svn": "7"}}
    accepted(world, action("remove_snp_uvm_endorsement", did=did, feed="two"), drops=False)
    assert world.raw(NODES_SNP_UVM_ENDORSEMENTS, did) is None
    accepted(world, action("remove_snp_uvm_endorsement", did=did, feed="none"), drops=False)


def test_snp_minimum_tcb_version(world: World) -> None:
    accepted(world, action("set_snp_minimum_tcb_version", cpuid=MILAN, tcb_version=TCB), drops=True)
    accepted(world, action("set_snp_minimum_tcb_version_hex", cpuid=TURIN, tcb_version="1100000022334455"), drops=True)
    turin = {
        "boot_loader": 68, "fmc": 85, "hexstring": "1100000022334455", "microcode": 17, "snp": 34, "tee": 51,
    }  # fmt: skip
    assert policy(world, "snp")["tcbVersions"] == {MILAN: TCB, TURIN: turin}
    accepted(world, action("remove_snp_minimum_tcb_version", cpuid=MILAN), drops=False)
    assert world.raw(NODES_SNP_TCB_VERSIONS, MILAN) is None
    proposal_id = world.propose(ALICE, action("remove_snp_minimum_tcb_version", cpuid=MILAN)).body["proposalId"]
    world.vote(ALICE, proposal_id)
    before = world.snapshot()
    answer = world.vote(BOB, proposal_id)
    assert answer.status == 500
    assert "no minimum TCB version is set for CPUID 00a00f11" in answer.message
    assert world.snapshot() == before


def test_a_version_for_a_processor_that_is_not_known_fails(world: World) -> None:
    one = action("set_snp_minimum_tcb_version_hex", cpuid="00000001", tcb_version="1100000022334455")
    answer = world.accept(one)
    assert answer.status == 500
    assert "no SEV-SNP product is known with CPUID family 0 and model 0" in answer.message


@pytest.mark.parametrize(
    ("name", "args", "fault"),
    [
        ("add_node_code", {"code_id": ""}, "code_id must be not empty"),
        ("add_node_code", {}, "code_id must be of type string"),
        ("remove_node_code", {"code_id": 1}, "code_id must be of type string"),
        ("add_snp_measurement", {"measurement": "AB"}, "measurement must be lower-case hexadecimal digits"),
        ("remove_snp_measurement", {}, "measurement must be of type string"),
        ("add_snp_host_data", {"host_data": HOST_DATA}, "security_policy must be of type string"),
        ("add_snp_host_data", {"host_data": "ab", "security_policy": ""}, "host_data must be 64 lower-case"),
        ("add_snp_host_data", {"host_data": HOST_DATA, "security_policy": "other"}, "not the SHA-256 of"),
        ("remove_snp_host_data", {}, "host_data must be of type string"),
        ("add_snp_uvm_endorsement", {"did": "d", "feed": "f", "svn": 1}, "svn must be of type string"),
        ("add_snp_uvm_endorsement", {"feed": "f", "svn": "1"}, "did must be of type string"),
        ("remove_snp_uvm_endorsement", {"did": "d"}, "feed must be of type string"),
        ("set_snp_minimum_tcb_version", {"cpuid": "00A00F11", "tcb_version": TCB}, "cpuid must be 8 lower-case"),
        ("set_snp_minimum_tcb_version", {"cpuid": MILAN}, "tcb_version must be of type object"),
        ("set_snp_minimum_tcb_version", {"cpuid": MILAN, "tcb_version": {"tee": 1}}, "boot_loader must be of type"),
        ("set_snp_minimum_tcb_version", {"cpuid": MILAN, "tcb_version": TCB | {"fmc": "1"}}, "fmc must be of type"),
        ("set_snp_minimum_tcb_version_hex", {"cpuid": MILAN, "tcb_version": "11"}, "tcb_version must be 16 lower-case"),
        ("set_snp_minimum_tcb_version_hex", {"cpuid": "zz", "tcb_version": "1100000022334455"}, "cpuid must be 8"),
        ("remove_snp_minimum_tcb_version", {"cpuid": "1"}, "cpuid must be 8 lower-case"),
    ],
)  # fmt: skip
def test_what_validation_refuses(steady: World, name: str, args: dict[str, object], fault: str) -> None:
    before = steady.snapshot()
    answer = steady.propose(ALICE, {"name": name, "args": args})
    assert (answer.status, answer.code) == (400, "ProposalFailedToValidate")
    assert fault in answer.message
    assert steady.snapshot() == before


def test_tcb_of_each_product() -> None:
    milan = {"boot_loader": 4, "hexstring": "d315000000000004", "microcode": 211, "snp": 21, "tee": 0}
    assert tcb_policy(MILAN, "d315000000000004") == tcb_policy(GENOA, "D315000000000004") == milan
    for cpuid, tcb in (("00a00f1", "d315000000000004"), (MILAN, "d3150000000000"), (MILAN, "d3 15 00 00 00 00 00")):
        with pytest.raises(ValueError, match="hexadecimal digits"):
            tcb_policy(cpuid, tcb)
