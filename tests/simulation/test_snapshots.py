"""Nodes that begin with snapshots: that they do, and that a bad snapshot is noticed."""

import random
import re
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import pytest

from dataplane.consensus.parameters import Origin, Settings
from dataplane.consensus.raft import Raft
from tests.simulation.machine import Begin, ConsensusMachine, Machine, MachineKind, Snapshot, consensus_machines
from tests.simulation.machines import MACHINES
from tests.simulation.plan import draw_plan
from tests.simulation.replica_machine import REPLICAS, ReplicaMachine
from tests.simulation.simulator import SimulationFailed, simulate


class Hasty(ConsensusMachine):
    """Makes snapshots of what is signed and not committed."""

    def _snapshot_seqno(self) -> int:
        return self.raft.committable_seqno


class Forgetful(ConsensusMachine):
    """Begins without the nodes that are still to be marked as retired."""

    def __init__(
        self, node_id: str, settings: Settings, rng: random.Random, raft_type: type[Raft], begin: Begin
    ) -> None:
        if begin.snapshot is not None:
            origin, root = cast(tuple[Origin, bytes], begin.snapshot.state)
            begin = replace(begin, snapshot=replace(begin.snapshot, state=(replace(origin, retirements=()), root)))
        super().__init__(node_id, settings, rng, raft_type, begin)


class Lossy(ReplicaMachine):
    """Begins without one of the rows."""

    def _restore(self, snapshot: Snapshot, settings: Settings, rng: random.Random) -> None:
        super()._restore(snapshot, settings, rng)
        store = self._replica.store
        tables = dict(store.committed_tables())
        table = tables.get("records")
        if table is not None and table.rows:
            rows = table.rows.delete(min(table.rows))
            tables["records"] = type(table)(rows, table.version)
            self._replica.store = type(store)(tables, store.version)


def lossy(node_id: str, settings: Settings, rng: random.Random, begin: Begin) -> Machine:
    return Lossy(node_id, settings, rng, begin)


@pytest.mark.parametrize(("machine", "seeds"), [("consensus", range(6)), ("replica", range(2))])
def test_nodes_begin_with_snapshots_and_with_or_without_the_old_ledger(machine: str, seeds: range) -> None:
    lines = [line for s in seeds for line in simulate(draw_plan(s), MACHINES[machine], keep_trace=True).trace]
    for kind in ("with the ledger", "without the ledger"):
        assert any(kind in line for line in lines), kind


def caught(seeds: range, kind: MachineKind) -> str:
    """What the checker says of machines of this kind, at the first seed that shows it."""
    for seed in seeds:
        try:
            simulate(draw_plan(seed), kind)
        except SimulationFailed as failure:
            return failure.reason
    return "nothing"


@pytest.mark.parametrize(
    ("kind", "seeds", "said"),
    [
        (lambda: consensus_machines(machine_type=Hasty), range(8), "which is not committed"),
        (lambda: consensus_machines(machine_type=Forgetful), range(30), "another snapshot of"),
        (lambda: MachineKind(lossy, REPLICAS.name_of, REPLICAS.prepare), range(4), "another snapshot of|ledger says"),
    ],
    ids=["of what is not committed", "without retirements", "without a row"],
)
def test_a_bad_snapshot_is_noticed(kind: Callable[[], MachineKind], seeds: range, said: str) -> None:
    assert re.search(said, caught(seeds, kind()))
