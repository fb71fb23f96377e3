"""What a long-lived state costs the collector, and whether cycles still go."""

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from dataplane.host.garbage import collect_in_steps


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


class Cycle:
    def __init__(self) -> None:
        self.me = self


def grow(state: list[list[object]], count: int) -> None:
    state.extend([None] for _ in range(count))


def test_no_collection_walks_the_state_again() -> None:
    async def play() -> int:
        collect_in_steps(asyncio.get_running_loop())
        state: list[list[object]] = []
        for _ in range(30):
            grow(state, 5_000)
            await asyncio.sleep(0.11 if len(state) % 50_000 == 0 else 0)
        await asyncio.sleep(0.3)
        return sum(len(gc.get_objects(generation)) for generation in range(3))

    assert asyncio.run(play()) < 60_000


def test_cycles_are_collected() -> None:
    async def play() -> None:
        collect_in_steps(asyncio.get_running_loop())
        gone = weakref.ref(Cycle())
        state: list[list[object]] = []
        for _ in range(20):
            grow(state, 1_000)
        await asyncio.sleep(0.3)
        assert gone() is None

    asyncio.run(play())
