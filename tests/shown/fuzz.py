"""A million mutants against every parser: none crashes it, hangs it, makes it leak or passes for what was never signed.

    python -m tests.shown.fuzz [COUNT] [SEED]

Each parser runs in a process of its own, so that a crash is one parser's finding; parsers share COUNT by their weight.
The control: parsers broken on purpose, one in each way, of which every one is caught. A parser that takes or refuses
everything would be fuzzed in vain, so both must happen.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.fuzz.broken import BROKEN
from tests.fuzz.harness import shares
from tests.fuzz.targets import ALL
from tests.support.results import save

_CONTROL_COUNT = 3_000
_PROCESS_LIMIT_S = 1_500


def run(count: int, seed: int, parallel: int = 1) -> dict[str, object]:
    """Raises where an input is a finding, a broken parser is not caught, or a parser was fuzzed in vain."""
    begin_s = time.monotonic()
    caught = {name: _problem(target.name, _CONTROL_COUNT, seed) for name, target in BROKEN.items()}
    missed = [name for name, problem in caught.items() if problem is None]
    assert not missed, f"the control: broken parsers were not caught: {missed}"
    with ThreadPoolExecutor(parallel) as pool:
        reports = list(pool.map(lambda share: _fuzzed(*share, seed), shares(list(ALL.values()), count).items()))
    findings = [finding for report in reports for finding in report["findings"]]
    assert not findings, "\n".join(findings)
    for report in reports:
        assert report["taken"], f"{report['target']} refused every mutant"
        assert report["refused"], f"{report['target']} took every mutant"
    return {
        "seed": seed,
        "inputs": sum(report["taken"] + report["refused"] for report in reports),
        "findings": 0,
        "parsers": {report.pop("target"): _shown(report) for report in reports},
        "seconds": round(time.monotonic() - begin_s, 1),
        "control": caught,
    }


def _shown(report: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in report.items() if name != "findings"}


def _fuzzed(target: str, count: int, seed: int) -> dict[str, Any]:
    done = _process(target, count, seed)
    assert done.stdout, f"{target} died with {done.returncode} at seed {seed}:\n{done.stderr[-3000:]}"
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def _problem(target: str, count: int, seed: int) -> str | None:
    """What the harness says of a broken parser; None when it sees nothing."""
    done = _process(target, count, seed)
    if not done.stdout:
        return f"the process died with {done.returncode}"
    findings = json.loads(done.stdout)["findings"]
    return findings[0].partition("\n")[0] if findings else None


def _process(target: str, count: int, seed: int) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tests.fuzz.run", target, str(count), str(seed)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PROCESS_LIMIT_S)


def main(arguments: list[str]) -> None:
    """The full count, saved as `docs/results/fuzz.json`."""
    count = int(arguments[0]) if arguments else 1_000_000
    seed = int(arguments[1]) if len(arguments) > 1 else int(time.time())
    save("fuzz", run(count, seed, os.cpu_count() or 1))


if __name__ == "__main__":
    main(sys.argv[1:])
