"""Receipts of many transactions over several views, judged by the public package; mutants refused by both sides.

    python -m tests.shown.receipts [RECEIPTS] [MUTANTS] [SEED]

The control for the mutants is the receipt itself: unchanged, both sides accept it.
"""

import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from dataplane.receipt import InvalidReceipt, verify_receipt
from tests.shown.ledgers import APP
from tests.support.ccf_package import V6, judge_receipts
from tests.support.load import Writer
from tests.support.nodes import Service
from tests.support.receipt_mutants import mutants
from tests.support.results import save


def run(count: int, mutant_count: int, seed: int, directory: Path) -> dict[str, object]:
    """Raises where a receipt is refused or a mutant accepted, by ours or by theirs."""
    with Service.start(3, directory / "service", open_with=APP) as service:
        writer = Writer(service)
        writer.write(count // 2)
        writer.wait_for_commit()  # what is not committed may die with the primary, and then has no receipt
        service.primary().kill()
        writer.write(count - count // 2)
        writer.wait_for_commit()
        nodes = service.alive()
        receipts = [
            service.session(nodes[index % len(nodes)]).receipt(written.txid)
            for index, written in enumerate(writer.written)
        ]
        certificate = service.certificate
    for written, receipt in zip(writer.written, receipts, strict=True):
        assert verify_receipt(receipt, certificate, written.claims).txid == written.txid
    views = sorted({written.txid.view for written in writer.written})
    assert len(views) >= 2, views
    theirs = judge_receipts(receipts, certificate, V6, chain=True)
    assert theirs == ["accepted"] * count, next(verdict for verdict in theirs if verdict != "accepted")
    refused = _refuse_mutants(receipts, certificate, mutant_count, Random(seed))
    return {
        "receipts": count,
        "with_claims": sum(written.claims is not None for written in writer.written),
        "views": views,
        "mutants": mutant_count,
        "mutants_by_part": refused,
        "seed": seed,
        "judges": ["mccf", f"ccf {V6}"],
    }


def _refuse_mutants(receipts: list[dict[str, Any]], certificate: str, count: int, random: Random) -> dict[str, int]:
    by_part: dict[str, int] = {}
    changed: list[dict[str, Any]] = []
    per_receipt = -(-count // len(receipts))
    for receipt in receipts:
        for mutant in islice(mutants(receipt, random), min(per_receipt, count - len(changed))):
            try:
                verify_receipt(mutant.receipt, certificate)
            except InvalidReceipt:
                by_part[mutant.part] = by_part.get(mutant.part, 0) + 1
                changed.append(mutant.receipt)
            else:
                raise AssertionError(f"a mutant was accepted by mccf: {mutant.part} {mutant.place}")
    verdicts = judge_receipts(changed, certificate, V6)
    assert len(verdicts) == len(changed)
    assert all(verdict.startswith("refused") for verdict in verdicts), "a mutant was accepted by the public package"
    return by_part


if __name__ == "__main__":
    numbers = [int(text) for text in sys.argv[1:]]
    count, mutant_count, seed = numbers + [1000, 10_000, int(time.time())][len(numbers) :]
    with tempfile.TemporaryDirectory() as temporary:
        save("receipts", run(count, mutant_count, seed, Path(temporary)))
