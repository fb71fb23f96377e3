"""A transaction: reads at one version, writes of its own, and the reads it depends on.

Isolation is serialisable: `get` and `has` depend on one key, `items`, `size` and `clear` on the whole table
(node-api.md 5.6). A transaction never sees another's writes; its own are visible at once.
"""

from collections.abc import Mapping

import immutables

from dataplane.kv.writeset import WriteSet

Rows = immutables.Map[bytes, tuple[int, bytes]]
"""key -> (seqno of its last write, value)"""


class Table:
    """A table at one version: its rows, and the seqno of the last change to any of them."""

    __slots__ = ("rows", "version")

    def __init__(self, rows: Rows, version: int) -> None:
        self.rows = rows
        self.version = version


Tables = Mapping[str, Table]
_EMPTY = Table(immutables.Map(), 0)
_NO_WRITES: dict[bytes, bytes | None] = {}


class Tx:
    """One transaction over `tables` as they were at `read_version` (a seqno).

    `claims_digest` (32 bytes) is what the application wants receipts to attest. `touched` tells whether any table was
    read or written: only then does an answer carry a transaction id (node-api.md 1.2).
    """

    __slots__ = (
        "_keys_read",
        "_tables",
        "_tables_read",
        "claims_digest",
        "read_version",
        "touched",
        "writes",
    )

    def __init__(self, tables: Tables, read_version: int) -> None:
        self._tables = tables
        self._keys_read: dict[tuple[str, bytes], int] = {}
        self._tables_read: dict[str, int] = {}
        self.read_version = read_version
        self.writes: WriteSet = {}
        self.claims_digest: bytes | None = None
        self.touched = False

    def get(self, table: str, key: bytes) -> bytes | None:
        """The value at `key`, or None."""
        self.touched = True
        own = self.writes.get(table)
        if own is not None and key in own:
            return own[key]
        row = self._tables.get(table, _EMPTY).rows.get(key)
        self._keys_read[table, key] = 0 if row is None else row[0]
        return None if row is None else row[1]

    def has(self, table: str, key: bytes) -> bool:
        """Whether `key` holds a value."""
        return self.get(table, key) is not None

    def put(self, table: str, key: bytes, value: bytes) -> None:
        """Write `value` at `key`."""
        self.touched = True
        own = self.writes.get(table)
        if own is None:
            self.writes[table] = {key: value}
        else:
            own[key] = value

    def remove(self, table: str, key: bytes) -> None:
        """Remove `key`; recorded also where nothing was there (ledger-format.md 1.5)."""
        self.touched = True
        self.writes.setdefault(table, {})[key] = None

    def clear(self, table: str) -> None:
        """Remove every key of the table."""
        for key, _ in self.items(table):
            self.remove(table, key)

    def items(self, table: str) -> list[tuple[bytes, bytes]]:
        """All rows, by key, own writes included. A snapshot: later writes do not change it."""
        rows = {key: row[1] for key, row in self._read_whole(table).items()}
        for key, value in self.writes.get(table, _NO_WRITES).items():
            if value is None:
                rows.pop(key, None)
            else:
                rows[key] = value
        return sorted(rows.items())

    def size(self, table: str) -> int:
        """The number of keys that hold a value."""
        rows = self._read_whole(table)
        count = len(rows)
        for key, value in self.writes.get(table, _NO_WRITES).items():
            count += (value is not None) - (key in rows)
        return count

    def version_of_previous_write(self, table: str, key: bytes) -> int | None:
        """The seqno of the last write to `key` before this transaction; None when never written or removed."""
        self.touched = True
        row = self._tables.get(table, _EMPTY).rows.get(key)
        self._keys_read[table, key] = 0 if row is None else row[0]
        return None if row is None else row[0]

    def rows(self, table: str) -> Rows:
        """The table as it was before this transaction, which then depends on all of it.

        The same object for as long as nothing in the table changes: what is derived from a table is kept beside it.
        """
        return self._read_whole(table)

    def conflicts_with(self, tables: Tables) -> bool:
        """Whether anything this transaction read has changed in `tables` since."""
        for table, version in self._tables_read.items():
            if tables.get(table, _EMPTY).version != version:
                return True
        for (table, key), version in self._keys_read.items():
            row = tables.get(table, _EMPTY).rows.get(key)
            if (0 if row is None else row[0]) != version:
                return True
        return False

    def _read_whole(self, table: str) -> Rows:
        self.touched = True
        current = self._tables.get(table, _EMPTY)
        self._tables_read[table] = current.version
        return current.rows
