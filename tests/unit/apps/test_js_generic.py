"""Deployed applications: request objects, responses, errors, options, reuse, redeployment (node-api.md 5.3 to 5.7)."""

import json
from typing import Any

import pytest

from dataplane.apps.endpoint import AllOf, Context, Forwarding, Identity, Mode, Redirection, Request, Response
from dataplane.apps.js_generic import js_metrics
from dataplane.crypto.cose import Sign1
from dataplane.errors import CcfError, InternalError
from dataplane.js.quickjs import ENGINE_VERSION
from dataplane.kv.store import Conflict
from dataplane.kv.tables import (
    INTERPRETER_FLUSH,
    MODULES,
    MODULES_QUICKJS_BYTECODE,
    MODULES_QUICKJS_VERSION,
    UNIT_KEY,
)
from tests.support.js_apps import ENDPOINT, Node, World, one_function

REUSE = {"interpreter_reuse": {"key": "k"}}


def _world(body: str, options: dict[str, object] | None = None, **endpoint: object) -> World:
    return World().deploy(one_function(body, **endpoint), **(options or {}))


def _run(body: str, options: dict[str, object] | None = None, **endpoint: object) -> Response:
    return _world(f"export function run(request) {{ {body} }}", options, **endpoint).request("POST", "/app/run")


def _error(body: str, options: dict[str, object] | None = None) -> CcfError:
    with pytest.raises(CcfError) as caught:
        _run(body, options)
    assert caught.value.status == 500
    assert caught.value.code == "InternalError"
    return caught.value


def _echo(expression: str, url: str = "/app/run", **request: Any) -> Any:
    world = _world(f"export function run(request) {{ return {{ body: [{expression}] }} }}")
    return json.loads(world.request("POST", url, **request).body)[0]


# The request object


def test_the_request_tells_what_was_asked() -> None:
    world = World().deploy(
        one_function(
            "export function run(r) { return { body: { m: r.method, p: r.path, u: r.url, q: r.query, r: r.route,"
            " h: r.hostname, a: r.params, t: r.headers['x-test'], c: r.caller } } }",
            path="/a/{x}/b/{y}",
            authn_policies=[],
        )
    )
    response = world.request("POST", "/app/a/1%20/b/2?k=%26+v", headers={"x-test": 'é"\\'})
    assert json.loads(response.body) == {
        "m": "POST",
        "p": "/app/a/1%20/b/2",
        "u": "/app/a/1%20/b/2?k=& v",
        "q": "k=& v",
        "r": "/app/a/{x}/b/{y}",
        "h": "h:1",
        "a": {"x": "1%20", "y": "2"},
        "t": 'é"\\',
        "c": None,
    }


def test_the_request_is_an_ordinary_object() -> None:
    names = ["method", "path", "url", "query", "route", "hostname", "params", "headers", "caller", "body"]
    assert _echo("Object.keys(request)") == names
    assert _echo("JSON.parse(JSON.stringify({ ...request })).headers") == {"host": "h:1"}
    assert _echo("(request.caller = 1, request.headers = 2, request.path = 3, [request.caller, request.headers])") == [
        1,
        2,
    ]
    assert _echo("request.headers === request.headers && request.caller === request.caller") is True


@pytest.mark.parametrize("body", [b"", b"text", "é😀".encode(), b"\x00"])
def test_the_body_as_text(body: bytes) -> None:
    assert _echo("request.body.text()", body=body) == body.decode()


def test_the_body_as_bytes_and_json() -> None:
    world = _world("export function run(request) { return { body: request.body.arrayBuffer() } }")
    assert world.request("POST", "/app/run", b"\x00\xff").body == b"\x00\xff"
    assert _echo("request.body.json()", body={"a": ["é", 1.5]}) == {"a": ["é", 1.5]}
    assert _echo("request.body.text()", body=b"\xff") == "�"


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"1 2"])
def test_a_body_that_is_no_json_throws(body: bytes) -> None:
    world = _world("export function run(request) { return { body: request.body.json() } }")
    with pytest.raises(InternalError, match="Exception thrown while executing"):
        world.request("POST", "/app/run", body)


