"""A small count of every parser with a new seed, and every input that was once a finding."""

import time
from base64 import b64decode
from pathlib import Path

import pytest

from tests.fuzz.broken import BROKEN
from tests.fuzz.harness import Target, fuzz, mutant, replay
from tests.fuzz.targets import ALL

pytestmark = pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")

FINDINGS = Path(__file__).parent / "findings"
SEED = int(time.time())
BASE = 250


@pytest.mark.parametrize("target", ALL.values(), ids=ALL)
def test_a_few_mutants_of_every_parser(target: Target) -> None:
    report = fuzz(target, max(20, BASE * target.weight // 50), SEED)
    assert not report.findings, "\n".join(map(str, report.findings))
    assert report.refused > 0


@pytest.mark.parametrize("name", ["wrong exception", "believes everything"])
def test_a_broken_parser_is_caught(name: str) -> None:
    assert fuzz(BROKEN[name], 400, SEED).findings


def test_an_input_that_never_ends_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.harness.INPUT_LIMIT_S", 0.05)
    report = fuzz(BROKEN["never ends"], 200, SEED)
    assert report.findings
    assert all("took more than" in finding.problem for finding in report.findings)


def test_the_same_seed_gives_the_same_inputs() -> None:
    for target in ALL.values():
        assert [mutant(target, 5, index) for index in range(5)] == [mutant(target, 5, index) for index in range(5)]
        assert mutant(target, 5, 1) != mutant(target, 6, 1) or mutant(target, 5, 2) != mutant(target, 6, 2)


@pytest.mark.parametrize("path", sorted(FINDINGS.iterdir()), ids=lambda path: path.name)
def test_what_was_once_a_finding(path: Path) -> None:
    """Files are named `<target>-<what it did>`, blanks as `_`, and hold the input in base64."""
    target = ALL[path.name.partition("-")[0].replace("_", " ")]
    assert replay(target, b64decode(path.read_text())) in ("taken", "refused")
