"""A snapshot of 100,000 keys, made beside a running event loop, does not hold the loop up."""

import asyncio
import time

import immutables
import pytest

from dataplane.kv.tx import Table
from dataplane.ledger.secrets import LedgerSecrets
from dataplane.ledger.snapshot import encode_snapshot
from dataplane.node.snapshots import Rest

pytestmark = pytest.mark.ci

KEYS = 100_000
SECRETS = LedgerSecrets({1: bytes(32)})
TICK_S = 0.005


@pytest.fixture(scope="module")
def tables() -> dict[str, Table]:
    rows = {b"record %d" % number: (number + 1, b"m" * 60) for number in range(KEYS)}
    return {"records": Table(immutables.Map(rows), KEYS)}


def encode(tables: dict[str, Table]) -> bytes:
    return encode_snapshot(KEYS + 1, bytes(32), (1, 1), tables, SECRETS.at(1), Rest())


async def _lateness_s(tables: dict[str, Table], *, in_thread: bool) -> list[float]:
    """How late a ticker is while the snapshot is made, ascending."""
    late: list[float] = []

    async def make() -> bytes:
        await asyncio.sleep(0)
        return await asyncio.to_thread(encode, tables) if in_thread else encode(tables)

    made = asyncio.ensure_future(make())
    while not made.done():
        begin_s = time.monotonic()
        await asyncio.sleep(TICK_S)
        late.append(time.monotonic() - begin_s - TICK_S)
    assert len(made.result()) > KEYS * 60
    return sorted(late)


def test_heartbeats_are_not_held_up(tables: dict[str, Table]) -> None:
    late = asyncio.run(_lateness_s(tables, in_thread=True))
    assert len(late) > 20
    assert late[len(late) // 2] < 0.02
    assert late[len(late) * 95 // 100] < 0.1  # the interval of heartbeats; a shared machine adds its own delays


def test_they_would_be_in_the_loop_itself(tables: dict[str, Table]) -> None:
    """Positive control."""
    assert asyncio.run(_lateness_s(tables, in_thread=False))[-1] > 0.2