@pytest.mark.parametrize(
    ("caller", "expected"),
    [
        (None, None),
        (Identity("no_auth"), {"policy": "no_auth"}),
        (Identity("any_cert", "id", "PEM"), {"policy": "any_cert", "cert": "PEM"}),
        (Identity("user_cert", "id", "PEM"), {"policy": "user_cert", "id": "id", "data": None, "cert": "PEM"}),
        (
            Identity("member_cert", "id", "PEM", {"x": 1}),
            {"policy": "member_cert", "id": "id", "data": {"x": 1}, "cert": "PEM"},
        ),
        (
            Identity(
                "all_of",
                all_of={"user_cert": Identity("user_cert", "i", "P"), "any_cert": Identity("any_cert", "i", "P")},
            ),
            {
                "policy": ["any_cert", "user_cert"],
                "user_cert": {"policy": "user_cert", "id": "i", "data": None, "cert": "P"},
                "any_cert": {"policy": "any_cert", "cert": "P"},
            },
        ),
    ],
)
def test_the_caller(caller: Identity | None, expected: object) -> None:
    assert _echo("request.caller", caller=caller) == expected


def test_a_signed_body_reaches_the_function() -> None:
    envelope = Sign1(protected={}, protected_bytes=b"", unprotected={}, payload=b"\x01\x02", signature=b"")
    caller = Identity("user_cose_sign1", "id", "PEM", None, envelope)
    expression = "Array.from(new Uint8Array(request.caller.cose.content))"
    assert _echo(expression, caller=caller) == [1, 2]


def test_changed_data_of_a_caller_is_seen() -> None:
    world = _world("export function run(request) { return { body: request.caller.data } }", **REUSE)
    for data in ("a", "a", {"b": 1}):
        response = world.request("POST", "/app/run", caller=Identity("user_cert", "id", "PEM", data))
        assert json.loads(response.body) == data if isinstance(data, dict) else response.body == data.encode()


def test_a_request_object_answers_only_its_own_request() -> None:
    world = _world(
        "let kept; export function run(request) { if (!kept) { kept = request; return {} }"
        "try { return { body: kept.headers } } catch (error) { return { body: error.message } } }",
        **REUSE,
    )
    world.request("POST", "/app/run")
    assert world.request("POST", "/app/run").body == b"The request is over"


def test_a_kept_body_gives_the_present_request() -> None:
    world = _world(
        "let body; export function run(request) { body ??= request.body; return { body: body.json() } }", **REUSE
    )
    assert world.request("POST", "/app/run", {"n": 1}).body == b'{"n":1}'
    assert world.request("POST", "/app/run", {"n": 2}).body == b'{"n":2}'


@pytest.mark.parametrize("call", ["text(1)", "json(undefined)", "arrayBuffer(0, 1)"])
def test_the_bodys_functions_take_no_arguments(call: str) -> None:
    error = _error(f"request.body.{call}", {"return_exception_details": True})
    assert str(error.details[0]["message"]).startswith("TypeError: Passed")


# The response


