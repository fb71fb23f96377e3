"""The service's own record: the genesis transaction, and the transaction that opens it (ledger-format.md 7.1, 7.4).

Pure: keys, secrets, randomness and time come from the caller.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from dataplane.config import RecoveryRole
from dataplane.crypto.keys import InvalidKey, PrivateKey, load_rsa_public_key
from dataplane.governance.members import InvalidMember, NewMember, add_member, recovery_role_of
from dataplane.governance.nodes import NodeDescription, NodeStatus, add_node, trust_virtual_evidence
from dataplane.governance.shares import initial_threshold, issue_shares
from dataplane.kv.tables import (
    CONSTITUTION,
    HISTORICAL_ENCRYPTED_LEDGER_SECRET,
    PREVIOUS_SERVICE_IDENTITY_ENDORSEMENT,
    SERVICE_CONFIG,
    SERVICE_INFO,
    get_json,
    put_json,
)
from dataplane.kv.tx import Tx
from dataplane.ledger.endorsements import self_endorsement
from dataplane.ledger.secrets import historical_secret
from dataplane.txid import TxID

GENESIS = TxID(2, 1)
_FIRST_SECRET_VERSION = 1


class ServiceStatus(StrEnum):
    """Where a service stands (node-api.md 8.1)."""

    OPENING = "Opening"
    OPEN = "Open"
    WAITING_FOR_RECOVERY_SHARES = "WaitingForRecoveryShares"
    RECOVERING = "Recovering"


TRANSITIONS: Mapping[ServiceStatus, frozenset[ServiceStatus]] = {
    ServiceStatus.OPENING: frozenset({ServiceStatus.OPEN}),
    ServiceStatus.RECOVERING: frozenset({ServiceStatus.WAITING_FOR_RECOVERY_SHARES}),
    ServiceStatus.WAITING_FOR_RECOVERY_SHARES: frozenset({ServiceStatus.OPEN}),
    ServiceStatus.OPEN: frozenset({ServiceStatus.RECOVERING}),
}


class OpeningRefused(ValueError):
    """The service cannot be opened as asked."""


@dataclass(frozen=True, slots=True)
class Genesis:
    """Everything the first transaction of a service holds.

    `recovery_threshold` 0 stands for all participants. `virtual_measurement` and `virtual_host_data` (hex digest) are
    the first node's own; None on another platform.
    """

    service_cert_pem: str
    members: Sequence[NewMember]
    constitution: str
    node: NodeDescription
    node_cert_pem: str
    recovery_threshold: int = 0
    maximum_node_certificate_validity_days: int = 365
    maximum_service_certificate_validity_days: int = 365
    service_data: object = None
    virtual_measurement: str | None = None
    virtual_host_data: str | None = None
    created: TxID = GENESIS


def write_genesis(tx: Tx, genesis: Genesis) -> None:
    """Fill the first transaction: service Opening, members Accepted, this node Trusted (node-api.md 6.3).

    Raises `InvalidMember` or `SharesNotPossible` for members or a threshold no service could be opened with.
    """
    put_json(tx, SERVICE_INFO, _first_info(genesis))
    put_json(tx, SERVICE_CONFIG, _configuration(genesis))
    put_json(tx, CONSTITUTION, genesis.constitution)
    for member in genesis.members:
        _check_encryption_key(member)
        add_member(tx, member)
    add_node(tx, genesis.node, NodeStatus.TRUSTED, endorsed_certificate_pem=genesis.node_cert_pem)
    if genesis.virtual_measurement is not None and genesis.virtual_host_data is not None:
        trust_virtual_evidence(tx, genesis.virtual_measurement, genesis.virtual_host_data)


def open_service(
    tx: Tx,
    next_identity: str,
    *,
    service_key: PrivateKey,
    ledger_secret: bytes,
    draw: Callable[[], int],
    now: datetime,
) -> None:
    """Open a new service: shares, the first secret's version, the endorsement of its own key, status Open.

    Nothing happens when it is Open already or waits for recovery shares (node-api.md 8.2.1). `next_identity` must be
    the service's certificate, character for character. Raises `OpeningRefused` or `SharesNotPossible`.
    """
    info = service_info(tx)
    status = ServiceStatus(info["status"])
    if status in (ServiceStatus.OPEN, ServiceStatus.WAITING_FOR_RECOVERY_SHARES):
        return
    if next_identity != info["cert"]:
        raise OpeningRefused("Service identity does not match: next_service_identity is not this service's certificate")
    if ServiceStatus.OPEN not in TRANSITIONS[status]:
        raise OpeningRefused(f"a service that is {status} is not opened at once")
    issue_shares(tx, ledger_secret, draw)
    put_json(tx, HISTORICAL_ENCRYPTED_LEDGER_SECRET, historical_secret(next_version=_FIRST_SECRET_VERSION))
    created = TxID.parse(info["current_service_create_txid"])
    endorsement = self_endorsement(service_key, created, int(now.timestamp()))
    put_json(tx, PREVIOUS_SERVICE_IDENTITY_ENDORSEMENT, endorsement)
    put_json(tx, SERVICE_INFO, info | {"status": ServiceStatus.OPEN})


def service_info(tx: Tx) -> dict[str, Any]:
    """The service's record; raises `OpeningRefused` before genesis."""
    info: dict[str, Any] | None = get_json(tx, SERVICE_INFO)
    if info is None:
        raise OpeningRefused("the service has no record yet")
    return info


def is_open(tx: Tx) -> bool:
    """Whether the service is Open."""
    info = get_json(tx, SERVICE_INFO)
    return info is not None and info["status"] == ServiceStatus.OPEN


def _first_info(genesis: Genesis) -> dict[str, Any]:
    info: dict[str, Any] = {
        "cert": genesis.service_cert_pem,
        "status": ServiceStatus.OPENING,
        "recovery_count": 0,
        "current_service_create_txid": str(genesis.created),
    }
    if genesis.service_data is not None:
        info["service_data"] = genesis.service_data
    return info


def _configuration(genesis: Genesis) -> dict[str, Any]:
    roles = [recovery_role_of(m.recovery_role, m.encryption_key_pem) for m in genesis.members]
    threshold = initial_threshold(
        genesis.recovery_threshold, roles.count(RecoveryRole.PARTICIPANT), roles.count(RecoveryRole.OWNER)
    )
    return {
        "recovery_threshold": threshold,
        "maximum_node_certificate_validity_days": genesis.maximum_node_certificate_validity_days,
        "maximum_service_certificate_validity_days": genesis.maximum_service_certificate_validity_days,
    }


def _check_encryption_key(member: NewMember) -> None:
    """A key that cannot encrypt a share would show only when the service is opened."""
    if member.encryption_key_pem is None:
        return
    try:
        load_rsa_public_key(member.encryption_key_pem)
    except InvalidKey as error:
        raise InvalidMember(f"the encryption key of member {member.id} cannot be used: {error}") from error
