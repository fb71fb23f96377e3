"""What a leader sends to its followers, and what they have acknowledged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from dataplane.consensus.log import Entry, Log
from dataplane.consensus.messages import AppendEntries, AppendEntriesAck, AppendEntriesNack
from dataplane.consensus.parameters import Settings
from dataplane.consensus.progress import Progress
from dataplane.txid import NodeId, TxID


class Followers:
    """The nodes a leader replicates to, in the order of their ids; none on a node that does not lead.

    read(first, last): as of `Raft`.
    """

    def __init__(self, log: Log, settings: Settings, read: Callable[[int, int], Sequence[Entry]]) -> None:
        self._log = log
        self._settings = settings
        self._read = read
        self._peers: dict[NodeId, Progress] = {}

    def __contains__(self, node_id: object) -> bool:
        return node_id in self._peers

    def __iter__(self) -> Iterator[NodeId]:
        return iter(self._peers)

    def clear(self) -> None:
        """Lead nobody."""
        self._peers = {}

    def replace(self, node_ids: Iterable[NodeId], *, probing: bool) -> None:
        """Replicate to these and no others. `probing`: a new one has perhaps an empty log."""
        known = self._peers
        self._peers = {node_id: known.get(node_id) or self._new_peer(probing) for node_id in sorted(node_ids)}

    def messages(self, view: int) -> Iterator[tuple[NodeId, AppendEntries]]:
        """Everything to send now, by receiver: new entries, then what tells of life or of a commit."""
        for node_id, peer in self._peers.items():
            for message in self._stream(view, peer):
                yield node_id, message
            if peer.heartbeat_due or peer.commit_due:
                yield node_id, self._message(view, peer, ())

    def on_ack(self, sender: NodeId, message: AppendEntriesAck) -> None:
        """A follower has entries."""
        assert message.received_seqno <= self._log.last_seqno, "a follower acknowledged what was never sent"
        self._peers[sender].acknowledged(message.received_seqno, message.persisted_seqno)

    def on_nack(self, sender: NodeId, message: AppendEntriesNack) -> None:
        """A follower's log does not hold what was sent as the entry before."""
        peer = self._peers[sender]
        estimate = message.estimate
        match_seqno = self._log.highest_possible_match(estimate.seqno, estimate.view)
        peer.refused(message.round, match_seqno)

    def acknowledged(self) -> dict[NodeId, tuple[int, int]]:
        """By node id: (seqno synced there, milliseconds since the last answer)."""
        return {node_id: (peer.persisted_seqno, peer.silent_ms) for node_id, peer in self._peers.items()}

    def heard(self, within_ms: int) -> set[NodeId]:
        """Who has answered in that time."""
        return {node_id for node_id, peer in self._peers.items() if peer.silent_ms < within_ms}

    def let_time_pass(self, elapsed_ms: int) -> None:
        for peer in self._peers.values():
            peer.silent_ms += elapsed_ms

    def hear(self, node_id: NodeId) -> None:
        """Count contact that acknowledges nothing."""
        self._peers[node_id].silent_ms = 0

    def hear_all(self) -> None:
        """Count nobody's silence so far."""
        for peer in self._peers.values():
            peer.silent_ms = 0

    def owe_heartbeats(self) -> None:
        for peer in self._peers.values():
            peer.heartbeat_due = True

    def owe_commit(self) -> None:
        """Everybody is to learn of a commit."""
        for peer in self._peers.values():
            peer.commit_due = True

    def most_advanced(self, among: Iterable[NodeId], quiet_ms: int) -> NodeId | None:
        """Who has synced most of those `among`, one heard within `quiet_ms` before one that was not."""
        candidates = set(among)
        ranked = (
            (peer.silent_ms >= quiet_ms, -peer.persisted_seqno, node_id)
            for node_id, peer in self._peers.items()
            if node_id in candidates
        )
        best = min(ranked, default=None)
        return None if best is None else best[2]

    def _new_peer(self, probing: bool) -> Progress:
        return Progress(
            self._log.last_seqno + 1,
            probing=probing,
            # Twice what a follower leaves unanswered, so that the window never closes for want of an answer.
            smallest_window_bytes=2 * self._settings.max_append_bytes,
            largest_window_bytes=self._settings.max_in_flight_bytes,
        )

    def _stream(self, view: int, peer: Progress) -> Iterator[AppendEntries]:
        while peer.may_stream and peer.next_seqno <= self._log.last_seqno:
            entries = self._batch(peer.next_seqno)
            if not entries:
                return  # our ledger begins later: another leader must serve this one, heartbeats go on
            message = self._message(view, peer, entries)
            peer.sent(entries[-1].seqno, sum(len(entry.data) for entry in entries))
            yield message

    def _message(self, view: int, peer: Progress, entries: tuple[Entry, ...]) -> AppendEntries:
        prev = TxID(self._log.view_at(peer.next_seqno - 1), peer.next_seqno - 1)
        peer.commit_due = False
        peer.heartbeat_due = peer.heartbeat_due and bool(entries)
        return AppendEntries(view, prev, self._log.commit_seqno, peer.round, entries)

    def _batch(self, first: int) -> tuple[Entry, ...]:
        """Entries from `first` on, bounded in number and bytes; none where our ledger begins later."""
        last = min(self._log.last_seqno, first + self._settings.max_append_entries - 1)
        if first >= self._log.first_cached:
            candidates = self._log.cached(first, last)
        else:
            candidates = self._read(first, min(last, self._log.first_cached - 1))
        size_bytes = 0
        for count, entry in enumerate(candidates):
            size_bytes += len(entry.data)
            if count and size_bytes > self._settings.max_append_bytes:
                return tuple(candidates[:count])
        return tuple(candidates)
