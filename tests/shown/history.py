"""Receipts and states of every age: real ledgers over recoveries, and a service of ours over rekeys and disasters.

    python -m tests.shown.history [WRITES] [FLIPS] [SEED]

Controls: without their endorsements receipts of earlier services are refused; every mutant is; and while bytes of a
chunk are flipped on a node's disk, that node hands out nothing but what was written.
"""

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
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
from tests.support.past_client import TXID_HEADER, cose_endorsements, cose_receipt, historical, secrets_in
from tests.support.past_services import PresentService, recovered
from tests.support.receipt_mutants import flip, mutants
from tests.support.recovery import agree, begin_recovery, submit_shares, wait_until_open
from tests.support.results import save
from tests.support.vectors import ccf_services, require_vectors

REKEYS, RECOVERIES = 2, 2
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
    """Write over rekeys, a killed primary and recoveries; then have every live node tell all of it."""
    part = writes // (REKEYS + RECOVERIES + 1)
    with ExitStack() as ending:
        service = ending.enter_context(
            Service.start(3, directory / "first", members=2, open_with=APP, chunk_size="50KB")
        )
        writer = Writer(service)
        for _ in range(REKEYS):
            writer.write(part)
            writer.wait_for_commit()
            service.pass_proposal([{"name": "trigger_ledger_rekey"}])
        writer.write(part // 2)
        writer.wait_for_commit()
        service.primary().kill()
        writer.write(part - part // 2)
        for number in range(RECOVERIES):
            writer.wait_for_commit()
            service = writer.service = _recover(service, directory / f"recovery-{number}", ending)
            writer.write(part)
        service.pass_proposal([{"name": "trigger_ledger_chunk"}])
        writer.write(1)
        writer.wait_for_commit()
        sessions = [service.session(node, "user0") for node in service.alive()]
        checked = _tell_all(sessions, writer.written, service.certificate, random)
        tampered = _tamper(service, writer.written, flips, random)
    views = sorted({written.txid.view for written in writer.written})
    counts = {"writes": len(writer.written), "rekeys": REKEYS, "recoveries": RECOVERIES}
    return {**counts, "views": views, **checked, "flips": tampered}


def _recover(lost: Service, directory: Path, ending: ExitStack) -> Service:
    """Kill every node, and have two new ones recover the service from what the first one alive wrote."""
    ledger = lost.alive()[0].ledger
    for node in lost.alive():
        node.kill()
    service = ending.enter_context(begin_recovery(lost, directory, ledger=ledger, count=2))
    agree(service, lost.certificate)
    submit_shares(service, service.members)
    wait_until_open(service)
    return service


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
    receipts: list[dict[str, Any]] = []
    cose: list[_Cose] = []
    for index, record in enumerate(written):
        session = sessions[index % len(sessions)]
        shown = historical(session, record)
        assert (shown["secret"], shown["open"]) == (record.secret, record.open)
        assert shown["transactionId"] == str(record.txid)
        receipts += [session.receipt(record.txid), shown["receipt"]]
        endorsements = cose_endorsements(session, record.txid)
        cose.append(_cose(cose_receipt(session, record.txid), record, endorsements, certificate))
    for record, receipt in zip((r for r in written for _ in range(2)), receipts, strict=True):
        assert verify_receipt(receipt, certificate, record.claims).txid == record.txid
    for version in available_versions():
        _all_accepted(judge_receipts(receipts, certificate, version, chain=True))
        _all_accepted(judge_cose_receipts([each.judged() for each in cose], version))
    return {
        "json": len(receipts),
        "cose": len(cose),
        "endorsed_by_steps": dict(sorted(Counter(len(each.endorsements) for each in cose).items())),
        "mutants": _mutants(receipts, cose, certificate, random),
    }


@dataclass(frozen=True)
class _Cose:
    """A COSE receipt that was accepted, the key that signed it, and what led to that key."""

    receipt: bytes
    key_pem: str
    claims: bytes
    endorsements: tuple[bytes, ...]

    def judged(self) -> tuple[bytes, str, bytes]:
        return self.receipt, self.key_pem, self.claims


def _cose(receipt: bytes, record: Written, endorsements: tuple[bytes, ...], certificate: str) -> _Cose:
    claims = record.claims or bytes(32)
    assert verify_cose_receipt(receipt, certificate, claims, endorsements=endorsements).txid == record.txid
    key = signing_key_at(record.txid, endorsements, public_key_of(certificate))
    return _Cose(receipt, public_pem(key), claims, endorsements)


def _mutants(
    receipts: Sequence[dict[str, Any]], cose: Sequence[_Cose], certificate: str, random: Random
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
    count = 0
    for each in cose:
        for _ in range(10):
            _refused_by_us(flip(each.receipt, random)[0], certificate, each.endorsements)
            count += 1
        for index, endorsement in enumerate(each.endorsements):
            wrong = list(each.endorsements)
            wrong[index] = flip(endorsement, random)[0]
            _refused_by_us(each.receipt, certificate, wrong)
            _refused_by_us(each.receipt, certificate, each.endorsements[:index])
            count += 2
    return {"json": len(changed), "cose": count}


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
    write_count, flip_count, chosen_seed = numbers + [600, 100, int(time.time())][len(numbers) :]
    with tempfile.TemporaryDirectory() as temporary:
        save("history", run(write_count, flip_count, chosen_seed, Path(temporary)))
