"""Who is calling: authentication policies, tried in the order an endpoint lists them (node-api.md 3).

TLS accepts every client certificate; what it means is decided here, on the node that executes the request. Governance
policies carry the message type they expect, as in `active_member_cose_sign1:ballot`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from dataplane.apps.endpoint import Identity, Request
from dataplane.crypto.certs import certificate_pem, load_certificate, public_key_of
from dataplane.crypto.cose import ALG, Sign1, decode_sign1, verify_sign1
from dataplane.errors import InternalError, InvalidAuthenticationInfo, RpcError
from dataplane.kv.tables import MEMBERS_CERTS, MEMBERS_INFO, USERS_CERTS, USERS_INFO, get_json
from dataplane.kv.tx import Tx

KID = 4
MSG_TYPE = "ccf.gov.msg.type"
CREATED_AT = "ccf.gov.msg.created_at"
PROPOSAL_ID = "ccf.gov.msg.proposal_id"

_COSE_CHALLENGE = 'COSE-SIGN1 realm="Signed request access"'
_NOT_SERVED = frozenset({"jwt", "user_cose_sign1"})


@dataclass(frozen=True, slots=True)
class Peer:
    """The client at the other end of the session: its certificate's DER and hex SHA-256, None without one."""

    certificate_der: bytes | None = None
    id: str | None = None


class Unauthenticated(InvalidAuthenticationInfo):
    """No policy was met. `challenge` is the `www-authenticate` value of the last policy, None where it has none."""

    def __init__(self, failures: Sequence[tuple[str, str]], challenge: str | None) -> None:
        details = [
            {"auth_policy": policy, "code": "InvalidAuthenticationInfo", "message": reason}
            for policy, reason in failures
        ]
        super().__init__("Invalid authentication credentials.", details=details)
        self.challenge = challenge


class _NotMet(Exception):
    """Why a policy was not met."""


def authenticate(
    policies: Sequence[str], tx: Tx, request: Request, peer: Peer, now: Callable[[], datetime]
) -> Identity | None:
    """The caller by the first policy that is met, None where the endpoint asks for none.

    Raises `Unauthenticated` when no policy is met, `CcfError` 500 for an unknown policy or an undecodable envelope.
    """
    if not policies:
        return None
    failures: list[tuple[str, str]] = []
    for policy in policies:
        try:
            return _met(policy, tx, request, peer, now)
        except _NotMet as reason:
            failures.append((policy.partition(":")[0], str(reason)))
    challenge = _COSE_CHALLENGE if "cose_sign1" in policies[-1] else None
    raise Unauthenticated(failures, challenge)


def _met(policy: str, tx: Tx, request: Request, peer: Peer, now: Callable[[], datetime]) -> Identity:
    if policy == "user_cert":
        return _user_cert(tx, peer, now)
    if policy == "no_auth":
        return Identity("no_auth")
    if policy == "member_cert":
        return _member_cert(tx, peer)
    if policy == "any_cert":
        der = _certificate_of(peer)
        _check_validity(der, now)
        return Identity("any_cert", peer.id, _pem(der))
    if policy.startswith(("member_cose_sign1:", "active_member_cose_sign1:")):
        name, _, message_type = policy.partition(":")
        return _member_cose(tx, request, message_type, active_only=name.startswith("active"))
    if policy in _NOT_SERVED:
        raise RpcError(501, "NotImplemented", f"The authentication policy {policy} is not served yet.")
    raise InternalError(f"Unknown authentication policy: {policy}")


def _user_cert(tx: Tx, peer: Peer, now: Callable[[], datetime]) -> Identity:
    der = _certificate_of(peer)
    assert peer.id is not None
    key = peer.id.encode()
    if not tx.has(USERS_CERTS, key):
        raise _NotMet("Could not find matching user certificate")
    _check_validity(der, now)
    info = get_json(tx, USERS_INFO, key)
    return Identity("user_cert", peer.id, _pem(der), info["user_data"] if info else None)


def _member_cert(tx: Tx, peer: Peer) -> Identity:
    der = _certificate_of(peer)
    assert peer.id is not None
    key = peer.id.encode()
    if not tx.has(MEMBERS_CERTS, key):
        raise _NotMet("Could not find matching member certificate")
    info = get_json(tx, MEMBERS_INFO, key) or {}
    return Identity("member_cert", peer.id, _pem(der), info.get("member_data"))


def _member_cose(tx: Tx, request: Request, message_type: str, *, active_only: bool) -> Identity:
    if request.headers.get("content-type") != "application/cose":
        raise _NotMet("Missing or unexpected content-type, expected application/cose")
    envelope, member_id = _governance_envelope(request.body)
    key = member_id.encode()
    cert = tx.get(MEMBERS_CERTS, key)
    if cert is None:
        raise _NotMet("Signer is not a known member")
    info = get_json(tx, MEMBERS_INFO, key) or {}
    if active_only and info.get("status") != "Active":
        raise _NotMet("Signer is not an ACTIVE member")
    if not verify_sign1(envelope, public_key_of(cert)):
        raise _NotMet("Signature is invalid")
    found = envelope.protected.get(MSG_TYPE, "")
    if found != message_type:
        raise _NotMet(f"Found {MSG_TYPE} set to {found}, expected {MSG_TYPE} to be {message_type}")
    name = "active_member_cose_sign1" if active_only else "member_cose_sign1"
    return Identity(name, member_id, cert.decode(), info.get("member_data"), envelope)


def _governance_envelope(body: bytes) -> tuple[Sign1, str]:
    """The decoded envelope and its signer; every shape error is the decoder's, hence a 500 (node-api.md 3.3)."""
    try:
        envelope = decode_sign1(body)
    except ValueError as error:
        raise InternalError(f"Failed to decode COSE_Sign1: {error}") from error
    kid, created_at = envelope.protected.get(KID), envelope.protected.get(CREATED_AT)
    if not isinstance(kid, bytes) or not isinstance(envelope.protected.get(ALG), int):
        raise InternalError("Failed to decode COSE_Sign1: alg and kid are required in the protected header")
    if not isinstance(created_at, int) or created_at < 0:
        raise InternalError(f"Failed to decode COSE_Sign1: {CREATED_AT} must be a non-negative integer")
    return envelope, kid.decode("ascii", "replace")


def _certificate_of(peer: Peer) -> bytes:
    if peer.certificate_der is None:
        raise _NotMet("No caller certificate")
    return peer.certificate_der


def _check_validity(der: bytes, now: Callable[[], datetime]) -> None:
    not_before, not_after = _validity(der)
    instant = now()
    if instant < not_before:
        raise _NotMet(f"Current time {instant} is before certificate's Not Before validity period {not_before}")
    if instant > not_after:
        raise _NotMet(f"Current time {instant} is after certificate's Not After validity period {not_after}")


@lru_cache(maxsize=4096)
def _validity(der: bytes) -> tuple[datetime, datetime]:
    try:
        certificate = load_certificate(der)
    except ValueError as error:
        raise _NotMet(f"The caller's certificate cannot be read: {error}") from error
    return certificate.not_valid_before_utc, certificate.not_valid_after_utc


@lru_cache(maxsize=4096)
def _pem(der: bytes) -> str:
    try:
        return certificate_pem(load_certificate(der))
    except ValueError as error:
        raise _NotMet(f"The caller's certificate cannot be read: {error}") from error
