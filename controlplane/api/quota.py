"""How many requests a caller has left in this hour (control-plane.md 4.5, 4.6)."""

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from controlplane.errors import ArmError

WINDOW_S = 3_600
READS = "reads"
WRITES = "writes"
DELETES = "deletes"


@dataclass(slots=True)
class Quota:
    """Counts per caller in windows of one hour, in this process alone: a brake, not an account."""

    limits: Mapping[str, int]
    _window: int = 0
    _used: Counter[tuple[str, str]] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def spend(self, caller: str, method: str, now: datetime) -> tuple[str, int]:
        """Count one request; the class it belongs to and what is left of it. Raises 429 `TooManyRequests`."""
        kind = kind_of(method)
        second = int(now.timestamp())
        with self._lock:
            if second // WINDOW_S != self._window:
                self._window = second // WINDOW_S
                self._used.clear()
            self._used[caller, kind] += 1
            left = self.limits[kind] - self._used[caller, kind]
        if left < 0:
            raise _too_many(kind, WINDOW_S - second % WINDOW_S)
        return kind, left


def kind_of(method: str) -> str:
    if method in ("GET", "HEAD", "OPTIONS"):
        return READS
    return DELETES if method == "DELETE" else WRITES


def _too_many(kind: str, retry_after_s: int) -> ArmError:
    message = f"The limit of {kind} in one hour is reached. Try again after {retry_after_s} seconds."
    return ArmError(429, "TooManyRequests", message, headers={"Retry-After": str(retry_after_s)})
