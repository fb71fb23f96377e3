"""The life of a node's record: Pending or Trusted when it joins, Retired, then gone (node-api.md 6.4, 6.5).

Pure writes and lookups on `nodes.info` and `nodes.endorsed_certificates` (ledger-format.md 7.3). Trusting and retiring
by proposal is the constitution's work; what is here happens when a node is created, joins, or has retired.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from dataplane.crypto.keys import RsaPublicKey, load_rsa_public_key
from dataplane.errors import ResourceNotFound, RpcError
from dataplane.kv.node_record import load_node_record
from dataplane.kv.tables import (
    NODES_ENDORSED_CERTIFICATES,
    NODES_INFO,
    NODES_VIRTUAL_HOST_DATA,
    NODES_VIRTUAL_MEASUREMENTS,
    SET_VALUE,
    put_json,
)
from dataplane.kv.tx import Tx
from dataplane.txid import NodeId

ALLOWED_TO_JOIN = "AllowedToJoin"


class NodeStatus(StrEnum):
    """Where a node stands. A Pending node that is removed leaves no record."""

    PENDING = "Pending"
    TRUSTED = "Trusted"
    RETIRED = "Retired"


TRANSITIONS: Mapping[NodeStatus, frozenset[NodeStatus]] = {
    NodeStatus.PENDING: frozenset({NodeStatus.TRUSTED}),
    NodeStatus.TRUSTED: frozenset({NodeStatus.RETIRED}),
    NodeStatus.RETIRED: frozenset(),
}


class IllegalTransition(ValueError):
    """A node cannot go from the one status to the other."""


@dataclass(frozen=True, slots=True)
class NodeDescription:
    """What a node says of itself when it is created or joins.

    `node_to_node_interface` holds `bind_address` and `published_address` (`host:port`), `rpc_interfaces` the interface
    objects as configured with ports resolved, `quote_info` the evidence in its JSON form. `measurement` is the one the
    evidence claims (bytes; for `virtual` the UTF-8 text). Keys and the signing request are PEM.
    """

    id: NodeId
    node_to_node_interface: Mapping[str, str]
    rpc_interfaces: Mapping[str, Mapping[str, object]]
    quote_info: Mapping[str, object]
    measurement: bytes
    public_key_pem: str
    encryption_public_key_pem: str
    csr_pem: str | None = None
    data: object = None


def add_node(
    tx: Tx,
    node: NodeDescription,
    status: NodeStatus,
    *,
    ledger_secret_seqno: int | None = None,
    endorsed_certificate_pem: str | None = None,
) -> None:
    """Write the record of a new node, and its endorsed certificate where it is trusted at once.

    `ledger_secret_seqno` is the version of the ledger secret the node is given; absent for the first node and while
    Pending. Raises `RpcError` 400 `NodeAlreadyExists` or `InvalidNodeState` where the record may not be written.
    """
    check_can_join(tx, node)
    record = _record(node) | {"status": status}
    if ledger_secret_seqno is not None:
        record["ledger_secret_seqno"] = ledger_secret_seqno
    put_json(tx, NODES_INFO, record, node.id.encode())
    if endorsed_certificate_pem is not None:
        tx.put(NODES_ENDORSED_CERTIFICATES, node.id.encode(), endorsed_certificate_pem.encode())


def check_can_join(tx: Tx, node: NodeDescription) -> None:
    """Refuse a retired id, and an address that another node that has not retired is published at (node-api.md 6.4)."""
    for other_id, record in all_nodes(tx):
        if other_id == node.id and record["status"] == NodeStatus.RETIRED:
            raise RpcError(400, "InvalidNodeState", f"Joining node {node.id} is already retired")
        if other_id != node.id and record["status"] != NodeStatus.RETIRED and _same_address(record, node):
            address = node.node_to_node_interface["published_address"]
            raise RpcError(
                400, "NodeAlreadyExists", f"A node with the same published address {address} already exists: {other_id}"
            )


def find_node(tx: Tx, node_id: NodeId) -> dict[str, Any] | None:
    """The record of a node, or None."""
    value = tx.get(NODES_INFO, node_id.encode())
    return None if value is None else load_node_record(value)


def all_nodes(tx: Tx) -> list[tuple[NodeId, dict[str, Any]]]:
    """Every node's id and record, by id."""
    return [(key.decode(), load_node_record(value)) for key, value in tx.items(NODES_INFO)]


def nodes_with_status(tx: Tx, status: NodeStatus) -> dict[NodeId, dict[str, Any]]:
    """Records of the nodes in this status, by id."""
    return {node_id: record for node_id, record in all_nodes(tx) if record["status"] == status}


