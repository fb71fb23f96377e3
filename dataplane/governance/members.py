"""Members: their records, and how one becomes Active by acknowledging the state (node-api.md 4.2).

Pure. A member is Accepted when added and Active once it has signed the root of a recent signature transaction.
Removal deletes its records; there is no third state.
"""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from dataplane.config import RecoveryRole
from dataplane.crypto.keys import cert_id
from dataplane.errors import AuthorizationFailed, InternalError, RpcError
from dataplane.kv.tables import (
    MEMBERS_ACKS,
    MEMBERS_CERTS,
    MEMBERS_ENCRYPTION_PUBLIC_KEYS,
    MEMBERS_INFO,
    SIGNATURES,
    get_json,
    load_json,
    put_json,
)
from dataplane.kv.tx import Tx
from dataplane.txid import MemberId


class MemberStatus(StrEnum):
    """Where a member stands."""

    ACCEPTED = "Accepted"
    ACTIVE = "Active"


@dataclass(frozen=True, slots=True)
class NewMember:
    """A member to be. `cert_pem` and `encryption_key_pem` are stored as they are, byte for byte."""

    cert_pem: str
    encryption_key_pem: str | None = None
    data: object = None
    recovery_role: RecoveryRole | None = None

    @property
    def id(self) -> MemberId:
        return cert_id(self.cert_pem)


@dataclass(frozen=True, slots=True)
class Member:
    """A stored member. `recovery_role` is what it does in effect, the default included."""

    id: MemberId
    status: MemberStatus
    cert_pem: str
    encryption_key_pem: str | None
    data: object
    recovery_role: RecoveryRole


class InvalidMember(ValueError):
    """A member's description contradicts itself."""


def add_member(tx: Tx, member: NewMember) -> None:
    """Write a member as the genesis transaction does: Accepted, nothing acknowledged. Raises `InvalidMember`."""
    if member.recovery_role is not None and member.encryption_key_pem is None:
        raise InvalidMember(f"member {member.id} has a recovery role but no encryption key")
    key = member.id.encode()
    info: dict[str, object] = {"status": MemberStatus.ACCEPTED}
    if member.data is not None:
        info["member_data"] = member.data
    if member.recovery_role is not None:
        info["recovery_role"] = member.recovery_role
    tx.put(MEMBERS_CERTS, key, member.cert_pem.encode())
    if member.encryption_key_pem is not None:
        tx.put(MEMBERS_ENCRYPTION_PUBLIC_KEYS, key, member.encryption_key_pem.encode())
    put_json(tx, MEMBERS_INFO, info, key)
    put_json(tx, MEMBERS_ACKS, {"state_digest": ""}, key)


def find_member(tx: Tx, member_id: MemberId) -> Member | None:
    """The member of this id, or None."""
    info = get_json(tx, MEMBERS_INFO, member_id.encode())
    return None if info is None else _member(tx, member_id, info)


def all_members(tx: Tx) -> list[Member]:
    """Every member, by id."""
    return [_member(tx, key.decode(), load_json(value)) for key, value in tx.items(MEMBERS_INFO)]


def state_digest(tx: Tx, member_id: MemberId) -> str | None:
    """The digest a member is asked to acknowledge (hex, empty at genesis), None for an unknown member."""
    ack = get_json(tx, MEMBERS_ACKS, member_id.encode())
    return None if ack is None else str(ack["state_digest"])


def update_state_digest(tx: Tx, member_id: MemberId) -> str:
    """Put the root of the latest signature transaction into the member's ack record, and return it.

    The signed request of an earlier ack stays. Raises `InternalError` before the first signature transaction.
    """
    signature = get_json(tx, SIGNATURES)
    if signature is None:
        raise InternalError("Service has no signatures to ack yet - try again soon.")
    ack = get_json(tx, MEMBERS_ACKS, member_id.encode()) or {}
    put_json(tx, MEMBERS_ACKS, {**ack, "state_digest": signature["root"]}, member_id.encode())
    return str(signature["root"])


def acknowledge(tx: Tx, member_id: MemberId, digest: str, envelope: bytes) -> bool:
    """Make a member Active, keeping its signed ack. True when it was not Active before.

    Raises `AuthorizationFailed` without an ack record, `RpcError` 400 `StateDigestMismatch` for another digest.
    """
    key = member_id.encode()
    ack = get_json(tx, MEMBERS_ACKS, key)
    info = get_json(tx, MEMBERS_INFO, key)
    if ack is None or info is None:
        raise AuthorizationFailed(f"No ACK record exists for caller {member_id}.")
    if not digest or digest != ack["state_digest"]:
        raise RpcError(400, "StateDigestMismatch", "Submitted state digest is not valid.")
    put_json(tx, MEMBERS_ACKS, {"state_digest": digest, "cose_sign1_req": b64encode(envelope).decode()}, key)
    put_json(tx, MEMBERS_INFO, {**info, "status": MemberStatus.ACTIVE}, key)
    return bool(info["status"] != MemberStatus.ACTIVE)


def recovery_holders(tx: Tx, role: RecoveryRole) -> dict[MemberId, str]:
    """Encryption keys (PEM) of the Active members with this recovery role, by id."""
    return {
        member.id: member.encryption_key_pem
        for member in all_members(tx)
        if member.status is MemberStatus.ACTIVE
        and member.encryption_key_pem is not None
        and member.recovery_role is role
    }


def recovery_role_of(stored: object, encryption_key: object) -> RecoveryRole:
    """What a member does in a recovery: the stored role, else a participant where it has an encryption key."""
    if stored is not None:
        return RecoveryRole(str(stored))
    return RecoveryRole.NON_PARTICIPANT if encryption_key is None else RecoveryRole.PARTICIPANT


def _member(tx: Tx, member_id: MemberId, info: Mapping[str, object]) -> Member:
    key = member_id.encode()
    cert = tx.get(MEMBERS_CERTS, key) or b""
    encryption_key = tx.get(MEMBERS_ENCRYPTION_PUBLIC_KEYS, key)
    return Member(
        id=member_id,
        status=MemberStatus(str(info["status"])),
        cert_pem=cert.decode(),
        encryption_key_pem=None if encryption_key is None else encryption_key.decode(),
        data=info.get("member_data"),
        recovery_role=recovery_role_of(info.get("recovery_role"), encryption_key),
    )
