"""A deployed JavaScript application in a store, without a node."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from dataplane.api.routing import Found, RouteTable, VerbsOnly
from dataplane.apps.endpoint import Context, Identity, Request, Response, decode_query
from dataplane.apps.js_generic import JsApp
from dataplane.kv.store import Store
from dataplane.kv.tables import ENDPOINTS, INTERPRETER_FLUSH, JS_RUNTIME_OPTIONS, MODULES, UNIT_KEY, dump_json
from dataplane.kv.tx import Tx
from dataplane.past import Historical
from dataplane.txid import TxID, TxStatus

USER = Identity("user_cert", "ab" * 32, "-----BEGIN CERTIFICATE-----\n" + "A" * 600 + "\n-----END CERTIFICATE-----\n")
ENDPOINT = {
    "js_module": "app.js",
    "js_function": "run",
    "mode": "readwrite",
    "forwarding_required": "always",
    "authn_policies": ["no_auth"],
    "openapi": {},
}


class Node:
    """The few things an application may ask of its node, with fixed answers."""

    node_id = "cd" * 32
    is_primary = True
    primary_id = node_id
    current_view = 2

    def status(self, txid: TxID) -> TxStatus:
        return TxStatus.COMMITTED if txid.seqno <= 7 else TxStatus.PENDING

    def commit_txid(self) -> TxID:
        return TxID(2, 7)

    def view_history(self) -> list[int]:
        return [1, 1]

    def view_of(self, seqno: int) -> int | None:
        return 2 if seqno <= 9 else None

    def root_at(self, seqno: int) -> bytes | None:
        return None

    def now(self) -> datetime:
        return datetime(2025, 1, 1, tzinfo=UTC)

    def random_bytes(self, count: int) -> bytes:
        return bytes(count)


@dataclass
class World:
    """A store, the application in it, and what it logged."""

    store: Store = field(default_factory=Store)
    console: list[tuple[str, str]] = field(default_factory=list)
    metrics: list[str] = field(default_factory=list)
    history: Historical | None = None
    node: Node = field(default_factory=Node)
    app: JsApp[Found | VerbsOnly | None] = field(init=False)

    def __post_init__(self) -> None:
        self.app = JsApp(
            RouteTable,
            console=lambda *line: self.console.append(line),
            log_metrics=self.metrics.append,
            history=self.history,
        )

    def commit(self, tx: Tx) -> None:
        """Apply a transaction."""
        self.store.commit(tx, self.store.version + 1)

    def deploy(self, bundle: dict[str, Any], **options: object) -> "World":
        """What `set_js_app` and `set_js_runtime_options` write."""
        tx = self.store.begin()
        tx.clear(MODULES)
        tx.clear(ENDPOINTS)
        for module in bundle["modules"]:
            tx.put(MODULES, f"/{module['name']}".encode(), module["module"].encode())
        for path, verbs in bundle["metadata"]["endpoints"].items():
            for verb, endpoint in verbs.items():
                tx.put(ENDPOINTS, f"{verb.upper()} {path}".encode(), dump_json(endpoint))
        tx.put(INTERPRETER_FLUSH, UNIT_KEY, b"true")
        if options:
            tx.put(JS_RUNTIME_OPTIONS, UNIT_KEY, dump_json(options))
        self.commit(tx)
        return self

    def request(
        self,
        method: str,
        url: str,
        body: bytes | object = b"",
        caller: Identity | None = None,
        headers: dict[str, str] | None = None,
    ) -> Response:
        """Find, run and, where the answer says so, commit."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        path, _, query = url.partition("?")
        tx = self.store.begin()
        found = self.app.find(tx, method, path.removeprefix("/app"))
        assert isinstance(found, Found), f"no endpoint for {method} {path}: {found}"
        request = Request(
            method, url, path, decode_query(query), {"host": "h:1", **(headers or {})}, raw, found.params,
            f"/app{found.endpoint.path}",
        )  # fmt: skip
        response = found.endpoint.run(Context(tx, request, caller, self.node))
        applies = response.apply_writes if response.apply_writes is not None else response.status < 300
        if applies and tx.writes:
            self.commit(tx)
        return response


def one_function(body: str, *, path: str = "/run", verb: str = "post", **endpoint: object) -> dict[str, Any]:
    """A bundle with one module `app.js`: `body` is its whole text and exports `run`."""
    return {
        "metadata": {"endpoints": {path: {verb: {**ENDPOINT, **endpoint}}}},
        "modules": [{"name": "app.js", "module": body}],
    }