@pytest.mark.parametrize(
    ("returned", "status", "body", "content_type"),
    [
        ("{}", 200, b"", None),
        ("{ statusCode: 204 }", 204, b"", None),
        ("{ statusCode: null }", 200, b"", None),
        ("{ headers: 'text' }", 200, b"", None),
        ("{ body: undefined }", 200, b"", None),
        ("{ body: 'text' }", 200, b"text", "text/plain"),
        ("{ body: '' }", 200, b"", "text/plain"),
        ("{ body: 'é\\n\\x00' }", 200, "é\n\x00".encode(), "text/plain"),
        ("{ body: null }", 200, b"null", "application/json"),
        ("{ body: false }", 200, b"false", "application/json"),
        ("{ body: 0 }", 200, b"0", "application/json"),
        ("{ body: { b: 1, a: ['x\\ny'] } }", 200, b'{"b":1,"a":["x\\ny"]}', "application/json"),
        ("{ body: ccf.strToBuf('b') }", 200, b"b", "application/octet-stream"),
        ("{ body: new ArrayBuffer(0) }", 200, b"", "application/octet-stream"),
        ("{ body: new Uint8Array([1, 2, 3]).subarray(1) }", 200, b"\x02\x03", "application/octet-stream"),
        ("{ body: new Uint16Array([258]) }", 200, b"\x02\x01", "application/octet-stream"),
        ("{ body: new DataView(new Uint8Array([1, 2, 3]).buffer, 1, 1) }", 200, b"\x02", "application/octet-stream"),
        ("[]", 200, b"", None),
        ("Promise.resolve({ body: 1 })", 200, b"1", "application/json"),
        ("(async () => { await 0; return { body: 'late' } })()", 200, b"late", "text/plain"),
        ("{ body: { toJSON: () => 7 } }", 200, b"7", "application/json"),
        ("{ statusCode: 404, body: 'no', headers: { 'Content-Type': 'text/html' } }", 404, b"no", "text/html"),
    ],
)
def test_what_a_function_returns(returned: str, status: int, body: bytes, content_type: str | None) -> None:
    response = _run(f"return {returned}")
    assert (response.status, response.body) == (status, body)
    assert response.headers.get("content-type") == content_type


def test_headers_are_lower_case_texts() -> None:
    response = _run("return { headers: { 'X-Number': 5, 'X-Text': 'é', ['__proto__']: 'p', 'Content-Length': '9' } }")
    assert response.headers == {"x-number": "5", "x-text": "é", "__proto__": "p"}


@pytest.mark.parametrize(
    "headers", ["{ 'x': 'a\\r\\nset-cookie: b' }", "{ 'x y': '1' }", "{ 'x\\n': '1' }", "{ '': '1' }", "{ x: '\\x00' }"]
)
def test_headers_cannot_break_the_answer(headers: str) -> None:
    assert "header" in _error(f"return {{ headers: {headers} }}").message


@pytest.mark.parametrize("returned", ["undefined", "null", "1", "'text'", "true", "Symbol()"])
def test_a_return_value_that_is_no_object(returned: str) -> None:
    assert "not an object" in _error(f"return {returned}").message


@pytest.mark.parametrize("status", ["'200'", "200.5", "NaN", "99", "600", "1e21", "{}"])
def test_a_status_that_is_none(status: str) -> None:
    assert "status code" in _error(f"return {{ statusCode: {status} }}").message


@pytest.mark.parametrize(
    "body", ["1n", "(() => { const a = {}; a.a = a; return a })()", "() => 1", "Symbol()", "{ toJSON() { throw 1 } }"]
)
def test_a_body_without_json_text_throws(body: str) -> None:
    assert _error(f"return {{ body: {body} }}").message == "Exception thrown while executing."


def test_a_promise_that_never_settles_is_a_fault() -> None:
    assert _error("return new Promise(() => {})").message == "Exception thrown while executing."


# Errors and options


def test_an_exception_tells_its_details_only_where_options_say_so() -> None:
    plain = _error("throw new Error('secret')")
    assert (plain.message, plain.details) == ("Exception thrown while executing.", ())
    detailed = _error("throw new Error('why')", {"return_exception_details": True})
    assert detailed.message == "Exception thrown while executing."
    assert detailed.details[0]["code"] == "JSException"
    assert detailed.details[0]["message"] == "Error: why"
    assert detailed.details[0]["trace"] == "    at run (/app.js:1)\n"


def test_exceptions_are_logged_where_options_say_so() -> None:
    world = _world("export function run() { throw new Error('why') }", {"log_exception_details": True})
    with pytest.raises(InternalError):
        world.request("POST", "/app/run")
    assert world.console[0][0] == "error"
    assert "Error: why" in world.console[0][1]


