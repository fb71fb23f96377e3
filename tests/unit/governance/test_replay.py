"""The window of recent proposals (node-api.md 4.3, step 5)."""

import pytest

from dataplane.errors import RpcError
from dataplane.governance.replay import LAST_CREATED_AT, remember_proposal, window_size
from dataplane.kv.store import Store
from dataplane.kv.tables import COSE_RECENT_PROPOSALS, SERVICE_CONFIG, load_json, put_json
from dataplane.kv.tx import Tx


def digest(number: int) -> bytes:
    return bytes([number]) * 32


def window_of(size: int | None = None) -> Tx:
    tx = Store().begin()
    if size is not None:
        put_json(tx, SERVICE_CONFIG, {"recent_cose_proposals_window_size": size})
    return tx


def times(tx: Tx) -> list[int]:
    return [int(key[:10]) for key, _ in tx.items(COSE_RECENT_PROPOSALS)]


def refused(tx: Tx, created_at_s: int, number: int) -> RpcError:
    before = tx.items(COSE_RECENT_PROPOSALS)
    with pytest.raises(RpcError) as caught:
        remember_proposal(tx, created_at_s, digest(number), "pid")
    assert tx.items(COSE_RECENT_PROPOSALS) == before
    return caught.value


def test_key_is_padded_time_and_digest_and_value_the_proposal_id() -> None:
    tx = window_of()
    remember_proposal(tx, 17, digest(0xAB), "the id")
    ((key, value),) = tx.items(COSE_RECENT_PROPOSALS)
    assert key == b"0000000017:" + b"ab" * 32
    assert load_json(value) == "the id"


def test_a_repeat_names_the_first_proposal() -> None:
    tx = window_of()
    remember_proposal(tx, 5, digest(1), "first")
    error = refused(tx, 5, 1)
    assert (error.status, error.code) == (400, "ProposalReplay")
    assert "first" in error.message


def test_same_time_with_another_signature_is_another_proposal() -> None:
    tx = window_of()
    for number in range(4):
        remember_proposal(tx, 5, digest(number), "pid")
    assert times(tx) == [5, 5, 5, 5]


def test_time_of_more_than_ten_digits_is_invalid() -> None:
    tx = window_of()
    remember_proposal(tx, LAST_CREATED_AT, digest(1), "pid")
    error = refused(tx, LAST_CREATED_AT + 1, 2)
    assert (error.status, error.code) == (400, "InvalidCreatedAt")


def test_older_than_the_middle_of_the_window_is_too_old() -> None:
    tx = window_of()
    for number, when in enumerate([10, 20, 30, 40]):
        remember_proposal(tx, when, digest(number), "pid")
    error = refused(tx, 29, 9)  # sorted index 4 / 2 holds 30
    assert (error.status, error.code) == (400, "ProposalCreatedTooLongAgo")
    assert "30" in error.message
    remember_proposal(tx, 30, digest(10), "pid")
    assert times(tx) == [10, 20, 30, 30, 40]


def test_single_entry_is_its_own_middle() -> None:
    tx = window_of()
    remember_proposal(tx, 10, digest(1), "pid")
    assert refused(tx, 9, 2).code == "ProposalCreatedTooLongAgo"


def test_window_keeps_the_newest() -> None:
    tx = window_of(3)
    for number, when in enumerate([10, 20, 30, 40, 50]):
        remember_proposal(tx, when, digest(number), "pid")
    assert times(tx) == [30, 40, 50]


def test_smaller_window_drops_several_at_once() -> None:
    tx = window_of(5)
    for number, when in enumerate([10, 20, 30, 40, 50]):
        remember_proposal(tx, when, digest(number), "pid")
    put_json(tx, SERVICE_CONFIG, {"recent_cose_proposals_window_size": 2})
    remember_proposal(tx, 60, digest(9), "pid")
    assert times(tx) == [50, 60]


def test_default_window_is_a_hundred() -> None:
    assert window_size(window_of()) == 100
