"""Taking snapshots, as the primary (ledger-format.md 5.4, node-api.md 7.2).

In order: at a signature that is due, the replica holds its state and ends the chunk; once that signature is committed,
a thread makes the frame; a transaction puts its digest into the ledger; once that one is committed, its receipt follows
the frame in a file. Whoever loses the lead on the way drops what it has: the next primary is due again.

Nothing rests on a snapshot, so no failure on the way stops the node; it is logged, and the next one is tried when due.
The thread is a daemon: a node that stops does not wait for it, and a file without its suffix counts for nothing.
"""

import logging
import threading
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from dataplane.kv.tables import SERVICE_INFO, SNAPSHOT_EVIDENCE, UNIT_KEY, dump_json, get_json, load_json
from dataplane.kv.writeset import WriteSet
from dataplane.ledger.entry import decode_entry
from dataplane.ledger.files import LedgerFiles
from dataplane.ledger.snapshot import encode_snapshot
from dataplane.ledger.snapshot_files import SnapshotFiles, SnapshotName
from dataplane.receipt import receipt_from_entries
from dataplane.replica import Capture, Replica
from dataplane.txid import TxID

_WORK_S, _REST_S = 0.001, 0.0005  # of the thread: the event loop waits for the interpreter no longer than this

_LEAST_DISTANCE = 3  # evidence and the signature after it must not call for the next one by themselves

Result = TypeVar("Result")
_log = logging.getLogger("snapshots")


@dataclass(frozen=True, slots=True)
class _Pending:
    """A frame whose digest is in the ledger as `evidence`, to be written once that is committed."""

    seqno: int
    frame: bytes
    evidence: TxID


class Snapshots:
    """One node's snapshots. All calls come from the event loop; none takes long."""

    def __init__(
        self,
        replica: Replica,
        ledger: LedgerFiles,
        files: SnapshotFiles,
        tx_count: int,
        submit: Callable[[dict[str, object], bytes], TxID | None],
        loop: AbstractEventLoop,
    ) -> None:
        """`tx_count`: after how many transactions one is due.

        submit(row, claims digest): write the evidence as a transaction, None where this node may not.
        """
        self.files = files
        self._replica = replica
        self._ledger = ledger
        self._tx_count = max(tx_count, _LEAST_DISTANCE)
        self._submit = submit
        self._loop = loop
        self._last_seqno = 0  # of the last one this node scheduled, or began with
        self._requested = False
        self._encoding = False
        self._pending: list[_Pending] = []
        self.written = 0

    def began_at(self, seqno: int) -> None:
        """This node began with a snapshot at `seqno`."""
        self._last_seqno = seqno

    def request(self) -> None:
        """Take one at the next signature."""
        self._requested = True

    def before_signature(self) -> None:
        """The primary is about to sign: have the replica hold that state where a snapshot is due at it.

        One at a time: while an earlier one waits for its commit or is being encoded, the next one waits; and none of a
        state that a recovery has not completed.
        """
        if self._encoding or self._replica.holds_capture or self._replica.lacks_private_state:
            return
        seqno = self._replica.raft.last_seqno + 1
        if self._requested or seqno - max(self._last_seqno, self._evident_seqno()) >= self._tx_count:
            self._requested = False
            self._last_seqno = seqno
            self._replica.request_snapshot()

    def on_commit(self) -> None:
        """The commit has moved."""
        capture = self._replica.take_capture()
        if capture is not None and self._replica.is_leader:
            self._make(capture)
        commit_seqno = self._replica.raft.commit_seqno
        done = [pending for pending in self._pending if pending.evidence.seqno <= commit_seqno]
        self._pending = [pending for pending in self._pending if pending.evidence.seqno > commit_seqno]
        for pending in done:
            if self._replica.txid_at(pending.evidence.seqno) == pending.evidence:
                self._write(pending)

    def _evident_seqno(self) -> int:
        """The last snapshot the ledger tells of, by whichever primary."""
        row = get_json(self._replica.begin(), SNAPSHOT_EVIDENCE)
        return 0 if row is None else int(row["version"])

    def _make(self, capture: Capture) -> None:
        seqno = capture.txid.seqno
        secret = self._replica.secrets.at(seqno)
        self._encoding = True

        def encode() -> tuple[bytes, bytes]:
            frame = encode_snapshot(seqno, capture.leaf, capture.view_history, capture.tables, secret, Rest())
            return frame, sha256(frame).digest()

        self._in_thread(encode, lambda made: self._made(seqno, *made))

    def _made(self, seqno: int, frame: bytes, digest: bytes) -> None:
        self._encoding = False
        evidence = self._submit({"hash": digest.hex(), "version": seqno}, digest)
        if evidence is None:
            _log.info("Dropped the snapshot at %s: this node is no longer the primary", seqno)
            return
        _log.info("Made a snapshot at %s of %s bytes, its evidence is %s", seqno, len(frame), evidence)
        self._pending.append(_Pending(seqno, frame, evidence))

    def _write(self, pending: _Pending) -> None:
        name = SnapshotName(pending.seqno, pending.evidence.seqno)
        parts = (pending.frame, self._receipt(pending.evidence.seqno))
        self._in_thread(lambda: self.files.write(name, parts), self._wrote)

    def _wrote(self, path: Path) -> None:
        self.written += 1
        _log.info("Wrote the snapshot %s", path)

    def _receipt(self, seqno: int) -> bytes:
        """JSON, which both releases of the public package read (ledger-format.md 5.4)."""
        signed = self._replica.signature_after(seqno)
        assert signed is not None, "what is committed is signed"
        (frame,), (signature,) = self._ledger.read(seqno, seqno), self._ledger.read(signed, signed)
        secret = self._replica.secrets.at(seqno)
        return dump_json(receipt_from_entries(decode_entry(frame), secret, decode_entry(signature).writes))

    def _in_thread(self, work: Callable[[], Result], done: Callable[[Result], None]) -> None:
        def run() -> None:
            try:
                result = work()
            except (OSError, ValueError) as error:
                _log.warning("No snapshot was taken: %s", error)
                self._call(self._failed)
                return
            self._call(lambda: done(result))

        threading.Thread(target=run, name="snapshot", daemon=True).start()

    def _call(self, act: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop has ended with the node
            self._loop.call_soon_threadsafe(act)

    def _failed(self) -> None:
        self._encoding = False


def opens_service(writes: WriteSet) -> bool:
    """Whether a transaction writes that the service is Open, which calls for a snapshot."""
    row = writes.get(SERVICE_INFO, {}).get(UNIT_KEY)
    return row is not None and load_json(row).get("status") == "Open"


class Rest:
    """Called often by work in a thread: lets the event loop have the interpreter after each millisecond of work."""

    def __init__(self) -> None:
        self._since_s = time.monotonic()

    def __call__(self) -> None:
        if time.monotonic() - self._since_s >= _WORK_S:
            time.sleep(_REST_S)
            self._since_s = time.monotonic()
