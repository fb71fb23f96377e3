"""The JavaScript application the members deployed (node-api.md 5): its endpoints, and how a request runs.

Everything derived from the store (endpoints, modules, runtime options) is kept for as long as the rows it came from
stay the same objects, and each request depends on those tables: a deployment that commits first makes it run again.

Over 400 lines, as it tells the whole way of one request into a script and back.
"""

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar

from dataplane.apps.endpoint import (
    APP_POLICIES,
    AllOf,
    Context,
    Endpoint,
    Forwarding,
    Identity,
    Mode,
    NodeView,
    Policy,
    Redirection,
    Request,
    Response,
)
from dataplane.apps.historical import find_state
from dataplane.errors import InternalError, RpcError
from dataplane.js.bundle import EndpointSpec, InvalidBundle
from dataplane.js.host import Access, Console, Invocation, Natives, OpenState
from dataplane.js.images import Images
from dataplane.js.interpreter import (
    DEFAULT_LIMITS,
    Interpreter,
    InterpreterCache,
    JsError,
    JsLoadError,
    JsTimeout,
    Limits,
)
from dataplane.js.quickjs import ENGINE_VERSION
from dataplane.kv.tables import (
    ENDPOINTS,
    INTERPRETER_FLUSH,
    JS_RUNTIME_OPTIONS,
    MODULES,
    MODULES_QUICKJS_BYTECODE,
    MODULES_QUICKJS_VERSION,
    UNIT_KEY,
    get_json,
)
from dataplane.kv.tx import Rows, Tx
from dataplane.past import Historical, PastState
from dataplane.txid import TxID

_ACCESS = {
    "readwrite": Access.APP_READ_WRITE,
    "readonly": Access.APP_READ_ONLY,
    "historical": Access.APP_HISTORICAL,
}
_TXID_HEADER = "x-ms-ccf-transaction-id"
_MODES = {"readwrite": Mode.READ_WRITE, "readonly": Mode.READ_ONLY, "historical": Mode.HISTORICAL}
_CONTENT_TYPES = {"j": "application/json", "t": "text/plain", "b": "application/octet-stream"}
_FAULTS = {
    b"!object": "Invalid endpoint function return value (not an object).",
    b"!status": "Invalid endpoint function return value (status code must be an integer from 100 to 599).",
}
_FRAMING = frozenset({"connection", "content-length", "transfer-encoding"})
_EXECUTING = "Exception thrown while executing."
_MAX_CALLERS = 1024
_MAX_SAFE_INTEGER = 2**53 - 1

Match_co = TypeVar("Match_co", covariant=True)


class Routes(Protocol[Match_co]):
    """A route table: the pipeline's, made over the application's endpoints."""

    def find(self, method: str, path: str) -> Match_co:
        """What the table says of a verb and a path below the frontend."""


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """`js_runtime_options` (node-api.md 5.7)."""

    limits: Limits = DEFAULT_LIMITS
    log_exception_details: bool = False
    return_exception_details: bool = False
    max_cached_interpreters: int = 10

    @classmethod
    def read(cls, tx: Tx) -> "RuntimeOptions":
        """The options in force."""
        value = get_json(tx, JS_RUNTIME_OPTIONS) or {}
        defaults, limits = cls(), DEFAULT_LIMITS
        return cls(
            Limits(
                value.get("max_heap_bytes", limits.max_heap_bytes),
                value.get("max_stack_bytes", limits.max_stack_bytes),
                value.get("max_execution_time_ms", limits.max_execution_time_ms),
            ),
            value.get("log_exception_details", False),
            value.get("return_exception_details", False),
            value.get("max_cached_interpreters", defaults.max_cached_interpreters),
        )


@dataclass(frozen=True, slots=True)
class _Deployed(Generic[Match_co]):
    """What the tables hold, and what was derived from it."""

    rows: tuple[Rows, Rows, Rows, Rows]
    endpoints: tuple[Endpoint, ...]
    routes: Routes[Match_co]
    options: RuntimeOptions

    def source(self, name: str) -> bytes | None:
        """A module's text."""
        row = self.rows[1].get(f"/{name}".encode())
        return None if row is None else row[1]