def trusted_encryption_keys(tx: Tx) -> dict[NodeId, RsaPublicKey]:
    """Encryption keys of the Trusted nodes, by id. Raises `InvalidKey` for one that cannot encrypt."""
    trusted = nodes_with_status(tx, NodeStatus.TRUSTED)
    return {node_id: load_rsa_public_key(record["encryption_pub_key"]) for node_id, record in trusted.items()}


def endorsed_certificate(tx: Tx, node_id: NodeId) -> str | None:
    """The certificate (PEM) the service gave a node, or None."""
    pem = tx.get(NODES_ENDORSED_CERTIFICATES, node_id.encode())
    return None if pem is None else pem.decode()


def retire(tx: Tx, node_id: NodeId) -> None:
    """Mark a Trusted node Retired; raises `ResourceNotFound` or `IllegalTransition`."""
    record = _existing(tx, node_id)
    if NodeStatus.RETIRED not in TRANSITIONS[NodeStatus(record["status"])]:
        raise IllegalTransition(f"node {node_id} is {record['status']} and cannot retire")
    put_json(tx, NODES_INFO, record | {"status": NodeStatus.RETIRED}, node_id.encode())


def uncompleted_retirements(tx: Tx) -> list[NodeId]:
    """Retired nodes whose retirement is not recorded as committed, by id."""
    return [
        node_id
        for node_id, record in nodes_with_status(tx, NodeStatus.RETIRED).items()
        if not record.get("retired_committed")
    ]


def record_retired_committed(tx: Tx, node_id: NodeId) -> bool:
    """Record that a node's retirement has committed; False, and nothing written, where there is nothing to record."""
    record = find_node(tx, node_id)
    if record is None or record["status"] != NodeStatus.RETIRED or record.get("retired_committed"):
        return False
    put_json(tx, NODES_INFO, record | {"retired_committed": True}, node_id.encode())
    return True


def remove_retired(tx: Tx, committed: Tx, node_id: NodeId) -> None:
    """Delete the record and certificate of a node whose retirement has committed.

    `committed` reads the committed state: the record that says so must itself be committed, else a later primary might
    still need the node. Raises `ResourceNotFound`, or `RpcError` 400 `NodeNotRetiredCommitted`.
    """
    _existing(tx, node_id)
    record = find_node(committed, node_id)
    if record is None or record["status"] != NodeStatus.RETIRED or not record.get("retired_committed"):
        raise RpcError(400, "NodeNotRetiredCommitted", f"Node {node_id} is not completely retired")
    tx.remove(NODES_INFO, node_id.encode())
    tx.remove(NODES_ENDORSED_CERTIFICATES, node_id.encode())


def trust_virtual_evidence(tx: Tx, measurement: str, host_data: str) -> None:
    """Let nodes with this simulated measurement (text) and host data (hex digest) join."""
    put_json(tx, NODES_VIRTUAL_MEASUREMENTS, ALLOWED_TO_JOIN, measurement.encode())
    tx.put(NODES_VIRTUAL_HOST_DATA, host_data.encode(), SET_VALUE)


def _record(node: NodeDescription) -> dict[str, Any]:
    record: dict[str, Any] = {
        "node_to_node_interface": dict(node.node_to_node_interface),
        "rpc_interfaces": {name: dict(interface) for name, interface in node.rpc_interfaces.items()},
        "quote_info": dict(node.quote_info),
        "code_digest": node.measurement.hex(),
        "public_key": node.public_key_pem,
        "encryption_pub_key": node.encryption_public_key_pem,
        **_flat_addresses(node),
    }
    if node.csr_pem is not None:
        record["certificate_signing_request"] = node.csr_pem
    if node.data is not None:
        record["node_data"] = node.data
    return record


def _flat_addresses(node: NodeDescription) -> dict[str, str]:
    """The addresses once more, as readers of the first releases look for them (ledger-format.md 7.3)."""
    nodehost, nodeport = _split(node.node_to_node_interface["bind_address"])
    flat = {"nodehost": nodehost, "nodeport": nodeport}
    if not node.rpc_interfaces:
        return flat | dict.fromkeys(("rpchost", "rpcport", "pubhost", "pubport"), "")
    first = node.rpc_interfaces[min(node.rpc_interfaces)]
    rpchost, rpcport = _split(str(first["bind_address"]))
    pubhost, pubport = _split(str(first.get("published_address", first["bind_address"])))
    return flat | {"rpchost": rpchost, "rpcport": rpcport, "pubhost": pubhost, "pubport": pubport}


def _split(address: str) -> tuple[str, str]:
    host, _, port = address.rpartition(":")
    return host, port


def _same_address(record: Mapping[str, Any], node: NodeDescription) -> bool:
    return bool(
        record["node_to_node_interface"]["published_address"] == node.node_to_node_interface["published_address"]
    )


def _existing(tx: Tx, node_id: NodeId) -> dict[str, Any]:
    record = find_node(tx, node_id)
    if record is None:
        raise ResourceNotFound(f"Node {node_id} not found.")
    return record
