"""A node without network, disk or consensus, for tests of the request pipeline."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from dataplane.api.auth import Peer
from dataplane.api.pipeline import (
    ForwardedRequest,
    InterfaceRules,
    NotPrimary,
    Pipeline,
    Reply,
    SessionState,
)
from dataplane.api.routing import FRONTENDS, RouteTable
from dataplane.apps.endpoint import Endpoint, Response
from dataplane.kv.store import Store
from dataplane.kv.tables import NODES_INFO, put_json
from dataplane.kv.tx import Tx
from dataplane.txid import NodeId, TxID, TxStatus

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class FakeCore:
    """A node whose role, view and load a test sets. What it forwards is kept in `forwarded`."""

    node_id: NodeId = "n0"
    primary_id: NodeId | None = "n0"
    current_view: int = 2
    overloaded: bool = False
    write_refusal: str | None = None
    closed: tuple[str, ...] = ()
    forwarded: list[tuple[ForwardedRequest, Reply]] = field(default_factory=list)
    store: Store = field(default_factory=Store)

    @property
    def is_primary(self) -> bool:
        return self.primary_id == self.node_id

    def begin(self) -> Tx:
        return self.store.begin()

    def submit(self, tx: Tx) -> TxID:
        if not self.is_primary:
            raise NotPrimary
        self.store.commit(tx, self.store.version + 1)
        return self.txid_at(self.store.version)

    def txid_at(self, seqno: int) -> TxID:
        return TxID(self.current_view, seqno)

    def is_frontend_open(self, name: str) -> bool:
        return name not in self.closed

    def is_overloaded(self) -> bool:
        return self.overloaded

    def forward(self, request: ForwardedRequest, timeout_ms: int, reply: Reply) -> None:
        self.forwarded.append((request, reply))

    def report(self, error: Exception) -> None:
        raise AssertionError("unexpected exception in a request") from error

    def status(self, txid: TxID) -> TxStatus:
        return TxStatus.UNKNOWN

    def commit_txid(self) -> TxID:
        return self.txid_at(self.store.version)

    def view_history(self) -> Sequence[int]:
        return [1, 1]

    def view_of(self, seqno: int) -> int | None:
        return self.current_view

    def root_at(self, seqno: int) -> bytes | None:
        return None

    def now(self) -> datetime:
        return NOW

    def random_bytes(self, count: int) -> bytes:
        return bytes(count)


class Client:
    """One session with a pipeline over `endpoints` of the application frontend."""

    def __init__(self, core: FakeCore, endpoints: Sequence[Endpoint], rules: InterfaceRules | None = None) -> None:
        tables = {name: RouteTable(endpoints if name == "app" else ()) for name in FRONTENDS}
        self.pipeline = Pipeline(core, tables)
        self.session = SessionState(1, Peer(None, None), rules or InterfaceRules("main"))

    def request(self, method: str, url: str, body: bytes = b"", **headers: str) -> Response | None:
        """The answer, None while it waits for another node."""
        answers: list[Response] = []
        self.pipeline.dispatch(self.session, method, url, headers, body, answers.append)
        return answers[0] if answers else None


def add_node(core: FakeCore, node_id: NodeId, address: str, status: str = "Trusted", interface: str = "main") -> None:
    """Write a node's record as far as redirection reads it."""
    tx = core.begin()
    put_json(
        tx,
        NODES_INFO,
        {"status": status, "rpc_interfaces": {interface: {"published_address": address}}},
        node_id.encode(),
    )
    core.store.commit(tx, core.store.version + 1)
