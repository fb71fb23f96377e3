"""The replicated log as consensus sees it: views, signed entries, an in-memory tail.

Entries are opaque bytes with marks. Seqnos start at 1 and are dense (ledger-format.md 3). Only signed entries
(signature transactions) are committable. The log keeps in memory every uncommitted entry and a bounded tail of
committed ones; older entries are read back from the ledger by the owner of this object.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from dataplane.txid import NodeId, TxID

Nodes = tuple[tuple[NodeId, str], ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One ledger entry.

    `signed`: a signature transaction, hence committable. `configuration`: the full new set of voting nodes as
    (node id, address) sorted by id, when this entry changes it. `retired_committed`: nodes whose record this
    entry marks `retired_committed` (node-api.md 6.5): once committed, nothing is sent to them any more.
    """

    view: int
    seqno: int
    data: bytes
    signed: bool = False
    configuration: Nodes | None = None
    retired_committed: tuple[NodeId, ...] = ()


class Log:
    """View segments, signed seqnos after commit, and cached entries. Never forgets an uncommitted entry."""

    def __init__(self, *, max_cached_bytes: int, origin_seqno: int = 0, view_history: Sequence[int] = ()) -> None:
        """A log whose entries up to `origin_seqno`, a signed one, are committed and known by their views only.

        Raises `ValueError` where `view_history` (see the method) does not lead from 1 to at most `origin_seqno`.
        """
        self._max_cached_bytes = max_cached_bytes
        self._starts, self._views = _segments(view_history, origin_seqno)
        self._cached: list[Entry] = []
        self._first_cached = origin_seqno + 1
        self._cached_bytes = 0
        self._signed: list[int] = []  # signed seqnos above commit_seqno, ascending
        self.last_seqno = origin_seqno
        self.commit_seqno = origin_seqno

    @property
    def first_cached(self) -> int:
        """Entries from this seqno to `last_seqno` are in memory."""
        return self._first_cached

    @property
    def last_view(self) -> int:
        """View of the last entry, 0 when the log is empty."""
        return self._views[-1] if self._views else 0

    @property
    def committable_seqno(self) -> int:
        """Seqno of the last signed entry, 0 when there is none."""
        return self._signed[-1] if self._signed else self.commit_seqno

    @property
    def committable(self) -> TxID:
        """(view, seqno) of the last signed entry: what votes compare (node-api.md 7.2)."""
        seqno = self.committable_seqno
        return TxID(self.view_at(seqno), seqno)

    def view_at(self, seqno: int) -> int:
        """View of the entry at `seqno`; 0 for seqno 0 and beyond the end."""
        if not 0 < seqno <= self.last_seqno:
            return 0
        return self._views[bisect_right(self._starts, seqno) - 1]

    def append(self, entry: Entry) -> None:
        assert entry.seqno == self.last_seqno + 1, f"gap: {entry.seqno} after {self.last_seqno}"
        assert entry.view >= self.last_view, f"view {entry.view} after {self.last_view}"
        if entry.view > self.last_view:
            self._starts.append(entry.seqno)
            self._views.append(entry.view)
        if entry.signed:
            self._signed.append(entry.seqno)
        self._cached.append(entry)
        self._cached_bytes += len(entry.data)
        self.last_seqno = entry.seqno

    def replace(self, entry: Entry) -> None:
        """Put `entry`, which differs in its marks only, in the place of the cached one."""
        self._cached[entry.seqno - self._first_cached] = entry

    def truncate(self, seqno: int) -> None:
        """Forget every entry after `seqno`, which must not be below the commit."""
        assert seqno >= self.commit_seqno, f"truncating to {seqno} below commit {self.commit_seqno}"
        if seqno >= self.last_seqno:
            return
        dropped = self._cached[seqno + 1 - self._first_cached :]
        del self._cached[seqno + 1 - self._first_cached :]
        self._cached_bytes -= sum(len(entry.data) for entry in dropped)
        while self._starts and self._starts[-1] > seqno:
            self._starts.pop()
            self._views.pop()
        while self._signed and self._signed[-1] > seqno:
            self._signed.pop()
        self.last_seqno = seqno

    def commit(self, seqno: int) -> None:
        """Move the commit to `seqno`, a signed entry, and drop cached entries over the bound."""
        assert seqno in self._signed, f"commit at {seqno}, which is not signed"
        self.commit_seqno = seqno
        del self._signed[: bisect_right(self._signed, seqno)]
        self._forget_committed()

    def signed_at_or_below(self, seqno: int) -> int:
        """The highest signed seqno in (commit_seqno, seqno], else commit_seqno."""
        index = bisect_right(self._signed, seqno)
        return self._signed[index - 1] if index else self.commit_seqno

    def highest_possible_match(self, seqno: int, view: int) -> int:
        """The highest seqno, at most `seqno`, of an entry whose view is at most `view`; else 0.

        Two logs cannot agree above it: the estimate that lets a lagging follower converge in one round per
        view segment and not per entry (CCF's catch-up).
        """
        end = self.last_seqno
        for start, segment_view in zip(reversed(self._starts), reversed(self._views), strict=True):
            if segment_view <= view and start <= seqno:
                return min(end, seqno)
            end = start - 1
        return 0

    def cached(self, first: int, last: int) -> Sequence[Entry]:
        """Entries first..last, which must be in memory."""
        assert first >= self._first_cached
        return self._cached[first - self._first_cached : last + 1 - self._first_cached]

    def view_history(self) -> list[int]:
        """Element i is the first seqno of view i+1; unused views share the start of the next used one."""
        history: list[int] = []
        for start, view in zip(self._starts, self._views, strict=True):
            history.extend([start] * (view - len(history)))
        return history

    def _forget_committed(self) -> None:
        count = 0
        excess = self._cached_bytes - self._max_cached_bytes
        while excess > 0 and self._first_cached + count <= self.commit_seqno:
            excess -= len(self._cached[count].data)
            count += 1
        if count:
            self._cached_bytes -= sum(len(entry.data) for entry in self._cached[:count])
            del self._cached[:count]
            self._first_cached += count


def _segments(history: Sequence[int], last_seqno: int) -> tuple[list[int], list[int]]:
    """(first seqnos, views) of the used views of a view history; the inverse of `Log.view_history`."""
    ascending = all(earlier <= later for earlier, later in pairwise(history))
    if bool(history) is not bool(last_seqno) or (history and not (history[0] == 1 and history[-1] <= last_seqno)):
        raise ValueError(f"the view history {list(history)} does not lead from 1 to {last_seqno}")
    if not ascending:
        raise ValueError(f"the view history {list(history)} does not ascend")
    views = {start: view for view, start in enumerate(history, start=1)}  # of equal starts the last one is used
    return list(views), list(views.values())
