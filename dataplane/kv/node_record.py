"""Records of `nodes.info` in one form, whichever release wrote them (ledger-format.md 7.3).

CCF 1.x wrote flat addresses only, 2.x a node-to-node interface that is bound and not published. Nodes of such services
are met when their ledger is recovered, as retired ones.
"""

from collections.abc import Mapping
from typing import Any

from dataplane.kv.tables import load_json

FIRST_RELEASES_INTERFACE = "ccf.default_rpc_interface"
"""What the later releases call the one interface that a node of 1.x had."""


def load_node_record(value: bytes) -> dict[str, Any]:
    """The record, its addresses in `node_to_node_interface` and `rpc_interfaces`, each with a published one."""
    record: dict[str, Any] = load_json(value)
    if "rpc_interfaces" not in record and "rpchost" in record:
        only = {"bind_address": _flat(record, "rpc"), "published_address": _flat(record, "pub")}
        record["rpc_interfaces"] = {FIRST_RELEASES_INTERFACE: only}
    if "node_to_node_interface" in record or "nodehost" in record:
        record["node_to_node_interface"] = _node_to_node(record)
    return record


def node_to_node_address(record: Mapping[str, Any]) -> str:
    """Where other nodes reach the node of a record, of any release."""
    return str(_node_to_node(record)["published_address"])


def _node_to_node(record: Mapping[str, Any]) -> dict[str, Any]:
    interface = dict(record.get("node_to_node_interface") or {"bind_address": _flat(record, "node")})
    if "published_address" not in interface:
        interface["published_address"] = interface["bind_address"]
    return interface


def _flat(record: Mapping[str, Any], kind: str) -> str:
    return f"{record[f'{kind}host']}:{record[f'{kind}port']}"
