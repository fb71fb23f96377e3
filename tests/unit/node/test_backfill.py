"""Fetching the old ledger: every chunk in turn, from whoever has it, whole or not at all."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from dataplane.config import Address
from dataplane.kv.store import Store
from dataplane.kv.tables import NODES_INFO, dump_json
from dataplane.ledger.entry import EntryFlags
from dataplane.ledger.files import LedgerFiles
from dataplane.node import backfill
from dataplane.node.backfill import Backfill, addresses
from dataplane.node.peer_http import Answer, PeerFailed, Peers
from tests.support.frames import frame

FIRST, SECOND = Address("10.0.0.1", 1), Address("10.0.0.2", 2)
END = EntryFlags.CHUNK_AFTER


@pytest.fixture
def source(tmp_path: Path) -> LedgerFiles:
    """Three committed chunks of three entries."""
    ledger = LedgerFiles(tmp_path / "source")
    for seqno in range(1, 10):
        ledger.append(frame(seqno, flags=END if seqno % 3 == 0 else 0), seqno)
    ledger.sync()
    ledger.commit(9)
    return ledger


@pytest.fixture
def own(tmp_path: Path) -> LedgerFiles:
    """The ledger of a node that began with a snapshot at 9."""
    ledger = LedgerFiles(tmp_path / "own")
    ledger.begin_after(9)
    ledger.append(frame(10), 10)
    return ledger


@dataclass
class Nodes:
    """`FIRST` has nothing; `SECOND` has the chunks of `source`."""

    source: LedgerFiles
    change: Callable[[bytes], bytes] = lambda data: data
    asked: list[tuple[Address, str]] = field(default_factory=list)
    failing: int = 0

    async def get(
        self, target: Address, path: str, headers: Mapping[str, str] | None = None, max_bytes: int = 0
    ) -> tuple[Address, str, Answer]:
        self.asked.append((target, path))
        if target == FIRST:
            return target, path, Answer(404, {}, b"")
        if len(self.asked) <= self.failing:
            raise PeerFailed("it is away")
        found = self.source.committed_chunk_with(int(path.removeprefix("/node/ledger-chunk?since=")))
        assert found is not None
        return target, f"/node/ledger-chunk/{found.name}", Answer(200, {}, self.change(found.read_bytes()))


def fetch(nodes: Nodes, own: LedgerFiles, directory: Path, timeout_s: float = 10) -> None:
    task = Backfill(own, directory, cast(Peers, nodes), lambda: [FIRST, SECOND])

    async def play() -> None:
        async with asyncio.timeout(timeout_s):
            await task.run(9)

    asyncio.run(play())


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_every_chunk_is_fetched_newest_first(source: LedgerFiles, own: LedgerFiles, tmp_path: Path) -> None:
    nodes = Nodes(source)
    fetch(nodes, own, tmp_path / "own")
    assert own.read(1, 10) == [*source.read(1, 9), frame(10)]
    assert own.first_seqno == 1
    asked = [path.rpartition("=")[2] for target, path in nodes.asked if target == SECOND]
    assert asked == ["9", "6", "3"]
    for name in ("ledger_1-3.committed", "ledger_4-6.committed", "ledger_7-9.committed"):
        assert (tmp_path / "own" / name).read_bytes() == (tmp_path / "source" / name).read_bytes()


def test_only_what_is_missing_is_fetched(source: LedgerFiles, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    name = "ledger_4-6.committed"
    (tmp_path / "own" / name).write_bytes((tmp_path / "source" / name).read_bytes())
    own = LedgerFiles(tmp_path / "own")
    own.begin_after(9)
    nodes = Nodes(source)
    fetch(nodes, own, tmp_path / "own")
    assert [path.rpartition("=")[2] for target, path in nodes.asked if target == SECOND] == ["9", "3"]
    assert own.newest_gap(9) == 0


def test_trouble_is_tried_again(
    source: LedgerFiles, own: LedgerFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "_RETRY_S", 0.01)
    fetch(Nodes(source, failing=5), own, tmp_path / "own")
    assert own.newest_gap(9) == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data[:-4],
        lambda data: bytes(8) + data[8:],
        lambda data: data[:32] + bytes([data[32] ^ 1]) + data[33:],
        lambda data: bytes(len(data)),
    ],
    ids=["empty", "cut", "an entry less", "not complete", "another seqno", "zeros"],
)
def test_a_damaged_chunk_is_not_kept(
    source: LedgerFiles,
    own: LedgerFiles,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[bytes], bytes],
) -> None:
    monkeypatch.setattr(backfill, "_RETRY_S", 0.01)
    with pytest.raises(TimeoutError):
        fetch(Nodes(source, change), own, tmp_path / "own", timeout_s=0.2)
    assert names(tmp_path / "own") == ["ledger_10"]


def test_a_full_disk_leaves_nothing_behind(
    source: LedgerFiles, own: LedgerFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backfill, "_RETRY_S", 0.01)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", full)
        with pytest.raises(TimeoutError):
            fetch(Nodes(source), own, tmp_path / "own", timeout_s=0.2)
    assert names(tmp_path / "own") == ["ledger_10"]
    fetch(Nodes(source), own, tmp_path / "own")
    assert own.newest_gap(9) == 0


def test_where_it_asks() -> None:
    store = Store()
    rows: dict[bytes, bytes | None] = {
        node_id: dump_json(
            {"status": status, "rpc_interfaces": {"x": {"published_address": f"10.0.0.{number}:{number}"}}}
        )
        for number, (node_id, status) in enumerate(
            [(b"a", "Trusted"), (b"b", "Trusted"), (b"c", "Retired"), (b"d", "Trusted"), (b"e", "Pending")], 1
        )
    }
    store.apply(1, {NODES_INFO: rows})
    assert addresses(store.begin(), "d", SECOND) == [SECOND, FIRST]


def test_it_stops_with_the_node(source: LedgerFiles, own: LedgerFiles, tmp_path: Path) -> None:
    async def play() -> None:
        task = Backfill(own, tmp_path / "own", cast(Peers, Nodes(source, failing=10**9)), lambda: [SECOND])
        task.start(9)
        await asyncio.sleep(0.05)
        await task.close()

    asyncio.run(play())
    assert own.newest_gap(9) == 9
