"""How long a client waits: for Committed, for a receipt, and after a primary's death."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from controlplane.settings import Settings
from dataplane.client.session import Session, SessionError
from dataplane.txid import TxID, TxStatus
from tests.bench.bench_node import service
from tests.bench.rows import Effort, Row
from tests.support.nodes import ROOT, NodeFault, Service

_APP = ROOT / "samples" / "logging"
_PATIENCE_S = 20.0
_DEATHS = 5
_WRITES = 10


def run(effort: Effort) -> list[Row]:
    """Commit and receipt with CCF's default signature interval and with the settings our control plane writes.

    Outages with the latter only.
    """
    rows = []
    for size in (1, 3):
        with service(size) as running:
            rows += _waits(running, size, "")
        with tempfile.TemporaryDirectory() as temporary, _as_managed(size, Path(temporary)) as running:
            rows += _waits(running, size, ", as managed")
    with tempfile.TemporaryDirectory() as temporary:
        rows += _outages(Path(temporary), max(1, min(_DEATHS, effort.repeats * 2 - 1)))
    return rows


def _waits(running: Service, size: int, how: str) -> list[Row]:
    session = running.session(running.primary(), "user0")
    return [
        _row(f"to Committed when idle{how}", size, [_time(session, _committed) for _ in range(_WRITES)]),
        _row(f"to a receipt when idle{how}", size, [_time(session, _receipt) for _ in range(_WRITES)]),
    ]


def _as_managed(size: int, directory: Path) -> Service:
    """A service with the settings our control plane writes."""
    settings = Settings(data_dir=directory)
    return Service.start(
        size, directory / "service", open_with=_APP,
        election_timeout_ms=settings.node_election_timeout_ms, signature_delay_ms=settings.node_signature_delay_ms,
    )  # fmt: skip


def _row(name: str, size: int, times_s: list[float]) -> Row:
    middle_s = median(times_s)
    detail: dict[str, object] = {"max_s": round(max(times_s), 3), "min_s": round(min(times_s), 3), "n": len(times_s)}
    return Row("times", f"{name}, {size} node{'s'[: size > 1]}", round(middle_s, 3), "s", middle_s * 1e6, detail)


def _time(session: Session, arrived: Callable[[Session, TxID], bool]) -> float:
    """From the answer to a write until `arrived`, in seconds; writes come at odd moments of the signature timer."""
    txid = _write(session)
    begin = time.monotonic()
    while not arrived(session, txid):
        if time.monotonic() - begin > _PATIENCE_S:
            raise NodeFault(f"transaction {txid} did not get there within {_PATIENCE_S} s")
        time.sleep(0.002)
    elapsed_s = time.monotonic() - begin
    time.sleep(0.37)
    return elapsed_s


def _write(session: Session) -> TxID:
    answer = session.request("POST", "/app/log/private?id=1", body=b'{"msg":"x"}')
    if answer.status != 200 or answer.txid is None:
        raise NodeFault(f"a write was answered {answer}")
    return answer.txid


def _committed(session: Session, txid: TxID) -> bool:
    return session.status(txid) is TxStatus.COMMITTED


def _receipt(session: Session, txid: TxID) -> bool:
    return session.request("GET", f"/app/receipt?transaction_id={txid}").status == 200


def _outages(directory: Path, deaths: int) -> list[Row]:
    with _as_managed(3, directory) as running:
        outages = [_outage(running) for _ in range(deaths)]
    return [
        _row("from a primary's death to an accepted write", 3, [accepted for accepted, _ in outages]),
        _row("from a primary's death to a committed write", 3, [committed for _, committed in outages]),
    ]


def _outage(running: Service) -> tuple[float, float]:
    """Seconds from SIGKILL until a write is accepted, and until one is Committed; then the dead node is replaced."""
    dead = running.primary()
    running.session(running.primary(), "user0").wait_for_commit(_write(running.session(dead, "user0")), _PATIENCE_S)
    survivors = [running.session(node, "user0") for node in running.alive() if node is not dead]
    dead.kill()
    begin = time.monotonic()
    session, txid = _first_write(survivors, begin)
    accepted_s = time.monotonic() - begin
    while not _committed(session, txid):
        if session.status(txid) is TxStatus.INVALID:
            session, txid = _first_write(survivors, begin)
        time.sleep(0.002)
    committed_s = time.monotonic() - begin
    running.join()
    running.remove(dead)
    return accepted_s, committed_s


def _first_write(sessions: list[Session], begin: float) -> tuple[Session, TxID]:
    while time.monotonic() - begin < _PATIENCE_S:
        for session in sessions:
            try:
                return session, _write(session)
            except (SessionError, NodeFault):
                time.sleep(0.005)
    raise NodeFault(f"no write was accepted within {_PATIENCE_S} s of a primary's death")
