"""What `docs/results/` claims, at a tenth of its size or less and with a new seed each time."""

import math
import time
from pathlib import Path

import pytest

from tests.shown import (
    canaries,
    corruption,
    failover,
    fuzz,
    governance,
    healing,
    history,
    lasting,
    ledgers,
    receipts,
    sdk,
    stalls,
)
from tests.support.ccf_package import VERSIONS

pytestmark = [pytest.mark.ci, pytest.mark.xdist_group("nodes")]


def test_public_readers_accept_every_ledger_after_a_failover(tmp_path: Path) -> None:
    result = ledgers.run(600, tmp_path)
    assert result["committed_chunks"] >= 3  # type: ignore[operator]


def test_a_ledger_that_lasted_through_two_disasters_is_accepted(tmp_path: Path) -> None:
    assert lasting.run(1500, tmp_path)["recoveries"] == 2


def test_receipts_are_accepted_and_their_mutants_refused(tmp_path: Path) -> None:
    result = receipts.run(100, 1000, int(time.time()), tmp_path)
    assert result["with_claims"] == 50


def test_the_past_is_told_whole_or_not_at_all(tmp_path: Path) -> None:
    result = history.run(90, 15, int(time.time()), tmp_path, real_ledgers=["acme_containing_service"])
    flips = result["ours"]["flips"]  # type: ignore[index]
    assert min(flips["answered_right"], flips["not_answered"]) > 0


def test_the_primary_is_killed_twice_under_load(tmp_path: Path) -> None:
    result = failover.run(2, tmp_path)
    assert result["lost_or_changed"] == 0


def test_the_primary_of_a_managed_instance_is_killed_twice_under_load(tmp_path: Path) -> None:
    assert healing.run(2, tmp_path)["lost_or_changed"] == 0


def test_private_values_are_found_nowhere(tmp_path: Path) -> None:
    assert canaries.run(20, tmp_path)["found"] == 0


def test_the_azure_sdk_against_real_nodes(tmp_path: Path) -> None:
    assert sdk.run(tmp_path)["seen"]["created"] == "Succeeded"


@pytest.mark.parametrize("version", VERSIONS)
def test_governance_with_the_public_signing_tool(version: str, tmp_path: Path) -> None:
    assert governance.run(version, tmp_path)["steps"][-1] == "ballot, proposal Accepted"  # type: ignore[index]


def test_wrong_bytes_in_a_ledger_are_found_and_located(tmp_path: Path) -> None:
    assert corruption.run(100, 800, 2, int(time.time()), tmp_path / "ledger")["located"] == 100


def test_mutants_against_every_parser() -> None:
    assert fuzz.run(100_000, int(time.time()))["findings"] == 0


def test_nothing_holds_up_heartbeats(tmp_path: Path) -> None:
    # On a busy machine the number is the machine's; that nobody elects is ours.
    result = stalls.run(2000, tmp_path, load_s=1, busy=["primary"], limit_ms=math.inf)
    assert result["elections"] == 0
