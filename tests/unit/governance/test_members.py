"""Members, their records and acknowledgements (node-api.md 4.2, ledger-format.md 1.6.2)."""

import pytest

from dataplane.config import RecoveryRole
from dataplane.errors import AuthorizationFailed, CcfError, InternalError
from dataplane.governance.members import (
    InvalidMember,
    MemberStatus,
    NewMember,
    acknowledge,
    add_member,
    all_members,
    find_member,
    recovery_holders,
    recovery_role_of,
    state_digest,
    update_state_digest,
)
from dataplane.kv.store import Store
from dataplane.kv.tables import (
    MEMBERS_ACKS,
    MEMBERS_CERTS,
    MEMBERS_ENCRYPTION_PUBLIC_KEYS,
    MEMBERS_INFO,
    SIGNATURES,
    put_json,
)
from dataplane.kv.tx import Tx
from tests.support.governance import OPERATOR, Party, party

ALICE, BOB = party("alice"), party("bob")


@pytest.fixture
def tx() -> Tx:
    return Store().begin()


def sign(tx: Tx, root: str) -> None:
    put_json(tx, SIGNATURES, {"root": root})


def activate(tx: Tx, member: Party) -> bool:
    return acknowledge(tx, member.id, update_state_digest(tx, member.id), b"envelope")


def test_records_of_a_new_member(tx: Tx) -> None:
    add_member(tx, ALICE.new_member())
    key = ALICE.id.encode()
    assert tx.get(MEMBERS_CERTS, key) == ALICE.cert_pem.encode()
    assert tx.get(MEMBERS_ENCRYPTION_PUBLIC_KEYS, key) == (ALICE.encryption_pem or "").encode()
    assert tx.get(MEMBERS_INFO, key) == b'{"member_data":{"name":"alice"},"status":"Accepted"}'
    assert tx.get(MEMBERS_ACKS, key) == b'{"state_digest":""}'


def test_optional_fields_are_left_out(tx: Tx) -> None:
    add_member(tx, NewMember(ALICE.cert_pem))
    assert tx.get(MEMBERS_INFO, ALICE.id.encode()) == b'{"status":"Accepted"}'
    assert not tx.has(MEMBERS_ENCRYPTION_PUBLIC_KEYS, ALICE.id.encode())


def test_recovery_role_needs_an_encryption_key(tx: Tx) -> None:
    with pytest.raises(InvalidMember):
        add_member(tx, NewMember(ALICE.cert_pem, recovery_role=RecoveryRole.OWNER))
    assert tx.writes == {}


@pytest.mark.parametrize(
    ("stored", "key", "role"),
    [
        (None, None, RecoveryRole.NON_PARTICIPANT),
        (None, "pem", RecoveryRole.PARTICIPANT),
        ("Owner", "pem", RecoveryRole.OWNER),
        ("NonParticipant", "pem", RecoveryRole.NON_PARTICIPANT),
    ],
)
def test_role_in_effect(stored: str | None, key: str | None, role: RecoveryRole) -> None:
    assert recovery_role_of(stored, key) is role


def test_update_before_the_first_signature_fails(tx: Tx) -> None:
    add_member(tx, ALICE.new_member())
    with pytest.raises(InternalError, match="try again"):
        update_state_digest(tx, ALICE.id)


def test_activation(tx: Tx) -> None:
    add_member(tx, ALICE.new_member())
    sign(tx, "aa" * 32)
    assert state_digest(tx, ALICE.id) == ""
    assert update_state_digest(tx, ALICE.id) == "aa" * 32 == state_digest(tx, ALICE.id)
    assert acknowledge(tx, ALICE.id, "aa" * 32, b"envelope") is True
    member = find_member(tx, ALICE.id)
    assert member is not None
    assert member.status is MemberStatus.ACTIVE
    assert member.data == {"name": "alice"}
    expected = b'{"cose_sign1_req":"ZW52ZWxvcGU=","state_digest":"' + b"aa" * 32 + b'"}'
    assert tx.get(MEMBERS_ACKS, ALICE.id.encode()) == expected


def test_a_later_ack_replaces_the_record_and_update_keeps_the_request(tx: Tx) -> None:
    add_member(tx, ALICE.new_member())
    sign(tx, "aa" * 32)
    activate(tx, ALICE)
    sign(tx, "bb" * 32)
    update_state_digest(tx, ALICE.id)
    kept = b'{"cose_sign1_req":"ZW52ZWxvcGU=","state_digest":"' + b"bb" * 32 + b'"}'
    assert tx.get(MEMBERS_ACKS, ALICE.id.encode()) == kept
    assert acknowledge(tx, ALICE.id, "bb" * 32, b"second") is False


@pytest.mark.parametrize("digest", ["", "bb" * 32, "AA" * 32])
def test_another_digest_is_refused(tx: Tx, digest: str) -> None:
    add_member(tx, ALICE.new_member())
    sign(tx, "aa" * 32)
    update_state_digest(tx, ALICE.id)
    with pytest.raises(CcfError) as caught:
        acknowledge(tx, ALICE.id, digest, b"envelope")
    assert (caught.value.status, caught.value.code) == (400, "StateDigestMismatch")
    member = find_member(tx, ALICE.id)
    assert member is not None
    assert member.status is MemberStatus.ACCEPTED


def test_the_empty_digest_of_genesis_is_no_acknowledgement(tx: Tx) -> None:
    add_member(tx, ALICE.new_member())
    with pytest.raises(CcfError) as caught:
        acknowledge(tx, ALICE.id, "", b"envelope")
    assert caught.value.code == "StateDigestMismatch"


def test_ack_without_a_record(tx: Tx) -> None:
    with pytest.raises(AuthorizationFailed):
        acknowledge(tx, BOB.id, "aa" * 32, b"envelope")
    assert state_digest(tx, BOB.id) is None
    assert find_member(tx, BOB.id) is None


def test_holders_are_active_members_with_the_role(tx: Tx) -> None:
    owner = party("owner", role=RecoveryRole.OWNER)
    bystander = party("bystander", role=RecoveryRole.NON_PARTICIPANT)
    for member in (ALICE, BOB, owner, bystander, OPERATOR):
        add_member(tx, member.new_member())
    sign(tx, "aa" * 32)
    assert recovery_holders(tx, RecoveryRole.PARTICIPANT) == {}
    for member in (ALICE, owner, bystander, OPERATOR):
        activate(tx, member)
    assert recovery_holders(tx, RecoveryRole.PARTICIPANT) == {ALICE.id: ALICE.encryption_pem}
    assert recovery_holders(tx, RecoveryRole.OWNER) == {owner.id: owner.encryption_pem}
    assert [m.id for m in all_members(tx)] == sorted(m.id for m in (ALICE, BOB, owner, bystander, OPERATOR))
