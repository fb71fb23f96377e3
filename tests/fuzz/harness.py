"""Feed a parser mutants and watch it: every outcome but "taken" and "refused as expected" is a finding.

A finding is an exception of another type, an input that takes too long, memory or descriptors that grow without end, or
something accepted as verified that its maker never signed (`FalselyVerified`). A crash of the process is noticed by
whoever started it.
"""

import base64
import gc
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

INPUT_LIMIT_S = 3.0
LEAK_LIMIT_BYTES = 48 << 20
_MAX_FINDINGS = 20
_LEAK_COUNT = 2_000  # below, memory says nothing


class FalselyVerified(AssertionError):
    """Something passed a check that it must not pass."""


class TooSlow(BaseException):
    """An input took longer than `INPUT_LIMIT_S`. No `Exception`, so that no parser swallows it."""


@dataclass(frozen=True)
class Target:
    """One parser. `parse` raises one of `refusals` for bad input; `make` gives a mutant for a random source.

    `weight`: its share of a whole run.
    """

    name: str
    make: Callable[[Random], bytes]
    parse: Callable[[bytes], object]
    refusals: tuple[type[Exception], ...]
    weight: int = 10


@dataclass(frozen=True)
class Finding:
    """What an input did, and how to make it again."""

    target: str
    seed: int
    index: int
    problem: str
    data: bytes

    def __str__(self) -> str:
        shown = base64.b64encode(self.data[:3000]).decode()
        return f"{self.target} seed {self.seed} input {self.index}: {self.problem}\n  {shown}"


@dataclass
class Report:
    """What a run saw. `slowest_ms` is the longest one input took."""

    target: str
    taken: int = 0
    refused: int = 0
    slowest_ms: float = 0.0
    grown_bytes: int = 0
    hung: bool = False
    findings: list[Finding] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Inputs in all."""
        return self.taken + self.refused + len(self.findings)


def mutant(target: Target, seed: int, index: int) -> bytes:
    """Input `index` of a run: the same for the same numbers."""
    return target.make(Random(f"{seed}/{target.name}/{index}"))


def fuzz(target: Target, count: int, seed: int) -> Report:
    """Feed `count` mutants to one parser; ends early after many findings, or one that does not end."""
    report = Report(target.name)
    settled = count // 3
    before = (0, 0)
    with _interrupting():
        for index in range(count):
            if index == settled:
                before = _resources()
            _feed(target, seed, index, report)
            if len(report.findings) >= _MAX_FINDINGS or report.hung:
                return report
    if count >= _LEAK_COUNT:
        _check_resources(target, seed, count, before, report)
    return report


def replay(target: Target, data: bytes) -> str:
    """What one input does: `taken`, `refused`, or the problem."""
    report = Report(target.name)
    with _interrupting():
        _run(target, data, report, lambda problem: report.findings.append(Finding(target.name, 0, 0, problem, data)))
    return report.findings[0].problem if report.findings else "taken" if report.taken else "refused"


def _feed(target: Target, seed: int, index: int, report: Report) -> None:
    data = mutant(target, seed, index)
    begin = time.perf_counter()
    _run(target, data, report, lambda problem: report.findings.append(Finding(target.name, seed, index, problem, data)))
    report.slowest_ms = max(report.slowest_ms, (time.perf_counter() - begin) * 1000)


def _run(target: Target, data: bytes, report: Report, found: Callable[[str], None]) -> None:
    signal.setitimer(signal.ITIMER_REAL, INPUT_LIMIT_S)
    try:
        target.parse(data)
    except target.refusals:
        report.refused += 1
    except TooSlow:
        report.hung = True
        found(f"took more than {INPUT_LIMIT_S} s")
    except Exception as error:
        found(f"{type(error).__name__}: {str(error)[:300]}")
    else:
        report.taken += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _check_resources(target: Target, seed: int, count: int, before: tuple[int, int], report: Report) -> None:
    memory, descriptors = _resources()
    report.grown_bytes = memory - before[0]
    for problem in _growth(report.grown_bytes, descriptors - before[1]):
        report.findings.append(Finding(target.name, seed, count, problem, b""))


def _growth(memory: int, descriptors: int) -> Iterator[str]:
    if memory > LEAK_LIMIT_BYTES:
        yield f"memory grew by {memory >> 20} MB"
    if descriptors > 0:
        yield f"{descriptors} descriptors stayed open"


def _resources() -> tuple[int, int]:
    """Resident bytes and open descriptors."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir("/proc/self/fd"))


@contextmanager
def _interrupting() -> Iterator[None]:
    def stop(_signal: int, _frame: object) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGALRM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, before)


def shares(targets: Sequence[Target], total: int) -> dict[str, int]:
    """How many inputs each target gets of `total`, by weight, rounded up."""
    whole = sum(target.weight for target in targets)
    return {target.name: -(-total * target.weight // whole) for target in targets}
