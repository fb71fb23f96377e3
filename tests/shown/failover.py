"""The primary is killed again and again under load; every dead node is replaced. Nothing committed is lost.

    python -m tests.shown.failover [ROUNDS]

The nodes run with the settings the control plane writes. Writers and readers go on all the while; at the end every
record whose transaction is reported Committed is read back from every node. The control is a record that was never
written: the same check must miss it.
"""

import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from dataplane.client.session import Session, SessionError
from dataplane.txid import TxID, TxStatus
from tests.shown.ledgers import APP
from tests.support.load import Writer, Written
from tests.support.nodes import NodeProcess, Service, wait_until
from tests.support.results import save, spread

WRITES_AFTER = 11  # of each round


@dataclass
class _Reader:
    """Reads one record from one node over and over, on a thread; the longest time without an answer."""

    service: Service
    node: NodeProcess
    longest_gap_s: float = 0.0
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> "_Reader":
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def stop(self) -> float:
        self._over.set()
        assert self._thread is not None
        self._thread.join()
        return self.longest_gap_s

    def _run(self) -> None:
        files = self.service.users["user0"]
        last = time.monotonic()
        with Session(self.node.url, self.service.certificate, (files.certificate, files.private_key)) as session:
            while not self._over.is_set():
                try:
                    answered = session.request("GET", "/app/claim?id=0").status == 200
                except SessionError:
                    answered = False
                if answered:
                    now = time.monotonic()
                    self.longest_gap_s = max(self.longest_gap_s, now - last)
                    last = now
                time.sleep(0.02)


def run(rounds: int, directory: Path) -> dict[str, object]:
    """Raises where a committed record is missing or changed."""
    outages_s: list[float] = []
    gaps_s: list[float] = []
    reported: list[Written] = []
    with Service.start(3, directory / "service", open_with=APP) as service:
        writer = Writer(service)
        writer.write(20)
        writer.wait_for_commit()
        for _ in range(rounds):
            begin = len(writer.written)
            outage_s, gap_s = _round(service, writer)
            committed = _reported_committed(service, writer.written[begin:])
            assert len(committed) >= WRITES_AFTER, (
                "what was written after the failover and waited for must be committed"
            )
            reported += committed
            outages_s.append(outage_s)
            gaps_s.append(gap_s)
        _check_all(service, writer, reported)
        _control(service, writer)
        view = writer.written[-1].txid.view
    return {
        "rounds": rounds,
        "acknowledged": len(writer.written),
        "reported_committed": len(reported),
        "last_view": view,
        "writes_resume_s": spread(outages_s),
        "read_gap_on_survivors_s": spread(gaps_s),
        "lost_or_changed": 0,
        "control": "a record that was never written is reported missing",
    }


def _round(service: Service, writer: Writer) -> tuple[float, float]:
    dead = service.primary()
    readers = [_Reader(service, node).start() for node in service.alive() if node is not dead]
    try:
        writer.write(10)
        dead.kill()
        begin = time.monotonic()
        writer.write(1)
        outage_s = time.monotonic() - begin
        writer.write(WRITES_AFTER - 1)
    finally:
        gaps_s = [reader.stop() for reader in readers]
    writer.wait_for_commit()
    service.join()
    service.remove(dead)
    return outage_s, max(gaps_s)


def _reported_committed(service: Service, written: list[Written]) -> list[Written]:
    """What a node now calls Committed: a promise. The rest died, pending, with its primary."""
    session = service.any_session()
    return [one for one in written if session.status(one.txid) is TxStatus.COMMITTED]


def _check_all(service: Service, writer: Writer, reported: list[Written]) -> None:
    """Every write ever reported Committed is so on every node, as it was written."""
    for node in service.alive():
        session = service.session(node, "user0")
        wait_until("the node to catch up", lambda s=session: s.status(reported[-1].txid) is TxStatus.COMMITTED)  # type: ignore[misc]
        for written in reported:
            assert session.status(written.txid) is TxStatus.COMMITTED, f"{written} is no longer committed"
            assert writer.read(session, written), f"{written} is missing or changed"


def _control(service: Service, writer: Writer) -> None:
    ghost = Written(10**9, TxID(2, 1), "never", "written", None)
    assert not writer.read(service.session(user="user0"), ghost)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        save("failover", run(int(sys.argv[1]) if len(sys.argv) > 1 else 20, Path(temporary)))
