"""What the past costs: entries proven, receipts of old transactions, pages of states, and what writes lose by it."""

import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from statistics import median

from dataplane.client.session import Session
from dataplane.ledger.archive import LedgerArchive
from dataplane.ledger.files import LedgerFiles
from dataplane.node.prover import Prover, Service
from dataplane.txid import TxID
from tests.bench.load import Measured, Plan, measure
from tests.bench.rows import Effort, Row
from tests.support.nodes import ROOT
from tests.support.nodes import Service as Nodes
from tests.support.past_client import fetched
from tests.support.service_ledger import ServiceLedger

_APP = ROOT / "tests" / "support" / "apps" / "claims"
_BODY = '{"secret":"%s","open":"x"}' % ("s" * 40)
_ENTRIES = 5_000
_SIGNATURE_EVERY = 100
_PAGE = 2_000
_RECEIPTS = 40
_POLL_S = 0.002


def run(effort: Effort) -> list[Row]:
    """Proving alone, in this process; then one node, idle and while it takes writes on 16 connections."""
    rows = [_proving(effort.repeats)]
    with (
        tempfile.TemporaryDirectory() as temporary,
        Nodes.start(1, Path(temporary) / "service", open_with=_APP, signature_delay_ms=1000) as service,
    ):
        return [*rows, *_of_a_node(service, effort.seconds)]


def _proving(repeats: int) -> Row:
    """Entries of 60 private bytes read, decrypted, and proven under a signature for every hundred."""
    ledger = ServiceLedger(chunk_size=1_000_000)
    while len(ledger.entries) < _ENTRIES:
        for number in range(_SIGNATURE_EVERY):
            ledger.append({"records": {b"%d" % number: bytes(60)}})
        ledger.sign()
    count = len(ledger.entries)
    best_us = float("inf")
    with tempfile.TemporaryDirectory() as temporary:
        directory = ledger.write_to(Path(temporary) / "ledger")
        files = LedgerFiles(directory)
        for _ in range(repeats):
            prover = Prover(LedgerArchive(files, [directory]), ledger.secrets)
            begin = time.process_time()
            prover.fetch(1, count, signed_at=None, commit=count, service=Service(ledger.service_info(), None))
            best_us = min(best_us, (time.process_time() - begin) / count * 1e6)
        files.close()
    detail: dict[str, object] = {"rate": round(1e6 / best_us), "entries": count, "signature_every": _SIGNATURE_EVERY}
    return Row("history", "entry read and proven", best_us, "us CPU", best_us, detail)


def _of_a_node(service: Nodes, seconds: float) -> list[Row]:
    node, session = service.nodes[0], service.session(user="user0")
    address = node.url.removeprefix("https://")
    user = service.users["user0"]
    certificate = node.directory / "service_cert.pem"

    def load(duration_s: float) -> Measured:
        return measure(
            Plan(
                address, "/app/claim?id=%d&claim=no", "POST", _BODY, 16, 1, duration_s,
                ca_file=str(certificate), certificate_file=str(user.certificate), key_file=str(user.private_key),
                watch=(node.process.pid,),
            )
        )  # fmt: skip

    load(max(seconds, 2.0))
    last = _last_committed(session)
    random = Random(5)
    chosen = random.sample(range(10, last.seqno), 2 * _RECEIPTS)
    idle_s = [_receipt_s(session, last.view, seqno) for seqno in chosen[:_RECEIPTS]]
    alone = load(seconds)
    with ThreadPoolExecutor(1) as pool:
        beside = pool.submit(load, seconds + 1.0)
        time.sleep(1.0)
        busy_s = [_receipt_s(session, last.view, seqno) for seqno in chosen[_RECEIPTS:]]
        with_history = beside.result()
    return [
        _receipts("receipt of an old transaction, idle", idle_s),
        _receipts("receipt of an old transaction, under writes", busy_s),
        _page(session, last.seqno),
        Row(
            "history", "write beside reading the past, 16x1", with_history.cpu_us[0], "us CPU", with_history.cpu_us[0],
            {
                "rate": round(with_history.rate), "p50_ms": with_history.p50_ms, "p99_ms": with_history.p99_ms,
                "alone": {"cpu_us": alone.cpu_us[0], "rate": round(alone.rate), "p99_ms": alone.p99_ms},
            },
        ),
    ]  # fmt: skip


def _receipt_s(session: Session, view: int, seqno: int) -> float:
    """From the first request for a receipt nobody has asked for until it is there."""
    path, begin = f"/node/receipt?transaction_id={view}.{seqno}", time.monotonic()
    while session.request("GET", path).status != 200:
        time.sleep(_POLL_S)
    return time.monotonic() - begin


def _receipts(name: str, times_s: Sequence[float]) -> Row:
    ordered = sorted(times_s)
    middle_ms = median(ordered) * 1000
    detail: dict[str, object] = {
        "p50_ms": round(middle_ms, 1),
        "p99_ms": round(ordered[-1] * 1000, 1),  # the slowest of so few
        "n": len(ordered),
        "poll_ms": _POLL_S * 1000,
    }
    return Row("history", name, middle_ms, "ms", middle_ms * 1000, detail)


def _page(session: Session, last: int) -> Row:
    """A script reads a page of states, each with its private table; from the first request to the answer."""
    begin = time.monotonic()
    count = min(_PAGE, last)
    answer = fetched(session, f"/app/claims/range?handle=1&from=1&to={count}", timeout_s=60)
    elapsed_s = time.monotonic() - begin
    assert len(answer.json()) == count
    each_us = elapsed_s / count * 1e6
    return Row("history", f"state in a page of {_PAGE:,} for a script", each_us, "us", each_us, {"rate": 1e6 / each_us})


def _last_committed(session: Session) -> TxID:
    return TxID.parse(session.get_json("/node/commit")["transaction_id"])
