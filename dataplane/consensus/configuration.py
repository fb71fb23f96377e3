"""Active configurations, retirements and quorum arithmetic. Knows nothing of messages or time.

A reconfiguration is one entry. It counts for elections and commit as soon as it is in the log; the configuration
before it counts until the entry is committed (node-api.md 7.2). A node left out of a configuration retires in
phases (node-api.md 6.5) and is replicated to until the entry saying `retired_committed` is itself committed, so
that it can still vote in the old configuration for nodes that do not know yet that they need it no longer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from dataplane.consensus.log import Entry, Nodes
from dataplane.txid import NodeId


class RetirementPhase(StrEnum):
    """How far the removal of a node has come (node-api.md 6.5 and 7.1)."""

    ORDERED = "Ordered"
    SIGNED = "Signed"
    COMPLETED = "Completed"
    RETIRED_COMMITTED = "RetiredCommitted"


@dataclass(frozen=True, slots=True)
class Configuration:
    """The voting nodes from the entry at `seqno` on."""

    seqno: int
    nodes: Nodes

    @property
    def ids(self) -> tuple[NodeId, ...]:
        return tuple(node_id for node_id, _ in self.nodes)

    def __contains__(self, node_id: object) -> bool:
        return any(node_id == member for member, _ in self.nodes)


@dataclass(frozen=True, slots=True)
class Retirement:
    """`ordered_seqno`: entry that removed the node. `marked_seqno`: entry that says `retired_committed`, else 0."""

    node_id: NodeId
    address: str
    ordered_seqno: int
    marked_seqno: int = 0


def is_well_formed(nodes: Nodes) -> bool:
    """Not empty, sorted by node id, each node once: else a node could be counted twice."""
    ids = [node_id for node_id, _ in nodes]
    return bool(ids) and all(a < b for a, b in pairwise(ids))


def is_quorum(nodes: Collection[NodeId], agreeing: Collection[NodeId]) -> bool:
    """More than half of `nodes` are in `agreeing`; members of `agreeing` outside `nodes` do not count."""
    return 2 * sum(node in agreeing for node in nodes) > len(nodes)


def quorum_seqno(nodes: Collection[NodeId], acknowledged: Mapping[NodeId, int]) -> int:
    """The highest seqno acknowledged by a majority of `nodes`; a node not in `acknowledged` has 0."""
    ranked = sorted((acknowledged.get(node, 0) for node in nodes), reverse=True)
    return ranked[len(ranked) // 2]


class Configurations:
    """What the log says about membership, kept in step with it: append, rollback, commit."""

    def __init__(self, active: Sequence[Configuration] = (), retirements: Sequence[Retirement] = ()) -> None:
        """Begin with what committed entries said: `active` by seqno, `retirements` final (marked) or not."""
        self._active = list(active)
        self._retirements = [r for r in retirements if not r.marked_seqno]
        self._retired = {r.node_id: r for r in retirements if r.marked_seqno}  # marked and committed: final

    @property
    def active(self) -> tuple[Configuration, ...]:
        """The current configuration, then the pending ones, by seqno. Empty before the first is seen."""
        return tuple(self._active)

    def append(self, entry: Entry) -> None:
        """Take note of the membership marks of an entry that entered the log."""
        if entry.configuration is not None:
            self._configure(entry.seqno, entry.configuration)
        if entry.retired_committed:
            self._mark(entry.seqno, entry.retired_committed)

    def rollback(self, seqno: int) -> None:
        """Forget what entries after `seqno` said."""
        self._active = [c for c in self._active if c.seqno <= seqno]
        self._retirements = [
            r if r.marked_seqno <= seqno else Retirement(r.node_id, r.address, r.ordered_seqno)
            for r in self._retirements
            if r.ordered_seqno <= seqno
        ]

    def commit(self, seqno: int) -> None:
        """Drop configurations that a committed one replaces; make committed retirements final."""
        while len(self._active) > 1 and self._active[1].seqno <= seqno:
            del self._active[0]
        if not self._retirements:
            return
        final = [r for r in self._retirements if 0 < r.marked_seqno <= seqno]
        self._retired.update((r.node_id, r) for r in final)
        self._retirements = [r for r in self._retirements if r not in final]

    def is_active(self, node_id: NodeId) -> bool:
        """Is the node in any active configuration?"""
        return any(node_id in c for c in self._active)

    def includes_committable(self, node_id: NodeId, committable_seqno: int) -> bool:
        """Is the node in an active configuration that a signed entry covers? Only then may it campaign."""
        return any(node_id in c and c.seqno <= committable_seqno for c in self._active)

    def quorum_in_each(self, agreeing: Collection[NodeId]) -> bool:
        """A majority of every active configuration is in `agreeing`; False while there is no configuration.

        Each configuration is tallied on its own: a vote counts only where the voter is a member.
        """
        return bool(self._active) and all(is_quorum(c.ids, agreeing) for c in self._active)

    def agreed_seqno(self, acknowledged: Mapping[NodeId, int]) -> int:
        """The highest seqno acknowledged by a majority of every active configuration; 0 without one."""
        return min((quorum_seqno(c.ids, acknowledged) for c in self._active), default=0)

    def voters(self) -> dict[NodeId, str]:
        """Address of every node of any active configuration, by node id."""
        return {node: address for c in self._active for node, address in c.nodes}

    def replicated(self) -> dict[NodeId, str]:
        """Address of every node entries go to: voters, and nodes whose retirement is not final."""
        leaving = {r.node_id: r.address for r in self._retirements}
        return leaving | self.voters()

    def retirements(self, committable_seqno: int, commit_seqno: int) -> dict[NodeId, RetirementPhase]:
        """Phase of every retirement that is not final yet, by node id."""
        return {r.node_id: _phase(r, committable_seqno, commit_seqno) for r in self._retirements}

    def unmarked(self, commit_seqno: int) -> tuple[NodeId, ...]:
        """Nodes whose removal is committed and that no entry marks `retired_committed` yet."""
        return tuple(r.node_id for r in self._retirements if not r.marked_seqno and r.ordered_seqno <= commit_seqno)

    @property
    def retiring_count(self) -> int:
        """How many retirements are not final."""
        return len(self._retirements)

    @property
    def retired_count(self) -> int:
        """How many retirements are final."""
        return len(self._retired)

    @property
    def retired(self) -> tuple[NodeId, ...]:
        """Nodes whose retirement is final, in the order it became so."""
        return tuple(self._retired)

    def is_retired(self, node_id: NodeId) -> bool:
        """Has the node's retirement become final (RetiredCommitted)?"""
        return node_id in self._retired

    def _configure(self, seqno: int, nodes: Nodes) -> None:
        if self._active:
            kept = {node for node, _ in nodes}
            for node, address in self._active[-1].nodes:
                if node not in kept:
                    self._retirements.append(Retirement(node, address, seqno))
        self._active.append(Configuration(seqno, nodes))

    def _mark(self, seqno: int, node_ids: tuple[NodeId, ...]) -> None:
        self._retirements = [
            Retirement(r.node_id, r.address, r.ordered_seqno, seqno)
            if r.node_id in node_ids and not r.marked_seqno
            else r
            for r in self._retirements
        ]


def _phase(retirement: Retirement, committable_seqno: int, commit_seqno: int) -> RetirementPhase:
    if commit_seqno >= retirement.ordered_seqno:
        return RetirementPhase.COMPLETED
    if committable_seqno >= retirement.ordered_seqno:
        return RetirementPhase.SIGNED
    return RetirementPhase.ORDERED
