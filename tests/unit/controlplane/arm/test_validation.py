"""What a request may say (control-plane.md 1.3 to 1.5, 4.2)."""

from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from controlplane.arm import validation
from controlplane.errors import ArmError, ErrorDetail
from tests.support.arm_world import encryption_key, member, member_certificate

OFFERED = ("southcentralus", "westeurope")


def public_pem(key: Any) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def desired(**changes: Any) -> dict[str, Any]:
    return {
        "nodeCount": 3,
        "deploymentType": {"languageRuntime": "JS", "appSourceUri": "customImage"},
        "memberIdentityCertificates": [member("alice")],
        "runningState": "Active",
        "enclavePlatform": "IntelSgx",
    } | changes


@pytest.mark.parametrize("name", ["abc", "a-b", "Bank-01", "9lives", "a" * 32])
def test_names_that_are_fine(name: str) -> None:
    assert validation.name_problem(name) is None


@pytest.mark.parametrize("name", ["", "ab", "-ab", "ab-", "a" * 33, "a_b", "a.b", "bänk", "a b", "abc\n"])
def test_names_that_are_not(name: str) -> None:
    assert validation.name_problem(name)


@pytest.mark.parametrize(
    ("name", "fine"), [("rg", True), ("a.b_(c)-d", True), ("rg.", False), ("", False), ("a/b", False)]
)
def test_group_names(name: str, fine: bool) -> None:
    assert (validation.group_name_problem(name) is None) == fine
    assert validation.group_name_problem("x" * 91)


@pytest.mark.parametrize(
    ("location", "codes"),
    [
        ("South Central US", []),
        ("westeurope", []),
        (None, ["LocationRequired"]),
        (" ", ["LocationRequired"]),
        ("moon", ["LocationNotAvailableForResourceType"]),
    ],
)
def test_locations(location: str | None, codes: list[str]) -> None:
    assert [problem.code for problem in validation.location_problems(location, OFFERED)] == codes


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ({f"t{index}": "" for index in range(51)}, "InvalidTagCount"),
        ({"a<b": ""}, "InvalidTagNameCharacters"),
        ({"a/b": ""}, "InvalidTagNameCharacters"),
        ({"x" * 513: ""}, "InvalidTagNameLength"),
        ({"": ""}, "InvalidTagNameLength"),
        ({"a": "x" * 257}, "InvalidTagValueLength"),
        ({"a": "", "A": ""}, "InvalidTagNameCharacters"),
    ],
)
def test_tags_beyond_the_limits(tags: dict[str, str], code: str) -> None:
    assert [problem.code for problem in validation.tag_problems(tags)] == [code]
    assert validation.tag_problems({f"t{index}": "v" * 256 for index in range(50)}) == []


@pytest.mark.parametrize("count", [-3, 0, 1, 2, 4, 11, 10**30])
def test_node_counts_that_are_not_offered(count: int) -> None:
    problems = validation.desired_problems(desired(nodeCount=count), allow_single_node=False)
    assert [problem.target for problem in problems] == ["properties.nodeCount"]


def test_one_node_behind_the_developer_setting() -> None:
    assert validation.desired_problems(desired(nodeCount=1), allow_single_node=True) == []
    assert validation.desired_problems(desired(nodeCount=2), allow_single_node=True)


@pytest.mark.parametrize("count", validation.NODE_COUNTS)
def test_node_counts_that_are(count: int) -> None:
    assert validation.desired_problems(desired(nodeCount=count), allow_single_node=False) == []


@pytest.mark.parametrize("source", ["", "customImage", "sample"])
def test_app_sources_that_are(source: str) -> None:
    wanted = desired(deploymentType={"languageRuntime": "JS", "appSourceUri": source})
    assert validation.desired_problems(wanted, allow_single_node=False) == []


