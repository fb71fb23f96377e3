"""Bad input to a real node: each gets the contract's status and code, nothing changes, the node goes on serving."""

import json
import socket
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dataplane.client.bundle import load_bundle, set_js_app
from dataplane.client.session import ServiceError, Session
from dataplane.client.signing import file_signer, new_identity, sign_governance
from tests.support.nodes import ROOT, Service

pytestmark = [pytest.mark.ci, pytest.mark.xdist_group("nodes")]

API = "api-version=2024-07-01"
APP = """
export function loop() { while (true) {} }
export function allocate() { const parts = []; for (;;) parts.push(new Uint8Array(1 << 20).fill(1)); }
export function recurse() { return recurse() + 1; }
export function fail() { ccf.kv["public:kept"].set(ccf.strToBuf("k"), ccf.strToBuf("v")); throw new Error("no"); }
export function nothing() { return 7; }
export function fine() { return { body: ccf.kv["public:kept"].has(ccf.strToBuf("k")) }; }
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp("bad")
    app = directory / "app"
    (app / "src").mkdir(parents=True)
    (app / "src" / "app.js").write_text(APP)
    (app / "app.json").write_text(json.dumps({"endpoints": {f"/{name}": _endpoint(name) for name in NAMES}}))
    with Service.start(1, directory / "service", open_with=app) as running:
        yield running


NAMES = ("loop", "allocate", "recurse", "fail", "nothing", "fine")


def _endpoint(name: str) -> dict[str, Any]:
    endpoint = {
        "js_module": "app.js",
        "js_function": name,
        "mode": "readwrite",
        "forwarding_required": "always",
        "authn_policies": [],
        "openapi": {},
    }
    return {"post": endpoint}


@pytest.fixture
def session(service: Service) -> Iterator[Session]:
    """A session; afterwards the node must still serve, with the state it had."""
    before = service.session().get_json("/node/commit")["transaction_id"]
    yield service.session()
    after = service.session().get_json("/node/commit")["transaction_id"]
    assert service.session().get_json("/node/state")["state"] == "PartOfNetwork"
    assert int(after.split(".")[1]) - int(before.split(".")[1]) <= 4, "something was written"


def raw(service: Service, data: bytes) -> bytes:
    """What a node answers to these bytes until it closes."""
    host, _, port = service.nodes[0].address.rpartition(":")
    context = ssl.create_default_context(cadata=service.certificate)
    with (
        socket.create_connection((host, int(port)), 10) as plain,
        context.wrap_socket(plain, server_hostname=host) as tls,
    ):
        tls.sendall(data)
        answer = b""
        while chunk := tls.recv(65536):
            answer += chunk
        return answer


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01garbage\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"NOT A REQUEST\r\n\r\n"]
)
def test_what_is_no_http_gets_400_and_its_own_bytes(service: Service, session: Session, data: bytes) -> None:
    answer = raw(service, data)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert body.startswith(b"Unable to parse data as a HTTP request.")


def test_a_body_over_the_limit_is_413(session: Session) -> None:
    answer = session.request("POST", "/app/fine", body=b"x" * ((1 << 20) + 1))
    assert (answer.status, answer.json()["error"]["code"]) == (413, "RequestBodyTooLarge")


def test_a_header_over_the_limit_is_431(session: Session) -> None:
    answer = session.request("GET", "/node/state", headers={"x-long": "x" * (17 << 10)})
    assert (answer.status, answer.json()["error"]["code"]) == (431, "RequestHeaderTooLarge")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/app/unknown", 404, "ResourceNotFound"),
        ("GET", "/node/unknown", 404, "ResourceNotFound"),
        ("DELETE", "/app/fine", 405, "UnsupportedHttpVerb"),
        ("GET", "/node/tx", 400, "InvalidQueryParameterValue"),
        ("GET", "/node/tx?transaction_id=2", 400, "InvalidQueryParameterValue"),
        ("GET", "/node/receipt?transaction_id=x", 404, "TransactionInvalid"),
        ("GET", "/node/receipt?transaction_id=2.999999", 404, "TransactionPendingOrUnknown"),
        ("GET", "/node/commit?view_history=yes", 400, "InvalidQueryParameterValue"),
        ("GET", "/node/commit?view_history_since=99", 404, "InvalidQueryParameterValue"),
        ("GET", "/gov/service/info", 400, "MissingApiVersionParameter"),
        ("GET", "/gov/service/info?api-version=2020-01-01", 400, "UnsupportedApiVersionValue"),
        ("GET", "/node/ledger-chunk?since=x", 400, "InvalidQueryParameterValue"),
        ("GET", "/node/ledger-chunk/..%2Fconfig.json", 404, "ResourceNotFound"),
        ("DELETE", "/node/network/nodes/0", 404, "ResourceNotFound"),
    ],
)
def test_wrong_requests(session: Session, method: str, path: str, status: int, code: str) -> None:
    answer = session.request(method, path)
    assert (answer.status, answer.json()["error"]["code"]) == (status, code)


def test_an_unknown_certificate_is_401_where_one_must_be_known(service: Service, tmp_path: Path) -> None:
    stranger = new_identity("stranger", tmp_path, encryption_key=False)
    with Session(service.nodes[0].url, service.certificate, (stranger.certificate, stranger.private_key)) as session:
        assert session.request("GET", "/node/state").status == 200
        assert session.request("POST", f"/gov/members/proposals:create?{API}", body=b"{}").status == 401


def envelope(service: Service, body: object, kind: str = "proposal", created_at_s: int | None = None) -> bytes:
    files = service.members[0]
    when = int(datetime.now(UTC).timestamp()) if created_at_s is None else created_at_s
    return sign_governance(
        file_signer(files.certificate, files.private_key), kind, json.dumps(body).encode(), created_at_s=when
    )


def propose(session: Session, signed: bytes) -> tuple[int, str]:
    answer = session.request(
        "POST", f"/gov/members/proposals:create?{API}", body=signed, headers={"content-type": "application/cose"}
    )
    return answer.status, "" if answer.status == 200 else answer.json()["error"]["code"]


CHUNK = {"actions": [{"name": "trigger_ledger_chunk"}]}


def test_signatures_that_do_not_hold(service: Service, session: Session) -> None:
    signed = envelope(service, CHUNK)
    assert propose(session, signed[:-1] + bytes([signed[-1] ^ 1])) == (401, "InvalidAuthenticationInfo")
    assert propose(session, b"not cose") == (500, "InternalError")
    assert propose(session, envelope(service, CHUNK, kind="ballot")) == (401, "InvalidAuthenticationInfo")


def test_a_replayed_proposal(service: Service) -> None:
    signed = envelope(service, CHUNK)
    assert propose(service.session(), signed)[0] == 200
    assert propose(service.session(), signed) == (400, "ProposalReplay")
    assert propose(service.session(), envelope(service, CHUNK, created_at_s=10**10)) == (400, "InvalidCreatedAt")


@pytest.mark.parametrize(
    "actions",
    [
        [{"name": "no_such_action"}],
        [{"name": "set_user", "args": {"cert": "not a certificate"}}],
        [{"name": "set_user"}],
        "not a list",
    ],
)
def test_proposals_that_do_not_validate(service: Service, session: Session, actions: object) -> None:
    assert propose(session, envelope(service, {"actions": actions})) == (400, "ProposalFailedToValidate")


def test_a_bundle_with_a_syntax_error_changes_nothing(service: Service) -> None:
    bundle = load_bundle(ROOT / "samples" / "logging")
    bundle["modules"][0]["module"] = "export function ( {"
    with pytest.raises((ServiceError, AssertionError)):
        service.pass_proposal([set_js_app(bundle)])
    assert service.session().request("POST", "/app/fine").status == 200


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("loop", "Operation took too long to complete."),
        ("allocate", "Exception thrown while executing."),
        ("recurse", "Exception thrown while executing."),
        ("fail", "Exception thrown while executing."),
        ("nothing", "Invalid endpoint function return value (not an object)."),
    ],
)
def test_an_app_that_misbehaves(session: Session, name: str, message: str) -> None:
    begin = time.monotonic()
    answer = session.request("POST", f"/app/{name}")
    assert (answer.status, answer.json()["error"]["message"]) == (500, message)
    assert time.monotonic() - begin < 9
    assert session.request("POST", "/app/fine").json() is False
