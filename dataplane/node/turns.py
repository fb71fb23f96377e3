"""One slow request a turn: between two of them the event loop hears other nodes, its timers and its clients."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVarTuple

_LONG_S = 0.02

Parts = TypeVarTuple("Parts")


class Turns:
    """Runs what is asked at once, or, where this turn of the loop has been long already, in the next one."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._was_long = False

    def run(self, act: Callable[[*Parts], None], *parts: *Parts) -> None:
        """Call `act`, now or after the loop has come round; the order of those that wait is kept."""
        if self._was_long:
            self._loop.call_soon(self.run, act, *parts)
            return
        begin_s = time.monotonic()
        act(*parts)
        if time.monotonic() - begin_s >= _LONG_S:
            self._was_long = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._was_long = False
