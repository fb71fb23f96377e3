"""One replica and three, without disk or network: what is submitted is signed, committed and the same everywhere."""

from collections.abc import Sequence

import pytest

from dataplane.consensus.log import Entry
from dataplane.consensus.parameters import Settings
from dataplane.consensus.raft import NotLeader, Raft
from dataplane.kv.store import Conflict
from dataplane.kv.tables import NODES_INFO, TREE, UNIT_KEY, dump_json
from dataplane.kv.writeset import WriteSet
from dataplane.ledger.chunk import Chunker
from dataplane.ledger.entry import decode_entry
from dataplane.ledger.secrets import LedgerSecrets
from dataplane.replica import MAX_ENTRY_BYTES, EntryTooLarge, Replica
from dataplane.txid import TxID, TxStatus

SECRET = bytes(range(32))


def unsigned_tree(txid: TxID, root: bytes, tree_bytes: bytes) -> WriteSet:
    """A signature transaction that nobody signed: what these tests look at is everything around it."""
    return {
        "public:ccf.internal.signatures": {UNIT_KEY: dump_json({"root": root.hex()})},
        TREE: {UNIT_KEY: tree_bytes},
    }


class Disk:
    """Frames written so far."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def run(self, replica: Replica) -> None:
        duties = replica.take_duties()
        if duties.truncate_after is not None:
            del self.frames[duties.truncate_after :]
        self.frames.extend(frame.data for frame in duties.write)
        if duties.sync:
            replica.persisted(len(self.frames))
            replica.take_duties()


def new_replica() -> tuple[Replica, Disk]:
    disk = Disk()

    def read(first: int, last: int) -> Sequence[Entry]:
        return replica.entries(disk.frames[first - 1 : last], first)

    raft = Raft.start(node_id="n0", settings=Settings(), draw=lambda low, high: high, read=read)
    replica = Replica(raft=raft, secrets=LedgerSecrets({1: SECRET}), chunker=Chunker(), sign=unsigned_tree)
    return replica, disk


def genesis(replica: Replica) -> TxID:
    tx = replica.begin()
    record = {"status": "Trusted", "node_to_node_interface": {"published_address": "127.0.0.1:1"}}
    tx.put(NODES_INFO, b"n0", dump_json(record))
    return replica.submit(tx)


def test_genesis_is_2_1_and_commits_with_the_first_signature() -> None:
    replica, disk = new_replica()
    assert genesis(replica) == TxID(2, 1)
    disk.run(replica)
    assert replica.raft.status(TxID(2, 1)) is TxStatus.PENDING
    assert replica.sign() == TxID(2, 2)
    disk.run(replica)
    assert replica.raft.status(TxID(2, 1)) is TxStatus.COMMITTED
    assert [decode_entry(frame).txid.seqno for frame in disk.frames] == [1, 2]


def test_the_root_under_a_signature_leaves_the_signature_out() -> None:
    replica, disk = new_replica()
    genesis(replica)
    expected = replica.root_at(1)
    replica.sign()
    disk.run(replica)
    assert expected is not None
    assert expected.hex().encode() in disk.frames[1]


def test_a_stale_read_is_a_conflict_and_changes_nothing() -> None:
    replica, disk = new_replica()
    genesis(replica)
    first, second = replica.begin(), replica.begin()
    for tx in (first, second):
        tx.get("records", b"k")
        tx.put("records", b"k", b"v")
    replica.submit(first)
    with pytest.raises(Conflict):
        replica.submit(second)
    disk.run(replica)
    assert len(disk.frames) == 2


def test_a_follower_submits_nothing() -> None:
    raft = Raft.join(node_id="n1", settings=Settings(), draw=lambda low, high: high, read=lambda first, last: ())
    replica = Replica(raft=raft, secrets=LedgerSecrets({1: SECRET}), chunker=Chunker(), sign=unsigned_tree)
    with pytest.raises(NotLeader):
        replica.submit(replica.begin())
    assert replica.store.version == 0


def test_nearest_signature_and_signature_positions() -> None:
    replica, disk = new_replica()
    genesis(replica)
    replica.sign()
    tx = replica.begin()
    tx.put("records", b"k", b"v")
    replica.submit(tx)
    replica.sign()
    disk.run(replica)
    assert [replica.signature_after(seqno) for seqno in range(5)] == [2, 2, 4, 4, None]
    assert replica.is_signature_at(4)
    assert not replica.is_signature_at(3)


def test_a_transaction_no_node_may_take_is_refused_and_changes_nothing() -> None:
    replica, disk = new_replica()
    genesis(replica)
    disk.run(replica)
    large = replica.begin()
    large.put("public:records", b"k", bytes(MAX_ENTRY_BYTES))
    with pytest.raises(EntryTooLarge, match=r"Transaction 2\.2"):
        replica.submit(large)
    small = replica.begin()
    small.put("public:records", b"k", b"v")
    assert replica.submit(small) == TxID(2, 2)
    disk.run(replica)
    assert len(disk.frames) == 2
