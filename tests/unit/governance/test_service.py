"""The genesis transaction and the one that opens the service (ledger-format.md 7.4)."""

from base64 import b64decode
from dataclasses import replace

import pytest

from dataplane.config import RecoveryRole
from dataplane.crypto.cose import decode_sign1, verify_sign1
from dataplane.crypto.keys import spki_der
from dataplane.governance.members import InvalidMember
from dataplane.governance.service import Genesis, OpeningRefused, ServiceStatus, is_open, open_service, write_genesis
from dataplane.governance.shares import TooFewHolders
from dataplane.kv.store import Store
from dataplane.kv.tables import (
    CONSTITUTION,
    HISTORICAL_ENCRYPTED_LEDGER_SECRET,
    MEMBERS_ACKS,
    MEMBERS_CERTS,
    MEMBERS_ENCRYPTION_PUBLIC_KEYS,
    MEMBERS_INFO,
    NODES_ENDORSED_CERTIFICATES,
    NODES_INFO,
    NODES_VIRTUAL_HOST_DATA,
    NODES_VIRTUAL_MEASUREMENTS,
    PREVIOUS_SERVICE_IDENTITY_ENDORSEMENT,
    RECOVERY_SHARES,
    SERVICE_CONFIG,
    SERVICE_INFO,
    UNIT_KEY,
    get_json,
    put_json,
)
from dataplane.kv.tx import Tx
from tests.support.governance import (
    HOST_DATA,
    LEDGER_SECRET,
    MEASUREMENT,
    NOW,
    OPERATOR,
    World,
    describe_node,
    party,
    service_cert,
    service_key,
)

ALICE, BOB = party("alice"), party("bob")
GENESIS = Genesis(
    service_cert_pem=service_cert(),
    members=[ALICE.new_member(), BOB.new_member(), OPERATOR.new_member()],
    constitution="the script",
    node=describe_node("n0", 9100),
    node_cert_pem="node PEM",
    virtual_measurement=MEASUREMENT,
    virtual_host_data=HOST_DATA,
)


def begun(genesis: Genesis = GENESIS) -> Tx:
    tx = Store().begin()
    write_genesis(tx, genesis)
    return tx


def opened(tx: Tx, identity: str | None = None) -> None:
    open_service(
        tx,
        service_cert() if identity is None else identity,
        service_key=service_key(),
        ledger_secret=LEDGER_SECRET,
        draw=lambda: 12345,
        now=NOW,
    )


def activate_all(tx: Tx) -> None:
    for key, _ in tx.items(MEMBERS_INFO):
        put_json(tx, MEMBERS_INFO, get_json(tx, MEMBERS_INFO, key) | {"status": "Active"}, key)


def test_genesis_writes_these_tables_and_no_other() -> None:
    tx = begun()
    assert set(tx.writes) == {
        CONSTITUTION,
        MEMBERS_CERTS,
        MEMBERS_INFO,
        MEMBERS_ACKS,
        MEMBERS_ENCRYPTION_PUBLIC_KEYS,
        NODES_INFO,
        NODES_ENDORSED_CERTIFICATES,
        SERVICE_CONFIG,
        SERVICE_INFO,
        NODES_VIRTUAL_MEASUREMENTS,
        NODES_VIRTUAL_HOST_DATA,
    }


def test_genesis_values() -> None:
    tx = begun()
    assert get_json(tx, SERVICE_INFO) == {
        "cert": service_cert(),
        "status": "Opening",
        "recovery_count": 0,
        "current_service_create_txid": "2.1",
    }
    assert tx.get(SERVICE_CONFIG, UNIT_KEY) == (
        b'{"maximum_node_certificate_validity_days":365,"maximum_service_certificate_validity_days":365,'
        b'"recovery_threshold":2}'
    )
    assert tx.get(CONSTITUTION, UNIT_KEY) == b'"the script"'
    assert get_json(tx, NODES_INFO, GENESIS.node.id.encode())["status"] == "Trusted"
    assert tx.get(NODES_ENDORSED_CERTIFICATES, GENESIS.node.id.encode()) == b"node PEM"
    assert get_json(tx, MEMBERS_INFO, OPERATOR.id.encode())["status"] == "Accepted"
    assert not tx.has(MEMBERS_ENCRYPTION_PUBLIC_KEYS, OPERATOR.id.encode())
    assert tx.claims_digest is None  # as the original's JavaScript application: receipts of genesis show zeros


