"""Messages between nodes: one frozen dataclass each.

`view` is always the sender's current view. Names are those of Raft (Ongaro and Ousterhout 2014, figure 2) and
of CCF (ProposeRequestVote; AE-ACK and AE-NACK as two messages because they carry different facts).
"""

from __future__ import annotations

from dataclasses import dataclass

from dataplane.consensus.log import Entry
from dataplane.txid import TxID


@dataclass(frozen=True, slots=True)
class AppendEntries:
    """Entries following `prev`, none for a heartbeat, a probe or a commit notice. `commit_seqno`: the leader's.

    `round` is the leader's to number, and comes back in an AE-NACK, so that it can tell old refusals from new.
    """

    view: int
    prev: TxID
    commit_seqno: int
    round: int = 0
    entries: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True)
class AppendEntriesAck:
    """AE-ACK. Up to `received_seqno` the follower's log is the leader's; up to `persisted_seqno` it is also synced.

    Only `persisted_seqno` counts for commit; `received_seqno` steers the flow.
    """

    view: int
    received_seqno: int
    persisted_seqno: int


@dataclass(frozen=True, slots=True)
class AppendEntriesNack:
    """AE-NACK. An AppendEntries of `round` did not fit the follower's log, or its view has passed.

    `estimate` is the latest entry of the follower that may match the leader's log. It never counts for commit.
    """

    view: int
    round: int
    estimate: TxID


@dataclass(frozen=True, slots=True)
class RequestVote:
    """The sender asks to lead `view`; `committable` is its last signed entry."""

    view: int
    committable: TxID


@dataclass(frozen=True, slots=True)
class RequestVoteResponse:
    view: int
    granted: bool


@dataclass(frozen=True, slots=True)
class RequestPreVote:
    """Would you vote for me in `view` + 1? Changes nothing at the receiver."""

    view: int
    committable: TxID


@dataclass(frozen=True, slots=True)
class RequestPreVoteResponse:
    view: int
    granted: bool


@dataclass(frozen=True, slots=True)
class ProposeRequestVote:
    """A leader that retires asks the receiver to campaign at once."""

    view: int


@dataclass(frozen=True, slots=True)
class Beat:
    """The sender keeps its place in `view` although its core cannot run at the moment.

    A leader sends it to those it replicates to, a follower to its leader; what it says besides is nothing.
    """

    view: int


Message = (
    AppendEntries
    | AppendEntriesAck
    | AppendEntriesNack
    | RequestVote
    | RequestVoteResponse
    | RequestPreVote
    | RequestPreVoteResponse
    | ProposeRequestVote
    | Beat
)
