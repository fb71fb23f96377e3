"""A rekey seen by replicas: leader and follower take the new secret from the entry, a rollback drops it."""

from collections.abc import Sequence

import pytest

from dataplane.consensus.log import Entry
from dataplane.consensus.messages import AppendEntries, Message, RequestVote
from dataplane.consensus.parameters import Settings
from dataplane.consensus.raft import Raft
from dataplane.kv.tables import (
    ENCRYPTED_LEDGER_SECRETS,
    NODES_ENDORSED_CERTIFICATES,
    NODES_INFO,
    SERVICE_INFO,
    UNIT_KEY,
    dump_json,
)
from dataplane.kv.tx import Tx
from dataplane.kv.writeset import WriteSet
from dataplane.ledger.chunk import Chunker
from dataplane.ledger.entry import decode_entry
from dataplane.ledger.secrets import LedgerSecrets, MalformedSecret, SharedSecret
from dataplane.ledger.signatures import build_signature
from dataplane.replica import Duties, Replica
from dataplane.txid import TxID
from tests.simulation.replica_machine import Identity, node, service

OLD, NEW = bytes(range(32)), bytes(range(32, 64))


def open_secrets(value: bytes) -> Sequence[SharedSecret]:
    """What stands in for RSA here: the table holds the secret itself."""
    if value == b"garbage":
        raise MalformedSecret("garbage")
    return [SharedSecret(None, value)] if value else []


class Peer:
    """A replica with its ledger in memory; everything is synced at once."""

    def __init__(self, identity: Identity, *, leads: bool, secrets: LedgerSecrets) -> None:
        self.identity = identity
        self.frames: list[bytes] = []
        begin = Raft.start if leads else Raft.join
        raft = begin(node_id=identity.id, settings=Settings(), draw=lambda low, high: high, read=self._read)
        self.replica = Replica(
            raft=raft, secrets=secrets, chunker=Chunker(), sign=self._sign, open_secrets=open_secrets
        )

    def run(self) -> Duties:
        duties = self.replica.take_duties()
        if duties.truncate_after is not None:
            del self.frames[duties.truncate_after :]
        self.frames.extend(frame.data for frame in duties.write)
        if duties.sync:
            self.replica.persisted(len(self.frames))
        return duties

    def _read(self, first: int, last: int) -> Sequence[Entry]:
        return self.replica.entries(self.frames[first - 1 : last], first)

    def _sign(self, txid: TxID, root: bytes, tree_bytes: bytes) -> WriteSet:
        return build_signature(
            txid, root, node_id=self.identity.id, node_key=self.identity.key, node_cert_pem=self.identity.cert,
            service_key=service().key, issuer="", subject="", issued_at_s=0, tree_bytes=tree_bytes,
        )  # fmt: skip


def exchange(*peers: Peer) -> list[str]:
    """Let messages travel until there are none; what was refused on the way."""
    refused: list[str] = []
    for _ in range(20):
        waiting = [(peer, message) for peer in peers for message in _sent(peer, refused)]
        for sender, (target, message) in waiting:
            receiver = next(peer for peer in peers if peer.identity.id == target)
            receiver.replica.receive(sender.identity.id, message)
        if not waiting:
            break
    return refused


def _sent(peer: Peer, refused: list[str]) -> list[tuple[str, Message]]:
    duties = peer.run()
    if duties.refused:
        refused.append(duties.refused)
    return [*duties.send, *peer.run().send]


def two() -> tuple[Peer, Peer]:
    leader = Peer(node(0), leads=True, secrets=LedgerSecrets({1: OLD}))
    follower = Peer(node(1), leads=False, secrets=LedgerSecrets({1: OLD}))
    tx = leader.replica.begin()
    tx.put(SERVICE_INFO, UNIT_KEY, dump_json({"cert": service().cert, "status": "Open"}))
    for peer in (leader, follower):
        record = {"status": "Trusted", "node_to_node_interface": {"published_address": f"{peer.identity.id[:4]}:1"}}
        tx.put(NODES_INFO, peer.identity.id.encode(), dump_json(record))
        tx.put(NODES_ENDORSED_CERTIFICATES, peer.identity.id.encode(), peer.identity.cert.encode())
    leader.replica.submit(tx)
    leader.replica.sign()
    exchange(leader, follower)
    return leader, follower


def put(peer: Peer, table: str, value: bytes) -> TxID:
    tx: Tx = peer.replica.begin()
    tx.put(table, UNIT_KEY, value)
    return peer.replica.submit(tx)


def test_the_transaction_after_a_rekey_is_the_first_under_the_new_secret_on_every_node() -> None:
    leader, follower = two()
    rekeyed = put(leader, ENCRYPTED_LEDGER_SECRETS, NEW)
    put(leader, "records", b"private")
    leader.replica.sign()
    assert exchange(leader, follower) == []
    expected = [(1, OLD), (rekeyed.seqno + 1, NEW)]
    assert list(leader.replica.secrets) == list(follower.replica.secrets) == expected
    assert follower.replica.begin().get("records", UNIT_KEY) == b"private"
    decode_entry(leader.frames[rekeyed.seqno - 1], LedgerSecrets({1: OLD}))
    assert decode_entry(leader.frames[rekeyed.seqno], LedgerSecrets({1: NEW})).writes["records"]


def test_a_rekey_that_is_rolled_back_takes_its_secret_along() -> None:
    leader, follower = two()
    put(leader, ENCRYPTED_LEDGER_SECRETS, NEW)
    leader.run()
    leader.replica.receive(follower.identity.id, RequestVote(3, leader.replica.raft.last_txid))
    leader.run()
    assert list(leader.replica.secrets) == [(1, OLD)]


def test_a_joiner_keeps_what_it_was_given_although_the_entry_names_others() -> None:
    leader, _ = two()
    rekeyed = put(leader, ENCRYPTED_LEDGER_SECRETS, NEW)
    put(leader, "records", b"private")
    leader.run()
    given = LedgerSecrets({1: OLD, rekeyed.seqno + 1: NEW})
    given.settle()
    joiner = Peer(node(2), leads=False, secrets=given)
    entries = leader.replica.entries(leader.frames, 1)
    joiner.replica.receive(leader.identity.id, AppendEntries(2, TxID(0, 0), 0, 0, tuple(entries)))
    assert joiner.run().refused is None
    joiner.replica.receive(leader.identity.id, RequestVote(3, TxID(2, 2)))  # drops what is not signed
    joiner.run()
    assert joiner.replica.store.version == 2
    assert list(joiner.replica.secrets) == list(given)


@pytest.mark.parametrize(("value", "reason"), [(b"garbage", "garbage"), (b"", "tag")])
def test_a_follower_that_cannot_read_the_new_secret_refuses(value: bytes, reason: str) -> None:
    leader, follower = two()
    put(leader, ENCRYPTED_LEDGER_SECRETS, NEW)
    put(leader, "records", b"private")
    leader.run()
    entries = list(leader.replica.entries(leader.frames, 1))[2:]
    follower.replica._open_secrets = lambda _: open_secrets(value)
    follower.replica.receive(leader.identity.id, AppendEntries(2, TxID(2, 2), 0, 0, tuple(entries)))
    refused = follower.run().refused
    assert refused is not None
    assert reason in refused
