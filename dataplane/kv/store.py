"""The store: every table at the newest version, and the versions since the last committed one.

One `immutables.Map` per table (decisions.md 13), so that an old version costs nothing and a rollback is a lookup.
Versions are seqnos. `compact` forgets versions that can no longer be rolled back to.
"""

from collections import deque
from collections.abc import Sequence

import immutables

from dataplane.kv.tx import _EMPTY, Table, Tables, Tx
from dataplane.kv.writeset import WriteSet


class Conflict(Exception):
    """Something the transaction read has changed since; run it again."""


class Store:
    """All tables. `version` is the seqno of the last write set applied, `committed` the last one compacted."""

    def __init__(self, tables: Tables | None = None, version: int = 0) -> None:
        """Begin empty, or with the committed `tables` as they were at the seqno `version`."""
        self._versions: deque[tuple[int, immutables.Map[str, Table]]] = deque([(version, immutables.Map(tables or {}))])

    @property
    def version(self) -> int:
        return self._versions[-1][0]

    @property
    def committed(self) -> int:
        return self._versions[0][0]

    def begin(self) -> Tx:
        """A transaction at the newest version."""
        version, tables = self._versions[-1]
        return Tx(tables, version)

    def begin_at_committed(self) -> Tx:
        """A transaction at the last committed version; meant for reading."""
        version, tables = self._versions[0]
        return Tx(tables, version)

    def has_conflict(self, tx: Tx) -> bool:
        """Whether `tx` read something that changed since it began."""
        version, tables = self._versions[-1]
        return tx.read_version != version and tx.conflicts_with(tables)

    def check(self, tx: Tx) -> None:
        """Raises `Conflict` where `tx` read something that has changed since it began."""
        if self.has_conflict(tx):
            raise Conflict

    def commit(self, tx: Tx, seqno: int) -> None:
        """Apply the writes of `tx` as `seqno`. Raises `Conflict` and changes nothing where it read stale data."""
        self.check(tx)
        self.apply(seqno, tx.writes)

    def apply(self, seqno: int, writes: WriteSet) -> None:
        """Apply a write set as the next version; `seqno` must follow the newest."""
        version, tables = self._versions[-1]
        assert seqno == version + 1, f"seqno {seqno} does not follow {version}"
        for name, rows in writes.items():
            tables = tables.set(name, _changed(tables.get(name, _EMPTY), rows, seqno))
        self._versions.append((seqno, tables))

    def rollback(self, seqno: int) -> None:
        """Forget every version after `seqno`, which must not be older than the committed one."""
        assert seqno >= self.committed, f"seqno {seqno} is already committed"
        while self._versions[-1][0] > seqno:
            self._versions.pop()

    def compact(self, seqno: int) -> None:
        """Make `seqno` the oldest version that can be rolled back to."""
        while len(self._versions) > 1 and self._versions[1][0] <= seqno:
            self._versions.popleft()

    def adopt(self, tables: Tables, later: Sequence[tuple[int, WriteSet]]) -> None:
        """Put `tables` into every version: they were there before the oldest one, and could not be read so far.

        `later` are the (version, write set) applied to them since, ascending.
        """
        current, waiting = dict(tables), deque(later)
        for index, (version, held) in enumerate(self._versions):
            while waiting and waiting[0][0] <= version:
                seqno, writes = waiting.popleft()
                for name, rows in writes.items():
                    current[name] = _changed(current.get(name, _EMPTY), rows, seqno)
            self._versions[index] = (version, held.update(current))

    def tables(self) -> Tables:
        """The newest version of every table: a value that later changes leave as it is."""
        return self._versions[-1][1]

    def committed_tables(self) -> Tables:
        """The last committed version of every table."""
        return self._versions[0][1]


def _changed(table: Table, rows: dict[bytes, bytes | None], seqno: int) -> Table:
    if len(rows) == 1:
        ((key, value),) = rows.items()
        if value is not None:
            return Table(table.rows.set(key, (seqno, value)), seqno)
    changed = table.rows.mutate()
    for key, value in rows.items():
        if value is not None:
            changed[key] = (seqno, value)
        elif key in changed:
            del changed[key]
    return Table(changed.finish(), seqno)
