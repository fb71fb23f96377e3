"""The `/node` frontend: what a node tells of itself, its peers and its ledger (node-api.md 2.2)."""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from dataplane.api.prometheus import CONTENT_TYPE, Family, render, wants_text
from dataplane.apps.endpoint import (
    Context,
    Endpoint,
    Forwarding,
    Mode,
    NodeView,
    Response,
    json_response,
    query_values,
    text_response,
)
from dataplane.errors import InternalError, InvalidQueryParameterValue, ResourceNotFound, RpcError
from dataplane.governance.nodes import (
    NodeStatus,
    all_nodes,
    find_node,
    nodes_with_status,
    record_retired_committed,
    remove_retired,
    uncompleted_retirements,
)
from dataplane.kv.tables import (
    NODES_INFO,
    SERVICE_CONFIG,
    SERVICE_INFO,
    SERVICE_PREVIOUS_SERVICE_IDENTITY,
    SIGNATURES,
    UNIT_KEY,
    get_json,
    load_json,
)
from dataplane.kv.tx import Tx
from dataplane.txid import NodeId


@dataclass(frozen=True, slots=True)
class Version:
    """What `/node/version` tells."""

    ccf_version: str
    quickjs_version: str


class Node(NodeView, Protocol):
    """What this frontend asks of the node besides what every endpoint may."""

    @property
    def version(self) -> Version: ...
    @property
    def state(self) -> str: ...
    @property
    def stop_notice(self) -> bool: ...
    @property
    def write_refusal(self) -> str | None: ...
    @property
    def startup_seqno(self) -> int: ...
    @property
    def last_signed_seqno(self) -> int: ...
    @property
    def self_signed_certificate(self) -> str: ...
    @property
    def rpc_interfaces(self) -> Mapping[str, object]: ...

    def recovery_progress(self) -> Mapping[str, int]: ...
    def is_frontend_open(self, name: str) -> bool: ...
    def consensus_details(self) -> Mapping[str, object]: ...
    def session_metrics(self) -> Mapping[str, object]: ...
    def begin_at_committed(self) -> Tx: ...
    def metric_families(self) -> Sequence[Family]: ...
    def js_metrics(self) -> Mapping[str, object]: ...
    def memory(self) -> Mapping[str, int]: ...
    def primary_address(self, interface: str | None) -> str | None: ...


def endpoints(node: Node, join: Callable[[Context], Response]) -> list[Endpoint]:
    """The node frontend's own endpoints; `join` answers `POST /node/join`."""
    never, always = Forwarding.NEVER, Forwarding.ALWAYS
    local: list[tuple[str, Callable[[Context, Node], Response]]] = [
        ("/state", _state),
        ("/version", _version),
        ("/consensus", _consensus),
        ("/memory", _memory),
        ("/metrics", _metrics),
        ("/index/strategies", _index_strategies),
        ("/self_signed_certificate", _self_signed_certificate),
        ("/config", _config),
        ("/service/configuration", _service_configuration),
        ("/network/nodes/self", _self),
        ("/primary", _primary),
        ("/backup", _backup),
        ("/ready/app", _ready_app),
        ("/ready/gov", _ready_gov),
        ("/quotes/self", _quote_self),
        ("/attestations/self", _quote_self),
    ]
    shared: list[tuple[str, Callable[[Context, Node], Response]]] = [
        ("/js_metrics", _js_metrics),
        ("/network", _network),
        ("/network/nodes", _nodes),
        ("/network/nodes/primary", _primary_node),
        ("/network/nodes/{node_id}", _one_node),
        ("/network/removable_nodes", _removable_nodes),
        ("/service/previous_identity", _previous_identity),
        ("/quotes", _quotes),
        ("/attestations", _attestations),
    ]
    return [
        *(Endpoint("GET", path, _bind(run, node), forwarding=never) for path, run in local),
        *(Endpoint("GET", path, _bind(run, node)) for path, run in shared),
        Endpoint("HEAD", "/primary", _bind(_head_primary, node), forwarding=never),
        Endpoint(
            "DELETE", "/network/nodes/{node_id}", _bind(_delete_node, node), mode=Mode.READ_WRITE, forwarding=always
        ),
        Endpoint(
            "POST",
            "/network/nodes/set_retired_committed",
            _bind(_set_retired_committed, node),
            ("node_cert",),
            Mode.READ_WRITE,
            hidden=True,
        ),
        Endpoint("POST", "/join", join, ("any_cert",), Mode.READ_WRITE, never, hidden=True),
        Endpoint("POST", "/create", _create, forwarding=never, hidden=True),
    ]


