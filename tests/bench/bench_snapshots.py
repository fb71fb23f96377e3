"""What a snapshot of many keys costs: its primary, the clients meanwhile, and the node that begins with it."""

import json
import tempfile
import threading
import time
from pathlib import Path

from dataplane.client.session import Session
from tests.bench.rows import Effort, Row
from tests.support.nodes import ROOT, NodeProcess, Service, cpu_seconds, wait_until

KEYS = 100_000
_APP = ROOT / "tests" / "support" / "apps" / "many"
_BATCH = 1000
_POLL_S = 0.005


def run(effort: Effort) -> list[Row]:
    """One service of one node. The time to start is from the process's first breath to its answer with all keys."""
    return rows(KEYS)


def rows(keys: int) -> list[Row]:
    """The rows, measured with so many keys."""
    with tempfile.TemporaryDirectory() as temporary:
        settings = {"snapshots": {"directory": "snapshots", "tx_count": 1_000_000}}
        with Service.start(1, Path(temporary) / "service", open_with=_APP, settings=settings) as service:
            _fill(service, keys)
            return [*_taken(service, keys), *_begun(service, keys)]


def _fill(service: Service, keys: int) -> None:
    session = service.session(user="user0")
    for first in range(0, keys, _BATCH):
        body = json.dumps({"first": first, "count": min(_BATCH, keys - first)}).encode()
        answer = session.request("POST", "/app/many", body=body)
        assert answer.status == 204, answer.body
    assert answer.txid is not None
    session.wait_for_commit(answer.txid)


def _taken(service: Service, keys: int) -> list[Row]:
    (primary,) = service.nodes
    known = set(_snapshots(primary))
    idle = _Latency(service)
    time.sleep(1)
    idle_ms = idle.stop()
    meanwhile = _Latency(service)
    begin_s, begin_cpu_s = time.monotonic(), cpu_seconds(primary.process.pid)
    service.pass_proposal([{"name": "trigger_snapshot"}])
    path = wait_until("the snapshot", lambda: next(iter(set(_snapshots(primary)) - known), None), 60)
    taken_s = time.monotonic() - begin_s
    cpu_s = cpu_seconds(primary.process.pid) - begin_cpu_s
    latencies_ms = meanwhile.stop()
    size_mb = path.stat().st_size / 1e6
    detail: dict[str, object] = {"keys": keys, "size_mb": round(size_mb, 1), "cpu_s": round(cpu_s, 2)}
    shown = {"median_idle_ms": _at(idle_ms, 0.5), "highest_idle_ms": idle_ms[-1], "median_ms": _at(latencies_ms, 0.5)}
    return [
        Row("snapshot", f"take and prove one of {keys:,} keys", taken_s, "s", taken_s * 1e6, detail),
        Row("snapshot", "longest answer of the primary meanwhile", latencies_ms[-1], "ms", None, {**shown}),
    ]


def _begun(service: Service, keys: int) -> list[Row]:
    begin_s = time.monotonic()
    node = service.join(snapshot=True)
    session = service.session(node, "user0")
    wait_until("all keys", lambda: session.request("GET", "/app/many").body == str(keys).encode())
    started_s = time.monotonic() - begin_s
    state = session.get_json("/node/state")
    assert state["startup_seqno"] > 0, "it replayed the ledger"
    return [
        Row("snapshot", f"start from one of {keys:,} keys", started_s, "s", started_s * 1e6, {"state": state["state"]})
    ]


def _at(values: list[float], share: float) -> float:
    return values[int(len(values) * share)]


def _snapshots(node: NodeProcess) -> list[Path]:
    return sorted((node.directory / "snapshots").glob("*.committed"))


class _Latency:
    """Asks the primary for its commit every few milliseconds, in a thread; how long the answers took, in ms."""

    def __init__(self, service: Service) -> None:
        self._session = Session(service.primary().url, service.certificate)
        self._stopping = False
        self._taken_ms: list[float] = []
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def stop(self) -> list[float]:
        """The times, ascending."""
        self._stopping = True
        self._thread.join()
        self._session.close()
        return sorted(round(taken, 2) for taken in self._taken_ms)

    def _ask(self) -> None:
        while not self._stopping:
            begin_s = time.monotonic()
            self._session.request("GET", "/node/commit")
            self._taken_ms.append((time.monotonic() - begin_s) * 1000)
            time.sleep(_POLL_S)
