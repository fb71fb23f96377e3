"""A closed-loop HTTPS load generator in plain Python, in a process of its own; client certificates, pipelining.

    python -m tests.bench.load < plan.json

Each connection sends `depth` requests at once, waits for all their answers, and begins again. Connections and a warm-up
come before the measured window; the CPU of the watched processes is taken at both ends of the window, from
/proc/<pid>/stat. The method is that of the public tool `load.c`, with which it is compared by `load_c.py`.
"""

import asyncio
import json
import math
import os
import ssl
import subprocess
import sys
import time
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import uvloop

_ROOT = Path(__file__).parents[2]
_IDS = 1000
_WARM_UP_S = 0.5
_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length: "


class LoadFailed(RuntimeError):
    """The server did not take the load; the text says how."""


@dataclass(frozen=True)
class Plan:
    """What to send, to whom, for how long. `%d` in `path` is replaced by numbers below 1,000 in turn.

    `watch`: process ids whose CPU is measured.
    """

    address: str
    path: str
    method: str = "GET"
    body: str | None = None
    connections: int = 1
    depth: int = 1
    seconds: float = 3.0
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    watch: Sequence[int] = ()


@dataclass(frozen=True)
class Measured:
    """One run. Rates are per second, latencies in ms from the first byte sent; `cpu_us` is CPU per answered request of
    each watched process, `client_cpu_share` what the generator itself used of one core."""

    requests: int
    refused: int
    rate: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    client_cpu_share: float
    cpu_us: list[float] = field(default_factory=list)
    first_refusal: str = ""


def measure(plan: Plan) -> Measured:
    """Run a plan in a process of its own. Raises `LoadFailed`."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.load"],
        input=json.dumps(asdict(plan)),
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=plan.seconds + 60,
    )
    if done.returncode != 0:
        raise LoadFailed(done.stderr.strip().splitlines()[-1] if done.stderr else f"exit code {done.returncode}")
    return Measured(**json.loads(done.stdout))


def process_cpu_s(pid: int) -> float:
    """User and system time of a process, in seconds; its resolution is a clock tick, usually 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class _Run:
    """What all connections of a run share."""

    def __init__(self, plan: Plan) -> None:
        self.requests = _requests(plan)
        self.depth = plan.depth
        self.latencies_ms = array("d")
        self.refused = 0
        self.first_refusal = ""
        self.measuring = False
        self.failure = ""

    def answered(self, begin_s: float, head: bytes) -> None:
        if not self.measuring:
            return
        self.latencies_ms.append((time.perf_counter() - begin_s) * 1000)
        if head[9:10] != b"2":
            self.refused += 1
            self.first_refusal = self.first_refusal or head.decode("latin-1").split("\r\n")[0]


class _Connection(asyncio.Protocol):
    """One connection: a batch out, its answers in, again."""

    def __init__(self, run: _Run, index: int) -> None:
        self._run = run
        self._next = index * 37
        self._left = 0
        self._buffer = b""
        self._begin_s = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def begin(self) -> None:
        requests, first = self._run.requests, self._next
        self._next += self._run.depth
        self._left = self._run.depth
        batch = b"".join([requests[(first + offset) % len(requests)] for offset in range(self._run.depth)])
        self._begin_s = time.perf_counter()
        assert self._transport is not None
        self._transport.write(batch)

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        position = 0
        while (end := _answer_end(data, position)) is not None:
            self._run.answered(self._begin_s, data[position : position + 64])
            self._left -= 1
            position = end
        self._buffer = data[position:]
        if self._left == 0:
            self.begin()

    def connection_lost(self, error: Exception | None) -> None:
        self._run.failure = self._run.failure or f"the server closed a connection: {error}"


def _answer_end(data: bytes, begin: int) -> int | None:
    head_end = data.find(_HEAD_END, begin)
    if head_end < 0:
        return None
    end = head_end + len(_HEAD_END)
    at = data.find(_LENGTH, begin, head_end)
    if at >= 0:
        stop = data.find(b"\r", at, end)
        end += int(data[at + len(_LENGTH) : stop])
    return end if end <= len(data) else None


def _requests(plan: Plan) -> list[bytes]:
    body = plan.body or ""
    content = f"content-type: application/json\r\ncontent-length: {len(body.encode())}\r\n" if body else ""
    tail = f" HTTP/1.1\r\nhost: {plan.address}\r\n{content}\r\n{body}"
    paths = [plan.path.replace("%d", str(number)) for number in range(_IDS if "%d" in plan.path else 1)]
    return [f"{plan.method} {path}{tail}".encode() for path in paths]


def _tls(plan: Plan) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=plan.ca_file)
    if plan.ca_file is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if plan.certificate_file is not None:
        context.load_cert_chain(plan.certificate_file, plan.key_file)
    return context


async def _generate(plan: Plan) -> Measured:
    loop, run, context = asyncio.get_running_loop(), _Run(plan), _tls(plan)
    host, _, port = plan.address.rpartition(":")
    connections = []
    for index in range(plan.connections):
        _, connection = await loop.create_connection(
            lambda index=index: _Connection(run, index),  # type: ignore[misc]
            host,
            int(port),
            ssl=context,
            server_hostname=host,
        )
        connections.append(connection)
    for connection in connections:
        connection.begin()
    await asyncio.sleep(_WARM_UP_S)
    cpu_begin = [process_cpu_s(pid) for pid in plan.watch]
    own_begin, begin_s, run.measuring = time.process_time(), time.perf_counter(), True
    await asyncio.sleep(plan.seconds)
    run.measuring, elapsed_s = False, time.perf_counter() - begin_s
    own_s = time.process_time() - own_begin
    cpu_s = [process_cpu_s(pid) - before for pid, before in zip(plan.watch, cpu_begin, strict=True)]
    if run.failure or not run.latencies_ms:
        raise LoadFailed(run.failure or "no answer within the window")
    return _summary(run, elapsed_s, own_s, cpu_s)


def _summary(run: _Run, elapsed_s: float, own_s: float, cpu_s: list[float]) -> Measured:
    latencies_ms = sorted(run.latencies_ms)
    count = len(latencies_ms)
    return Measured(
        requests=count,
        refused=run.refused,
        rate=round(count / elapsed_s, 1),
        p50_ms=round(_quantile(latencies_ms, 0.5), 3),
        p99_ms=round(_quantile(latencies_ms, 0.99), 3),
        max_ms=round(latencies_ms[-1], 3),
        client_cpu_share=round(own_s / elapsed_s, 2),
        cpu_us=[round(seconds / count * 1e6, 1) for seconds in cpu_s],
        first_refusal=run.first_refusal,
    )


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def main() -> int:
    """Read a plan as JSON from standard input, write what was measured to standard output."""
    document: dict[str, Any] = json.load(sys.stdin)
    try:
        measured = uvloop.run(_generate(Plan(**document)))
    except (LoadFailed, OSError, ssl.SSLError) as error:
        print(error, file=sys.stderr)
        return 1
    json.dump(asdict(measured), sys.stdout)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
