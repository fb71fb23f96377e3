"""Records of nodes over their life (node-api.md 6.4, 6.5; ledger-format.md 7.3)."""

from dataclasses import replace

import pytest

from dataplane.errors import CcfError, ResourceNotFound
from dataplane.governance.nodes import (
    TRANSITIONS,
    IllegalTransition,
    NodeStatus,
    add_node,
    all_nodes,
    endorsed_certificate,
    find_node,
    nodes_with_status,
    record_retired_committed,
    remove_retired,
    retire,
    trust_virtual_evidence,
    uncompleted_retirements,
)
from dataplane.kv.store import Store
from dataplane.kv.tables import NODES_INFO, NODES_VIRTUAL_HOST_DATA, NODES_VIRTUAL_MEASUREMENTS
from dataplane.kv.tx import Tx
from tests.support.governance import MEASUREMENT, describe_node

N0, N1 = describe_node("n0", 9100), describe_node("n1", 9200)


@pytest.fixture
def tx() -> Tx:
    return Store().begin()


def test_record_of_the_first_node(tx: Tx) -> None:
    add_node(tx, N0, NodeStatus.TRUSTED, endorsed_certificate_pem="PEM")
    record = find_node(tx, N0.id)
    assert record == {
        "node_to_node_interface": {"bind_address": "127.0.0.1:9100", "published_address": "127.0.0.1:9100"},
        "rpc_interfaces": {"main": {"bind_address": "127.0.0.1:9101", "published_address": "n9100:9101"}},
        "quote_info": N0.quote_info,
        "code_digest": MEASUREMENT.encode().hex(),
        "public_key": N0.public_key_pem,
        "encryption_pub_key": N0.encryption_public_key_pem,
        "certificate_signing_request": N0.csr_pem,
        "nodehost": "127.0.0.1",
        "nodeport": "9100",
        "rpchost": "127.0.0.1",
        "rpcport": "9101",
        "pubhost": "n9100",
        "pubport": "9101",
        "status": "Trusted",
    }
    assert endorsed_certificate(tx, N0.id) == "PEM"


def test_optional_fields(tx: Tx) -> None:
    add_node(tx, replace(N0, csr_pem=None, data={"zone": 1}), NodeStatus.PENDING)
    record = find_node(tx, N0.id)
    assert record is not None
    assert record["node_data"] == {"zone": 1}
    assert "certificate_signing_request" not in record
    assert "ledger_secret_seqno" not in record
    assert endorsed_certificate(tx, N0.id) is None


def test_secret_version_of_a_node_trusted_by_another(tx: Tx) -> None:
    add_node(tx, N0, NodeStatus.TRUSTED, ledger_secret_seqno=1)
    record = find_node(tx, N0.id)
    assert record is not None
    assert record["ledger_secret_seqno"] == 1


def test_flat_addresses_come_from_the_first_interface_by_name(tx: Tx) -> None:
    interfaces = {
        "zz": {"bind_address": "[::1]:1"},
        "aa": {"bind_address": "[::1]:2", "published_address": "name:3"},
    }
    add_node(tx, replace(N0, rpc_interfaces=interfaces), NodeStatus.PENDING)
    record = find_node(tx, N0.id)
    assert record is not None
    assert [record[name] for name in ("rpchost", "rpcport", "pubhost", "pubport")] == ["[::1]", "2", "name", "3"]


def test_the_address_of_a_living_node_is_taken(tx: Tx) -> None:
    add_node(tx, N0, NodeStatus.TRUSTED)
    twin = replace(N1, node_to_node_interface=N0.node_to_node_interface)
    with pytest.raises(CcfError) as caught:
        add_node(tx, twin, NodeStatus.PENDING)
    assert (caught.value.status, caught.value.code) == (400, "NodeAlreadyExists")
    assert find_node(tx, N1.id) is None
    retire(tx, N0.id)
    add_node(tx, twin, NodeStatus.PENDING)


def test_a_retired_node_does_not_come_back(tx: Tx) -> None:
    add_node(tx, N0, NodeStatus.TRUSTED)
    retire(tx, N0.id)
    with pytest.raises(CcfError) as caught:
        add_node(tx, N0, NodeStatus.PENDING)
    assert (caught.value.status, caught.value.code) == (400, "InvalidNodeState")
    assert list(nodes_with_status(tx, NodeStatus.RETIRED)) == [N0.id]


def test_retirement_to_the_end(tx: Tx) -> None:
    add_node(tx, N0, NodeStatus.TRUSTED, endorsed_certificate_pem="PEM")
    assert record_retired_committed(tx, N0.id) is False
    retire(tx, N0.id)
    assert uncompleted_retirements(tx) == [N0.id]
    with pytest.raises(CcfError) as caught:
        remove_retired(tx, tx, N0.id)
    assert (caught.value.status, caught.value.code) == (400, "NodeNotRetiredCommitted")
    assert record_retired_committed(tx, N0.id) is True
    assert record_retired_committed(tx, N0.id) is False
    assert uncompleted_retirements(tx) == []
    record = find_node(tx, N0.id)
    assert record is not None
    assert record["retired_committed"] is True
    with pytest.raises(CcfError) as caught:
        remove_retired(tx, Store().begin(), N0.id)
    assert caught.value.code == "NodeNotRetiredCommitted", "recorded, but the record is not committed"
    assert find_node(tx, N0.id) is not None
    remove_retired(tx, tx, N0.id)
    assert all_nodes(tx) == []
    assert endorsed_certificate(tx, N0.id) is None
    assert tx.writes[NODES_INFO] == {N0.id.encode(): None}


def test_nothing_to_record_for_an_unknown_node(tx: Tx) -> None:
    assert record_retired_committed(tx, N0.id) is False
    with pytest.raises(ResourceNotFound):
        retire(tx, N0.id)
    with pytest.raises(ResourceNotFound):
        remove_retired(tx, tx, N0.id)
    assert tx.writes == {}


@pytest.mark.parametrize("status", list(NodeStatus))
def test_only_trusted_nodes_retire(tx: Tx, status: NodeStatus) -> None:
    add_node(tx, N0, status)
    if NodeStatus.RETIRED in TRANSITIONS[status]:
        retire(tx, N0.id)
        assert list(nodes_with_status(tx, NodeStatus.RETIRED)) == [N0.id]
    else:
        with pytest.raises(IllegalTransition):
            retire(tx, N0.id)


def test_trusted_evidence(tx: Tx) -> None:
    trust_virtual_evidence(tx, "some text", "ab" * 32)
    assert tx.get(NODES_VIRTUAL_MEASUREMENTS, b"some text") == b'"AllowedToJoin"'
    assert tx.get(NODES_VIRTUAL_HOST_DATA, b"ab" * 32) == bytes(8)
