"""What `docs/results/recovery.json` and `shares.json` claim, at a part of their size and with a new seed each time."""

import time
from pathlib import Path

import pytest

from tests.shown import recovery, shares
from tests.support.vectors import ccf_services

pytestmark = [pytest.mark.ci, pytest.mark.xdist_group("nodes")]


def test_real_services_come_back_and_a_straight_replay_agrees(tmp_path: Path) -> None:
    services = ccf_services()
    chosen = [services[int(time.time()) % len(services)]] if services else []
    result = recovery.run(chosen, tmp_path, 150)
    assert result["ours"]["private_keys"] > 0  # type: ignore[index]


def test_k_shares_recover_all_and_fewer_nothing(tmp_path: Path) -> None:
    assert shares.run(15, int(time.time()), tmp_path)["sets_below_threshold"]
