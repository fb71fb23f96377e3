"""A ledger file in memory that tells written from durable, as `ledger/files.py` must.

A sync makes durable what was written when it began. A truncation overtakes a running sync: from then on the sync
vouches only for what the truncation kept, even if other entries have been written in its place meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class MemoryDisk:
    """Frames by seqno (the first has seqno 1). Holds one sync at a time; requests during it merge into the next."""

    frames: list[bytes] = field(default_factory=list)
    synced_seqno: int = 0
    _syncing_seqno: int | None = None
    _again: bool = False

    @property
    def last_seqno(self) -> int:
        return len(self.frames)

    def write(self, seqno: int, frame: bytes) -> None:
        assert seqno == self.last_seqno + 1, f"writing {seqno} after {self.last_seqno}"
        self.frames.append(frame)

    def truncate(self, seqno: int) -> None:
        assert seqno < self.last_seqno, f"truncating to {seqno} with {self.last_seqno} entries"
        del self.frames[seqno:]
        self.synced_seqno = min(self.synced_seqno, seqno)
        if self._syncing_seqno is not None:
            self._syncing_seqno = min(self._syncing_seqno, seqno)

    def begin_sync(self) -> bool:
        """False when one is running: it will be followed by another."""
        if self._syncing_seqno is not None:
            self._again = True
            return False
        self._syncing_seqno = self.last_seqno
        return True

    def end_sync(self) -> tuple[int, bool]:
        """The seqno now durable, and whether another sync was asked for meanwhile."""
        assert self._syncing_seqno is not None
        self.synced_seqno = max(self.synced_seqno, self._syncing_seqno)
        self._syncing_seqno, again, self._again = None, self._again, False
        return self.synced_seqno, again

    def crash(self) -> None:
        """Lose what was not durable."""
        del self.frames[self.synced_seqno :]
        self._syncing_seqno = None
