"""CPU of one request through the JavaScript runtime: the logging sample, reused and fresh, without network and ledger.

python -m tests.bench.bench_js
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dataplane.api.routing import Found
from dataplane.apps.endpoint import Context, Request
from dataplane.client.bundle import load_bundle
from dataplane.js import memory
from tests.support.js_apps import USER, Node, World

_LOGGING = Path(__file__).parents[2] / "samples" / "logging"
_BODY = json.dumps({"msg": "m" * 50}).encode()
_HEADERS = {
    "host": "127.0.0.1:8000",
    "content-type": "application/json",
    "content-length": str(len(_BODY)),
    "user-agent": "bench",
    "accept": "*/*",
}
_CASES = (
    ("JS write, interpreter reused", "POST", "/log/private?id=42", False),
    ("JS read, interpreter reused", "GET", "/log/private?id=42", False),
    ("JS write, fresh interpreter", "POST", "/log/private_fresh?id=42", False),
    ("JS read, fresh interpreter", "GET", "/log/private_fresh?id=42", False),
    ("JS write, fresh image", "POST", "/log/private_fresh?id=42", True),
    ("JS read, fresh image", "GET", "/log/private_fresh?id=42", True),
)  # (name, method, path, whether images are made where the allocator is compiled)


def run(seconds: float = 0.5, repeats: int = 3) -> list[dict[str, object]]:
    """One row per case: `name`, `cpu_us` (best of `repeats`), `ratio` to the calibration loop of the same run."""
    calibration_us = _best(_calibrate, seconds, repeats)
    rows: list[dict[str, object]] = [{"name": "calibration loop", "cpu_us": round(calibration_us, 1), "ratio": 1.0}]
    for name, method, path, images in _CASES:
        if images and not memory.is_compiled():
            continue
        with _images(images):
            cpu_us = _best(_case(method, path), seconds, repeats)
        rows.append({"name": name, "cpu_us": round(cpu_us, 1), "ratio": round(cpu_us / calibration_us, 3)})
    return rows


@contextmanager
def _images(allowed: bool) -> Iterator[None]:
    library = memory._lib
    try:
        memory._lib = library if allowed else None
        yield
    finally:
        memory._lib = library


def _case(method: str, url: str) -> Callable[[], None]:
    world = World().deploy(load_bundle(_LOGGING))
    world.request("POST", "/app/log/private?id=42", _BODY, USER)
    node, body = Node(), _BODY if method == "POST" else b""
    path, _, query = url.partition("?")

    def once() -> None:
        tx = world.store.begin()
        found = world.app.find(tx, method, path)
        assert isinstance(found, Found)
        request = Request(method, f"/app{url}", f"/app{path}", query, _HEADERS, body, found.params, f"/app{path}")
        response = found.endpoint.run(Context(tx, request, USER, node))
        assert response.status == 200

    return once


def _calibrate() -> None:
    total = 0
    for number in range(1000):
        total += number


def _best(once: Callable[[], None], seconds: float, repeats: int) -> float:
    """CPU microseconds per call."""
    best = float("inf")
    for _ in range(repeats):
        count, begin, deadline = 0, time.process_time(), time.perf_counter() + seconds
        while time.perf_counter() < deadline:
            for _ in range(10):
                once()
            count += 10
        best = min(best, (time.process_time() - begin) / count * 1e6)
    return best


if __name__ == "__main__":
    for row in run():
        print(f"{row['name']:32} {row['cpu_us']:>8} us  ratio {row['ratio']}")