class JsApp(Generic[Match_co]):
    """Runs the deployed application.

    `routes` makes a route table of endpoints; `natives` are further functions below `ccf`; `history` gives transactions
    of the past; `log_metrics` takes the line written for each request; `console` gets (level, text).
    """

    def __init__(
        self,
        routes: Callable[[Iterable[Endpoint]], Routes[Match_co]],
        *,
        console: Console,
        log_metrics: Callable[[str], None],
        natives: Natives | None = None,
        history: Historical | None = None,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._routes = routes
        self._console = console
        self._log_metrics = log_metrics
        self._extra_natives = dict(natives or {})
        self._history = history
        self._random_bytes = random_bytes
        self._cache = InterpreterCache()
        self._images = Images()
        self._deployed: _Deployed[Match_co] | None = None
        self._natives: tuple[NodeView, Natives] | None = None
        self._callers: dict[tuple[str, str | None], tuple[Identity, str]] = {}

    def find(self, tx: Tx, method: str, path: str) -> Match_co:
        """The deployed endpoint for a path below the application frontend."""
        return self._state(tx).routes.find(method, path)

    def endpoints(self, tx: Tx) -> Sequence[Endpoint]:
        """Every deployed endpoint."""
        return self._state(tx).endpoints

    def close(self) -> None:
        """Close the kept interpreters."""
        self._cache.clear()
        self._images.clear()

    def _state(self, tx: Tx) -> _Deployed[Match_co]:
        endpoints, modules = tx.rows(ENDPOINTS), tx.rows(MODULES)
        options, flush = tx.rows(JS_RUNTIME_OPTIONS), tx.rows(INTERPRETER_FLUSH)
        known = self._deployed
        if known is not None:
            rows = known.rows
            if rows[0] is endpoints and rows[1] is modules and rows[2] is options and rows[3] is flush:
                return known
            self._images.clear()
            if rows[1] is not modules or rows[3] is not flush:
                self._cache.clear()
        found = tuple(self._endpoint(key.decode(), row[1]) for key, row in sorted(endpoints.items()))
        self._deployed = _Deployed(
            (endpoints, modules, options, flush), found, self._routes(found), RuntimeOptions.read(tx)
        )
        return self._deployed

    def _endpoint(self, key: str, text: bytes) -> Endpoint:
        method, _, path = key.partition(" ")
        try:
            spec = EndpointSpec.from_json(text)
        except InvalidBundle as error:
            return Endpoint(method, path, partial(_invalid, f"Endpoint {key} is invalid: {error}"), hidden=True)
        return Endpoint(
            method,
            path,
            partial(self._run, spec),
            tuple(_policy(policy) for policy in spec.authn_policies),
            _MODES[spec.mode],
            Forwarding(spec.forwarding),
            Redirection(spec.redirection),
            spec.openapi_hidden,
            spec.openapi,
        )

    def _run(self, spec: EndpointSpec, context: Context) -> Response:
        states: list[OpenState] = []
        if spec.mode == "historical":
            found = self._find_past(context)
            if isinstance(found, Response):
                return found
            states.append(OpenState(found))
        begin = time.perf_counter()
        deployed = self._state(context.tx)
        access, key = _ACCESS[spec.mode], spec.reuse_key
        if key is None:
            interpreter = self._images.take(access, deployed.options.limits.max_heap_bytes)
        else:
            interpreter = self._cache.take(key, access)
        try:
            return self._respond(interpreter, spec, context, deployed, begin, states)
        finally:
            if key is None:
                self._images.give_back(access, interpreter)
            else:
                kept = deployed.options.max_cached_interpreters
                self._cache.give_back(key, access, interpreter, kept)

    def _respond(
        self,
        interpreter: Interpreter,
        spec: EndpointSpec,
        context: Context,
        deployed: _Deployed[Match_co],
        begin: float,
        states: list[OpenState],
    ) -> Response:
        request, status = context.request, 500
        invocation = Invocation(
            deployed.source,
            context.tx,
            self._natives_for(context.node),
            self._console,
            self._random_bytes,
            _Source(request, context.caller, self._caller_json),
            history=self._history,
            states=states,
        )
        options = deployed.options
        try:
            head, body = interpreter.respond(
                spec.module, spec.function, _request_text(request), invocation, options.limits
            )
            response = _response(head, body)
            response.apply_writes = invocation.apply_writes
            status = response.status
            return response
        except JsError as error:
            raise self._failure(error, options) from error
        finally:
            if interpreter.host.metrics_logging:
                elapsed_ms = int((time.perf_counter() - begin) * 1000)
                self._log_metrics(
                    f"JS execution complete: Method={request.method}, Path={request.route}, "
                    f"Status={status}, ExecMilliseconds={elapsed_ms}"
                )

    def _find_past(self, context: Context) -> PastState | Response:
        if self._history is None:
            raise RpcError(501, "NotImplemented", "Endpoints of mode historical need a node that keeps its history.")
        return find_state(self._history, context, context.request.headers.get(_TXID_HEADER))

    def _failure(self, error: JsError, options: RuntimeOptions) -> InternalError:
        message = str(error) if isinstance(error, JsTimeout | JsLoadError) else _EXECUTING
        reason = error.engine_reason if isinstance(error, JsTimeout) else error.reason
        if not options.log_exception_details and not options.return_exception_details:
            return InternalError(message)
        trace = error.trace
        if options.log_exception_details:
            self._console("error", f"{reason}: {trace or '<no trace>'}")
        if not options.return_exception_details:
            return InternalError(message)
        detail: dict[str, object] = {"code": "JSException", "message": reason}
        if trace:
            detail["trace"] = trace
        return InternalError(message, details=[detail])

    def _natives_for(self, node: NodeView) -> Natives:
        if self._natives is None or self._natives[0] is not node:
            self._natives = node, {**_consensus(node), **self._extra_natives}
        return self._natives[1]

    def _caller_json(self, caller: Identity) -> str:
        """The caller as JSON text, made once for each who calls again and again unchanged."""
        key = caller.policy, caller.id
        known = self._callers.get(key)
        if known is not None and known[0].cert_pem == caller.cert_pem and known[0].data == caller.data:
            return known[1]
        if len(self._callers) >= _MAX_CALLERS:
            self._callers.clear()
        text = json.dumps(_caller(caller))
        self._callers[key] = caller, text
        return text


def js_metrics(tx: Tx) -> dict[str, object]:
    """What `GET /node/js_metrics` answers (node-api.md 2.2)."""
    options = RuntimeOptions.read(tx)
    version = tx.get(MODULES_QUICKJS_VERSION, UNIT_KEY)
    return {
        "bytecode_size": sum(len(row[1]) for row in tx.rows(MODULES_QUICKJS_BYTECODE).values()),
        "bytecode_used": version == ENGINE_VERSION.encode(),
        "max_heap_size": options.limits.max_heap_bytes,
        "max_stack_size": options.limits.max_stack_bytes,
        "max_execution_time": options.limits.max_execution_time_ms,
        "max_cached_interpreters": options.max_cached_interpreters,
    }


@dataclass(slots=True)
class _Source:
    """The parts of a request object that are made when a script reads them."""

    request: Request
    identity: Identity | None
    to_json: Callable[[Identity], str]

    @property
    def body(self) -> bytes:
        return self.request.body

    def headers_json(self) -> str:
        return json.dumps(dict(self.request.headers))

    def caller(self) -> object:
        identity = self.identity
        if identity is None:
            return "null"
        if identity.all_of or identity.cose is not None or identity.jwt is not None:
            return _whole_caller(identity)
        return self.to_json(identity)


def _request_text(request: Request) -> str:
    """[method, path, query, route, hostname, params], as the prelude reads it."""
    hostname = request.headers.get("host")
    return json.dumps((request.method, request.path, request.query, request.route, hostname, request.params))


def _whole_caller(identity: Identity) -> object:
    """A caller of whom no text is kept, for it belongs to one request: JSON text, unless it holds bytes."""
    caller = _caller(identity)
    if any(part.cose is not None for part in (identity, *identity.all_of.values())):
        return caller
    return json.dumps(caller)


def _caller(identity: Identity) -> dict[str, object]:
    """`request.caller` (node-api.md 3.4)."""
    if identity.all_of:
        parts = {name: _caller(part) for name, part in identity.all_of.items()}
        return {"policy": sorted(identity.all_of), **parts}
    if identity.policy == "no_auth":
        return {"policy": "no_auth"}
    if identity.jwt is not None:
        token = identity.jwt
        claims = {"header": _plain(token.header), "payload": _plain(token.payload)}
        return {"policy": "jwt", "jwt": {"keyIssuer": token.key_issuer, **claims}}
    if identity.policy == "any_cert":
        return {"policy": "any_cert", "cert": identity.cert_pem}
    caller: dict[str, object] = {
        "policy": identity.policy,
        "id": identity.id,
        "data": identity.data,
        "cert": identity.cert_pem,
    }
    if identity.cose is not None:
        caller["cose"] = {"content": identity.cose.payload}
    return caller


def _plain(claims: Mapping[str, object]) -> object:
    """Claims with numbers as a script would read them: what is no exact integer there becomes a float."""
    return json.loads(json.dumps(claims), parse_int=_script_number)


def _script_number(digits: str) -> int | float:
    number = int(digits)
    return number if abs(number) <= _MAX_SAFE_INTEGER else float(digits)


def _response(head: bytes, body: bytes) -> Response:
    """The answer a script packed (see the prelude): `<status> <kind><headers>`."""
    if head in _FAULTS:
        raise InternalError(_FAULTS[head])
    status_text, _, rest = head.decode().partition(" ")
    content_type = _CONTENT_TYPES.get(rest[0])
    headers = {} if content_type is None else {"content-type": content_type}
    if len(rest) > 1:
        headers.update(_checked_headers(json.loads(rest[1:])))
    return Response(int(status_text), body, headers)


def _checked_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Headers of a script; raises `InternalError` for what would break the answer, and drops its framing."""
    for name, value in headers.items():
        if not name or not name.isascii() or not name.isprintable() or any(c in name for c in " :"):
            raise InternalError("Invalid endpoint function return value (header name).")
        if not value.isprintable() and any((ord(c) < 32 and c != "\t") or ord(c) == 127 for c in value):
            raise InternalError("Invalid endpoint function return value (header value).")
    return {name: value for name, value in headers.items() if name not in _FRAMING}


def _consensus(node: NodeView) -> Natives:
    def last_committed() -> dict[str, int]:
        txid = node.commit_txid()
        return {"view": txid.view, "seqno": txid.seqno}

    return {
        "consensus.getLastCommittedTxId": last_committed,
        "consensus.getStatusForTxId": lambda view, seqno: str(node.status(TxID(_count(view), _count(seqno)))),
        "consensus.getViewForSeqno": lambda seqno: node.view_of(_count(seqno)),
    }


def _count(value: object) -> int:
    """A view or seqno that a script gave."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("views and seqnos are integers")
    if value < 0:
        raise ValueError("views and seqnos are not negative")
    return value


def _policy(policy: object) -> Policy:
    """A policy as authentication takes it; one that applications do not have is spelled as no policy is."""
    if isinstance(policy, str):
        return policy if policy in APP_POLICIES else json.dumps(policy)
    names = policy.get("all_of") if isinstance(policy, dict) else None
    if isinstance(names, list) and names and all(isinstance(name, str) and name in APP_POLICIES for name in names):
        return AllOf(tuple(names))
    return json.dumps(policy)


def _invalid(message: str, _context: Context) -> Response:
    raise InternalError(message)
