"""Entries proven by the signature after them: real ledgers of every age, and every byte that was changed found."""

from dataclasses import replace
from random import Random

import pytest

from dataplane.crypto.aead import DecryptionFailed
from dataplane.kv.tables import COSE_SIGNATURES, SIGNATURES, TREE, UNIT_KEY
from dataplane.ledger.entry import DecodedEntry, MalformedEntry, decode_entry, encode_entry
from dataplane.ledger.proven import ProvenEntry, check_endorsed, prove, read_cover
from dataplane.ledger.secrets import LedgerSecretCipher
from dataplane.ledger.signatures import InvalidSignatureTx
from dataplane.merkle.proof import fold
from dataplane.txid import TxID
from tests.support.past_services import present, recovered
from tests.support.service_ledger import ServiceLedger, filled_ledger
from tests.support.vectors import ccf_services, require_vectors

LEDGER = filled_ledger(12)
ENTRY = 6


def proven(frame: bytes | None = None, seqno: int = ENTRY) -> ProvenEntry:
    frame = frame or LEDGER.entries[seqno - 1].frame
    entry = decode_entry(frame, LEDGER.secrets)
    return prove(entry, len(frame), LEDGER.secrets.at(seqno), *read_cover(signature_after(seqno)))


def signature_after(seqno: int) -> DecodedEntry:
    return next(entry for entry in LEDGER.decoded(seqno + 1) if SIGNATURES in entry.writes)


@pytest.mark.parametrize("name", ccf_services())
def test_every_transaction_of_real_services(name: str) -> None:
    """Also leaf components of the types that older releases wrote; the endorsement is checked where rows lead back."""
    service = recovered(name, require_vectors() / "ccf-services")
    seqnos = [entry.txid.seqno for entry in service.proven()]
    assert seqnos == list(range(seqnos[0], 0, -1))
    assert len(service.frames) - seqnos[0] < 5  # the end, not signed


def test_what_is_proven() -> None:
    entry = proven()
    (decoded,) = LEDGER.decoded(ENTRY, ENTRY)
    assert (entry.txid, entry.writes) == (decoded.txid, decoded.writes)
    assert "records" in entry.writes  # private, decrypted
    assert entry.components.write_set_digest == decoded.write_set_digest
    assert entry.components.claims_digest == decoded.claims_digest
    assert entry.path is not None
    assert fold(decoded.leaf, entry.path) == entry.cover.root
    assert entry.size > len(LEDGER.entries[ENTRY - 1].frame)


def test_a_signature_proves_itself() -> None:
    signature = signature_after(ENTRY)
    cover, tree = read_cover(signature)
    entry = prove(signature, 100, LEDGER.secrets.at(signature.txid.seqno), cover, tree)
    assert (entry.path, entry.cover.txid) == (None, entry.txid)


def test_over_recoveries_and_rekeys() -> None:
    ledger = filled_ledger(4)
    ledger.rekey()
    ledger.append({"records": {b"k": b"v"}})
    ledger.sign()
    ledger.recover()
    service = present(ledger)
    assert len(list(service.proven())) == len(ledger.entries)


def test_no_changed_byte_of_a_frame_is_proven() -> None:
    """Also in the header, which the tag does not cover: the leaf does."""
    frame, random = LEDGER.entries[ENTRY - 1].frame, Random(7)
    for place in [*range(44), *(random.randrange(len(frame)) for _ in range(200))]:
        changed = bytearray(frame)
        changed[place] ^= random.randrange(1, 256)
        with pytest.raises((MalformedEntry, DecryptionFailed, InvalidSignatureTx)):
            proven(bytes(changed))


def test_an_entry_of_a_fork_is_not_proven() -> None:
    """Well-formed and under the right secret, as a node of the service could write it, but not what was signed."""
    (entry,) = LEDGER.decoded(ENTRY, ENTRY)
    for txid, writes in ((entry.txid, {"public:t": {b"k": b"v"}}), (TxID(3, ENTRY), entry.writes)):
        fork = encode_entry(txid, writes, secret=LEDGER.secrets.at(ENTRY))
        with pytest.raises(InvalidSignatureTx, match="is not the transaction that"):
            proven(fork.frame)


def test_evidence_of_another_secret() -> None:
    (entry,) = LEDGER.decoded(ENTRY, ENTRY)
    with pytest.raises(MalformedEntry, match="commit evidence"):
        prove(entry, 1, LedgerSecretCipher(bytes(32)), *read_cover(signature_after(ENTRY)))


def test_a_signature_covers_only_what_comes_before() -> None:
    (later,) = LEDGER.decoded(len(LEDGER.entries) - 1, len(LEDGER.entries) - 1)
    with pytest.raises(InvalidSignatureTx, match="does not cover"):
        prove(later, 1, LEDGER.secrets.at(later.txid.seqno), *read_cover(signature_after(ENTRY)))


def test_signatures_that_do_not_hold() -> None:
    good = signature_after(ENTRY)
    other = ServiceLedger()
    by_another = LEDGER.signature_writes(node_key=other.node_key)
    for writes, reason in (
        ({TREE: good.writes[TREE]}, "is no signature transaction"),
        ({**good.writes, TREE: {UNIT_KEY: b"short"}}, "cannot be read"),
        ({**good.writes, TREE: signature_after(good.txid.seqno).writes[TREE]}, "leaves"),
        ({**good.writes, SIGNATURES: by_another[SIGNATURES]}, "another root"),
        ({COSE_SIGNATURES: good.writes[COSE_SIGNATURES]}, "tree is missing"),
    ):
        with pytest.raises(InvalidSignatureTx, match=reason):
            read_cover(replace(good, writes=writes))


def test_a_root_that_the_node_did_not_sign() -> None:
    ledger = ServiceLedger()
    ledger.append(ledger.signature_writes(node_key=ServiceLedger().node_key))
    (entry,) = ledger.decoded(len(ledger.entries))
    with pytest.raises(InvalidSignatureTx, match="does not hold"):
        read_cover(entry)


def test_the_service_of_the_time_endorses() -> None:
    cover, _ = read_cover(signature_after(ENTRY))
    check_endorsed(cover, LEDGER.service_cert)
    for certificate in (ServiceLedger().service_cert, "nonsense"):
        with pytest.raises(InvalidSignatureTx):
            check_endorsed(cover, certificate)
    assert cover.node is not None
    with pytest.raises(InvalidSignatureTx, match="another key"):
        check_endorsed(replace(cover, node=replace(cover.node, cert=None)), ServiceLedger().service_cert)
