"""Node records of every release (ledger-format.md 7.3): shapes as the published ledgers of old services have them."""

from typing import Any

from dataplane.kv.node_record import load_node_record, node_to_node_address
from dataplane.kv.tables import dump_json

FLAT = {"nodehost": "127.33.115.103", "nodeport": "40561", "rpchost": "127.33.115.103", "rpcport": "39529"}


def read(**record: Any) -> dict[str, Any]:
    return load_node_record(dump_json(record))


def test_ccf_1_wrote_flat_addresses_only() -> None:
    record = read(**FLAT, pubhost="example.com", pubport="443", status="Trusted")
    assert record["node_to_node_interface"]["published_address"] == "127.33.115.103:40561"
    assert record["rpc_interfaces"] == {
        "ccf.default_rpc_interface": {"bind_address": "127.33.115.103:39529", "published_address": "example.com:443"}
    }
    assert record["status"] == "Trusted"


def test_ccf_2_published_no_node_to_node_address() -> None:
    rpc = {
        "primary": {"bind_address": "127.0.0.1:1", "published_address": "example.com:443", "max_open_sessions_soft": 9}
    }
    record = read(**FLAT, node_to_node_interface={"bind_address": "127.231.115.86:42071"}, rpc_interfaces=rpc)
    assert node_to_node_address(record) == "127.231.115.86:42071"
    assert record["node_to_node_interface"]["published_address"] == "127.231.115.86:42071"
    assert record["rpc_interfaces"] == rpc


def test_a_present_record_is_left_as_it_is() -> None:
    present = {
        "node_to_node_interface": {"bind_address": "0.0.0.0:1", "published_address": "example.com:1"},
        "rpc_interfaces": {
            "a": {"bind_address": "0.0.0.0:2", "published_address": "example.com:2"},
            "b": {"bind_address": "0.0.0.0:3", "published_address": "example.com:3"},
        },
        "status": "Retired",
        "retired_committed": True,
    }
    assert read(**present) == present
