"""Offline verification of a ledger, as `mccf ledger verify` does it: entries per second of one core.

python -m tests.bench.bench_verify
"""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from dataplane.client.audit import Selection
from dataplane.client.ledger_check import Verdict, check_ledger
from dataplane.ledger.secrets import LedgerSecrets
from tests.bench.rows import Effort, Row
from tests.support.service_ledger import ServiceLedger

ENTRIES = 20_000
SIGNATURE_EVERY = 100


def run(effort: Effort) -> list[Row]:
    """One row without ledger secrets and one with them; the best of `effort.repeats` counts."""
    ledger = _ledger()
    rows = []
    with TemporaryDirectory() as temporary:
        directory = ledger.write_to(Path(temporary))
        for name, secrets in (("public", None), ("private too, with the ledger secrets", ledger.secrets)):
            us = min(_us_per_entry(directory, len(ledger.entries), secrets) for _ in range(effort.repeats))
            detail: dict[str, object] = {"entries_per_second": round(1e6 / us), "signature_every": SIGNATURE_EVERY}
            rows.append(Row("verify", f"ledger verify per entry, {name}", round(us, 2), "us CPU", us, detail))
    return rows


def _ledger() -> ServiceLedger:
    """60-byte private writes with a signature every 100, as a busy node writes them; its tree begins at a commit."""
    ledger = ServiceLedger(chunk_size=5_000_000)
    ledger.set_status("Open")
    ledger.sign()
    for number in range(ENTRIES):
        ledger.append({"records": {b"%d" % number: bytes(60)}})
        if number % SIGNATURE_EVERY == SIGNATURE_EVERY - 1:
            since = ledger.tree.size - 2 * SIGNATURE_EVERY
            tree_bytes = ledger.tree.serialise(max(since, 0), ledger.tree.size - 1)
            ledger.append(ledger.signature_writes(tree_bytes=tree_bytes))
    return ledger


def _us_per_entry(directory: Path, entries: int, secrets: LedgerSecrets | None) -> float:
    begin = time.process_time()
    check = check_ledger(Selection([directory]), secrets=secrets)
    elapsed = time.process_time() - begin
    assert check.verdict is Verdict.VERIFIED
    return elapsed / entries * 1e6


if __name__ == "__main__":
    for row in run(Effort()):
        print(f"{row.name:60} {row.value:>8} us  {row.detail['entries_per_second']:>8} entries/s")
