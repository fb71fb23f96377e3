"""Clients of a simulated cluster, and the judgement whether it has recovered."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import partial

from dataplane.txid import TxID, TxStatus
from tests.simulation.cluster import Cluster, Node
from tests.simulation.plan import END_US, OPERATIONS

GIVE_UP_US = END_US + 2_000_000
CANARIES = 5


@dataclass(slots=True)
class Clients:
    """Operations of the plan find their way to a node that believes it leads, or give up in the end."""

    cluster: Cluster
    rng: random.Random
    submitted: dict[int, TxID] = field(default_factory=dict)
    canaries: list[TxID] = field(default_factory=list)

    def schedule(self) -> None:
        for operation, at_us in enumerate(self.cluster.plan.operations_us):
            self.cluster.at(at_us, partial(self._attempt, operation))

    def send_canaries(self) -> None:
        """After the faults: writes that must commit. Called until `recovered`."""
        leader = self.cluster.leader()
        if leader is not None and leader.stalled_until_us <= self.cluster.now_us:
            self.canaries.append(self.cluster.submit(leader, OPERATIONS + len(self.canaries)))
        self.cluster.after(60_000, self.send_canaries)

    def committed(self) -> int:
        final = self.cluster.checker.final
        return sum(final.get(txid) is TxStatus.COMMITTED for txid in self.submitted.values())

    def recovered(self) -> bool:
        """Canaries committed on every live member, and no retirement is left half done."""
        final = self.cluster.checker.final
        done = [txid for txid in self.canaries if final.get(txid) is TxStatus.COMMITTED]
        leader = self.cluster.leader()
        if len(done) < CANARIES or leader is None:
            return False
        raft = leader.machine.raft
        members = [self.cluster.nodes[node_id] for c in raft.configurations for node_id in c.ids]
        reached = all(m.machine.raft.commit_seqno >= done[CANARIES - 1].seqno for m in members if m.alive)
        return reached and len(raft.configurations) == 1 and not raft.retirements()

    def _attempt(self, operation: int) -> None:
        target = self._find_leader()
        if target is not None:
            self.submitted[operation] = self.cluster.submit(target, operation)
        elif self.cluster.now_us < GIVE_UP_US:
            self.cluster.after(self.rng.randint(30_000, 120_000), lambda: self._attempt(operation))

    def _find_leader(self) -> Node | None:
        """Ask any node that answers who leads, and go there."""
        awake = [n for n in self.cluster.alive() if n.stalled_until_us <= self.cluster.now_us]
        if not awake:
            return None
        leader_id = self.rng.choice(awake).machine.raft.leader_id
        leader = self.cluster.nodes.get(leader_id or "")
        return leader if leader in awake and leader.leads else None
