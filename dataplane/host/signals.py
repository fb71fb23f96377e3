"""How a node process is told to stop (node-api.md 6.1, drop-in.md 3.1).

The first SIGTERM, SIGHUP or SIGINT asks for a clean stop; another one, while that is under way, for an immediate one.
With `ignore_first_sigterm` the first SIGTERM only gives notice.
"""

import asyncio
import logging
import signal
from collections.abc import Callable

_log = logging.getLogger("host")

# SIGHUP is logged by the name the C library has for it, which launchers look for.
_NAMES = {signal.SIGTERM: "Terminated", signal.SIGHUP: "Hangup", signal.SIGINT: "Interrupt"}


class StopSignals:
    """`stopping` gets None at the first signal that stops, `forced` at the next. `on_notice` may be set later."""

    def __init__(self, *, ignore_first_sigterm: bool) -> None:
        loop = asyncio.get_running_loop()
        self.stopping: asyncio.Future[str | None] = loop.create_future()
        self.forced: asyncio.Future[None] = loop.create_future()
        self.noticed = False
        self._notice_only = ignore_first_sigterm
        self._on_notice: Callable[[], None] | None = None
        for number in _NAMES:
            loop.add_signal_handler(number, self.received, number)

    def received(self, number: signal.Signals) -> None:
        """One signal."""
        if number is signal.SIGTERM and self._notice_only:
            self._notice_only = False
            self._give_notice()
        elif not self.stopping.done():
            _log.info("%s: stopping", _NAMES[number])
            self.stopping.set_result(None)
        elif not self.forced.done():
            _log.info("%s: stopping at once", _NAMES[number])
            self.forced.set_result(None)

    def fail(self, reason: str) -> None:
        """The node cannot go on; the process ends with an error."""
        if not self.stopping.done():
            _log.critical("%s", reason)
            self.stopping.set_result(reason)

    def tell_notice(self, tell: Callable[[], None]) -> None:
        """Call `tell` when a notice comes; at once, if one has come already."""
        self._on_notice = tell
        if self.noticed:
            tell()

    def _give_notice(self) -> None:
        _log.info("Terminated: taken as a notice, stopping at the next one")
        self.noticed = True
        if self._on_notice is not None:
            self._on_notice()
