"""Bad input to nodes and control plane, fuzzed parsers, Schemathesis on the ARM contract: all cases refused well.

    python -m tests.shown.bad_input

The controls are tests among them: the Schemathesis run finds a 5xx, the tables a changed database.
"""

import sys
from collections import Counter

import pytest

from tests.support.nodes import ROOT
from tests.support.results import save

PLACES = ("tests/integration/test_bad_input.py", "tests/security", "tests/contract", "tests/fuzz")


class _Count:
    """Outcomes by place."""

    def __init__(self) -> None:
        self.outcomes: Counter[tuple[str, str]] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            place = next(place for place in PLACES if report.nodeid.startswith(place))
            self.outcomes[place, report.outcome] += 1


def run() -> tuple[int, dict[str, object]]:
    """Pytest's exit code, and the counts."""
    count = _Count()
    code = pytest.main(["-q", "-p", "no:cacheprovider", *(str(ROOT / place) for place in PLACES)], plugins=[count])
    return int(code), {place: {o: n for (p, o), n in count.outcomes.items() if p == place} for place in PLACES}


if __name__ == "__main__":
    exit_code, outcomes = run()
    save("bad-input", {"exit_code": exit_code, "outcomes": outcomes})
    sys.exit(exit_code)
