"""Faults of a plan, injected into a cluster: partitions of every shape, pauses, slow disks, crashes."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import partial

from tests.simulation.cluster import Cluster, Node
from tests.simulation.membership import Operator
from tests.simulation.plan import Fault

Links = list[tuple[str, str]]


@dataclass(slots=True)
class Faults:
    cluster: Cluster
    operator: Operator
    rng: random.Random

    def schedule(self) -> None:
        for start_us, duration_us, kind in self.cluster.plan.faults:
            self.cluster.at(start_us, partial(self._inject, kind, duration_us))

    def heal(self) -> None:
        """All links work, calmly; everyone goes on."""
        self.cluster.note("", "heal")
        self.cluster.network.heal()
        for node in self.cluster.alive():
            node.stalled_until_us = self.cluster.now_us
            node.slow_disk_until_us = self.cluster.now_us

    def _inject(self, kind: Fault, duration_us: int) -> None:
        victim = self._victim()
        self.cluster.note(victim.node_id, "fault", f"{kind.value} for {duration_us // 1000} ms")
        until_us = self.cluster.now_us + duration_us
        match kind:
            case Fault.PAUSE:
                victim.stalled_until_us = until_us
                if self.cluster.plan.beats:
                    self.cluster.beat(victim)
            case Fault.SLOW_DISK:
                victim.slow_disk_until_us = until_us
            case Fault.CRASH:
                if self.operator.may_lose(victim):
                    self.cluster.kill(victim, "crash")
            case _:
                self._partition(self._links(kind, victim.node_id), duration_us)

    def _victim(self) -> Node:
        """Leaders fail more often than others, as their failures are the interesting ones."""
        leader = self.cluster.leader()
        if leader is not None and self.rng.random() < 0.5:
            return leader
        return self.rng.choice(self.cluster.alive())

    def _partition(self, links: Links, duration_us: int) -> None:
        network = self.cluster.network
        network.cut(links)
        self.cluster.after(duration_us, lambda: network.mend(links))

    def _links(self, kind: Fault, victim: str) -> Links:
        node_ids = [node.node_id for node in self.cluster.alive()]
        others = [node_id for node_id in node_ids if node_id != victim]
        inward = [(other, victim) for other in others]
        outward = [(victim, other) for other in others]
        match kind:
            case Fault.DEAFEN:
                return inward
            case Fault.MUTE:
                return outward
            case Fault.SPLIT:
                side = set(self.rng.sample(node_ids, len(node_ids) // 2))
                return [(a, b) for a in node_ids for b in node_ids if (a in side) != (b in side)]
            case Fault.ONE_WAY:
                pairs = [(a, b) for a in node_ids for b in node_ids if a != b]
                return self.rng.sample(pairs, len(pairs) // 3)
            case _:
                return inward + outward
