"""Disaster recovery as governance sees it: from the first transaction after it to the service open again.

`write_recovery` begins the recovered service, `await_shares` answers the members' proposal to open it, `submit_share`
takes their shares and, at the threshold, hands the old ledger secrets to every node, and `finish` opens the service
once the private state is back (node-api.md 8, ledger-format.md 6.7). Pure: keys, secrets, randomness and time are
arguments.
"""

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any

from dataplane.crypto.aead import IV_SIZE, DecryptionFailed, open_blob, seal_blob
from dataplane.crypto.keys import PrivateKey
from dataplane.crypto.shamir import InvalidShare, Share, combine, decode_share
from dataplane.errors import InternalError, RpcError
from dataplane.governance.nodes import (
    NodeDescription,
    NodeStatus,
    add_node,
    all_nodes,
    trust_virtual_evidence,
    trusted_encryption_keys,
)
from dataplane.governance.rekey import draw_bytes
from dataplane.governance.service import OpeningRefused, ServiceStatus, service_info
from dataplane.governance.shares import LatestSecret, issue_shares, recovery_threshold
from dataplane.kv.tables import (
    COSE_SIGNATURES,
    ENCRYPTED_LEDGER_SECRETS,
    ENCRYPTED_SUBMITTED_SHARES,
    HISTORICAL_ENCRYPTED_LEDGER_SECRET,
    LAST_RECOVERY_TYPE,
    NODES_INFO,
    PREVIOUS_SERVICE_IDENTITY_ENDORSEMENT,
    PREVIOUS_SERVICE_LAST_SIGNED_ROOT,
    RECOVERY_SHARES,
    SERVICE_INFO,
    SERVICE_PREVIOUS_SERVICE_IDENTITY,
    SIGNATURES,
    UNIT_KEY,
    get_json,
    put_json,
)
from dataplane.kv.tx import Tx
from dataplane.ledger.endorsements import self_endorsement, successor_endorsement
from dataplane.ledger.secrets import (
    MalformedSecret,
    historical_secret,
    previous_secret,
    secrets_for_nodes,
    unwind,
    unwrap,
    version_introduced,
)
from dataplane.ledger.signatures import cose_claims, service_signature
from dataplane.txid import MemberId, TxID

SecretHistory = Sequence[tuple[int, Mapping[str, Any]]]
"""(seqno, value) of the writes of the historical table that are known, ascending."""
_FULL_KEY = 0


class RecoveryType(StrEnum):
    """How the ledger secrets came back (ledger-format.md 1.6)."""

    NONE = "None"
    RECOVERY_SHARES = "RECOVERY_SHARES"
    LOCAL_UNSEALING = "LOCAL_UNSEALING"


class NothingToRecover(ValueError):
    """The ledger holds no service that could be recovered."""


class CombinationFailed(Exception):
    """The submitted shares do not open the ledger secret. They are cleared, which must take effect."""


@dataclass(frozen=True, slots=True)
class RecoveredService:
    """What the first transaction of a recovered service adds to what the ledger holds.

    `created` is its transaction id. `virtual_measurement` and `virtual_host_data` (hex digest) are this node's own.
    `unseals`: the node has the newest ledger secret sealed, so that no shares will be needed.
    """

    service_cert_pem: str
    created: TxID
    node: NodeDescription
    node_cert_pem: str
    service_data: object = None
    virtual_measurement: str | None = None
    virtual_host_data: str | None = None
    unseals: bool = False


@dataclass(frozen=True, slots=True)
class Submission:
    """What a member is told of its share. `message` begins with the counters, or says that it was the full key."""

    message: str
    submitted_count: int
    threshold: int
    full_key: bool


def write_recovery(tx: Tx, recovered: RecoveredService) -> None:
    """Fill the first transaction: service Recovering, nodes of old Retired, this node Trusted (ledger-format.md 6.7).

    Raises `NothingToRecover` where the ledger has no service, or nothing that was signed.
    """
    before, signature = get_json(tx, SERVICE_INFO), get_json(tx, SIGNATURES)
    if before is None or signature is None:
        raise NothingToRecover("the ledger holds no signed transaction of a service")
    put_json(tx, SERVICE_PREVIOUS_SERVICE_IDENTITY, before["cert"])
    put_json(tx, PREVIOUS_SERVICE_LAST_SIGNED_ROOT, signature["root"])
    put_json(tx, SERVICE_INFO, _recovered_info(tx, before, recovered))
    put_json(tx, LAST_RECOVERY_TYPE, RecoveryType.LOCAL_UNSEALING if recovered.unseals else RecoveryType.NONE)
    for node_id, record in all_nodes(tx):
        if record["status"] != NodeStatus.RETIRED:
            put_json(tx, NODES_INFO, record | {"status": NodeStatus.RETIRED}, node_id.encode())
    add_node(tx, recovered.node, NodeStatus.TRUSTED, endorsed_certificate_pem=recovered.node_cert_pem)
    if recovered.virtual_measurement is not None and recovered.virtual_host_data is not None:
        trust_virtual_evidence(tx, recovered.virtual_measurement, recovered.virtual_host_data)
    tx.claims_digest = sha256(str(recovered.node.quote_info["quote"]).encode()).digest()


