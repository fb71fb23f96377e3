"""Nothing a node does holds up heartbeats for as long as an election takes to begin.

    python -m tests.shown.stalls [KEYS]

Three real nodes with the settings the control plane writes note when they hear from each other while one of them, or
all, work hard: scripts at their time limit, many signatures, a slow disk, a snapshot, governance with recovery shares.
The longest silence between any two that can listen must stay below half the election timeout, the earliest moment at
which a follower may campaign, and the view must not change. The control is a node without beats: its others elect.
"""

import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from controlplane.settings import Settings
from dataplane.client.session import Session
from tests.bench.bench_snapshots import _fill
from tests.support.held_up import BUSY, Place, held_up, longest_gap_s, settled, watched
from tests.support.nodes import ROOT, NodeProcess, Service, wait_until
from tests.support.results import save

KEYS = 100_000
_MANY = ROOT / "tests" / "support" / "apps" / "many"
_SETTINGS = Settings(data_dir=Path())
LIMIT_MS = _SETTINGS.node_election_timeout_ms // 2
_SHARE_MEMBERS = 10


class Stalled(AssertionError):
    """A silence was too long, or the view changed."""


@dataclass(slots=True)
class Watched:
    """A service whose nodes note contacts, and the windows of time in which something was done to it."""

    service: Service
    windows: dict[str, tuple[float, float, Place, frozenset[str]]] = field(default_factory=dict)

    @contextmanager
    def window(self, name: str, deaf: Sequence[NodeProcess] = ()) -> Iterator[None]:
        """What happens inside is judged under this name; `deaf` nodes cannot listen meanwhile."""
        before = settled(self.service)
        begin_s = time.monotonic()
        yield
        end_s = time.monotonic()
        after = settled(self.service)
        if after != before:
            raise Stalled(f"{name}: {before} became {after}")
        self.windows[name] = begin_s, end_s, before, frozenset(node.name for node in deaf)

    def gaps_ms(self, ids: dict[str, str]) -> dict[str, float]:
        """The longest silence of each window; the nodes have stopped. `ids`: node ids by name."""
        return {name: self._gap_ms(ids, *window) for name, window in self.windows.items()}

    def _gap_ms(self, ids: dict[str, str], begin_s: float, end_s: float, place: Place, deaf: frozenset[str]) -> float:
        longest_s = 0.0
        for node in self.service.nodes:
            if node.name in deaf:
                continue
            leads = ids[node.name] == place.primary_id
            peers = [peer for name, peer in ids.items() if name != node.name and (leads or peer == place.primary_id)]
            longest_s = max(longest_s, longest_gap_s(node, peers, begin_s, end_s))
        return round(longest_s * 1000, 1)


def run(
    keys: int,
    directory: Path,
    *,
    load_s: float = 5,
    busy: Sequence[str] = ("primary", "backup", "both backups"),
    limit_ms: float = LIMIT_MS,
) -> dict[str, object]:
    """Raises `Stalled` where a silence reaches the limit, a view changes, or the control does not elect.

    `load_s`: for how long clients write; `busy`: where scripts run to their limit.
    """
    gaps_ms = {
        **_measure(
            directory / "scripts",
            lambda watching: _scripts_and_governance(watching, busy),
            BUSY,
            members=_SHARE_MEMBERS,
        ),
        **_measure(
            directory / "load",
            lambda watching: _signatures_and_snapshot(watching, keys, load_s),
            _MANY,
            settings=_FAST_SIGNING,
        ),
        **_measure(directory / "disk", lambda watching: _slow_disk(watching, load_s), BUSY, mode="slow-disk"),
    }
    too_long = {name: gap for name, gap in gaps_ms.items() if gap >= limit_ms}
    if too_long:
        raise Stalled(f"silences of {limit_ms} ms or more: {too_long}")
    return {
        "keys": keys,
        "election_timeout_ms": _SETTINGS.node_election_timeout_ms,
        "heartbeat_every_ms": _SETTINGS.node_message_timeout_ms,
        "limit_ms": limit_ms,
        "longest_silence_ms": gaps_ms,
        "elections": 0,
        "control": _control(directory / "control"),
    }


