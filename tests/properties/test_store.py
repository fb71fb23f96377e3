"""The store against a plain dictionary of versions: commits, conflicts, rollbacks, compaction, reads."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dataplane.kv.store import Conflict, Store
from dataplane.kv.tx import Tx

TABLES = st.sampled_from(["public:a", "b"])
KEYS = st.sampled_from([b"", b"k", b"l", b"\x00" * 8])
VALUES = st.binary(max_size=4)

Model = dict[tuple[str, bytes], bytes]


class StoreMachine(RuleBasedStateMachine):
    """Each version is a whole dictionary; the open transaction remembers what it read and wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.store = Store()
        self.versions: dict[int, Model] = {0: {}}
        self.tx: Tx | None = None
        self.base: Model = {}
        self.own: dict[tuple[str, bytes], bytes | None] = {}
        self.read: dict[tuple[str, bytes], bytes | None] = {}

    @property
    def newest(self) -> Model:
        return self.versions[max(self.versions)]

    @rule()
    def begin(self) -> None:
        self.tx = self.store.begin()
        self.base, self.own, self.read = dict(self.newest), {}, {}

    @precondition(lambda self: self.tx)
    @rule(table=TABLES, key=KEYS)
    def get(self, table: str, key: bytes) -> None:
        assert self.tx is not None
        at = (table, key)
        expected = self.own[at] if at in self.own else self.base.get(at)
        assert self.tx.get(table, key) == expected
        if at not in self.own:
            self.read[at] = expected

    @precondition(lambda self: self.tx)
    @rule(table=TABLES, key=KEYS, value=st.none() | VALUES)
    def write(self, table: str, key: bytes, value: bytes | None) -> None:
        assert self.tx is not None
        if value is None:
            self.tx.remove(table, key)
        else:
            self.tx.put(table, key, value)
        self.own[table, key] = value

    @precondition(lambda self: self.tx)
    @rule()
    def commit(self) -> None:
        assert self.tx is not None
        seqno = max(self.versions) + 1
        try:
            self.store.commit(self.tx, seqno)
        except Conflict:
            # Values may have been written again unchanged, so a conflict needs a later version, not other values.
            assert self.tx.read_version < self.store.version
        else:
            assert all(self.newest.get(at) == value for at, value in self.read.items())
            self.versions[seqno] = _applied(self.newest, self.own)
        self.tx = None

    @rule(table=TABLES, key=KEYS, value=VALUES)
    def apply_from_elsewhere(self, table: str, key: bytes, value: bytes) -> None:
        seqno = max(self.versions) + 1
        self.store.apply(seqno, {table: {key: value}})
        self.versions[seqno] = {**self.newest, (table, key): value}

    @rule(data=st.data())
    def rollback(self, data: st.DataObject) -> None:
        seqno = data.draw(st.sampled_from(sorted(self.versions)))
        self.store.rollback(seqno)
        self.versions = {version: model for version, model in self.versions.items() if version <= seqno}
        self.tx = None

    @rule(data=st.data())
    def compact(self, data: st.DataObject) -> None:
        seqno = data.draw(st.sampled_from(sorted(self.versions)))
        self.store.compact(seqno)
        self.versions = {version: model for version, model in self.versions.items() if version >= seqno}

    @invariant()
    def reads_agree(self) -> None:
        assert self.store.version == max(self.versions)
        assert self.store.committed == min(self.versions)
        for tx, model in (
            (self.store.begin(), self.newest),
            (self.store.begin_at_committed(), self.versions[min(self.versions)]),
        ):
            for table in ("public:a", "b"):
                rows = sorted((key, value) for (name, key), value in model.items() if name == table)
                assert tx.items(table) == rows
                assert tx.size(table) == len(rows)


def _applied(model: Model, writes: dict[tuple[str, bytes], bytes | None]) -> Model:
    changed = {**model, **{at: value for at, value in writes.items() if value is not None}}
    return {at: value for at, value in changed.items() if writes.get(at, b"") is not None}


TestStore = StoreMachine.TestCase