def test_genesis_options() -> None:
    genesis = replace(
        GENESIS,
        recovery_threshold=1,
        service_data={"name": "acme"},
        maximum_node_certificate_validity_days=10,
        maximum_service_certificate_validity_days=20,
        virtual_measurement=None,
        virtual_host_data=None,
    )
    tx = begun(genesis)
    assert get_json(tx, SERVICE_INFO)["service_data"] == {"name": "acme"}
    assert get_json(tx, SERVICE_CONFIG) == {
        "maximum_node_certificate_validity_days": 10,
        "maximum_service_certificate_validity_days": 20,
        "recovery_threshold": 1,
    }
    assert NODES_VIRTUAL_MEASUREMENTS not in tx.writes


def test_genesis_with_a_threshold_nobody_could_meet() -> None:
    with pytest.raises(TooFewHolders):
        begun(replace(GENESIS, recovery_threshold=3))


def test_genesis_with_an_encryption_key_that_is_none() -> None:
    member = replace(ALICE.new_member(), encryption_key_pem="-----BEGIN PUBLIC KEY-----\nnonsense\n")
    with pytest.raises(InvalidMember, match=ALICE.id):
        begun(replace(GENESIS, members=[member]))


def test_genesis_with_owners_only() -> None:
    owner = party("owner", role=RecoveryRole.OWNER)
    tx = begun(replace(GENESIS, members=[owner.new_member()]))
    assert get_json(tx, SERVICE_CONFIG)["recovery_threshold"] == 1


def test_opening() -> None:
    tx = begun()
    activate_all(tx)
    assert not is_open(tx)
    opened(tx)
    assert is_open(tx)
    assert get_json(tx, SERVICE_INFO)["status"] == "Open"
    assert get_json(tx, SERVICE_INFO)["cert"] == service_cert()
    assert tx.get(HISTORICAL_ENCRYPTED_LEDGER_SECRET, UNIT_KEY) == b'{"next_version":1}'
    assert set(get_json(tx, RECOVERY_SHARES)["encrypted_shares"]) == {ALICE.id, BOB.id}


def test_opening_endorses_its_own_key() -> None:
    tx = begun()
    activate_all(tx)
    opened(tx)
    value = get_json(tx, PREVIOUS_SERVICE_IDENTITY_ENDORSEMENT)
    assert set(value) == {"endorsement", "endorsement_epoch_begin", "endorsing_key"}
    message = decode_sign1(b64decode(value["endorsement"]))
    own_key = service_key().public_key()
    assert verify_sign1(message, own_key)
    assert message.payload == spki_der(own_key) == b64decode(value["endorsing_key"])
    assert message.protected["ccf.v1"] == {"epoch.start.txid": "2.1"}
    assert message.protected[15] == {6: int(NOW.timestamp())}


@pytest.mark.parametrize("identity", ["", service_cert().strip(), service_cert() + "\n"])
def test_opening_with_another_identity_is_refused(identity: str) -> None:
    tx = begun()
    activate_all(tx)
    with pytest.raises(OpeningRefused, match="Service identity does not match"):
        opened(tx, identity)
    assert RECOVERY_SHARES not in tx.writes


def test_opening_with_too_few_active_members_writes_nothing() -> None:
    tx = begun()
    with pytest.raises(TooFewHolders):
        opened(tx)
    assert get_json(tx, SERVICE_INFO)["status"] == "Opening"
    assert RECOVERY_SHARES not in tx.writes


@pytest.mark.parametrize("status", [ServiceStatus.OPEN, ServiceStatus.WAITING_FOR_RECOVERY_SHARES])
def test_opening_once_more_does_nothing(status: ServiceStatus) -> None:
    tx = begun()
    put_json(tx, SERVICE_INFO, get_json(tx, SERVICE_INFO) | {"status": status})
    opened(tx, "not even looked at")
    assert get_json(tx, SERVICE_INFO)["status"] == status
    assert RECOVERY_SHARES not in tx.writes


def test_a_recovering_service_is_not_opened_like_a_new_one() -> None:
    tx = begun()
    activate_all(tx)
    put_json(tx, SERVICE_INFO, get_json(tx, SERVICE_INFO) | {"status": "Recovering"})
    with pytest.raises(OpeningRefused, match="Recovering"):
        opened(tx)


def test_opening_before_genesis() -> None:
    with pytest.raises(OpeningRefused):
        opened(Store().begin())


def test_world_of_these_tests_is_a_service_after_genesis() -> None:
    world = World([ALICE, BOB, OPERATOR])
    assert world.read(SERVICE_INFO) == get_json(begun(), SERVICE_INFO)
