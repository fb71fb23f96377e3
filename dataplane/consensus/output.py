"""What the consensus core asks of its owner after an input, and in which order.

The owner does these in the order of the fields: first forget entries, then check and write new ones, then
start a sync, then send, then act on commit, then on what changed. It may send before the sync ends: an entry
may travel before it is durable, but no acknowledgement claims more than `Raft.persisted` has reported.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from dataplane.consensus.configuration import RetirementPhase
from dataplane.consensus.log import Entry
from dataplane.consensus.messages import Message
from dataplane.txid import NodeId


class Leadership(StrEnum):
    """Raft role, in the words of node-api.md 7.1. NONE: a joiner that nobody has contacted yet."""

    NONE = "None"
    LEADER = "Leader"
    FOLLOWER = "Follower"
    PRE_VOTE_CANDIDATE = "PreVoteCandidate"
    CANDIDATE = "Candidate"


class Membership(StrEnum):
    """Retired from the moment the removal is in the log (node-api.md 7.1)."""

    ACTIVE = "Active"
    RETIRED = "Retired"


@dataclass(frozen=True, slots=True)
class RoleChanged:
    """Role, view or known leader differ from what was last reported."""

    role: Leadership
    view: int
    leader_id: NodeId | None


@dataclass(frozen=True, slots=True)
class SignatureDue:
    """This node leads `view` and should propose a signature as soon as it can (node-api.md 7.2)."""

    view: int


@dataclass(frozen=True, slots=True)
class RetirementChanged:
    """A node's retirement reached `phase`; None: the entry that removed it was rolled back.

    On COMPLETED the leader's owner proposes an entry whose `retired_committed` names the node.
    """

    node_id: NodeId
    phase: RetirementPhase | None


Became = RoleChanged | SignatureDue | RetirementChanged


@dataclass(frozen=True, slots=True)
class Output:
    """Duties, in order.

    truncate_after: forget every entry after this seqno (store, tree, ledger file). A sync still running must
        from now on report at most this seqno to `Raft.persisted`.
    append: entries received from the leader. The owner checks each before it writes it; at the first it refuses
        it writes no more and calls `Raft.reject_after` with the seqno before.
    sync: make everything written durable, then call `Raft.persisted`.
    send: messages by receiver. Any may be lost, repeated, delayed or reordered.
    commit: the new commit seqno, always a signed entry.
    """

    truncate_after: int | None = None
    append: tuple[Entry, ...] = ()
    sync: bool = False
    send: tuple[tuple[NodeId, Message], ...] = ()
    commit: int | None = None
    became: tuple[Became, ...] = ()
