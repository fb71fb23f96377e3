"""What a sync may report after entries it covered were truncated away (consensus.output.Output, truncate_after)."""

import asyncio
import threading
from datetime import UTC, datetime
from typing import Any, cast

from dataplane.api.node import Version
from dataplane.config import NodeCertificate, parse_config
from dataplane.ledger.secrets import LedgerSecrets
from dataplane.node.identity import new_node_identity
from dataplane.node.node import Node
from dataplane.node.service_ops import NodeServiceOps
from dataplane.replica import Duties, Frame

CONFIG = parse_config(
    {
        "network": {
            "node_to_node_interface": {"bind_address": "127.0.0.1:0"},
            "rpc_interfaces": {"main": {"bind_address": "127.0.0.1:0"}},
        },
        "command": {"type": "Join", "join": {"target_rpc_address": "127.0.0.1:1"}},
        "tick_interval": "1min",
    }
)


class SlowLedger:
    """A ledger whose sync covers all five entries and ends when it is told to."""

    def __init__(self) -> None:
        self.may_end = threading.Event()

    def sync(self) -> int:
        assert self.may_end.wait(10)
        return 5

    def append(self, data: bytes, seqno: int) -> None:
        pass

    def truncate(self, seqno: int) -> None:
        pass

    def close(self) -> None:
        pass


class ScriptedReplica:
    """Hands out one set of duties a pump, and remembers what it was told is durable."""

    is_leader = False

    def __init__(self, *duties: Duties) -> None:
        self._duties = list(duties)
        self.secrets = LedgerSecrets({1: bytes(32)})
        self.reported: list[int] = []

    def take_duties(self) -> Duties:
        return self._duties.pop(0) if self._duties else Duties(None, (), False, (), None, (), None)

    def persisted(self, seqno: int) -> None:
        self.reported.append(seqno)


def reported_after(*truncations: int) -> list[int]:
    """What is reported durable when these truncations happen while entries 1 to 5 are being synced."""

    async def play() -> list[int]:
        ledger = SlowLedger()
        written = Duties(None, tuple(Frame(seqno, b"") for seqno in range(1, 6)), True, (), None, (), None)
        replica = ScriptedReplica(written, *(Duties(seqno, (), False, (), None, (), None) for seqno in truncations))
        identity = new_node_identity(NodeCertificate(), ["127.0.0.1"], datetime.now(UTC))
        node = Node(CONFIG, identity, {}, Version("", ""), NodeServiceOps(LedgerSecrets()), lambda reason: None)
        unused = cast(Any, None)
        node.attach(cast(Any, replica), cast(Any, ledger), unused, unused, unused, unused)
        for _ in range(1 + len(truncations)):
            node.wake()
            await asyncio.sleep(0)  # one turn of the loop, one pump
        ledger.may_end.set()
        async with asyncio.timeout(10):
            while not replica.reported:
                await asyncio.sleep(0.001)
        await node.close()
        return replica.reported

    return asyncio.run(play())


def test_without_a_truncation_everything_synced_is_reported() -> None:
    assert reported_after() == [5]


def test_a_truncation_during_the_sync_caps_the_report() -> None:
    assert reported_after(3) == [3]


def test_the_lowest_truncation_counts_also_when_it_is_to_nothing() -> None:
    assert reported_after(0, 3) == [0]


class BrokenReplica(ScriptedReplica):
    def take_duties(self) -> Duties:
        raise ValueError("seqno 1 does not follow 2")


def test_a_broken_invariant_stops_the_node() -> None:
    async def play() -> list[str]:
        reasons: list[str] = []
        identity = new_node_identity(NodeCertificate(), ["127.0.0.1"], datetime.now(UTC))
        node = Node(CONFIG, identity, {}, Version("", ""), NodeServiceOps(LedgerSecrets()), reasons.append)
        ledger, unused = SlowLedger(), cast(Any, None)
        node.attach(cast(Any, BrokenReplica()), cast(Any, ledger), unused, unused, unused, unused)
        node.wake()
        await asyncio.sleep(0)
        await node.close()
        return reasons

    (reason,) = asyncio.run(play())
    assert "seqno 1 does not follow 2" in reason
