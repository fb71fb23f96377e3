"""Which certificate a service had: both ways of `previous_service_identity_version`, and rows that lead nowhere."""

from typing import Any

import pytest

from dataplane.ledger.identities import UnreadableIdentity, certificate_at, created_at


def info(cert: str, created: str | None, previous: object = None) -> dict[str, Any]:
    row: dict[str, Any] = {"cert": cert, "status": "Open"}
    if created is not None:
        row["current_service_create_txid"] = created
    if previous is not None:
        row["previous_service_identity_version"] = previous
    return row


EACH_WRITE = {  # CCF up to 6.x: every row names the one before
    1: info("A", "2.1"),
    18: info("A", "2.1", 1),
    50: info("B", "4.50", 18),
    60: info("B", "4.50", 50),
    90: info("C", "6.90", 60),
}
EACH_SERVICE = {  # 7.x: every row names the first one of the service before
    1: info("A", "2.1"),
    18: info("A", "2.1"),
    50: info("B", "4.50", 1),
    60: info("B", "4.50", 1),
    90: info("C", "6.90", 50),
}


@pytest.mark.parametrize("rows", [EACH_WRITE, EACH_SERVICE])
@pytest.mark.parametrize(
    ("seqno", "certificate"), [(1, "A"), (17, "A"), (49, "A"), (50, "B"), (89, "B"), (90, "C"), (500, "C")]
)
def test_the_certificate_in_force(rows: dict[int, dict[str, Any]], seqno: int, certificate: str) -> None:
    assert certificate_at(seqno, rows[90], rows.__getitem__) == certificate


def test_rows_of_old_releases_end_somewhere() -> None:
    """CCF 1.x recorded no earlier versions."""
    rows = {34: info("A", None), 38: info("B", "4.38", 34)}
    assert certificate_at(36, rows[38], rows.__getitem__) == "A"
    assert certificate_at(33, rows[38], rows.__getitem__) is None


def test_a_later_row_of_the_same_service_is_enough() -> None:
    rows = {60: info("A", "2.1")}
    assert certificate_at(17, info("B", "4.90", 60), rows.__getitem__) == "A"


def test_one_service_needs_no_rows() -> None:
    assert certificate_at(5, info("A", "2.1"), {}.__getitem__) == "A"
    assert created_at(info("A", None)) == 1


@pytest.mark.parametrize(
    "rows",
    [
        {38: info("B", "4.38", 34), 34: info("A", None, 34)},
        {38: info("B", "4.38", 34), 34: info("A", None, 36)},
        {38: info("B", "4.38", "many")},
        {38: info("B", "nonsense", 34)},
        {38: info("B", "4.38", 34), 34: {"status": "Open"} | {"cert": None}},
    ],
)
def test_rows_that_no_node_writes(rows: dict[int, dict[str, Any]]) -> None:
    """A circle would hold up the reader for ever."""
    with pytest.raises(UnreadableIdentity):
        certificate_at(30 if rows.get(34, {}).get("cert") else 35, rows[38], rows.__getitem__)
