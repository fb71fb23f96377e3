"""A ledger that lasts: snapshots, rekeys, retirements and two disasters, accepted by strangers on every node.

    python -m tests.shown.lasting [TRANSACTIONS]

A fifth of the transactions is written between each two events. Nodes join by replaying the whole ledger, from a
snapshot with the ledger fetched beside it, and in recoveries. At the end every node's ledger, from its first
transaction, is read by both public packages, and the chain of ledger secrets is checked. The control flips one byte of
a copy of a ledger: every reader must refuse it.
"""

import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from dataplane.client.verify import verify_ledger
from tests.bench.load import Plan, measure
from tests.shown.ledgers import APP, refuse_a_flipped_byte
from tests.support.ccf_package import available_versions, read_ledger, secrets_chain_holds
from tests.support.nodes import Service, wait_until
from tests.support.recovery import agree, begin_recovery, submit_shares, wait_until_open
from tests.support.results import save

MEMBERS = 3
SNAPSHOTS = 20  # about so many, over the whole ledger
_BODY = '{"secret": "a private value of this record", "open": "a public value"}'


def run(transactions: int, directory: Path) -> dict[str, object]:
    """Raises where a reader refuses a ledger, or nodes do not agree."""
    share = transactions // 5
    settings = {"snapshots": {"tx_count": max(50, transactions // SNAPSHOTS)}}
    with ExitStack() as stack:
        first = Service.start(
            3, directory / "first", members=MEMBERS, open_with=APP, chunk_size="1MB", settings=settings
        )
        stack.enter_context(first)
        _fill(first, share)
        first.pass_proposal([{"name": "trigger_ledger_rekey"}])
        _fill(first, 2 * share)
        _replace_primary(first)
        _fill(first, 3 * share)
        second = stack.enter_context(_recovered(first, directory / "second"))
        _fill(second, 4 * share)
        second.pass_proposal([{"name": "trigger_ledger_rekey"}])
        _replace_primary(second)
        last = stack.enter_context(_recovered(second, directory / "third"))
        _fill(last, transactions)
        last.pass_proposal([{"name": "trigger_ledger_chunk"}])
        _fill(last, _last_seqno(last) + 10)
        _settle(last)
        ledgers = [node.ledger for node in last.alive()]
        snapshots = sum(len(list(s.directory.glob("*/snapshots/*.committed"))) for s in (first, second, last))
        network = last.any_session().get_json("/node/network")
        last.stop()
    return {
        "transactions": transactions,
        "recoveries": network["recovery_count"],
        "view": network["current_view"],
        "snapshots_on_disk": snapshots,
        "readers": _read(ledgers, transactions),
        "control": refuse_a_flipped_byte(ledgers[0], directory / "control"),
    }


def _fill(service: Service, seqno: int) -> None:
    """Write, many requests at a time, until the ledger is so long."""
    user = service.users["user0"]
    certificate = service.directory / "service_cert_of_load.pem"
    certificate.write_text(service.certificate)
    while (missing := seqno - _last_seqno(service)) > 0:
        plan = Plan(
            address=service.primary().address, path="/app/claim?id=%d&claim=no", method="POST", body=_BODY,
            connections=4, depth=min(16, 1 + missing // 100), seconds=2.0 if missing > 5_000 else 0.2,
            ca_file=str(certificate), certificate_file=str(user.certificate), key_file=str(user.private_key),
        )  # fmt: skip
        measure(plan)


def _last_seqno(service: Service) -> int:
    txid = service.session(service.primary()).request("GET", "/node/state").txid
    assert txid is not None
    return txid.seqno


def _replace_primary(service: Service) -> None:
    """Kill the primary; a node joins from a snapshot and fetches the ledger, the dead one is retired."""
    dead = service.primary()
    dead.kill()
    service.primary()
    service.join(snapshot=True, fetch_ledger=True)
    service.remove(dead)


def _recovered(lost: Service, directory: Path) -> Service:
    """All nodes die; new ones begin from the ledger of one of them, and members give their shares."""
    source = lost.primary()
    for node in lost.alive():
        node.kill()
    lost.stop(check=False)
    service = begin_recovery(lost, directory, ledger=source.ledger, count=3)
    agree(service, lost.certificate)
    submit_shares(service, service.members)
    wait_until_open(service)
    return service


def _settle(service: Service) -> None:
    """Every node has committed what was written, in the same committed chunks."""
    txid = service.session(service.primary()).request("GET", "/node/state").txid
    assert txid is not None
    for node in service.alive():
        service.session(node).wait_for_commit(txid, 120)

    def same() -> bool:
        names = [{path.name for path in node.ledger.glob("*.committed")} for node in service.alive()]
        return all(one == names[0] for one in names)

    wait_until("the same committed chunks on every node", same, 60)


def _read(ledgers: list[Path], transactions: int) -> Mapping[str, Any]:
    verdicts: dict[str, Any] = {}
    for ledger in ledgers:
        report = verify_ledger(ledger)
        verdicts[f"own {ledger.parent.name}"] = {"last": str(report.last_txid), "signatures": report.signatures}
        for version in available_versions():
            verdict = read_ledger(ledger, version)
            assert verdict.accepted, verdict.output[-2000:]
            assert verdict.last_seqno >= transactions
            assert secrets_chain_holds(ledger, version), f"ccf {version}: the chain of secrets of {ledger} is broken"
            verdicts[f"ccf {version} {ledger.parent.name}"] = {
                "last_seqno": verdict.last_seqno,
                "signatures": verdict.signatures,
            }
    return verdicts


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        save("lasting", run(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000, Path(temporary)))
