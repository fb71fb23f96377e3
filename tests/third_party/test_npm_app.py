"""Applications written with npm's `@microsoft/ccf-app`, built with rollup and with tsc, run unmodified."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dataplane.apps.endpoint import Identity
from dataplane.client.bundle import load_bundle, set_js_app
from dataplane.errors import InternalError
from tests.support.js_apps import World
from tests.support.nodes import Service

APP = Path(__file__).parent / "npm_app"
SOURCES = (
    "package.json",
    "rollup.config.js",
    "tsconfig.json",
    "tsconfig.tsc.json",
    "app.json",
    "plain.app.json",
    "src",
)
USER = Identity("user_cert", "ab" * 32, "PEM")
INNER = "    at inner (/src/lib/failing.ts:7)\n    at <anonymous> (/src/lib/failing.ts:9)\n    at map (native)\n"
TRACES = {
    "rollup": f"{INNER}    at failDeeply (/src/lib/failing.ts:9)\n    at fail (/src/app.ts:103)\n",
    "tsc": f"{INNER}    at failDeeply (/src/lib/failing.ts:9)\n    at fail (/src/plain.ts:21)\n",
}


@pytest.fixture(scope="module")
def built_anew(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What npm and the registry make of the application today."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    directory = tmp_path_factory.mktemp("npm_app")
    for name in SOURCES:
        copy = shutil.copytree if (APP / name).is_dir() else shutil.copy
        copy(APP / name, directory / name)
    install = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--fetch-retries", "0"]
    if subprocess.run(install, cwd=directory, capture_output=True, timeout=120, check=False).returncode != 0:
        pytest.skip("npm cannot reach its registry")
    subprocess.run(["npm", "run", "build"], cwd=directory, capture_output=True, timeout=60, check=True)
    return directory / "built"


def _run_everything(bundle: dict[str, Any], trace: str) -> None:
    world = World().deploy(bundle, return_exception_details=True)
    assert world.request("PUT", "/app/notes/a", {"text": "é"}, USER).status == 204
    assert world.request("GET", "/app/notes/b").status == 404
    assert "é" in world.request("GET", "/app/notes/a").body.decode()
    with pytest.raises(InternalError) as caught:
        world.request("GET", "/app/fail?it")
    (detail,) = caught.value.details
    assert detail == {"code": "JSException", "message": "Error: failed: it", "trace": trace}


def _run_package(bundle: dict[str, Any]) -> None:
    world = World().deploy(bundle)
    for path, least in (("/app/converters", 16), ("/app/crypto", 11)):
        same = json.loads(world.request("POST" if "conv" in path else "GET", path).body)
        assert len(same) >= least
        assert all(same.values()), same
    surface = json.loads(world.request("GET", "/app/surface").body)
    assert surface == {"missing": [], "status": "Committed", "view": True}


@pytest.mark.parametrize("tool", TRACES)
def test_what_was_built_runs(tool: str) -> None:
    _run_everything(load_bundle(APP / "built" / tool), TRACES[tool])


def test_everything_the_package_declares_works() -> None:
    _run_package(load_bundle(APP / "built" / "rollup"))


@pytest.mark.ci
@pytest.mark.parametrize("tool", TRACES)
def test_what_npm_builds_today_runs(built_anew: Path, tool: str) -> None:
    bundle = load_bundle(built_anew / tool)
    _run_everything(bundle, TRACES[tool])
    if tool == "rollup":
        _run_package(bundle)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service.start(1, tmp_path_factory.mktemp("npm"), open_with=APP / "built" / "rollup") as service:
        yield service


@pytest.mark.ci
def test_a_node_serves_the_application(service: Service) -> None:
    user, anyone = service.session(user="user0"), service.session()
    for text in ("one", "two"):
        assert user.request("PUT", "/app/notes/a", json_body={"text": text}).status == 204
    answer = user.request("GET", "/app/notes/a")
    note = {"text": "two", "count": 2, "all": ["a"], "caller": "user_cert", "versioned": True}
    assert answer.json() == note
    assert answer.headers["x-size"] == "1"
    assert anyone.request("GET", "/app/notes/a").json() == {**note, "caller": "no_auth"}
    assert all(anyone.get_json("/app/crypto").values())
    assert anyone.get_json("/app/surface")["missing"] == []
    document = anyone.get_json("/app/api")["paths"]
    assert document["/app/notes/{id}"]["put"]["operationId"] == "PutNote"
    assert document["/app/notes/{id}"]["get"]["operationId"] == "GetAppNotesId"
    assert "/app/surface" not in document


@pytest.mark.ci
def test_bytecode_is_kept_and_dropped_as_members_vote(service: Service) -> None:
    session = service.session()
    assert session.get_json("/node/js_metrics")["bytecode_used"]
    bundle = load_bundle(APP / "built" / "rollup")
    service.pass_proposal([set_js_app(bundle, disable_bytecode_cache=True)])
    metrics = session.get_json("/node/js_metrics")
    assert (metrics["bytecode_size"], metrics["bytecode_used"]) == (0, False)
    assert session.request("POST", "/app/converters").status == 200
    service.pass_proposal([{"name": "refresh_js_app_bytecode_cache"}])
    metrics = session.get_json("/node/js_metrics")
    assert metrics["bytecode_size"] > 10_000
    assert metrics["bytecode_used"]
    assert session.request("POST", "/app/converters").status == 200


@pytest.mark.ci
def test_exceptions_name_typescript_where_members_allow_it(service: Service) -> None:
    session = service.session()
    plain = session.request("GET", "/app/fail?it").json()["error"]
    assert plain == {"code": "InternalError", "message": "Exception thrown while executing."}
    options = {"max_heap_bytes": 50 << 20, "max_stack_bytes": 1 << 19, "max_execution_time_ms": 900}
    details = {"return_exception_details": True, "log_exception_details": True, "max_cached_interpreters": 3}
    service.pass_proposal([{"name": "set_js_runtime_options", "args": {**options, **details}}])
    (detail,) = session.request("GET", "/app/fail?it").json()["error"]["details"]
    assert detail["trace"] == TRACES["rollup"]
    assert "Error: failed: it" in service.nodes[0].log()
    metrics = session.get_json("/node/js_metrics")
    assert metrics["max_heap_size"] == options["max_heap_bytes"]
    assert metrics["max_stack_size"] == options["max_stack_bytes"]
    assert metrics["max_execution_time"] == options["max_execution_time_ms"]
    assert metrics["max_cached_interpreters"] == 3
