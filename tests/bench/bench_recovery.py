"""How fast a recovery reads an old ledger from disk: entries a second, public part and private part, on one core.

    python -m tests.bench.bench_recovery

60-byte values at 10,000 keys, a signature every 1,000 entries. What is measured is what a node does: chunks read from
disk, decoded, digested, added to the Merkle tree and the store, in slices that let the event loop turn.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from dataplane.kv.writeset import WriteSet
from dataplane.ledger.files import LedgerFiles
from dataplane.ledger.secrets import LedgerSecrets
from dataplane.node.recovery import read_frames, read_public_ledger
from dataplane.private_replay import PrivateReplay
from dataplane.replica_state import State
from tests.bench.rows import Effort, Row, calibrate
from tests.support.service_ledger import ServiceLedger

ENTRIES = 40_000
KEYS = 10_000
SIGNATURE_EVERY = 1_000


def run(effort: Effort) -> list[Row]:
    """Three rows; the best of `effort.repeats` runs each."""
    return [
        *_measured("public entries", _ledger("public:records"), effort, private=False),
        *_measured("private entries", _ledger("records"), effort, private=True),
    ]


def _measured(name: str, ledger: ServiceLedger, effort: Effort, *, private: bool) -> list[Row]:
    with TemporaryDirectory() as directory:
        files = LedgerFiles(ledger.write_to(Path(directory)))
        rows = [_row(f"recovery, public part of {name}", effort, lambda: _read_public(files))]
        if private:
            state = _read_public(files)
            rows.append(_row(f"recovery, {name}", effort, lambda: _read_private(files, ledger.secrets, state)))
        files.close()
    return rows


def _ledger(table: str) -> ServiceLedger:
    ledger = ServiceLedger(chunk_size=5_000_000)
    value = b'"%s"' % (b"x" * 58)
    for number in range(ENTRIES):
        writes: WriteSet = {table: {b"key %d" % (number % KEYS): value}}
        ledger.append(writes)
        if number % SIGNATURE_EVERY == SIGNATURE_EVERY - 1:
            last = ledger.tree.size - 1
            tree_bytes = ledger.tree.serialise(max(0, last - SIGNATURE_EVERY), last)
            ledger.append(ledger.signature_writes(tree_bytes=tree_bytes), flags=ledger.chunk_flags())
    return ledger


def _read_public(files: LedgerFiles) -> State:
    return asyncio.run(read_public_ledger(files, lambda: None))


def _read_private(files: LedgerFiles, secrets: LedgerSecrets, state: State) -> object:
    replay = PrivateReplay(secrets, state.seqno, state.tree.root())
    while not replay.is_complete:
        for frame in read_frames(files, replay.next_seqno, replay.target_seqno):
            replay.add(frame)
    return replay.tables()


def _row(name: str, effort: Effort, work: Callable[[], object]) -> Row:
    best_s = float("inf")
    for _ in range(effort.repeats):
        begin_s = time.process_time()
        work()
        best_s = min(best_s, time.process_time() - begin_s)
    us = best_s / ENTRIES * 1e6
    return Row("recovery", name, round(us, 2), "us CPU", us, {"rate": ENTRIES / best_s, "entries": ENTRIES})


if __name__ == "__main__":
    calibration_us = calibrate()
    for row in run(Effort()):
        print(
            f"{row.name:48} {row.value:8.2f} us  {row.detail['rate']:>10,.0f}/s  ratio {row.ratio(calibration_us):.3f}"
        )
