"""A node's way through a disaster recovery, from the old ledger to its part in the open service (node-api.md 8.2).

Both readings of the ledger go on in slices between the loop's other work, so that heartbeats are never held up. The
first reads the public part and gives the state to begin with. The second begins on every node when the old ledger
secrets, encrypted to it, are committed; the primary then opens the service.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from struct import error as StructError

from dataplane.governance.nodes import record_retired_committed, uncompleted_retirements
from dataplane.governance.recovery import finish
from dataplane.governance.shares import LatestSecret, SharesNotPossible
from dataplane.kv.tables import (
    HISTORICAL_ENCRYPTED_LEDGER_SECRET,
    SERVICE_INFO,
    UNIT_KEY,
    get_json,
    load_json,
)
from dataplane.ledger.chunk import MalformedChunk
from dataplane.ledger.entry import MalformedEntry, decode_entry
from dataplane.ledger.files import LedgerFiles, SeqnoNotFound
from dataplane.ledger.secrets import MalformedSecret
from dataplane.ledger.snapshot import Snapshot, decode_snapshot
from dataplane.node.lifecycle import NodeState
from dataplane.node.node import Node
from dataplane.node.service_ops import NodeServiceOps
from dataplane.private_replay import PrivateReplay, PrivateReplayFailed
from dataplane.public_replay import BadEntry, PublicReplay
from dataplane.replica_state import State

_SLICE_S = 0.004  # of reading, before the loop turns again
_BATCH = 256  # frames read from a file at once
_UNREADABLE = (SeqnoNotFound, MalformedChunk, StructError, ValueError, IndexError)

_log = logging.getLogger("node")


async def read_public_ledger(ledger: LedgerFiles, begin: Callable[[], State | None]) -> State:
    """The state at the last signature of `ledger` that holds, read from seqno 1 or from the state of a snapshot.

    `begin` is called again where the ledger must be read a second time, checking every signature in full.
    """
    for careful in (False, True):
        replay = PublicReplay(begin(), careful=careful)
        await _follow(replay, ledger)
        if replay.verify_end():
            break
        _log.info("The last signature does not hold; checking every signature of the ledger")
    state = replay.state()
    _log.info("End of public ledger recovery - Truncating ledger to last signed seqno %s", state.seqno)
    return state


async def _follow(replay: PublicReplay, ledger: LedgerFiles) -> None:
    turn_s = time.monotonic()
    while frames := read_frames(ledger, replay.next_seqno, ledger.last_seqno):
        for frame in frames:
            try:
                replay.add(frame)
            except BadEntry as error:
                _log.info("Failed to deserialise public ledger entry %s: %s", replay.next_seqno, error)
                return
            if time.monotonic() - turn_s > _SLICE_S:
                await asyncio.sleep(0)
                turn_s = time.monotonic()


def older_history(ledger: LedgerFiles, history: Sequence[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """`history` with the writes before its first one, as far as `ledger` holds them.

    A snapshot tells only of the newest write of the table of historical ledger secrets; each names the one before it.
    """
    found = list(history)
    while found:
        previous = load_json(found[0][1]).get("previous_ledger_secret") or {}
        seqno = int(previous.get("previous_secret_stored_version") or 0)
        frames = read_frames(ledger, seqno, seqno) if 0 < seqno < found[0][0] else []
        if not frames:
            break
        try:
            value = decode_entry(frames[0]).writes.get(HISTORICAL_ENCRYPTED_LEDGER_SECRET, {}).get(UNIT_KEY)
        except MalformedEntry:
            break
        if value is None:
            break
        found.insert(0, (seqno, value))
    return found


def read_frames(ledger: LedgerFiles, first: int, last: int) -> list[bytes]:
    """Some of the frames `first`..`last`; none at the end of the ledger, or where it cannot be read any further."""
    last = min(last, first + _BATCH - 1)
    while first <= last:
        try:
            return ledger.read(first, last)
        except _UNREADABLE:
            last = first + (last - first) // 2 if last > first else 0
    return []


class Recovery:
    """What is left to do until the recovered service is open, on this node. Told of every commit and change of role."""

    def __init__(
        self, node: Node, ledger: LedgerFiles, ops: NodeServiceOps, first_seqno: int, snapshot: bytes | None = None
    ) -> None:
        """`first_seqno` is where the recovered service begins; `snapshot` the frame the node began with, if any."""
        self._node = node
        self._replica = node.replica
        self._ledger = ledger
        self._ops = ops
        self.first_seqno = first_seqno
        self._snapshot = snapshot
        self._loop = asyncio.get_running_loop()
        self._reading = False
        self._replay: PrivateReplay | None = None
        self._refused = ""

    def progress(self) -> dict[str, int]:
        """The seqnos `/node/state` reports while the private ledger is read (node-api.md 2.2)."""
        if self._replay is None:
            return {}
        return {"recovery_target_seqno": self._replay.target_seqno, "last_recovered_seqno": self._replay.last_seqno}

    @property
    def hands_out_secrets(self) -> bool:
        """Whether the old secrets are on their way: a node that is trusted only now would not be given them."""
        return self._replica.handed_out is not None and self._replica.lacks_private_state

    def advance(self) -> bool:
        """Do what the committed state asks for; True when the recovery is over."""
        if self._node.is_primary:
            self._retire_old_nodes()
        if self._replica.lacks_private_state:
            self._look_for_secrets()
            return False
        if self._node.is_primary:
            self._open_service()
        info = get_json(self._replica.store.begin_at_committed(), SERVICE_INFO)
        if info["status"] != "Open":
            return False
        self._ledger.complete_recovery()
        return True

    def _retire_old_nodes(self) -> None:
        """Their retirement is committed with the first transaction, and consensus never knew them."""
        if self._replica.raft.commit_seqno < self.first_seqno:
            return
        retiring = self._replica.raft.retirements()
        tx = self._node.begin()
        left = [node_id for node_id in uncompleted_retirements(tx) if node_id not in retiring]
        if left and all([record_retired_committed(tx, node_id) for node_id in left]):
            self._node.submit(tx)

    def _look_for_secrets(self) -> None:
        handed_out = self._replica.handed_out
        if self._reading or handed_out is None or handed_out[0] > self._replica.raft.commit_seqno:
            return
        self._reading = True
        try:
            shared = self._node.identity.open_secrets(handed_out[1])
            self._replica.secrets.restore({secret.version or 0: secret.key for secret in shared})
        except (MalformedSecret, ValueError) as error:
            self._node.stop(f"the ledger secrets of the service before cannot be used: {error}")
            return
        self._node.advance(NodeState.READING_PRIVATE_LEDGER)
        if self._snapshot is None:
            self._begin_reading(None)
            return
        decoding = self._loop.run_in_executor(None, decode_snapshot, self._snapshot, self._replica.secrets)
        decoding.add_done_callback(self._decoded)

    def _decoded(self, done: "asyncio.Future[Snapshot]") -> None:
        """The snapshot the node began with, private tables included, was read in a thread: it may be large."""
        error = None if done.cancelled() else done.exception()
        if error is not None:
            self._node.stop(f"the private part of the snapshot cannot be recovered: {error}")
        elif not done.cancelled():
            self._begin_reading(done.result())

    def _begin_reading(self, begin: Snapshot | None) -> None:
        target_seqno = self.first_seqno - 1
        self._replay = PrivateReplay(self._replica.secrets, target_seqno, self._replica.recovery_root, begin)
        self._loop.call_soon(self._read_slice)

    def _read_slice(self) -> None:
        assert self._replay is not None
        replay, begin_s = self._replay, time.monotonic()
        try:
            while not replay.is_complete:
                frames = read_frames(self._ledger, replay.next_seqno, replay.target_seqno)
                if not frames:
                    raise PrivateReplayFailed(f"the ledger holds no seqno {replay.next_seqno}")
                for frame in frames:
                    replay.add(frame)
                    if time.monotonic() - begin_s > _SLICE_S:
                        self._loop.call_later(0, self._read_slice)
                        return
            self._end_reading(replay)
        except PrivateReplayFailed as error:
            self._node.stop(f"the private ledger cannot be recovered: {error}")

    def _end_reading(self, replay: PrivateReplay) -> None:
        self._replica.adopt_private(replay.tables())
        self._replay = self._snapshot = None
        _log.info("End of private ledger recovery at seqno %s", replay.target_seqno)
        self._node.advance(NodeState.PART_OF_NETWORK)
        self._node.follow_recovery()

    def _open_service(self) -> None:
        tx = self._node.begin()
        try:
            opened = finish(
                tx,
                current=self._ops.latest_ledger_secret(),
                previous=self._newest_old_secret(),
                service_key=self._ops.service_key,
                draw=self._ops.draw,
                now=self._ops.now(),
            )
        except SharesNotPossible as error:
            if str(error) != self._refused:  # governance can still repair it; tried again with every commit
                self._refused = str(error)
                _log.warning("Unable to open service: %s", error)
            return
        if opened:
            self._ops.request_snapshot(tx)
            self._node.submit(tx)

    def _newest_old_secret(self) -> LatestSecret:
        old = [(version, key) for version, key in self._replica.secrets if version < self.first_seqno]
        return LatestSecret(*old[-1])
