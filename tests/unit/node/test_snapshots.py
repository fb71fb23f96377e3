"""A primary takes snapshots: when they are due, what they hold, what vouches for them, and what failures cost."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from functools import wraps
from pathlib import Path

import pytest

from dataplane.consensus.log import Entry
from dataplane.consensus.messages import AppendEntries
from dataplane.consensus.parameters import Settings
from dataplane.consensus.raft import Raft
from dataplane.kv.store import Store
from dataplane.kv.tables import SERVICE_INFO, SNAPSHOT_EVIDENCE, UNIT_KEY, dump_json, get_json, put_json
from dataplane.ledger.chunk import Chunker
from dataplane.ledger.entry import EntryFlags, decode_entry
from dataplane.ledger.files import LedgerFiles
from dataplane.ledger.secrets import LedgerSecrets
from dataplane.ledger.snapshot import decode_snapshot
from dataplane.ledger.snapshot_files import SnapshotFiles, SnapshotName
from dataplane.node.snapshots import Snapshots, opens_service
from dataplane.replica import Replica
from dataplane.replica_state import state_from
from dataplane.snapshot_proof import verify_snapshot
from dataplane.txid import TxID
from tests.simulation.replica_machine import SECRET, node, node_id, reconfigure, service, signer


def in_loop(play: Callable[..., Coroutine[None, None, None]]) -> Callable[..., None]:
    """Run a test in an event loop of its own."""

    @wraps(play)
    def test(*args: object, **fixtures: object) -> None:
        asyncio.run(play(*args, **fixtures))

    return test


class Primary:
    """The only node of a service, with its disk; syncs at once. Use in a running loop."""

    def __init__(self, directory: Path, tx_count: int) -> None:
        self.ledger = LedgerFiles(directory / "ledger")
        self.secrets = LedgerSecrets({1: SECRET})
        raft = Raft.start(node_id=node_id(0), settings=Settings(), draw=lambda low, high: high, read=self._read)
        self.replica = Replica(raft=raft, secrets=self.secrets, chunker=Chunker(), sign=signer(node(0)))
        self.files = SnapshotFiles(directory / "snapshots")
        self.snapshots = Snapshots(
            self.replica, self.ledger, self.files, tx_count, self._submit, asyncio.get_running_loop()
        )
        reconfigure(self.replica, ((node_id(0), "127.0.0.1:1"),))
        self.sign()

    def put(self, count: int = 1) -> None:
        for number in range(count):
            tx = self.replica.begin()
            tx.put("records", b"%d" % number, b"secret")
            tx.put("public:records", b"%d" % number, b"shown")
            self.replica.submit(tx)
        self._pump()

    def sign(self) -> TxID:
        self.snapshots.before_signature()
        txid = self.replica.sign()
        self._pump()
        return txid

    async def written(self) -> Path:
        """Sign until the next snapshot is on disk."""
        before = len(self.files.usable()[0])
        for _ in range(200):
            await asyncio.sleep(0.01)
            if self.replica.unsigned_count:
                self.sign()
            usable, _ = self.files.usable()
            if len(usable) > before:
                return usable[0][1]
        raise AssertionError("no snapshot was written")

    def _pump(self) -> None:
        duties = self.replica.take_duties()
        for frame in duties.write:
            self.ledger.append(frame.data, frame.seqno)
        if duties.sync:
            self.replica.persisted(self.ledger.sync())
            self._pump()
        if duties.commit is not None:
            self.ledger.commit(duties.commit)
            self.snapshots.on_commit()

    def _submit(self, row: dict[str, object], claims_digest: bytes) -> TxID | None:
        if not self.replica.is_leader:
            return None
        tx = self.replica.begin()
        put_json(tx, SNAPSHOT_EVIDENCE, row)
        tx.claims_digest = claims_digest
        return self.replica.submit(tx)

    def _read(self, first: int, last: int) -> Sequence[Entry]:
        return self.replica.entries(self.ledger.read(first, last), first)


@in_loop
async def test_one_is_taken_after_so_many_transactions(tmp_path: Path) -> None:
    primary = Primary(tmp_path, tx_count=10)
    primary.put(5)
    primary.sign()
    assert not primary.replica.holds_capture
    primary.put(3)
    due = primary.sign()
    assert due.seqno == 12
    path = await primary.written()
    verified = verify_snapshot(path.read_bytes(), service().cert)
    assert path.name == f"snapshot_12_{verified.evidence.seqno}.committed"
    (frame,) = primary.ledger.read(12, 12)
    assert frame[1] == EntryFlags.CHUNK_AFTER
    assert (tmp_path / "ledger" / "ledger_1-12.committed").exists()
    row = get_json(primary.replica.begin(), SNAPSHOT_EVIDENCE)
    assert row == {"hash": verified.snapshot.digest.hex(), "version": 12}


@in_loop
async def test_it_holds_the_state_of_its_signature_and_nothing_later(tmp_path: Path) -> None:
    primary = Primary(tmp_path, tx_count=10)
    primary.put(9)
    due = primary.sign()
    root = primary.replica.root_at(due.seqno)
    primary.put(20)
    path = await primary.written()
    frame = verify_snapshot(path.read_bytes(), service().cert).frame
    state = state_from(decode_snapshot(frame, primary.secrets))
    store = Store()
    for seqno, written in enumerate(primary.ledger.read(1, due.seqno), 1):
        store.apply(seqno, decode_entry(written, primary.secrets).writes)
    assert {name: dict(table.rows) for name, table in state.tables.items()} == {
        name: dict(table.rows) for name, table in store.tables().items()
    }
    assert state.tree.root() == root


@in_loop
async def test_a_request_takes_one_at_the_next_signature(tmp_path: Path) -> None:
    primary = Primary(tmp_path, tx_count=10_000)
    primary.put()
    primary.snapshots.request()
    due = primary.sign()
    path = await primary.written()
    assert path.name.startswith(f"snapshot_{due.seqno}_")
    primary.put()
    primary.sign()
    assert not primary.replica.holds_capture


@in_loop
async def test_a_new_primary_counts_from_the_last_snapshot_the_ledger_tells_of(tmp_path: Path) -> None:
    primary = Primary(tmp_path, tx_count=10)
    primary.put(9)
    primary.sign()
    await primary.written()
    successor = Snapshots(
        primary.replica, primary.ledger, primary.files, 10, primary._submit, asyncio.get_running_loop()
    )
    successor.before_signature()
    assert not primary.replica.holds_capture
    primary.put(10)
    successor.before_signature()
    assert primary.replica.holds_capture


@in_loop
async def test_a_full_disk_costs_the_snapshot_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    primary = Primary(tmp_path, tx_count=10)

    def full(name: SnapshotName, parts: Sequence[bytes]) -> Path:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING):
        patched.setattr(primary.files, "write", full)
        primary.put(9)
        primary.sign()
        for _ in range(100):
            await asyncio.sleep(0.01)
            if primary.replica.unsigned_count:
                primary.sign()
            if caplog.records:
                break
        assert "No space left on device" in caplog.text
    assert primary.files.usable() == ([], [])
    primary.put(12)
    primary.sign()
    assert verify_snapshot((await primary.written()).read_bytes(), service().cert)


@in_loop
async def test_a_signature_that_is_rolled_back_makes_no_snapshot(tmp_path: Path) -> None:
    primary = Primary(tmp_path, tx_count=10_000)
    primary.replica.request_snapshot()
    primary.replica.sign()
    assert primary.replica.holds_capture
    primary.replica.receive("someone", AppendEntries(9, TxID(2, 2), 2, 0, ()))
    newer = Entry(9, 3, b"malformed, and enough to drop what conflicts")
    primary.replica.receive("someone", AppendEntries(9, TxID(2, 2), 2, 0, (newer,)))
    primary.replica.take_duties()
    assert primary.replica.raft.last_seqno == 2
    assert primary.replica.take_capture() is None
    assert not primary.replica.holds_capture


def test_opening_calls_for_one() -> None:
    def writes(status: str) -> dict[str, dict[bytes, bytes | None]]:
        return {SERVICE_INFO: {UNIT_KEY: dump_json({"status": status})}}

    assert opens_service(writes("Open"))
    assert not opens_service(writes("WaitingForRecoveryShares"))
    assert not opens_service({"records": {b"k": b"v"}})