def await_shares(
    tx: Tx,
    previous_identity: str | None,
    next_identity: str,
    *,
    history: SecretHistory,
    unsealed: Callable[[int], bytes | None] | None = None,
) -> None:
    """The members agree to the recovery: wait for their shares, or go on where the node unseals the secret itself.

    Both identities must be the ones in the ledger, character for character (node-api.md 8.2.1). `unsealed` gives the
    sealed secret of a version, None where there is none; without it members' shares are awaited. Raises
    `OpeningRefused`.
    """
    info = service_info(tx)
    stored = get_json(tx, SERVICE_PREVIOUS_SERVICE_IDENTITY)
    if previous_identity is None or stored is None:
        raise OpeningRefused("a recovery takes both the previous and the next service identity")
    if previous_identity != stored:
        raise OpeningRefused(
            f"Previous service identity does not match.\nActual:\n{stored}\nIn proposal:\n{previous_identity}"
        )
    if next_identity != info["cert"]:
        raise OpeningRefused("Service identity does not match: next_service_identity is not this service's certificate")
    tx.clear(ENCRYPTED_SUBMITTED_SHARES)
    put_json(tx, SERVICE_INFO, info | {"status": ServiceStatus.WAITING_FOR_RECOVERY_SHARES})
    if unsealed is None:
        put_json(tx, LAST_RECOVERY_TYPE, RecoveryType.RECOVERY_SHARES)
        return
    key = unsealed(latest_version(history))
    if key is None:
        raise OpeningRefused(f"no sealed ledger secret of version {latest_version(history)} could be unsealed")
    put_json(tx, LAST_RECOVERY_TYPE, RecoveryType.LOCAL_UNSEALING)
    try:
        _hand_out(tx, key, history)
    except (DecryptionFailed, MalformedSecret) as error:
        raise OpeningRefused(f"the unsealed ledger secret does not open the older ones: {error}") from error


def submit_share(
    tx: Tx, member_id: MemberId, share: bytes, *, current: LatestSecret, history: SecretHistory, draw: Callable[[], int]
) -> Submission:
    """Record a member's share, 44 bytes; with enough of them, or a full key, hand out the old ledger secrets.

    Raises `RpcError` 403 `ServiceNotWaitingForRecoveryShares` or `NodeAlreadyRecovering`, `InternalError` for bytes
    that are no share, and `CombinationFailed`.
    """
    _check_awaited(tx)
    try:
        decoded = decode_share(share)
    except InvalidShare as error:
        raise InternalError("Error submitting recovery shares.") from error
    sealed = seal_blob(current.key, draw_bytes(IV_SIZE, draw), share)
    put_json(tx, ENCRYPTED_SUBMITTED_SHARES, b64encode(sealed).decode(), member_id.encode())
    count, threshold = tx.size(ENCRYPTED_SUBMITTED_SHARES), recovery_threshold(tx)
    full_key = decoded.x == _FULL_KEY
    message = (
        "Full recovery key successfully submitted"
        if full_key
        else f"{count}/{threshold} recovery shares successfully submitted"
    )
    if full_key or count >= threshold:
        message += "\nEnd of recovery procedure initiated"
        _initiate(tx, current, history, threshold)
    return Submission(message, count, threshold, full_key)


def finish(
    tx: Tx,
    *,
    current: LatestSecret,
    previous: LatestSecret,
    service_key: PrivateKey,
    draw: Callable[[], int],
    now: datetime,
) -> bool:
    """Open the recovered service, whose private state is complete; False, and nothing written, when it is open already.

    New shares, of the secret in use since the recovery; `previous`, the newest of the old ones, kept under it; the
    endorsement of the previous identity. Raises `SharesNotPossible` where the active members are too few.
    """
    info = service_info(tx)
    if info["status"] != ServiceStatus.WAITING_FOR_RECOVERY_SHARES:
        return False
    tx.clear(ENCRYPTED_SUBMITTED_SHARES)
    issue_shares(tx, current.key, draw)
    kept = previous_secret(
        previous.key,
        previous.version,
        successor=current.key,
        iv=draw_bytes(IV_SIZE, draw),
        stored_version=tx.version_of_previous_write(HISTORICAL_ENCRYPTED_LEDGER_SECRET, UNIT_KEY),
    )
    put_json(tx, HISTORICAL_ENCRYPTED_LEDGER_SECRET, historical_secret(next_version=current.version, previous=kept))
    put_json(tx, SERVICE_INFO, info | {"status": ServiceStatus.OPEN})
    created = TxID.parse(info["current_service_create_txid"])
    put_json(tx, PREVIOUS_SERVICE_IDENTITY_ENDORSEMENT, _endorsement(tx, service_key, created, int(now.timestamp())))
    return True


