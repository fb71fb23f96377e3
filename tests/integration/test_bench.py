"""The benchmark's own instruments: what the load generator sends, counts and refuses to report."""

import json
import os
import tempfile
from pathlib import Path

import pytest

from dataplane.http.message import HttpRequest, HttpResponse
from dataplane.http.protocol import Reply, Session
from tests.bench import __main__ as bench
from tests.bench import load_c
from tests.bench.load import LoadFailed, Plan, measure
from tests.bench.rows import Row, calibrate
from tests.support.http_server import ServerThread
from tests.support.identities import client_identity

pytestmark = pytest.mark.ci


class Counter:
    """Answers and remembers; every tenth request is refused when asked to."""

    def __init__(self, refuse_every: int = 0) -> None:
        self.requests: list[tuple[str, str, bytes, str | None]] = []
        self._refuse_every = refuse_every

    def __call__(self, session: Session, request: HttpRequest, reply: Reply) -> None:
        self.requests.append((request.method, request.url, request.body, session.peer_id))
        refused = self._refuse_every and len(self.requests) % self._refuse_every == 0
        reply(HttpResponse(503 if refused else 200, {}, b"x" * (len(self.requests) % 50)))


def plan(server: ServerThread, **options: object) -> Plan:
    settings: dict[str, object] = {"path": "/app/x?id=%d", "method": "POST", "body": "some body", "seconds": 0.3}
    return Plan(address=str(server.addresses["main"]), **{**settings, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize(("connections", "depth"), [(1, 1), (8, 1), (2, 30)])
def test_the_load_is_what_was_planned_and_all_of_it_is_counted(tmp_path: Path, connections: int, depth: int) -> None:
    user, seen = client_identity(), Counter()
    certificate, key = user.write(tmp_path, "user")
    with ServerThread(seen) as server:
        measured = measure(
            plan(
                server,
                connections=connections,
                depth=depth,
                watch=[os.getpid()],
                certificate_file=str(certificate),
                key_file=str(key),
            )
        )
        assert server.metrics()["peak"] == connections
    assert measured.refused == 0
    assert 0 < measured.requests <= len(seen.requests)
    assert 0 < measured.p50_ms <= measured.p99_ms <= measured.max_ms
    assert 0 < measured.rate <= measured.requests / 0.3 * 1.05
    assert len(measured.cpu_us) == 1
    assert {(method, body, peer) for method, _, body, peer in seen.requests} == {
        ("POST", b"some body", user.fingerprint)
    }
    assert len({url for _, url, _, _ in seen.requests}) > min(len(seen.requests), 1000) // 3


def test_refusals_are_told() -> None:
    with ServerThread(Counter(refuse_every=10)) as server:
        measured = measure(plan(server, method="GET", body=None))
    assert measured.refused == pytest.approx(measured.requests / 10, rel=0.2, abs=2)
    assert measured.first_refusal == "HTTP/1.1 503 Service Unavailable"


def test_a_server_that_hangs_up_is_no_measurement() -> None:
    def hang_up(session: Session, request: HttpRequest, reply: Reply) -> None:
        reply(HttpResponse(200, close=True))

    with ServerThread(hang_up) as server, pytest.raises(LoadFailed, match="closed a connection"):
        measure(plan(server))


def test_nobody_there_is_no_measurement() -> None:
    with ServerThread() as server:
        gone = plan(server)
    with pytest.raises(LoadFailed):
        measure(gone)


@pytest.mark.skipif(not load_c.available(), reason="needs gcc, OpenSSL's headers and load.c beside the checkout")
def test_the_public_generator_sends_the_same_load() -> None:
    ours, theirs = Counter(), Counter()
    with tempfile.TemporaryDirectory() as temporary:
        program = load_c.build(Path(temporary))
        with ServerThread(ours) as server:
            assert measure(plan(server, connections=4)).refused == 0
        with ServerThread(theirs) as server:
            measured = load_c.measure_with(program, plan(server, connections=4, seconds=1))
    assert measured.requests == len(theirs.requests)
    assert measured.refused == 0
    assert {(method, body) for method, _, body, _ in theirs.requests} == {
        (method, body) for method, _, body, _ in ours.requests
    }


def test_the_table_and_the_json_say_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [Row("g", "a time", 123.4, "us CPU", 123.4, {"rate": 5.0}), Row("g", "a size", 7.0, "MB", None)]
    monkeypatch.setitem(bench._MODULES, "http", lambda effort: rows)
    monkeypatch.setitem(bench._MODULES, "js", lambda effort: 1 / 0)
    output = tmp_path / "bench.json"
    assert bench.main(["--only", "http", "--output", str(output)]) == 0
    document = json.loads(output.read_text())
    ratios = {row["name"]: row["ratio"] for row in document["rows"]}
    assert ratios["a time"] == pytest.approx(123.4 / document["calibration_us"]["before"], abs=0.001)
    assert ratios["a size"] is None
    shown = capsys.readouterr().out
    assert f"{ratios['a time']:.3f}" in shown
    assert bench.main(["--only", "js,http", "--output", str(output)]) == 1
    assert "NOT MEASURED: js: ZeroDivisionError" in capsys.readouterr().out
    assert json.loads(output.read_text())["not_measured"] == {"js": "ZeroDivisionError: division by zero"}


def test_the_calibration_loop_takes_measurable_time() -> None:
    assert 20 < calibrate(2) < 100_000
