"""Between two slow requests the event loop comes round."""

import asyncio
import time

from dataplane.node.turns import Turns


def run(*seconds: float) -> list[str]:
    """What happens when so many requests of these lengths arrive in one turn, and something else is waiting."""
    happened: list[str] = []

    def request(number: int, seconds: float) -> None:
        time.sleep(seconds)
        happened.append(f"request {number}")

    async def play() -> None:
        loop = asyncio.get_running_loop()
        turns = Turns(loop)
        loop.call_soon(happened.append, "other")
        for number, length in enumerate(seconds):
            turns.run(request, number, length)
        loop.call_soon(happened.append, "end of the first turn")
        for _ in range(10):
            await asyncio.sleep(0)

    asyncio.run(play())
    return happened


def test_quick_requests_share_a_turn() -> None:
    assert run(0, 0, 0) == ["request 0", "request 1", "request 2", "other", "end of the first turn"]


def test_after_a_slow_one_the_next_waits_its_turn() -> None:
    assert run(0.03, 0.03, 0)[:3] == ["request 0", "other", "request 1"]


def test_those_that_wait_keep_their_order() -> None:
    order = [event for event in run(0.03, 0, 0.03, 0.03, 0) if event.startswith("request")]
    assert order == [f"request {number}" for number in range(5)]
