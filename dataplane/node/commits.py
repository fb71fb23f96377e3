"""What a node does when a commit has changed a table: callbacks by table name."""

from collections.abc import Callable

from dataplane.kv.store import Store
from dataplane.kv.tx import Tx


class CommitWatch:
    """Compares the committed versions of the tables that are watched, after each commit."""

    def __init__(self) -> None:
        self._watched: list[tuple[str, Callable[[Tx], None]]] = []
        self._seen: dict[str, int] = {}

    def on_change(self, table: str, act: Callable[[Tx], None]) -> None:
        """Call `act`, with a transaction at the committed version, when a commit has changed `table`."""
        self._watched.append((table, act))

    def committed(self, store: Store) -> None:
        """A commit has moved. Callbacks run in the order they were given."""
        tables, seen = store.committed_tables(), self._seen
        versions = {name: tables[name].version if name in tables else 0 for name, _ in self._watched}
        changed = [(name, act) for name, act in self._watched if versions[name] != seen.get(name, 0)]
        self._seen = versions
        for _, act in changed:
            act(store.begin_at_committed())
