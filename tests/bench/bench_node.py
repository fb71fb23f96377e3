"""Whole nodes under load: the logging sample on services of one and of three nodes, with CCF's default settings."""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from dataplane.js.memory import is_compiled
from tests.bench.load import LoadFailed, Measured, Plan, measure
from tests.bench.rows import Effort, Row
from tests.support.nodes import NODE, ROOT, NodeProcess, Service, wait_until

_APP = ROOT / "samples" / "logging"
_BODY = json.dumps({"msg": "m" * 50}, separators=(",", ":"))
_SHAPES = ((1, 1), (16, 1), (64, 1))
_SIZES = (1, 3)
_WITHOUT_IMAGES = (str(ROOT / "tests" / "support" / "programs" / "without_images.py"),)


def run(effort: Effort) -> list[Row]:
    """Requests of every kind, connection count and service size; the median run of each by CPU.

    A fresh interpreter is a new runtime here; `run_images` measures the other way.
    """
    rows: list[Row] = []
    for size in _SIZES:
        with service(size, program=_WITHOUT_IMAGES) as running:
            primary = running.primary()
            rows.append(_memory(running, f"{size} nodes, at start"))
            for name, plan in _plans(running, primary, effort):
                rows.append(_row(_group(size), name, plan, effort.repeats))
            rows.append(_memory(running, f"{size} nodes, after the load"))
    return rows


def run_images(effort: Effort) -> list[Row]:
    """Fresh interpreters from memory images, on services of both sizes."""
    if not is_compiled():
        raise RuntimeError("dataplane/js/_memory.c is not compiled")
    rows: list[Row] = []
    for size in _SIZES:
        with service(size) as running:
            for name, plan in _requests(running, running.primary(), effort, {"_fresh": "fresh image"}):
                rows.append(_row(_group(size), name, plan, effort.repeats))
            rows.append(_memory(running, f"{size} nodes with images, after the load"))
    return rows


@contextmanager
def service(size: int, program: Sequence[str] = NODE) -> Iterator[Service]:
    """A service with CCF's default election timeout and signature interval, open, with every record below 1,000 set."""
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary) / "service"
        with Service.start(
            size, directory, election_timeout_ms=5000, signature_delay_ms=1000, open_with=_APP, program=program
        ) as running:
            session = running.session(running.primary(), "user0")
            for number in range(1000):
                answer = session.request("POST", f"/app/log/private?id={number}", body=_BODY.encode())
                assert answer.status == 200, answer
            yield running


def _plans(running: Service, primary: NodeProcess, effort: Effort) -> Iterator[tuple[str, Plan]]:
    yield from _requests(running, primary, effort, {"": "reused", "_fresh": "fresh"})
    yield (
        "write, reused, user cert, 1x100",
        _plan(running, primary, "/app/log/private?id=%d", "POST", 1, 100, effort, True),
    )
    for node in running.nodes:
        if node is not primary:
            path = "/app/log/private?id=%d"
            yield "write through a backup, 10x1", _plan(running, node, path, "POST", 10, 1, effort, True, primary)
            break


def _requests(
    running: Service, primary: NodeProcess, effort: Effort, interpreters: Mapping[str, str]
) -> Iterator[tuple[str, Plan]]:
    for method, verb in (("POST", "write"), ("GET", "read")):
        for fresh, interpreter in interpreters.items():
            for suffix, caller in (("", "user cert"), ("/anonymous", "none")):
                for connections, depth in _SHAPES:
                    path = f"/app/log/private{fresh}{suffix}?id=%d"
                    name = f"{verb}, {interpreter}, {caller}, {connections}x{depth}"
                    yield name, _plan(running, primary, path, method, connections, depth, effort, not suffix)


def _group(size: int) -> str:
    return f"{size} node{'s'[: size > 1]}"


def _plan(
    running: Service, node: NodeProcess, path: str, method: str, connections: int, depth: int, effort: Effort,
    with_certificate: bool, primary: NodeProcess | None = None,
) -> Plan:  # fmt: skip
    user = running.users["user0"]
    watched = primary or node
    others = [each.process.pid for each in running.nodes if each is not watched]
    return Plan(
        address=node.address,
        path=path,
        method=method,
        body=_BODY if method == "POST" else None,
        connections=connections,
        depth=depth,
        seconds=effort.seconds,
        ca_file=str(running.nodes[0].directory / "service_cert.pem"),
        certificate_file=str(user.certificate) if with_certificate else None,
        key_file=str(user.private_key) if with_certificate else None,
        watch=[watched.process.pid, *others],
    )


def _row(group: str, name: str, plan: Plan, repeats: int) -> Row:
    runs = [measure(plan) for _ in range(repeats)]
    middle = _middle(runs)
    if middle.refused:
        raise LoadFailed(f"{name}: {middle.refused} of {middle.requests} refused, first {middle.first_refusal}")
    detail: dict[str, object] = {
        "rate": middle.rate,
        "p50_ms": middle.p50_ms,
        "p99_ms": middle.p99_ms,
        "all_nodes_us": round(sum(middle.cpu_us), 1),
        "client_cpu_share": middle.client_cpu_share,
    }
    return Row(group, name, middle.cpu_us[0], "us CPU", middle.cpu_us[0], detail)


def _middle(runs: list[Measured]) -> Measured:
    cpu_us = median(one.cpu_us[0] for one in runs)
    return min(runs, key=lambda one: abs(one.cpu_us[0] - cpu_us))


def _memory(running: Service, name: str) -> Row:
    """Resident memory of the largest node."""
    wait_until("the nodes to settle", lambda: len(running.alive()) == len(running.nodes))
    sizes = [_resident_mb(node.process.pid) for node in running.alive()]
    return Row("memory", name, round(max(sizes), 1), "MB resident", None, {"all": [round(one, 1) for one in sizes]})


def _resident_mb(pid: int) -> float:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024
