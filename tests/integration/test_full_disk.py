"""A node whose disk takes no more: it says why, takes no writes, loses nothing, and another node goes on at once."""

import json
import os
import resource
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataplane.client.session import Response
from dataplane.client.verify import verify_ledger
from dataplane.txid import TxID, TxStatus
from tests.support.nodes import ROOT, NodeProcess, Service, wait_until

pytestmark = [pytest.mark.ci, pytest.mark.xdist_group("nodes")]

LOGGING = ROOT / "samples" / "logging"
ELECTION_TIMEOUT_MS = 8_000
RECORD_BYTES = 8_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    where = tmp_path / "small"
    where.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(where)], check=True)
    yield where
    subprocess.run(["umount", "--lazy", str(where)], check=True)


def write(service: Service, node: NodeProcess, record: int) -> Response:
    body = json.dumps({"id": record, "msg": "x" * RECORD_BYTES}).encode()
    return service.session(node, "user0").request("POST", f"/app/log/private?id={record}", body=body)


def fill(service: Service, node: NodeProcess) -> tuple[dict[int, TxID], Response]:
    """Write until the node refuses: transactions by record, and the refusal."""
    taken: dict[int, TxID] = {}
    for record in range(1_000):
        answer = write(service, node, record)
        if answer.status != 200:
            return taken, answer
        assert answer.txid is not None
        taken[record] = answer.txid
        if record % 10 == 9:
            time.sleep(0.02)  # let signatures come between
    raise AssertionError("the disk took everything")


def check_refusal(service: Service, node: NodeProcess, answer: Response, reason: str) -> None:
    error = answer.json()["error"]
    assert (answer.status, error["code"]) == (503, "NodeCannotHandleRequest")
    assert reason in error["message"]
    assert reason in node.log()
    session = service.session(node)
    assert session.request("GET", "/node/ready/app").status == 503
    assert session.request("GET", "/node/ready/gov").status == 503
    assert session.get_json("/node/state")["state"] == "PartOfNetwork"
    assert session.get_json("/node/consensus")["details"]["ticking"] is False
    metrics = session.request("GET", "/node/metrics", headers={"accept": "text/plain"}).body
    assert b"\nmccf_ledger_lost 1\n" in metrics


def signed_seqno(ledger: Path) -> int:
    """The last signature on the disk, everything before it verified."""
    signed = verify_ledger(ledger, uncommitted=True).last_signed
    assert signed is not None
    return signed.seqno


def committed_at(service: Service, node: NodeProcess, taken: dict[int, TxID]) -> dict[int, TxID]:
    session = service.session(node)
    return {record: txid for record, txid in taken.items() if session.status(txid) is TxStatus.COMMITTED}


def test_a_primary_with_a_full_disk_hands_over_and_serves_reads(tmp_path: Path, small_disk: Path) -> None:
    directory = tmp_path / "service"
    settings = {"ledger": {"directory": str(small_disk / "ledger"), "chunk_size": "200KB"}}
    with Service.start(1, directory, election_timeout_ms=ELECTION_TIMEOUT_MS, settings=settings) as service:
        service.settings = {**service.settings, "ledger": {"directory": "ledger", "chunk_size": "200KB"}}
        for _ in range(2):
            service._wait_ready(service.join())
        service.open(LOGGING)
        full, others = service.nodes[0], service.nodes[1:]
        assert service.primary() is full
        taken, refusal = fill(service, full)
        begin = time.monotonic()
        check_refusal(service, full, refusal, "No space left on device")
        known = committed_at(service, full, taken)
        assert len(known) > 50

        after = wait_until("another primary", lambda: next((n for n in others if leads(service, n)), None))
        assert time.monotonic() - begin < ELECTION_TIMEOUT_MS / 2000, "nobody waited for an election timeout"
        answer = write(service, after, 5_000)
        assert answer.txid is not None
        service.session(after).wait_for_commit(answer.txid)
        assert committed_at(service, after, known) == known, "nothing committed is lost"
        record = max(known)
        for node in (full, after):
            read = service.session(node, "user0").request("GET", f"/app/log/private?id={record}")
            assert (read.status, len(read.json()["msg"])) == (200, RECORD_BYTES)

        assert full.stop() == 1
        assert signed_seqno(small_disk / "ledger") > known[record].seqno


def leads(service: Service, node: NodeProcess) -> bool:
    return service.session(node).request("GET", "/node/primary").status == 200


def test_a_service_of_one_node_keeps_what_is_committed(tmp_path: Path) -> None:
    """Without another node the service takes no writes; files may grow to a limit here, so it needs no root."""
    with Service.start(1, tmp_path / "service", open_with=LOGGING) as service:
        (node,) = service.nodes
        limit = sum(path.stat().st_size for path in node.ledger.iterdir()) + 300_000
        resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, (limit, limit))
        taken, refusal = fill(service, node)
        check_refusal(service, node, refusal, "File too large")
        known = committed_at(service, node, taken)
        assert 10 < len(known) <= len(taken)
        assert write(service, node, 0).status == 503
        read = service.session(node, "user0").request("GET", f"/app/log/private?id={max(known)}")
        assert read.status == 200
        uncommitted = set(taken) - set(known)
        for record in uncommitted:
            lost = service.session(node, "user0").request("GET", f"/app/log/private?id={record}")
            assert lost.status == 404, "what cannot become committed is not shown"
        assert node.stop() == 1
        assert signed_seqno(node.ledger) > known[max(known)].seqno
