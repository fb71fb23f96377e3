"""One simulated run from its plan: same plan, same run, to the byte."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tests.simulation.checker import InvariantViolated
from tests.simulation.clients import Clients
from tests.simulation.cluster import Cluster
from tests.simulation.faults import Faults
from tests.simulation.machine import MachineKind, consensus_machines
from tests.simulation.membership import Operator
from tests.simulation.plan import END_US, OPERATIONS, Plan

RECOVERY_US = 12_000_000  # after the faults end, thirty election timeouts
ASSESS_US = 50_000


class SimulationFailed(AssertionError):
    """A run broke an invariant or did not recover. Carries the whole trace; shows its end."""

    def __init__(self, seed: int, reason: str, trace: list[str]) -> None:
        tail = "\n".join(trace[-30:])
        super().__init__(
            f"seed {seed}: {reason}\nthe last of {len(trace)} lines of trace:\n{tail}\n"
            f"replay with: python -m tests.simulation.replay {seed}"
        )
        self.seed = seed
        self.reason = reason
        self.trace = trace


@dataclass(frozen=True, slots=True)
class Result:
    """How a run went."""

    seed: int
    events: int
    committed: int  # of OPERATIONS
    commits: int  # advances, over all nodes
    last_view: int
    nodes: int  # processes ever started
    virtual_ms: int
    trace: tuple[str, ...]


def simulate(plan: Plan, kind: MachineKind | None = None, *, keep_trace: bool = False) -> Result:
    """Run a plan to its end with machines of a kind, the core alone by default. Raises `SimulationFailed`."""
    kind = kind or consensus_machines()
    plan = kind.prepare(plan)
    cluster = Cluster(plan, kind)
    operator = Operator(cluster, random.Random(plan.seed + 3))
    faults = Faults(cluster, operator, random.Random(plan.seed + 4))
    clients = Clients(cluster, random.Random(plan.seed + 5))
    try:
        _run(cluster, operator, faults, clients)
    except AssertionError as error:
        reason = str(error) if isinstance(error, InvariantViolated) else f"{type(error).__name__}: {error}"
        raise SimulationFailed(plan.seed, reason, cluster.lines()) from error
    return Result(
        seed=plan.seed,
        events=cluster.events,
        committed=clients.committed(),
        commits=cluster.checker.commits,
        last_view=max(node.machine.raft.view for node in cluster.nodes.values()),
        nodes=len(cluster.nodes),
        virtual_ms=cluster.now_us // 1000,
        trace=tuple(cluster.lines()) if keep_trace else (),
    )


def _run(cluster: Cluster, operator: Operator, faults: Faults, clients: Clients) -> None:
    operator.boot()
    clients.schedule()
    faults.schedule()
    for at_us in cluster.plan.restarts_us:
        cluster.at(at_us, operator.recover)
    while cluster.now_us < END_US:
        cluster.advance()
    faults.heal()
    clients.send_canaries()
    _recover(cluster, clients)
    cluster.checker.statuses()
    for node in cluster.nodes.values():
        node.machine.audit()
    committed = clients.committed()
    if 2 * committed < OPERATIONS:
        raise InvariantViolated(f"only {committed} of {OPERATIONS} operations committed")


def _recover(cluster: Cluster, clients: Clients) -> None:
    assess_us = cluster.now_us
    while True:
        cluster.advance()
        if cluster.now_us < assess_us:
            continue
        assess_us = cluster.now_us + ASSESS_US
        if clients.recovered():
            return
        if cluster.now_us > END_US + RECOVERY_US:
            raise InvariantViolated("no recovery after the faults ended")
