"""The operator of a simulated cluster: brings it up, changes its members, replaces dead nodes, stops retired ones.

It knows what an operator knows: which processes live, and what the node that claims the highest view says. It is
kept from what no consensus survives: `may_lose` refuses a crash that would leave a configuration which still
counts somewhere, or may still turn up in a message, without a live majority.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from tests.simulation.cluster import Cluster, Node
from tests.simulation.plan import END_US, Change

LOOK_US = 120_000
SETTLING_US = 2_000_000  # how long a configuration may travel in a straggling message or an unsent log
SMALLEST, LARGEST = 3, 5


@dataclass(slots=True)
class Operator:
    """One per cluster; looks every `LOOK_US` until the faults end."""

    cluster: Cluster
    rng: random.Random
    _removed: dict[str, None] = field(default_factory=dict)  # left out of some configuration: never to return
    _proposed: list[tuple[int, tuple[str, ...]]] = field(default_factory=list)
    _changes: list[tuple[int, Change]] = field(default_factory=list)

    def boot(self) -> None:
        """Start the first node and, as the service grows, the others."""
        self._changes = list(self.cluster.plan.changes)
        first = self.cluster.spawn(first=True)
        self._propose(first, [first.node_id])
        self.cluster.after(LOOK_US // 2, self._look)

    def recover(self) -> None:
        """Every process is lost: bring the service back from a disk, with a first node and then others."""
        first = self.cluster.restart()
        self._removed.clear()
        self._proposed.clear()
        self._propose(first, [first.node_id])

    def may_lose(self, victim: Node) -> bool:
        """Would every configuration that may count keep a live majority without `victim`?"""
        cluster = self.cluster
        since_us = cluster.now_us - SETTLING_US
        counting = [members for when_us, members in self._proposed if when_us >= since_us]
        counting += [c.ids for node in cluster.alive() for c in node.machine.raft.configurations]
        lost = {node.node_id for node in cluster.nodes.values() if not node.alive} | {victim.node_id}
        return all(2 * sum(member in lost for member in members) < len(members) for members in counting)

    def _look(self) -> None:
        cluster = self.cluster
        self._stop_retired()
        if cluster.now_us < END_US:
            leader = cluster.leader()
            if leader is not None:
                self._steer(leader)
        cluster.after(LOOK_US, self._look)

    def _steer(self, leader: Node) -> None:
        configurations = leader.machine.raft.configurations
        if not configurations or (len(configurations) > 1 and self.rng.random() < 0.7):
            return
        members = list(configurations[-1].ids)
        target = self._target(leader, members)
        if target != members:
            self._propose(leader, target)

    def _target(self, leader: Node, members: list[str]) -> list[str]:
        """The next configuration: replace the dead, complete the cluster, or the next planned change."""
        dead = [member for member in members if not self.cluster.nodes[member].alive]
        kept = [member for member in members if member not in dead]
        missing = max(self.cluster.plan.nodes - len(members), 0) if not self._removed else 0
        if dead or missing:
            return self._recruited(kept, members, len(dead) + missing)
        if self._changes and self._changes[0][0] <= self.cluster.now_us:
            return self._change(self._changes.pop(0)[1], leader, members)
        return members

    def _change(self, change: Change, leader: Node, members: list[str]) -> list[str]:
        leaving: list[str] = []
        joining = 0
        match change:
            case Change.JOIN:
                joining = 1 if len(members) < LARGEST else 0
            case Change.RETIRE:
                leaving = self.rng.sample(members, 1 if len(members) > SMALLEST else 0)
            case Change.RETIRE_LEADER:
                leaving, joining = [leader.node_id], 1
            case Change.REPLACE:
                leaving, joining = self.rng.sample(members, 1), 1
            case Change.REPLACE_TWO:
                leaving, joining = self.rng.sample(members, 2), 2
        kept = [member for member in members if member not in leaving]
        return self._recruited(kept, members, joining)

    def _recruited(self, kept: list[str], members: list[str], count: int) -> list[str]:
        """`kept` with so many others: nodes whose joining was rolled back, or new ones."""
        idle = [
            node.node_id
            for node in self.cluster.alive()
            if node.node_id not in members and node.node_id not in self._removed
        ]
        again = idle[:count] if self.rng.random() < 0.5 else []
        return kept + again + [self.cluster.spawn().node_id for _ in range(count - len(again))]

    def _propose(self, leader: Node, members: list[str]) -> None:
        before = [c.ids for c in leader.machine.raft.configurations]
        for member in before[-1] if before else ():
            if member not in members:
                self._removed[member] = None
        self._proposed.append((self.cluster.now_us, tuple(members)))
        nodes = tuple(sorted((member, f"{member}:1") for member in members))
        self.cluster.reconfigure(leader, nodes)

    def _stop_retired(self) -> None:
        """Stop nodes some time after their retirement became final, as the contract allows (node-api.md 6.5)."""
        for node_id, since_us in self.cluster.removable.items():
            node = self.cluster.nodes[node_id]
            if node.alive and self.cluster.now_us - since_us > 150_000:
                self.cluster.kill(node, "stop")