@pytest.mark.parametrize(
    ("body", "options", "message", "reason"),
    [
        (
            "while (true);",
            {"max_execution_time_ms": 50},
            "Operation took too long to complete.",
            "InternalError: interrupted",
        ),
        ("const f = () => f() + 1; f()", {}, "Exception thrown while executing.", "InternalError: stack overflow"),
        (
            "const a = []; while (true) a.push('x'.repeat(1e4) + a.length)",
            {"max_heap_bytes": 4 << 20},
            "Exception thrown while executing.",
            "InternalError: out of memory",
        ),
        (
            "return { body: { toJSON() { while (true); } } }",
            {"max_execution_time_ms": 50},
            "Operation took too long to complete.",
            "InternalError: interrupted",
        ),
        (
            "return { get body() { while (true); } }",
            {"max_execution_time_ms": 50},
            "Operation took too long to complete.",
            "InternalError: interrupted",
        ),
    ],
)
def test_limits_end_a_request(body: str, options: dict[str, object], message: str, reason: str) -> None:
    error = _error(body, {"return_exception_details": True, **options})
    assert error.message == message
    assert error.details[0]["message"] == reason


@pytest.mark.parametrize("reuse", [{}, REUSE])
def test_the_node_serves_on_after_every_kind_of_misbehaviour(reuse: dict[str, object]) -> None:
    world = _world(
        """
        const crimes = {
          loop: () => { while (true); },
          deep: () => { const f = () => f() + 1; return f() },
          hoard: () => { const a = []; while (true) a.push('x'.repeat(1e4) + a.length) },
          throws: () => { throw new Error('x') },
          throwsNull: () => { throw null },
          jobs: () => { const f = () => Promise.resolve().then(f); return f() },
          writes: () => { ccf.kv['t'].set(ccf.strToBuf('crime'), ccf.strToBuf('x')); throw new Error('after writing') },
        };
        export function run(request) {
          const crime = crimes[request.query];
          if (crime) { ccf.kv['t'].set(ccf.strToBuf('k'), ccf.strToBuf('v')); return crime() }
          return { body: ccf.kv['t'].size };
        }
        """,
        {"max_execution_time_ms": 100, "max_heap_bytes": 4 << 20},
        **reuse,
    )
    for crime in ("loop", "deep", "hoard", "throws", "throwsNull", "jobs", "writes"):
        version = world.store.version
        with pytest.raises(InternalError):
            world.request("POST", f"/app/run?{crime}")
        assert world.store.version == version
        assert world.request("POST", "/app/run").body == b"0"


@pytest.mark.parametrize(
    ("bundle", "message"),
    [
        (one_function("export function ("), "Failed to compile"),
        (one_function("export const other = 1"), "Failed to find export 'run'"),
        ({**one_function(""), "modules": []}, "Failed to find module 'app.js'"),
        (one_function("import './gone.js'; export function run() {}"), "Failed to find module 'gone.js'"),
    ],
)
def test_code_that_cannot_be_loaded(bundle: dict[str, Any], message: str) -> None:
    with pytest.raises(InternalError, match=message):
        World().deploy(bundle).request("POST", "/app/run")


def test_code_that_can_be_loaded_after_a_new_deployment() -> None:
    world = World().deploy(one_function("}", **REUSE))
    with pytest.raises(InternalError):
        world.request("POST", "/app/run")
    world.deploy(one_function("export const run = () => ({ body: 'ok' })", **REUSE))
    assert world.request("POST", "/app/run").body == b"ok"


def test_an_endpoint_that_is_malformed_in_the_store_is_a_fault_of_its_own() -> None:
    bundle = one_function("export const run = () => ({})")
    bundle["metadata"]["endpoints"]["/bad"] = {"post": {"js_module": 1}}
    world = World().deploy(bundle)
    assert world.request("POST", "/app/run").status == 200
    with pytest.raises(InternalError, match="js_module must be"):
        world.request("POST", "/app/bad")


