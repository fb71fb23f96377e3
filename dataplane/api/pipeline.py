"""One request from arrival to answer, in the order of node-api.md 1.2.

Find the endpoint, decide whether this node or the primary executes it, authenticate, execute, commit. The pipeline
knows the node by the small protocol `Core` and the network not at all: `dispatch` takes a request and a function to
answer with, which it calls at once or, for a forwarded request, later.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from dataplane.api.auth import Peer, Unauthenticated, authenticate
from dataplane.api.negotiation import require_json
from dataplane.api.redirection import redirect
from dataplane.api.routing import Found, RouteTable, VerbsOnly, not_found, split_frontend, wrong_verb
from dataplane.apps.endpoint import (
    Context,
    Endpoint,
    Forwarding,
    Mode,
    NodeView,
    Request,
    Response,
    decode_query,
    json_response,
)
from dataplane.errors import CcfError, FrontendNotOpen, InternalError, RpcError
from dataplane.kv.store import Conflict
from dataplane.kv.tx import Tx
from dataplane.redirections import Redirections
from dataplane.txid import TxID

MAX_ATTEMPTS = 30  # node-api.md 1.2 row 10
TXID_HEADER = "x-ms-ccf-transaction-id"

Reply = Callable[[Response], None]


class NotPrimary(Exception):
    """A write was submitted on a node that does not lead (any more)."""


class Core(NodeView, Protocol):
    """What the pipeline needs of the node besides what endpoints see."""

    @property
    def write_refusal(self) -> str | None:
        """Why this node takes no writes at all, not even to forward them; None where it does."""

    def begin(self) -> Tx:
        """A transaction at the newest state."""

    def submit(self, tx: Tx) -> TxID:
        """Append the writes of `tx`. Raises `Conflict` or `NotPrimary`, and then has changed nothing."""

    def txid_at(self, seqno: int) -> TxID:
        """The transaction id of a seqno in this node's ledger."""

    def is_frontend_open(self, name: str) -> bool:
        """Whether `gov`, `node` or `app` serves requests already."""

    def is_overloaded(self) -> bool:
        """Whether too many transactions wait for their commit (node-api.md 1.2 row 1)."""

    def forward(self, request: "ForwardedRequest", timeout_ms: int, reply: Reply) -> None:
        """Have the primary execute the request; raises `CcfError` where it cannot even be sent."""

    def report(self, error: Exception) -> None:
        """Log an exception that no client input should have been able to cause."""


class DynamicApp(Protocol):
    """The application the members deployed: endpoints that come and go with the store."""

    def find(self, tx: Tx, method: str, path: str) -> Found | VerbsOnly | None:
        """The deployed endpoint for a path below the application frontend."""


@dataclass(frozen=True, slots=True)
class InterfaceRules:
    """What the pipeline needs to know of the interface a request came in on."""

    name: str
    accepted_endpoints: tuple[re.Pattern[str], ...] | None = None
    forwarding_timeout_ms: int = 3000
    redirections: Redirections | None = None  # such an interface never forwards


@dataclass(slots=True)
class SessionState:
    """What the pipeline remembers of a session: who it is, where its requests went, and in which view."""

    id: int
    peer: Peer
    interface: InterfaceRules
    forwarded: bool = False
    view: int | None = None
    closing: bool = False


@dataclass(frozen=True, slots=True)
class ForwardedRequest:
    """A request on its way to the primary, with everything authentication needs."""

    session_id: int
    peer: Peer
    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Traffic:
    """What a pipeline has done since the node started; `answers` by the first digit of the status."""

    answers: dict[int, int] = field(default_factory=dict)
    deployed: int = 0
    forwarded: int = 0
    executed_for_others: int = 0
    redirected: int = 0
    conflicts: int = 0

    def note(self, response: Response) -> Response:
        """Count an answer, and give it back."""
        kind = response.status // 100
        self.answers[kind] = self.answers.get(kind, 0) + 1
        return response


@dataclass(frozen=True, slots=True)
class _Routed:
    """A request whose endpoint is known."""

    endpoint: Endpoint
    request: Request
    frontend: str
    tx: Tx | None  # of an endpoint the members deployed: where it was found, and first runs

    @property
    def deployed(self) -> bool:
        """Whether the answers are the application's own, and not negotiated."""
        return self.tx is not None


