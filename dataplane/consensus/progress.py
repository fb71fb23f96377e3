"""What a leader knows of one follower, and how fast it may send.

Two modes (the idea is etcd-io/raft's). *Streaming*: entries go out as they come, without waiting for
acknowledgements, up to a window of bytes. *Probing*: after a refusal, empty AppendEntries at the estimated
match, one per round, until one fits; so a thousand entries in flight do not cause a thousand repetitions.
"""

from __future__ import annotations

from collections import deque


class Progress:
    """Invariant: persisted_seqno <= received_seqno, and persisted_seqno < next_seqno."""

    __slots__ = (
        "_in_flight",
        "commit_due",
        "heartbeat_due",
        "in_flight_bytes",
        "next_seqno",
        "persisted_seqno",
        "probing",
        "received_seqno",
        "silent_ms",
    )

    def __init__(self, next_seqno: int, *, probing: bool) -> None:
        self.next_seqno = next_seqno  # first entry not sent yet
        self.received_seqno = 0  # in the follower's log, equal to ours
        self.persisted_seqno = 0  # and synced there: the only one that counts for commit
        self.probing = probing
        self.heartbeat_due = True  # an empty AppendEntries, which is always answered
        self.commit_due = False  # the follower has not been told the latest commit
        self.silent_ms = 0  # since the follower last answered in this view
        self.in_flight_bytes = 0
        self._in_flight: deque[tuple[int, int]] = deque()  # (last seqno, bytes) per message

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
            self.in_flight_bytes -= self._in_flight.popleft()[1]
        if self.probing and self.received_seqno < self.next_seqno - 1:
            return
        self.probing = False
        self.next_seqno = max(self.next_seqno, self.received_seqno + 1)

    def refused(self, rejected_seqno: int, match_seqno: int) -> None:
        """AE-NACK of the AppendEntries at `rejected_seqno`; `match_seqno` is the best match still possible.

        Never touches persisted_seqno. A refusal that a newer probe or an acknowledgement has overtaken is
        ignored: repeating it would undo the progress made since.
        """
        self.silent_ms = 0
        if rejected_seqno <= self.persisted_seqno or rejected_seqno >= self.next_seqno:
            return
        if self.probing and rejected_seqno != self.next_seqno - 1:
            return
        estimate = max(min(match_seqno, rejected_seqno), self.persisted_seqno)
        self.heartbeat_due = self.heartbeat_due or not self.probing or estimate + 1 < self.next_seqno
        self.probing = True
        self.next_seqno = estimate + 1
        self.received_seqno = min(self.received_seqno, estimate)
        self.in_flight_bytes = 0
        self._in_flight.clear()
