"""Chains of COSE endorsements: the ones real services wrote, ours, and broken ones."""

from base64 import b64decode
from collections.abc import Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from dataplane.crypto.certs import public_key_of
from dataplane.crypto.cose import ALG, algorithm_of, sign1
from dataplane.crypto.keys import key_id, spki_der
from dataplane.ledger.endorsement_chain import (
    InvalidEndorsement,
    endorsements_back_to,
    read_endorsement,
    signing_key_at,
)
from dataplane.ledger.endorsements import self_endorsement, successor_endorsement
from dataplane.txid import TxID
from tests.support.past_services import recovered
from tests.support.vectors import require_vectors

KEYS = [ec.generate_private_key(ec.SECP384R1()) for _ in range(3)]
ROOTS = [bytes([n]) * 32 for n in range(3)]


def succeeding(number: int, previous: Mapping[str, Any], previous_version: int, created: TxID) -> dict[str, Any]:
    """The endorsement that the service with key `number` makes."""
    return successor_endorsement(
        KEYS[number], created, 5, previous=previous, previous_version=previous_version, last_signed_root=ROOTS[number]
    )


FIRST = self_endorsement(KEYS[0], TxID(2, 1), 5)
SECOND = succeeding(1, FIRST, 10, TxID(5, 100))
THIRD = succeeding(2, SECOND, 110, TxID(8, 200))
ROWS: dict[int, Mapping[str, Any]] = {10: FIRST, 110: SECOND}


def back_to(target: TxID, row: Mapping[str, Any] = THIRD) -> tuple[bytes, ...] | None:
    return endorsements_back_to(target, row, ROWS.__getitem__)


@pytest.mark.parametrize(
    ("target", "links", "signer"),
    [(TxID(2, 1), 2, 0), (TxID(3, 99), 2, 0), (TxID(5, 100), 1, 1), (TxID(6, 199), 1, 1)],
)
def test_each_epoch_is_reached(target: TxID, links: int, signer: int) -> None:
    chain = back_to(target)
    assert chain is not None
    assert len(chain) == links
    assert signing_key_at(target, chain, KEYS[2].public_key()) == KEYS[signer].public_key()


def test_what_a_row_says() -> None:
    assert (SECOND["endorsement_epoch_begin"], SECOND["endorsement_epoch_end"]) == ("2.1", "3.99")
    assert (THIRD["endorsement_epoch_begin"], THIRD["endorsement_epoch_end"]) == ("5.100", "6.199")
    assert (SECOND["previous_version"], THIRD["previous_version"]) == (10, 110)
    link = read_endorsement(back_to(TxID(2, 1))[1])  # type: ignore[index]
    assert (link.begin, link.end, link.root) == (TxID(2, 1), TxID(3, 99), ROOTS[1])
    assert link.key == KEYS[0].public_key()


def test_without_endorsements_the_key_is_the_services() -> None:
    assert signing_key_at(TxID(9, 300), (), KEYS[2].public_key()) == KEYS[2].public_key()


def test_nothing_was_endorsed_before_the_first() -> None:
    """A service that began to endorse late: what came before has no chain."""
    late = self_endorsement(KEYS[0], TxID(4, 50), 5)
    rows = {10: late}
    row = succeeding(1, late, 10, TxID(7, 100))
    assert endorsements_back_to(TxID(2, 7), row, rows.__getitem__) is None
    assert endorsements_back_to(TxID(4, 50), row, rows.__getitem__) is not None
    assert endorsements_back_to(TxID(2, 7), late, rows.__getitem__) is None