def test_historical_endpoints_say_that_they_are_not_served() -> None:
    world = _world("export const run = () => ({})", mode="historical")
    with pytest.raises(CcfError, match="historical") as caught:
        world.request("POST", "/app/run")
    assert (caught.value.status, caught.value.code) == (501, "NotImplemented")


# Transactions


def test_writes_follow_the_status_unless_the_function_decides() -> None:
    world = _world(
        "export function run(request) { const [status, apply] = request.query.split(',');"
        "if (apply) ccf.rpc.setApplyWrites(apply === 'yes');"
        "ccf.kv['t'].set(ccf.strToBuf('k'), ccf.strToBuf('v')); return { statusCode: Number(status) } }"
    )
    outcomes = {"200": True, "204": True, "400": False, "400,yes": True, "200,no": False}
    for query, applied in outcomes.items():
        before = world.store.version
        world.request("POST", f"/app/run?{query}")
        assert (world.store.version > before) is applied, query


def test_read_only_endpoints_cannot_write() -> None:
    error = "TypeError: Cannot call set on table t: the table is read-only in the read-only application context"
    world = _world(
        "export function run() { try { ccf.kv['t'].set(ccf.strToBuf('k'), ccf.strToBuf('v')) }"
        "catch (error) { return { body: String(error) } } }",
        mode="readonly",
    )
    assert error in world.request("POST", "/app/run").body.decode()


def test_a_deployment_in_between_is_a_conflict() -> None:
    world = _world("export function run() { ccf.kv['t'].set(ccf.strToBuf('k'), ccf.strToBuf('v')); return {} }")
    tx = world.store.begin()
    found = world.app.find(tx, "POST", "/run")
    request = Request("POST", "/run", "/run", "", {}, b"", {}, "/run")
    assert found is not None
    found.endpoint.run(Context(tx, request, None, Node()))  # type: ignore[union-attr]
    world.deploy(one_function("export const run = () => ({})"))
    with pytest.raises(Conflict):
        world.store.commit(tx, world.store.version + 1)


def test_consensus_answers_come_from_the_node() -> None:
    assert _echo("ccf.consensus.getLastCommittedTxId()") == {"view": 2, "seqno": 7}
    assert _echo("[ccf.consensus.getStatusForTxId(2, 3), ccf.consensus.getStatusForTxId(2, 8)]") == [
        "Committed",
        "Pending",
    ]
    assert _echo("[ccf.consensus.getViewForSeqno(3), ccf.consensus.getViewForSeqno(99)]") == [2, None]


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        ("getStatusForTxId('2', 3)", "TypeError"),
        ("getStatusForTxId(2, 1.5)", "TypeError"),
        ("getStatusForTxId(2, -1)", "Error"),
        ("getViewForSeqno(true)", "TypeError"),
        ("getViewForSeqno(undefined)", "TypeError"),
    ],
)
def test_views_and_seqnos_are_checked(call: str, kind: str) -> None:
    error = _error(f"ccf.consensus.{call}", {"return_exception_details": True})
    assert str(error.details[0]["message"]).startswith(f"{kind}: ")


# Reuse


COUNT = "let n = 0; export const run = () => ({ body: String(++n) })"


def test_interpreters_are_new_unless_reuse_is_asked_for() -> None:
    fresh, kept = _world(COUNT), _world(COUNT, **REUSE)
    assert [fresh.request("POST", "/app/run").body for _ in range(3)] == [b"1"] * 3
    assert [kept.request("POST", "/app/run").body for _ in range(3)] == [b"1", b"2", b"3"]


def test_read_and_write_endpoints_of_a_key_have_separate_interpreters() -> None:
    bundle = one_function(COUNT, **REUSE)
    bundle["metadata"]["endpoints"]["/read"] = {"get": {**ENDPOINT, **REUSE, "mode": "readonly"}}
    world = World().deploy(bundle)
    answers = [world.request("POST", "/app/run").body, world.request("GET", "/app/read").body]
    assert answers == [b"1", b"1"]