_FAST_SIGNING = {"ledger_signatures": {"tx_count": 5, "delay": "100ms"}, "snapshots": {"directory": "snapshots"}}


def _measure(
    directory: Path, work: Callable[[Watched], None], app: Path, *, mode: str = "plain", **options: Any
) -> dict[str, float]:
    service = Service.start(
        3,
        directory,
        open_with=app,
        election_timeout_ms=_SETTINGS.node_election_timeout_ms,
        signature_delay_ms=_SETTINGS.node_signature_delay_ms,
        program=watched(mode),
        **options,
    )
    with service:
        ids = {node.name: service.node_id(node) for node in service.nodes}
        watching = Watched(service)
        work(watching)
    return watching.gaps_ms(ids)


def _scripts_and_governance(watching: Watched, busy: Sequence[str]) -> None:
    service, primary = watching.service, watching.service.primary()
    backups = [node for node in service.nodes if node is not primary]
    with watching.window("idle"):
        time.sleep(3)
    nodes = {"primary": [primary], "backup": backups[:1], "both backups": backups}
    for name in busy:
        method = "POST" if name == "primary" else "GET"
        with (
            watching.window(f"a script at its limit of 5 s on the {name}", nodes[name]),
            held_up(service, nodes[name], lambda session, method=method: session.request(method, "/app/forever")),  # type: ignore[misc]
        ):
            pass
    with watching.window(f"recovery shares for {_SHARE_MEMBERS} members, three times"):
        for _ in range(3):
            service.pass_proposal([{"name": "trigger_recovery_shares_refresh"}])


def _signatures_and_snapshot(watching: Watched, keys: int, load_s: float) -> None:
    service = watching.service
    with watching.window("hundreds of signatures a second"):
        _write_from_many(service, load_s)
    with watching.window(f"writes of {keys:,} keys"):
        _fill(service, keys)
    with watching.window(f"a snapshot of {keys:,} keys"):
        snapshots = service.primary().directory / "snapshots"
        known = set(snapshots.glob("*.committed"))
        service.pass_proposal([{"name": "trigger_snapshot"}])
        wait_until("the snapshot", lambda: set(snapshots.glob("*.committed")) - known, 60)


def _slow_disk(watching: Watched, load_s: float) -> None:
    with watching.window("a disk that takes 300 ms for each sync"):
        _write_from_many(watching.service, load_s, path="/app/value", method="PUT")


def _write_from_many(
    service: Service, seconds: float, *, path: str = "/app/many", method: str = "POST", writers: int = 8
) -> None:
    """Write from several clients at once for a while."""
    end_s = time.monotonic() + seconds
    failures: list[str] = []

    def write(number: int) -> None:
        files = service.users["user0"]
        body = b'{"first":%d,"count":1}' % number
        with Session(service.primary().url, service.certificate, (files.certificate, files.private_key)) as session:
            while time.monotonic() < end_s:
                answer = session.request(method, path, body=body)
                if answer.status != 204:
                    failures.append(f"{answer}")
                    return

    threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise Stalled(f"writes were refused: {failures[0]}")


def _control(directory: Path) -> str:
    service = Service.start(
        3,
        directory,
        open_with=BUSY,
        election_timeout_ms=_SETTINGS.node_election_timeout_ms,
        signature_delay_ms=_SETTINGS.node_signature_delay_ms,
        program=watched("without-beats"),
    )
    with service:
        before, primary = settled(service), service.primary()
        with held_up(service, [primary], lambda session: session.request("POST", "/app/forever")):
            pass
        after = settled(service)
    if after.view == before.view:
        raise Stalled("without beats nobody was elected: the check shows nothing")
    return f"without beats the same script raised the view from {before.view} to {after.view}"


def main(arguments: list[str]) -> int:
    """Full count; writes the result file."""
    keys = int(arguments[0]) if arguments else KEYS
    with tempfile.TemporaryDirectory() as temporary:
        result = run(keys, Path(temporary))
    save("stalls", result)
    gaps = list(result["longest_silence_ms"].values())  # type: ignore[attr-defined]
    print(f"median of the longest silences {statistics.median(gaps)} ms, limit {LIMIT_MS} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