def test_a_chain_is_followed_link_by_link() -> None:
    newest, oldest = back_to(TxID(2, 1))  # type: ignore[misc]
    trusted = KEYS[2].public_key()
    with pytest.raises(InvalidEndorsement, match="not signed by the later service"):
        signing_key_at(TxID(2, 1), (oldest,), trusted)
    with pytest.raises(InvalidEndorsement, match="not signed by the later service"):
        signing_key_at(TxID(2, 1), (newest, oldest), KEYS[1].public_key())
    with pytest.raises(InvalidEndorsement, match=r"lead to 5\.100\.\.6\.199, not to 2\.1"):
        signing_key_at(TxID(2, 1), (newest,), trusted)
    with pytest.raises(InvalidEndorsement, match=r"not to 9\.99"):
        signing_key_at(TxID(9, 99), (newest, oldest), trusted)
    with pytest.raises(InvalidEndorsement, match="no end"):
        signing_key_at(TxID(2, 1), (cose_of(self_endorsement(KEYS[2], TxID(8, 200), 5)),), trusted)


def test_a_gap_breaks_the_chain() -> None:
    late = succeeding(2, SECOND, 110, TxID(8, 201))
    gap = dict(SECOND, endorsement_epoch_end="3.98")
    after = succeeding(2, gap, 110, TxID(8, 200))
    oldest = back_to(TxID(2, 1))[1]  # type: ignore[index]
    assert signing_key_at(TxID(2, 1), (cose_of(late), oldest), KEYS[2].public_key())  # its end is not its neighbour's
    with pytest.raises(InvalidEndorsement, match="not followed by"):
        signing_key_at(TxID(2, 1), (cose_of(after), oldest), KEYS[2].public_key())


def test_an_epoch_ends_after_it_begins() -> None:
    empty = endorsement({"epoch.start.txid": "4.484", "epoch.end.txid": "2.483"}, signed_by=1)
    with pytest.raises(InvalidEndorsement, match="ends before it begins"):
        signing_key_at(TxID(4, 484), (empty,), KEYS[1].public_key())


@pytest.mark.parametrize(
    "epoch",
    [
        None,
        5,
        {},
        {"epoch.start.txid": "x"},
        {"epoch.start.txid": 5},
        {"epoch.start.txid": "2.1", "epoch.end.txid": "2"},
        {"epoch.start.txid": "2.1", "epoch.end.txid": "2.9", "epoch.end.merkle.root": b"short"},
        {"epoch.start.txid": "2.1", "epoch.end.txid": "2.9", "epoch.end.merkle.root": "00" * 32},
    ],
)
def test_malformed_epochs(epoch: object) -> None:
    with pytest.raises(InvalidEndorsement):
        read_endorsement(endorsement(epoch, signed_by=1))


def test_malformed_messages() -> None:
    for message in (b"", b"nonsense", sign1(KEYS[0], [(ALG, algorithm_of(KEYS[0]))], b"no key")):
        with pytest.raises(InvalidEndorsement):
            read_endorsement(message)


@pytest.mark.parametrize(
    "change",
    [
        {"endorsement": "no base64!"},
        {"endorsement": 5},
        {"endorsing_key": None},
        {"endorsement_epoch_begin": "2.2"},
        {"endorsement_epoch_end": "3.98"},
        {"previous_version": "many"},
    ],
)
def test_malformed_rows(change: dict[str, object]) -> None:
    with pytest.raises(InvalidEndorsement):
        back_to(TxID(2, 1), dict(THIRD, **change))


def test_a_real_second_opening_is_left_out() -> None:
    """`double_sealed_service`: at 503 the service endorsed its own key with an empty epoch (ledger-format.md 11)."""
    service = recovered("double_sealed_service", require_vectors() / "ccf-services")
    rows = service.endorsements
    assert sorted(rows) == [18, 498, 503]
    (before,) = endorsements_back_to(TxID(2, 483), rows[503], rows.__getitem__)  # type: ignore[misc]
    later = public_key_of(service.infos[498]["cert"])
    assert key_id(signing_key_at(TxID(2, 483), (before,), later)) == key_id(public_key_of(service.infos[18]["cert"]))


def cose_of(row: Mapping[str, Any]) -> bytes:
    return b64decode(row["endorsement"])


def endorsement(epoch: object, *, signed_by: int) -> bytes:
    key = KEYS[signed_by]
    return sign1(key, [(ALG, algorithm_of(key)), ("ccf.v1", epoch)], spki_der(KEYS[0].public_key()))
