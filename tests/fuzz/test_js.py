"""The interpreter survives random scripts: no crash, no exception but its own, no growing memory."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

_GROWTH_KIB = 96 * 1024
"""Two heaps at the largest limit the scripts get may be in use at once; a leak of a few KiB a script passes this."""


def _fuzz(seed: int, count: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.js_scripts", str(seed), str(count)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"seed {seed} ended the process ({done.returncode}):\n{done.stdout}{done.stderr}"
    assert done.stderr == ""
    report = re.search(r"\{(.*)\}, grown by (\d+) KiB", done.stdout)
    assert report is not None, done.stdout
    assert "returned" in report[1]
    assert "JsError" in report[1]
    assert int(report[2]) < _GROWTH_KIB, done.stdout


def test_random_scripts() -> None:
    _fuzz(seed=1, count=1000)


@pytest.mark.ci
@pytest.mark.parametrize("seed", [2, 3])
def test_many_random_scripts(seed: int) -> None:
    _fuzz(seed, count=20_000)