def _bind(run: Callable[[Context, Node], Response], node: Node) -> Callable[[Context], Response]:
    return lambda context: run(context, node)


def _create(_context: Context) -> Response:
    """The original creates a service by a request to itself; ours is created, or recovered, before it serves any."""
    raise RpcError(403, "InternalError", "Node is not in initial state.")


def _state(context: Context, node: Node) -> Response:
    context.tx.has(SIGNATURES, UNIT_KEY)  # the answer names the transaction it saw (drop-in.md 3.4)
    return json_response(
        {
            "node_id": node.node_id,
            "state": node.state,
            "last_signed_seqno": node.last_signed_seqno,
            "startup_seqno": node.startup_seqno,
            "stop_notice": node.stop_notice,
            **node.recovery_progress(),
        }
    )


def _version(context: Context, node: Node) -> Response:
    version = node.version
    return json_response(
        {"ccf_version": version.ccf_version, "quickjs_version": version.quickjs_version, "unsafe": False}
    )


def _consensus(context: Context, node: Node) -> Response:
    return json_response({"details": dict(node.consensus_details())})


def _memory(context: Context, node: Node) -> Response:
    return json_response(dict(node.memory()))


def _metrics(context: Context, node: Node) -> Response:
    """The contract's JSON, or every metric as text for a client that prefers that, as Prometheus does."""
    if wants_text(context.request.headers.get("accept")):
        return text_response(render(node.metric_families()), CONTENT_TYPE)
    return json_response({"sessions": dict(node.session_metrics())})


def _index_strategies(context: Context, node: Node) -> Response:
    """This node keeps no index besides the ledger's own: an application cannot install any yet."""
    return json_response([])


def _js_metrics(context: Context, node: Node) -> Response:
    return json_response(dict(node.js_metrics()))


def _self_signed_certificate(context: Context, node: Node) -> Response:
    return json_response({"self_signed_certificate": node.self_signed_certificate})


def _config(context: Context, node: Node) -> Response:
    nodes = {
        node_id: {"address": record["node_to_node_interface"]["published_address"]}
        for node_id, record in nodes_with_status(context.tx, NodeStatus.TRUSTED).items()
    }
    if not nodes:
        raise ResourceNotFound("No configuration is known yet.")
    return json_response(nodes)


def _service_configuration(context: Context, node: Node) -> Response:
    configuration = get_json(context.tx, SERVICE_CONFIG)
    if configuration is None:
        raise ResourceNotFound("Service configuration not found.")
    return json_response(configuration)


def _previous_identity(context: Context, node: Node) -> Response:
    identity = get_json(context.tx, SERVICE_PREVIOUS_SERVICE_IDENTITY)
    if identity is None:
        raise ResourceNotFound("This service is not a recovery of a previous service.")
    return json_response({"previous_service_identity": identity})


def _network(context: Context, node: Node) -> Response:
    service = get_json(context.tx, SERVICE_INFO)
    if service is None:
        raise ResourceNotFound("Network status not found.")
    return json_response(
        {
            "service_status": service["status"],
            "service_certificate": service["cert"],
            "recovery_count": service.get("recovery_count", 0),
            "service_data": service.get("service_data"),
            "current_service_create_txid": service.get("current_service_create_txid"),
            "current_view": node.current_view,
            "primary_id": node.primary_id,
        }
    )


def _nodes(context: Context, node: Node) -> Response:
    query = query_values(context.request.query)
    status = query.get("status")
    if status is not None and status not in tuple(NodeStatus):
        raise InvalidQueryParameterValue(f"Query parameter {status!r} is not a valid node status.")
    host, port = query.get("host"), query.get("port")
    found = [
        _described(context.tx, node, node_id, record)
        for node_id, record in all_nodes(context.tx)
        if (status is None or record["status"] == status) and _is_published_at(record, host, port)
    ]
    return json_response({"nodes": found})


def _one_node(context: Context, node: Node) -> Response:
    node_id = context.request.params["node_id"]
    record = find_node(context.tx, node_id)
    if record is None:
        raise ResourceNotFound(f"Node {node_id} not found.")
    return json_response(_described(context.tx, node, node_id, record))


def _self(context: Context, node: Node) -> Response:
    record = find_node(context.tx, node.node_id)
    if record is None:
        record = {"status": "Pending", "rpc_interfaces": dict(node.rpc_interfaces)}
    return json_response(_described(context.tx, node, node.node_id, record))


def _primary_node(context: Context, node: Node) -> Response:
    record = None if node.primary_id is None else find_node(context.tx, node.primary_id)
    if node.primary_id is None or record is None:
        raise InternalError("Primary unknown.")
    return json_response(_described(context.tx, node, node.primary_id, record))


