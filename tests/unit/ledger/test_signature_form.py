"""The newest signature must be just what nodes write: nothing else covers it (ledger-format.md 2.5 to 2.8)."""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any

import cbor2
import pytest

from dataplane.kv.tables import COSE_SIGNATURES, SIGNATURES, TREE, UNIT_KEY, dump_json
from dataplane.kv.writeset import WriteSet
from dataplane.ledger.entry import decode_entry
from dataplane.ledger.signature_form import check_form, check_tree
from dataplane.ledger.signatures import InvalidSignatureTx
from dataplane.merkle.tree import MerkleTree
from dataplane.public_replay import BadEntry, PublicReplay
from tests.support.service_ledger import ServiceLedger


@pytest.fixture
def ledger() -> ServiceLedger:
    made = ServiceLedger()
    for number in range(5):
        made.append({"public:t": {b"%d" % number: b"v"}})
    return made


def _row(ledger: ServiceLedger, **changes: Any) -> WriteSet:
    writes = ledger.signature_writes()
    row = json.loads(writes[SIGNATURES][UNIT_KEY] or b"") | changes
    return writes | {
        SIGNATURES: {UNIT_KEY: dump_json({name: value for name, value in row.items() if value is not None})}
    }


def _cose(ledger: ServiceLedger, change: Callable[[list[Any]], None]) -> WriteSet:
    writes = ledger.signature_writes()
    message = cbor2.loads(b64decode(json.loads(writes[COSE_SIGNATURES][UNIT_KEY] or b"")))
    parts = list(message.value)
    change(parts)
    encoded = cbor2.dumps(cbor2.CBORTag(18, parts))
    return writes | {COSE_SIGNATURES: {UNIT_KEY: dump_json(b64encode(encoded).decode())}}


def _altered_tree(ledger: ServiceLedger) -> WriteSet:
    writes = ledger.signature_writes()
    tree = bytearray(writes[TREE][UNIT_KEY] or b"")
    tree[16 + 3 * 32] ^= 1  # the third leaf: the root in the row and both signatures still hold
    return writes | {TREE: {UNIT_KEY: bytes(tree)}}


SPOILT: dict[str, Callable[[ServiceLedger], WriteSet]] = {
    "a leaf of the tree": _altered_tree,
    "no JSON as nodes write it": lambda it: it.signature_writes() | {SIGNATURES: {UNIT_KEY: _spaced(it)}},
    "a commit that is told": lambda it: _row(it, commit_seqno=1),
    "a nonce": lambda it: _row(it, hashed_nonce="1" * 64),
    "one more field": lambda it: _row(it, extra=1),
    "a certificate with a blank": lambda it: _row(it, cert=f"{it.node_cert} "),
    "something unprotected in COSE": lambda it: _cose(it, lambda parts: parts.__setitem__(1, {1: 2})),
    "one more table": lambda it: it.signature_writes() | {"public:t": {b"k": b"v"}},
}


def _spaced(ledger: ServiceLedger) -> bytes:
    return json.dumps(json.loads(ledger.signature_writes()[SIGNATURES][UNIT_KEY] or b"")).encode()


@pytest.mark.parametrize("what", SPOILT)
def test_a_recovering_node_does_not_end_with_a_spoilt_signature(ledger: ServiceLedger, what: str) -> None:
    ledger.append(SPOILT[what](ledger))
    replay = PublicReplay()
    *good, last = [entry.frame for entry in ledger.entries]
    for frame in good:
        replay.add(frame)
    with pytest.raises(BadEntry):
        replay.add(last)
    assert replay.state().seqno == 2


def test_the_form_of_a_good_signature(ledger: ServiceLedger) -> None:
    ledger.sign()
    frame = ledger.entries[-1].frame
    check_form(decode_entry(frame), frame)
    claims = ServiceLedger()
    claims.append(claims.signature_writes(), claims_digest=bytes(31) + b"\x01")
    frame = claims.entries[-1].frame
    with pytest.raises(InvalidSignatureTx, match="claims"):
        check_form(decode_entry(frame), frame)


def test_a_tree_that_reaches_further_back_than_the_one_at_hand() -> None:
    whole, short = MerkleTree(), MerkleTree()
    for number in range(1, 40):
        for tree in (whole, short):
            tree.append(bytes([number]) * 32)
    short.flush(30)
    check_tree(whole.serialise(8, 39), short, 40)
    check_tree(whole.serialise(33, 39), short, 40)
    for spoilt in (
        whole.serialise(8, 38),
        whole.serialise(8, 39)[:-32],
        b"",
        _flipped(whole.serialise(8, 39), 16 + 25 * 32),
    ):
        with pytest.raises(InvalidSignatureTx, match="serialised tree"):
            check_tree(spoilt, short, 40)


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