def last_cose_claims(tx: Tx) -> tuple[str, str]:
    """Issuer and subject that the service's COSE signatures name, empty where it made none: they are carried over."""
    value = tx.get(COSE_SIGNATURES, UNIT_KEY)
    message = None if value is None else service_signature({COSE_SIGNATURES: {UNIT_KEY: value}})
    return ("", "") if message is None else cose_claims(message)


def latest_version(history: SecretHistory) -> int:
    """First seqno of the newest secret that `history` tells of; 1 where it tells of none."""
    return max((version_introduced(seqno, value) for seqno, value in history), default=1)


def secrets_handed_out(tx: Tx) -> bool:
    """Whether this service's nodes have been given the ledger secrets of the one before it."""
    created = TxID.parse(service_info(tx)["current_service_create_txid"])
    return (tx.version_of_previous_write(ENCRYPTED_LEDGER_SECRETS, UNIT_KEY) or 0) >= created.seqno


def _recovered_info(tx: Tx, before: Mapping[str, Any], recovered: RecoveredService) -> dict[str, Any]:
    info: dict[str, Any] = {
        "cert": recovered.service_cert_pem,
        "status": ServiceStatus.RECOVERING,
        "recovery_count": (before.get("recovery_count") or 0) + 1,
        "current_service_create_txid": str(recovered.created),
        "previous_service_identity_version": _written_at(tx, before),
    }
    if recovered.service_data is not None:
        info["service_data"] = recovered.service_data
    return info


def _written_at(tx: Tx, before: Mapping[str, Any]) -> int:
    """A seqno at which the previous service's record was written: where it was created, as far as it says so."""
    created = before.get("current_service_create_txid")
    if created is not None:
        return TxID.parse(created).seqno
    return tx.version_of_previous_write(SERVICE_INFO, UNIT_KEY) or 0


def _check_awaited(tx: Tx) -> None:
    if service_info(tx)["status"] != ServiceStatus.WAITING_FOR_RECOVERY_SHARES:
        raise RpcError(403, "ServiceNotWaitingForRecoveryShares", "Service is not waiting for recovery shares.")
    if secrets_handed_out(tx):
        raise RpcError(403, "NodeAlreadyRecovering", "Node is already recovering private ledger.")


def _initiate(tx: Tx, current: LatestSecret, history: SecretHistory, threshold: int) -> None:
    try:
        limbs = _combined(_submitted(tx, current.key), threshold)
        wrapped = b64decode((get_json(tx, RECOVERY_SHARES) or {})["wrapped_latest_ledger_secret"], validate=True)
        _hand_out(tx, unwrap(wrapped, limbs), history)
    except (InvalidShare, DecryptionFailed, MalformedSecret, KeyError, Base64Error) as error:
        tx.clear(ENCRYPTED_SUBMITTED_SHARES)
        raise CombinationFailed("Failed to initiate private recovery.") from error


def _submitted(tx: Tx, key: bytes) -> list[Share]:
    return [
        decode_share(open_blob(key, b64decode(get_json(tx, ENCRYPTED_SUBMITTED_SHARES, member))))
        for member, _ in tx.items(ENCRYPTED_SUBMITTED_SHARES)
    ]


def _combined(shares: Sequence[Share], threshold: int) -> tuple[int, ...]:
    full = next((share for share in shares if share.x == _FULL_KEY), None)
    return combine(shares, threshold) if full is None else full.limbs


def _hand_out(tx: Tx, latest: bytes, history: SecretHistory) -> None:
    """Every old secret that can be reached from the latest one, encrypted to every trusted node."""
    secrets = unwind(latest, history)
    put_json(tx, ENCRYPTED_LEDGER_SECRETS, secrets_for_nodes(secrets, trusted_encryption_keys(tx)))


def _endorsement(tx: Tx, service_key: PrivateKey, created: TxID, issued_at_s: int) -> dict[str, Any]:
    previous = get_json(tx, PREVIOUS_SERVICE_IDENTITY_ENDORSEMENT)
    if previous is None:  # the service before was opened by a release that wrote none
        return self_endorsement(service_key, created, issued_at_s)
    return successor_endorsement(
        service_key,
        created,
        issued_at_s,
        previous=previous,
        previous_version=tx.version_of_previous_write(PREVIOUS_SERVICE_IDENTITY_ENDORSEMENT, UNIT_KEY) or 0,
        last_signed_root=bytes.fromhex(get_json(tx, PREVIOUS_SERVICE_LAST_SIGNED_ROOT)),
    )
