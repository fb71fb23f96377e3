"""Simulated services that are lost, recovered from a disk, and rekeyed: that they are, and what would be noticed."""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from dataplane.consensus.parameters import Settings
from dataplane.kv.tx import Table
from tests.simulation.cluster import Cluster, Node
from tests.simulation.machine import Begin, Machine, MachineKind, MachineOutput
from tests.simulation.plan import draw_plan
from tests.simulation.replica_machine import REPLICAS, ReplicaMachine
from tests.simulation.simulator import SimulationFailed, simulate

LOST_US = 4_000_000


def with_restart(kind: MachineKind) -> MachineKind:
    """Every run loses its whole service once."""
    return replace(kind, prepare=lambda plan: replace(kind.prepare(plan), restarts_us=(LOST_US,)))


def of(machine: Callable[[str, Settings, random.Random, Begin], Machine]) -> MachineKind:
    return with_restart(MachineKind(machine, REPLICAS.name_of, REPLICAS.prepare))


def caught(seeds: range, kind: MachineKind) -> str:
    """What is said of machines of this kind, at the first seed that shows it."""
    for seed in seeds:
        try:
            simulate(draw_plan(seed), kind)
        except SimulationFailed as failure:
            return failure.reason
        except ValueError as error:  # of the code under test, which expects no such machine
            return str(error)
    return "nothing"


def test_services_are_lost_rekeyed_and_whole_again() -> None:
    whole = rekeys = 0

    class Watched(ReplicaMachine):
        def take_output(self) -> MachineOutput:
            nonlocal whole
            before = self.whole
            output = super().take_output()
            whole += self.whole and not before
            return output

        def audit(self) -> None:
            nonlocal rekeys
            super().audit()
            rekeys += len(list(self._secrets)) > 3

    result = [simulate(draw_plan(seed), of(Watched), keep_trace=True) for seed in range(2)]
    assert all(any("recover" in line for line in run.trace) for run in result)
    assert whole >= 4
    assert rekeys >= 2


def test_a_row_that_the_private_reading_adds_is_noticed() -> None:
    class Inventive(ReplicaMachine):
        def _read_private(self) -> None:
            before = self.whole
            super()._read_private()
            if self.whole and not before:
                table = self._replica.store.tables()["records"]
                rows = table.rows.set(b"invented", (1, b"x"))
                self._replica.store.adopt({"records": Table(rows, table.version)}, ())

    assert "records is not what the ledger says" in caught(range(4), of(Inventive))


def test_a_secret_that_outlives_its_rekey_is_noticed() -> None:
    class Hoarder(ReplicaMachine):
        def __init__(self, node_id: str, settings: Settings, rng: random.Random, begin: Begin) -> None:
            super().__init__(node_id, settings, rng, begin)
            self._secrets.rollback = lambda seqno: None  # type: ignore[method-assign]

    assert caught(range(20), MachineKind(Hoarder, REPLICAS.name_of, REPLICAS.prepare)) != "nothing"


def test_a_recovery_from_a_stale_disk_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    best = Cluster.restart

    def stale(cluster: Cluster) -> Node:
        nodes = dict(cluster.nodes)
        last = {node_id: cluster.checker.last_signed(node_id) for node_id in nodes}
        worst = min((node_id for node_id in nodes if last[node_id].seqno), key=lambda node_id: last[node_id])
        cluster.nodes = {worst: nodes[worst]}
        for node_id, node in nodes.items():
            if node_id != worst and node.alive:
                cluster.kill(node, "lost")
        first = best(cluster)
        cluster.nodes = {**nodes, first.node_id: first}
        return first

    monkeypatch.setattr(Cluster, "restart", stale)
    assert "committed entries" in caught(range(6), with_restart(REPLICAS))
