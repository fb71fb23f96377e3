"""Recovery shares: what members decrypt combines to the key of the ledger secret (ledger-format.md 6.3)."""

from base64 import b64decode
from random import Random

import pytest

from dataplane.config import RecoveryRole
from dataplane.crypto.keys import public_pem, rsa_oaep_decrypt
from dataplane.crypto.shamir import Share, combine, decode_share
from dataplane.governance.members import acknowledge, add_member, update_state_digest
from dataplane.governance.shares import (
    TooFewHolders,
    UnusableKey,
    check_holders,
    encrypted_share,
    initial_threshold,
    issue_shares,
)
from dataplane.kv.store import Store
from dataplane.kv.tables import RECOVERY_SHARES, SERVICE_CONFIG, SIGNATURES, get_json, put_json
from dataplane.kv.tx import Tx
from dataplane.ledger.secrets import unwrap
from tests.support.governance import LEDGER_SECRET, Party, node_key, party

MEMBERS = [party(name) for name in ("alice", "bob", "carol")]
OWNER = party("owner", role=RecoveryRole.OWNER)


def draw(seed: int = 1) -> "Random":
    return Random(seed)


def service(threshold: int, *members: Party) -> Tx:
    tx = Store().begin()
    put_json(tx, SERVICE_CONFIG, {"recovery_threshold": threshold})
    put_json(tx, SIGNATURES, {"root": "aa" * 32})
    for member in members:
        add_member(tx, member.new_member())
        acknowledge(tx, member.id, update_state_digest(tx, member.id), b"envelope")
    return tx


def issue(tx: Tx, seed: int = 1) -> None:
    random = draw(seed)
    issue_shares(tx, LEDGER_SECRET, lambda: random.getrandbits(64))


def share_of(tx: Tx, member: Party) -> Share:
    assert member.encryption_key is not None
    return decode_share(rsa_oaep_decrypt(member.encryption_key, b64decode(encrypted_share(tx, member.id) or "")))


def unwrapped(tx: Tx, limbs: tuple[int, ...]) -> bytes:
    return unwrap(b64decode(get_json(tx, RECOVERY_SHARES)["wrapped_latest_ledger_secret"]), limbs)


def test_any_threshold_of_shares_unwraps_the_ledger_secret() -> None:
    tx = service(2, *MEMBERS)
    issue(tx)
    shares = [share_of(tx, member) for member in MEMBERS]
    for pair in ([0, 1], [0, 2], [2, 1]):
        assert unwrapped(tx, combine([shares[i] for i in pair], 2)) == LEDGER_SECRET


def test_members_are_numbered_by_id_and_owners_get_the_full_key() -> None:
    tx = service(3, *MEMBERS, OWNER)
    issue(tx)
    in_order = sorted(MEMBERS, key=lambda member: member.id)
    assert [share_of(tx, member).x for member in in_order] == [1, 2, 3]
    full = share_of(tx, OWNER)
    assert full.x == 0
    assert unwrapped(tx, full.limbs) == LEDGER_SECRET


def test_owners_alone() -> None:
    tx = service(1, OWNER)
    issue(tx)
    assert unwrapped(tx, share_of(tx, OWNER).limbs) == LEDGER_SECRET


def test_new_shares_supersede_the_old_whole() -> None:
    tx = service(2, *MEMBERS)
    issue(tx, 1)
    old = share_of(tx, MEMBERS[0])
    issue(tx, 2)
    new = [share_of(tx, member) for member in MEMBERS]
    assert old != new[0]
    assert unwrapped(tx, combine(new, 2)) == LEDGER_SECRET


def test_table_holds_wrapped_secret_and_one_share_a_member() -> None:
    tx = service(2, *MEMBERS)
    issue(tx)
    value = get_json(tx, RECOVERY_SHARES)
    assert set(value) == {"encrypted_shares", "wrapped_latest_ledger_secret"}
    assert set(value["encrypted_shares"]) == {member.id for member in MEMBERS}
    assert len(b64decode(value["wrapped_latest_ledger_secret"])) == 60
    assert encrypted_share(tx, OWNER.id) is None


@pytest.mark.parametrize(
    ("participants", "owners", "threshold", "fits"),
    [
        (3, 0, 3, True),
        (3, 0, 4, False),
        (3, 1, 4, False),
        (0, 2, 1, True),
        (0, 2, 2, False),
        (0, 0, 1, False),
        (3, 0, 0, False),
        (1, 0, 1, True),
    ],
)
def test_holders_against_threshold(participants: int, owners: int, threshold: int, fits: bool) -> None:
    if fits:
        check_holders(participants, owners, threshold)
    else:
        with pytest.raises(TooFewHolders):
            check_holders(participants, owners, threshold)


def test_too_few_active_members_write_nothing() -> None:
    tx = service(2, MEMBERS[0])
    with pytest.raises(TooFewHolders, match="1 active recovery participants"):
        issue(tx)
    assert RECOVERY_SHARES not in tx.writes


def test_a_key_that_cannot_encrypt_is_named() -> None:
    pem = public_pem(node_key("elliptic").public_key())
    tx = service(1, MEMBERS[0])
    tx.put("public:ccf.gov.members.encryption_public_keys", MEMBERS[0].id.encode(), pem.encode())
    with pytest.raises(UnusableKey, match=MEMBERS[0].id):
        issue(tx)
    assert RECOVERY_SHARES not in tx.writes


@pytest.mark.parametrize(
    ("configured", "participants", "owners", "expected"),
    [(0, 3, 0, 3), (0, 0, 2, 1), (0, 2, 1, 2), (2, 3, 0, 2), (0, 0, 0, 0)],
)
def test_first_threshold(configured: int, participants: int, owners: int, expected: int) -> None:
    assert initial_threshold(configured, participants, owners) == expected


@pytest.mark.parametrize(("configured", "participants", "owners"), [(4, 3, 0), (2, 0, 2), (1, 0, 0)])
def test_first_threshold_that_cannot_be_met(configured: int, participants: int, owners: int) -> None:
    with pytest.raises(TooFewHolders):
        initial_threshold(configured, participants, owners)
