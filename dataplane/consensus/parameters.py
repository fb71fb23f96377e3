"""What a core is begun with: its settings, and where its log begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dataplane.consensus.configuration import Configuration, Retirement


@dataclass(frozen=True, slots=True)
class Settings:
    """Times in milliseconds (defaults of node-api.md 6.2), sizes in bytes of entry data."""

    election_timeout_ms: int = 5000
    message_timeout_ms: int = 100
    max_append_bytes: int = 256 * 1024  # of one AppendEntries; a larger entry travels alone
    max_append_entries: int = 1024  # of one AppendEntries, and asked of `read` at once
    max_in_flight_bytes: int = 4 * 1024 * 1024  # sent to one follower and not yet acknowledged
    max_cached_bytes: int = 16 * 1024 * 1024  # of committed entries kept in memory for slow followers
    pre_vote: bool = False  # ask before campaigning; the questions are always answered


@dataclass(frozen=True, slots=True)
class Origin:
    """What a log begins with that does not begin at seqno 1: a snapshot, or a ledger that was read before.

    seqno: of a signature transaction that is committed, as is everything before it; 0 stands for an empty log.
    view_history: up to there, as `Raft.view_history`; it ends with the view of `seqno`.
    configurations: the ones active there, by seqno. Empty where a recovery replaces the nodes of old.
    retirements: of nodes that left, marked `retired_committed` or not yet.
    """

    seqno: int = 0
    view_history: Sequence[int] = ()
    configurations: Sequence[Configuration] = ()
    retirements: Sequence[Retirement] = ()
