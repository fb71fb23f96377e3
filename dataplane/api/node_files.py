"""Snapshots and ledger chunks, for operators, auditors and joining nodes (node-api.md 2.2.1, 2.2.2)."""

import hashlib
from collections.abc import Mapping
from typing import Any, Protocol

from dataplane.api.ranges import SNAPSHOT_RANGES, RangeRule, file_response
from dataplane.apps.endpoint import Context, Endpoint, Forwarding, Response, json_response, query_values
from dataplane.errors import InternalError, InvalidQueryParameterValue, ResourceNotFound
from dataplane.governance.nodes import NodeStatus, find_node, nodes_with_status
from dataplane.ledger.chunk import parse_name
from dataplane.ledger.files import LedgerFiles
from dataplane.ledger.snapshot_files import SnapshotFiles
from dataplane.txid import NodeId

_ETAG_DIGESTS = ("sha256", "sha384", "sha512")


class Place(Protocol):
    """Where a node is in its service."""

    @property
    def node_id(self) -> NodeId: ...
    @property
    def is_primary(self) -> bool: ...
    @property
    def primary_id(self) -> NodeId | None: ...
    @property
    def rpc_interfaces(self) -> Mapping[str, Any]: ...


def endpoints(
    node: Place, ledger: LedgerFiles, snapshots: SnapshotFiles, snapshot_ranges: RangeRule = SNAPSHOT_RANGES
) -> list[Endpoint]:
    """The endpoints over this node's files."""

    def find_snapshot(context: Context) -> Response:
        since = _seqno(context, 0)
        if not node.is_primary and node.primary_id is not None:
            return _elsewhere(context, node, node.primary_id)
        name = snapshots.newest(since)
        if name is None:
            raise ResourceNotFound(f"This node has no committed snapshots since {since}.")
        return _redirect(f"https://{_address(context, node, node.node_id)}/node/snapshot/{name}")

    def get_snapshot(context: Context) -> Response:
        name = context.request.params["snapshot_name"]
        path = snapshots.path_of(name)
        if path is None:
            raise ResourceNotFound(f"This node does not have a snapshot named {name}.")
        return file_response(context.request, path, snapshot_ranges, {"x-ms-ccf-snapshot-name": name})

    def find_chunk(context: Context) -> Response:
        seqno = _seqno(context, None)
        path = ledger.committed_chunk_with(seqno)
        if path is not None:
            return _redirect(f"/node/ledger-chunk/{path.name}")
        if seqno < ledger.first_seqno:
            return _elsewhere(context, node, _next_node(context, node))
        if not node.is_primary and node.primary_id is not None:
            return _elsewhere(context, node, node.primary_id)
        raise ResourceNotFound(f"This node has no committed ledger chunk including seqno {seqno}.")

    def get_chunk(context: Context) -> Response:
        name = context.request.params["chunk_name"]
        parsed = parse_name(name)
        path = None if parsed is None or not parsed.committed else ledger.committed_chunk(parsed)
        if path is None:
            raise ResourceNotFound(f"This node does not have a ledger chunk named {name}.")
        answer = file_response(context.request, path, RangeRule.RFC_9110, {"x-ms-ccf-ledger-chunk-name": name})
        return _with_etag(context, answer)

    runs = (
        ("/snapshot", find_snapshot),
        ("/snapshot/{snapshot_name}", get_snapshot),
        ("/ledger-chunk", find_chunk),
        ("/ledger-chunk/{chunk_name}", get_chunk),
    )
    return [
        Endpoint(verb, path, run, forwarding=Forwarding.NEVER, hidden=True)
        for path, run in runs
        for verb in ("GET", "HEAD")
    ]


def _seqno(context: Context, default: int | None) -> int:
    text = query_values(context.request.query).get("since")
    if text is None and default is not None:
        return default
    if text is None:
        raise InvalidQueryParameterValue("Missing required query parameter 'since'")
    if not (text.isascii() and text.isdecimal()):
        raise InvalidQueryParameterValue(f"Unable to parse value '{text}' of query parameter 'since'")
    return int(text)


def _elsewhere(context: Context, node: Place, node_id: NodeId) -> Response:
    """The same path and query at another node's interface of the same name."""
    return _redirect(f"https://{_address(context, node, node_id)}{context.request.url}")


def _next_node(context: Context, node: Place) -> NodeId:
    """The node after this one in the order of ids: whoever follows these answers asks all of them in turn."""
    others = [node_id for node_id in nodes_with_status(context.tx, NodeStatus.TRUSTED) if node_id != node.node_id]
    if not others:
        raise ResourceNotFound("No node has a ledger that begins this early.")
    return min((node_id for node_id in others if node_id > node.node_id), default=min(others))


def _address(context: Context, node: Place, node_id: NodeId) -> str:
    record = find_node(context.tx, node_id)
    if node_id == node.node_id:
        interfaces = node.rpc_interfaces  # known before the service knows this node
    elif record is not None:
        interfaces = record["rpc_interfaces"]
    else:
        raise InternalError(f"Node {node_id} is unknown.")
    name = context.request.interface or min(interfaces)
    if name not in interfaces:
        raise InternalError(f"Node {node_id} has no interface named {name}.")
    return str(interfaces[name]["published_address"])


def _redirect(location: str) -> Response:
    body = {"error": {"code": "NodeCannotHandleRequest", "message": "Another address answers this request."}}
    return json_response(body, 308, {"location": location})


def _with_etag(context: Context, answer: Response) -> Response:
    """Tag what is sent; 304 where the client has it already (RFC 9110 13.1.2)."""
    if context.request.method == "HEAD":
        return answer
    tags = [f'"sha-{name[3:]}:{hashlib.new(name, answer.body).hexdigest()}"' for name in _wanted_digests(context)]
    answer.headers["etag"] = tags[0]
    known = context.request.headers.get("if-none-match", "")
    listed = {part.strip().removeprefix("W/") for part in known.split(",")}
    if known.strip() == "*" or not listed.isdisjoint(tags):
        return Response(304, b"", answer.headers)
    return answer


def _wanted_digests(context: Context) -> tuple[str, ...]:
    return _ETAG_DIGESTS if "if-none-match" in context.request.headers else _ETAG_DIGESTS[:1]
