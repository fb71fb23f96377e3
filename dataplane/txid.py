"""Transaction ids: a view and a sequence number (ledger-format.md 3).

Text form is ``view.seqno``. Both parts are positive; seqnos start at 1 and are dense; view 0 means "unknown".
"""

import re
from dataclasses import dataclass
from enum import StrEnum

NodeId = str
MemberId = str
UserId = str

_TEXT = re.compile(r"([1-9][0-9]{0,18})\.([1-9][0-9]{0,18})", re.ASCII)


class InvalidTxID(ValueError):
    """The text is not `view.seqno` with two positive decimal numbers."""


class TxStatus(StrEnum):
    """What a node knows of a transaction id. COMMITTED and INVALID are final."""

    UNKNOWN = "Unknown"
    PENDING = "Pending"
    COMMITTED = "Committed"
    INVALID = "Invalid"


@dataclass(frozen=True, order=True, slots=True)
class TxID:
    """A position in the ledger. Ordered by view, then by seqno."""

    view: int
    seqno: int

    @classmethod
    def parse(cls, text: str) -> "TxID":
        """Read `view.seqno`; raises `InvalidTxID` for anything else, zero parts included."""
        match = _TEXT.fullmatch(text)
        if match is None:
            raise InvalidTxID(f"{text!r} is not a transaction id of the form view.seqno")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.view}.{self.seqno}"


def status_of(target: TxID, local_view: int, committed: TxID) -> TxStatus:
    """The status of `target` (ledger-format.md 3).

    `local_view` is the view this node holds at the target's seqno, 0 when its ledger ends before it.
    """
    if committed.seqno >= target.seqno:
        return TxStatus.COMMITTED if local_view == target.view else TxStatus.INVALID
    if local_view == target.view:
        return TxStatus.PENDING
    if committed.view > target.view:
        return TxStatus.INVALID
    return TxStatus.UNKNOWN
