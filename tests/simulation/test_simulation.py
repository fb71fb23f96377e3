"""Clusters under faults keep every invariant and recover; the simulator itself repeats, and fails when it should."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dataplane.consensus.raft import START_VIEW, Raft
from tests.simulation import clients
from tests.simulation.machine import consensus_machines
from tests.simulation.network import Weather
from tests.simulation.plan import START_US, Fault, draw_plan
from tests.simulation.run import Run, run_seeds, summarise
from tests.simulation.simulator import SimulationFailed, simulate

ROOT = Path(__file__).parents[2]


def failures(runs: list[Run], machine: str) -> list[str]:
    return [
        f"{run.failure}: python -m tests.simulation.replay --machine {machine} {run.seed}"
        for run in runs
        if run.failure
    ]


@pytest.mark.parametrize("seed", range(4))
def test_a_node_that_stands_still_keeps_its_place_by_its_beats(seed: int) -> None:
    """Long pauses, half of them of leaders, in fair weather: no election with beats, some without."""
    pauses = tuple((START_US + number * 1_000_000, 900_000, Fault.PAUSE) for number in range(8))
    calm = Weather(loss=0.0, duplication=0.0, reordering=0.0, straggling=0.0, delay_us=2_000)
    plan = replace(draw_plan(seed), faults=pauses, changes=(), weather=calm, beats=True, sync_us=500)
    assert simulate(plan).last_view == START_VIEW
    assert simulate(replace(plan, beats=False)).last_view > START_VIEW


@pytest.mark.parametrize("first", range(0, 24, 8))
def test_consensus(first: int) -> None:
    assert failures(run_seeds("consensus", range(first, first + 8), 1), "consensus") == []


@pytest.mark.parametrize("first", range(2))
def test_replica(first: int) -> None:
    assert failures(run_seeds("replica", [first], 1), "replica") == []


@pytest.mark.ci
@pytest.mark.parametrize("first", range(0, 1000, 50))
def test_consensus_1000_seeds(first: int) -> None:
    """A thousand seeds, fifty in each test so that the workers share them."""
    assert failures(run_seeds("consensus", range(first, first + 50), 1), "consensus") == []


@pytest.mark.ci
@pytest.mark.parametrize("first", range(2, 42, 10))
def test_replica_40_seeds(first: int) -> None:
    assert failures(run_seeds("replica", range(first, first + 10), 1), "replica") == []


@pytest.mark.ci
@pytest.mark.parametrize(("machine", "seed"), [("consensus", 7), ("consensus", 254), ("replica", 3)])
def test_trace_does_not_depend_on_the_hash_seed(machine: str, seed: int) -> None:
    command = [sys.executable, "-m", "tests.simulation.replay", "--machine", machine, str(seed)]
    traces = [
        subprocess.run(
            command, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": hash_seed}, capture_output=True, check=True
        ).stdout
        for hash_seed in ("1", "4242")
    ]
    assert traces[0] == traces[1]
    assert b"passed seed" in traces[0]


def test_same_seed_same_trace() -> None:
    plan = draw_plan(11)
    assert simulate(plan, keep_trace=True).trace == simulate(plan, keep_trace=True).trace


def test_a_cluster_that_never_elects_again_is_a_failure() -> None:
    """Positive control: no invariant of safety is broken by a core that never campaigns."""

    class Timid(Raft):
        def _may_campaign(self) -> bool:
            return False

    with pytest.raises(SimulationFailed, match="no recovery after the faults ended"):
        simulate(draw_plan(1), consensus_machines(Timid))


def test_a_run_that_commits_too_little_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Positive control: clients that give up at once, in a network that delivers nothing until it heals."""
    monkeypatch.setattr(clients, "GIVE_UP_US", 0)
    plan = replace(draw_plan(1), weather=Weather(loss=1.0), faults=(), changes=())
    with pytest.raises(SimulationFailed, match="of 200 operations committed"):
        simulate(plan)


def test_failure_names_the_seed_and_how_to_replay_it() -> None:
    class Timid(Raft):
        def _may_campaign(self) -> bool:
            return False

    with pytest.raises(SimulationFailed) as caught:
        simulate(draw_plan(2), consensus_machines(Timid))
    assert caught.value.seed == 2
    assert "python -m tests.simulation.replay 2" in str(caught.value)
    assert caught.value.trace


def test_summary_counts_what_failed() -> None:
    runs = [Run(5, 0.25, 1000, 190, 40, 4, 9000), Run(6, 0.5, failure="no recovery after the faults ended")]
    summary = summarise("consensus", runs)
    assert summary["seeds"] == {"first": 5, "count": 2, "passed": 1}
    assert summary["committed_share"] == {"lowest": 0.95, "mean": 0.95}
    assert [failure["seed"] for failure in summary["failures"]] == [6]  # type: ignore[attr-defined]
