"""What a benchmark says: rows of figures, and the calibration loop they are compared with."""

import hashlib
import time
from dataclasses import dataclass, field

_ROUNDS = 200
_BLOCK = bytes(1024)


@dataclass(frozen=True)
class Row:
    """One figure. `us` is the same as a time in microseconds, where it is one: what the ratio is taken of.

    `detail` holds whatever else was measured beside it, by name.
    """

    group: str
    name: str
    value: float
    unit: str
    us: float | None = None
    detail: dict[str, object] = field(default_factory=dict)

    def ratio(self, calibration_us: float) -> float | None:
        """How many calibration loops the figure is worth."""
        return None if self.us is None else self.us / calibration_us


@dataclass(frozen=True)
class Effort:
    """How long to measure: seconds for a run of a load, and how many runs; the median run counts."""

    seconds: float = 3.0
    repeats: int = 3


def calibrate(repeats: int = 7) -> float:
    """CPU microseconds of the calibration loop, the best of `repeats`.

    The loop is half pure Python and half hashing, as a node's work is: 200 times one SHA-256 of 1 KB and ten additions
    to a dictionary.
    """
    best = float("inf")
    for _ in range(repeats):
        begin = time.process_time()
        for _ in range(20):
            _loop()
        best = min(best, (time.process_time() - begin) / 20 * 1e6)
    return best


def _loop() -> int:
    sums: dict[int, int] = {}
    for round_number in range(_ROUNDS):
        first = hashlib.sha256(_BLOCK).digest()[0]
        for index in range(10):
            sums[index] = sums.get(index, 0) + first + round_number
    return len(sums)