@pytest.mark.parametrize("source", ["https://example.org/app.zip", "Sample", "native"])
def test_app_sources_that_are_not_offered(source: str) -> None:
    wanted = desired(deploymentType={"languageRuntime": "JS", "appSourceUri": source})
    problems = validation.desired_problems(wanted, allow_single_node=False)
    assert [problem.target for problem in problems] == ["properties.deploymentType.appSourceUri"]


def test_native_code_is_refused_and_an_empty_source_is_a_custom_image() -> None:
    native = desired(deploymentType={"languageRuntime": "CPP", "appSourceUri": ""})
    problems = validation.desired_problems(native, allow_single_node=False)
    assert [problem.target for problem in problems] == ["properties.deploymentType.languageRuntime"]


@pytest.mark.parametrize("state", ["Unknown", "Pausing", "Resuming"])
def test_running_states_a_client_may_not_ask_for(state: str) -> None:
    assert validation.desired_problems(desired(runningState=state), allow_single_node=False)


def test_members_must_be_there_and_differ() -> None:
    assert validation.member_problems([])
    assert validation.member_problems([member("alice"), member("bob")]) == []
    twice = validation.member_problems([member("alice"), member("alice")])
    assert [problem.target for problem in twice] == [f"{validation.MEMBERS_PATH}[1].certificate"]
    assert validation.member_problems([member(f"m{index}") for index in range(3)] * 34)


@pytest.mark.parametrize(
    "certificate",
    [
        "",
        "x",
        member_certificate("a") + member_certificate("b"),
        encryption_key(),
        member_certificate("a")[:200],
        "x" * 20_000,
    ],
    ids=["empty", "text", "chain", "a key", "cut", "long"],
)
def test_certificates_that_are_none(certificate: str) -> None:
    problems = validation.member_problems([{"certificate": certificate}])
    assert [problem.code for problem in problems] == ["InvalidParameter"]


@pytest.mark.parametrize("key", [None, "", encryption_key(), encryption_key(3072)])
def test_encryption_keys_that_are_fine(key: str | None) -> None:
    assert validation.member_problems([member("alice") | {"encryptionkey": key}]) == []


@pytest.mark.parametrize(
    "key",
    [
        "x",
        public_pem(ec.generate_private_key(ec.SECP384R1())),
        public_pem(ed25519.Ed25519PrivateKey.generate()),
        member_certificate("an elliptic curve certificate"),
        encryption_key(1024),
        "-" * 20_000,
    ],
    ids=["text", "ec", "ed25519", "ec certificate", "short", "long"],
)
def test_encryption_keys_that_are_not(key: str) -> None:
    problems = validation.member_problems([member("alice") | {"encryptionkey": key}])
    assert [problem.target for problem in problems] == [f"{validation.MEMBERS_PATH}[0].encryptionkey"]


def test_a_private_key_sent_by_mistake_is_refused_and_not_repeated() -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    problems = validation.member_problems([{"certificate": pem, "encryptionkey": pem}])
    assert len(problems) == 2
    assert not any(pem.splitlines()[1] in problem.message for problem in problems)


def test_a_live_service_keeps_what_only_its_members_may_change() -> None:
    old = desired()
    assert validation.change_problems(old, desired()) == []
    same_app = desired(deploymentType={"languageRuntime": "JS", "appSourceUri": ""})
    assert validation.change_problems(old, same_app) == []
    wanted = desired(
        nodeCount=5, runningState="Paused", enclavePlatform="AmdSevSnp", memberIdentityCertificates=[member("bob")]
    )
    problems = validation.change_problems(old, wanted)
    assert {problem.code for problem in problems} == {"OperationNotAllowed"}
    assert len(problems) == 4
    assert "set_member" in problems[0].message


def test_all_problems_are_told_at_once() -> None:
    problems = [ErrorDetail("A", "one", "x"), ErrorDetail("B", "two", "y")]
    with pytest.raises(ArmError) as raised:
        validation.raise_problems(problems)
    assert (raised.value.code, raised.value.target, len(raised.value.details)) == ("A", "x", 2)
    validation.raise_problems([])
