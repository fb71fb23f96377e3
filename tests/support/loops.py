"""Coroutines as tests, in the event loop the node uses."""

import asyncio
import time
import warnings
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec

import uvloop

P = ParamSpec("P")


def on_uvloop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test coroutine in a fresh uvloop; anything the loop had to report as unhandled fails it."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        unhandled: list[dict[str, Any]] = []

        async def watched() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
            await test(*args, **kwargs)

        with warnings.catch_warnings():
            # Turned into an error, uvloop's complaint about what a failed test left open would keep it from closing.
            warnings.simplefilter("ignore", ResourceWarning)
            uvloop.run(watched())
        assert not unhandled

    return run


async def until(condition: Callable[[], object], what: str, timeout_s: float = 8.0) -> None:
    """Wait for something to become true; the failure says what was waited for."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"waited {timeout_s} s in vain for: {what}"
        await asyncio.sleep(0.005)
