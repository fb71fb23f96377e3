"""The HTTP entry alone: TLS, parsing and a trivial answer, without a node behind it."""

import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from tests.bench.load import Plan, measure
from tests.bench.rows import Effort, Row
from tests.support.identities import client_identity

_ROOT = Path(__file__).parents[2]
_SHAPES = ((1, 1), (16, 1), (64, 1), (1, 100))

# The server runs in a process of its own, so that its CPU is its own.
_SERVER = """
import asyncio, sys
import uvloop
from dataplane.config import Authority
from dataplane.http.message import HttpResponse
from dataplane.http.server import HttpServer
from tests.support.http_server import SERVER_IDENTITY, interface

HEADERS = {"content-type": "application/json", "x-ms-ccf-transaction-id": "2.15"}

def trivial(session, request, reply):
    session.peer_id
    reply(HttpResponse(200, HEADERS, b"true"))

async def main():
    server = HttpServer(trivial)
    address = await server.listen(interface())
    server.set_certificate(Authority.NODE, SERVER_IDENTITY.certificate_pem, SERVER_IDENTITY.key_pem)
    print(address, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)

uvloop.run(main())
"""


def run(effort: Effort) -> list[Row]:
    """CPU per trivial POST of 60 bytes with a client certificate."""
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        certificate, key = client_identity().write(Path(temporary), "user")
        command = [sys.executable, "-c", _SERVER]
        with subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            for connections, depth in _SHAPES:
                plan = Plan(
                    address, "/app/x?id=%d", "POST", "x" * 60, connections, depth, effort.seconds,
                    certificate_file=str(certificate), key_file=str(key), watch=[server.pid],
                )  # fmt: skip
                runs = [measure(plan) for _ in range(effort.repeats)]
                cpu_us = median(one.cpu_us[0] for one in runs)
                middle = min(runs, key=lambda one: abs(one.cpu_us[0] - cpu_us))
                detail: dict[str, object] = {
                    "rate": middle.rate, "p50_ms": middle.p50_ms, "p99_ms": middle.p99_ms,
                    "client_cpu_share": middle.client_cpu_share,
                }  # fmt: skip
                rows.append(Row("http", f"trivial request, {connections}x{depth}", cpu_us, "us CPU", cpu_us, detail))
            server.communicate("\n")
    return rows
