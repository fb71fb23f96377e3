"""Receipts and states of every age: real ledgers over recoveries, and a service of ours over rekeys and a failover.

    python -m tests.shown.history [WRITES] [FLIPS] [SEED]

Controls: without their endorsements receipts of earlier services are refused; every mutant is; and while bytes of a
chunk are flipped on a node's disk, that node hands out nothing but what was written.
"""

import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from dataplane.client.session import Session
from dataplane.crypto.certs import public_key_of
from dataplane.crypto.keys import public_pem
from dataplane.ledger.chunk import parse_name, read_layout
from dataplane.ledger.endorsement_chain import signing_key_at
from dataplane.receipt import InvalidReceipt, verify_receipt
from dataplane.receipt_cose import cose_receipt as build_cose_receipt
from dataplane.receipt_cose import verify_cose_receipt
from tests.shown.ledgers import APP
from tests.support.ccf_package import available_versions, judge_cose_receipts, judge_receipts
from tests.support.load import Writer, Written
from tests.support.nodes import NodeProcess, Service
from tests.support.past_client import TXID_HEADER, cose_receipt, historical, secrets_in
from tests.support.past_services import PresentService, recovered
from tests.support.receipt_mutants import flip, mutants
from tests.support.results import save
from tests.support.vectors import ccf_services, require_vectors

REKEYS = 2
_PAGE = 500


def run(
    writes: int, flips: int, seed: int, directory: Path, real_ledgers: Sequence[str] | None = None
) -> dict[str, object]:
    """`real_ledgers`: names of those that are read, all by default.

    Raises where a receipt is refused, a mutant accepted, or anything handed out that was not written.
    """
    random = Random(seed)
    return {
        "real_services": {name: _real_service(name) for name in real_ledgers or ccf_services()},
        "ours": _ours(writes, flips, random, directory),
        "judges": ["mccf", *(f"ccf {version}" for version in available_versions())],
        "seed": seed,
    }


# Real ledgers


def _real_service(name: str) -> dict[str, int]:
    """Receipts of all transactions, made by a present service that recovered the ledger."""
    service = recovered(name, require_vectors() / "ccf-services")
    receipts = [receipt for entry in service.proven() if "cert" in (receipt := service.receipt(entry))]
    bare = [
        {name: value for name, value in receipt.items() if name != "service_endorsements"}
        for receipt in receipts
        if "service_endorsements" in receipt
    ]
    cose = _cose_of(service)
    for version in available_versions():
        _all_accepted(judge_receipts(receipts, service.certificate, version))
        _all_accepted(judge_cose_receipts([receipt for *receipt, _ in cose], version))  # type: ignore[misc]
        _all_refused(judge_receipts(bare, service.certificate, version))
    for receipt, _, claims, endorsements in cose:
        verify_cose_receipt(receipt, service.certificate, claims, endorsements=endorsements)
        for wrong in ((), endorsements[1:]) if endorsements else ():
            _refused_by_us(receipt, service.certificate, wrong)
    return {"json": len(receipts), "endorsed": len(bare), "cose": len(cose)}


def _cose_of(service: PresentService) -> list[tuple[bytes, str, bytes, tuple[bytes, ...]]]:
    """COSE receipts with the key that signed them, found over the endorsements, and their claims."""
    trusted = public_key_of(service.certificate)
    found = []
    for entry in service.proven():
        endorsements = service.cose_endorsements(entry.txid)
        if entry.path is None or entry.cover.cose is None or endorsements is None:
            continue
        key = public_pem(signing_key_at(entry.cover.txid, endorsements, trusted))
        found.append((build_cose_receipt(entry), key, entry.components.claims_digest or bytes(32), endorsements))
    return found


# A service of ours


