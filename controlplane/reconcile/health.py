"""Which nodes count: told from backend's and service's records side by side. Pure.

A node is *dead* when its process is gone: it never comes back under the same identity (decisions 6), so its vote is
lost for good. A node that runs but does not answer is only left out of the routes.
"""

from dataclasses import dataclass
from functools import cached_property

from controlplane.reconcile.model import (
    LaunchMode,
    NodeRecord,
    NodeStatus,
    Observed,
    ObservedNode,
    ObservedService,
    quorum,
)

START_TIMEOUT_S = 60.0
"""A launched node that is not part of the network after this long counts as stuck."""


@dataclass(frozen=True)
class Situation:
    """Both views of an instance's nodes joined by node id. `now_s` is in seconds since the epoch."""

    observed: Observed
    service: ObservedService
    now_s: float

    @cached_property
    def records(self) -> dict[str, NodeRecord]:
        return {record.node_id: record for record in self.service.nodes}

    @cached_property
    def running_ids(self) -> frozenset[str]:
        return frozenset(node.node_id for node in self.observed.nodes if node.running and node.node_id)

    def record_of(self, node: ObservedNode) -> NodeRecord | None:
        return self.records.get(node.node_id or "")

    def node_of(self, record: NodeRecord) -> ObservedNode | None:
        return next((node for node in self.observed.nodes if node.node_id == record.node_id), None)

    @cached_property
    def voters(self) -> tuple[NodeRecord, ...]:
        return self._with_status(NodeStatus.TRUSTED)

    @cached_property
    def live(self) -> tuple[ObservedNode, ...]:
        """Trusted nodes whose process runs."""
        return tuple(node for node in self.observed.nodes if node.running and self._status(node) is NodeStatus.TRUSTED)

    @cached_property
    def dead(self) -> tuple[NodeRecord, ...]:
        """Trusted nodes whose process is gone.

        While some running process has not shown its node id yet, a record nobody claims may be its own.
        """
        unclaimed = any(node.running and node.node_id is None and node.joined for node in self.observed.nodes)
        return () if unclaimed else tuple(r for r in self.voters if r.node_id not in self.running_ids)

    @cached_property
    def joining(self) -> tuple[ObservedNode, ...]:
        """Running nodes on their way in: launched not too long ago, or recorded as pending."""
        return tuple(node for node in self.observed.nodes if node.running and self._is_joining(node))

    @cached_property
    def pending(self) -> tuple[ObservedNode, ...]:
        """Running nodes that wait for the operator's trust."""
        return tuple(node for node in self.joining if self._status(node) is NodeStatus.PENDING)

    @cached_property
    def stale_pending(self) -> tuple[NodeRecord, ...]:
        """Records of nodes that asked to join and are gone."""
        return tuple(r for r in self._with_status(NodeStatus.PENDING) if r.node_id not in self.running_ids)

    @cached_property
    def retired(self) -> tuple[NodeRecord, ...]:
        return self._with_status(NodeStatus.RETIRED)

    @cached_property
    def useless(self) -> tuple[ObservedNode, ...]:
        """Nodes without a record: dead before or after they took part, or stuck on their way in."""
        return tuple(
            node
            for node in self.observed.nodes
            if self._status(node) is None and (not node.running or is_stuck(node, self.now_s))
        )

    @property
    def quorum_lost(self) -> bool:
        """Too few voters run for anything to be committed again: no step of ours can mend that."""
        return len(self.voters) - len(self.dead) < quorum(len(self.voters))

    def _is_joining(self, node: ObservedNode) -> bool:
        status = self._status(node)
        return status is NodeStatus.PENDING or (status is None and not is_stuck(node, self.now_s))

    def _status(self, node: ObservedNode) -> NodeStatus | None:
        record = self.record_of(node)
        return record.status if record else None

    def _with_status(self, status: NodeStatus) -> tuple[NodeRecord, ...]:
        return tuple(sorted((r for r in self.service.nodes if r.status is status), key=lambda r: r.node_id))


def is_stuck(node: ObservedNode, now_s: float) -> bool:
    """A process that should have become part of the network long ago."""
    return node.running and not node.joined and now_s - node.launched_at_s > START_TIMEOUT_S


def is_lost(observed: Observed) -> bool:
    """While no node describes the service: whether too few of the nodes it once trusted still run."""
    once_trusted = [node for node in observed.nodes if node.joined]
    running = sum(node.running for node in once_trusted)
    return running < quorum(len(once_trusted)) if once_trusted else not observed.nodes


def first_node(observed: Observed) -> ObservedNode | None:
    """The node that started the service, if it still is there; the youngest when several attempts left one."""
    starts = [node for node in observed.nodes if node.mode is LaunchMode.START]
    return max(starts, key=lambda node: node.ordinal, default=None)