@dataclass(slots=True)
class Pipeline:
    """Executes requests on one node."""

    core: Core
    frontends: Mapping[str, RouteTable]
    app: DynamicApp | None = None
    traffic: Traffic = field(default_factory=Traffic)

    def dispatch(self, session: SessionState, method: str, url: str, headers: Mapping[str, str], body: bytes,
                 reply: Reply) -> None:  # fmt: skip
        """Answer one request of a client, now or later."""
        try:
            routed = self._route(method, url, headers, body, session.interface.name)
            if isinstance(routed, Response):
                answer = routed
            elif not _accepts(session.interface, routed):
                answer = Response(503)
            elif routed.endpoint.mode is Mode.READ_WRITE and self.core.write_refusal is not None:
                answer = error_response(RpcError(503, "NodeCannotHandleRequest", self.core.write_refusal))
            elif session.interface.redirections is not None:
                answer = self._redirect_or_execute(session.interface.redirections, routed, session)
            elif self._must_forward(session, routed.endpoint):
                self._forward(session, routed.request, reply)
                return
            else:
                answer = self._execute(routed, session.peer, session)
        except CcfError as error:
            answer = error_response(error)
        except Exception as error:
            self.core.report(error)
            answer = error_response(InternalError(str(error)))
        reply(self.traffic.note(answer))

    def execute_forwarded(self, forwarded: ForwardedRequest) -> Response:
        """Answer a request that a backup handed on; never forwards again."""
        self.traffic.executed_for_others += 1
        try:
            routed = self._route(forwarded.method, forwarded.url, forwarded.headers, forwarded.body, None)
            if isinstance(routed, Response):
                return routed
            if routed.endpoint.effective_forwarding() is Forwarding.ALWAYS and not self.core.is_primary:
                raise RpcError(503, "RequestAlreadyForwarded", "RPC was already forwarded.")
            return self._execute(routed, forwarded.peer, None)
        except CcfError as error:
            return error_response(error)
        except Exception as error:
            self.core.report(error)
            return error_response(InternalError(str(error)))

    def _route(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, interface: str | None
    ) -> "_Routed | Response":
        path, _, raw_query = url.partition("?")
        frontend, below = split_frontend(path)
        if frontend != "node" and self.core.is_overloaded():
            raise RpcError(503, "TooManyPendingTransactions", "Too many transactions pending commit on the service.")
        if not self.core.is_frontend_open(frontend):
            raise FrontendNotOpen("Frontend is not open.")
        found, tx = self._find(frontend, method, below)
        if found is None:
            raise not_found(path)
        if isinstance(found, VerbsOnly):
            allow = {"allow": ", ".join(("OPTIONS", *found.verbs))}
            if method == "OPTIONS":
                return Response(204, headers=allow)
            refusal = error_response(wrong_verb(method, path, found.verbs))
            refusal.headers.update(allow)
            return refusal
        route = f"/{frontend}{found.endpoint.path}"
        request = Request(method, url, path, decode_query(raw_query), headers, body, found.params, route, interface)
        return _Routed(found.endpoint, request, frontend, tx)

    def _find(self, frontend: str, method: str, below: str) -> tuple[Found | VerbsOnly | None, Tx | None]:
        """The endpoint and, where the members deployed it, the transaction it was found in.

        Theirs win, built-in ones serve their other verbs.
        """
        deployed: Found | VerbsOnly | None = None
        if frontend == "app" and self.app is not None:
            tx = self.core.begin()
            deployed = self.app.find(tx, method, below)
            if isinstance(deployed, Found):
                return deployed, tx
        built_in = self.frontends[frontend].find(method, below)
        if isinstance(deployed, VerbsOnly) and not isinstance(built_in, Found):
            verbs = {*deployed.verbs, *(built_in.verbs if built_in else ())}
            return VerbsOnly(tuple(sorted(verbs))), None
        return built_in, None

    def _redirect_or_execute(self, ways: Redirections, routed: _Routed, session: SessionState) -> Response:
        core = self.core
        elsewhere = redirect(
            routed.endpoint.effective_redirection(),
            ways,
            core.begin(),
            is_primary=core.is_primary,
            primary_id=core.primary_id,
            interface=session.interface.name,
            url=routed.request.url,
            draw=lambda count: int.from_bytes(core.random_bytes(8)) % count,
        )
        if elsewhere is not None:
            self.traffic.redirected += 1
            return elsewhere
        return self._execute(routed, session.peer, session)

    def _must_forward(self, session: SessionState, endpoint: Endpoint) -> bool:
        if self.core.is_primary:
            return False
        forwarding = endpoint.effective_forwarding()
        return forwarding is Forwarding.ALWAYS or (forwarding is Forwarding.SOMETIMES and session.forwarded)

    def _forward(self, session: SessionState, request: Request, reply: Reply) -> None:
        self._check_view(session)
        forwarded = ForwardedRequest(
            session.id, session.peer, request.method, request.url, request.headers, request.body
        )
        self.core.forward(
            forwarded, session.interface.forwarding_timeout_ms, lambda answer: reply(self.traffic.note(answer))
        )
        self.traffic.forwarded += 1
        session.forwarded = True

    def _execute(self, routed: _Routed, peer: Peer, session: SessionState | None) -> Response:
        endpoint, request = routed.endpoint, routed.request
        for attempt in range(MAX_ATTEMPTS):
            tx = self.core.begin() if attempt or routed.tx is None else routed.tx
            caller = authenticate(endpoint.authn, tx, request, peer, self.core.now)
            if session is not None:
                self._check_view(session)
            response = endpoint.run(Context(tx, request, caller, self.core))
            if routed.deployed:
                self.traffic.deployed += 1
            else:
                _negotiate(request, response)
            try:
                return self._commit(endpoint, tx, response)
            except Conflict:
                self.traffic.conflicts += 1
        retry = error_response(
            RpcError(503, "TransactionCommitAttemptsExceedLimit", f"Transaction not committed in {MAX_ATTEMPTS} tries.")
        )
        retry.headers["retry-after"] = "3"
        return retry

    def _check_view(self, session: SessionState) -> None:
        """A session ends when the view is not that of its first request (node-api.md 1.2 row 8)."""
        view = self.core.current_view
        if session.view is None:
            session.view = view
        elif session.view != view:
            session.closing = True
            text = f"This session began in view {session.view}, and the view is now {view}. The session is closed."
            raise RpcError(500, "SessionConsistencyLost", text)

    def _commit(self, endpoint: Endpoint, tx: Tx, response: Response) -> Response:
        applies = 200 <= response.status < 300 if response.apply_writes is None else response.apply_writes
        if not applies:
            return response
        if tx.writes and endpoint.mode is Mode.READ_WRITE:
            try:
                txid = self.core.submit(tx)
            except NotPrimary:
                text = "Transaction failed to replicate."
                raise RpcError(503, "TransactionReplicationFailed", text) from None
            response.headers[TXID_HEADER] = str(txid)
        elif tx.touched and tx.read_version:
            response.headers[TXID_HEADER] = str(self.core.txid_at(tx.read_version))
        return response


def error_response(error: CcfError) -> Response:
    """`{"error": {"code", "message", "details"?}}`; the 401 of a challenged policy carries the challenge."""
    body: dict[str, object] = {"code": error.code, "message": error.message}
    if error.details:
        body["details"] = list(error.details)
    response = json_response({"error": body}, error.status)
    if isinstance(error, Unauthenticated) and error.challenge:
        response.headers["www-authenticate"] = error.challenge
    return response


def _negotiate(request: Request, response: Response) -> None:
    """Refuse to answer in JSON a client that does not take it (node-api.md 1.3)."""
    accept = request.headers.get("accept")
    if accept and response.status == 200 and response.headers.get("content-type") == "application/json":
        require_json(accept)


def _accepts(interface: InterfaceRules, routed: _Routed) -> bool:
    patterns = interface.accepted_endpoints
    return patterns is None or any(pattern.fullmatch(routed.request.route) for pattern in patterns)
