"""Hints to the worker are sent beside the request, so that a broker that is slow or gone never delays an answer."""

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

MAX_WAITING = 1_000

_LOG = logging.getLogger("mccf.api")


@dataclass(slots=True)
class Hints:
    """Sends instance ids from a thread of its own. Whatever is lost here is found by the sweep (decisions 16)."""

    send: Callable[[str], None]
    _waiting: "queue.Queue[str | None]" = field(default_factory=lambda: queue.Queue(MAX_WAITING))
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="hints", daemon=True)
        self._thread.start()

    def notify(self, instance_id: str) -> None:
        """Take a hint, or drop it when too many are waiting."""
        try:
            self._waiting.put_nowait(instance_id)
        except queue.Full:
            _LOG.warning("too many hints are waiting; the sweep will find the instance")

    def stop(self, timeout_s: float) -> None:
        """Send what is waiting, as long as it takes no longer than `timeout_s`."""
        if self._thread is None:
            return
        try:
            self._waiting.put(None, timeout=timeout_s)
        except queue.Full:
            return
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while (instance_id := self._waiting.get()) is not None:
            try:
                self.send(instance_id)
            except Exception as error:
                # The broker's own exception classes are many, and none of them matters.
                _LOG.warning("the worker could not be told: %s; the sweep will find the instance", type(error).__name__)
