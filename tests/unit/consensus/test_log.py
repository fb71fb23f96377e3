"""The log as consensus sees it."""

import pytest

from dataplane.consensus.log import Entry, Log
from dataplane.txid import TxID


def filled(*views: int, signed: tuple[int, ...] = (), max_cached_bytes: int = 1 << 20) -> Log:
    """A log with an entry of 10 bytes per view given."""
    log = Log(max_cached_bytes=max_cached_bytes)
    for seqno, view in enumerate(views, 1):
        log.append(Entry(view, seqno, bytes(10), signed=seqno in signed))
    return log


def test_view_history_of_the_contract() -> None:
    """ledger-format.md 3: view 2 from 1, view 4 from 36 reads [1, 1, 36, 36]."""
    assert filled(*[2] * 35, 4).view_history() == [1, 1, 36, 36]


def test_view_history_of_an_empty_log() -> None:
    assert filled().view_history() == []


def test_view_at() -> None:
    log = filled(2, 2, 5, 5)
    assert [log.view_at(seqno) for seqno in range(6)] == [0, 2, 2, 5, 5, 0]


def test_committable_is_the_last_signed_entry() -> None:
    log = filled(2, 2, 3, 3, signed=(2, 3))
    assert log.committable == TxID(3, 3)
    log.commit(3)
    assert log.committable == TxID(3, 3)
    log.truncate(3)
    assert log.committable == TxID(3, 3)


def test_only_signed_entries_commit() -> None:
    with pytest.raises(AssertionError, match="not signed"):
        filled(2, 2, signed=(2,)).commit(1)


def test_commit_does_not_move_back() -> None:
    log = filled(2, 2, 2, 2, signed=(2, 4))
    log.commit(4)
    with pytest.raises(AssertionError):
        log.commit(2)


def test_nothing_committed_is_truncated() -> None:
    log = filled(2, 2, 2, signed=(2,))
    log.commit(2)
    with pytest.raises(AssertionError, match="below commit"):
        log.truncate(1)


def test_truncation_forgets_views_and_signatures() -> None:
    log = filled(2, 2, 3, 3, signed=(2, 4))
    log.truncate(2)
    assert (log.last_seqno, log.last_view, log.committable_seqno) == (2, 2, 2)
    log.append(Entry(5, 3, b""))
    assert log.view_history() == [1, 1, 3, 3, 3]


@pytest.mark.parametrize("entry", [Entry(2, 4, b""), Entry(2, 2, b""), Entry(1, 3, b"")])
def test_entries_are_dense_and_views_do_not_fall(entry: Entry) -> None:
    with pytest.raises(AssertionError):
        filled(2, 2).append(entry)


def test_highest_possible_match() -> None:
    log = filled(2, 2, 4, 4, 6)
    assert log.highest_possible_match(5, 6) == 5
    assert log.highest_possible_match(4, 6) == 4
    assert log.highest_possible_match(5, 5) == 4
    assert log.highest_possible_match(5, 3) == 2
    assert log.highest_possible_match(1, 3) == 1
    assert log.highest_possible_match(9, 6) == 5
    assert log.highest_possible_match(5, 1) == 0
    assert log.highest_possible_match(0, 6) == 0


def test_uncommitted_entries_stay_in_memory_whatever_the_bound() -> None:
    log = filled(2, 2, 2, 2, signed=(2,), max_cached_bytes=0)
    assert log.first_cached == 1
    log.commit(2)
    assert log.first_cached == 3
    assert [entry.seqno for entry in log.cached(3, 4)] == [3, 4]


def test_the_bound_counts_bytes() -> None:
    log = filled(2, 2, 2, 2, signed=(4,), max_cached_bytes=25)
    log.commit(4)
    assert log.first_cached == 3