def _ours(writes: int, flips: int, random: Random, directory: Path) -> dict[str, object]:
    """Write over two rekeys and a killed primary; then have every live node tell all of it."""
    with Service.start(3, directory / "service", open_with=APP, chunk_size="50KB") as service:
        writer = Writer(service)
        for part in range(REKEYS + 1):
            writer.write(writes // (REKEYS + 1))
            writer.wait_for_commit()
            if part < REKEYS:
                service.pass_proposal([{"name": "trigger_ledger_rekey"}])
        service.primary().kill()
        writer.write(writes // 10)
        service.pass_proposal([{"name": "trigger_ledger_chunk"}])
        writer.write(1)
        writer.wait_for_commit()
        sessions = [service.session(node, "user0") for node in service.alive()]
        checked = _tell_all(sessions, writer.written, service.certificate, random)
        tampered = _tamper(service, writer.written, flips, random)
    return {"writes": len(writer.written), "rekeys": REKEYS, **checked, "flips": tampered}


def _tell_all(
    sessions: Sequence[Session], written: Sequence[Written], certificate: str, random: Random
) -> dict[str, object]:
    """States of all writes in pages from each node; receipts of all of them, from the nodes in turn."""
    expected = {str(record.record): record.secret for record in written}
    last = written[-1].txid.seqno
    for session in sessions:
        told: dict[str, str] = {}
        for first in range(1, last + 1, _PAGE):
            told |= secrets_in(session, first, min(first + _PAGE - 1, last))
        assert told == expected
    receipts, cose = [], []
    for index, record in enumerate(written):
        session = sessions[index % len(sessions)]
        shown = historical(session, record)
        assert (shown["secret"], shown["open"], shown["transactionId"]) == (
            record.secret,
            record.open,
            str(record.txid),
        )
        receipts += [session.receipt(record.txid), shown["receipt"]]
        cose.append((cose_receipt(session, record.txid), record.claims or bytes(32)))
    for record, receipt in zip((r for r in written for _ in range(2)), receipts, strict=True):
        assert verify_receipt(receipt, certificate, record.claims).txid == record.txid
    key = public_pem(public_key_of(certificate))
    for version in available_versions():
        _all_accepted(judge_receipts(receipts, certificate, version, chain=True))
        _all_accepted(judge_cose_receipts([(receipt, key, claims) for receipt, claims in cose], version))
    return {"json": len(receipts), "cose": len(cose), "mutants": _mutants(receipts, cose, certificate, random)}


def _mutants(
    receipts: Sequence[dict[str, Any]], cose: Sequence[tuple[bytes, bytes]], certificate: str, random: Random
) -> dict[str, int]:
    """Changed receipts that are refused; raises for one that is not. The originals were accepted before."""
    changed = [mutant.receipt for receipt in receipts for mutant in islice(mutants(receipt, random), 2)]
    for receipt in changed:
        try:
            verify_receipt(receipt, certificate)
        except InvalidReceipt:
            continue
        raise AssertionError("a mutant was accepted")
    _all_refused(judge_receipts(changed, certificate, available_versions()[0]))
    bytes_changed = [flip(receipt, random)[0] for receipt, _ in cose for _ in range(10)]
    for message in bytes_changed:
        _refused_by_us(message, certificate, ())
    return {"json": len(changed), "cose": len(bytes_changed)}


def _tamper(service: Service, written: Sequence[Written], flips: int, random: Random) -> dict[str, int]:
    """Flip bytes of old chunks of one node, one at a time, and ask it for what was in them.

    A node that has just joined keeps nothing yet: what it answers it has read from its disk.
    """
    node = service.join()
    session = service.session(node, "user0")
    session.wait_for_commit(written[-1].txid)
    unasked = {record.txid.seqno for record in written}
    answered = refused = 0
    for number in range(flips):
        chunk, first, inside = _chunk_with_writes(node, written, random)
        good = chunk.read_bytes()
        hit = next((record for record in inside if record.txid.seqno in unasked), inside[0])
        start, end = read_layout(good).bounds(hit.txid.seqno - first) if number % 3 else (0, len(good))
        changed = flip(good[start:end], random)[0]
        chunk.write_bytes(good[:start] + changed + good[end:])
        for record in {record.record: record for record in (hit, *inside[:3])}.values():
            if _answers_right(session, record, service.certificate):
                answered += 1
                unasked.discard(record.txid.seqno)
            else:
                refused += 1
        chunk.write_bytes(good)
    return {"flips": flips, "answered_right": answered, "not_answered": refused}


def _answers_right(session: Session, record: Written, certificate: str) -> bool:
    """Whether the node tells what a transaction wrote; raises where it tells anything else."""
    headers, path = {TXID_HEADER: str(record.txid)}, f"/app/claim/historical?id={record.record}"
    for _ in range(3):
        answer = session.request("GET", path, headers=headers)
        if answer.status != 202:
            assert (answer.status, answer.json()["secret"]) == (200, record.secret)
            verify_receipt(answer.json()["receipt"], certificate, record.claims)
            return True
        time.sleep(0.02)
    return False


def _chunk_with_writes(
    node: NodeProcess, written: Sequence[Written], random: Random
) -> tuple[Path, int, Sequence[Written]]:
    """A random committed chunk that holds writes, its first seqno, and its writes in random order."""
    named = [(name, path) for path in node.ledger.iterdir() if (name := parse_name(path.name)) and name.last]
    chunks = [
        (path, name.first, inside)
        for name, path in sorted(named)
        if (inside := [record for record in written if name.first <= record.txid.seqno <= (name.last or 0)])
    ]
    path, first, inside = random.choice(chunks)
    return path, first, random.sample(inside, len(inside))


def _all_accepted(verdicts: Sequence[str]) -> None:
    wrong = [verdict for verdict in verdicts if verdict != "accepted"]
    assert not wrong, wrong[0]


def _all_refused(verdicts: Sequence[str]) -> None:
    assert all(verdict.startswith("refused") for verdict in verdicts), "the public package accepted a wrong receipt"


def _refused_by_us(receipt: bytes, certificate: str, endorsements: Sequence[bytes]) -> None:
    try:
        verify_cose_receipt(receipt, certificate, endorsements=endorsements)
    except InvalidReceipt:
        return
    raise AssertionError("a wrong COSE receipt was accepted")


if __name__ == "__main__":
    numbers = [int(text) for text in sys.argv[1:]]
    write_count, flip_count, chosen_seed = numbers + [1000, 100, int(time.time())][len(numbers) :]
    with tempfile.TemporaryDirectory() as temporary:
        save("history", run(write_count, flip_count, chosen_seed, Path(temporary)))
