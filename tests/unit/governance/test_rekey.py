"""A rekey gives members shares of a new secret, keeps the old one under it, and hands it to every trusted node."""

from base64 import b64decode

import pytest

from dataplane.crypto.aead import open_blob
from dataplane.crypto.keys import rsa_oaep_decrypt
from dataplane.crypto.shamir import combine, decode_share
from dataplane.governance.nodes import NodeStatus
from dataplane.governance.rekey import draw_bytes
from dataplane.governance.shares import issue_shares
from dataplane.kv.tables import (
    ENCRYPTED_LEDGER_SECRETS,
    HISTORICAL_ENCRYPTED_LEDGER_SECRET,
    RECOVERY_SHARES,
)
from dataplane.ledger.secrets import node_secrets, unwrap
from tests.support.governance import LEDGER_SECRET, World, action, describe_node, party

MEMBERS = [party(name) for name in ("alice", "bob", "carol")]


def opened(threshold: int = 2) -> World:
    world = World(MEMBERS, threshold=threshold)
    world.activate()
    world.open()
    return world


def shared_secret(world: World, *members: int) -> bytes:
    """The ledger secret as these members restore it."""
    value = world.read(RECOVERY_SHARES)
    shares = []
    for index in members:
        key = MEMBERS[index].encryption_key
        assert key is not None
        shares.append(decode_share(rsa_oaep_decrypt(key, b64decode(value["encrypted_shares"][MEMBERS[index].id]))))
    return unwrap(b64decode(value["wrapped_latest_ledger_secret"]), combine(shares, len(shares)))


def node_secret(world: World, node_id: str) -> bytes:
    key = party("enc").encryption_key  # of every described node
    assert key is not None
    (secret,) = node_secrets(world.read(ENCRYPTED_LEDGER_SECRETS), node_id, key)
    assert secret.version is None
    return secret.key


def test_members_and_trusted_nodes_get_the_new_secret_and_the_old_one_is_kept_under_it() -> None:
    world = opened()
    trusted = world.join(describe_node("node1", 9100), NodeStatus.TRUSTED)
    pending = world.join(describe_node("node2", 9200))
    opened_at = world.store.begin().version_of_previous_write(HISTORICAL_ENCRYPTED_LEDGER_SECRET, bytes(8))
    answer = world.accept(action("trigger_ledger_rekey"))
    assert answer.status == 200, answer.body
    new = shared_secret(world, 0, 2)
    assert new != LEDGER_SECRET
    assert node_secret(world, world.node.id) == node_secret(world, trusted) == new
    assert pending not in world.read(ENCRYPTED_LEDGER_SECRETS)
    previous = world.read(HISTORICAL_ENCRYPTED_LEDGER_SECRET)["previous_ledger_secret"]
    assert open_blob(new, b64decode(previous["encrypted_data"])) == LEDGER_SECRET
    assert previous["version"] == 1
    assert previous["previous_secret_stored_version"] == opened_at
    assert set(world.read(HISTORICAL_ENCRYPTED_LEDGER_SECRET)) == {"previous_ledger_secret"}


def test_no_rekey_before_the_service_is_open_and_nothing_is_written() -> None:
    world = World(MEMBERS, threshold=2)
    world.activate()
    proposal = world.propose(MEMBERS[0], action("trigger_ledger_rekey"))
    before = world.snapshot()
    world.vote(MEMBERS[0], proposal.body["proposalId"])
    answer = world.vote(MEMBERS[1], proposal.body["proposalId"])
    assert answer.status == 500
    assert answer.message.startswith(
        "Failed to apply(): Error: the ledger can only be rekeyed while the service is open"
    )
    assert {RECOVERY_SHARES, ENCRYPTED_LEDGER_SECRETS}.isdisjoint(world.written)
    assert set(world.snapshot()) == set(before)


def test_the_secret_is_new_when_a_recovery_member_leaves() -> None:
    world = opened()
    assert world.accept(action("remove_member", member_id=MEMBERS[2].id)).status == 200
    assert MEMBERS[2].id not in world.read(RECOVERY_SHARES)["encrypted_shares"]
    assert shared_secret(world, 0, 1) == node_secret(world, world.node.id) != LEDGER_SECRET


def test_refreshed_shares_and_a_new_threshold_keep_the_secret() -> None:
    world = opened()
    world.accept(action("trigger_recovery_shares_refresh"))
    assert shared_secret(world, 0, 1) == LEDGER_SECRET
    world.accept(action("set_recovery_threshold", recovery_threshold=3))
    assert shared_secret(world, 0, 1, 2) == LEDGER_SECRET
    with pytest.raises(ValueError, match="tag"):
        shared_secret(world, 0, 1)
    assert ENCRYPTED_LEDGER_SECRETS not in world.written


def test_shares_of_a_secret_that_a_rekey_replaced_meanwhile_are_a_conflict() -> None:
    world = opened()
    refresh = world.store.begin()
    issue_shares(refresh, LEDGER_SECRET, world.ops.draw)
    assert not world.store.has_conflict(refresh)
    world.accept(action("trigger_ledger_rekey"))
    assert world.store.has_conflict(refresh)


def test_random_bytes_of_words() -> None:
    words = iter(range(1, 10))
    assert draw_bytes(12, lambda: next(words)) == bytes([1, *[0] * 7, 2, 0, 0, 0])
