"""A node that notes when it hears from which other, for `tests.support.held_up`: `watched.py MODE --config ...`.

Modes: `plain`; `without-beats`, the control of whatever says that a busy node keeps its place; `slow-disk`, where every
sync of the ledger takes 300 ms longer. The notes, [monotonic time, node id], are in the file `contacts` after the end.
"""

import atexit
import json
import sys
import time
from pathlib import Path

from dataplane.consensus.messages import AppendEntries, AppendEntriesAck, AppendEntriesNack, Beat, Message
from dataplane.consensus.raft import Raft
from dataplane.host.run import main
from dataplane.ledger.files import LedgerFiles
from dataplane.node.beats import Beats

SLOWER_S = 0.3
_CONTACT = (AppendEntries, AppendEntriesAck, AppendEntriesNack, Beat)

_heard: list[tuple[float, str]] = []
_receive, _sync = Raft.receive, LedgerFiles.sync


def _noting(raft: Raft, sender: str, message: Message) -> None:
    if isinstance(message, _CONTACT):
        _heard.append((time.monotonic(), sender))
    _receive(raft, sender, message)


def _slow_sync(ledger: LedgerFiles) -> int:
    time.sleep(SLOWER_S)
    return _sync(ledger)


def _run(mode: str, arguments: list[str]) -> int:
    Raft.receive = _noting  # type: ignore[method-assign]
    if mode == "without-beats":
        Beats._is_due = lambda self, now_s: False  # type: ignore[method-assign]
    elif mode == "slow-disk":
        LedgerFiles.sync = _slow_sync  # type: ignore[method-assign]
    atexit.register(lambda: Path("contacts").write_text(json.dumps(_heard)))
    return main(arguments)


if __name__ == "__main__":
    sys.exit(_run(sys.argv[1], sys.argv[2:]))
