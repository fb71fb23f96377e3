"""How an endpoint is declared, and what it is handed (node-api.md 1.1 to 1.4).

An endpoint is data: verb, path template below its frontend, authentication policies, mode, forwarding. Its `run`
function takes a `Context` and returns a `Response`; everything it may ask of the node stands in `NodeView`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, StrEnum
from typing import Any, Protocol
from urllib.parse import unquote_plus

from dataplane.crypto.cose import Sign1
from dataplane.kv.tables import dump_json
from dataplane.kv.tx import Tx
from dataplane.txid import NodeId, TxID, TxStatus


class Mode(Enum):
    """What an endpoint does with the store."""

    READ_WRITE = "readwrite"
    READ_ONLY = "readonly"
    COMMAND = "command"
    HISTORICAL = "historical"


class Forwarding(StrEnum):
    """Whether a backup hands the request to the primary (node-api.md 1.4)."""

    NEVER = "never"
    SOMETIMES = "sometimes"
    ALWAYS = "always"


class Redirection(StrEnum):
    """Where a redirecting interface sends the client (node-api.md 1.4)."""

    NONE = "none"
    TO_PRIMARY = "to_primary"
    TO_BACKUP = "to_backup"


@dataclass(slots=True)
class Request:
    """One request as the endpoint sees it.

    `url` is as received, `query` percent-decoded as a whole (node-api.md 1.1), header names lower-case, path parameters
    not decoded, `route` the full template, frontend included, `interface` the one it came in on, None for a forwarded
    request.
    """

    method: str
    url: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    params: dict[str, str] = field(default_factory=dict)
    route: str = ""
    interface: str | None = None


@dataclass(slots=True)
class Response:
    """An answer. `apply_writes` overrides the rule that only 2xx answers keep their writes."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    apply_writes: bool | None = None


@dataclass(frozen=True, slots=True)
class AllOf:
    """A policy that is met when each of `policies` is (node-api.md 3.1)."""

    policies: tuple[str, ...]


Policy = str | AllOf
"""How an endpoint names a policy."""

APP_POLICIES = frozenset({"no_auth", "user_cert", "member_cert", "any_cert", "jwt", "user_cose_sign1"})
"""The policies that a deployed application may name (node-api.md 3.1)."""


@dataclass(frozen=True, slots=True)
class Token:
    """A JWT whose signature holds: the issuer its key belongs to, its JOSE header and its claims."""

    key_issuer: str
    header: Mapping[str, Any]
    payload: Mapping[str, Any]


@dataclass(slots=True)
class Identity:
    """The caller, by the policy that was met (node-api.md 3.4). `all_of`: the parts of a combined policy."""

    policy: str
    id: str | None = None
    cert_pem: str | None = None
    data: object = None
    cose: Sign1 | None = None
    jwt: Token | None = None
    all_of: Mapping[str, "Identity"] = field(default_factory=dict)


class NodeView(Protocol):
    """What endpoints may ask of the node they run on."""

    @property
    def node_id(self) -> NodeId: ...
    @property
    def is_primary(self) -> bool: ...
    @property
    def primary_id(self) -> NodeId | None: ...
    @property
    def current_view(self) -> int: ...

    def status(self, txid: TxID) -> TxStatus:
        """What this node knows of a transaction id."""

    def commit_txid(self) -> TxID:
        """The newest committed transaction; 0.0 before the first."""

    def view_history(self) -> Sequence[int]:
        """First seqno of each view from view 1 (ledger-format.md 3)."""

    def view_of(self, seqno: int) -> int | None:
        """The view of a seqno in this node's ledger."""

    def root_at(self, seqno: int) -> bytes | None:
        """The Merkle root over leaves 0..`seqno`, None where it is not known (any more)."""

    def now(self) -> datetime:
        """The present time, UTC."""

    def random_bytes(self, count: int) -> bytes:
        """Random bytes fit for keys."""


@dataclass(slots=True)
class Context:
    """What an endpoint's function is handed."""

    tx: Tx
    request: Request
    caller: Identity | None
    node: NodeView


Run = Callable[[Context], Response]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One verb on one path template below its frontend, e.g. `/members/proposals:create`.

    `authn` lists policies in the order they are tried; empty means open. `forwarding` and `redirection` default by
    mode as for native endpoints: writes always / to the primary, everything else sometimes / none.
    """

    method: str
    path: str
    run: Run
    authn: tuple[Policy, ...] = ()
    mode: Mode = Mode.READ_ONLY
    forwarding: Forwarding | None = None
    redirection: Redirection | None = None
    hidden: bool = False
    openapi: Mapping[str, object] = field(default_factory=dict)

    def effective_forwarding(self) -> Forwarding:
        """The declared forwarding, or what the mode implies."""
        if self.forwarding is not None:
            return self.forwarding
        return Forwarding.ALWAYS if self.mode is Mode.READ_WRITE else Forwarding.SOMETIMES

    def effective_redirection(self) -> Redirection:
        """The declared strategy, or what declared forwarding or else the mode implies (node-api.md 1.4)."""
        if self.redirection is not None:
            return self.redirection
        if self.forwarding is None:
            return Redirection.TO_PRIMARY if self.mode is Mode.READ_WRITE else Redirection.NONE
        return Redirection.NONE if self.forwarding is Forwarding.NEVER else Redirection.TO_PRIMARY


def json_response(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer with sorted keys and no white space (node-api.md 1.1)."""
    return Response(status, dump_json(value), {"content-type": "application/json", **(headers or {})})


def text_response(text: str, content_type: str = "text/plain", status: int = 200) -> Response:
    """A text answer."""
    return Response(status, text.encode(), {"content-type": content_type})


def query_values(query: str) -> dict[str, str]:
    """Parameters of an already decoded query; of duplicates the first counts (node-api.md 1.1)."""
    values: dict[str, str] = {}
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if name:
            values.setdefault(name, value)
    return values


def decode_query(raw: str) -> str:
    """The whole query, percent-decoded and `+` as space, before it is split."""
    return unquote_plus(raw) if "%" in raw or "+" in raw else raw