@pytest.mark.parametrize("table", [INTERPRETER_FLUSH, MODULES])
def test_kept_interpreters_are_dropped_when_flush_or_modules_change(table: str) -> None:
    world = _world(COUNT, **REUSE)
    world.request("POST", "/app/run")
    tx = world.store.begin()
    tx.put(table, UNIT_KEY, b"true")
    world.commit(tx)
    assert world.request("POST", "/app/run").body == b"1"


def test_no_interpreter_is_kept_where_options_forbid_it() -> None:
    world = _world(COUNT, {"max_cached_interpreters": 0}, **REUSE)
    assert [world.request("POST", "/app/run").body for _ in range(2)] == [b"1", b"1"]


def test_limits_are_read_for_each_request() -> None:
    world = _world(
        "export function run() { const end = Date.now() + 60; while (Date.now() < end); return {} }", **REUSE
    )
    assert world.request("POST", "/app/run").status == 200
    world.deploy(
        one_function(
            "export function run() { const end = Date.now() + 60; while (Date.now() < end); return {} }", **REUSE
        ),
        max_execution_time_ms=20,
    )
    with pytest.raises(InternalError, match="took too long"):
        world.request("POST", "/app/run")


# What surrounds a request


def test_each_request_is_one_line_of_metrics() -> None:
    world = _world(
        "export function run(request) { if (request.query === 'off') ccf.enableMetricsLogging(false);"
        "if (request.query === 'throw') throw 1; return { statusCode: 201 } }",
        path="/run/{what}",
    )
    world.request("POST", "/app/run/a?x=1")
    world.request("POST", "/app/run/a?off")
    with pytest.raises(InternalError):
        world.request("POST", "/app/run/b?throw")
    lines = [line.rpartition("=")[0] for line in world.metrics]
    assert lines == [
        "JS execution complete: Method=POST, Path=/app/run/{what}, Status=201, ExecMilliseconds",
        "JS execution complete: Method=POST, Path=/app/run/{what}, Status=500, ExecMilliseconds",
    ]


def test_endpoints_are_declared_as_the_bundle_says() -> None:
    bundle = one_function(
        "",
        mode="readonly",
        forwarding_required="never",
        redirection_strategy="to_backup",
        authn_policies=["user_cert", {"all_of": ["jwt", "any_cert"]}],
        openapi={"summary": "s"},
        openapi_hidden=True,
    )
    world = World().deploy(bundle)
    (endpoint,) = world.app.endpoints(world.store.begin())
    assert (endpoint.method, endpoint.path, endpoint.mode) == ("POST", "/run", Mode.READ_ONLY)
    assert endpoint.authn == ("user_cert", AllOf(("jwt", "any_cert")))
    assert (endpoint.forwarding, endpoint.redirection) == (Forwarding.NEVER, Redirection.TO_BACKUP)
    assert endpoint.hidden
    assert endpoint.openapi == {"summary": "s"}


def test_redirection_defaults_to_the_primary() -> None:
    world = _world("")
    (endpoint,) = world.app.endpoints(world.store.begin())
    assert endpoint.redirection is Redirection.TO_PRIMARY


def test_metrics_of_the_runtime() -> None:
    world = _world("", {"max_heap_bytes": 5, "max_cached_interpreters": 3})
    tx = world.store.begin()
    tx.put(MODULES_QUICKJS_VERSION, UNIT_KEY, ENGINE_VERSION.encode())
    tx.put(MODULES_QUICKJS_BYTECODE, b"/a", b"12345")
    world.commit(tx)
    assert js_metrics(world.store.begin()) == {
        "bytecode_size": 5,
        "bytecode_used": True,
        "max_heap_size": 5,
        "max_stack_size": 1048576,
        "max_execution_time": 5000,
        "max_cached_interpreters": 3,
    }


def test_no_application_has_no_endpoints() -> None:
    world = World()
    assert world.app.find(world.store.begin(), "GET", "/x") is None
    assert list(world.app.endpoints(world.store.begin())) == []
