"""What a leader knows of one follower, and how fast it may send.

Two modes (the idea is etcd-io/raft's). *Streaming*: entries go out as they come, without waiting for
acknowledgements, up to a window of bytes. *Probing*: after a refusal, an empty AppendEntries at the estimated
match, repeated with the heartbeats, until one fits.

Rounds tell old refusals from new ones: each refusal that counts begins a round, every message carries its round,
and the refusals of messages in flight then count no more. Without them, entries that overtake each other cause
refusals, which cause repetitions, which cause more refusals than they cure. For the same reason the window is
halved when streaming meets a refusal and grows with what is acknowledged, as TCP's does.
"""

from __future__ import annotations

from collections import deque

_FIRST_WINDOW = 8  # times the smallest: enough to be quick, not enough to flood a link that reorders


class Progress:
    """Invariant: persisted_seqno <= received_seqno < next_seqno."""

    __slots__ = (
        "_in_flight",
        "_largest_window_bytes",
        "_smallest_window_bytes",
        "commit_due",
        "heartbeat_due",
        "in_flight_bytes",
        "next_seqno",
        "persisted_seqno",
        "probing",
        "received_seqno",
        "round",
        "silent_ms",
        "window_bytes",
    )

    def __init__(
        self, next_seqno: int, *, probing: bool, smallest_window_bytes: int, largest_window_bytes: int
    ) -> None:
        self.next_seqno = next_seqno  # first entry not sent yet
        self.received_seqno = 0  # in the follower's log, equal to ours
        self.persisted_seqno = 0  # and synced there: the only one that counts for commit
        self.probing = probing
        self.round = 0
        self.heartbeat_due = True  # an empty AppendEntries, which is always answered
        self.commit_due = False  # the follower has not been told the latest commit
        self.silent_ms = 0  # since the follower last answered in this view
        self.in_flight_bytes = 0
        self._smallest_window_bytes = smallest_window_bytes
        self._largest_window_bytes = max(smallest_window_bytes, largest_window_bytes)
        self.window_bytes = min(_FIRST_WINDOW * smallest_window_bytes, self._largest_window_bytes)
        self._in_flight: deque[tuple[int, int]] = deque()  # (last seqno, bytes) per message

    @property
    def may_stream(self) -> bool:
        return not self.probing and self.in_flight_bytes < self.window_bytes

    def sent(self, last_seqno: int, size_bytes: int) -> None:
        self.next_seqno = last_seqno + 1
        self.in_flight_bytes += size_bytes
        self._in_flight.append((last_seqno, size_bytes))

    def acknowledged(self, received_seqno: int, persisted_seqno: int) -> None:
        """AE-ACK. Answers may come late or twice, so nothing moves back."""
        self.silent_ms = 0
        self.received_seqno = max(self.received_seqno, received_seqno)
        self.persisted_seqno = max(self.persisted_seqno, persisted_seqno)
        while self._in_flight and self._in_flight[0][0] <= self.received_seqno:
            size_bytes = self._in_flight.popleft()[1]
            self.in_flight_bytes -= size_bytes
            self.window_bytes = min(self.window_bytes + size_bytes, self._largest_window_bytes)
        if self.received_seqno >= self.next_seqno - 1:
            self.probing = False
            self.next_seqno = self.received_seqno + 1

    def refused(self, round_: int, match_seqno: int) -> None:
        """AE-NACK of a message of `round_`; `match_seqno` is the best match still possible.

        Never touches persisted_seqno: what a refusal says is an estimate.
        """
        self.silent_ms = 0
        if round_ != self.round:
            return
        if not self.probing:
            self.window_bytes = max(self.window_bytes // 2, self._smallest_window_bytes)
        self.round += 1
        self.probing = True
        self.heartbeat_due = True
        self.next_seqno = max(min(match_seqno + 1, self.next_seqno), self.persisted_seqno + 1)
        self.received_seqno = min(self.received_seqno, self.next_seqno - 1)
        self.in_flight_bytes = 0
        self._in_flight.clear()