def _removable_nodes(context: Context, node: Node) -> Response:
    """Nodes whose retirement is itself committed: every later primary knows that it is."""
    tx = node.begin_at_committed()
    found = [
        _described(tx, node, node_id, record)
        for node_id, record in nodes_with_status(tx, NodeStatus.RETIRED).items()
        if record.get("retired_committed") and find_node(context.tx, node_id) is not None
    ]
    return json_response({"nodes": found})


def _delete_node(context: Context, node: Node) -> Response:
    remove_retired(context.tx, node.begin_at_committed(), context.request.params["node_id"])
    return json_response(True)


def _set_retired_committed(context: Context, node: Node) -> Response:
    """Record every committed retirement; what a primary does by itself after each commit (node-api.md 6.5)."""
    for node_id in uncompleted_retirements(node.begin_at_committed()):
        record_retired_committed(context.tx, node_id)
    return Response(204)


def _primary(context: Context, node: Node) -> Response:
    if not node.is_primary:
        raise ResourceNotFound("Node is not primary")
    return Response()


def _backup(context: Context, node: Node) -> Response:
    if node.is_primary:
        raise ResourceNotFound("Node is not backup")
    return Response()


def _head_primary(context: Context, node: Node) -> Response:
    if node.is_primary:
        return Response()
    return _redirect(f"https://{_primary_address(context, node)}/node/primary")


def _ready_app(context: Context, node: Node) -> Response:
    ready = _takes_work(node) and node.state == "PartOfNetwork" and node.is_frontend_open("app")
    return Response(204 if ready else 503)


def _ready_gov(context: Context, node: Node) -> Response:
    serving = node.state in ("PartOfNetwork", "PartOfPublicNetwork", "ReadingPrivateLedger")
    return Response(204 if serving and _takes_work(node) and node.is_frontend_open("gov") else 503)


def _takes_work(node: Node) -> bool:
    return not node.stop_notice and node.write_refusal is None


def _quote_self(context: Context, node: Node) -> Response:
    record = find_node(context.tx, node.node_id)
    if record is None:
        raise ResourceNotFound("Could not find node quote.")
    return json_response(_quote(node.node_id, record))


def _quotes(context: Context, node: Node) -> Response:
    return json_response({"quotes": _trusted_quotes(context.tx)})


def _attestations(context: Context, node: Node) -> Response:
    return json_response({"attestations": _trusted_quotes(context.tx)})


def _redirect(location: str) -> Response:
    """308: the request must be repeated at `location` (node-api.md 1.4)."""
    body = {"error": {"code": "NodeCannotHandleRequest", "message": "Another address answers this request."}}
    return json_response(body, 308, {"location": location})


def _primary_address(context: Context, node: Node) -> str:
    """Where the primary has the interface that this request came in on (node-api.md 2.2)."""
    address = node.primary_address(context.request.interface)
    if address is None:
        raise InternalError("Primary unknown, or without an interface of this name.")
    return address


def _described(tx: Tx, node: Node, node_id: NodeId, record: Mapping[str, Any]) -> dict[str, object]:
    return {
        "node_id": node_id,
        "status": record["status"],
        "primary": node_id == node.primary_id,
        "rpc_interfaces": record["rpc_interfaces"],
        "node_data": record.get("node_data"),
        "last_written": tx.version_of_previous_write(NODES_INFO, node_id.encode()) or 0,
    }


def _is_published_at(record: Mapping[str, Any], host: str | None, port: str | None) -> bool:
    if host is None and port is None:
        return True
    addresses = [interface["published_address"].rpartition(":") for interface in record["rpc_interfaces"].values()]
    return any((host is None or h == host) and (port is None or p == port) for h, _, p in addresses)


def _quote(node_id: NodeId, record: Mapping[str, Any]) -> dict[str, object]:
    quote = record["quote_info"]
    described = {
        "node_id": node_id,
        "raw": quote["quote"],
        "endorsements": quote["endorsements"],
        "format": quote["format"],
        "measurement": record.get("code_digest") or _virtual_measurement(quote),
    }
    if quote.get("uvm_endorsements"):
        described["uvm_endorsements"] = quote["uvm_endorsements"]
    return described


def _virtual_measurement(quote: Mapping[str, Any]) -> str:
    return str(load_json(base64.b64decode(quote["quote"]))["measurement"])


def _trusted_quotes(tx: Tx) -> list[dict[str, object]]:
    return [_quote(node_id, record) for node_id, record in nodes_with_status(tx, NodeStatus.TRUSTED).items()]
