"""Both readings of a recovery let the loop turn between their slices, and a failure on the way stops the node."""

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from dataplane.ledger.files import LedgerFiles
from dataplane.ledger.secrets import LedgerSecrets, MalformedSecret, SharedSecret
from dataplane.node import recovery
from dataplane.node.recovery import Recovery, older_history, read_public_ledger
from dataplane.replica_state import State
from tests.support.service_ledger import SECRET, ServiceLedger, filled_ledger

ENTRIES = 60


@pytest.fixture(scope="module")
def ledger() -> ServiceLedger:
    return filled_ledger(ENTRIES)


@pytest.fixture
def files(ledger: ServiceLedger, tmp_path: Path) -> LedgerFiles:
    return LedgerFiles(ledger.write_to(tmp_path / "ledger"))


class Identity:
    """A node's encryption key, which opens everything or nothing."""

    def __init__(self, *shared: SharedSecret) -> None:
        self._shared = shared

    def open_secrets(self, value: bytes) -> list[SharedSecret]:
        if not self._shared:
            raise MalformedSecret("not for this node")
        return list(self._shared)


class Raft:
    commit_seqno = 1_000


class Replica:
    """What a replica of the recovered service knows when the old secrets are committed."""

    def __init__(self, state: State) -> None:
        self.raft = Raft()
        self.secrets = LedgerSecrets({state.seqno + 1: bytes(32)})
        self.handed_out = (state.seqno + 5, b"")
        self.recovery_root = state.tree.root()
        self.adopted: Any = None

    @property
    def lacks_private_state(self) -> bool:
        return self.adopted is None

    def adopt_private(self, tables: Any) -> None:
        self.adopted = tables


class Node:
    is_primary = False

    def __init__(self, replica: Replica, identity: Identity) -> None:
        self.replica, self.identity = replica, identity
        self.states: list[str] = []
        self.end = asyncio.get_running_loop().create_future()

    def advance(self, state: Any) -> None:
        self.states.append(state.value)

    def follow_recovery(self) -> None:
        self.end.set_result("whole")

    def stop(self, reason: str) -> None:
        self.end.set_result(reason)


async def recovered(files: LedgerFiles, identity: Identity) -> tuple[Node, str]:
    state = await read_public_ledger(files, lambda: None)
    replica = Replica(state)
    node = Node(replica, identity)
    Recovery(cast(Any, node), files, cast(Any, None), state.seqno + 1).advance()
    return node, await asyncio.wait_for(node.end, 10)


async def turns_during(work: Any) -> tuple[Any, int]:
    """The result of `work`, and how often the loop turned meanwhile."""
    turns, running = 0, asyncio.ensure_future(work)
    while not running.done():
        await asyncio.sleep(0)
        turns += 1
    return running.result(), turns


def test_the_loop_turns_while_both_parts_are_read(files: LedgerFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "_SLICE_S", -1)

    async def play() -> None:
        (node, how), turns = await turns_during(recovered(files, Identity(SharedSecret(1, SECRET))))
        assert how == "whole"
        assert node.states == ["ReadingPrivateLedger", "PartOfNetwork"]
        assert len(node.replica.adopted["records"].rows) == ENTRIES
        assert turns >= 2 * ENTRIES

    asyncio.run(play())


@pytest.mark.parametrize(
    ("identity", "reason"),
    [
        (Identity(), "the ledger secrets of the service before cannot be used: not for this node"),
        (Identity(SharedSecret(1, bytes(32))), "the private ledger cannot be recovered: seqno 1 cannot be decrypted"),
    ],
)
def test_a_node_that_cannot_be_whole_stops_and_says_why(files: LedgerFiles, identity: Identity, reason: str) -> None:
    async def play() -> None:
        node, how = await recovered(files, identity)
        assert how.startswith(reason)
        assert node.replica.lacks_private_state

    asyncio.run(play())


def test_a_ledger_that_is_gone_meanwhile_stops_the_node(files: LedgerFiles, tmp_path: Path) -> None:
    async def play() -> None:
        state = await read_public_ledger(files, lambda: None)
        node = Node(Replica(state), Identity(SharedSecret(1, SECRET)))
        empty = LedgerFiles(tmp_path / "empty")
        Recovery(cast(Any, node), empty, cast(Any, None), state.seqno + 1).advance()
        assert await node.end == "the private ledger cannot be recovered: the ledger holds no seqno 1"

    asyncio.run(play())


def test_older_writes_of_historical_secrets_are_read_back(tmp_path: Path) -> None:
    ledger = ServiceLedger()
    table, key = "public:ccf.internal.historical_encrypted_ledger_secret", bytes(8)
    first = ledger.append({table: {key: b'{"next_version":1}'}}).seqno
    ledger.append({"public:other": {b"k": b"v"}})
    value = b'{"previous_ledger_secret":{"previous_secret_stored_version":%d}}' % first
    second = ledger.append({table: {key: value}}).seqno
    files = LedgerFiles(ledger.write_to(tmp_path))
    found = older_history(files, [(second, value)])
    assert found == [(first, b'{"next_version":1}'), (second, value)]
    for stored in (0, second, second + 9, first + 1):  # absent, not older, not there, another write
        newest = b'{"previous_ledger_secret":{"previous_secret_stored_version":%d}}' % stored
        assert older_history(files, [(second, newest)]) == [(second, newest)]
    assert older_history(files, []) == []
