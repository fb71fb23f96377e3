"""The page about CCF's own scripts: no failure may hide in it."""

from typing import Any

from tests.upstream.report import render
from tests.upstream.scripts import REASONS, SCRIPTS


def outcome(passed: bool, *functions: str, **others: Any) -> dict[str, Any]:
    return {"passed": passed, "status": int(not passed), "seconds": 1, "functions": functions, "failed": {}, **others}


def row(page: str, name: str) -> str:
    (found,) = [line for line in page.splitlines() if line.startswith(f"| {name} |")]
    return found


def test_every_entry_has_a_row_and_every_reason_an_entry() -> None:
    page = render({}, {})
    for script in SCRIPTS:
        assert "not run" in row(page, script.name)
    assert set(REASONS) <= {name for script in SCRIPTS for name in (script.name, script.file)}


def test_the_failing_function_is_named_with_what_it_said() -> None:
    failed = {"election.test_kill": "AssertionError: a | b", "election.run_all": "AssertionError: a | b"}
    results = {"election.cft": outcome(False, "election.run_all", "election.test_view", *failed, failed=failed)}
    page = render(results, {"election": ["election.test_view", "election.test_never"]})
    assert "fails in `election.test_kill` | 1 | AssertionError: a \\| b" in row(page, "election.cft")
    states = next(line for line in page.splitlines() if line.startswith("- **election**"))
    assert "election.test_view passes" in states
    assert "election.test_kill **fails**" in states
    assert "election.test_never not reached" in states


def test_a_run_that_ends_before_its_first_function() -> None:
    assert "fails at its start | 1 | status 1" in row(render({"fuzzing": outcome(False)}, {}), "fuzzing")


def test_a_run_that_leaves_a_function_out_does_not_count_as_whole() -> None:
    results = {
        "recovery.recovery": outcome(True, left_out=["e2e_logging.test_cose_receipt_schema"]),
        "rotation": outcome(True),
    }
    page = render(results, {})
    assert "passes without `e2e_logging.test_cose_receipt_schema`" in row(page, "recovery.recovery")
    assert "2 of" in page
    assert "1 of them whole" in page
    assert "e2e_logging.test_cose_receipt_schema left out" in page
