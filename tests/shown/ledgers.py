"""Thousands of transactions with a failover in the middle: strangers' readers accept every node's ledger.

    python -m tests.shown.ledgers [TRANSACTIONS]

The control flips one byte of a copy of a ledger: every reader must refuse it.
"""

import shutil
import sys
import tempfile
from pathlib import Path
from random import Random

from dataplane.client.verify import LedgerCorrupt, verify_ledger
from tests.support.ccf_package import available_versions, read_ledger
from tests.support.load import Writer
from tests.support.nodes import ROOT, Service, wait_until
from tests.support.results import save

APP = ROOT / "tests" / "support" / "apps" / "claims"


def run(transactions: int, directory: Path) -> dict[str, object]:
    """Write, kill the primary half-way, replace it, go on; then have every ledger read. Raises where one fails."""
    with Service.start(3, directory / "service", open_with=APP, chunk_size="100KB") as service:
        writer = Writer(service)
        writer.write(transactions // 2)
        dead = service.primary()
        dead.kill()
        writer.write(1)
        service.join()
        service.remove(dead)
        writer.write(transactions - transactions // 2)
        service.pass_proposal([{"name": "trigger_ledger_chunk"}])
        writer.write(1)
        writer.wait_for_commit()
        chunks = _same_chunks(service)
        ledgers = [node.ledger for node in service.alive()]
    verdicts = {}
    for version in available_versions():
        for ledger in ledgers:
            verdict = read_ledger(ledger, version)
            assert verdict.accepted, verdict.output[-2000:]
            verdicts[f"ccf {version} {ledger.parent.name}"] = {
                "last_seqno": verdict.last_seqno,
                "signatures": verdict.signatures,
            }
    own = [verify_ledger(ledger) for ledger in ledgers]
    control = refuse_a_flipped_byte(ledgers[0], directory / "control")
    return {
        "transactions": transactions,
        "committed_chunks": chunks,
        "readers": verdicts,
        "own": [{"last": str(report.last_txid), "signatures": report.signatures} for report in own],
        "control": control,
    }


def _same_chunks(service: Service) -> int:
    """The number of committed chunks, which all nodes share and hold byte for byte the same."""

    def names() -> set[str] | None:
        found = [{path.name for path in node.ledger.glob("*.committed")} for node in service.alive()]
        return found[0] if all(one == found[0] for one in found) else None

    shared = wait_until("the same committed chunks on every node", names)
    for name in shared:
        contents = {(node.ledger / name).read_bytes() for node in service.alive()}
        assert len(contents) == 1, f"{name} differs between nodes"
    return len(shared)


def refuse_a_flipped_byte(ledger: Path, copy: Path) -> str:
    """The control: a copy of a ledger with one byte flipped is accepted by nobody."""
    shutil.copytree(ledger, copy)
    victim = sorted(copy.glob("*.committed"), key=lambda path: int(path.name.split("_")[1].split("-")[0]))[1]
    data = bytearray(victim.read_bytes())
    place = Random(1).randrange(len(data) // 4, len(data) // 2)
    data[place] ^= 0x01
    victim.write_bytes(data)
    try:
        verify_ledger(copy)
    except LedgerCorrupt:
        pass
    else:
        raise AssertionError("the control: a flipped byte went unnoticed")
    for version in available_versions():
        assert not read_ledger(copy, version).accepted, f"the control: ccf {version} accepted a flipped byte"
    return "one flipped byte is refused by every reader"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        save("ledgers", run(int(sys.argv[1]) if len(sys.argv) > 1 else 5000, Path(temporary)))
