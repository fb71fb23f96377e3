"""Transaction ids and the four statuses (ledger-format.md 3)."""

import pytest

from dataplane.txid import InvalidTxID, TxID, TxStatus, status_of


def test_text_goes_both_ways() -> None:
    assert str(TxID.parse("2.15")) == "2.15"


@pytest.mark.parametrize(
    "text", ["", "2", "2.", ".5", "0.1", "2.0", "2.01", " 2.1", "2.1 ", "-2.1", "2.1.1", "\u0662.\u0661"]
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(InvalidTxID):
        TxID.parse(text)


@pytest.mark.parametrize(
    ("target", "local_view", "committed", "status"),
    [
        ("2.5", 2, TxID(2, 5), TxStatus.COMMITTED),
        ("2.5", 3, TxID(3, 6), TxStatus.INVALID),
        ("1.1", 2, TxID(2, 2), TxStatus.INVALID),
        ("2.7", 2, TxID(2, 5), TxStatus.PENDING),
        ("2.7", 0, TxID(3, 5), TxStatus.INVALID),
        ("2.7", 3, TxID(2, 5), TxStatus.UNKNOWN),
        ("2.7", 0, TxID(2, 5), TxStatus.UNKNOWN),
    ],
)
def test_status_rules(target: str, local_view: int, committed: TxID, status: TxStatus) -> None:
    assert status_of(TxID.parse(target), local_view, committed) is status
